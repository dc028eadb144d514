//! The floor of mounting an image: its layers, and an overlay over them, attached nowhere.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::calls::{Calls, Failure};

/// Mounts an EROFS file.
///
/// # Errors
/// The system call that failed.
pub fn layer(image: &Path, calls: Calls) -> Result<OwnedFd, Failure> {
    let context =
        calls.make("fsopen", "erofs", || rustix::mount::fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC))?;
    calls.make("fsconfig", "source", || rustix::mount::fsconfig_set_string(&context, "source", image))?;
    calls.make("fsconfig", "ro", || rustix::mount::fsconfig_set_flag(&context, "ro"))?;
    create_and_mount(context, "erofs", MountAttrFlags::MOUNT_ATTR_RDONLY, calls)
}

/// Mounts an overlay over layers, the topmost first, with empty directories for what is written.
///
/// # Errors
/// The system call that failed.
pub fn overlay(layers: &[&OwnedFd], upper: &Path, work: &Path, calls: Calls) -> Result<OwnedFd, Failure> {
    let context =
        calls.make("fsopen", "overlay", || rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC))?;
    for layer in layers {
        calls.make("fsconfig", "lowerdir+", || {
            rustix::mount::fsconfig_set_fd(&context, "lowerdir+", layer.as_fd())
        })?;
    }
    let set = |key: &'static str, value: &Path| {
        calls.make("fsconfig", key, || rustix::mount::fsconfig_set_string(&context, key, value))
    };
    set("upperdir", upper)?;
    set("workdir", work)?;
    set("redirect_dir", "nofollow".as_ref())?;
    set("metacopy", "off".as_ref())?;
    calls.make("fsconfig", "volatile", || rustix::mount::fsconfig_set_flag(&context, "volatile"))?;
    create_and_mount(context, "overlay", MountAttrFlags::empty(), calls)
}

fn create_and_mount(
    context: OwnedFd,
    kind: &'static str,
    attributes: MountAttrFlags,
    calls: Calls,
) -> Result<OwnedFd, Failure> {
    calls.make("fsconfig", "create", || rustix::mount::fsconfig_create(&context))?;
    let mount = calls.make("fsmount", kind, || {
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    })?;
    calls.note("close", "mount context");
    Ok(mount)
}
