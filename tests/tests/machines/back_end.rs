//! The back ends, and machines of theirs.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use holm_spec::machine::Accelerator;
use holm_spec::platform::Platform;
use holm_vmm::machine::{Description, Event, Machine};
use holm_vmm::qemu::Qemu;

use super::guest::{self, Talk};

/// How long anything may take: more than ten times what it takes in quiet.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Memory of a guest in bytes.
pub const MEMORY: u64 = 256 << 20;

/// One way to run machines.
pub struct BackEnd {
    /// For people.
    pub name: &'static str,
    create: fn(&Description) -> holm_vmm::Result<Box<dyn Machine>>,
    restore: fn(&Description, BorrowedFd<'_>) -> holm_vmm::Result<Box<dyn Machine>>,
}

/// All of them that serve everywhere.
pub const BACK_ENDS: &[BackEnd] = &[BackEnd { name: "qemu", create: create_qemu, restore: restore_qemu }];

fn create_qemu(description: &Description) -> holm_vmm::Result<Box<dyn Machine>> {
    Ok(Box::new(Qemu::create(&emulator(), description)?))
}

fn restore_qemu(description: &Description, snapshot: BorrowedFd<'_>) -> holm_vmm::Result<Box<dyn Machine>> {
    Ok(Box::new(Qemu::restore(&emulator(), description, snapshot)?))
}

fn emulator() -> PathBuf {
    holm_vmm::host::find("qemu-system-x86_64").expect("qemu-system-x86 is installed")
}

/// Processors are few.
static TURN: Mutex<()> = Mutex::new(());

/// A machine, the guest in it, and what it needs.
pub struct Subject {
    back_end: &'static BackEnd,
    /// What the machine was made from.
    pub description: Description,
    /// The machine.
    pub machine: Box<dyn Machine>,
    /// What the guest says.
    pub talk: Talk,
    _files: Option<tempfile::TempDir>,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// Runs a test over every back end.
pub fn each(test: fn(&mut Subject)) {
    for back_end in BACK_ENDS {
        test(&mut Subject::create(back_end));
    }
}

impl Subject {
    /// A machine that does not run yet.
    pub fn create(back_end: &'static BackEnd) -> Self {
        Self::create_from(back_end, |directory| {
            let (kernel, initrd) = guest::files(directory);
            description(kernel, &initrd)
        })
    }

    /// A machine of another guest, that does not run yet. What it needs may be put into the directory.
    pub fn create_from(back_end: &'static BackEnd, describe: impl FnOnce(&Path) -> Description) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let files = tempfile::tempdir().expect("a directory");
        let description = describe(files.path());
        let machine = (back_end.create)(&description).expect("created");
        let (_files, _turn) = (Some(files), Some(turn));
        Self { back_end, description, machine, talk: Talk::default(), _files, _turn }
    }

    /// A snapshot of the machine.
    pub fn snapshot(&mut self) -> File {
        let file = tempfile::tempfile().expect("a file");
        self.machine.snapshot(file.as_fd()).expect("taken");
        file
    }

    /// A machine from a snapshot of this one, beside it.
    pub fn restore(&self, snapshot: &File) -> Self {
        self.restore_as(copy(&self.description), snapshot).expect("restored")
    }

    /// A machine from a snapshot and another description.
    pub fn restore_as(&self, description: Description, snapshot: &File) -> holm_vmm::Result<Self> {
        let machine = (self.back_end.restore)(&description, snapshot.as_fd())?;
        let back_end = self.back_end;
        Ok(Self { back_end, description, machine, talk: Talk::default(), _files: None, _turn: None })
    }

    /// Lets it run until the guest has spoken.
    pub fn boot(&mut self) {
        self.machine.boot().expect("booted");
        self.wait_for("up");
    }

    /// Tells the guest something.
    pub fn say(&self, words: &str) {
        let line = format!("{words}\n");
        let sent = rustix::io::write(self.machine.channel(), line.as_bytes()).expect("the channel takes it");
        assert_eq!(sent, line.len());
    }

    /// Waits for a line of the guest's that begins so; what follows.
    pub fn wait_for(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.talk.take(beginning) {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "{}: no `{beginning}`; {:?}; {}",
                self.back_end.name,
                self.talk,
                self.console()
            );
            self.talk.read(self.machine.channel());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How often the guest's heart beats in a time.
    pub fn beats_within(&mut self, time: Duration) -> usize {
        self.talk.read(self.machine.channel());
        self.talk.forget();
        std::thread::sleep(time);
        self.talk.read(self.machine.channel());
        std::iter::from_fn(|| self.talk.take("beat")).count()
    }

    /// Waits for an event.
    pub fn wait_for_event(&mut self, wanted: impl Fn(&Event) -> bool) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.machine.next_event() {
                Some(event) if wanted(&event) => return event,
                Some(_) => {}
                None => {
                    assert!(
                        Instant::now() < deadline,
                        "{}: no such event; {}",
                        self.back_end.name,
                        self.console()
                    );
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// What the guest's kernel printed since it was asked last.
    pub fn console(&self) -> String {
        let mut text = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = rustix::io::read(self.machine.console(), &mut buffer) {
            text.extend_from_slice(&buffer[..length]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The process of the back end, a child of this one.
    pub fn process(&self) -> i32 {
        let wanted = self.machine.facts().command_line.join("\0");
        let is_it = |pid: &i32| {
            let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&text).trim_end_matches('\0') == wanted && parent_of(*pid) == own_id()
        };
        let entries = std::fs::read_dir("/proc").expect("proc is mounted").flatten();
        let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_it);
        pids.next().expect("it runs")
    }
}

fn own_id() -> i32 {
    i32::try_from(std::process::id()).expect("an id fits")
}

fn parent_of(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = text.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
    parent.unwrap_or(0)
}

/// A machine with nothing but a kernel and a first root.
pub fn description(kernel: PathBuf, initrd: &Path) -> Description {
    Description {
        accelerator: Accelerator::Tcg,
        platform: Platform::host(),
        cpus: 1,
        memory: MEMORY,
        kernel,
        initrd: initrd.to_owned(),
        command_line: "holm.test=1".to_owned(),
        layers: None,
        scratch: None,
        shares: None,
        taps: Vec::new(),
    }
}

/// The same machine once more, without its disks.
pub fn copy(description: &Description) -> Description {
    Description {
        cpus: description.cpus,
        memory: description.memory,
        command_line: description.command_line.clone(),
        ..self::description(description.kernel.clone(), &description.initrd)
    }
}
