//! What virtual machines need: KVM or an emulator, the server of shared directories, a kernel, `mkfs.ext4`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holm_spec::layout::Layout;
use holm_spec::platform::Platform;
use holm_store::Store;
use rustix::fs::{Access, access};

use super::Need::Machines;
use super::{Check, KvmTrial};
use crate::host::helper;

const KVM: &str = "/dev/kvm";
const TUN: &str = "/dev/net/tun";
/// What the names of QEMU's emulators begin with.
const EMULATOR: &str = "qemu-system-";
/// Where administrators' programs are, whether `PATH` says so or not.
const ALSO: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/libexec", "/usr/lib/qemu"];

pub(super) fn examine(layout: &Layout, trial: KvmTrial<'_>) -> Vec<Check> {
    let directories = directories();
    vec![
        programs(),
        kvm(trial),
        emulators(&directories),
        shares(&directories),
        kernels(layout),
        scratch_disks(&directories),
        taps(),
    ]
}

fn kvm(trial: KvmTrial<'_>) -> Check {
    let check = |found: &str| Check::ok("kvm", Machines, found);
    let slow =
        "the processor's own virtualisation is not used: machines run in an emulator, many times slower";
    if !Path::new(KVM).exists() {
        return check("there is no /dev/kvm")
            .limited(slow, "modprobe kvm_intel or kvm_amd; in a VM, nested virtualisation");
    }
    if access(KVM, Access::READ_OK | Access::WRITE_OK).is_err() {
        return check("/dev/kvm is there, and may not be used")
            .limited(slow, "run as root, or join the group `kvm`");
    }
    match trial() {
        Ok(()) => check("/dev/kvm runs guests"),
        Err(why) => check(&format!("/dev/kvm is there, but {why}")).limited(slow, "another host"),
    }
}

fn programs() -> Check {
    let names = ["holm-machine", "holm-agent"];
    let absent: Vec<&str> = names.into_iter().filter(|name| helper(name).is_err()).collect();
    if absent.is_empty() {
        return Check::ok("machine programs", Machines, names.join(", "));
    }
    let found = format!("not beside holm: {}", absent.join(", "));
    Check::ok("machine programs", Machines, found)
        .missing("no machine can start", "install all of Holm into one directory")
}

fn emulators(directories: &[PathBuf]) -> Check {
    let mut names: Vec<String> = directories.iter().flat_map(|directory| emulators_in(directory)).collect();
    names.sort();
    names.dedup();
    let own = format!("{EMULATOR}{}", std::env::consts::ARCH);
    let install = "apt-get install qemu-system-x86 (qemu-system-arm for arm64)";
    if names.is_empty() {
        return Check::ok("emulators", Machines, "none").missing("no machine can run without KVM", install);
    }
    let version = find(directories, &own).and_then(|path| version(&path));
    let version = version.map(|version| format!(" ({version})")).unwrap_or_default();
    let check = Check::ok("emulators", Machines, format!("{}{version}", names.join(", ")));
    if names.contains(&own) {
        return check;
    }
    check.limited(format!("no `{own}`: machines of this host's architecture need KVM"), install)
}

fn emulators_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(EMULATOR) && is_program(&directory.join(name))).collect()
}

/// The first line of what a program says of its version.
fn version(path: &Path) -> Option<String> {
    let output =
        Command::new(path).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next()?.trim().to_owned();
    (!line.is_empty()).then_some(line)
}

fn shares(directories: &[PathBuf]) -> Check {
    match find(directories, "virtiofsd") {
        Some(path) => Check::ok("virtiofsd", Machines, path.display().to_string()),
        None => Check::ok("virtiofsd", Machines, "none").limited(
            "directories of the host cannot be mounted in machines",
            "apt-get install virtiofsd, or qemu-system-common on Debian 12",
        ),
    }
}

fn kernels(layout: &Layout) -> Check {
    let rows = Store::peek(layout).kernels().unwrap_or_default();
    let host = Platform::host();
    let default = rows.iter().find(|row| row.default && row.kernel.config.platform == host);
    let hint = "holm kernel import linux-image-cloud-amd64";
    match default {
        Some(row) => {
            let release = &row.kernel.config.release;
            Check::ok("guest kernels", Machines, format!("{} in the store; default {release}", rows.len()))
        }
        None if rows.is_empty() => {
            Check::ok("guest kernels", Machines, "none").missing("no machine can boot", hint)
        }
        None => Check::ok("guest kernels", Machines, format!("{} in the store, none for {host}", rows.len()))
            .limited(format!("machines of {host} need --kernel"), hint),
    }
}

fn scratch_disks(directories: &[PathBuf]) -> Check {
    match find(directories, "mkfs.ext4") {
        Some(path) => Check::ok("mkfs.ext4", Machines, path.display().to_string()),
        None => Check::ok("mkfs.ext4", Machines, "none").limited(
            "machines keep what they write in their memory, not on a disk",
            "apt-get install e2fsprogs",
        ),
    }
}

fn taps() -> Check {
    if access(TUN, Access::READ_OK | Access::WRITE_OK).is_ok() {
        return Check::ok("tap devices", Machines, TUN);
    }
    Check::ok("tap devices", Machines, "none")
        .limited("machines have no network but loopback: --network none", "modprobe tun")
}

fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = std::env::current_exe().ok().and_then(|own| own.parent().map(PathBuf::from));
    std::env::split_paths(&path).chain(beside).chain(ALSO.map(PathBuf::from)).collect()
}

fn find(directories: &[PathBuf], name: &str) -> Option<PathBuf> {
    directories.iter().map(|directory| directory.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn emulators_are_programs_of_that_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("qemu-system-none"), "").expect("write");
        let nothing = [directory.path().to_owned()];
        assert_eq!(emulators(&nothing).state, State::Missing);
        std::os::unix::fs::symlink("/bin/true", directory.path().join("qemu-system-odd")).expect("link");
        let check = emulators(&nothing);
        assert_eq!((check.state, check.found.as_str()), (State::Limited, "qemu-system-odd"));
        let own = format!("{EMULATOR}{}", std::env::consts::ARCH);
        std::os::unix::fs::symlink("/bin/true", directory.path().join(own)).expect("link");
        assert_eq!(emulators(&nothing).state, State::Ok);
        assert_eq!((shares(&nothing).state, scratch_disks(&nothing).state), (State::Limited, State::Limited));
    }

    #[test]
    fn without_a_kernel_nothing_boots() {
        let check = kernels(&Layout::new("/nonexistent/r", "/nonexistent/x"));
        assert_eq!((check.state, check.found.as_str()), (State::Missing, "none"));
    }
}
