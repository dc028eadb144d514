//! One run of the program, to its end or in the background, with a limit on its time.
//!
//! Both streams are collected by threads, so neither the program nor the test can block on a full pipe. Where a program
//! hands its streams on to a process that outlives it, they are files instead.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::TIMEOUT;

/// A call that has not been made yet.
pub struct Call {
    command: Command,
    stdin: Stdin,
    files: Option<[PathBuf; 2]>,
    timeout: Duration,
}

enum Stdin {
    Null,
    Bytes(Vec<u8>),
    Open,
}

impl Call {
    /// A call of any program, with nothing on its standard input.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self { command, stdin: Stdin::Null, files: None, timeout: TIMEOUT }
    }

    /// Hands these bytes on as standard input, then its end.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Keeps standard input open for [`Running::write`].
    #[must_use]
    pub fn open_stdin(mut self) -> Self {
        self.stdin = Stdin::Open;
        self
    }

    /// Lets the program write its standard output and its standard error into these files, at their ends. The outcome
    /// holds all that is in them when the program ends, whoever wrote it.
    #[must_use]
    pub fn files(mut self, stdout: PathBuf, stderr: PathBuf) -> Self {
        self.files = Some([stdout, stderr]);
        self
    }

    /// Gives the call another limit of time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets an environment variable of the program.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the directory the program starts in.
    #[must_use]
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Starts the program in the background.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    #[must_use]
    pub fn spawn(mut self) -> Running {
        let stdin = if matches!(self.stdin, Stdin::Null) { Stdio::null() } else { Stdio::piped() };
        self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        if let Some([stdout, stderr]) = &self.files {
            self.command.stdout(append(stdout)).stderr(append(stderr));
        }
        let line = format!("{:?}", self.command);
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot start {line}: {error}"));
        let [out, err] = self.files.map_or([None, None], |files| files.map(Some));
        let stdout = Collector::start(child.stdout.take(), out);
        let stderr = Collector::start(child.stderr.take(), err);
        if let Stdin::Bytes(bytes) = self.stdin {
            let mut pipe = child.stdin.take().expect("a pipe was asked for");
            // A program that ends early closes the pipe: that is for the test to judge, not an error.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        Running { child, stdout, stderr, line, deadline: Instant::now() + self.timeout }
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// If it takes too long; it is killed then.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.spawn().finish()
    }

    /// As [`Call::run`] but a call that takes too long is an error, for use while panicking.
    ///
    /// # Errors
    /// The text to show.
    pub fn wait(self) -> Result<Outcome, String> {
        self.spawn().wait()
    }
}

