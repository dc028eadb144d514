//! What the machine asks, command by command.

use holm_runtime::{Error, Result};
use holm_spec::Id;
use holm_spec::agent::{Command, GuestWorkload, PROTOCOL, Report, output_stream};
use holm_spec::digest::decode_hex;
use holm_spec::files::Task;
use holm_spec::keeper::{ExecProcess, FailureKind, WindowSize};
use holm_sys::entropy::add_entropy;
use rustix::time::{ClockId, Timespec, clock_settime};

use crate::agent::Agent;
use crate::session::Session;
use crate::workload::{self, Workload};
use crate::{console, figures};

/// Most processes that the machine may have started.
const SESSIONS_LIMIT: usize = 4096;
/// Most workloads of a guest.
const WORKLOADS_LIMIT: usize = 256;
const SECOND: u64 = 1_000_000_000;

/// Why there is no session: what a client makes of it, and a line of text.
type Failure = (FailureKind, String);

impl Agent {
    /// Carries out one command.
    pub fn carry_out(&mut self, command: Command) {
        match command {
            Command::Hello { protocol, clock, seed } => self.greet(protocol, clock, &seed),
            Command::Create { request, workload } => {
                let created = self.create(*workload);
                self.answer(request, created.map(|()| Report::Done { request }));
            }
            Command::Start { session, workload, window } => self.start(session, workload, window),
            Command::Exec { session, workload, process, stdin, window } => {
                if !self.is_taken(session) {
                    let started = self.exec(session, workload, &process, stdin, window);
                    self.begin(session, started);
                }
            }
            Command::Files { session, workload, task } => {
                if !self.is_taken(session) {
                    let started = self.files(session, workload, &task);
                    self.begin(session, started);
                }
            }
            Command::Signal { session, signal } => self.signal(session, signal),
            Command::Resize { session, window } => {
                self.at(session, |session| session.process.resize(window));
            }
            Command::CloseStdin { session } => self.at(session, |session| session.process.close_stdin()),
            Command::Acknowledge { session, stream, bytes } => {
                if let Some(stream) = output_stream(stream) {
                    self.at(session, |session| session.acknowledge(stream, bytes));
                }
            }
            Command::Stats { request, workload } => {
                let stats = self.known(&workload).and_then(|()| figures::stats(&workload));
                self.answer(request, stats.map(|stats| Report::Stats { request, stats }));
            }
            Command::Processes { request, workload } => {
                let rows = self.known(&workload).and_then(|()| figures::processes(&workload));
                self.answer(request, rows.map(|processes| Report::Processes { request, processes }));
            }
            Command::Sync { request } => {
                let synced = self.storage.sync();
                self.answer(request, synced.map(|()| Report::Done { request }));
            }
            Command::Time { clock } => set_clock(clock),
            Command::Reseed { seed } => stir(&seed),
            Command::Shutdown => self.shut_down(),
        }
    }

    fn greet(&mut self, protocol: u32, clock: u64, seed: &str) {
        if protocol != PROTOCOL {
            // The machine sees ours in the answer.
            console::say(&format!("the machine speaks protocol {protocol}, not {PROTOCOL}"));
        }
        set_clock(clock);
        stir(seed);
        let running = self.sessions.iter().map(|(number, session)| (*number, session.workload)).collect();
        let outgoing = &mut self.channel.outgoing;
        for (number, session) in &mut self.sessions {
            session.open_windows(&|stream| outgoing.waiting(*number, stream));
        }
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        outgoing.greet(running, |sessions| Report::Welcome { protocol: PROTOCOL, release, sessions });
        self.channel.greeted = true;
    }

    fn answer(&mut self, request: u32, result: Result<Report>) {
        let refused = |error: Error| Report::Refused { request, message: error.in_one_line() };
        self.channel.outgoing.answer(result.unwrap_or_else(refused));
    }

