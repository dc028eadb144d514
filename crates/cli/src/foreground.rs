//! A process in the foreground: its streams are this client's, and its exit code is, too.

use std::os::fd::BorrowedFd;

use holm_engine::Session;
use holm_spec::keeper::WindowSize;

use crate::command_error::CommandError;
use crate::detach_keys::{self, DetachKeys};
use crate::session::{self, Manner, Signals, Streams};
use crate::terminal;

/// What a command asks for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Hand standard input on.
    pub stdin: bool,
    /// The process has a terminal.
    pub tty: bool,
    /// `--detach-keys`, if it was given.
    pub detach_keys: Option<&'a str>,
    /// Signals go to the process.
    pub forward_signals: bool,
    /// The workload is removed when it ends.
    pub removal: bool,
}

/// A client that is ready for a process.
#[derive(Debug)]
pub struct Foreground {
    manner: Manner,
}

impl Foreground {
    /// Gets ready; nothing has happened if this fails.
    ///
    /// # Errors
    /// Keys that are none; standard input should be a terminal and is not.
    pub fn prepare(wish: Wish<'_>) -> Result<Self, CommandError> {
        check_input(wish.stdin, wish.tty)?;
        let keys = wish.detach_keys.unwrap_or(detach_keys::DEFAULT);
        let manner = Manner {
            stdin: wish.stdin,
            raw: wish.stdin && wish.tty,
            tty: wish.tty,
            detach_keys: DetachKeys::parse(keys)
                .map_err(|reason| CommandError::flag("detach-keys", reason))?,
            forward_signals: wish.forward_signals,
            removal: wish.removal,
        };
        Ok(Self { manner })
    }

    /// Holds signals back, lets `begin` start or join the process with the size of the window for its terminal and a
    /// descriptor of signals that are the process's, and carries its streams until it ends; the exit code.
    ///
    /// # Errors
    /// Those of `begin`; the keeper failed or went away.
    pub fn carry(
        self,
        begin: impl FnOnce(Option<WindowSize>, Option<BorrowedFd<'_>>) -> Result<Session, CommandError>,
    ) -> Result<u8, CommandError> {
        let signals = Signals::hold(&self.manner)?;
        let window = if self.manner.tty { terminal::window_size() } else { None };
        let mut session = begin(window, signals.descriptor().filter(|_| self.manner.forward_signals))?;
        // It may have changed while the process started, and nobody was told.
        if let Some(now) = terminal::window_size().filter(|now| self.manner.tty && window != Some(*now)) {
            session.resize(now)?;
        }
        session::carry(&mut session, &Streams::own(), &signals, self.manner).map(session::End::code)
    }
}

/// A terminal that is typed at must be one.
fn check_input(stdin: bool, tty: bool) -> Result<(), CommandError> {
    if stdin && tty && !terminal::is_input_terminal() {
        // Docker's code for it, though a command would have run.
        let error = CommandError::new("the input device is not a TTY").plain();
        return Err(error.hint("without -t standard input may be a pipe or a file"));
    }
    Ok(())
}
