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
use holm_spec::runtime::Mount;
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
///
/// # Errors
/// A directory that is not there; the kernel does not mount it.
pub fn mount(root: &RootFs) -> Result<OwnedFd> {
    let lowers = open_layers(root)?;
    let upper = open_directory(&root.writable.upper)?;
    let work = open_directory(&root.writable.work)?;
    let (upper, work) = (name(&upper)?, name(&work)?);
    let mut options = vec![FsOption::Value(c"upperdir", &upper), FsOption::Value(c"workdir", &work)];
    if root.volatile {
        options.push(FsOption::Flag(c"volatile"));
    }
    let what = || format!("mount {} layers under `{}`", root.layers.len(), place(root).display());
    new_overlay(&lowers, &options, MountAttrFlags::empty(), what)
}

/// The layers, and on top of them what the workload wrote if `written`; read-only, also while the workload runs. Of one
/// directory alone it is that one.
///
/// # Errors
/// As [`mount`].
pub fn mount_read_only(root: &RootFs, written: bool) -> Result<OwnedFd> {
    let mut lowers = if written { vec![open_directory(&root.writable.upper)?] } else { Vec::new() };
    lowers.extend(open_layers(root)?);
    if lowers.len() == 1 {
        return Ok(lowers.remove(0));
    }
    new_overlay(&lowers, &[], MountAttrFlags::MOUNT_ATTR_NODEV, || {
        format!("mount {} layers read-only", root.layers.len())
    })
}

/// The layers as a mount on `target` for a configuration, read-only. It makes sense to this process only, and while the
/// descriptors are open.
///
/// # Errors
/// A directory that is not there.
pub fn describe(root: &RootFs, target: &Path) -> Result<(Mount, Vec<OwnedFd>)> {
    let lowers = open_layers(root)?;
    let names = lowers.iter().map(|lower| format!("/proc/self/fd/{}", lower.as_raw_fd())).collect::<Vec<_>>();
    let mut options = ["ro", "nosuid", "nodev"].map(str::to_owned).to_vec();
    let (kind, source) = match names.as_slice() {
        [one] => {
            options.extend(["bind", "rprivate"].map(str::to_owned));
            ("bind", one.as_str())
        }
        names => {
            let joined = names.join(":");
            match joined.len() <= OPTION_LIMIT {
                true => options.push(format!("lowerdir={joined}")),
                false => options.extend(names.iter().map(|name| format!("lowerdir+={name}"))),
            }
            options.extend(["redirect_dir=nofollow", "metacopy=off"].map(str::to_owned));
            ("overlay", "overlay")
        }
    };
    let mut mount = Mount::default();
    mount
        .set_destination(target.to_owned())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options));
    Ok((mount, lowers))
}

/// The layers, the topmost first, as overlayfs counts them.
fn open_layers(root: &RootFs) -> Result<Vec<OwnedFd>> {
    root.layers.iter().rev().map(|layer| open_directory(&layer.target)).collect()
}

fn new_overlay(
    lowers: &[OwnedFd],
    others: &[FsOption<'_>],
    attributes: MountAttrFlags,
    what: impl FnOnce() -> String,
) -> Result<OwnedFd> {
    let names = lowers.iter().map(name).collect::<Result<Vec<_>>>()?;
    let joined = c_string(&names.iter().map(|name| name.to_string_lossy()).collect::<Vec<_>>().join(":"))?;
    let mut options = Vec::with_capacity(names.len() + others.len() + 2);
    if joined.count_bytes() <= OPTION_LIMIT {
        options.push(FsOption::Value(c"lowerdir", &joined));
    } else {
        // One layer an option, since Linux 6.8.
        options.extend(names.iter().map(|name| FsOption::Value(c"lowerdir+", name)));
    }
    options.extend(others);
    options.extend([FsOption::Value(c"redirect_dir", c"nofollow"), FsOption::Value(c"metacopy", c"off")]);
    new_mount(c"overlay", &options, attributes).context(what)
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open layer directory `{}`", path.display()))
}

fn name(directory: &OwnedFd) -> Result<CString> {
    c_string(&format!("/proc/self/fd/{}", directory.as_raw_fd()))
}
