//! Virtual machines: a run beside the bare emulator, what Holm adds in memory, and what machines of one image share.
//!
//! The bare emulator boots the same kernel with the same settings to `true` of the same image; the report says what it
//! leaves out. Memory is told apart by process, the emulator's by what is the guest's and what is its own: the guest's
//! is the mapping of the size that the guest has. The page cache is told apart by file.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use holm_bench::floor::sys;

use crate::driver::Machine;
use crate::driver::host;
use crate::driver::pairing::{Side, alternate};
use crate::driver::process::reap_ended;
use crate::driver::report::{Figures, Goal, Measure, Report};
use crate::driver::subject::{BareMachine, Holm, LEFT_OUT_OF_A_MACHINE};

use super::Wanted;

/// Beside the same machine and, for the record, beside the one that most people start.
const GOALS: &[Wanted] = &[
    ("holm", "bare qemu", Measure::Wall, Some(Goal::AtMost(1.3))),
    ("holm", "bare qemu", Measure::Cpu, None),
    ("bare qemu, q35", "bare qemu", Measure::Wall, None),
];
/// What Holm may add to a machine's memory, in KiB.
const ADDED: f64 = 5.0 * 1024.0;
/// The package that has a kernel for machines.
const PACKAGE: &str = "linux-image-cloud-amd64";
/// Until a guest that has just started is at rest.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures all of it with one kernel.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let holm = match &machine.holm {
        None => return,
        Some(Err(why)) => return report.could_not_run("vm", why.clone()),
        Some(Ok(holm)) => holm,
    };
    let measured = compare(machine, holm, report)
        .and_then(|()| measure_memory(holm, machine.arguments.held_machines(), report));
    let removed = holm.remove_held();
    for error in [measured.err(), removed.err()].into_iter().flatten() {
        report.could_not_run("vm", format!("{error:#}"));
    }
}

fn compare(machine: &Machine<'_>, holm: &Holm, report: &mut Report) -> Result<()> {
    import_kernel(holm, machine.arguments.kernel.as_deref())?;
    let bare = BareMachine::prepare(machine.scratch.path(), holm)?;
    let sides = [bare.same(), bare.q35(), Side::plain("holm", holm.run_machine())];
    let runs = machine.arguments.machine_runs();
    let series = alternate(&sides.each_ref(), runs, Duration::ZERO);
    if !sys::interrupted() {
        report.compare("vm: to the end of `true` in a machine", runs, series, GOALS);
        report.note("The bare emulator's runs leave out:", LEFT_OUT_OF_A_MACHINE);
    }
    Ok(())
}

fn import_kernel(holm: &Holm, asked: Option<&str>) -> Result<()> {
    if let Some(kernel) = asked {
        return holm.import_kernel(&[kernel]);
    }
    match kept_package() {
        Some((kernel, modules)) => {
            holm.import_kernel(&["--modules", &modules.to_string_lossy(), &kernel.to_string_lossy()])
        }
        None => holm.import_kernel(&[PACKAGE]),
    }
}

/// The kernel and the directory of an unpacked package that the tests keep.
fn kept_package() -> Option<(PathBuf, PathBuf)> {
    let cache = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guest-cache");
    let mut packages: Vec<_> = std::fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path()).collect();
    packages.sort();
    packages.into_iter().rev().find_map(|package| {
        let boot = std::fs::read_dir(package.join("boot")).ok()?.flatten().map(|entry| entry.path());
        let mut kernels = boot.filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        });
        Some((kernels.next()?, package))
    })
}

/// What the files of machines have in the page cache, in KiB.
struct Cached {
    layers: f64,
    kernel: f64,
    initrd: f64,
    scratch: f64,
    all: f64,
}

impl Cached {
    fn look(holm: &Holm) -> Result<Self> {
        let memory = host::memory()?;
        let get = |name: &str| memory.get(name).copied().unwrap_or(0.0);
        Ok(Self {
            layers: host::cached(&[holm.layer()?])?,
            kernel: host::cached(&[holm.kernel()?.image])?,
            initrd: host::cached(&initrds(holm))?,
            scratch: host::cached(&host::files_named(&holm.root(), "scratch"))?,
            all: get("Cached") + get("Buffers") - get("Shmem"),
        })
    }

