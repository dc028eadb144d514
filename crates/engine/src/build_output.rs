//! The files of what was built, without an image: as an archive, or in a directory of the caller's.
//!
//! What comes into a directory is the caller's and gives nobody rights: without set-user-id bits, file capabilities and
//! devices. No link is followed there. A directory that is not there gets its name when all is in it; one that is there is
//! added to, each file appearing whole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_files::View;
use holm_spec::Digest;
use holm_spec::digest::encode_hex;
use holm_spec::files::{Task, Unpack};
use holm_sys::file::{random_bytes, remove_tree};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, open, renameat_with};

use crate::files::{carry_out, connect, null, pipe};
use crate::{Engine, Error, Result};

impl Engine {
    /// Writes the files of layers, lowest first, as an archive.
    ///
    /// # Errors
    /// A layer is missing; `output` takes no more.
    pub fn export_layers(&self, layers: &[Digest], output: OwnedFd) -> Result<()> {
        let root = self.layers_root(layers)?;
        carry_out(&Task::Export, &View::of(root.descriptor()?), None, output)
    }

    /// Puts the files of layers, lowest first, into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// A layer is missing; what is there is in the way; what writing reports. A directory that was not there is not there then.
    pub fn unpack_layers(&self, layers: &[Digest], directory: &Path) -> Result<()> {
        let failed = |error| Error::io(format!("write to `{}`", directory.display()), error);
        if directory.is_dir() {
            return self.unpack_into(layers, directory);
        }
        let draft = draft_of(&std::path::absolute(directory).map_err(failed)?);
        fs::create_dir_all(&draft).map_err(failed)?;
        let unpacked = self.unpack_into(layers, &draft).and_then(|()| {
            renameat_with(CWD, &draft, CWD, directory, RenameFlags::NOREPLACE)
                .map_err(|errno| failed(errno.into()))
        });
        unpacked.inspect_err(|_| drop(remove_tree(&draft)))
    }

    fn unpack_into(&self, layers: &[Digest], directory: &Path) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let target = open(directory, flags, Mode::empty())
            .map_err(|errno| Error::io(format!("open `{}`", directory.display()), io::Error::from(errno)))?;
        let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
        let options = Unpack {
            only: None,
            owner: Some((user.as_raw(), group.as_raw())),
            privileges: false,
            devices: false,
            top: false,
        };
        let unpack = Task::Unpack { directory: "/".to_owned(), options };
        let (output, input) = pipe()?;
        let null = null()?;
        let unpacked = connect(
            || self.export_layers(layers, output),
            || carry_out(&unpack, &View::of(target), Some(input), null),
        );
        unpacked.map_err(|error| error.about(format!("write to `{}`", directory.display())))
    }
}

/// The directory's name until all is in it.
fn draft_of(directory: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(directory.file_name().unwrap_or_default());
    name.push(format!(".{}", encode_hex(&random_bytes::<8>())));
    directory.with_file_name(name)
}
