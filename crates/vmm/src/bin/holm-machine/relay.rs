//! The one that runs: machine, guest, standard streams and clients on one epoll.
//!
//! ```text
//! booting --Welcome--> creating --Done--> starting --Started--> running --Exited--> ending --> gone
//!    |                    |                  |                    |                    |
//!    +--- too long, died -+---- Refused -----+- Failed            +- died ------------>+
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holm_spec::agent::{Command, PROTOCOL, Report, WINDOW};
use holm_spec::keeper::{FailureKind, Stream};
use holm_spec::machine::{Facts, KeeperWord, Notice, Plan, SOCKET};
use holm_spec::signal;
use holm_sys::Errno;
use holm_sys::process::{adopt_descriptor, now, read_signal};
use holm_sys::socket::listen_packets;
use holm_vmm::disk::Layers;
use holm_vmm::machine::{Description, Event, Machine, Tap};
use holm_vmm::qemu::Qemu;
use holm_vmm::{Error, Result};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{Mode, OFlags};
use rustix::process::DumpableBehavior;

use crate::clients::Client;
use crate::console::Console;
use crate::guest::{Guest, Word};
use crate::input::{Streams, set_nonblocking, window};
use crate::session::{Owner, Session};
use crate::{Notices, SOCKET_DIRECTORY};

/// How long a guest may take until its agent answers: a hundred times what it takes where nothing else runs.
const BOOT_PATIENCE: Duration = Duration::from_secs(180);
/// How long it may take to write what is not written and power itself off.
const END_PATIENCE: Duration = Duration::from_secs(20);
/// The session of the workload's first process.
pub(crate) const MAIN: u32 = 1;
/// The only request that waits for an answer.
const CREATE: u32 = 1;
/// Bytes of input that are read in one go.
const CHUNK: usize = 16 * 1024;
/// What a process ends with whose machine ended under it: as if it had been killed.
const MACHINE_DIED: i32 = 128 + signal::KILL;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Booting(Instant),
    Creating,
    Starting,
    Running,
    /// The workload has ended; so does the guest.
    Ending(Instant),
}

/// What an event is about; travels through epoll as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Machine,
    Channel,
    Console,
    Signals,
    Listener,
    Keeper,
    Client(usize),
    Stdin(u32),
    Output(u32, usize),
}

impl Token {
    pub fn data(self) -> EventData {
        let (kind, index) = match self {
            Self::Machine => (0, 0),
            Self::Channel => (1, 0),
            Self::Console => (2, 0),
            Self::Signals => (3, 0),
            Self::Listener => (4, 0),
            Self::Keeper => (5, 0),
            Self::Client(index) => (6, index as u64),
            Self::Stdin(session) => (7, u64::from(session)),
            Self::Output(session, which) => (8 + which as u64, u64::from(session)),
        };
        EventData::new_u64(index << 8 | kind)
    }

    fn from_data(data: EventData) -> Self {
        let index = data.u64() >> 8;
        match data.u64() & 0xff {
            0 => Self::Machine,
            1 => Self::Channel,
            2 => Self::Console,
            3 => Self::Signals,
            4 => Self::Listener,
            5 => Self::Keeper,
            6 => Self::Client(index as usize),
            7 => Self::Stdin(index as u32),
            kind => Self::Output(index as u32, (kind - 8) as usize),
        }
    }
}

/// How a machine ended.
struct End {
    code: i32,
    oom_killed: bool,
    reason: Option<String>,
}

/// A machine and everybody who has to do with it.
pub(crate) struct Relay<'a> {
    machine: Qemu,
    pub guest: Guest,
    console: Console,
    pub plan: Plan,
    notices: &'a Notices,
    stage: Stage,
    release: String,
    pub sessions: BTreeMap<u32, Session>,
    /// The number that was given last: one that is over is not given again soon, for somebody may still mean it.
    pub last_session: u32,
    pub clients: Vec<Option<Client>>,
    /// Questions to the guest, and the clients that wait for an answer.
    pub questions: BTreeMap<u32, usize>,
    pub listener: OwnedFd,
    signals: OwnedFd,
    /// The terminal, whose size the guest's follows.
    terminal: Option<OwnedFd>,
    pub epoll: OwnedFd,
    /// How the workload ended.
    end: Option<End>,
}

