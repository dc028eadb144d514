//! Health checks: a program that is run in the workload again and again.
//!
//! A check is an exec like others, whose output goes into the result. None is begun while the workload is paused, or while
//! somebody changes it: a process that is born frozen would hold up this keeper.

use std::time::{Duration, Instant};

use holm_runtime::cgroup::{Hierarchies, is_frozen};
use holm_spec::keeper::ExecProcess;
use holm_spec::life::{Health, HealthCheck, HealthResult, OUTPUT_LIMIT};
use holm_spec::workload::Config;
use holm_spec::{Id, Timestamp, signal};
use holm_sys::lock::{Lock, Mode};

use crate::server::Server;
use crate::start::write_state;
use crate::task::group_path;

/// Until a check is tried again that could not begin.
const AGAIN: Duration = Duration::from_millis(250);

/// The checks of one workload.
#[derive(Debug)]
pub(crate) struct Watch {
    check: HealthCheck,
    began: Instant,
    /// When the next check begins, or the one that runs has taken too long.
    pub due: Instant,
    running: Option<Running>,
}

/// A check that runs.
#[derive(Debug)]
struct Running {
    process: usize,
    start: Timestamp,
    output: Vec<u8>,
    too_long: bool,
}

impl Watch {
    /// The checks of a workload that begins now; `None` if there are none.
    pub fn of(config: &Config) -> Option<Self> {
        let check = config.health.clone()?;
        let began = Instant::now();
        let mut watch = Self { check, began, due: began, running: None };
        watch.due = began + watch.interval(true);
        Some(watch)
    }

    fn has_grace(&self) -> bool {
        self.began.elapsed() < Duration::from_nanos(self.check.start_period)
    }

    fn interval(&self, starting: bool) -> Duration {
        let at_first = starting && self.has_grace();
        Duration::from_nanos(if at_first { self.check.start_interval } else { self.check.interval })
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(holm_sys::process::now())
}

impl Server {
    /// Begins the checks that are due, and ends those that take too long.
    pub fn check_due(&mut self) {
        let now = Instant::now();
        let is_due = |watch: &Watch| watch.due <= now;
        let due = self.tasks.iter().filter(|(_, task)| task.health.as_ref().is_some_and(is_due));
        for id in due.map(|(id, _)| *id).collect::<Vec<_>>() {
            match self.tasks.get(&id).and_then(|task| task.health.as_ref()?.running.as_ref()) {
                Some(running) => self.end_check(&id, running.process),
                None => self.begin_check(&id),
            }
        }
    }

    fn begin_check(&mut self, id: &Id) {
        let Some((arguments, timeout)) = self.tasks.get(id).and_then(|task| {
            let check = &task.health.as_ref()?.check;
            Some((check.arguments(), Duration::from_nanos(check.timeout)))
        }) else {
            return;
        };
        if self.tasks.get(id).is_some_and(|task| self.is_starting(task.main)) {
            return self.set_due(id, AGAIN);
        }
        let Some(_leave) = self.leave_to_execute(id) else {
            return self.set_due(id, AGAIN);
        };
        let start = now();
        let process = ExecProcess {
            args: arguments,
            env: Vec::new(),
            cwd: None,
            user: None,
            tty: false,
            privileged: false,
        };
        match self.try_exec(id, &process, false, None) {
            Ok((process, notices)) => {
                let Ok(index) = self.watch(process) else { return self.set_due(id, AGAIN) };
                self.listen_to(index, notices);
                self.set_due(id, timeout);
                if let Some(watch) = self.tasks.get_mut(id).and_then(|task| task.health.as_mut()) {
                    watch.running =
                        Some(Running { process: index, start, output: Vec::new(), too_long: false });
                }
            }
            // It is on its way out.
            Err(None) => self.set_due(id, AGAIN),
            Err(Some(error)) => {
                let output = error.in_one_line();
                self.take_result(id, HealthResult { start, end: now(), exit_code: -1, output });
            }
        }
    }

    /// Leave to run a process in a workload, as long as it is held.
    fn leave_to_execute(&self, id: &Id) -> Option<Lock> {
        let lock = Lock::try_acquire(&self.layout.workload(id).lock(), Mode::Shared).ok().flatten()?;
        let group = group_path(&self.tasks.get(id)?.config);
        let frozen = Hierarchies::detect().is_ok_and(|hierarchies| is_frozen(&hierarchies, &group));
        (!frozen).then_some(lock)
    }

    fn set_due(&mut self, id: &Id, from_now: Duration) {
        if let Some(watch) = self.tasks.get_mut(id).and_then(|task| task.health.as_mut()) {
            watch.due = Instant::now() + from_now;
        }
    }

    /// It is told as one that failed once it has ended.
    fn end_check(&mut self, id: &Id, process: usize) {
        if let Some(process) = self.process(process) {
            let _ = process.signal(signal::KILL);
        }
        self.set_due(id, AGAIN);
        let running = self.tasks.get_mut(id).and_then(|task| task.health.as_mut()?.running.as_mut());
        running.into_iter().for_each(|running| running.too_long = true);
    }

    /// Whose check a process is.
    fn checked_by(&self, process: usize) -> Option<Id> {
        let is_it = |watch: &Watch| watch.running.as_ref().is_some_and(|running| running.process == process);
        self.tasks.iter().find(|(_, task)| task.health.as_ref().is_some_and(is_it)).map(|(id, _)| *id)
    }

    /// Keeps what a check writes; false if the process is no check.
    pub fn take_check_output(&mut self, process: usize, bytes: &[u8]) -> bool {
        let Some(id) = self.checked_by(process) else { return false };
        let running = self.tasks.get_mut(&id).and_then(|task| task.health.as_mut()?.running.as_mut());
        if let Some(Running { output, .. }) = running {
            output.extend_from_slice(&bytes[..bytes.len().min(OUTPUT_LIMIT - output.len())]);
        }
        true
    }

    /// Takes the end of a check; nothing if the process was none.
    pub fn take_check_end(&mut self, process: usize, code: i32) {
        let Some(id) = self.checked_by(process) else { return };
        let Some(watch) = self.tasks.get_mut(&id).and_then(|task| task.health.as_mut()) else { return };
        let Some(Running { start, output, too_long, .. }) = watch.running.take() else { return };
        let seconds = Duration::from_nanos(watch.check.timeout).as_secs_f64();
        let (exit_code, output) = match too_long {
            true => (-1, format!("Health check exceeded timeout ({seconds}s)")),
            false => (code, String::from_utf8_lossy(&output).into_owned()),
        };
        self.take_result(&id, HealthResult { start, end: now(), exit_code, output });
    }

    fn take_result(&mut self, id: &Id, result: HealthResult) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        let Some(watch) = task.health.as_mut() else { return };
        let health = task.state.health.get_or_insert_with(Health::starting);
        let before = health.status;
        health.take(&watch.check, result, watch.has_grace());
        let changed = (health.status != before).then(|| format!("health_status: {}", health.status));
        let starting = health.status == holm_spec::life::HealthStatus::Starting;
        watch.due = Instant::now() + watch.interval(starting);
        // Who reads it sees an older result otherwise.
        let _ = write_state(&self.paths.state(id), &task.state);
        if let Some((action, task)) = changed.zip(self.tasks.get(id)) {
            self.tell_event(&task.config, action, []);
        }
    }
}
