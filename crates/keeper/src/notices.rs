//! What machines say of the processes in them.
//!
//! A process that was started here runs `holm-machine`; the one that was asked for runs later, in the guest. Whoever
//! asked waits until the machine says that it runs, or why not.

use std::os::fd::{AsFd, OwnedFd};

use holm_runtime::watched::Role;
use holm_spec::keeper::{FailureKind, PACKET_LIMIT, Reply, Streams};
use holm_spec::machine::{Facts, KeeperWord, Notice, file};
use holm_sys::Errno;
use holm_sys::fail_point;
use holm_sys::file::{Durability, replace};
use holm_sys::socket::{try_receive_packet, try_send_packet};
use rustix::event::epoll::{self, EventFlags};

use crate::finish::exit_code;
use crate::server::{Server, Token};
use crate::shares::Helper;
use crate::task::Task;

/// What is known of a process in a machine.
#[derive(Debug)]
pub(crate) struct InMachine {
    /// Gone once the machine has nothing more to say.
    notices: Option<OwnedFd>,
    stage: Stage,
    /// A process of the workload was killed for lack of memory.
    pub oom_killed: bool,
    /// Why the machine ended, if not because the process did.
    pub reason: Option<String>,
}

/// Who waits for a process: the client, what its session carries, what it is told of as the process.
type Waiting = Option<(usize, Streams, i32)>;

#[derive(Debug)]
enum Stage {
    Starting(Waiting),
    Started,
    /// It never will.
    Failed(FailureKind, String, Waiting),
}

impl InMachine {
    /// Whether the process ran.
    pub fn has_started(&self) -> bool {
        matches!(self.stage, Stage::Started)
    }

    fn is_awaited_by(&self, index: usize) -> bool {
        matches!(self.stage, Stage::Starting(Some((client, ..))) if client == index)
    }

    /// A client is gone, and its number may be another's soon; whether it was to carry the input of the process that it
    /// waited for.
    pub fn forget_client(&mut self, index: usize) -> bool {
        let carries =
            |waiting: &Waiting| waiting.is_some_and(|(client, streams, _)| client == index && streams.stdin);
        let carried = matches!(&self.stage, Stage::Starting(waiting) if carries(waiting));
        if let Stage::Starting(waiting) | Stage::Failed(_, _, waiting) = &mut self.stage {
            *waiting = waiting.filter(|(client, ..)| *client != index);
        }
        carried
    }
}

impl Server {
    /// Listens to what a machine says of a process; `None` for one that is in no machine.
    pub fn listen_to(&mut self, process: usize, notices: Option<OwnedFd>) {
        let Some(notices) = notices else { return };
        let _ = epoll::add(&self.epoll, &notices, Token::Notice(process).data(), EventFlags::IN);
        let machine = InMachine {
            notices: Some(notices),
            stage: Stage::Starting(None),
            oom_killed: false,
            reason: None,
        };
        self.machines.insert(process, machine);
    }

    /// Watches what serves a machine.
    pub fn watch_helpers(&self, process: usize, helpers: &[Helper]) {
        for helper in helpers {
            let flags = EventFlags::IN | EventFlags::ONESHOT;
            let _ = epoll::add(&self.epoll, helper.pidfd(), Token::Helper(process).data(), flags);
        }
    }

    /// Tells a machine, which knows whether it still needs what has ended.
    pub fn lose_helper(&mut self, process: usize) {
        let Some(notices) = self.machines.get(&process).and_then(|machine| machine.notices.as_ref()) else {
            return;
        };
        let packet = serde_json::to_vec(&KeeperWord::SharesGone).expect("plain data");
        let _ = try_send_packet(notices.as_fd(), &packet, &[]);
    }

    /// Joins a client to a process, at once or when its machine says that it runs.
    pub fn join_when_started(&mut self, client: usize, process: usize, streams: Streams, pid: i32) {
        match self.machines.get_mut(&process) {
            Some(machine) => machine.stage = Stage::Starting(Some((client, streams, pid))),
            None => self.join_session(client, process, streams, pid),
        }
    }

