//! One direction of a connection: bytes go through a pipe, and are not seen here (splice(2)).

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

/// What the kernel's pipes hold.
const ROOM: usize = 64 << 10;

/// From one socket to another.
#[derive(Debug)]
pub struct Flow {
    out_of: OwnedFd,
    into: OwnedFd,
    /// Bytes in the pipe.
    held: usize,
    /// The source says nothing more.
    ended: bool,
    /// And the destination knows.
    over: bool,
}

impl Flow {
    pub fn new() -> Result<Self, Errno> {
        let (out_of, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self { out_of, into, held: 0, ended: false, over: false })
    }

    /// Everything went through.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Carries what can be carried now.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn carry(&mut self, source: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
        loop {
            let taken = self.take(&source)?;
            let given = self.give(&target)?;
            if self.ended && self.held == 0 && !self.over {
                self.over = true;
                return shutdown(target, Shutdown::Write);
            }
            if !taken && !given {
                return Ok(());
            }
        }
    }

    /// Whether anything came.
    fn take(&mut self, source: impl AsFd) -> Result<bool, Errno> {
        let room = ROOM - self.held.min(ROOM);
        if self.ended || room == 0 {
            return Ok(false);
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match splice(source, None, &self.into, None, room, flags) {
            Ok(0) => {
                self.ended = true;
                Ok(true)
            }
            Ok(length) => {
                self.held += length;
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Whether anything went.
    fn give(&mut self, target: impl AsFd) -> Result<bool, Errno> {
        if self.held == 0 {
            return Ok(false);
        }
        let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
        match splice(&self.out_of, None, target, None, self.held, flags) {
            Ok(length) => {
                self.held -= length;
                Ok(length > 0)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}
