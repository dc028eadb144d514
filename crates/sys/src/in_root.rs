//! Opening paths that somebody else wrote, with a directory for their root (openat2(2), `RESOLVE_IN_ROOT`): links
//! and `..` lead nowhere outside.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// How often the kernel is asked again. One attempt fails when anybody on the machine renames a directory or mounts
/// something just while `..` is resolved.
const ATTEMPTS: usize = 1000;

/// Opens `path` below `root`; `further` forbids more, for example links. May be called in a child.
///
/// # Errors
/// As openat2(2). `EAGAIN`, by which the kernel says that it could not be sure just then, only after many attempts,
/// or of a file that others hold a lease on.
pub fn open(
    root: BorrowedFd<'_>,
    path: impl Arg + Copy,
    flags: OFlags,
    further: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | further;
    for _ in 1..ATTEMPTS {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Without asking again some of these fail.
    #[test]
    fn renames_beside_it_do_no_harm() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path();
        std::fs::create_dir_all(path.join("root/a/b")).expect("folders");
        std::fs::create_dir(path.join("one")).expect("a folder");
        let root = std::fs::File::open(path.join("root")).expect("opened");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(path.join("one"), path.join("two")).expect("renamed");
                    std::fs::rename(path.join("two"), path.join("one")).expect("renamed");
                }
            });
            let opened = (0..20_000).try_for_each(|_| {
                open(root.as_fd(), "a/../../a/b/../../../a", OFlags::PATH, ResolveFlags::empty()).map(drop)
            });
            done.store(true, Ordering::Relaxed);
            assert_eq!(opened, Ok(()));
        });
    }
}
