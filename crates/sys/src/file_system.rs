//! Mounting a file system by its name and its options as text, and what the kernel says if it does not like them.
//!
//! fsconfig(2) takes one option at a time, so it is known which one was refused. What a file system has to say about it can be
//! read from its context, a line a message, with a letter in front: `e` for an error, `w` for a warning, `i` for what may help.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

/// Longest message of a file system that is read, in bytes, and how many are.
const MESSAGE_LIMIT: usize = 1024;
const MESSAGES: usize = 16;

/// Why a file system was not mounted.
#[derive(Debug)]
pub struct FileSystemError {
    /// What was being done.
    step: String,
    errno: Errno,
    /// What the kernel says about it.
    messages: Vec<String>,
}

impl fmt::Display for FileSystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, io::Error::from(self.errno))?;
        if !self.messages.is_empty() {
            write!(f, " (the kernel says: {})", self.messages.join("; "))?;
        }
        Ok(())
    }
}

impl std::error::Error for FileSystemError {}

impl From<FileSystemError> for io::Error {
    fn from(error: FileSystemError) -> Self {
        Self::new(Self::from(error.errno).kind(), error)
    }
}

/// Makes a detached mount of a new instance of a file system, or of the one that its source has already.
///
/// # Errors
/// The kernel has no such file system; it refuses an option; it cannot be mounted.
pub fn mount(
    kind: &str,
    options: &[(&str, Option<&str>)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd, FileSystemError> {
    let failed = |step: String, errno, messages| FileSystemError { step, errno, messages };
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
        let step = match errno {
            Errno::NODEV => format!("this kernel has no file system `{kind}`"),
            _ => format!("open file system `{kind}`"),
        };
        failed(step, errno, Vec::new())
    })?;
    for (key, value) in options {
        let set = match value {
            None => fsconfig_set_flag(context.as_fd(), *key),
            Some(value) => fsconfig_set_string(context.as_fd(), *key, *value),
        };
        // The value may be a password.
        set.map_err(|errno| failed(format!("option `{key}`"), errno, messages(context.as_fd())))?;
    }
    let made = fsconfig_create(context.as_fd())
        .and_then(|()| fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes));
    made.map_err(|errno| failed(format!("mount {kind}"), errno, messages(context.as_fd())))
}

/// What was said until now.
fn messages(context: BorrowedFd<'_>) -> Vec<String> {
    let mut buffer = [0; MESSAGE_LIMIT];
    let mut messages = Vec::new();
    while messages.len() < MESSAGES
        && let Ok(length) = rustix::io::read(context, &mut buffer)
    {
        messages.push(message(&buffer[..length]));
    }
    messages
}

/// Without the letter in front.
fn message(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim();
    match text.split_once(' ') {
        Some(("e" | "w" | "i", rest)) => rest.to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_it_does_not_like() {
        let error = mount("no-such-thing", &[], MountAttrFlags::empty()).expect_err("there is none");
        assert!(error.to_string().contains("no file system `no-such-thing`"), "{error}");
        let options = [("size", Some("1m")), ("quick", None)];
        let error = mount("tmpfs", &options, MountAttrFlags::empty()).expect_err("there is no such option");
        assert!(error.to_string().starts_with("option `quick`: Invalid argument"), "{error}");
        assert!(error.to_string().contains("the kernel says: "), "{error}");
        assert_eq!(message(b"e tmpfs: no\n"), "tmpfs: no");
        mount("tmpfs", &options[..1], MountAttrFlags::empty()).expect("a file system in memory");
    }
}
