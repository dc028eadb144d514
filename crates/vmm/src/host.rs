//! What this host has for machines.

use std::path::{Path, PathBuf};

use holm_spec::machine::{Accelerator, Hypervisor};
use holm_spec::platform::Platform;

use crate::{Error, Result};

/// Where emulators are looked for.
const DIRECTORIES: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

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

/// Chooses what runs a machine of a platform.
///
/// # Errors
/// There is no emulator for the platform; KVM was asked for and does not serve.
pub fn choose(asked: Hypervisor, platform: &Platform) -> Result<Choice> {
    let name = emulator_name(platform)?;
    let emulator = find(name).ok_or_else(|| missing(name, platform))?;
    let kvm = kvm(platform);
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
fn kvm(platform: &Platform) -> std::result::Result<(), String> {
    if *platform != Platform::host() {
        return Err(format!("the guest is {platform} and this host is not"));
    }
    if !Path::new("/dev/kvm").exists() {
        return Err("there is no /dev/kvm".to_owned());
    }
    crate::probe::kvm()
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
