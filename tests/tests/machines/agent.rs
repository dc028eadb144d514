//! A guest with Holm's agent as its first program, spoken to over the channel of a machine.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command as Program;
use std::time::{Duration, Instant};

use holm_spec::agent::frame::{Content, Decoder, OPENING, put_message};
use holm_spec::agent::{Command, PROTOCOL, Report};
use holm_spec::cpio::Archive;
use holm_spec::keeper::Stream;
use holm_tests::{Holm, binaries, tarball};
use holm_vmm::disk::Layers;
use holm_vmm::machine::{Description, Machine};

use super::back_end::{PATIENCE, description};
use super::kernel::Kernel;

/// What the guest needs of what Debian builds as modules.
const MODULES: [&str; 6] =
    ["virtio_mmio", "virtio_blk", "virtio_console", "virtio_balloon", "overlay", "erofs"];
/// Bytes of the scratch disk.
const SCRATCH_SIZE: u64 = 64 << 20;
/// What a file of the layer holds that nobody reads at first, a million times.
const BIG: &[u8] = b"x";
/// How long the channel has to be quiet to be empty.
const QUIET: Duration = Duration::from_millis(300);

/// A machine with the image `base` as its layer, and a scratch disk.
pub fn describe(directory: &Path) -> Description {
    let kernel = Kernel::get(&MODULES).expect("a kernel");
    let initrd = directory.join("initrd");
    fs::write(&initrd, first_root(&kernel)).expect("written");
    fs::write(layer_of(directory), layer()).expect("written");
    let scratch = scratch_of(directory);
    File::create(&scratch).and_then(|file| file.set_len(SCRATCH_SIZE)).expect("made");
    let made = Program::new("mkfs.ext4").args(["-q", "-F"]).arg(&scratch).status();
    assert!(made.expect("e2fsprogs is installed").success());
    with_disks(description(kernel.image, &initrd), &scratch)
}

/// The same machine with another scratch disk, which is a copy.
pub fn describe_twin(of: &Description, name: &str) -> Description {
    let directory = of.initrd.parent().expect("it lies in a directory");
    let scratch = directory.join(name);
    fs::copy(scratch_of(directory), &scratch).expect("copied");
    with_disks(super::back_end::copy(of), &scratch)
}

fn with_disks(description: Description, scratch: &Path) -> Description {
    let directory = scratch.parent().expect("it lies in a directory");
    let layer = File::open(layer_of(directory)).expect("it was made");
    let scratch = File::options().read(true).write(true).open(scratch).expect("it was made");
    Description {
        layers: Some(Layers::compose(vec![layer.into()]).expect("a layer")),
        scratch: Some(OwnedFd::from(scratch)),
        ..description
    }
}

fn scratch_of(directory: &Path) -> PathBuf {
    directory.join("scratch")
}

fn layer_of(directory: &Path) -> PathBuf {
    directory.join("layer")
}

/// A layer as the store writes it.
fn layer() -> Vec<u8> {
    let holm = Holm::bare();
    let tar = tarball::base_with_release("base").file("big", 0o644, BIG.repeat(1 << 20)).finish();
    holm.call(["import", "-", "image"]).stdin(tar).run().ok();
    let mut files = fs::read_dir(holm.root().join("layers")).expect("the store").flatten();
    let file = files.find(|file| file.path().extension().is_some_and(|end| end == "erofs"));
    fs::read(file.expect("the store has a layer").path()).expect("read")
}

fn first_root(kernel: &Kernel) -> Vec<u8> {
    let mut modules = Archive::default();
    modules.directory("lib").directory("lib/modules");
    for (index, (name, content)) in kernel.modules.iter().enumerate() {
        modules.file(&format!("lib/modules/{index:02}-{name}.ko"), 0o644, content);
    }
    let program = |name: &str| fs::read(binaries().join(name)).expect("a binary that ships");
    let mut bytes = modules.finish();
    bytes.extend(holm_vmm::initrd::agent_archive(&program("holm-agent"), &program("holm-init")));
    bytes
}

/// One side of the channel: a machine's owner.
#[derive(Default)]
pub struct Owner {
    decoder: Decoder,
    reports: Vec<Report>,
    /// All that the processes wrote, one after the other.
    pub output: Vec<u8>,
}

impl Owner {
    /// Says hello; the sessions that run. `seed` is a byte of the seed.
    pub fn greet(&mut self, machine: &dyn Machine, seed: u8) -> Vec<u32> {
        rustix::io::write(machine.channel(), OPENING).expect("the channel takes it");
        let seed = format!("{seed:02x}").repeat(32);
        self.say(machine, &Command::Hello { protocol: PROTOCOL, clock: now(), seed });
        self.wait_for(machine, |report| match report {
            Report::Welcome { sessions, .. } => Some(sessions.keys().copied().collect()),
            _ => None,
        })
    }

    /// Says something.
    pub fn say(&self, machine: &dyn Machine, command: &Command) {
        let mut bytes = Vec::new();
        assert!(put_message(&mut bytes, command));
        let sent = rustix::io::write(machine.channel(), &bytes).expect("the channel takes it");
        assert_eq!(sent, bytes.len());
    }

    /// Waits for a report.
    pub fn wait_for<T>(&mut self, machine: &dyn Machine, wanted: impl Fn(&Report) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.reports.iter().enumerate().find_map(|(at, report)| Some((at, wanted(report)?)));
            if let Some((at, found)) = found {
                self.reports.remove(at);
                return found;
            }
            assert!(Instant::now() < deadline, "no such report: {:?}", self.reports);
            if !self.read(machine) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Reads until nothing more comes, of a machine that takes nothing.
    pub fn drain(&mut self, machine: &dyn Machine) {
        let mut last = Instant::now();
        while last.elapsed() < QUIET {
            if self.take(machine).is_some() {
                last = Instant::now();
            } else {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Reads a part of what is there, and acknowledges output; whether there was anything.
    pub fn read(&mut self, machine: &dyn Machine) -> bool {
        let Some(acknowledgements) = self.take(machine) else { return false };
        acknowledgements.iter().for_each(|command| self.say(machine, command));
        true
    }

    /// Reads a part of what is there; what to say to that.
    fn take(&mut self, machine: &dyn Machine) -> Option<Vec<Command>> {
        let mut buffer = [0; 16 * 1024];
        let Ok(length @ 1..) = rustix::io::read(machine.channel(), &mut buffer) else { return None };
        self.decoder.push(&buffer[..length]);
        let mut acknowledgements = Vec::new();
        while let Some(content) = self.decoder.next_frame() {
            match content {
                Content::Data(stream, session, data) => {
                    self.output.extend_from_slice(data);
                    acknowledgements.push(acknowledge(session, stream, data.len()));
                }
                Content::Message(text) => {
                    self.reports.push(serde_json::from_slice(text).expect("the agent's messages are right"));
                }
            }
        }
        Some(acknowledgements)
    }

    /// Output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }
}

fn acknowledge(session: u32, stream: Stream, bytes: usize) -> Command {
    Command::Acknowledge { session, stream: stream as u8, bytes: u32::try_from(bytes).expect("a window") }
}

/// The host's clock, in nanoseconds since 1970.
pub fn now() -> u64 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    u64::try_from(time.as_nanos()).expect("not yet")
}