    fn push_growth(&self, before: &Self, when: &str, figures: &mut Figures) {
        let parts = [
            ("layers", self.layers - before.layers),
            ("kernel", self.kernel - before.kernel),
            ("first root", self.initrd - before.initrd),
            ("scratch disks", self.scratch - before.scratch),
        ];
        for (name, value) in parts {
            figures.push(format!("{when}: {name}"), value, "KiB", None);
        }
        let rest = self.all - before.all - parts.iter().map(|(_, value)| value).sum::<f64>();
        figures.push(format!("{when}: everything else on this host"), rest, "KiB", None);
    }
}

fn initrds(holm: &Holm) -> Vec<PathBuf> {
    host::files_named(&holm.run_root(), ".cpio")
}

/// Holds machines; looks at the first's memory, and at the page cache after the first, all, and a container.
fn measure_memory(holm: &Holm, count: usize, report: &mut Report) -> Result<()> {
    host::forget(&[vec![holm.layer()?, holm.kernel()?.image], initrds(holm)].concat());
    let before = Cached::look(holm)?;
    hold(holm, 1)?;
    let first = Cached::look(holm)?;
    push_shares("vm: memory of one machine (Pss)", 1, report)?;
    for number in 2..=count {
        hold(holm, number)?;
    }
    let all = Cached::look(holm)?;
    push_shares(&format!("vm: memory of {count} machines (Pss), for each"), count, report)?;
    holm.hold("bench-vm-container")?;
    let container = Cached::look(holm)?;
    let mut figures = Figures::new(format!("vm: growth of the page cache for {count} machines of one image"));
    first.push_growth(&before, "first machine", &mut figures);
    all.push_growth(&first, &format!("{} more", count - 1), &mut figures);
    container.push_growth(&all, "a container of the image", &mut figures);
    report.add(figures);
    Ok(())
}

fn hold(holm: &Holm, number: usize) -> Result<()> {
    holm.hold_machine(&format!("bench-vm-{number}"))?;
    reap_ended();
    std::thread::sleep(SETTLE);
    Ok(())
}

/// Shares of a machine's processes, each divided by the number of machines.
fn push_shares(title: &str, count: usize, report: &mut Report) -> Result<()> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let processes = host::descendants(own);
    let share = |name: &str| -> f64 {
        let pids = processes.iter().filter(|process| process.name == name).map(|process| process.pid);
        pids.filter_map(|pid| host::proportional_sizes(pid).get("Pss").copied()).sum::<f64>() / count as f64
    };
    let (keeper, relay) = (share("holm-keeper"), share("holm-machine"));
    let mut figures = Figures::new(title);
    figures.push("keeper", keeper, "KiB", None);
    figures.push("holm-machine", relay, "KiB", None);
    figures.push("what Holm adds", keeper + relay, "KiB", Some(Goal::AtMost(ADDED)));
    let emulators: Vec<_> = processes
        .iter()
        .filter(|process| process.name.starts_with("qemu-system"))
        .map(|one| one.pid)
        .collect();
    let mut sums = [0.0; 3];
    for pid in &emulators {
        let parts = emulator_shares(*pid).context("an emulator without a guest")?;
        sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part / count as f64);
    }
    for (name, sum) in ["guest's memory", "emulator: program and libraries", "emulator: its own memory"]
        .into_iter()
        .zip(sums)
    {
        figures.push(name, sum, "KiB", None);
    }
    report.add(figures);
    Ok(())
}

/// The guest's memory, what the emulator maps of files, and what it has allocated or translated.
fn emulator_shares(pid: i32) -> Option<[f64; 3]> {
    let mappings = host::mappings(pid);
    let guest = guest_size(&std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?)?;
    let mut shares = [0.0; 3];
    for mapping in &mappings {
        let kind = match mapping.name.starts_with('/') {
            true => 1,
            false if mapping.size == guest => 0,
            false => 2,
        };
        shares[kind] += mapping.pss;
    }
    (shares[0] > 0.0).then_some(shares)
}

/// KiB of memory that the emulator gives its guest, by its command line.
fn guest_size(command_line: &str) -> Option<f64> {
    let size = command_line.split('\0').find_map(|word| word.strip_prefix("size="))?;
    size.trim_end_matches('k').parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_guest_has_what_the_command_line_says() {
        assert_eq!(super::guest_size("qemu\0-m\0size=1048576k\0"), Some(1_048_576.0));
        assert_eq!(super::guest_size("qemu\0-m\x001G\0"), None);
    }
}