/// Runs a machine to its end; the workload's exit code.
///
/// # Errors
/// The machine or its workload could not be started.
pub fn run(mut plan: Plan, notices: &Notices) -> Result<u8> {
    // From the first moment on: the kernel drops what the first process of a namespace does not want.
    drop(listen_for_signals()?);
    let streams = Streams::take(plan.open_stdin, plan.tty)?;
    let description = describe(&mut plan)?;
    let mut machine = Qemu::create(&plan.emulator, &description)?;
    drop(description);
    machine.boot()?;
    // Again: the C library starts programs under a mask that leaves out the real-time signals it keeps for itself.
    let signals = listen_for_signals()?;
    let mut relay = Relay::new(machine, plan, streams, signals, notices)?;
    // The emulator has the same user, and a guest may own it one day: from here on it cannot look into this process.
    // Not earlier, for this process could not look at itself either.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Error::caused("close this process to others", errno))?;
    relay.hello()?;
    relay.serve()
}

fn listen_for_signals() -> Result<OwnedFd> {
    let failed = |errno| Error::caused("listen for signals", errno);
    holm_sys::signals::descriptor(&forwarded()).map_err(failed)
}

/// All signals that can be handed on. A child that ends is seen by its connection.
pub(crate) fn forwarded() -> Vec<i32> {
    let kept = [signal::KILL, STOP, CHILD_ENDED];
    (1..=64).filter(|number| !kept.contains(number)).collect()
}

/// Numbers that `spec` has no name for (signal(7)).
const CHILD_ENDED: i32 = 17;
const CONTINUE: i32 = 18;
const STOP: i32 = 19;
const URGENT: i32 = 23;
/// A terminal has another size.
pub(crate) const WINDOW_CHANGED: i32 = 28;

fn describe(plan: &mut Plan) -> Result<Description> {
    let layers = plan.layers.iter().map(adopt).collect::<Result<Vec<_>>>()?;
    Ok(Description {
        accelerator: plan.accelerator,
        platform: plan.platform.clone(),
        cpus: plan.cpus,
        memory: plan.memory,
        kernel: plan.kernel.clone(),
        initrd: plan.initrd.clone(),
        command_line: String::new(),
        layers: Some(Layers::compose(layers)?),
        scratch: plan.scratch.as_ref().map(adopt).transpose()?,
        shares: plan.shares.as_ref().map(adopt).transpose()?,
        taps: plan.taps.iter().map(take_tap).collect::<Result<_>>()?,
    })
}

fn take_tap(tap: &holm_spec::machine::Tap) -> Result<Tap> {
    Ok(Tap { descriptor: adopt(&tap.descriptor)?, hardware: tap.hardware, mtu: tap.mtu })
}

fn adopt(number: &i32) -> Result<OwnedFd> {
    adopt_descriptor(*number).map_err(|errno| Error::caused(format!("take descriptor {number}"), errno))
}

