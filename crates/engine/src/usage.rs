//! How much room an installation takes on the disk, by what it is for.
//!
//! Blocks that are allocated count, files with several names once; so the sum agrees with what du(1) says of the root.
//! The run root, which may lie below it, is left out.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holm_spec::volume::Volume;
use holm_spec::workload::Isolation;
use holm_spec::{Digest, Id};
use holm_store::{ObjectUsage, StoreUsage};
use holm_sys::usage::Usage;

use crate::{Engine, Error, Result, Workload};

/// What takes room.
#[derive(Clone, Debug)]
pub struct DiskUsage {
    /// Images, kernels, other artifacts and compressed layers.
    pub store: StoreUsage,
    /// Workloads, newest first.
    pub workloads: Vec<WorkloadUsage>,
    /// Volumes, by name.
    pub volumes: Vec<VolumeUsage>,
    /// Ids of images that workloads use.
    pub used_images: BTreeSet<Digest>,
    /// Ids of kernels that machines use, or get without being asked.
    pub used_kernels: BTreeSet<Digest>,
    /// Bytes on the disk of the rest: directories, names, what is on its way in, and what nothing refers to.
    pub other: u64,
}

/// A workload and its room.
#[derive(Clone, Debug)]
pub struct WorkloadUsage {
    /// The workload.
    pub workload: Workload,
    /// Bytes on the disk of what it wrote, of its log and of its configuration.
    pub size: u64,
}

/// A volume and its room.
#[derive(Clone, Debug)]
pub struct VolumeUsage {
    /// The volume.
    pub volume: Volume,
    /// How many workloads have it.
    pub users: usize,
    /// Bytes on the disk; of a directory of the user's nothing counts.
    pub size: u64,
}

impl DiskUsage {
    /// Bytes on the disk that would be free if only those of `objects` were there that `used` says.
    pub fn reclaimable(&self, objects: &[ObjectUsage], used: &BTreeSet<Digest>) -> u64 {
        let needed = objects.iter().filter(|object| used.contains(&object.id));
        self.store.together(objects) - self.store.together(needed)
    }

    /// Bytes on the disk of all volumes.
    pub fn volumes_size(&self) -> u64 {
        self.volumes.iter().map(|volume| volume.size).sum()
    }

    /// Bytes on the disk of all workloads.
    pub fn workloads_size(&self) -> u64 {
        self.workloads.iter().map(|workload| workload.size).sum()
    }
}

impl Engine {
    /// Measures everything below the root.
    ///
    /// # Errors
    /// What listing and reading report; a workload that does not tell its image.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let store = self.store.usage()?;
        let used_images = self.image_users()?.into_iter().map(|(id, _)| id).collect();
        let mut used_kernels: BTreeSet<_> = self.kernel_users()?.into_iter().map(|(id, _)| id).collect();
        used_kernels
            .extend(self.store.kernels()?.into_iter().filter(|row| row.default).map(|row| row.kernel.id));
        let mut counter = Usage::default();
        let mut workloads = Vec::new();
        for workload in self.list()? {
            let size = self.size_of(&mut counter, &workload.config.id)?;
            workloads.push(WorkloadUsage { workload, size });
        }
        let volumes = self.volumes_usage(&mut counter)?;
        let attributed = store.together(store.objects()) + store.compressed_size();
        let loose = store.content.saturating_sub(attributed);
        let other = loose + self.other(&mut counter, &workloads, &volumes)?;
        Ok(DiskUsage { store, workloads, volumes, used_images, used_kernels, other })
    }

    fn volumes_usage(&self, counter: &mut Usage) -> Result<Vec<VolumeUsage>> {
        let volumes = self.volumes();
        let in_use = volumes.in_use()?;
        let mut usages = Vec::new();
        for volume in volumes.list()? {
            let size = below(counter, &self.layout.volume(&volume.name).dir, &[])?;
            usages.push(VolumeUsage { users: in_use.of(&volume.name).count(), size, volume });
        }
        Ok(usages)
    }

    /// Bytes on the disk of what a workload wrote, and bytes of the files of its image.
    ///
    /// # Errors
    /// What it wrote cannot be measured. An image that is gone has none.
    pub fn sizes(&self, workload: &Workload) -> Result<(u64, u64)> {
        let config = &workload.config;
        let mut counter = Usage::default();
        let written = match config.isolation {
            Isolation::Vm => below(&mut counter, &self.layout.scratch(&config.id), &[])?,
            Isolation::Container => {
                let upper = &config.root.writable.upper;
                // What it wrote, without the directory that holds it.
                let own = std::fs::metadata(upper).map_or(0, |upper| upper.blocks() * 512);
                below(&mut counter, upper, &[])?.saturating_sub(own)
            }
        };
        let image = self.store.resolve(&config.image.id.to_string());
        let image = image.map_or(0, |image| self.store.layer_sizes(&image.diff_ids).into_iter().sum());
        Ok((written, image))
    }

    /// Bytes on the disk of a workload; 0 if it is gone.
    pub(crate) fn size_of(&self, counter: &mut Usage, workload: &Id) -> Result<u64> {
        let parts = [self.layout.snapshot(workload), self.layout.workload(workload).dir];
        parts.iter().map(|path| below(counter, path, &[])).sum()
    }

    /// What of the root is neither content of the store nor of a workload or a volume in the lists.
    fn other(
        &self,
        counter: &mut Usage,
        workloads: &[WorkloadUsage],
        volumes: &[VolumeUsage],
    ) -> Result<u64> {
        let mut left_out = vec![self.layout.run.clone()];
        left_out.extend(["blobs", "layers"].map(|name| self.layout.root.join(name)));
        for id in workloads.iter().map(|usage| usage.workload.config.id) {
            left_out.extend([self.layout.snapshot(&id), self.layout.workload(&id).dir]);
        }
        left_out.extend(volumes.iter().map(|usage| self.layout.volume(&usage.volume.name).dir));
        below(counter, &self.layout.root, &left_out)
    }
}

pub(crate) fn below(counter: &mut Usage, path: &Path, left_out: &[PathBuf]) -> Result<u64> {
    let left_out: Vec<&Path> = left_out.iter().map(PathBuf::as_path).collect();
    counter.below(path, &left_out).map_err(|error| Error::io(format!("measure `{}`", path.display()), error))
}
