//! `holm registry serve` on a port of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::binaries;
use rustix::process::{Pid, Signal, kill_process};

use crate::http::Client;

/// A server; ended and its storage removed when dropped.
pub struct Server {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    /// Removed at the end, unless the test keeps it.
    _directory: Option<tempfile::TempDir>,
    storage: PathBuf,
}

/// What a server is started with.
pub struct Setup<'a> {
    /// Its directory.
    pub storage: &'a Path,
    /// Flags beside that.
    pub flags: &'a [&'a str],
    /// Variables beside those of the test.
    pub environment: &'a [(&'a str, &'a str)],
}

impl Server {
    /// With an empty storage.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// With an empty storage and more flags.
    pub fn with(flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let storage = directory.path().join("storage");
        let mut server = Self::of(&Setup { storage: &storage, flags, environment: &[] });
        server._directory = Some(directory);
        server
    }

    /// Over a storage of the test's.
    pub fn of(setup: &Setup<'_>) -> Self {
        Self::spawn(setup.storage, command(setup))
    }

    /// As a part of another command.
    pub fn of_command(storage: &Path, around: impl FnOnce(Command) -> Command) -> Self {
        let setup = Setup { storage, flags: &[], environment: &[] };
        Self::spawn(storage, around(command(&setup)))
    }

    fn spawn(storage: &Path, mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the program is there");
        let log = Arc::new(Mutex::new(String::new()));
        let (heard, errors) = (log.clone(), child.stderr.take().expect("it was piped"));
        std::thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                heard.lock().expect("no panic").push_str(&format!("{line}\n"));
            }
        });
        let mut server =
            Self { child, address: String::new(), log, _directory: None, storage: storage.to_owned() };
        crate::eventually("the registry says where it listens", || {
            let log = server.log();
            let address = log.lines().find_map(|line| line.split_once(" on http")?.1.split_once("//"));
            server.address = address.map(|(_, address)| address.to_owned()).unwrap_or_default();
            !server.address.is_empty()
        });
        server
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A connection to it.
    pub fn client(&self) -> Client {
        Client::connect(&self.address)
    }

    /// Its directory.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no panic").clone()
    }

    /// Ends it, and waits until it has gone.
    pub fn signal(&mut self, signal: Signal) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process");
        let _ = kill_process(pid, signal);
        self.wait()
    }

    /// Waits until it has gone by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let mut ended = None;
        crate::eventually("the registry ends", || {
            ended = self.child.try_wait().expect("a child");
            ended.is_some()
        });
        ended.expect("it ended")
    }

    /// All files below the storage, with their sizes.
    pub fn files(&self) -> Vec<String> {
        let tree = crate::host::tree(&self.storage);
        tree.into_keys().map(|path| path.display().to_string()).collect()
    }

    /// Most memory that it ever had, in KiB.
    pub fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        line.split_whitespace().next().and_then(|size| size.parse().ok()).expect("a number")
    }
}

/// The program with its arguments.
pub fn command(setup: &Setup<'_>) -> Command {
    let mut command = Command::new(binaries().join("holm"));
    command.args(["registry", "serve", "--addr", "127.0.0.1:0", "--storage"]).arg(setup.storage);
    command.args(setup.flags).envs(setup.environment.iter().copied());
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Most a server of tests may take for an answer.
pub const PATIENCE: Duration = Duration::from_secs(20);
