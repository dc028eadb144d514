//! What an idle container costs: the keepers' share, and all that grew on the machine, told apart.
//!
//! Pss is a process's share of every page that it maps, so the sum over all keepers is what they cost
//! together, and its growth by one more keeper is what that one costs. The machine's growth is what is neither
//! free nor page cache, nor anonymous memory of processes outside this bench; page cache is listed apart,
//! because it can be taken back at any time.

use std::time::Duration;

use anyhow::Result;

use crate::driver::Machine;
use crate::driver::host::{self, Sizes};
use crate::driver::process::reap_ended;
use crate::driver::report::{Figures, Goal, Report};
use crate::driver::subject::Holm;

/// The keeper whose marginal share is promised.
const MARGINAL: usize = 50;
/// As the kernel shortens `holm-keeper`; it fits.
const KEEPER: &str = "holm-keeper";
/// Slab caches that are named one by one.
const NAMED_SLABS: usize = 8;
/// Until deferred work of the last start has been done.
const SETTLE: Duration = Duration::from_millis(500);

/// Holds containers, and looks before, on the way, and at the end.
pub fn measure(machine: &Machine<'_>, report: &mut Report) {
    let holm = match &machine.holm {
        None => return,
        Some(Err(why)) => return report.could_not_run("memory", why.clone()),
        Some(Ok(holm)) => holm,
    };
    let measured = hold_and_look(holm, machine.arguments.held_containers(), report);
    let removed = holm.remove_held();
    for error in [measured.err(), removed.err()].into_iter().flatten() {
        report.could_not_run("memory", format!("{error:#}"));
    }
}

fn hold_and_look(holm: &Holm, count: usize, report: &mut Report) -> Result<()> {
    let marginal = MARGINAL.min(count);
    // One start in advance, so that what is paid once is not counted as growth.
    holm.hold("bench-memory-first")?;
    holm.remove_held()?;
    let before = Snapshot::take()?;
    let mut shares = Vec::with_capacity(marginal);
    for number in 1..=count {
        holm.hold(&format!("bench-memory-{number}"))?;
        reap_ended();
        if number <= marginal {
            std::thread::sleep(SETTLE / 10);
            shares.push(keepers_and_workloads().0.pss);
        }
    }
    let after = Snapshot::take()?;
    report.add(marginal_figures(&shares));
    report.add(after.growth(&before, count));
    Ok(())
}

fn marginal_figures(shares: &[f64]) -> Figures {
    let count = shares.len();
    let at =
        |number: usize| number.checked_sub(1).and_then(|index| shares.get(index)).copied().unwrap_or(0.0);
    let mut figures = Figures::new(format!("memory: keepers' share (Pss), 1 to {count} containers"));
    figures.push("first keeper", at(1), "KiB", None);
    let marginal = at(count) - at(count.saturating_sub(1));
    figures.push(format!("keeper number {count}, marginal"), marginal, "KiB", Some(Goal::AtMost(300.0)));
    let earlier = count.div_ceil(5);
    let slope = (at(count) - at(earlier)) / (count.saturating_sub(earlier).max(1)) as f64;
    figures.push(format!("mean marginal from {earlier} to {count}"), slope, "KiB", None);
    figures
}

/// Shares of a kind of processes, in KiB.
#[derive(Clone, Copy, Default)]
struct Share {
    pss: f64,
    anonymous: f64,
}

/// The keepers, and everything else below this program, which are the workloads.
fn keepers_and_workloads() -> (Share, Share) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (keepers, workloads): (Vec<_>, Vec<_>) =
        host::descendants(own).into_iter().partition(|process| process.name == KEEPER);
    let sum = |processes: &[host::Process]| {
        processes.iter().map(|process| host::proportional_sizes(process.pid)).fold(
            Share::default(),
            |sum, sizes| Share {
                pss: sum.pss + size(&sizes, "Pss"),
                anonymous: sum.anonymous + size(&sizes, "Pss_Anon"),
            },
        )
    };
    (sum(&keepers), sum(&workloads))
}

fn size(sizes: &Sizes, name: &str) -> f64 {
    sizes.get(name).copied().unwrap_or(0.0)
}

/// The machine's memory at one moment.
struct Snapshot {
    memory: Sizes,
    slabs: Sizes,
    keepers: Share,
    workloads: Share,
    groups: f64,
}

impl Snapshot {
    fn take() -> Result<Self> {
        std::thread::sleep(SETTLE);
        let (keepers, workloads) = keepers_and_workloads();
        let groups =
            host::groups_named("holm").iter().map(|group| host::groups_below(group).len()).sum::<usize>();
        Ok(Self {
            memory: host::memory()?,
            slabs: host::slab_caches(),
            keepers,
            workloads,
            groups: groups as f64,
        })
    }

    /// Neither free nor page cache. `Cached` counts tmpfs pages, which cannot be given back.
    fn in_use(&self) -> f64 {
        let get = |name| size(&self.memory, name);
        let free = get("MemFree") + get(host::FREE_ON_PROCESSOR_LISTS);
        get("MemTotal") - free - get("Buffers") - (get("Cached") - get("Shmem"))
    }

    fn growth(&self, before: &Self, count: usize) -> Figures {
        let kind = |name: &str| size(&self.memory, name) - size(&before.memory, name);
        let keepers = self.keepers.anonymous - before.keepers.anonymous;
        let workloads = self.workloads.anonymous - before.workloads.anonymous;
        let strangers = kind("AnonPages") - keepers - workloads;
        let total = self.in_use() - before.in_use() - strangers;
        let parts = [
            ("keepers, anonymous", keepers),
            ("workloads, anonymous", workloads),
            ("tmpfs and shared memory", kind("Shmem")),
            ("slab, reclaimable (inodes, dentries)", kind("SReclaimable")),
            ("slab, unreclaimable", kind("SUnreclaim")),
            ("per processor", kind("Percpu")),
            ("page tables", kind("PageTables")),
            ("kernel stacks", kind("KernelStack")),
            ("vmalloc, without stacks", kind("VmallocUsed") - kind("KernelStack")),
        ];
        let known: f64 = parts.iter().map(|(_, value)| value).sum();
        let mut figures = Figures::new(format!("memory: growth of the machine for {count} idle containers"));
        figures.push("in all, without page cache", total, "KiB", None);
        figures.push("  for each container", total / count as f64, "KiB", None);
        for (name, value) in parts {
            figures.push(name, value, "KiB", None);
        }
        figures.push("remainder (pages that the kernel does not name)", total - known, "KiB", None);
        figures.push("not counted: processes outside this bench", strangers, "KiB", None);
        figures.push(
            "not counted: page cache and buffers",
            kind("Cached") + kind("Buffers") - kind("Shmem"),
            "KiB",
            None,
        );
        figures.push("keepers' share (Pss) in all", self.keepers.pss - before.keepers.pss, "KiB", None);
        figures.push("workloads' share (Pss) in all", self.workloads.pss - before.workloads.pss, "KiB", None);
        figures.push("groups", self.groups - before.groups, "", None);
        self.name_slabs(before, &mut figures);
        figures
    }

    fn name_slabs(&self, before: &Self, figures: &mut Figures) {
        let grown = |(name, value): (&String, &f64)| (name.clone(), value - size(&before.slabs, name));
        let mut caches: Vec<_> = self.slabs.iter().map(grown).collect();
        caches.sort_by(|one, other| other.1.total_cmp(&one.1));
        for (name, value) in caches.into_iter().take(NAMED_SLABS).filter(|(_, value)| *value > 0.0) {
            figures.push(format!("  slab cache {name}"), value, "KiB", None);
        }
    }
}
