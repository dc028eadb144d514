//! Starting a workload again when it has ended, by its policy.
//!
//! ```text
//! runs --ends--> waits (100 ms, each time twice as long, at most a minute) --> runs ...
//!                  |
//!                  +-- a signal that asks it to end --> has ended
//! ```
//! A run of ten seconds or more counts as one that did well: the next pause is the shortest again. While a workload waits its
//! sandbox is there, with this keeper, and nothing else of it.

use std::time::{Duration, Instant};

use holm_runtime::{streams, workload};
use holm_spec::keeper::Reply;
use holm_spec::workload::{Config, State, Status};
use holm_spec::{Id, signal};

use crate::finish::{ended, exit_code};
use crate::server::Server;
use crate::start::{Run, write_state};
use crate::task::Task;

/// The first pause, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));
/// A run that lasts so long did well.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// A workload that is about to be started again.
#[derive(Debug)]
pub(crate) struct Waiting {
    config: Config,
    /// As it ended.
    state: State,
    /// The pause.
    pause: Duration,
    /// When it is over.
    pub due: Instant,
}

/// Whether a signal asks a workload to end; others may make it do so, too, but are not meant for that.
pub(crate) fn asks_to_end(config: &Config, signal: i32) -> bool {
    signal == config.stop_signal || [signal::KILL, signal::TERM, signal::INT, signal::QUIT].contains(&signal)
}

/// The pause after a run that began with one.
fn next_pause(before: Duration, ran: Duration) -> Duration {
    if before.is_zero() || ran >= GOOD_RUN { PAUSES.0 } else { (before * 2).min(PAUSES.1) }
}

impl Server {
    /// How long a workload that has ended waits until it is started again; `None` if it is not.
    pub fn pause_after(&self, task: &Task, code: i32) -> Option<Duration> {
        let (policy, state) = (task.config.restart, &task.state);
        let again = policy.restarts(code, state.restarts, state.stopped || state.shutdown);
        again.then(|| next_pause(task.run.pause, task.began.elapsed()))
    }

    /// Lets a workload wait; `state` is how it ended.
    pub fn wait_to_restart(&mut self, config: Config, state: State, pause: Duration) {
        self.show_waiting(&config, &state);
        let due = Instant::now() + pause;
        self.waiting.insert(config.id, Waiting { config, state, pause, due });
    }

    /// Shows readers that a workload waits; `state` is how it ended.
    pub fn show_waiting(&self, config: &Config, state: &State) {
        let state = State { status: Status::Restarting, ..state.clone() };
        // Without it they see a workload that has ended.
        let _ = write_state(&self.paths.state(&config.id), &state);
    }

    /// Starts the workloads again whose pause is over.
    pub fn restart_due(&mut self) {
        let now = Instant::now();
        let due: Vec<Id> = self.waiting.iter().filter(|(_, it)| it.due <= now).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(waiting) = self.waiting.remove(&id) {
                self.restart(waiting);
            }
        }
    }

    fn restart(&mut self, waiting: Waiting) {
        let Waiting { config, state, pause, .. } = waiting;
        let run = Run { window: None, restarts: state.restarts.saturating_add(1), pause };
        streams::remove_fifos(&self.paths.workload(&config.id));
        // Its networks may have been changed meanwhile.
        let started = self.read_config(&config.id).and_then(|config| self.launch(&config, &run));
        if let Err(error) = started {
            let kind = workload::failure_kind(&error);
            self.fail_run(config, state, &run, exit_code(kind), &error.in_one_line());
        }
    }

    /// A run that was begun by the policy and came to nothing is an end like others; `state` is that of the last one.
    pub fn fail_run(&mut self, config: Config, state: State, run: &Run, code: i32, error: &str) {
        let state = State { restarts: run.restarts, error: error.to_owned(), ..ended(&state, code) };
        self.record(&config, &state);
        let released = self.release_groups(&config);
        self.leave_networks(&config);
        self.tell_event(&config, "die", [("exitCode", code.to_string())]);
        match config.restart.restarts(code, run.restarts, state.stopped || state.shutdown) {
            true => self.wait_to_restart(config, state, next_pause(run.pause, Duration::ZERO)),
            false => self.leave_or_close(released),
        }
    }

    /// A signal for a workload that waits: one that asks it to end does that.
    pub fn signal_waiting(&mut self, client: usize, workload: &Id, signal: i32) -> bool {
        let Some(waiting) = self.waiting.get(workload) else { return false };
        if !asks_to_end(&waiting.config, signal) {
            return false;
        }
        let Some(Waiting { config, state, .. }) = self.waiting.remove(workload) else { return false };
        self.record(&config, &State { status: Status::Exited, stopped: true, ..state });
        if self.tasks.is_empty() {
            self.close_sandbox();
        }
        self.conclude(client, &[Reply::Done]);
        true
    }

    /// Remembers that somebody asked a workload to end.
    pub fn note_request_to_end(&mut self, process: usize, signal: i32, stop: bool) {
        let Some(task) = self.tasks.values().find(|task| task.main == process) else { return };
        if stop || asks_to_end(&task.config, signal) {
            self.note_end(process, |state| state.stopped = true);
        }
    }

    /// Remembers why a workload will end.
    pub fn note_end(&mut self, process: usize, note: impl FnOnce(&mut State)) {
        let Some(task) = self.tasks.values_mut().find(|task| task.main == process) else { return };
        let before = task.state.clone();
        note(&mut task.state);
        if task.state != before {
            // For who comes after this keeper, should it be killed now.
            let _ = write_state(&self.paths.state(&task.config.id), &task.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_a_run_does_well() {
        let short = Duration::from_millis(1);
        let mut pause = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..12 {
            pause = next_pause(pause, short);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses[..4], [100, 200, 400, 800]);
        assert_eq!(pauses[10..], [60_000, 60_000]);
        assert_eq!(next_pause(pause, GOOD_RUN), PAUSES.0);
    }
}
