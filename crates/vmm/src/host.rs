//! What this host has for machines.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holm_spec::machine::{Accelerator, Hypervisor, Virtiofsd};
use holm_spec::platform::Platform;

use crate::{Error, Result};

/// Where emulators are looked for.
const DIRECTORIES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// How long the probe may take: some hundred times what it takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is to run a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// Why, for people.
    pub reason: String,
    /// The emulator.
    pub emulator: PathBuf,
}

/// How KVM is tried, and where the answer is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Prober<'a> {
    /// `holm-machine`.
    pub program: &'a Path,
    /// The file of answers.
    pub answers: &'a Path,
}

/// What was found out once about a kernel.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Answer {
    /// Release and version of the kernel.
    kernel: String,
    /// Why KVM does not serve; absent if it does.
    fault: Option<String>,
}

/// Chooses what runs a machine of a platform.
///
/// # Errors
/// There is no emulator for the platform; KVM was asked for and does not serve.
pub fn choose(asked: Hypervisor, platform: &Platform, prober: &Prober<'_>) -> Result<Choice> {
    let name = emulator_name(platform)?;
    let emulator = find(name).ok_or_else(|| missing(name, platform))?;
    // Whoever asks for QEMU need not wait for an answer.
    let kvm = if asked == Hypervisor::Qemu { Ok(()) } else { kvm(platform, prober) };
    match (asked, kvm) {
        (Hypervisor::Auto | Hypervisor::Kvm, Ok(())) => {
            Ok(Choice { accelerator: Accelerator::Kvm, reason: "KVM runs guests here".to_owned(), emulator })
        }
        (Hypervisor::Kvm, Err(why)) => Err(Error::caused("run a machine under KVM", why).with_hint(
            "leave --hypervisor away, or say `--hypervisor qemu`: slower, and it runs everywhere",
        )),
        (Hypervisor::Auto, Err(why)) => Ok(Choice {
            accelerator: Accelerator::Tcg,
            reason: format!("QEMU translates the guest's code, as {why}"),
            emulator,
        }),
        (Hypervisor::Qemu, _) => Ok(Choice {
            accelerator: Accelerator::Tcg,
            reason: "QEMU translates the guest's code, as asked".to_owned(),
            emulator,
        }),
    }
}

/// Whether KVM serves; otherwise why not.
///
/// # Errors
/// Why not, for people.
pub fn kvm(platform: &Platform, prober: &Prober<'_>) -> std::result::Result<(), String> {
    if *platform != Platform::host() {
        return Err(format!("the guest is {platform} and this host is not"));
    }
    if !Path::new("/dev/kvm").exists() {
        return Err("there is no /dev/kvm".to_owned());
    }
    let system = rustix::system::uname();
    let kernel = format!("{} {}", system.release().to_string_lossy(), system.version().to_string_lossy());
    let known =
        std::fs::read(prober.answers).ok().and_then(|text| serde_json::from_slice::<Answer>(&text).ok());
    let answer = known.filter(|answer| answer.kernel == kernel).unwrap_or_else(|| {
        let answer = Answer { kernel, fault: try_kvm(prober.program).err() };
        let text = serde_json::to_vec(&answer).expect("an answer is plain data");
        // Without it the next one asks again.
        let _ = holm_sys::file::replace(prober.answers, &text, holm_sys::file::Durability::Volatile);
        answer
    });
    answer.fault.map_or(Ok(()), Err)
}

/// Runs the probe of `program`, which is `holm-machine`, in a process of its own, which can be ended if it hangs. Asks
/// each time anew.
///
/// # Errors
/// Why KVM does not serve, for people.
pub fn try_kvm(program: &Path) -> std::result::Result<(), String> {
    let failed = |error: std::io::Error| format!("KVM could not be tried: {error}");
    let mut child = Command::new(program)
        .arg("probe")
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let ended = ends_in_time(&mut child).map_err(failed)?;
    let mut fault = String::new();
    if let Some(mut output) = child.stdout.take().filter(|_| ended) {
        output.read_to_string(&mut fault).map_err(failed)?;
    }
    match (ended, fault.trim()) {
        (false, _) => Err("KVM's guest hung".to_owned()),
        (true, "") => Ok(()),
        (true, fault) => Err(fault.to_owned()),
    }
}

/// Whether a process ends before the probe's time is over; it is ended otherwise.
fn ends_in_time(child: &mut Child) -> std::io::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

/// The program that emulates a platform.
///
/// # Errors
/// None is known.
pub fn emulator_name(platform: &Platform) -> Result<&'static str> {
    match platform.architecture.as_str() {
        "amd64" => Ok("qemu-system-x86_64"),
        "arm64" => Ok("qemu-system-aarch64"),
        _ => Err(Error::new(format!("run a machine of {platform}: linux/amd64 and linux/arm64 are known"))),
    }
}

/// The emulator of this name, if it is installed.
pub fn find(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

/// What serves directories to guests on this host: the maintained program, or the one that QEMU 7.2 and older bring.
pub fn virtiofsd() -> Option<Virtiofsd> {
    const MAINTAINED: [&str; 4] =
        ["/usr/local/bin/virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/bin/virtiofsd"];
    let maintained = MAINTAINED.iter().map(|path| (Path::new(path), false));
    let mut all = maintained.chain([(Path::new("/usr/lib/qemu/virtiofsd"), true)]);
    let (path, legacy) = all.find(|(path, _)| path.is_file())?;
    Some(Virtiofsd { path: path.to_owned(), legacy })
}

/// Whether directories can be shared with guests at all.
///
/// # Errors
/// Nothing that serves them is installed.
pub fn require_virtiofsd() -> Result<()> {
    virtiofsd().map(drop).ok_or_else(|| {
        Error::caused("share directories with a machine", "`virtiofsd` is not installed")
            .with_hint("install virtiofsd; QEMU 7.2 and older bring it, in Debian as `qemu-system-common`")
    })
}

fn missing(name: &str, platform: &Platform) -> Error {
    let package = if platform.architecture == "arm64" { "qemu-system-arm" } else { "qemu-system-x86" };
    Error::caused("run a machine", format!("`{name}` is not installed"))
        .with_hint(format!("install QEMU; Debian and Ubuntu have it as `{package}`"))
}

/// Rate of the processor's clock in kHz as the host knows it. A guest kernel that measures it while the emulator is
/// not given time gets it wrong, and hangs.
pub fn clock_rate() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split_once(": "))?;
    let megahertz: f64 = value.1.trim().parse().ok()?;
    (megahertz > 0.0).then_some((megahertz * 1000.0) as u64)
}
