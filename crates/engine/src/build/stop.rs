//! How the steps of a build end before they are done: a signal comes, or one of them fails.
//!
//! ```text
//! goes on --stop--> stopped: no step begins, those that are executed end
//! signal: stop; when no step is executed any more, and the build has had a moment to say so, the process ends as by that signal;
//!         at once by the next one
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holm_sys::process::read_signal;
use holm_sys::signals::{Held, descriptor, end_by, is_ignored};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// How long a build has to say that it was interrupted.
const MOMENT: Duration = Duration::from_secs(1);
/// How often it is asked whether steps that are to end have ended.
const TICK: Duration = Duration::from_millis(20);
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
    /// Holds signals back, to hear of them first; none that is ignored anyway.
    pub fn begin(signals: &[i32]) -> Result<Self, String> {
        let signals: Vec<i32> = signals.iter().copied().filter(|signal| !is_ignored(*signal)).collect();
        let failed = |errno| format!("hold signals back: {}", std::io::Error::from(errno));
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(failed);
        Ok(Self {
            _held: Held::begin(&signals).map_err(failed)?,
            signals: descriptor(&signals).map_err(failed)?,
            stopped: event()?,
            over: event()?,
            state: Mutex::default(),
        })
    }

    /// Waits for a signal until the build is over.
    pub fn watch(&self) {
        loop {
            wait(&[self.signals.as_fd(), self.over.as_fd()], None);
            if let Some(signal) = read_signal(self.signals.as_fd()) {
                return self.end_as_by(signal);
            }
            if self.lock().over {
                return;
            }
        }
    }

    /// Ends the process unless the build ends by itself because its steps did; at once if another signal comes.
    fn end_as_by(&self, signal: i32) {
        let begun = self.lock().running > 0;
        self.stop(INTERRUPTED);
        let mut idle_since = (!begun).then(Instant::now);
        loop {
            wait(&[self.signals.as_fd(), self.over.as_fd()], Some(TICK));
            let state = self.lock();
            if state.over {
                return;
            }
            let running = state.running > 0;
            drop(state);
            if !running {
                idle_since.get_or_insert_with(Instant::now);
            }
            let had_a_moment = idle_since.is_some_and(|since| !begun || since.elapsed() > MOMENT);
            if let Some(signal) =
                read_signal(self.signals.as_fd()).or((!running && had_a_moment).then_some(signal))
            {
                end_by(signal);
            }
        }
    }

    /// The build is over when what is returned is dropped, also if that is by a panic.
    pub fn end_at_drop(&self) -> impl Drop + '_ {
        Over(self)
    }

    /// Why nothing is to be done with what came out, if a signal came.
    pub fn interruption(&self) -> Option<String> {
        self.lock().why.filter(|why| *why == INTERRUPTED).map(str::to_owned)
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

struct Over<'a>(&'a Stop);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().over = true;
        let _ = rustix::io::write(&self.0.over, &1_u64.to_ne_bytes());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

/// Until one can be read, for so long; too early if that fails, and then what is asked next says why.
fn wait(descriptors: &[BorrowedFd<'_>], time: Option<Duration>) {
    let mut ready: Vec<_> =
        descriptors.iter().map(|one| PollFd::from_borrowed_fd(*one, PollFlags::IN)).collect();
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    let _ = poll(&mut ready, time.as_ref());
}
