//! A file that many processes append lines to, and that is put aside when it is full.
//!
//! ```text
//! append: open, shared lock -> still the file of that name? -> write -> full? -> exclusive lock -> rename to <name>.1
//! ```
//! Whoever writes holds the lock shared, so that nothing is written to a file that was put aside; whoever reads follows the
//! name: a file that has lost it does not grow any more.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::file::ensure_directory;
use crate::lock::is_at;

/// How often a file that was just put aside is looked for again.
const ATTEMPTS: usize = 100;

/// Appends a line, with its end, to the file at `path`, which is made with its directory; one that is longer than `limit`
/// bytes then is put aside.
///
/// # Errors
/// It cannot be opened or written.
pub fn append(path: &Path, line: &[u8], limit: u64) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let mut file = open(path)?;
        flock(&file, FlockOperation::LockShared)?;
        if !is_at(&file, path) {
            continue;
        }
        file.write_all(line)?;
        if file.metadata()?.len() >= limit {
            put_aside(&file, path)?;
        }
        return Ok(());
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Where the lines before are, once the file was put aside.
pub fn aside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

fn open(path: &Path) -> io::Result<File> {
    let open = || File::options().append(true).create(true).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ensure_directory(path.parent().unwrap_or(Path::new("/")), 0o700)?;
            open()
        }
        opened => opened,
    }
}

/// Others may have done it while this waited for them.
fn put_aside(file: &File, path: &Path) -> io::Result<()> {
    flock(file, FlockOperation::LockExclusive)?;
    if is_at(file, path) { std::fs::rename(path, aside(path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_where_many_write() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("sub/log");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for number in 0..250 {
                        append(path, format!("{writer} {number}\n").as_bytes(), 5000).expect("appended");
                    }
                });
            }
        });
        let text = [aside(&path), path].map(|path| std::fs::read_to_string(path).expect("read")).concat();
        // Some 7 KiB in all: the file was put aside once.
        assert_eq!(text.lines().count(), 1000);
    }
}
