//! Guests: machines that QEMU emulates in software, so that no host needs KVM for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holm_tests::{Call, binaries, tarball};

use super::archive::Archive;
use super::kernel::Kernel;
use super::record::{Answer, Record};
use super::step::{self, Area};

/// What a guest is made of, and what it does.
pub struct Plan {
    /// What it does, in order.
    pub areas: &'static [Area],
    /// A step that prints what an area left.
    pub residue: &'static str,
    /// How long one step may take.
    pub patience: Duration,
    /// How long the guest may live. It takes a small part of that on an idle machine.
    pub life: Duration,
    /// Modules of the kernel to take along besides those of every guest, without what they depend on.
    pub modules: &'static [&'static str],
    /// As QEMU's `-cpu` and `-m` have them.
    pub processor: &'static str,
    pub memory: &'static str,
    /// More words for the kernel's command line.
    pub options: &'static str,
    /// A disk that it may only read: `/dev/vda` there.
    pub disk: Option<fn() -> Result<PathBuf>>,
    /// Whether it may be booted again by its own steps, and has a disk that keeps what it writes: `/dev/vdb` there.
    pub boots_again: bool,
    /// What the first file system has besides [`initial_files`]: a first program `init` at least.
    pub files: fn(&mut Archive) -> Result<()>,
}

/// A guest, booted when the first test asks for an answer.
pub struct Guest {
    plan: Plan,
    boot: OnceLock<Result<Boot, String>>,
}

/// One boot.
pub struct Boot {
    /// What the guest recorded.
    pub record: Record,
    /// From the start of the emulator to its end.
    duration: Duration,
}

impl Guest {
    /// A guest that is not booted yet.
    pub const fn new(plan: Plan) -> Self {
        Self { plan, boot: OnceLock::new() }
    }

    /// The one boot that all tests share.
    ///
    /// # Panics
    /// If the guest did not come to its end.
    #[track_caller]
    pub fn boot(&self) -> &Boot {
        match self.boot.get_or_init(|| self.plan.run().map_err(|error| format!("{error:#}"))) {
            Ok(boot) => boot,
            Err(error) => panic!("no guest: {error}"),
        }
    }

    /// The answer to a step.
    #[track_caller]
    pub fn answer(&self, step: &str) -> &Answer {
        self.boot().record.answer(step)
    }

    /// Demands that an area left nothing.
    #[track_caller]
    pub fn leaves_nothing(&self, area: &str) {
        self.answer(&step::residue(area)).says("");
    }
}

impl Boot {
    /// What took how long, for people.
    pub fn times(&self) -> String {
        let mut times: Vec<_> = self.record.answers().map(|answer| (answer.time, answer.name())).collect();
        times.sort_by(|a, b| a.0.0.total_cmp(&b.0.0));
        let first = times.first().map_or(f64::NAN, |(time, _)| time.0);
        times.sort_by(|a, b| (b.0.1 - b.0.0).total_cmp(&(a.0.1 - a.0.0)));
        let slow =
            times.iter().take(8).map(|((begin, end), name)| format!("\n{:.2} s in {name}", end - begin));
        format!(
            "first step {first} s after the kernel's start; the whole boot took {:?}{}",
            self.duration,
            slow.collect::<String>()
        )
    }
}

impl Plan {
    fn run(&self) -> Result<Boot> {
        let kernel = Kernel::get(self.modules).context("getting a kernel")?;
        let place = tempfile::Builder::new().prefix("hg").tempdir()?;
        let (initial, record) = (place.path().join("initial.cpio"), place.path().join("record"));
        std::fs::write(&initial, self.initial_files(&kernel)?)?;
        let start = Instant::now();
        let mut emulator = self.emulator(&kernel, &initial, &record)?;
        match self.boots_again {
            true => emulator.args(["-drive", &kept_disk(place.path())?]),
            false => emulator.arg("-no-reboot"),
        };
        let end = Call::new(emulator).timeout(self.life).wait();
        let duration = start.elapsed();
        let written = std::fs::read(&record).unwrap_or_default();
        let parsed = Record::parse(&written);
        match end {
            Ok(_) if parsed.complete => Ok(Boot { record: parsed, duration }),
            Ok(outcome) => {
                bail!("it went before its time: {outcome}\n--- record\n{}", String::from_utf8_lossy(&written))
            }
            Err(text) => bail!("{text}\n--- record\n{}", String::from_utf8_lossy(&written)),
        }
    }

    /// Two processors, so that what runs at once really does. The kernel's messages go to the first serial
    /// port, the record to the second.
    fn emulator(&self, kernel: &Kernel, initial: &Path, record: &Path) -> Result<Command> {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none"]);
        command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", self.processor]);
        command.args(["-smp", "2", "-m", self.memory, "-serial", "stdio", "-serial"]);
        command.arg(format!("file:{}", record.display()));
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initial);
        command.arg("-append");
        command.arg(format!("console=ttyS0 quiet panic=-1{} {}", clock_rate(), self.options));
        if let Some(disk) = self.disk {
            command.arg("-drive");
            command.arg(format!("file={},format=raw,if=virtio,readonly=on", disk()?.display()));
        }
        Ok(command)
    }

    /// Our programs, busybox, the modules, the steps and what runs them, and the image of most tests.
    fn initial_files(&self, kernel: &Kernel) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        for directory in
            ["bin", "etc", "usr", "usr/bin", "usr/lib", "usr/lib/holm", "lib", "lib/modules", "steps"]
        {
            archive.directory(directory);
        }
        archive.file("bin/busybox", 0o755, std::fs::read("/bin/busybox").context("reading busybox")?);
        for name in ["holm", "holm-keeper", "holm-init", "holm-runtime"] {
            let content =
                std::fs::read(binaries().join(name)).with_context(|| format!("reading `{name}`"))?;
            archive.file(&format!("usr/lib/holm/{name}"), 0o755, content);
        }
        archive.symlink("usr/bin/holm", "../lib/holm/holm");
        archive.symlink("usr/bin/holm-runtime", "../lib/holm/holm-runtime");
        for (index, (name, content)) in kernel.modules.iter().enumerate() {
            archive.file(&format!("lib/modules/{index:02}-{name}.ko"), 0o644, content);
        }
        step::add(&mut archive, self.areas, self.residue, self.patience);
        archive.file("base.tar", 0o644, tarball::base());
        (self.files)(&mut archive)?;
        Ok(archive.finish())
    }
}

/// Makes an empty disk, as QEMU's `-drive` has it. Whatever the guest does to itself, this host stays up: nothing needs to
/// be on the host's own disk.
fn kept_disk(place: &Path) -> Result<String> {
    let disk = place.join("kept.ext4");
    std::fs::File::create_new(&disk)?.set_len(1 << 30)?;
    let status = Command::new("mkfs.ext4").arg("-q").arg(&disk).status().context("running mkfs.ext4")?;
    if !status.success() {
        bail!("mkfs.ext4 failed");
    }
    Ok(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()))
}

/// The rate of the processor's clock as the host knows it: a kernel that measures it while the emulator
/// is not given time goes wrong.
fn clock_rate() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "));
    let megahertz = value.and_then(|(_, value)| value.trim().parse::<f64>().ok());
    megahertz.map_or_else(String::new, |megahertz| format!(" tsc_early_khz={:.0}", megahertz * 1000.0))
}
