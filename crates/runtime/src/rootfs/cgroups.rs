//! `/sys/fs/cgroup`: what a workload sees of control groups.
//!
//! On pure v2 the cgroup2 file system as the workload's cgroup namespace shows it; without one of its own a
//! copy of the host's mount. (A mount made from the host's cgroup namespace would set its options for the whole host,
//! and waits for a grace period of the kernel: 8 to 15 ms.) On hybrid and v1 hosts a tmpfs with one folder for each
//! hierarchy where the workload owns a group, and nothing of the others.

use std::os::fd::AsFd;

use holm_spec::runtime::Mount;
use holm_sys::mount::{AttributeChange, FsOption, clone_tree, new_mount, set_attributes};
use holm_sys::rustix::fs::{CWD, Mode, mkdirat};
use holm_sys::rustix::mount::MountAttrFlags;

use super::options::MountOptions;
use super::{Audience, MountPlan, Source, Target, attribute_bits, c_string, in_namespace, path_string};
use crate::cgroup::Hierarchies;
use crate::error::{Context, Error, Kind, Result};

/// Adds the mounts for a `cgroup` entry of the configuration.
pub(super) fn prepare(
    mounts: &mut Vec<MountPlan>,
    mount: &Mount,
    options: &MountOptions,
    audience: &Audience<'_>,
    label: Option<&str>,
) -> Result<()> {
    let destination = mount.destination();
    let Some(group) = audience.group else { return Ok(()) };
    let folders = group.folders();
    if folders.is_empty() && Hierarchies::detect()?.is_unified_alone() {
        let source = unified(mount, options, audience)?;
        mounts.push(MountPlan { source, target: Target::new(destination)?, propagation: None });
        return Ok(());
    }
    let attributes = MountAttrFlags::from_bits_retain(attribute_bits(options));
    let label = label.map(c_string).transpose()?;
    let mut data = vec![
        FsOption::Value(c"mode", c"755"),
        FsOption::Value(c"size", c"64k"),
        FsOption::Value(c"source", c"cgroup"),
    ];
    data.extend(label.as_deref().map(|label| FsOption::Value(c"context", label)));
    let tmpfs = new_mount(c"tmpfs", &data, attributes & !MountAttrFlags::MOUNT_ATTR_RDONLY)
        .context(|| "make the file system for `/sys/fs/cgroup`")?;
    for (folder, _) in folders {
        mkdirat(&tmpfs, *folder, Mode::from_raw_mode(0o555)).context(|| format!("make folder `{folder}`"))?;
    }
    let change = AttributeChange { set: u64::from(attributes.bits()), ..AttributeChange::default() };
    set_attributes(tmpfs.as_fd(), &change, false).context(|| "set options of `/sys/fs/cgroup`")?;
    mounts.push(MountPlan {
        source: Source::Ready(tmpfs),
        target: Target::new(destination)?,
        propagation: None,
    });
    for (folder, directory) in folders {
        let tree = clone_tree(CWD, &path_string(directory)?, false)
            .context(|| format!("bind cgroup `{}`", directory.display()))?;
        set_attributes(tree.as_fd(), &change, false)
            .context(|| format!("set options of cgroup `{folder}`"))?;
        mounts.push(MountPlan {
            source: Source::Ready(tree),
            target: Target::new(&destination.join(folder))?,
            propagation: None,
        });
    }
    Ok(())
}

/// The cgroup2 hierarchy for an entry of the configuration that names it, or that stands for it.
pub(super) fn unified(mount: &Mount, options: &MountOptions, audience: &Audience<'_>) -> Result<Source> {
    if audience.cgroup_namespace {
        return in_namespace("cgroup2", mount, options);
    }
    let hierarchies = Hierarchies::detect()?;
    let root = hierarchies.unified().ok_or_else(|| {
        Error::new(Kind::Unsupported, "make the file system `cgroup2`: this host has no cgroup v2")
    })?;
    let failed = || format!("bind `{}`", root.display());
    let tree = clone_tree(CWD, &path_string(root)?, false).context(failed)?;
    let change = AttributeChange { set: attribute_bits(options).into(), ..AttributeChange::default() };
    set_attributes(tree.as_fd(), &change, false).context(failed)?;
    Ok(Source::Ready(tree))
}
