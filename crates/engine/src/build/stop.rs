//! How the steps of a build end before they are done: a signal comes, or one of them fails.
//!
//! ```text
//! goes on --stop--> stopped: no step begins, those that are executed end
//! signal: stop; when no step is executed any more, and the build has had a moment to say so, the process ends as by that signal
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holm_sys::process::read_signal;
use holm_sys::signals::{Held, descriptor, end_by};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// How long a build has to say that it was interrupted.
const MOMENT: Duration = Duration::from_secs(1);
const INTERRUPTED: &str = "the build was interrupted";

pub(super) struct Stop {
    /// Kept back from all threads that begin from now on, until the build is over.
    _held: Held,
    /// Reads signals.
    signals: OwnedFd,
    /// Can be read once steps are to end.
    stopped: OwnedFd,
    /// Can be read once the build is over.
    over: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Steps that are executed.
    running: usize,
    /// Why none may begin.
    why: Option<&'static str>,
    /// The build is over.
    over: bool,
}

/// A step that is executed.
pub(super) struct Running<'a>(&'a Stop);

impl Stop {
    /// Holds signals back, to hear of them first.
    pub fn begin(signals: &[i32]) -> Result<Self, String> {
        let failed = |errno| format!("hold signals back: {}", std::io::Error::from(errno));
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed);
        Ok(Self {
            _held: Held::begin(signals).map_err(failed)?,
            signals: descriptor(signals).map_err(failed)?,
            stopped: event()?,
            over: event()?,
            state: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Waits for a signal until the build is over.
    pub fn watch(&self) {
        loop {
            wait(&[self.signals.as_fd(), self.over.as_fd()], None);
            if let Some(signal) = read_signal(self.signals.as_fd()) {
                self.stop(INTERRUPTED);
                self.end_as_by(signal);
            }
            if self.lock().over {
                return;
            }
        }
    }

    /// Ends the process unless the build ends by itself because its steps did.
    fn end_as_by(&self, signal: i32) {
        let was_running = self.lock().running > 0;
        let state = self.changed.wait_while(self.lock(), |state| state.running > 0);
        drop(state);
        if was_running {
            let moment = self.changed.wait_timeout_while(self.lock(), MOMENT, |state| !state.over);
            if moment.is_ok_and(|(state, _)| state.over) {
                return;
            }
        }
        end_by(signal);
    }

    /// The build is over.
    pub fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
        let _ = rustix::io::write(&self.over, &1_u64.to_ne_bytes());
    }

    /// Ends all steps that are executed; the first who says why is heard.
    pub fn stop(&self, why: &'static str) {
        self.lock().why.get_or_insert(why);
        let _ = rustix::io::write(&self.stopped, &1_u64.to_ne_bytes());
    }

    /// A step begins, or it is said why none may.
    pub fn running(&self) -> Result<Running<'_>, String> {
        let mut state = self.lock();
        match state.why {
            Some(why) => Err(why.to_owned()),
            None => {
                state.running += 1;
                Ok(Running(self))
            }
        }
    }

    /// Waits until there is something to read, or says why that is not waited for any more.
    pub fn wait_beside(&self, other: BorrowedFd<'_>) -> Result<(), String> {
        wait(&[other, self.stopped.as_fd()], None);
        self.check()
    }

    /// Waits for so long, or says why that is not waited for any more.
    pub fn sleep(&self, time: Duration) -> Result<(), String> {
        wait(&[self.stopped.as_fd()], Some(time));
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        self.lock().why.map_or(Ok(()), |why| Err(why.to_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
        self.0.changed.notify_all();
    }
}

/// Until one can be read, for so long; too early if that fails, and then what is asked next says why.
fn wait(descriptors: &[BorrowedFd<'_>], time: Option<Duration>) {
    let mut ready: Vec<_> =
        descriptors.iter().map(|one| PollFd::from_borrowed_fd(*one, PollFlags::IN)).collect();
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    let _ = poll(&mut ready, time.as_ref());
}
