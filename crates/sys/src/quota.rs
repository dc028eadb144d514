//! Project quotas (quotactl_fd(2), Linux 5.14): a limit of how much a directory tree may hold, kept by ext4 and XFS.
//!
//! A project is a number that files carry. What is made in a directory that hands its number on carries it, too, and what
//! carries another one cannot be moved there (`EXDEV`). The kernel counts what the files of a project hold, and keeps a limit
//! where the file system is mounted with `prjquota`: more is answered with `EDQUOT` by ext4, with `ENOSPC` by XFS.
#![expect(unsafe_code, reason = "quotactl_fd and the ioctls of projects have no safe wrapper")]

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::process::last_errno;

/// What the files of a project hold, and may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProjectUsage {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Files and directories.
    pub files: u64,
    /// Bytes that there may be; 0 for no limit.
    pub limit: u64,
}

/// Whether the file system of a file keeps the limits of projects.
///
/// # Errors
/// Any answer but that it does not.
pub fn keeps_limits(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    const Q_XGETQSTATV: u32 = 0x5808;
    const VERSION: u8 = 1;
    const PROJECT_LIMITS: u16 = 1 << 5;
    let mut state = QuotaState { version: VERSION, ..QuotaState::default() };
    match quotactl(file, Q_XGETQSTATV, 0, &mut state) {
        Ok(()) => Ok(state.flags & PROJECT_LIMITS != 0),
        // No quotas in this file system, or none of them on, or none in this kernel.
        Err(Errno::NOSYS | Errno::SRCH | Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What a project holds on the file system of a file.
pub fn usage(file: BorrowedFd<'_>, project: u32) -> Result<ProjectUsage, Errno> {
    const Q_GETQUOTA: u32 = 0x80_0007;
    let mut quota = DiskQuota::default();
    match quotactl(file, Q_GETQUOTA, project, &mut quota) {
        Ok(()) => Ok(ProjectUsage {
            bytes: quota.bytes,
            files: quota.files,
            limit: quota.hard_blocks.saturating_mul(BLOCK),
        }),
        // XFS has nothing of a project that nobody has used.
        Err(Errno::NOENT) => Ok(ProjectUsage::default()),
        Err(errno) => Err(errno),
    }
}

/// Limits what a project may hold on the file system of a file to so many bytes, in blocks of 1 KiB; 0 takes the limit away.
pub fn limit(file: BorrowedFd<'_>, project: u32, bytes: u64) -> Result<(), Errno> {
    const Q_SETQUOTA: u32 = 0x80_0008;
    const BLOCK_LIMITS: u32 = 1;
    let mut quota =
        DiskQuota { hard_blocks: bytes.div_ceil(BLOCK), valid: BLOCK_LIMITS, ..DiskQuota::default() };
    quotactl(file, Q_SETQUOTA, project, &mut quota)
}

/// The project that a directory hands on to what is made in it, if it does; 0 is everybody's.
pub fn handed_on(directory: BorrowedFd<'_>) -> Result<Option<u32>, Errno> {
    match attributes(directory) {
        Ok(attributes) => Ok((attributes.flags & INHERITED != 0).then_some(attributes.project)),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Gives a directory to a project, and what is made in it from now on. Needs the rights of the first user namespace.
pub fn hand_on(directory: BorrowedFd<'_>, project: u32) -> Result<(), Errno> {
    const FS_IOC_FSSETXATTR: u32 = 0x401C_5820;
    let mut attributes = attributes(directory)?;
    attributes.project = project;
    attributes.flags |= INHERITED;
    // SAFETY: `attributes` has the layout and size that FS_IOC_FSSETXATTR reads.
    let result = unsafe { libc::ioctl(directory.as_raw_fd(), FS_IOC_FSSETXATTR as _, &raw const attributes) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// While this is there, limits hold for the calling thread, and for threads that it makes, also if it is root's: ext4 lets pass
/// whoever has `CAP_SYS_RESOURCE`.
#[derive(Debug)]
pub struct Limited(Option<CapabilitySets>);

impl Limited {
    /// From now on. Where the capability cannot be put aside there is nothing to put aside, or limits do not hold.
    pub fn begin() -> Self {
        let begin = || {
            let before = capabilities(None).ok()?;
            let effective = before.effective - CapabilitySet::SYS_RESOURCE;
            set_capabilities(None, CapabilitySets { effective, ..before }).ok().map(|()| before)
        };
        Self(begin())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if let Some(before) = self.0 {
            // What was put aside is permitted.
            let _ = set_capabilities(None, before);
        }
    }
}

/// `FS_XFLAG_PROJINHERIT` of linux/fs.h.
const INHERITED: u32 = 0x200;
/// Bytes in which limits are counted.
const BLOCK: u64 = 1024;

/// `struct fsxattr` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// `struct if_dqblk` of linux/quota.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct DiskQuota {
    hard_blocks: u64,
    soft_blocks: u64,
    bytes: u64,
    hard_files: u64,
    soft_files: u64,
    files: u64,
    times: [u64; 2],
    valid: u32,
}

/// `struct fs_quota_statv` of linux/dqblk_xfs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct QuotaState {
    version: u8,
    padding: u8,
    flags: u16,
    in_memory: u32,
    /// Three quota files, then limits of times and warnings.
    rest: [u64; 9 + 3 + 7],
}

fn attributes(file: BorrowedFd<'_>) -> Result<Attributes, Errno> {
    const FS_IOC_FSGETXATTR: u32 = 0x801C_581F;
    let mut attributes = Attributes::default();
    // SAFETY: `attributes` has the layout and size that FS_IOC_FSGETXATTR writes.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FSGETXATTR as _, &raw mut attributes) };
    if result == 0 { Ok(attributes) } else { Err(last_errno()) }
}

/// A command about the quotas of projects. Each of its arguments is a structure of the kernel's of the size that the command has.
fn quotactl<T>(file: BorrowedFd<'_>, command: u32, project: u32, argument: &mut T) -> Result<(), Errno> {
    const PROJECTS: u32 = 2;
    let command = libc::c_long::from((command << 8) | PROJECTS);
    // SAFETY: `argument` is valid, and as large as what the command reads and writes: see the tests of sizes below.
    let result = unsafe {
        libc::syscall(
            libc::SYS_quotactl_fd,
            file.as_raw_fd(),
            command,
            libc::c_long::from(project),
            std::ptr::from_mut(argument),
        )
    };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!((size_of::<Attributes>(), size_of::<DiskQuota>(), size_of::<QuotaState>()), (28, 72, 160));
    }

    #[test]
    fn a_file_system_without_projects_says_so() {
        let proc = std::fs::File::open("/proc").expect("it is there");
        assert_eq!(keeps_limits(proc.as_fd()), Ok(false));
        assert_eq!(handed_on(proc.as_fd()), Ok(None));
        assert!(limit(proc.as_fd(), 7, 1 << 20).is_err() && usage(proc.as_fd(), 7).is_err());
    }

    #[test]
    fn rights_come_back() {
        let before = capabilities(None).expect("capget");
        let limited = Limited::begin();
        assert!(!capabilities(None).expect("capget").effective.contains(CapabilitySet::SYS_RESOURCE));
        drop(limited);
        assert_eq!(capabilities(None).expect("capget"), before);
    }
}