    /// A signal for the process that a client waits for goes to its machine, which ends.
    pub fn signal_starting(&mut self, client: usize, signal: i32) {
        let process = self.machines.iter().find(|(_, machine)| machine.is_awaited_by(client));
        if let Some(process) = process.map(|(process, _)| *process).and_then(|process| self.process(process))
        {
            let _ = process.signal(signal);
        }
    }

    /// Whether a process in a machine is not known to run yet. What it writes waits: another process than the one that
    /// hands its output on may be the one to tell that it runs.
    pub fn is_starting(&self, process: usize) -> bool {
        self.machines.get(&process).is_some_and(|machine| matches!(machine.stage, Stage::Starting(_)))
    }

    /// Takes what a machine has said.
    pub fn take_notices(&mut self, process: usize) {
        while let Some(notice) = self.receive_notice(process) {
            let Some(machine) = self.machines.get_mut(&process) else { return };
            match notice {
                Notice::Started { facts, .. } => self.take_start(process, facts),
                Notice::Failed { kind, message } => {
                    if let Stage::Starting(waiting) = machine.stage {
                        machine.stage = Stage::Failed(kind, message, waiting);
                    }
                }
                Notice::Ended { oom_killed, reason } => {
                    (machine.oom_killed, machine.reason) = (oom_killed, reason);
                }
            }
        }
    }

    /// The next packet that is there. One that makes no sense ends the conversation: it is no machine of ours that
    /// speaks.
    fn receive_notice(&mut self, process: usize) -> Option<Notice> {
        let machine = self.machines.get_mut(&process)?;
        let mut buffer = vec![0; PACKET_LIMIT];
        let received = try_receive_packet(machine.notices.as_ref()?.as_fd(), &mut buffer);
        if received.as_ref().is_err_and(|errno| *errno == Errno::AGAIN) {
            return None;
        }
        let length = received.map_or(0, |(length, _)| length);
        let notice = serde_json::from_slice(&buffer[..length]).ok();
        if notice.is_none() {
            machine.notices = None;
        }
        notice
    }

    fn take_start(&mut self, process: usize, facts: Option<Facts>) {
        let Some(machine) = self.machines.get_mut(&process) else { return };
        let Stage::Starting(waiting) = std::mem::replace(&mut machine.stage, Stage::Started) else { return };
        if let Some(facts) = facts {
            let text = serde_json::to_vec(&facts).expect("facts are plain data");
            // Only `inspect` misses it.
            let _ = replace(&self.paths.dir.join(file::FACTS), &text, Durability::Volatile);
        }
        fail_point::reached("machine-told");
        if let Some((client, streams, pid)) = waiting {
            self.join_session(client, process, streams, pid);
        }
        self.refresh_outputs(process);
    }

    /// A process that never ran is over: to whoever asked for it, its start failed; to whoever waits for its end, it
    /// came.
    pub fn finish_failed_start(&mut self, process: usize, role: Role) {
        let (kind, message, waiting) = match self.machines.remove(&process).map(|machine| machine.stage) {
            Some(Stage::Failed(kind, message, waiting)) => (kind, message, waiting),
            Some(Stage::Starting(waiting)) => {
                (FailureKind::Other, "the machine was ended while it started".to_owned(), waiting)
            }
            Some(Stage::Started) | None => return,
        };
        if role == Role::Main {
            self.bury_machine(process, kind, &message);
        }
        self.finish_session(process, &[Reply::Exited { code: exit_code(kind), oom_killed: false }]);
        if let Some((client, ..)) = waiting {
            self.fail(client, kind, message);
        }
    }

    fn bury_machine(&mut self, process: usize, kind: FailureKind, message: &str) {
        let id = self.tasks.iter().find(|(_, task)| task.main == process).map(|(id, _)| *id);
        if let Some(Task { config, state, group, helpers, run, .. }) =
            id.and_then(|id| self.tasks.remove(&id))
        {
            drop((helpers, group));
            match run.restarts {
                0 => self.bury_failed_start(&config, kind, message),
                _ => self.fail_run(config, state, &run, exit_code(kind), message),
            }
        }
    }
}
