//! Where workloads get their roots from and write to.
//!
//! ```text
//! /run/holm/layers/<partition>/            a layer, read-only, mounted once
//! /run/holm/scratch/<workload>/            on the scratch disk: a workload that ran before finds what it wrote
//! /run/holm/memory/<workload>/             a tmpfs for each, so that none can fill another's or the agent's
//!   upper/ work/                           its writable part
//!   files/<number>                         files that its machine made for it
//! /run/holm/seccomp/<key>                  compiled filters of system calls
//! ```

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use holm_runtime::{Error, Kind, Result};
use holm_spec::Id;
use holm_spec::agent::{LAYERS_DISK, SCRATCH_DISK};
use holm_spec::rootfs::{LayerMount, RootFs, Writable};
use holm_sys::file::ensure_directory;
use holm_sys::mount::{FsOption, attach, detach, mount_erofs, new_mount};
use rustix::fs::{Mode, OFlags, open};
use rustix::mount::MountAttrFlags;

use crate::devices;

/// Where the scratch disk is mounted.
pub const SCRATCH: &str = "/run/holm/scratch";
const LAYERS: &str = "/run/holm/layers";
const MEMORY: &str = "/run/holm/memory";
const SECCOMP: &str = "/run/holm/seccomp";
/// Mode of a workload's `/`.
const ROOT_MODE: u32 = 0o755;

/// What is mounted.
#[derive(Debug)]
pub struct Storage {
    layers: BTreeSet<u32>,
    scratch: bool,
}

impl Storage {
    /// Makes the places that are needed in any case.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self> {
        make(Path::new(SECCOMP), 0o700)?;
        Ok(Self { layers: BTreeSet::new(), scratch: false })
    }

    /// The root of a workload, and the place where what it writes goes; made unless it is there.
    ///
    /// # Errors
    /// The machine has no such disk or partition; there is no file system on it that the kernel knows.
    pub fn root(&mut self, id: &Id, layers: &[u32], scratch: bool) -> Result<(RootFs, Place)> {
        if layers.is_empty() {
            return Err(Error::invalid(format!("workload {} has no layers", id.short())));
        }
        let layers = layers.iter().map(|number| self.layer(*number)).collect::<Result<_>>()?;
        let place = if scratch { self.on_disk(id)? } else { Place::in_memory(id)? };
        let writable =
            Writable { upper: place.directory("upper", ROOT_MODE)?, work: place.directory("work", 0o700)? };
        // What is in memory ends with its workload; a disk may be used again.
        Ok((RootFs { layers, writable, volatile: !scratch }, place))
    }

    fn layer(&mut self, number: u32) -> Result<LayerMount> {
        let source = devices::partition(LAYERS_DISK, number).ok_or_else(|| {
            Error::new(
                Kind::Unsupported,
                format!("the machine has no partition {number} of disk `{LAYERS_DISK}`"),
            )
        })?;
        let target = Path::new(LAYERS).join(number.to_string());
        if !self.layers.contains(&number) {
            make(&target, 0o700)?;
            mount_erofs(&source, &target)
                .map_err(|error| Error::system(format!("mount layer {number}"), error))?;
            self.layers.insert(number);
        }
        // Nobody else is there to share it with.
        Ok(LayerMount { source, lock: PathBuf::new(), target })
    }

    fn on_disk(&mut self, id: &Id) -> Result<Place> {
        if !self.scratch {
            let disk = devices::disk(SCRATCH_DISK).ok_or_else(|| {
                Error::new(Kind::Unsupported, format!("the machine has no disk `{SCRATCH_DISK}`"))
            })?;
            make(Path::new(SCRATCH), 0o700)?;
            mount_scratch(&disk).map_err(|error| Error::system("mount the scratch disk", error))?;
            self.scratch = true;
        }
        let directory = Path::new(SCRATCH).join(id.to_string());
        make(&directory, 0o700)?;
        Ok(Place { directory, in_memory: false })
    }

    /// Writes to the scratch disk what is not yet on it.
    ///
    /// # Errors
    /// The disk takes no more.
    pub fn sync(&self) -> Result<()> {
        if !self.scratch {
            return Ok(());
        }
        let root = open(SCRATCH, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        root.and_then(rustix::fs::syncfs).map_err(|errno| Error::system("write to the scratch disk", errno))
    }
}

/// The directory of one workload; dropped with it.
#[derive(Debug)]
pub struct Place {
    directory: PathBuf,
    in_memory: bool,
}

impl Place {
    fn in_memory(id: &Id) -> Result<Self> {
        let directory = Path::new(MEMORY).join(id.to_string());
        make(&directory, 0o700)?;
        let failed = |error: std::io::Error| Error::system("mount memory for a workload", error);
        mount_at(c"tmpfs", &[FsOption::Value(c"mode", c"0700")], &directory).map_err(failed)?;
        Ok(Self { directory, in_memory: true })
    }

    fn directory(&self, name: &str, mode: u32) -> Result<PathBuf> {
        let directory = self.directory.join(name);
        make(&directory, mode)?;
        Ok(directory)
    }

    /// Writes a file of the machine's for the workload.
    ///
    /// # Errors
    /// There is no room.
    pub fn write(&self, number: usize, content: &str) -> Result<PathBuf> {
        let file = self.directory("files", 0o700)?.join(number.to_string());
        // What an earlier run of the workload left there is its own.
        let _ = fs::remove_file(&file);
        let written = fs::write(&file, content)
            .and_then(|()| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)));
        written.map_err(|error| Error::system(format!("write `{}`", file.display()), error))?;
        Ok(file)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.in_memory {
            // The memory is free once the last process of the workload is gone.
            let _ = detach(&self.directory);
            let _ = fs::remove_dir(&self.directory);
        }
    }
}

/// Where compiled filters of system calls are kept.
pub fn seccomp_cache() -> &'static Path {
    Path::new(SECCOMP)
}

fn mount_scratch(disk: &Path) -> std::io::Result<()> {
    let source = CString::new(disk.as_os_str().as_encoded_bytes()).map_err(std::io::Error::other)?;
    mount_at(c"ext4", &[FsOption::Value(c"source", &source)], Path::new(SCRATCH))
}

fn mount_at(kind: &std::ffi::CStr, options: &[FsOption<'_>], target: &Path) -> std::io::Result<()> {
    let mount = new_mount(kind, options, MountAttrFlags::empty())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = open(target, flags, Mode::empty())?;
    Ok(attach(mount.as_fd(), target.as_fd())?)
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    let failed = |error| Error::system(format!("make `{}`", directory.display()), error);
    ensure_directory(directory, mode).map_err(failed)
}
