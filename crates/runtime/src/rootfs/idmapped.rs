//! Id-mapped mounts: the owners of a bind mount's files appear as other ids (mount_setattr(2)).
//!
//! The maps are those of a user namespace. One is made for them by a child that lives only as long as it takes
//! to open it.

use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::runtime::Mount;
use holm_sys::mount::{AttributeChange, set_attributes};
use holm_sys::process::{self, CloneOptions, Namespaces, clone};
use holm_sys::rustix::fs::{Mode, OFlags, open};

use super::Audience;
use super::options::MountOptions;
use crate::error::{Context, Error, Result};
use crate::maps::Maps;

/// `MOUNT_ATTR_IDMAP`.
const IDMAP: u64 = 0x0010_0000;

/// The ids that a mount's files appear with.
#[derive(Debug)]
pub(crate) struct IdMap {
    /// The user namespace whose maps they are.
    namespace: OwnedFd,
    /// For all mounts below, too.
    recursive: bool,
}

impl IdMap {
    /// What a mount asks for: maps of its own, else the container's.
    ///
    /// # Errors
    /// There are no maps for it.
    pub(super) fn of(
        mount: &Mount,
        options: &MountOptions,
        container: &Audience<'_>,
    ) -> Result<Option<Self>> {
        let own = Maps::from_oci(mount.uid_mappings().as_ref(), mount.gid_mappings().as_ref())?;
        if own.is_none() && options.id_mapped.is_none() {
            return Ok(None);
        }
        let namespace = match (own.as_ref().or(container.maps), container.user_namespace) {
            (Some(maps), _) => user_namespace(maps)?,
            (None, Some(joined)) => {
                joined.try_clone_to_owned().context(|| "keep a user namespace for a mount")?
            }
            (None, None) => {
                let destination = mount.destination().display();
                let message =
                    format!("the mount on `{destination}` is to be id-mapped, and there are no maps for it");
                return Err(Error::invalid(message));
            }
        };
        Ok(Some(Self { namespace, recursive: options.id_mapped == Some(true) }))
    }

    /// Maps a detached tree that is to be mounted on `destination`.
    pub(crate) fn apply(&self, tree: BorrowedFd<'_>, destination: impl Display) -> Result<()> {
        let user_namespace = u64::try_from(self.namespace.as_raw_fd()).expect("a descriptor is not negative");
        let change = AttributeChange { set: IDMAP, user_namespace, ..AttributeChange::default() };
        set_attributes(tree, &change, self.recursive).context(|| {
            format!(
                "map the ids of the mount on `{destination}` (its file system must be one that can do that)"
            )
        })
    }
}

/// A user namespace with these maps, kept by its descriptor.
fn user_namespace(maps: &Maps) -> Result<OwnedFd> {
    let (ours, theirs) = holm_sys::socket::packet_pair().context(|| "make a socket")?;
    let options = CloneOptions { namespaces: Namespaces::USER, ..CloneOptions::default() };
    // It waits until it may end: the other end of the socket is closed then.
    let child = clone(&options, || {
        let _ = process::close_all_but(&[theirs.as_raw_fd()]);
        let _ = holm_sys::socket::receive_packet(theirs.as_fd(), &mut [0]);
        0
    })
    .context(|| "make a user namespace for a mount")?;
    let opened = crate::namespaces::write_maps(child.pid, maps).and_then(|()| {
        let path = format!("/proc/{}/ns/user", child.pid.as_raw_nonzero());
        open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(|| "open a user namespace")
    });
    drop(ours);
    let _ = process::wait(child.pidfd.as_fd());
    opened
}
