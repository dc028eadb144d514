//! What the files of a context hold, remembered between builds.
//!
//! ```text
//! "holmscan" | version u64 | records of 88 bytes: device, inode, size, mtime s, mtime ns, ctime s, ctime ns (u64 each), SHA-256
//! ```
//! Little endian. A file whose numbers are those of a record has its digest. One that changed a moment before it was read could
//! change again without another time, so it is not remembered (as Git does it with its index).

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_spec::Digest;
use holm_sys::file::{Durability, ensure_directory, replace};
use rustix::fs::{Stat, fstat};
use sha2::{Digest as _, Sha256};

const MAGIC: &[u8; 8] = b"holmscan";
const VERSION: u64 = 1;
const NUMBERS: usize = 7;
const RECORD: usize = NUMBERS * 8 + 32;
/// Largest file that is read: a million of records.
const LIMIT: u64 = (RECORD as u64) << 20;
/// How old a change must be, in seconds: the coarsest clock of a file system.
const SETTLED: i64 = 2;

/// What says that a file is the same: device, inode, size, and when it and what is said of it changed.
type Stamp = [u64; NUMBERS];

/// The memory.
#[derive(Debug)]
pub struct Scan {
    /// Where it is kept, if it is.
    path: Option<PathBuf>,
    known: HashMap<Stamp, [u8; 32]>,
    seen: HashMap<Stamp, [u8; 32]>,
    begun: i64,
    changed: bool,
}

fn stamp(stat: &Stat) -> Stamp {
    let time = |value: i64| value.cast_unsigned();
    #[expect(
        clippy::cast_sign_loss,
        reason = "sizes are not negative, and times only have to come back the same"
    )]
    let numbers = [
        stat.st_dev,
        stat.st_ino,
        stat.st_size as u64,
        time(stat.st_mtime),
        stat.st_mtime_nsec,
        time(stat.st_ctime),
        stat.st_ctime_nsec,
    ];
    numbers
}

impl Scan {
    /// The memory of one context, as the last build left it. One that cannot be read is empty, as is one that is not kept.
    pub fn open(path: Option<PathBuf>) -> Self {
        let read = |path: &PathBuf| holm_sys::file::read_limited(path, LIMIT).ok();
        let bytes = path.as_ref().and_then(read).unwrap_or_default();
        let begun = holm_sys::process::now() / 1_000_000_000;
        Self { path, known: decode(&bytes), seen: HashMap::new(), begun, changed: false }
    }

    /// The digest of a file's content.
    ///
    /// # Errors
    /// What opening and reading report.
    pub fn digest(
        &mut self,
        stat: &Stat,
        open: impl FnOnce() -> std::io::Result<OwnedFd>,
    ) -> std::io::Result<[u8; 32]> {
        let stamp = stamp(stat);
        if let Some(digest) = self.known.get(&stamp) {
            let digest = *digest;
            self.seen.insert(stamp, digest);
            return Ok(digest);
        }
        let file = open()?;
        let digest = digest_of(&file)?;
        // Before and after: what was looked at is what was read.
        if self::stamp(&fstat(&file)?) != stamp {
            return Err(std::io::Error::other("it changed while it was read"));
        }
        if stat.st_ctime.max(stat.st_mtime) < self.begun - SETTLED {
            self.changed = true;
            self.seen.insert(stamp, digest);
        }
        Ok(digest)
    }

    /// Remembers what was seen, for the next build. That this fails costs time and nothing else.
    pub fn keep(self) {
        let Some(path) = self.path.filter(|_| self.changed || self.seen.len() != self.known.len()) else {
            return;
        };
        let mut records: Vec<_> = self.seen.iter().collect();
        records.sort_unstable();
        let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
        for (stamp, digest) in records {
            stamp.iter().for_each(|number| bytes.extend(number.to_le_bytes()));
            bytes.extend(digest);
        }
        let directory = path.parent().unwrap_or(Path::new("/"));
        let _ =
            ensure_directory(directory, 0o700).and_then(|()| replace(&path, &bytes, Durability::Volatile));
    }
}

fn decode(bytes: &[u8]) -> HashMap<Stamp, [u8; 32]> {
    let head = [MAGIC.as_slice(), &VERSION.to_le_bytes()].concat();
    let records = bytes.strip_prefix(head.as_slice()).unwrap_or_default();
    let decode = |record: &[u8]| {
        let mut stamp = [0; NUMBERS];
        let (numbers, digest) = record.split_at(NUMBERS * 8);
        for (number, bytes) in stamp.iter_mut().zip(numbers.chunks_exact(8)) {
            *number = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        }
        (stamp, digest.try_into().expect("32 bytes"))
    };
    records.chunks_exact(RECORD).map(decode).collect()
}

/// The digest of what is left to read of a file.
///
/// # Errors
/// What reading reports.
pub fn digest_of(file: &OwnedFd) -> std::io::Result<[u8; 32]> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut file = std::fs::File::from(file.try_clone()?);
    loop {
        match std::io::Read::read(&mut file, &mut buffer) {
            Ok(0) => return Ok(hasher.finalize().into()),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The file of a context's memory below the directory of all of them.
pub fn path_of(directory: &Path, context: &Path) -> PathBuf {
    directory.join(Digest::of(context.as_os_str().as_encoded_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(path: &Path) -> Stat {
        rustix::fs::stat(path).expect("it is there")
    }

    #[test]
    fn a_file_that_did_not_change_is_not_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, memory) = (directory.path().join("file"), directory.path().join("scans/one"));
        std::fs::write(&file, "content").expect("written");
        let expected = *Digest::of(b"content").as_bytes();
        let open = || Ok(std::fs::File::open(&file)?.into());
        let mut scan = Scan::open(Some(memory.clone()));
        // As if it had been there for long.
        scan.begun += 10;
        assert_eq!(scan.digest(&stat(&file), open).expect("a digest"), expected);
        scan.keep();
        let mut scan = Scan::open(Some(memory.clone()));
        let never = || -> std::io::Result<OwnedFd> { panic!("it is read") };
        assert_eq!(scan.digest(&stat(&file), never).expect("a digest"), expected);
        std::fs::write(&file, "changed").expect("written");
        let mut scan = Scan::open(Some(memory));
        assert_ne!(scan.digest(&stat(&file), open).expect("a digest"), expected);
        scan.keep();
    }

    #[test]
    fn what_changed_a_moment_ago_is_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, memory) = (directory.path().join("file"), directory.path().join("one"));
        std::fs::write(&file, "content").expect("written");
        let mut scan = Scan::open(Some(memory.clone()));
        scan.digest(&stat(&file), || Ok(std::fs::File::open(&file)?.into())).expect("a digest");
        scan.keep();
        assert!(Scan::open(Some(memory)).known.is_empty());
        assert!(decode(b"holmscan nonsense").is_empty());
    }
}
