//! Bind mounts whose source lies below the root itself.
//!
//! Such a source may be what an earlier mount of the same container brings, so it is copied at its turn, by the
//! child, and resolved inside the root as every target is. A user namespace's root may not map ids: that the
//! parent does, on the copy that it is handed (see [`crate::handshake`]).

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::path::Path;

use holm_spec::runtime::Mount;
use holm_sys::mount::AttributeChange;

use super::idmapped::IdMap;
use super::options::MountOptions;
use super::{Audience, Target, is_proc_place, path_string};
use crate::error::Result;

/// What is copied inside the root, and what becomes of the copy.
#[derive(Debug)]
pub(crate) struct InnerBind {
    /// From the root.
    pub source: CString,
    /// What is mounted below comes along.
    pub recursive: bool,
    /// In this order, and each whether for all mounts below.
    pub changes: Vec<(AttributeChange, bool)>,
    /// The ids that its files appear with.
    pub id_map: Option<IdMap>,
    /// It is mounted where nothing but `proc` may be.
    pub must_be_proc: bool,
}

impl InnerBind {
    /// The plan for a source that is `inside` the root.
    pub(super) fn prepare(
        inside: &Path,
        mount: &Mount,
        options: &MountOptions,
        audience: &Audience<'_>,
    ) -> Result<Self> {
        Ok(Self {
            source: path_string(&Path::new("/").join(inside))?,
            recursive: options.recursive_bind,
            changes: options.changes().collect(),
            id_map: IdMap::of(mount, options, audience)?,
            must_be_proc: is_proc_place(mount.destination()),
        })
    }

    /// Maps the ids of the copy, for the child.
    pub fn map_ids(&self, tree: BorrowedFd<'_>, target: &Target) -> Result<()> {
        self.id_map.as_ref().map_or(Ok(()), |map| map.apply(tree, target.path.to_string_lossy()))
    }
}