impl<'a> Relay<'a> {
    fn new(
        machine: Qemu,
        plan: Plan,
        streams: Streams,
        signals: OwnedFd,
        notices: &'a Notices,
    ) -> Result<Self> {
        let failed = |errno: Errno| Error::caused("wait for the machine", errno);
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed)?;
        let listener = listen().map_err(|errno| Error::caused("listen for clients", errno))?;
        let terminal = if plan.tty { streams.stdout.try_clone().ok() } else { None };
        let mut relay = Self {
            machine,
            guest: Guest::new(),
            console: Console::default(),
            plan,
            notices,
            stage: Stage::Booting(Instant::now() + BOOT_PATIENCE),
            release: String::new(),
            sessions: BTreeMap::new(),
            last_session: MAIN,
            clients: Vec::new(),
            questions: BTreeMap::new(),
            listener,
            signals,
            terminal,
            epoll,
            end: None,
        };
        relay.watch_standing().map_err(failed)?;
        let outputs = [Some(streams.stdout), streams.stderr];
        relay.add_session(MAIN, Session::new(Owner::Keeper, streams.stdin, outputs)).map_err(failed)?;
        Ok(relay)
    }

    /// What is watched for the whole of a machine's life.
    fn watch_standing(&self) -> std::result::Result<(), Errno> {
        let watch = |source: std::os::fd::BorrowedFd<'_>, token: Token| {
            epoll::add(&self.epoll, source, token.data(), EventFlags::IN)
        };
        watch(self.machine.events(), Token::Machine)?;
        watch(self.machine.channel(), Token::Channel)?;
        watch(self.machine.console(), Token::Console)?;
        watch(self.signals.as_fd(), Token::Signals)?;
        watch(self.notices.0.as_fd(), Token::Keeper)?;
        watch(self.listener.as_fd(), Token::Listener)
    }

    /// Takes care of a session's streams. They are watched once each, as they may, so that a stream whose other end is
    /// gone is not told of for ever.
    pub fn add_session(&mut self, number: u32, session: Session) -> std::result::Result<(), Errno> {
        if let Some(stdin) = &session.stdin {
            set_nonblocking(stdin.as_fd())?;
            epoll::add(&self.epoll, stdin, Token::Stdin(number).data(), EventFlags::ONESHOT)?;
        }
        for (which, output) in session.outputs.iter().enumerate() {
            if let Some(stream) = &output.stream {
                set_nonblocking(stream.as_fd())?;
                match epoll::add(
                    &self.epoll,
                    stream,
                    Token::Output(number, which).data(),
                    EventFlags::ONESHOT,
                ) {
                    // A file always takes what it is given.
                    Ok(()) | Err(Errno::PERM) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        self.sessions.insert(number, session);
        Ok(())
    }

    fn hello(&mut self) -> Result<()> {
        let clock = u64::try_from(now()).unwrap_or(0);
        let seed = seed()?;
        self.guest.command(&Command::Hello { protocol: PROTOCOL, clock, seed })
    }

    fn serve(&mut self) -> Result<u8> {
        let mut events = Vec::with_capacity(32);
        loop {
            self.send();
            if let Some(end) = self.end.as_ref().filter(|_| self.is_over()) {
                let code = u8::try_from(end.code).unwrap_or(crate::FAILED);
                let (oom_killed, reason) = (end.oom_killed, end.reason.clone());
                self.notices.say(&Notice::Ended { oom_killed, reason });
                return Ok(code);
            }
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                self.patience().as_ref(),
            ) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::caused("wait for the machine", errno)),
            }
            self.check_deadline()?;
            for event in &events {
                self.handle(Token::from_data(event.data), event.flags)?;
            }
        }
    }

    /// The workload has ended, all that it said was handed on, and the guest is down or need not be waited for.
    fn is_over(&self) -> bool {
        let flushed = self.sessions.values().all(Session::is_flushed);
        flushed && !matches!(self.stage, Stage::Ending(_))
    }

    fn patience(&self) -> Option<Timespec> {
        let (Stage::Booting(deadline) | Stage::Ending(deadline)) = self.stage else { return None };
        let left = deadline.saturating_duration_since(Instant::now());
        let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
        Some(Timespec { tv_sec: seconds, tv_nsec: left.subsec_nanos().into() })
    }

    fn check_deadline(&mut self) -> Result<()> {
        match self.stage {
            Stage::Booting(deadline) if Instant::now() >= deadline => {
                let last = self
                    .console
                    .last_line()
                    .map_or_else(String::new, |line| format!("; it said last: {line}"));
                let seconds = BOOT_PATIENCE.as_secs();
                Err(Error::new(format!("the guest did not come up within {seconds} seconds{last}")))
            }
            Stage::Ending(deadline) if Instant::now() >= deadline => {
                self.stage = Stage::Running;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle(&mut self, token: Token, flags: EventFlags) -> Result<()> {
        match token {
            Token::Machine => return self.handle_machine(),
            Token::Channel if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) => {
                return self.read_channel();
            }
            // What waits is sent before the next wait.
            Token::Channel => {}
            Token::Console => {
                if !self.console.read(self.machine.console()) {
                    let _ = epoll::delete(&self.epoll, self.machine.console());
                }
            }
            Token::Signals => return self.handle_signals(),
            Token::Listener => self.accept(),
            Token::Keeper => return self.hear_keeper(),
            Token::Client(index) => self.read_client(index),
            Token::Stdin(MAIN) if self.plan.visit => return self.end_visit(),
            Token::Stdin(session) => self.read_stdin(session),
            Token::Output(session, which) => self.flush_output(session, which)?,
        }
        Ok(())
    }

    /// Sends what waits for the guest, and waits for the rest to be wanted.
    fn send(&mut self) {
        let channel = self.machine.channel();
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, self.guest.flush(channel) && self.guest.is_behind());
        let _ = epoll::modify(&self.epoll, channel, Token::Channel.data(), flags);
    }

    fn hear_keeper(&mut self) -> Result<()> {
        match self.notices.hear() {
            Ok(Some(KeeperWord::SharesGone)) if !matches!(self.stage, Stage::Ending(_)) => {
                self.machine_ended("virtiofsd, which served the host's directories, has ended")
            }
            Ok(_) => Ok(()),
            // It was killed; the next one finds this process by its own means.
            Err(_) => {
                let _ = epoll::delete(&self.epoll, &self.notices.0);
                Ok(())
            }
        }
    }

    fn handle_machine(&mut self) -> Result<()> {
        while let Some(event) = self.machine.next_event() {
            match event {
                Event::Agent(_) => {}
                Event::PoweredOff if self.end.is_some() => self.stage = Stage::Running,
                Event::PoweredOff => return self.machine_ended("the guest powered itself off"),
                Event::Reset => return self.machine_ended("the guest reset itself"),
                Event::Died(_) if self.end.is_some() => self.stage = Stage::Running,
                Event::Died(words) if words.is_empty() => {
                    return self.machine_ended("the emulator was killed");
                }
                Event::Died(words) => return self.machine_ended(&format!("the emulator ended: {words}")),
            }
        }
        Ok(())
    }

    /// The machine is gone before its workload has ended.
    fn machine_ended(&mut self, how: &str) -> Result<()> {
        while self.console.read(self.machine.console())
            && rustix::io::ioctl_fionread(self.machine.console()).is_ok_and(|left| left > 0)
        {}
        let reason = match self.console.panic() {
            Some(panic) => format!("the guest's kernel panicked: {panic}"),
            None => how.to_owned(),
        };
        if self.stage != Stage::Running {
            let last =
                self.console.last_line().map_or_else(String::new, |line| format!("; it said last: {line}"));
            return Err(Error::new(format!("start the machine: {reason}{last}")));
        }
        let _ = epoll::delete(&self.epoll, self.machine.events());
        let _ = epoll::delete(&self.epoll, self.machine.channel());
        self.end.get_or_insert(End { code: MACHINE_DIED, oom_killed: false, reason: Some(reason) });
        Ok(())
    }

    fn read_channel(&mut self) -> Result<()> {
        if !self.guest.read(self.machine.channel()) {
            let _ = epoll::delete(&self.epoll, self.machine.channel());
            return Ok(());
        }
        while let Some(word) = self.guest.next_word() {
            match word {
                Word::Report(report) => self.take_report(*report)?,
                Word::Output(session, stream, bytes) => self.take_output(session, stream, &bytes)?,
                Word::Nonsense(_) => {}
            }
        }
        Ok(())
    }

    fn take_report(&mut self, report: Report) -> Result<()> {
        match report {
            Report::Welcome { protocol, release, .. } => self.take_welcome(protocol, release),
            Report::Done { request: CREATE } if self.stage == Stage::Creating && self.plan.visit => {
                self.begin(0);
                Ok(())
            }
            Report::Done { request: CREATE } if self.stage == Stage::Creating => self.start(),
            Report::Refused { request: CREATE, message } if self.stage == Stage::Creating => {
                Err(Error::new(message))
            }
            Report::Started { session: MAIN, pid } if self.stage == Stage::Starting => {
                self.begin(pid);
                Ok(())
            }
            Report::Failed { session: MAIN, kind, message } if self.stage == Stage::Starting => {
                self.fail(kind, message);
                Ok(())
            }
            Report::Exited { session: MAIN, code, oom_killed } if self.stage == Stage::Running => {
                self.finish(code, oom_killed)
            }
            Report::Taken { session, bytes } => {
                self.take_room(session, bytes);
                Ok(())
            }
            Report::Stats { request, .. }
            | Report::Processes { request, .. }
            | Report::Refused { request, .. } => {
                self.answer(request, &report);
                Ok(())
            }
            report => {
                self.tell_client(&report);
                Ok(())
            }
        }
    }

    fn take_welcome(&mut self, protocol: u32, release: String) -> Result<()> {
        if !matches!(self.stage, Stage::Booting(_)) {
            return Ok(());
        }
        if protocol != PROTOCOL {
            let message = format!("the guest's agent speaks protocol {protocol}, not {PROTOCOL}");
            return Err(Error::new(message));
        }
        (self.release, self.stage) = (release, Stage::Creating);
        let workload = Box::new(self.plan.workload.clone());
        self.guest.command(&Command::Create { request: CREATE, workload })
    }

    /// What was asked for is there.
    fn begin(&mut self, pid: i32) {
        self.stage = Stage::Running;
        let facts = Facts { release: self.release.clone(), ..self.machine.facts() };
        self.notices.say(&Notice::Started { pid, facts: Some(facts) });
        self.refresh_stdin(MAIN);
    }

    fn start(&mut self) -> Result<()> {
        self.stage = Stage::Starting;
        let window = self.terminal.as_ref().and_then(|terminal| window(terminal.as_fd()));
        let workload = self.plan.workload.id;
        self.guest.command(&Command::Start { session: MAIN, workload, window })
    }

    /// The program could not be started: no more is to come of this machine.
    fn fail(&mut self, kind: FailureKind, message: String) {
        self.notices.say(&Notice::Failed { kind, message });
        self.stage = Stage::Running;
        self.end = Some(End { code: crate::FAILED.into(), oom_killed: false, reason: None });
    }

    /// The workload has ended; what it wrote is written before the machine goes, if anybody may ask for it.
    fn finish(&mut self, code: i32, oom_killed: bool) -> Result<()> {
        self.end = Some(End { code, oom_killed, reason: None });
        if self.plan.volatile {
            return Ok(());
        }
        self.stage = Stage::Ending(Instant::now() + END_PATIENCE);
        self.guest.command(&Command::Shutdown)
    }

    fn take_output(&mut self, number: u32, stream: Stream, bytes: &[u8]) -> Result<()> {
        let which = usize::from(stream == Stream::Stderr);
        let Some(session) = self.sessions.get_mut(&number) else { return Ok(()) };
        match session.outputs[which].put(bytes) {
            Some(taken) => self.acknowledge(number, which, taken),
            None => Err(Error::new("the guest sends more output than it may")),
        }
    }

    fn flush_output(&mut self, number: u32, which: usize) -> Result<()> {
        let Some(session) = self.sessions.get_mut(&number) else { return Ok(()) };
        let taken = session.outputs[which].flush();
        self.acknowledge(number, which, taken)?;
        self.close_if_over(number);
        Ok(())
    }

    /// Tells the guest what was handed on, and waits for the reader to want the rest.
    fn acknowledge(&mut self, number: u32, which: usize, bytes: u32) -> Result<()> {
        let Some(output) = self.sessions.get(&number).map(|session| &session.outputs[which]) else {
            return Ok(());
        };
        if let Some(stream) = output.stream.as_ref().filter(|_| output.is_behind()) {
            let flags = EventFlags::OUT | EventFlags::ONESHOT;
            let _ = epoll::modify(&self.epoll, stream, Token::Output(number, which).data(), flags);
        }
        if bytes == 0 {
            return Ok(());
        }
        let stream = if which == 0 { Stream::Stdout } else { Stream::Stderr } as u8;
        self.guest.command(&Command::Acknowledge { session: number, stream, bytes })
    }

    /// Whoever came for the files of a workload that does not run says nothing; they go, and so does the machine.
    fn end_visit(&mut self) -> Result<()> {
        if let Some(session) = self.sessions.get_mut(&MAIN) {
            session.stdin = None;
        }
        self.finish(0, false)
    }

    fn read_stdin(&mut self, number: u32) {
        let Some(session) = self.sessions.get_mut(&number) else { return };
        let Some(stdin) = &session.stdin else { return };
        let mut buffer = [0; CHUNK];
        let room = CHUNK.min(session.room as usize);
        match rustix::io::read(stdin, &mut buffer[..room]) {
            Ok(length) if length > 0 => {
                session.room -= u32::try_from(length).unwrap_or(0);
                self.guest.input(number, &buffer[..length]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => {
                session.stdin = None;
                let _ = self.guest.command(&Command::CloseStdin { session: number });
            }
        }
        self.refresh_stdin(number);
    }

    fn take_room(&mut self, number: u32, bytes: u32) {
        if let Some(session) = self.sessions.get_mut(&number) {
            session.room = session.room.saturating_add(bytes).min(WINDOW);
            self.refresh_stdin(number);
        }
    }

    /// Waits for input while the guest may be sent some.
    pub fn refresh_stdin(&self, number: u32) {
        let Some(session) = self.sessions.get(&number) else { return };
        if let Some(stdin) = session.stdin.as_ref().filter(|_| session.room > 0 && session.end.is_none()) {
            let flags = EventFlags::IN | EventFlags::ONESHOT;
            let _ = epoll::modify(&self.epoll, stdin, Token::Stdin(number).data(), flags);
        }
    }

    fn handle_signals(&mut self) -> Result<()> {
        while let Some(number) = read_signal(self.signals.as_fd()) {
            match (number, self.stage) {
                (WINDOW_CHANGED, _) => self.resize()?,
                (_, Stage::Running) if self.plan.visit => self.finish(0, false)?,
                (signal, Stage::Running) => self.guest.command(&Command::Signal { session: MAIN, signal })?,
                (CONTINUE | URGENT, _) | (_, Stage::Ending(_)) => {}
                // There is no process yet that could do anything else about it.
                (signal, _) => {
                    let code = 128 + signal;
                    self.fail(
                        FailureKind::Other,
                        format!("the machine was ended by signal {signal} while it started"),
                    );
                    self.end = Some(End { code, oom_killed: false, reason: None });
                }
            }
        }
        Ok(())
    }

    fn resize(&mut self) -> Result<()> {
        match self.terminal.as_ref().and_then(|terminal| window(terminal.as_fd())) {
            Some(window) if self.stage == Stage::Running => {
                self.guest.command(&Command::Resize { session: MAIN, window })
            }
            _ => Ok(()),
        }
    }
}

fn listen() -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(Path::new(SOCKET_DIRECTORY), flags, Mode::empty())?;
    listen_packets(directory.as_fd(), SOCKET)
}

/// 32 bytes for the guest's random numbers.
fn seed() -> Result<String> {
    let bytes: [u8; 32] = holm_sys::file::random_bytes();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
