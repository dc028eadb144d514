//! Where files go that are full: every one a number further, the last one away.
//!
//! Only renames, from the last file to the first: killed between two of them, a keeper leaves a number that no file has,
//! and the next rotation moves no file beyond it. Who reads opens the files from the first to the last, and so misses none.

use std::fs;
use std::io;
use std::path::Path;

use holm_spec::log::{compressed, rotated, unfinished};
use holm_sys::fail_point;

/// Gives the file at `path` the number 1, if more than one file is kept; otherwise leaves it.
///
/// # Errors
/// A file cannot be renamed or removed.
pub(super) fn shift(path: &Path, max_files: u32) -> io::Result<()> {
    if max_files < 2 {
        return Ok(());
    }
    let free = (1..max_files).find(|number| !is_there(path, *number));
    let last = free.unwrap_or(max_files - 1);
    remove(path, last)?;
    for number in (1..last).rev() {
        let (from, to) = (rotated(path, number), rotated(path, number + 1));
        rename(&from, &to)?;
        rename(&compressed(&from), &compressed(&to))?;
    }
    fail_point::reached("log-shifted");
    rename(path, &rotated(path, 1))?;
    fail_point::reached("log-put-aside");
    Ok(())
}

/// Removes what a killed keeper left half made, and files whose compressed form is complete.
pub(super) fn repair(path: &Path, max_files: u32) {
    // What is not there need not be removed; what cannot be removed is left.
    let _ = fs::remove_file(unfinished(path));
    let _ = fs::remove_file(unfinished(&compressed(path)));
    for plain in (1..max_files).map(|number| rotated(path, number)) {
        if compressed(&plain).exists() {
            let _ = fs::remove_file(plain);
        }
    }
}

fn is_there(path: &Path, number: u32) -> bool {
    let plain = rotated(path, number);
    plain.exists() || compressed(&plain).exists()
}

fn remove(path: &Path, number: u32) -> io::Result<()> {
    let plain = rotated(path, number);
    absent_is_fine(fs::remove_file(&plain))?;
    absent_is_fine(fs::remove_file(compressed(&plain)))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    absent_is_fine(fs::rename(from, to))
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_a_crash_left_is_filled_first() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        let content = |number| fs::read_to_string(rotated(&path, number)).ok();
        fs::write(&path, "now").expect("write");
        fs::write(rotated(&path, 2), "old").expect("write");
        fs::write(compressed(&rotated(&path, 3)), "older").expect("write");
        shift(&path, 4).expect("shifted");
        assert_eq!((content(1).as_deref(), content(2).as_deref()), (Some("now"), Some("old")));
        assert!(compressed(&rotated(&path, 3)).exists());
        fs::write(&path, "new").expect("write");
        shift(&path, 4).expect("shifted");
        assert_eq!((content(1).as_deref(), content(3).as_deref()), (Some("new"), Some("old")));
        assert!(!compressed(&rotated(&path, 3)).exists(), "the last one went");
    }

    #[test]
    fn what_a_crash_left_half_made_goes() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("0.log");
        let left = [unfinished(&path), unfinished(&compressed(&path)), rotated(&path, 1)];
        left.iter().for_each(|path| fs::write(path, "x").expect("write"));
        fs::write(compressed(&rotated(&path, 1)), "x").expect("write");
        repair(&path, 3);
        assert_eq!(left.map(|path| path.exists()), [false; 3]);
        assert!(compressed(&rotated(&path, 1)).exists());
    }
}