    /// Does something with a session; one that has just ended is no mistake.
    fn at(&mut self, session: u32, act: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&session) {
            act(session);
        }
    }

    fn signal(&mut self, number: u32, signal: i32) {
        // Its number may be another process's by now.
        let Some(session) = self.sessions.get(&number).filter(|session| !session.has_ended()) else { return };
        if let Err(errno) = session.process.signal(signal) {
            console::say(&format!("send signal {signal} to session {number}: {errno}"));
        }
    }

    fn known(&self, id: &Id) -> Result<()> {
        match self.workloads.contains_key(id) {
            true => Ok(()),
            false => Err(Error::invalid(format!("the guest has no workload {}", id.short()))),
        }
    }

    fn create(&mut self, config: GuestWorkload) -> Result<()> {
        if self.known(&config.id).is_ok() {
            return Err(Error::invalid(format!("the guest has workload {} already", config.id.short())));
        }
        if self.workloads.len() >= WORKLOADS_LIMIT {
            return Err(Error::invalid("the guest has no room for another workload"));
        }
        let id = config.id;
        let workload = Workload::create(&mut self.storage, config)?;
        self.workloads.insert(id, workload);
        Ok(())
    }

    /// A workload whose first process could not be started is forgotten, as one whose first process has ended is.
    fn start(&mut self, session: u32, id: Id, window: Option<WindowSize>) {
        if self.is_taken(session) {
            return;
        }
        let began = self.workloads.get(&id).is_some_and(|workload| workload.main.is_some());
        let started = self.try_start(session, id, window);
        if started.is_err() && !began {
            self.forget(&id);
        }
        self.begin(session, started);
    }

    fn try_start(
        &mut self,
        session: u32,
        id: Id,
        window: Option<WindowSize>,
    ) -> std::result::Result<i32, Failure> {
        self.room()?;
        let workload = self.workloads.get(&id).ok_or_else(|| not_running(&id))?;
        if workload.main.is_some() {
            return Err((FailureKind::Other, "the workload runs already".to_owned()));
        }
        let newborn = workload.start(window).map_err(|error| failure(&error))?;
        let pid = self.watch(session, id, newborn).map_err(|error| failure(&error))?;
        if let Some(workload) = self.workloads.get_mut(&id) {
            workload.main = Some(session);
        }
        Ok(pid)
    }

    fn forget(&mut self, id: &Id) {
        if self.workloads.contains_key(id) {
            workload::release(id);
            self.workloads.remove(id);
        }
    }

    fn exec(
        &mut self,
        session: u32,
        id: Id,
        asked: &ExecProcess,
        stdin: bool,
        window: Option<WindowSize>,
    ) -> std::result::Result<i32, Failure> {
        self.room()?;
        let workload = self.workloads.get(&id).ok_or_else(|| not_running(&id))?;
        let main = workload.main.and_then(|main| self.sessions.get(&main));
        let main = main.filter(|main| !main.has_ended()).ok_or_else(|| not_running(&id))?;
        let newborn = workload.exec(&main.process, asked, stdin, window).map_err(|error| {
            if main.process.is_on_its_way_out() { not_running(&id) } else { failure(&error) }
        })?;
        self.watch(session, id, newborn).map_err(|error| failure(&error))
    }

    /// Of a workload that has ended, while it is still known, nothing can be had: its root goes with it.
    fn files(&mut self, session: u32, id: Id, task: &Task) -> std::result::Result<i32, Failure> {
        self.room()?;
        let workload = self.workloads.get(&id).ok_or_else(|| not_running(&id))?;
        let running = match workload.main.map(|main| self.sessions.get(&main)) {
            None => None,
            Some(Some(main)) if !main.has_ended() => Some(main.process.pid),
            Some(_) => return Err(not_running(&id)),
        };
        let newborn = workload.files(task, running).map_err(|error| failure(&error))?;
        self.watch(session, id, newborn).map_err(|error| failure(&error))
    }

    fn room(&self) -> std::result::Result<(), Failure> {
        match self.sessions.len() < SESSIONS_LIMIT {
            true => Ok(()),
            false => Err((FailureKind::Other, "the guest has no room for another process".to_owned())),
        }
    }

    /// Whether a number is another process's: to answer would end that one.
    fn is_taken(&self, session: u32) -> bool {
        let taken = self.sessions.contains_key(&session);
        if taken {
            console::say(&format!("the machine gave the number of session {session} to another process"));
        }
        taken
    }

    fn begin(&mut self, session: u32, started: std::result::Result<i32, Failure>) {
        self.channel.outgoing.session(match started {
            Ok(pid) => Report::Started { session, pid },
            Err((kind, message)) => Report::Failed { session, kind, message },
        });
    }

    fn shut_down(&mut self) {
        self.workloads.keys().for_each(workload::release);
        self.over = true;
    }
}

fn not_running(id: &Id) -> Failure {
    (FailureKind::NotRunning, format!("workload {} does not run", id.short()))
}

fn failure(error: &Error) -> Failure {
    (holm_runtime::workload::failure_kind(error), error.in_one_line())
}

/// Sets the clock, in nanoseconds since 1970.
fn set_clock(clock: u64) {
    let seconds = i64::try_from(clock / SECOND).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(clock % SECOND).unwrap_or(0);
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    if let Err(errno) = clock_settime(ClockId::Realtime, time) {
        console::say(&format!("set the clock: {errno}"));
    }
}

fn stir(seed: &str) {
    let stirred = match decode_hex::<32>(seed) {
        Some(seed) => add_entropy(seed),
        None => Err(std::io::Error::other("no 32 bytes in hexadecimal")),
    };
    if let Err(error) = stirred {
        console::say(&format!("seed the random numbers: {error}"));
    }
}
