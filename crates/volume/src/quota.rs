//! How much a volume may hold: the limit of a project (`holm_sys::quota`) that its directory belongs to.
//!
//! The project's number is chosen by chance among those that nobody uses on that file system, and stands in the volume's
//! document. That is written before the directory gets the number and the number its limit, and the limit is taken away
//! before the document goes: so a limit without a volume is always one that a repair finds. Who looks for a free number
//! sees one that is taken by the directory that has it, whoever made that.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use holm_spec::size;
use holm_spec::volume::{Quota, Volume};
use holm_sys::file::{ensure_directory, random_bytes, read_limited};
use holm_sys::quota;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::volumes::{DIRECTORY_MODE, LIMIT};

/// Least number of bytes: a directory and the volume's own document need some.
const LEAST: u64 = 1 << 20;
/// The first number that is chosen from, and how many there are: above those that people give by hand.
const FIRST: u32 = 1 << 24;
const COUNT: u32 = 1 << 30;
/// Numbers that are tried. That one is taken is rare, unless a file system is full of projects.
const ATTEMPTS: usize = 64;

/// Bytes that a volume is to hold at most.
///
/// # Errors
/// [`Kind::Invalid`].
pub(crate) fn parse(volume: &str, text: &str) -> Result<u64> {
    let invalid = |why: String| Error::new(Kind::Invalid, format!("volume `{volume}`: {why}"));
    match size::parse(text).map_err(invalid)? {
        bytes if bytes < LEAST => Err(invalid(format!("its size `{text}` is less than 1m"))),
        bytes => Ok(bytes),
    }
}

/// A limit with a number that nobody uses where `volumes` lies.
///
/// # Errors
/// [`Kind::NoQuota`].
pub(crate) fn choose(volumes: &Path, name: &str, bytes: u64) -> Result<Quota> {
    let about = || format!("limit volume `{name}`");
    let refused = |why: &str| Error::new(Kind::NoQuota, format!("{}: {why}", about()));
    ensure_directory(volumes, DIRECTORY_MODE).map_err(|error| Error::io(about(), error))?;
    let directory = open_directory(volumes).map_err(|errno| Error::io(about(), errno))?;
    let place = volumes.display();
    if !quota::keeps_limits(directory.as_fd()).map_err(|errno| Error::io(about(), errno))? {
        return Err(refused(&format!("the file system of `{place}` keeps no limits of projects")));
    }
    // What has another number cannot be moved there.
    match quota::handed_on(directory.as_fd()).map_err(|errno| Error::io(about(), errno))? {
        None | Some(0) => {}
        Some(project) => return Err(refused(&format!("`{place}` belongs to project {project} itself"))),
    }
    for _ in 0..ATTEMPTS {
        let project = FIRST + u32::from_ne_bytes(random_bytes()) % COUNT;
        let usage = quota::usage(directory.as_fd(), project).map_err(|errno| Error::io(about(), errno))?;
        if usage == quota::ProjectUsage::default() {
            return Ok(Quota { project, bytes });
        }
    }
    Err(refused(&format!("no number of a project is free on the file system of `{place}`")))
}

/// Sees to it that a volume is kept to its size: its file system may be mounted in another way, or its limits may be counted
/// anew, since the volume was made.
///
/// # Errors
/// [`Kind::NoQuota`]; the kernel's.
pub(crate) fn keep(name: &str, directory: &Path, limit: &Quota) -> Result<()> {
    let failed = |errno| Error::io(format!("look whether volume `{name}` is kept to its size"), errno);
    let opened = open_directory(directory).map_err(failed)?;
    if !quota::keeps_limits(opened.as_fd()).map_err(failed)? {
        let text = format!(
            "volume `{name}`: its file system keeps no limits of projects any more, and so not its size: mount it with `prjquota`"
        );
        return Err(Error::new(Kind::NoQuota, text));
    }
    let usage = quota::usage(opened.as_fd(), limit.project).map_err(failed)?;
    if usage.limit == 0 { establish(directory, limit).map_err(failed) } else { Ok(()) }
}

/// Gives a directory to its project, and the project its limit.
pub(crate) fn establish(directory: &Path, limit: &Quota) -> Result<(), Errno> {
    let directory = open_directory(directory)?;
    quota::hand_on(directory.as_fd(), limit.project)?;
    quota::limit(directory.as_fd(), limit.project, limit.bytes)
}

/// Bytes that a volume holds.
pub(crate) fn held(directory: &Path, limit: &Quota) -> Result<u64, Errno> {
    Ok(quota::usage(open_directory(directory)?.as_fd(), limit.project)?.bytes)
}

/// Takes the limit of a volume away that is about to be removed.
pub(crate) fn lift(directory: &Path) {
    let read = || {
        let text = read_limited(&directory.join("volume.json"), LIMIT).ok()?;
        serde_json::from_slice::<Volume>(&text).ok()?.quota
    };
    let (Some(limit), Ok(directory)) = (read(), open_directory(directory)) else { return };
    // In a copy the document tells another one's number.
    if quota::handed_on(directory.as_fd()) == Ok(Some(limit.project)) {
        // Where limits are not kept any more there is none to take away.
        let _ = quota::limit(directory.as_fd(), limit.project, 0);
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_make_sense_or_are_refused() {
        assert_eq!(parse("data", "10G").expect("a size"), 10 << 30);
        for bad in ["", "0", "1k", "x", "-1"] {
            assert_eq!(parse("data", bad).map_err(|error| error.kind()), Err(Kind::Invalid), "{bad}");
        }
    }

    #[test]
    fn where_nothing_keeps_limits_none_is_promised() {
        // Whatever the tests' own directories lie on: a file system in memory keeps none of projects.
        let error = choose(Path::new("/dev/shm"), "data", 1 << 20).expect_err("is refused");
        assert_eq!(error.kind(), Kind::NoQuota, "{error}");
        assert!(error.to_string().contains("keeps no limits"), "{error}");
    }
}
