//! A machine's side of the protocol.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use holm_spec::Id;
use holm_spec::agent::frame::{Content, DATA_LIMIT, Decoder, OPENING, put_data, put_message};
use holm_spec::agent::{Command, GuestWorkload, PROTOCOL, Report};
use holm_spec::keeper::{ExecProcess, FailureKind, Stream, WindowSize};

use super::disks::Disks;
use super::machine::Machine;

/// How long anything may take; ten times what it takes on an idle host.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the machine knows of a session.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub pid: Option<i32>,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    pub taken: u64,
    pub failed: Option<(FailureKind, String)>,
    pub exited: Option<(i32, bool)>,
}

impl Known {
    /// Standard output as text, as a terminal shows it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.out).replace('\r', "")
    }

    /// Standard error as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.err).into_owned()
    }

    fn is_over(&self) -> bool {
        self.exited.is_some() || self.failed.is_some()
    }
}

/// A guest, and the channel to its agent.
pub struct Guest {
    machine: Machine,
    stream: UnixStream,
    decoder: Decoder,
    answers: BTreeMap<u32, Report>,
    pub welcome: Option<Report>,
    pub sessions: BTreeMap<u32, Known>,
    /// Output is acknowledged as it comes.
    pub acknowledges: bool,
    next: u32,
    /// From the start of the emulator to the welcome.
    pub boot_time: Duration,
}

impl Guest {
    /// Boots it and says hello.
    ///
    /// # Errors
    /// There is no kernel; the agent does not answer.
    pub fn boot(folder: &Path, disks: &Disks) -> Result<Self> {
        let start = Instant::now();
        let machine = Machine::start(folder, disks)?;
        let stream = connect(&machine.socket)?;
        let mut guest = Self {
            machine,
            stream,
            decoder: Decoder::default(),
            answers: BTreeMap::new(),
            welcome: None,
            sessions: BTreeMap::new(),
            acknowledges: true,
            next: 1,
            boot_time: Duration::ZERO,
        };
        // What an earlier machine may have left half said.
        guest.send_bytes(b"\x05half a frame");
        guest.hello();
        if guest.try_until(PATIENCE * 2, |guest| guest.welcome.is_some()).is_err() {
            bail!("the agent does not answer:\n{}", guest.console());
        }
        guest.boot_time = start.elapsed();
        Ok(guest)
    }

    /// Opens the channel, and says hello.
    pub fn hello(&mut self) {
        self.welcome = None;
        self.send_bytes(OPENING);
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970").as_nanos();
        let clock = u64::try_from(clock).expect("not yet");
        self.send(&Command::Hello { protocol: PROTOCOL, clock, seed: "5a".repeat(32) });
    }

    /// Closes the port for a while, and opens it again without a word.
    pub fn reconnect(&mut self, pause: Duration) {
        self.stream.shutdown(std::net::Shutdown::Both).expect("it is open");
        std::thread::sleep(pause);
        self.decoder = Decoder::default();
        self.stream = connect(&self.machine.socket).expect("the emulator listens");
    }