/// A program in the background. Dropping it kills it.
pub struct Running {
    child: Child,
    stdout: Collector,
    stderr: Collector,
    line: String,
    deadline: Instant,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it was not waited for yet");
    }

    /// Writes to its standard input, which must be open.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let pipe = self.child.stdin.as_mut().expect("standard input is open");
        pipe.write_all(bytes.as_ref()).expect("the program reads");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.child.stdin = None;
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Waits until it has printed a text.
    ///
    /// # Panics
    /// If it ends, or the call's time is over, before that.
    #[track_caller]
    pub fn expect_stdout(&mut self, text: &str) {
        while !self.stdout.text().contains(text) {
            let ended = self.is_over();
            // What it printed last may still be in the pipe.
            std::thread::sleep(Duration::from_millis(if ended { 200 } else { 3 }));
            let over = (ended || Instant::now() > self.deadline) && !self.stdout.text().contains(text);
            assert!(
                !over,
                "{}: no {text:?} in {:?}, {:?}",
                self.line,
                self.stdout.text(),
                self.stderr.text()
            );
        }
    }

    /// Whether it has ended.
    pub fn is_over(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_some()
    }

    /// Waits until it ends.
    ///
    /// # Panics
    /// If it takes too long; it is killed then.
    #[track_caller]
    pub fn finish(self) -> Outcome {
        match self.wait() {
            Ok(outcome) => outcome,
            Err(text) => panic!("{text}"),
        }
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// If it takes too long, or if something that it left behind keeps its output open.
    pub fn wait(mut self) -> Result<Outcome, String> {
        let mut pause = Duration::from_micros(200);
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                break status;
            }
            if Instant::now() > self.deadline {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                return Err(format!(
                    "takes too long: {}\n--- stdout\n{stdout}\n--- stderr\n{stderr}",
                    self.line
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        };
        let held = || format!("{} ended, but something keeps its output open", self.line);
        let stdout = self.stdout.finish().ok_or_else(held)?;
        let stderr = self.stderr.finish().ok_or_else(held)?;
        Ok(Outcome { status, stdout, stderr, line: self.line.clone() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("a file in a directory of the test")
}

/// A thread that reads a pipe to its end, or a file that somebody else fills.
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
    file: Option<PathBuf>,
}

impl Collector {
    fn start(pipe: Option<impl Read + Send + 'static>, file: Option<PathBuf>) -> Self {
        match pipe {
            Some(pipe) => Self::of_pipe(pipe),
            None => Self { bytes: Arc::default(), thread: None, file },
        }
    }

    fn of_pipe(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&bytes);
        let read = move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                into.lock().expect("no panic while it is held").extend_from_slice(&buffer[..count]);
            }
        };
        Self { bytes, thread: Some(std::thread::spawn(read)), file: None }
    }

    fn text(&self) -> String {
        if let Some(file) = &self.file {
            return String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned();
        }
        String::from_utf8_lossy(&self.bytes.lock().expect("no panic while it is held")).into_owned()
    }

    /// All of it, or nothing if the pipe is still open five seconds after its program has ended.
    fn finish(&mut self) -> Option<Vec<u8>> {
        if let Some(file) = &self.file {
            return Some(std::fs::read(file).unwrap_or_default());
        }
        let thread = self.thread.take().expect("this is done once");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !thread.is_finished() {
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Some(std::mem::take(&mut self.bytes.lock().expect("no panic while it is held")))
    }
}

/// How a call ended.
pub struct Outcome {
    /// How the program ended.
    pub status: ExitStatus,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to standard error.
    pub stderr: Vec<u8>,
    line: String,
}

impl Outcome {
    /// The exit code; 128 + n if signal n ended the program.
    #[must_use]
    pub fn code(&self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        self.status.code().or_else(|| self.status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
    }

    /// Standard output as text, without the last line break.
    #[must_use]
    pub fn out(&self) -> String {
        without_line_break(&self.stdout)
    }

    /// Standard error as text, without the last line break.
    #[must_use]
    pub fn err(&self) -> String {
        without_line_break(&self.stderr)
    }

    /// Demands success and returns standard output.
    ///
    /// # Panics
    /// If the exit code is not 0.
    #[track_caller]
    pub fn ok(&self) -> String {
        self.expect_code(0);
        self.out()
    }

    /// Demands an exit code.
    ///
    /// # Panics
    /// If it is another one.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(self.code() == code, "exit code {}, expected {code}: {self}", self.code());
        self
    }

    /// Demands that Holm itself failed with this code and said so as people and programs expect it:
    /// nothing on standard output, one line `holm COMMAND: …` that names each of these texts, and then
    /// nothing but `hint:` lines. Returns standard error.
    ///
    /// # Panics
    /// If anything of this is not so.
    #[track_caller]
    pub fn refused(&self, code: i32, names: &[&str]) -> String {
        self.expect_code(code);
        let text = self.err();
        assert!(self.stdout.is_empty(), "standard output of a failure: {self}");
        let mut lines = text.lines();
        let error = lines.next().unwrap_or_default();
        assert!(error.starts_with("holm"), "no `holm` at the start: {self}");
        for name in names {
            assert!(error.contains(name), "the error does not say {name:?}: {self}");
        }
        let rest: Vec<_> = lines.filter(|line| !line.starts_with("hint: ")).collect();
        assert!(rest.is_empty(), "more than one line of error: {self}");
        text
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |text: String| if text.len() > 4000 { format!("{} bytes", text.len()) } else { text };
        writeln!(formatter, "{}", self.line)?;
        writeln!(formatter, "--- stdout\n{}\n--- stderr\n{}", shown(self.out()), shown(self.err()))
    }
}

fn without_line_break(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_suffix('\n').unwrap_or(&text).to_owned()
}
