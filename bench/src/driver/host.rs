//! What the machine says about itself: memory by kind, processes, mounts, groups.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::mount::UnmountFlags;
use rustix::process::Pid;

const CGROUPS: &str = "/sys/fs/cgroup";

/// The machine in a few lines, for the head of the report.
pub fn describe() -> Vec<String> {
    let system = rustix::system::uname();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = system.release().to_string_lossy();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    vec![format!("Linux {kernel}, {processors} processors, load {load} at the start")]
}

/// Figures of a file such as `/proc/meminfo`: names and KiB.
pub type Sizes = BTreeMap<String, f64>;

/// The name in [`memory`] of the free pages that `MemFree` leaves out.
pub const FREE_ON_PROCESSOR_LISTS: &str = "Free, on the processors' lists";

const PAGE_KIB: f64 = 4.0;

/// `/proc/meminfo`, and the free pages that wait on each processor's own lists, which can be more than a
/// hundred MiB and which meminfo counts nowhere.
///
/// # Errors
/// When /proc is not mounted.
pub fn memory() -> Result<Sizes> {
    let mut sizes = read_sizes(Path::new("/proc/meminfo"))?;
    let zones = std::fs::read_to_string("/proc/zoneinfo").context("reading `/proc/zoneinfo`")?;
    sizes.insert(FREE_ON_PROCESSOR_LISTS.to_owned(), parse_processor_lists(&zones));
    Ok(sizes)
}

/// The sum of the `count:` lines of zoneinfo, in KiB.
fn parse_processor_lists(text: &str) -> f64 {
    let count = |line: &str| line.trim().strip_prefix("count:")?.trim().parse::<f64>().ok();
    text.lines().filter_map(count).sum::<f64>() * PAGE_KIB
}

/// `smaps_rollup` of a process: Pss is its share of every page that it maps. Empty for one that has ended.
pub fn proportional_sizes(pid: i32) -> Sizes {
    read_sizes(&PathBuf::from(format!("/proc/{pid}/smaps_rollup"))).unwrap_or_default()
}

/// The parts of a process's memory as `smaps` tells them: the size of each mapping, and its share (Pss), in KiB.
pub fn mappings(pid: i32) -> Vec<Mapping> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
    parse_mappings(&text)
}

/// One mapping.
#[derive(Debug, PartialEq)]
pub struct Mapping {
    /// What it is of; empty for memory that has no name.
    pub name: String,
    pub size: f64,
    pub pss: f64,
}

fn parse_mappings(text: &str) -> Vec<Mapping> {
    let mut found: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let (key, rest) = line.split_once(' ').unwrap_or((line, ""));
        let value = || rest.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
        match (key, found.last_mut()) {
            ("Size:", Some(last)) => last.size = value(),
            ("Pss:", Some(last)) => last.pss = value(),
            _ if key.contains('-') => {
                let name = rest.split_whitespace().nth(4).unwrap_or_default().to_owned();
                found.push(Mapping { name, size: 0.0, pss: 0.0 });
            }
            _ => {}
        }
    }
    found
}

/// KiB of files that lie in the page cache.
///
/// # Errors
/// When `fincore` of util-linux is not there.
pub fn cached(files: &[PathBuf]) -> Result<f64> {
    if files.is_empty() {
        return Ok(0.0);
    }
    let said = super::process::Launch::new("fincore")
        .with(["--bytes", "--noheadings", "--output", "RES"])
        .with(files)
        .output()?;
    Ok(said.split_whitespace().filter_map(|word| word.parse::<f64>().ok()).sum::<f64>() / 1024.0)
}

/// Takes files out of the page cache, as far as nobody maps them.
pub fn forget(files: &[PathBuf]) {
    for file in files.iter().filter_map(|path| std::fs::File::open(path).ok()) {
        let _ = rustix::fs::fsync(&file);
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
}

/// The files below a directory whose path has a part of this name.
pub fn files_named(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files_named(&path, name));
        } else if path.file_name().is_some_and(|file| file.to_string_lossy().contains(name)) {
            found.push(path);
        }
    }
    found
}

fn read_sizes(path: &Path) -> Result<Sizes> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading `{}`", path.display()))?;
    Ok(parse_sizes(&text))
}

fn parse_sizes(text: &str) -> Sizes {
    let pair = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let value = rest.trim().strip_suffix(" kB")?.trim().parse().ok()?;
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(pair).collect()
}

/// KiB of each slab cache, by name. Empty when the kernel does not tell.
pub fn slab_caches() -> Sizes {
    std::fs::read_to_string("/proc/slabinfo").map(|text| parse_slabs(&text)).unwrap_or_default()
}

/// From the lines of slabinfo(5): `num_slabs` times `pagesperslab`.
fn parse_slabs(text: &str) -> Sizes {
    let size = |line: &str| {
        let (counts, slabs) = line.split_once(": slabdata")?;
        let mut counts = counts.split_whitespace();
        let name = counts.next()?;
        let pages_a_slab: f64 = counts.nth(4)?.parse().ok()?;
        let slabs: f64 = slabs.split_whitespace().nth(1)?.parse().ok()?;
        Some((name.to_owned(), slabs * pages_a_slab * PAGE_KIB))
    };
    text.lines().filter_map(size).collect()
}

