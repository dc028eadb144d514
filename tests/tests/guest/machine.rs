//! The guest itself: a machine that QEMU emulates in software, so that no host needs KVM for it.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use holm_tests::{Call, binaries, tarball};

use super::archive::Archive;
use super::kernel::Kernel;
use super::record::{Answer, Record};
use super::{programs, step};

/// How long a guest may live. It takes a tenth of that on an idle machine.
const LIFE: Duration = Duration::from_secs(400);

/// What Debian builds as modules and Holm uses.
const MODULES: [&str; 14] = [
    "loop",
    "overlay",
    "erofs",
    // What CRIU asks about sockets, and what it locks networks with.
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "raw_diag",
    "af_packet_diag",
    "netlink_diag",
    "nf_tables",
    "nft_compat",
    "xt_mark",
    "nf_conntrack_netlink",
];

/// One boot.
pub struct Boot {
    /// What the guest recorded.
    pub record: Record,
    /// From the start of the emulator to its end.
    pub duration: Duration,
}

/// The one boot that all tests share.
///
/// # Panics
/// If the guest did not come to its end.
#[track_caller]
pub fn boot() -> &'static Boot {
    static BOOT: OnceLock<Result<Boot, String>> = OnceLock::new();
    match BOOT.get_or_init(|| run().map_err(|error| format!("{error:#}"))) {
        Ok(boot) => boot,
        Err(error) => panic!("no guest: {error}"),
    }
}

/// The answer to a step.
#[track_caller]
pub fn answer(step: &str) -> &'static Answer {
    boot().record.answer(step)
}

/// Demands that an area left nothing.
#[track_caller]
pub fn leaves_nothing(area: &str) {
    answer(&step::residue(area)).says("");
}

fn run() -> Result<Boot> {
    let kernel = Kernel::get(&MODULES).context("getting a kernel")?;
    let place = tempfile::Builder::new().prefix("hg").tempdir()?;
    let (initial, record) = (place.path().join("initial.cpio"), place.path().join("record"));
    std::fs::write(&initial, initial_files(&kernel)?)?;
    let start = Instant::now();
    let end = Call::new(emulator(&kernel, &initial, &record)).timeout(LIFE).wait();
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
fn emulator(kernel: &Kernel, initial: &Path, record: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]);
    command.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "qemu64"]);
    command.args(["-smp", "2", "-m", "1G", "-serial", "stdio", "-serial"]);
    command.arg(format!("file:{}", record.display()));
    command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(initial);
    command.arg("-append").arg(format!("console=ttyS0 quiet panic=-1{}", clock_rate()));
    command
}

/// The rate of the processor's clock as the host knows it: a kernel that measures it while the emulator
/// is not given time goes wrong.
fn clock_rate() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "));
    let megahertz = value.and_then(|(_, value)| value.trim().parse::<f64>().ok());
    megahertz.map_or_else(String::new, |megahertz| format!(" tsc_early_khz={:.0}", megahertz * 1000.0))
}

fn initial_files(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for directory in
        ["bin", "etc", "usr", "usr/bin", "usr/lib", "usr/lib/holm", "lib", "lib/modules", "steps"]
    {
        archive.directory(directory);
    }
    archive.file("init", 0o755, step::INIT);
    archive.file("bin/busybox", 0o755, std::fs::read("/bin/busybox").context("reading busybox")?);
    for name in ["holm", "holm-keeper", "holm-init", "holm-runtime"] {
        let content = std::fs::read(binaries().join(name)).with_context(|| format!("reading `{name}`"))?;
        archive.file(&format!("usr/lib/holm/{name}"), 0o755, content);
    }
    archive.symlink("usr/bin/holm", "../lib/holm/holm");
    archive.symlink("usr/bin/holm-runtime", "../lib/holm/holm-runtime");
    archive.file("usr/bin/keeper_of", 0o755, step::KEEPER_OF);
    archive.file("etc/inittab", 0o644, step::INITTAB);
    archive.file("etc/mounts", 0o755, step::MOUNTS);
    archive.file("etc/steps", 0o755, step::RUNNER);
    for (index, (name, content)) in kernel.modules.iter().enumerate() {
        archive.file(&format!("lib/modules/{index:02}-{name}.ko"), 0o644, content);
    }
    for (index, (name, script)) in step::all().iter().enumerate() {
        archive.file(&format!("steps/{index:03}"), 0o644, format!("#@step {name}\n{script}"));
    }
    programs::add(&mut archive)?;
    archive.file("base.tar", 0o644, tarball::base());
    Ok(archive.finish())
}
