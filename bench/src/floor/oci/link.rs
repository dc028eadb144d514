//! A socket pair between parent and child: one byte is the word to go on, its end is the other's end.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::super::calls::{Calls, Failure};

/// One end.
pub struct End(OwnedFd);

/// Both ends; each process closes the other's.
///
/// # Errors
/// `EMFILE`.
pub fn pair(calls: Calls) -> Result<(End, End), Failure> {
    let (one, other) = calls.make("socketpair", "words between parent and child", || {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
    })?;
    Ok((End(one), End(other)))
}

impl End {
    /// Gives the word.
    ///
    /// # Errors
    /// `EPIPE` when the other has ended.
    pub fn tell(&self, calls: Calls) -> Result<(), Failure> {
        calls.make("write", "word", || rustix::io::write(&self.0, b"P")).map(drop)
    }

    /// Waits for the word.
    ///
    /// # Errors
    /// `ECHILD` when the other has ended instead.
    pub fn wait(&self, calls: Calls) -> Result<(), Failure> {
        let mut word = [0];
        match calls.make("read", "word", || rustix::io::read(&self.0, &mut word))? {
            0 => Err(Failure { call: "read", object: "word", errno: Errno::CHILD }),
            _ => Ok(()),
        }
    }
}
