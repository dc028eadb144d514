//! Pruning: stopped workloads, images and compressed layers that nobody uses.
//!
//! Each step is a removal of its own, by the functions that remove one object, and can be cut short anywhere: workloads
//! first, since their images may go with them, then the cache, then images.

use std::collections::{BTreeMap, BTreeSet};

use holm_spec::workload::{Config, Status};
use holm_spec::{Digest, Id, Timestamp};
use holm_store::{Limit, ObjectUsage, OldSteps, Removed};
use holm_sys::fail_point;
use holm_sys::usage::Usage;

use crate::{Engine, Kind, Result};

/// Which images go, of those that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those without a name.
    Dangling,
    /// All.
    Unused,
}

/// Tells whether labels are as asked.
pub type FitsLabels<'a> = &'a dyn Fn(&BTreeMap<String, String>) -> bool;

/// What goes.
#[derive(Default)]
pub struct PruneRequest<'a> {
    /// Workloads that do not run.
    pub workloads: bool,
    /// Images.
    pub images: Option<Extent>,
    /// Compressed layers, and steps of builds: what only saves time.
    pub compressed: bool,
    /// Only what was made before.
    pub until: Option<Timestamp>,
    /// Only what has such labels. Compressed layers have none.
    pub labels: Option<FitsLabels<'a>>,
}

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PruneReport {
    /// Workloads.
    pub workloads: Vec<Id>,
    /// Names, images and layers.
    pub images: Vec<Removed>,
    /// Compressed layers.
    pub compressed: Vec<Digest>,
    /// Steps of builds, how many.
    pub steps: usize,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl std::fmt::Debug for PruneRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PruneRequest")
            .field("workloads", &self.workloads)
            .field("images", &self.images)
            .field("compressed", &self.compressed)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl PruneReport {
    fn add(&mut self, pruned: holm_store::Pruned) {
        self.images.extend(pruned.images);
        self.compressed.extend(pruned.compressed);
        self.bytes += pruned.bytes;
    }
}

impl PruneRequest<'_> {
    fn fits(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        let before = |until: Timestamp| created.unwrap_or_default() < until;
        self.until.is_none_or(before) && self.labels.is_none_or(|fits| fits(labels))
    }
}

impl Engine {
    /// Removes what is asked and not used.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] while a workload or an image is damaged; what removing reports. What went by then is gone.
    pub fn prune(&self, request: &PruneRequest<'_>) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        if request.workloads {
            self.prune_workloads(request, &mut report)?;
        }
        if !request.compressed && request.images.is_none() {
            return Ok(report);
        }
        let exclusive = self.store.exclusive()?;
        // Under the lock, so that none is made of an image meanwhile.
        let users = self.image_users()?;
        let usage = self.store.usage()?;
        if request.compressed && request.labels.is_none() {
            let goes = |used: Timestamp| request.until.is_none_or(|until| used < until);
            let layers = usage.compressed.iter().filter(|layer| goes(layer.used));
            report.add(exclusive.prune_compressed(layers)?);
            let now = Timestamp::from_nanos(holm_sys::process::now());
            let old = OldSteps::Before(request.until.unwrap_or(now));
            (report.steps, report.bytes) = {
                let (steps, bytes) = exclusive.prune_steps(old, &users)?;
                (steps, report.bytes + bytes)
            };
            report.bytes += self.prune_downloads(request.until.unwrap_or(now))?;
        }
        if let Some(extent) = request.images {
            let goes = |image: &&ObjectUsage| {
                let fits = request.fits(image.created, &image.labels);
                fits && (extent == Extent::Unused || image.names.is_empty())
            };
            let chosen: BTreeSet<Digest> = usage.images.iter().filter(goes).map(|image| image.id).collect();
            report.add(exclusive.prune_images(&chosen, &users)?);
        }
        drop(exclusive);
        self.forget_layers();
        Ok(report)
    }

    fn prune_workloads(&self, request: &PruneRequest<'_>, report: &mut PruneReport) -> Result<()> {
        let mut counter = Usage::default();
        for workload in self.list()? {
            let Config { id, created, labels, .. } = &workload.config;
            if workload.state.status == Status::Running || !request.fits(Some(*created), labels) {
                continue;
            }
            let bytes = self.size_of(&mut counter, id)?;
            match self.remove(id, false, false) {
                Ok(()) => {
                    report.workloads.push(*id);
                    report.bytes += bytes;
                }
                // It was started, or removed, meanwhile.
                Err(error) if matches!(error.kind(), Kind::StillRunning | Kind::NoSuchWorkload) => {}
                Err(error) => return Err(error),
            }
            fail_point::reached("prune-workloads-removed");
        }
        Ok(())
    }

    /// Removes of the store's content what it takes to keep to a size: see [`Limit`].
    ///
    /// # Errors
    /// As [`Engine::prune`].
    pub fn prune_to(&self, limit: &Limit<'_>) -> Result<PruneReport> {
        let mut report = PruneReport::default();
        let exclusive = self.store.exclusive()?;
        report.add(exclusive.prune_to(limit, &self.image_users()?)?);
        drop(exclusive);
        self.forget_layers();
        Ok(report)
    }

    /// Keeps the store to a size after something new came in, which stays: by compressed layers and images without a
    /// name. Gives what went, and by how many bytes it is still too much.
    ///
    /// # Errors
    /// As [`Engine::prune`].
    pub fn keep_to(&self, size: u64, new: &Digest) -> Result<(PruneReport, u64)> {
        let excess = self.store.content_size()?.saturating_sub(size);
        if excess == 0 {
            return Ok((PruneReport::default(), 0));
        }
        let report = self.prune_to(&Limit { size, named: false, spared: &[*new] })?;
        Ok((report, self.store.content_size()?.saturating_sub(size)))
    }
}
