//! Removal of what is of no use: uploads that nobody goes on with, blobs that no repository has, half-made files.
//!
//! Safe beside pushes: a blob on its way to a repository has its upload for a second name until it has arrived.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Storage, found, in_repository};
use crate::digest::Algorithm;
use crate::name::Repository;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Uploads.
    pub uploads: usize,
    /// Blobs.
    pub blobs: usize,
}

impl Storage {
    /// Removes what is of no use: uploads that nothing was added to for `age`, then blobs.
    pub fn sweep(&self, age: Duration) -> io::Result<Swept> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = now.saturating_sub(age).as_secs();
        let mut swept = Swept::default();
        self.each_repository(&mut |repository| {
            swept.uploads += self.sweep_uploads(repository, oldest)?;
            Ok(())
        })?;
        for algorithm in Algorithm::ALL {
            swept.blobs += self.sweep_blobs(algorithm)?;
        }
        Ok(swept)
    }

    /// Removes half-made files of a process that died. Only while nobody writes: at the start.
    pub fn remove_temporaries(&self) -> io::Result<()> {
        self.each_repository(&mut |repository| {
            let mut pending = ["_blobs", "_manifests", "_tags", "_referrers"]
                .map(|part| in_repository(repository, part))
                .to_vec();
            while let Some(path) = pending.pop() {
                let Some(directory) = found(self.root.directory(&path))? else { continue };
                directory.remove_temporaries()?;
                directory.each(|name, is_directory| {
                    if is_directory {
                        pending.push(format!("{path}/{name}"));
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }

    fn sweep_uploads(&self, repository: &Repository, oldest: u64) -> io::Result<usize> {
        let Some(directory) = found(self.root.directory(&in_repository(repository, "_uploads")))? else {
            return Ok(0);
        };
        let mut old = Vec::new();
        directory.each(|name, _| {
            let stat = found(directory.stat(name))?;
            // A clock that was wrong must not remove what is new: times in the future are not old.
            if stat.is_some_and(|stat| u64::try_from(stat.st_mtime).unwrap_or(0) < oldest) {
                old.push(name.to_owned());
            }
            Ok(())
        })?;
        old.iter().try_for_each(|name| directory.remove(name).map(drop))?;
        Ok(old.len())
    }

    fn sweep_blobs(&self, algorithm: Algorithm) -> io::Result<usize> {
        let path = format!("blobs/{}", algorithm.name());
        let Some(directory) = found(self.root.directory(&path))? else { return Ok(0) };
        let mut unused = Vec::new();
        directory.each(|name, _| {
            if found(directory.stat(name))?.is_some_and(|stat| stat.st_nlink == 1) {
                unused.extend(format!("{}:{name}", algorithm.name()).parse());
            }
            Ok(())
        })?;
        let mut removed = 0;
        for digest in &unused {
            removed += usize::from(self.remove_unused(digest)?);
        }
        Ok(removed)
    }
}
