//! The end of a workload, and of its sandbox.
//!
//! Order: what readers rely on first. The exit is recorded before anything is taken down, so that a
//! keeper killed at any step leaves what the next `holm` command can finish; clients hear of the end
//! when nothing is left to do.

use std::time::Duration;

use holm_runtime::cgroup::{Hierarchies, out_of_memory_kills};
use holm_runtime::release::{release_groups, remove_workload};
use holm_spec::event::{EVENTS_LIMIT, Event};
use holm_spec::keeper::{FailureKind, Reply};
use holm_spec::layout::DOOMED_PREFIX;
use holm_spec::life::{Health, HealthStatus};
use holm_spec::volume::MountKind;
use holm_spec::workload::{Config, State, Status};
use holm_spec::{Id, Timestamp};
use holm_sys::appended::append;
use holm_sys::fail_point;
use holm_sys::file::{remove_locked_tree, remove_tree};
use holm_sys::lock::{Lock, Mode};
use holm_volume::Volumes;

use crate::server::Server;
use crate::start::{read_document, write_last_state};
use crate::task::{Task, group_path};

/// Longest state of a workload that is read, in bytes.
const STATE_LIMIT: u64 = 1 << 20;
/// How long a command may take to let go of a workload that it has started.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

impl Server {
    /// A workload's first process ended.
    pub fn finish_task(&mut self, process: usize, code: i32) {
        fail_point::reached("keeper-exit-seen");
        let id = self.tasks.iter().find(|(_, task)| task.main == process).map(|(id, _)| *id);
        let Some(mut task) = id.and_then(|id| self.tasks.remove(&id)) else { return };
        if let Ok(Some(changes)) = self.changes(&task.config.id) {
            // While it ran somebody may have changed its policy, or given it a limit.
            changes.apply(&mut task.config);
        }
        task.log.finish(Timestamp::from_nanos(holm_sys::process::now()));
        let (oom_killed, reason) = match self.machines.get(&process) {
            Some(machine) => (machine.oom_killed, machine.reason.clone()),
            None => (was_out_of_memory(&task.config), None),
        };
        let pause = self.pause_after(&task, code);
        let state = State { oom_killed, error: reason.unwrap_or_default(), ..ended(&task.state, code) };
        if pause.is_some() {
            // Before its end is on record: nobody shall take it for one that stays.
            self.show_waiting(&task.config, &state);
        }
        self.record(&task.config, &state);
        if oom_killed {
            self.tell_event(&task.config, "oom", []);
        }
        let ran = state.finished.nanos().saturating_sub(state.started.nanos()) / 1_000_000_000;
        let attributes = [("exitCode", code.to_string()), ("execDuration", ran.to_string())];
        self.tell_event(&task.config, "die", attributes);
        fail_point::reached("keeper-exit-written");
        let (auto_remove, config) = (task.config.auto_remove, task.config.clone());
        let released = self.take_down(task);
        match pause {
            Some(pause) => self.wait_to_restart(config, state, pause),
            None => self.leave_or_close(released),
        }
        let mut replies = vec![Reply::Exited { code, oom_killed }];
        replies.extend(auto_remove.then_some(Reply::Removed));
        self.finish_session(process, &replies);
    }

    /// How a workload ended the last time; `None` if it never ran.
    fn last_state(&self, id: &Id) -> Option<State> {
        read_document(&self.layout.workload(id).exit(), STATE_LIMIT).ok().flatten()
    }

    /// Writes down how a workload ended, if that is of use to anybody.
    pub fn record(&self, config: &Config, state: &State) {
        if !config.auto_remove {
            // Without a place to write to, the next command finds a dead sandbox and says so.
            let _ = write_last_state(&self.layout.workload(&config.id).exit(), config, state);
        }
    }

    /// Writes an event about a workload down, if that can be done.
    pub fn tell_event<'a>(
        &self,
        config: &Config,
        action: impl Into<String>,
        attributes: impl IntoIterator<Item = (&'a str, String)>,
    ) {
        let now = Timestamp::from_nanos(holm_sys::process::now());
        let event = Event::of_workload(config, action, attributes, now);
        let _ = append(&self.layout.events(), &event.to_line(), EVENTS_LIMIT);
    }

