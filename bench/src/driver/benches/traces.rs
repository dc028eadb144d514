//! What containers leave behind when they are gone: processes, mounts, groups, files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::driver::host;
use crate::driver::process::reap_ended;
use crate::driver::report::{Figures, Goal, Report};

/// How long the kernel and process 1 may take to clear away what was released.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where to look.
pub struct Places {
    /// Mounts below these.
    pub mounts: Vec<PathBuf>,
    /// Groups below those of this name.
    pub group: &'static str,
    /// Entries of these.
    pub folders: Vec<PathBuf>,
}

/// What was found there at one moment.
pub struct Traces {
    processes: Vec<String>,
    mounts: Vec<PathBuf>,
    groups: Vec<PathBuf>,
    entries: Vec<PathBuf>,
}

impl Traces {
    /// Looks.
    pub fn of(places: &Places) -> Self {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let processes =
            host::descendants(own).into_iter().map(|one| format!("{} {}", one.pid, one.name)).collect();
        let below = |group: &PathBuf| host::groups_below(group);
        Self {
            processes,
            mounts: places.mounts.iter().flat_map(|folder| host::mounts_below(folder)).collect(),
            groups: host::groups_named(places.group).iter().flat_map(below).collect(),
            entries: places.folders.iter().flat_map(|folder| entries(folder)).collect(),
        }
    }

    /// What is here and was not `before`, as text.
    fn since(&self, before: &Self) -> [(&'static str, Vec<String>); 4] {
        let paths = |now: &[PathBuf], then: &[PathBuf]| {
            now.iter().filter(|path| !then.contains(path)).map(|path| path.display().to_string()).collect()
        };
        let ours = self.processes.iter().filter(|one| !before.processes.contains(one)).cloned().collect();
        [
            ("processes left", ours),
            ("mounts left", paths(&self.mounts, &before.mounts)),
            ("groups left", paths(&self.groups, &before.groups)),
            ("files and folders left", paths(&self.entries, &before.entries)),
        ]
    }

    /// Looks again until nothing is there that was not in `self`, or patience ends; then reports how much is left, and
    /// one example of each.
    pub fn report_leftovers(&self, places: &Places, title: &str, report: &mut Report) {
        let deadline = Instant::now() + PATIENCE;
        let left = loop {
            reap_ended();
            let left = Self::of(places).since(self);
            if left.iter().all(|(_, traces)| traces.is_empty()) || Instant::now() > deadline {
                break left;
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut figures = Figures::new(title);
        for (kind, traces) in left {
            let example = traces.first().map(|trace| format!(", such as {trace}")).unwrap_or_default();
            figures.push(format!("{kind}{example}"), traces.len() as f64, "", Some(Goal::AtMost(0.0)));
        }
        report.add(figures);
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}
