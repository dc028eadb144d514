//! The files of a workload as archives, for whoever has its root at hand: the engine, for containers; the agent of a
//! guest, for what a virtual machine wrote, which no host looks at.
//!
//! Everything is reached through descriptors of directories, never twice by the same name: what is in a root is somebody
//! else's, and may change at any moment. Links lead nowhere outside, those below the path that was asked for lead nowhere
//! at all.
//!
//! | module | holds |
//! |---|---|
//! | `look` | what lies at a path |
//! | `walk` | everything below a directory |
//! | `pack` | from files to an archive |
//! | `unpack` | from an archive to files |
//! | `view` | the directories that a task is about |
//! | `compare` | what one root has that another has not |
//! | `own` | giving everything to one user |
//! | `changes` | what the writable part of an overlay changes (Linux, `overlayfs`): a list, or a layer |

mod changes;
mod compare;
mod error;
mod look;
mod own;
mod pack;
mod unpack;
mod view;
mod walk;

use std::io::{Read, Write};
use std::os::fd::AsFd;

use holm_spec::files::Task;

pub use compare::compare;
pub use error::{Error, Result};
pub use own::own;
pub use pack::{Xattr, xattrs};
pub use view::{View, root_of};
pub use walk::{Found, names, walk};

/// Carries out a task (see [`holm_spec::files`] for what it reads and writes).
///
/// # Errors
/// What the kinds of [`holm_spec::files::FailureKind`] say. What was unpacked until then stays, but no half a file.
pub fn perform(task: &Task, view: &View, input: &mut dyn Read, output: &mut dyn Write) -> Result<()> {
    let root = view.root.as_fd();
    match task {
        Task::Look { path, follow } => write_line(output, &look::look(root, path, *follow)?),
        Task::Pack { path, name, follow } => pack::pack(root, path, name, *follow, output),
        Task::Unpack { directory, options } => unpack::unpack(root, directory, options, input)
            .map_err(|error| error.about(&format!("unpack into `{directory}`"))),
        Task::Export => pack::pack(root, "/", ".", true, output),
        Task::Changes { ignored } => {
            let (upper, lower) = view.layers()?;
            let changes = changes::changes(upper, lower, ignored)?;
            changes.iter().try_for_each(|change| write_line(output, change))
        }
        Task::Layer { ignored, form } => changes::layer(view.layers()?.0, ignored, form, output),
    }
}

fn write_line(output: &mut dyn Write, value: &impl serde::Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value).expect("plain data");
    line.push(b'\n');
    output
        .write_all(&line)
        .and_then(|()| output.flush())
        .map_err(|error| Error::io("write the answer", error))
}
