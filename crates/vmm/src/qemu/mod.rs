//! The back end that runs QEMU as a child process, driven by QMP.
//!
//! The child inherits descriptors for everything that it opens but the kernel, its first root and its own files; it
//! reads disks through sets of descriptors (`/dev/fdset/N`). Nobody else has to be trusted with paths.

mod arguments;
mod migration;
mod qmp;

use std::collections::VecDeque;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use holm_spec::machine::{Accelerator, Facts};
use holm_sys::process::keep_over_exec;
use serde_json::{Value, json};

use crate::machine::{Description, Event, Machine, Metrics};
use crate::snapshot::{Reader, Subject};
use crate::{Error, Result};
use arguments::Arguments;
use qmp::Qmp;

/// Most bytes of QEMU's own words that are kept.
const WORDS_LIMIT: u64 = 4096;

/// A machine that QEMU runs.
#[derive(Debug)]
pub struct Qemu {
    child: Child,
    qmp: Qmp,
    channel: UnixStream,
    console: UnixStream,
    /// What a snapshot of it belongs to.
    subject: Subject,
    /// Its disk with the layers, as QEMU is told of it.
    layers: Option<Value>,
    /// Events that were not asked for yet.
    pending: VecDeque<Event>,
    accelerator: Accelerator,
    arguments: Vec<String>,
    devices: Vec<String>,
}

/// The ends of a machine's streams that the emulator gets.
struct Ends {
    qmp: UnixStream,
    channel: UnixStream,
    console: UnixStream,
    /// Where the machine's memory and devices come from, if it is restored.
    snapshot: Option<UnixStream>,
}

impl Qemu {
    /// Starts an emulator with a machine in it, which does not run yet.
    ///
    /// # Errors
    /// The emulator cannot be started, or does not take the machine.
    pub fn create(emulator: &Path, description: &Description) -> Result<Self> {
        Self::start(emulator, description, Subject::new(description)?, None)
    }

    /// Starts an emulator with the machine that a snapshot was taken of; it is paused. `description` is that of the
    /// machine then, with the scratch disk as it was then.
    ///
    /// # Errors
    /// The snapshot is of another machine, another emulator or another version, not whole, or damaged; otherwise as for
    /// [`Qemu::create`]. No emulator is left then.
    pub fn restore(emulator: &Path, description: &Description, snapshot: BorrowedFd<'_>) -> Result<Self> {
        Self::try_restore(emulator, description, snapshot)
            .map_err(|error| error.within("restore the machine"))
    }

    fn try_restore(emulator: &Path, description: &Description, snapshot: BorrowedFd<'_>) -> Result<Self> {
        let subject = Subject::new(description)?;
        subject.check_shares()?;
        let reader = Reader::open(snapshot)?;
        let (stream, stream_end) = migration::pair()?;
        let mut machine = Self::start(emulator, description, subject, Some(stream_end))?;
        reader.check(&machine.subject.identity(migration::name(&mut machine.qmp)?)?)?;
        machine.load(stream, &reader).map_err(|error| machine.explain(error))?;
        Ok(machine)
    }

    fn start(
        emulator: &Path,
        description: &Description,
        subject: Subject,
        snapshot: Option<UnixStream>,
    ) -> Result<Self> {
        let failed = |error: std::io::Error| Error::caused("make a socket to the emulator", error);
        let (qmp, qmp_end) = UnixStream::pair().map_err(failed)?;
        let (channel, channel_end) = UnixStream::pair().map_err(failed)?;
        let (console, console_end) = UnixStream::pair().map_err(failed)?;
        channel.set_nonblocking(true).and_then(|()| console.set_nonblocking(true)).map_err(failed)?;
        let ends = Ends { qmp: qmp_end, channel: channel_end, console: console_end, snapshot };
        let arguments = Arguments::new(description, &ends)?;
        let child = spawn(emulator, &arguments)?;
        // What only the child holds tells of its end.
        drop((ends, arguments.inherited));
        let command_line = std::iter::once(emulator.display().to_string());
        let mut machine = Self {
            child,
            qmp: Qmp::new(qmp),
            channel,
            console,
            subject,
            layers: arguments.layers,
            pending: VecDeque::new(),
            accelerator: description.accelerator,
            arguments: command_line.chain(arguments.words).collect(),
            devices: arguments.devices,
        };
        match machine.qmp.negotiate() {
            Ok(()) => Ok(machine),
            Err(error) => Err(machine.explain(error)),
        }
    }

