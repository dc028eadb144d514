//! The emulator, with what a machine gives a guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use holm_spec::agent::{LAYERS_DISK, PORT, SCRATCH_DISK};
use holm_spec::cpio::Archive;
use holm_tests::binaries;

use super::disks::Disks;
use super::kernel::Kernel;

/// What the guest needs of what Debian builds as modules.
const MODULES: [&str; 5] = ["virtio_pci", "virtio_blk", "virtio_console", "overlay", "erofs"];

/// A running emulator; ended when dropped.
pub struct Machine {
    child: Child,
    /// Socket of the agent's port.
    pub socket: PathBuf,
    console: PathBuf,
}

impl Machine {
    /// Starts it.
    ///
    /// # Errors
    /// There is no kernel or no emulator.
    pub fn start(folder: &Path, disks: &Disks) -> Result<Self> {
        let kernel = Kernel::get(&MODULES).context("getting a kernel")?;
        let initial = folder.join("initial.cpio");
        fs::write(&initial, initial_files(&kernel)?)?;
        let (socket, console) = (folder.join("agent"), folder.join("console"));
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
            "-display",
            "none",
            "-monitor",
            "none",
        ]);
        command.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "512M",
        ]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.args(["-device", "virtio-serial-pci", "-chardev"]);
        command.arg(format!("socket,id=agent,path={},server=on,wait=off", socket.display()));
        command.arg("-device").arg(format!("virtserialport,chardev=agent,name={PORT}"));
        for (disk, serial, mode) in
            [(&disks.layers, LAYERS_DISK, ",readonly=on"), (&disks.scratch, SCRATCH_DISK, "")]
        {
            command
                .arg("-drive")
                .arg(format!("if=none,id={serial},file={},format=raw{mode}", disk.display()));
            command.arg("-device").arg(format!("virtio-blk-pci,drive={serial},serial={serial}"));
        }
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&initial);
        command.arg("-append").arg(format!("console=ttyS0 quiet panic=-1{}", clock_rate()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.spawn().context("starting the emulator")?;
        Ok(Self { child, socket, console })
    }

    /// What the guest's kernel and the agent said to people.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// How it ended, if it does within this time.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The archive of a kernel's modules, and behind it the agent's.
fn initial_files(kernel: &Kernel) -> Result<Vec<u8>> {
    let mut modules = Archive::default();
    modules.directory("lib").directory("lib/modules");
    for (index, (name, content)) in kernel.modules.iter().enumerate() {
        modules.file(&format!("lib/modules/{index:02}-{name}.ko"), 0o644, content);
    }
    let mut agent = Archive::default();
    for directory in ["usr", "usr/lib", "usr/lib/holm"] {
        agent.directory(directory);
    }
    for (path, name) in [("init", "holm-agent"), ("usr/lib/holm/holm-init", "holm-init")] {
        let content = fs::read(binaries().join(name)).with_context(|| format!("reading `{name}`"))?;
        agent.file(path, 0o755, &content);
    }
    let mut files = modules.finish();
    files.extend(agent.finish());
    Ok(files)
}

/// The rate of the processor's clock as the host knows it: a kernel that measures it while the emulator
/// is not given time goes wrong.
fn clock_rate() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "));
    let megahertz = value.and_then(|(_, value)| value.trim().parse::<f64>().ok());
    megahertz.map_or_else(String::new, |megahertz| format!(" tsc_early_khz={:.0}", megahertz * 1000.0))
}
