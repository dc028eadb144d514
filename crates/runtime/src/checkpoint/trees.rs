//! The file systems that CRIU finds when it restores, in a mount namespace of its own.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use holm_spec::runtime::Spec;
use holm_sys::mount::{AttributeChange, set_attributes};
use holm_sys::process::{self, CloneOptions, Namespaces, clone};
use holm_sys::socket;

use super::restore::Restoration;
use super::{mounts, namespaces};
use crate::child::{Rehearsal, Tree};
use crate::container::describe_mounting;
use crate::error::{Context, Result};
use crate::namespaces::NamespacePlan;
use crate::rootfs::{Audience, Root, RootPlan, Source, mount_root, path_string};
use crate::step::Failure;

/// The container's root, and `/dev` if CRIU cannot make that.
///
/// # Errors
/// Of the kernel.
pub(super) fn prepare(restoration: &Restoration<'_>) -> Result<Vec<Tree>> {
    let (root, place) = mount_root(Root::Directory(restoration.root), None)?;
    protect_root(&root, restoration.spec)?;
    let mut trees = vec![Tree { tree: root, place }];
    if namespaces::changes_user(restoration.spec) {
        let is_dev = |target: &std::ffi::CStr| target == c"/dev";
        let found = plan(restoration)?.mounts.into_iter().find(|mount| is_dev(&mount.target.path));
        if let Some(Source::Ready(tree)) = found.map(|mount| mount.source) {
            trees.push(Tree { tree, place: path_string(Path::new(mounts::DEVICES_PLACE))? });
        }
    }
    Ok(trees)
}

fn plan(restoration: &Restoration<'_>) -> Result<RootPlan> {
    let namespaces = NamespacePlan::prepare(restoration.spec)?;
    let process = restoration.spec.process().as_ref();
    let audience = Audience {
        group: None,
        cgroup_namespace: namespaces.has_cgroup(),
        terminal: process.and_then(|process| process.terminal()).unwrap_or(false),
        maps: namespaces.maps.as_ref(),
        user_namespace: None,
        bundle: restoration.bundle,
    };
    RootPlan::prepare(restoration.spec, Root::Directory(restoration.root), &audience)
}

/// CRIU leaves the root as it finds it.
fn protect_root(tree: &OwnedFd, spec: &Spec) -> Result<()> {
    if !spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        return Ok(());
    }
    const RDONLY: u64 = 1;
    let change = AttributeChange { set: RDONLY, ..AttributeChange::default() };
    set_attributes(tree.as_fd(), &change, false).context(|| "make the root file system read-only")
}

/// Makes the mount points that the root has not, by mounting everything once where nobody sees it.
///
/// # Errors
/// As when the container is started.
pub(super) fn make_mount_points(restoration: &Restoration<'_>) -> Result<()> {
    let plan = plan(restoration)?;
    let (ours, theirs) = socket::packet_pair().context(|| "make a socket to the mounting process")?;
    let mut kept: Vec<i32> = plan.descriptors().chain([theirs.as_raw_fd()]).collect();
    kept.sort_unstable();
    let rehearsal = Rehearsal { root: &plan, sync: theirs.as_fd(), kept: &kept };
    let options = CloneOptions { namespaces: Namespaces::MOUNT, cgroup: None };
    let child = clone(&options, || rehearsal.run()).context(|| "make a mount namespace")?;
    drop(theirs);
    let mut packet = [0; 8];
    let received = socket::receive_packet(ours.as_fd(), &mut packet);
    let _ = process::wait(child.pidfd.as_fd());
    let (length, _) = received.context(|| "make mount points")?;
    let failure = Failure::decode(&packet[..length]);
    failure.map_or(Ok(()), |failure| Err(describe_mounting(failure, Some(&plan))))
}
