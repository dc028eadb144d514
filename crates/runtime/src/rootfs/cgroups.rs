//! `/sys/fs/cgroup`: what a workload sees of control groups.
//!
//! On pure v2 the cgroup2 file system as the workload's cgroup namespace shows it. On hybrid and v1
//! hosts a tmpfs with one folder for each hierarchy where the workload owns a group, and nothing of
//! the others.

use std::os::fd::AsFd;
use std::path::Path;

use holm_sys::mount::{AttributeChange, FsOption, new_mount, set_attributes};
use holm_sys::rustix::fs::{CWD, Mode, mkdirat};
use holm_sys::rustix::mount::MountAttrFlags;

use super::options::MountOptions;
use super::{MountPlan, Source, Target, attribute_bits, copy_of_host, in_namespace, path_string};
use crate::cgroup::Group;
use crate::error::{Context, Result};

/// Adds the mounts for a `cgroup` entry of the configuration.
pub(super) fn prepare(
    mounts: &mut Vec<MountPlan>,
    destination: &Path,
    options: &MountOptions,
    group: Option<&Group>,
) -> Result<()> {
    let Some(group) = group else { return Ok(()) };
    let folders = group.folders();
    if folders.is_empty() {
        let source = in_namespace("cgroup2", options)?;
        mounts.push(MountPlan { source, target: Target::new(destination, false)?, propagation: None });
        return Ok(());
    }
    let attributes = MountAttrFlags::from_bits_retain(attribute_bits(options));
    let tmpfs = new_mount(
        c"tmpfs",
        &[FsOption::Value(c"mode", c"755"), FsOption::Value(c"size", c"64k")],
        attributes & !MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .context(|| "make the file system for `/sys/fs/cgroup`")?;
    for (folder, _) in folders {
        mkdirat(&tmpfs, *folder, Mode::from_raw_mode(0o555)).context(|| format!("make folder `{folder}`"))?;
    }
    let change = AttributeChange { set: u64::from(attributes.bits()), ..AttributeChange::default() };
    set_attributes(tmpfs.as_fd(), &change, false).context(|| "set options of `/sys/fs/cgroup`")?;
    mounts.push(MountPlan {
        source: Source::Ready(tmpfs),
        target: Target::new(destination, false)?,
        propagation: None,
    });
    for (folder, directory) in folders {
        let tree = copy_of_host(CWD, &path_string(directory)?, false)
            .context(|| format!("bind cgroup `{}`", directory.display()))?;
        set_attributes(tree.as_fd(), &change, false)
            .context(|| format!("set options of cgroup `{folder}`"))?;
        mounts.push(MountPlan {
            source: Source::Ready(tree),
            target: Target::new(&destination.join(folder), false)?,
            propagation: None,
        });
    }
    Ok(())
}
