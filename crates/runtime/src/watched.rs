//! One process that is watched by whoever started it: a workload's first one, or an exec.

use std::os::fd::{AsFd, OwnedFd};

use holm_spec::keeper::WindowSize;
use holm_sys::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::container::Started;
use crate::error::{Context, Result};
use crate::streams::{self, Streams};

/// What a process is to its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The workload's first process: its end is the workload's.
    Main,
    /// Another process, of one session.
    Exec,
}

/// A process with its streams.
#[derive(Debug)]
pub struct Watched {
    /// What it is to its workload.
    pub role: Role,
    /// As this process's pid namespace numbers it.
    pub pid: i32,
    /// Becomes readable when it ends.
    pub pidfd: OwnedFd,
    /// Start time of an adopted process, which somebody else reaps; `None` for a child of this process.
    pub adopted: Option<u64>,
    /// The other ends of its standard streams.
    pub streams: Streams,
    /// Input that the process has not taken yet.
    pub backlog: Vec<u8>,
    /// Close standard input once the backlog is taken.
    pub close_after_backlog: bool,
}

impl Watched {
    /// A process that was there before whoever watches it now, and the streams that were found.
    pub fn adopted(pid: i32, pidfd: OwnedFd, start_time: u64, streams: Streams) -> Self {
        Self {
            role: Role::Main,
            pid,
            pidfd,
            adopted: Some(start_time),
            streams,
            backlog: Vec::new(),
            close_after_backlog: false,
        }
    }

    /// Gives input to the process, keeping what it does not take.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.backlog.extend_from_slice(bytes);
        self.feed_backlog();
    }

    /// Gives the process what it takes of the backlog.
    pub fn feed_backlog(&mut self) {
        let Some(stdin) = &self.streams.stdin else {
            self.backlog.clear();
            return;
        };
        let mut taken = 0;
        while taken < self.backlog.len() {
            match rustix::io::write(stdin, &self.backlog[taken..]) {
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // Nobody reads any more.
                Err(_) => taken = self.backlog.len(),
            }
        }
        self.backlog.drain(..taken);
        if self.backlog.is_empty() {
            self.backlog.shrink_to(4096);
        }
        if self.backlog.is_empty() && self.close_after_backlog {
            self.streams.stdin = None;
        }
    }

    /// Ends standard input behind what was given; a terminal has no such end.
    pub fn close_stdin(&mut self) {
        if self.streams.terminal {
            return;
        }
        self.close_after_backlog = true;
        self.feed_backlog();
    }

    /// Changes the size of the terminal, if there is one.
    pub fn resize(&self, window: WindowSize) {
        if let (true, Some(master)) = (self.streams.terminal, &self.streams.outputs[0]) {
            let size = Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = tcsetwinsize(master, size);
        }
    }

    /// Sends a signal to the process; one that has ended takes it without a word.
    ///
    /// # Errors
    /// There is no such signal.
    pub fn signal(&self, signal: i32) -> std::result::Result<(), Errno> {
        holm_sys::process::signal(self.pidfd.as_fd(), signal)
    }

    /// Whether it has ended, or does so soon: one that is on its way out has let go of its root before its end shows.
    pub fn is_on_its_way_out(&self) -> bool {
        let patience = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
        poll(&mut [PollFd::new(&self.pidfd, PollFlags::IN)], Some(&patience)) != Ok(0)
    }

    /// How it ended; the pidfd must be readable.
    pub fn reap(&self) -> i32 {
        let code = match self.adopted {
            None => holm_sys::process::wait(self.pidfd.as_fd()).ok(),
            Some(start_time) => {
                holm_sys::process::foreign_exit_code(self.pid, start_time, self.pidfd.as_fd())
            }
        };
        code.unwrap_or(UNKNOWN_EXIT)
    }
}

/// A process that was started and is not watched yet: unless it is handed over, it ends with this, for nobody would
/// know of it.
#[derive(Debug)]
pub struct Newborn(Option<Watched>);

impl Newborn {
    /// Takes care of a process that was started with `streams`, or on a terminal of its own.
    ///
    /// # Errors
    /// The terminal cannot be taken.
    pub fn of(role: Role, started: Started, streams: Option<Streams>) -> Result<Self> {
        let mut newborn = Self::new(Watched {
            role,
            pid: started.process.pid.as_raw_nonzero().get(),
            pidfd: started.process.pidfd,
            adopted: None,
            streams: streams.unwrap_or_default(),
            backlog: Vec::new(),
            close_after_backlog: false,
        });
        if let Some(master) = started.terminal {
            newborn.get().streams = streams::terminal(master).context(|| "take the terminal")?;
        }
        Ok(newborn)
    }

    /// Takes care of a process.
    pub fn new(process: Watched) -> Self {
        Self(Some(process))
    }

    /// The process.
    pub fn get(&mut self) -> &mut Watched {
        self.0.as_mut().expect("it is there until it is handed over, which consumes this")
    }

    /// Hands the process over.
    pub fn hand_over(mut self) -> Watched {
        self.0.take().expect("it is there until it is handed over, which consumes this")
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        // One that is adopted ran before, and goes on.
        if let Some(process) = self.0.take().filter(|process| process.adopted.is_none()) {
            let _ = process.signal(holm_spec::signal::KILL);
            process.reap();
        }
    }
}

/// Exit code of a process whose end nobody could see.
pub const UNKNOWN_EXIT: i32 = 255;