    /// Sends anything.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the emulator takes it");
    }

    /// Sends a command.
    pub fn send(&mut self, command: &Command) {
        let mut bytes = Vec::new();
        assert!(put_message(&mut bytes, command));
        self.send_bytes(&bytes);
    }

    /// Sends input.
    pub fn feed(&mut self, session: u32, data: &[u8]) {
        for piece in data.chunks(DATA_LIMIT) {
            let mut bytes = Vec::new();
            put_data(&mut bytes, Stream::Stdin, session, piece);
            self.send_bytes(&bytes);
        }
    }

    /// A number that no request and no session has had.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Sends a request, and waits for its answer.
    pub fn ask(&mut self, command: impl FnOnce(u32) -> Command) -> Report {
        let request = self.number();
        self.send(&command(request));
        self.until("an answer", |guest| guest.answers.contains_key(&request));
        self.answers.remove(&request).expect("it came")
    }

    /// Makes a workload known.
    pub fn create(&mut self, workload: &GuestWorkload) -> Id {
        let answer = self.ask(|request| Command::Create { request, workload: Box::new(workload.clone()) });
        assert!(matches!(answer, Report::Done { .. }), "{answer:?}");
        workload.id
    }

    /// Makes a workload known and starts it.
    pub fn start(&mut self, workload: &GuestWorkload) -> u32 {
        self.create(workload);
        self.begin(workload.id, None)
    }

    /// Starts the first process of a workload.
    pub fn begin(&mut self, workload: Id, window: Option<WindowSize>) -> u32 {
        let session = self.number();
        self.sessions.insert(session, Known::default());
        self.send(&Command::Start { session, workload, window });
        session
    }

    /// Runs a workload to its end.
    pub fn run(&mut self, workload: &GuestWorkload) -> Known {
        let session = self.start(workload);
        self.finish(session)
    }

    /// Starts another process.
    pub fn exec(
        &mut self,
        workload: Id,
        process: ExecProcess,
        stdin: bool,
        window: Option<WindowSize>,
    ) -> u32 {
        let session = self.number();
        self.sessions.insert(session, Known::default());
        self.send(&Command::Exec { session, workload, process, stdin, window });
        session
    }

    /// Runs a shell script beside a workload's first process, to its end.
    pub fn sh(&mut self, workload: Id, script: &str) -> Known {
        let session = self.exec(workload, super::workload::script(script), false, None);
        self.finish(session)
    }

    /// Waits for the end of a session.
    pub fn finish(&mut self, session: u32) -> Known {
        self.until("the end of a session", |guest| guest.sessions[&session].is_over());
        self.sessions[&session].clone()
    }

    /// Ends a workload, and waits for that.
    pub fn kill(&mut self, session: u32) -> Known {
        self.send(&Command::Signal { session, signal: 9 });
        self.finish(session)
    }

    /// Waits until a session has said this.
    pub fn hear(&mut self, session: u32, text: &str) {
        self.until(&format!("`{text}`"), |guest| guest.sessions[&session].text().contains(text));
    }

    /// Waits for a condition on what the agent says.
    #[track_caller]
    pub fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        if self.try_until(PATIENCE, condition).is_err() {
            panic!(
                "not within {PATIENCE:?}: {what}; {:?}\n{}",
                self.sessions.iter().next_back(),
                self.console()
            );
        }
    }

    /// Listens for a while.
    pub fn listen(&mut self, time: Duration) {
        let _ = self.try_until(time, |_| false);
    }

    fn try_until(&mut self, patience: Duration, condition: impl Fn(&Self) -> bool) -> Result<(), ()> {
        let deadline = Instant::now() + patience;
        while !condition(self) {
            let left =
                deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()).ok_or(())?;
            self.stream.set_read_timeout(Some(left)).expect("a time");
            let mut buffer = vec![0; 64 * 1024];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(()),
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(_) => {}
            }
            self.hear_all();
        }
        Ok(())
    }

    fn hear_all(&mut self) {
        let mut decoder = std::mem::take(&mut self.decoder);
        while let Some(content) = decoder.next_frame() {
            match content {
                Content::Data(stream, session, data) => self.output(stream, session, data),
                Content::Message(text) => {
                    self.report(serde_json::from_slice(text).expect("the agent's messages are right"));
                }
            }
        }
        assert_eq!(decoder.damaged(), 0, "a frame came damaged");
        self.decoder = decoder;
    }

    fn output(&mut self, stream: Stream, session: u32, data: &[u8]) {
        let known = self.sessions.entry(session).or_default();
        assert!(known.exited.is_none(), "output after the end");
        if stream == Stream::Stdout { &mut known.out } else { &mut known.err }.extend_from_slice(data);
        if self.acknowledges {
            self.acknowledge(session, stream, data.len());
        }
    }

    /// Opens the window of an output.
    pub fn acknowledge(&mut self, session: u32, stream: Stream, bytes: usize) {
        let bytes = u32::try_from(bytes).expect("a window");
        self.send(&Command::Acknowledge { session, stream: stream as u8, bytes });
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Welcome { .. } => self.welcome = Some(report),
            Report::Done { request }
            | Report::Refused { request, .. }
            | Report::Stats { request, .. }
            | Report::Processes { request, .. } => drop(self.answers.insert(request, report)),
            Report::Started { session, pid } => self.sessions.entry(session).or_default().pid = Some(pid),
            Report::Failed { session, kind, message } => {
                self.sessions.entry(session).or_default().failed = Some((kind, message));
            }
            Report::Taken { session, bytes } => {
                self.sessions.entry(session).or_default().taken += u64::from(bytes);
            }
            Report::Exited { session, code, oom_killed } => {
                self.sessions.entry(session).or_default().exited = Some((code, oom_killed));
            }
        }
    }

    /// What was said to people.
    pub fn console(&self) -> String {
        self.machine.console()
    }

    /// Asks for the end.
    pub fn shut_down(mut self, patience: Duration) -> Option<ExitStatus> {
        self.send(&Command::Shutdown);
        self.machine.wait(patience)
    }
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error).context("connecting to the port"),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}