/// A process as `/proc/PID/stat` shows it.
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub name: String,
}

/// Every process below `ancestor`, itself not among them.
pub fn descendants(ancestor: i32) -> Vec<Process> {
    let mut left = processes();
    let mut known = vec![ancestor];
    let mut found = Vec::new();
    loop {
        let (below, others): (Vec<_>, Vec<_>) = left.into_iter().partition(|one| known.contains(&one.parent));
        if below.is_empty() {
            return found;
        }
        known = below.iter().map(|one| one.pid).collect();
        found.extend(below);
        left = others;
    }
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| parse_stat(&std::fs::read_to_string(entry.path().join("stat")).ok()?))
        .collect()
}

/// `PID (NAME) STATE PARENT …`, where the name may hold spaces and brackets.
fn parse_stat(text: &str) -> Option<Process> {
    let (pid, rest) = text.split_once(" (")?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let parent = rest.split(' ').nth(1)?;
    Some(Process { pid: pid.parse().ok()?, parent: parent.parse().ok()?, name: name.to_owned() })
}

/// Mount points below `directory`, in the order of mounting.
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from)
        .filter(|point| point.starts_with(directory))
        .collect()
}

/// Detaches every mount below `directory`, the last one first.
pub fn detach_mounts_below(directory: &Path) {
    for point in mounts_below(directory).iter().rev() {
        // What cannot be detached is found again by whoever wants to remove the directory.
        let _ = rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

/// The groups `name` directly below the root of any hierarchy.
pub fn groups_named(name: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    let roots = std::iter::once(PathBuf::from(CGROUPS)).chain(hierarchies.filter(|path| !path.is_symlink()));
    roots.map(|root| root.join(name)).filter(|group| group.is_dir()).collect()
}

/// Every process in a group of that name.
pub fn processes_in_groups(name: &str) -> Vec<Pid> {
    let lists =
        groups_named(name).into_iter().map(|group| std::fs::read_to_string(group.join("cgroup.procs")));
    let text: String = lists.map(Result::unwrap_or_default).collect();
    let pids: std::collections::BTreeSet<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    pids.into_iter().filter_map(Pid::from_raw).collect()
}

/// Groups of a name that a command makes for all that it runs and leaves when nothing runs any more. Those that were
/// not there before go with this, unless something is in them.
pub struct StandingGroups {
    name: &'static str,
    before: Vec<PathBuf>,
}

impl StandingGroups {
    /// Notes which groups `name` are there.
    pub fn named(name: &'static str) -> Self {
        Self { name, before: groups_named(name) }
    }
}

impl Drop for StandingGroups {
    fn drop(&mut self) {
        for group in groups_named(self.name).iter().filter(|group| !self.before.contains(group)) {
            remove_empty_groups(group);
        }
    }
}

/// Every group below `group`, the deepest first.
pub fn groups_below(group: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(groups_below(&entry.path()));
            found.push(entry.path());
        }
    }
    found
}

/// Removes `group` and all below it that hold no process.
pub fn remove_empty_groups(group: &Path) {
    for empty in groups_below(group).iter().map(PathBuf::as_path).chain([group]) {
        // EBUSY: somebody else's process is in it.
        drop(std::fs::remove_dir(empty));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_lines_with_a_unit() {
        let sizes =
            parse_sizes("00400000-7ffc ---p 00000000 00:00 0 [rollup]\nPss:   12 kB\nHugePages_Total:  0\n");
        assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [("Pss".to_owned(), 12.0)]);
    }

    #[test]
    fn mappings_have_a_name_a_size_and_a_share() {
        let text = "00400000-0040b000 r-xp 00000000 fd:00 42 /bin/qemu\nSize: 44 kB\nPss:   12 kB\nPss_Dirty: 3 kB\n\
                    7f00-7f01 rw-p 00000000 00:00 0 \nSize: 1048576 kB\nPss: 99 kB\n";
        let of = |name: &str, size, pss| Mapping { name: name.to_owned(), size, pss };
        assert_eq!(parse_mappings(text), [of("/bin/qemu", 44.0, 12.0), of("", 1_048_576.0, 99.0)]);
    }

    #[test]
    fn a_slab_cache_counts_its_pages() {
        let line = "dentry  100  210  192  21  1 : tunables 0 0 0 : slabdata 10 10 0\n";
        assert_eq!(parse_slabs(line).get("dentry"), Some(&40.0));
        assert!(parse_slabs("slabinfo - version: 2.1\n# name <active_objs>\n").is_empty());
    }

    #[test]
    fn processor_lists_are_summed_over_zones() {
        let text = "  pagesets\n    cpu: 0\n              count:    3\n              high: 9\n              count: 4\n";
        assert_eq!(parse_processor_lists(text), 28.0);
    }

    #[test]
    fn a_process_name_may_hold_anything() {
        let process = parse_stat("42 (a) b (c)) S 7 42 42 0").unwrap();
        assert_eq!((process.pid, process.parent, process.name.as_str()), (42, 7, "a) b (c)"));
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn descendants_include_a_child() {
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let found = descendants(own).iter().any(|process| process.pid == child.id() as i32);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
