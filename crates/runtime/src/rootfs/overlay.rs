//! The overlay over a snapshot's layers.
//!
//! Every directory is named by a descriptor (`/proc/self/fd/N`): no path of the host appears in the
//! workload's mount table, no character of a path needs an escape, and an option stays below the 255
//! bytes that fsconfig(2) takes. `redirect_dir=nofollow,metacopy=off` because a layer's attributes
//! must not point at anything (DESIGN section 5).

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use holm_spec::rootfs::RootFs;
use holm_sys::mount::{FsOption, new_mount};
use holm_sys::rustix::fs::{Mode, OFlags, open};
use holm_sys::rustix::mount::MountAttrFlags;

use super::c_string;
use crate::error::{Context, Result};

/// Longest value of one fsconfig(2) option.
const OPTION_LIMIT: usize = 255;

/// The directory of the snapshot: it exists, and nobody looks at it from inside.
pub(super) fn place(root: &RootFs) -> &Path {
    root.writable.upper.parent().unwrap_or(&root.writable.upper)
}

/// A detached overlay of the layers under the writable part.
pub(super) fn mount(root: &RootFs) -> Result<OwnedFd> {
    // The topmost layer comes first in overlayfs' order.
    let lowers =
        root.layers.iter().rev().map(|layer| open_directory(&layer.target)).collect::<Result<Vec<_>>>()?;
    let upper = open_directory(&root.writable.upper)?;
    let work = open_directory(&root.writable.work)?;
    let names = lowers.iter().map(name).collect::<Result<Vec<_>>>()?;
    let (upper, work) = (name(&upper)?, name(&work)?);
    let joined = c_string(&names.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(":"))?;

    let mut options = Vec::with_capacity(names.len() + 6);
    if joined.count_bytes() <= OPTION_LIMIT {
        options.push(FsOption::Value(c"lowerdir", &joined));
    } else {
        // One layer an option, since Linux 6.8.
        options.extend(names.iter().map(|name| FsOption::Value(c"lowerdir+", name)));
    }
    options.extend([
        FsOption::Value(c"upperdir", &upper),
        FsOption::Value(c"workdir", &work),
        FsOption::Value(c"redirect_dir", c"nofollow"),
        FsOption::Value(c"metacopy", c"off"),
    ]);
    if root.volatile {
        options.push(FsOption::Flag(c"volatile"));
    }
    new_mount(c"overlay", &options, MountAttrFlags::empty())
        .context(|| format!("mount {} layers under `{}`", root.layers.len(), place(root).display()))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open layer directory `{}`", path.display()))
}

fn name(directory: &OwnedFd) -> Result<CString> {
    c_string(&format!("/proc/self/fd/{}", directory.as_raw_fd()))
}