    /// Ends what is left of a workload; says whether its control groups are gone.
    pub fn release_groups(&self, config: &Config) -> bool {
        release_groups(&config.cgroup_parent, &config.sandbox).is_ok()
    }

    /// Gives back what the workload held; says whether its control groups are gone. What fails here is left for the next
    /// command to repair: where a group is left, the sandbox's directory is the only record of it.
    fn take_down(&mut self, task: Task) -> bool {
        let Task { config, group, layers, volumes, helpers, log, .. } = task;
        drop((helpers, group, log));
        let released = self.release_groups(&config);
        fail_point::reached("keeper-cgroup-removed");
        self.leave_networks(&config);
        drop((layers, volumes));
        fail_point::reached("keeper-layers-released");
        if config.auto_remove {
            // The lock goes with the directory and tells others that its remover lives. Whoever started this
            // a moment ago may still hold it.
            let _lock = Lock::acquire_within(
                &self.layout.workload(&config.id).lock(),
                Mode::Exclusive,
                LOCK_PATIENCE,
            );
            self.remove_workload(&config);
        }
        released
    }

    /// What cannot be removed goes with the next command.
    fn remove_workload(&self, config: &Config) {
        let removed = remove_workload(&self.layout, &config.id, &config.name);
        self.tell_event(config, "destroy", []);
        if removed.is_ok() && config.settings.mounts.iter().any(|mount| mount.kind == MountKind::Volume) {
            let _ = Volumes::new(&self.layout).release(&config.id);
        }
    }

    /// Goes with the last workload, as far as all of it is gone.
    pub fn leave_or_close(&mut self, released: bool) {
        match (self.tasks.is_empty() && self.waiting.is_empty(), released) {
            (true, true) => self.close_sandbox(),
            (true, false) => self.leave_sandbox(),
            (false, _) => {}
        }
    }

    /// A start that failed leaves the workload as it was, with the reason; `--rm` removes it.
    pub fn bury_failed_start(&mut self, config: &Config, kind: FailureKind, error: &str) {
        let released = self.release_groups(config);
        // Of a machine that never came up.
        self.leave_networks(config);
        if config.auto_remove {
            // Whoever started it holds the workload's lock until it hears of this.
            self.remove_workload(config);
        } else {
            let before = self.last_state(&config.id).unwrap_or_else(State::created);
            let state = State { exit_code: exit_code(kind), error: error.to_owned(), ..before };
            self.record(config, &state);
        }
        self.leave_or_close(released);
    }

    /// Leaves the directory to the next command, which finds it without a keeper and buries it.
    fn leave_sandbox(&mut self) {
        self.stop_listening();
        self.lock = None;
    }

    /// Removes the sandbox's directory; nobody can come in any more.
    pub fn close_sandbox(&mut self) {
        self.stop_listening();
        // Renamed first, so that a new start of the same workload finds a free place at once.
        let doomed = self.layout.sandboxes().join(format!("{DOOMED_PREFIX}{}", self.sandbox));
        let _ = remove_tree(&doomed);
        let directory =
            if std::fs::rename(&self.paths.dir, &doomed).is_ok() { &doomed } else { &self.paths.dir };
        let _ = remove_locked_tree(directory);
        self.lock = None;
    }
}

/// The state of a workload that has ended just now.
pub fn ended(state: &State, exit_code: i32) -> State {
    State {
        status: Status::Exited,
        pid: 0,
        pid_start: 0,
        finished: Timestamp::from_nanos(holm_sys::process::now()),
        exit_code,
        // As Docker has it: what does not run is not healthy.
        health: state.health.clone().map(|health| Health { status: HealthStatus::Unhealthy, ..health }),
        ..state.clone()
    }
}

/// The exit code of a workload whose start failed.
pub fn exit_code(kind: FailureKind) -> i32 {
    match kind {
        FailureKind::CommandNotFound => 127,
        FailureKind::CommandNotExecutable => 126,
        _ => 125,
    }
}

/// Asked only where a limit of memory was set: otherwise no group counts for the workload alone.
fn was_out_of_memory(config: &Config) -> bool {
    let limited = config.settings.memory.is_some();
    limited
        && Hierarchies::detect()
            .is_ok_and(|hierarchies| out_of_memory_kills(&hierarchies, &group_path(config)) > 0)
}