    fn command(&mut self, name: &str, arguments: Value) -> Result<Value> {
        self.qmp
            .execute(name, arguments)
            .map_err(|error| Error::caused(format!("tell the machine to {name}"), error))
    }

    /// What the emulator said before it gave up says more than that it did.
    fn explain(&mut self, error: Error) -> Error {
        let _ = self.child.kill();
        let words = self.last_words();
        if words.is_empty() { error } else { Error::caused("start the emulator", words) }
    }

    fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            let _ = stderr.take(WORDS_LIMIT).read_to_end(&mut words);
        }
        let _ = self.child.wait();
        String::from_utf8_lossy(&words).trim().replace('\n', "; ")
    }

    fn take_events(&mut self) {
        while let Some(event) = self.qmp.next_event() {
            self.pending.extend(translate(&event));
        }
        if self.qmp.is_closed() && self.child.try_wait().is_ok_and(|status| status.is_some()) {
            let words = self.last_words();
            self.pending.push_back(Event::Died(words));
        }
    }
}

fn spawn(emulator: &Path, arguments: &Arguments) -> Result<Child> {
    let failed = |error| Error::caused(format!("execute `{}`", emulator.display()), error);
    for descriptor in &arguments.inherited {
        keep_over_exec(descriptor).map_err(|errno| failed(errno.into()))?;
    }
    Command::new(emulator)
        .args(&arguments.words)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)
}

fn translate(event: &Value) -> Option<Event> {
    let data = &event["data"];
    match event["event"].as_str()? {
        "SHUTDOWN" if data["reason"] == "guest-reset" => Some(Event::Reset),
        "SHUTDOWN" if data["guest"] == true => Some(Event::PoweredOff),
        "VSERPORT_CHANGE" => Some(Event::Agent(data["open"].as_bool()?)),
        _ => None,
    }
}

impl Machine for Qemu {
    fn boot(&mut self) -> Result<()> {
        self.resume()
    }

    fn pause(&mut self) -> Result<()> {
        self.command("stop", json!({})).map(drop)
    }

    fn resume(&mut self) -> Result<()> {
        self.command("cont", json!({})).map(drop)
    }

    fn snapshot(&mut self, file: BorrowedFd<'_>) -> Result<()> {
        self.save(file).map_err(|error| error.within("take a snapshot of the machine"))
    }

    fn set_memory(&mut self, bytes: u64) -> Result<()> {
        self.command("balloon", json!({ "value": bytes })).map(drop)
    }

    fn metrics(&mut self) -> Result<Metrics> {
        let balloon = self.command("query-balloon", json!({}))?;
        Ok(Metrics { memory: balloon["actual"].as_u64().unwrap_or(0) })
    }

    fn stop(&mut self) -> Result<()> {
        let failed = |error| Error::caused("end the emulator", error);
        if self.child.try_wait().map_err(failed)?.is_none() {
            self.child.kill().map_err(failed)?;
            self.child.wait().map_err(failed)?;
        }
        Ok(())
    }

    fn channel(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }

    fn console(&self) -> BorrowedFd<'_> {
        self.console.as_fd()
    }

    fn events(&self) -> BorrowedFd<'_> {
        self.qmp.socket()
    }

    fn next_event(&mut self) -> Option<Event> {
        if self.pending.is_empty() {
            self.take_events();
        }
        self.pending.pop_front()
    }

    fn facts(&self) -> Facts {
        Facts {
            accelerator: self.accelerator,
            release: String::new(),
            devices: self.devices.clone(),
            command_line: self.arguments.clone(),
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Descriptors as owned copies, so that a description may be used again.
pub(crate) fn copy(descriptor: BorrowedFd<'_>) -> Result<OwnedFd> {
    descriptor.try_clone_to_owned().map_err(|error| Error::caused("copy a descriptor", error))
}
