//! Waiting for a process in the foreground: its signals, its terminal, its exit code.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_runtime::{Error, Result};
use holm_sys::process::{self, Child, read_signal};
use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
use holm_sys::rustix::io::{read, write};
use holm_sys::rustix::stdio::{stdin, stdout};
use holm_sys::rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use holm_sys::{Errno, signals};

use crate::readiness::Readiness;

/// The window of the caller's terminal has another size.
const SIGWINCH: i32 = 28;
/// What cannot be handed on, or is this process's own.
const NOT_HANDED_ON: [i32; 5] = [9, 17, 19, 23, SIGWINCH];

/// Signals on their way to a process. Made before the process is, so that none is lost.
pub struct Signals(OwnedFd);

impl Signals {
    /// Holds back what will be handed on. Children get their signals back when they are made.
    pub fn hold() -> Result<Self> {
        let signals: Vec<i32> =
            (1..=64).filter(|signal| *signal == SIGWINCH || !NOT_HANDED_ON.contains(signal)).collect();
        signals::descriptor(&signals).map(Self).map_err(|errno| Error::system("hold signals back", errno))
    }
}

/// Hands signals, the terminal's data and the program's readiness on until the process ends; its exit code.
pub fn wait(
    signals: &Signals,
    child: &Child,
    terminal: Option<&OwnedFd>,
    mut readiness: Option<Readiness>,
) -> Result<u8> {
    let relay = terminal.map(Relay::new);
    loop {
        let mut ready = [
            PollFd::new(&child.pidfd, PollFlags::IN),
            PollFd::new(&signals.0, PollFlags::IN),
            PollFd::from_borrowed_fd(relay.as_ref().map_or(signals.0.as_fd(), Relay::output), PollFlags::IN),
            PollFd::from_borrowed_fd(relay.as_ref().map_or(signals.0.as_fd(), Relay::input), PollFlags::IN),
            PollFd::from_borrowed_fd(
                readiness.as_ref().map_or(signals.0.as_fd(), AsFd::as_fd),
                PollFlags::IN,
            ),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the process", errno)),
        }
        let [ended, signal, output, input, message] = ready.map(|one| !one.revents().is_empty());
        if signal {
            hand_on(signals, child, relay.as_ref());
        }
        if let Some(relay) = &relay {
            relay.carry(output, input);
        }
        if let Some(readiness) = readiness.as_mut().filter(|_| message || ended) {
            readiness.hand_on();
        }
        if ended {
            if let Some(relay) = &relay {
                relay.drain();
            }
            break;
        }
    }
    let code =
        process::wait(child.pidfd.as_fd()).map_err(|errno| Error::system("wait for the process", errno))?;
    Ok(u8::try_from(code).unwrap_or(255))
}

fn hand_on(signals: &Signals, child: &Child, relay: Option<&Relay<'_>>) {
    while let Some(signal) = read_signal(signals.0.as_fd()) {
        match (signal, relay) {
            (SIGWINCH, Some(relay)) => relay.resize(),
            (SIGWINCH, None) => {}
            // It may have ended.
            _ => drop(process::signal(child.pidfd.as_fd(), signal)),
        }
    }
}

/// The caller's terminal, raw, beside the container's.
struct Relay<'a> {
    master: &'a OwnedFd,
    /// What the caller's terminal was like; `None` if standard input is none.
    before: Option<Termios>,
    input_ended: std::cell::Cell<bool>,
}

impl<'a> Relay<'a> {
    fn new(master: &'a OwnedFd) -> Self {
        let before = if isatty(stdin()) { tcgetattr(stdin()).ok() } else { None };
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // Of the two terminals this one makes line ends.
            raw.output_modes = before.output_modes;
            // If it cannot be raw the session works all the same.
            let _ = tcsetattr(stdin(), OptionalActions::Now, &raw);
        }
        let relay = Self { master, before, input_ended: std::cell::Cell::new(false) };
        relay.resize();
        relay
    }

    fn output(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    fn input(&self) -> BorrowedFd<'_> {
        if self.input_ended.get() { self.master.as_fd() } else { stdin() }
    }

    fn resize(&self) {
        if let Ok(size) = tcgetwinsize(stdin()) {
            let _ = tcsetwinsize(self.master, size);
        }
    }

    fn carry(&self, output: bool, input: bool) {
        if output {
            copy(self.master.as_fd(), stdout());
        }
        if input && !self.input_ended.get() && !copy(stdin(), self.master.as_fd()) {
            self.input_ended.set(true);
        }
    }

    /// What the process wrote before it ended.
    fn drain(&self) {
        let mut ready = [PollFd::new(self.master, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        while poll(&mut ready, Some(&now)) == Ok(1)
            && ready[0].revents().contains(PollFlags::IN)
            && copy(self.master.as_fd(), stdout())
        {}
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Now, before);
        }
    }
}

/// Copies what is there; whether there may be more.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut piece = [0; 16 * 1024];
    let length = match read(from, &mut piece) {
        Ok(0) => return false,
        Ok(length) => length,
        Err(errno) => return matches!(errno, Errno::INTR | Errno::AGAIN),
    };
    let mut rest = &piece[..length];
    while !rest.is_empty() {
        match write(to, rest) {
            Ok(length) => rest = &rest[length..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
