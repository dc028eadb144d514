//! Removing groups: end what is in them, then the directories from the leaves up.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_sys::Errno;
use holm_sys::rustix::fs::rmdir;
use holm_sys::rustix::process::{Pid, Signal, kill_process};

use crate::error::{Context, Result};

/// How long killed processes may take to leave a group.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes a group with everything below it; says whether it was there.
pub(super) fn remove_group(directory: &Path) -> Result<bool> {
    match rmdir(directory) {
        Ok(()) => return Ok(true),
        Err(Errno::NOENT) => return Ok(false),
        // Not empty of processes or of groups.
        Err(Errno::BUSY | Errno::NOTEMPTY) => {}
        Err(errno) => return Err(errno).context(|| format!("remove cgroup `{}`", directory.display())),
    }
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        // Anew each time: whoever runs inside may still make groups.
        let groups = with_descendants(directory);
        let Some((group, errno)) = remove_leaves_first(&groups) else { return Ok(true) };
        if Instant::now() > deadline {
            return Err(errno).context(|| format!("remove cgroup `{}`", group.display()));
        }
        groups.iter().for_each(|group| kill_members(group));
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn remove_leaves_first(groups: &[PathBuf]) -> Option<(&PathBuf, Errno)> {
    groups.iter().rev().find_map(|group| match rmdir(group) {
        Ok(()) | Err(Errno::NOENT) => None,
        Err(errno) => Some((group, errno)),
    })
}

/// The group and all below it, parents first.
fn with_descendants(directory: &Path) -> Vec<PathBuf> {
    let mut groups = vec![directory.to_owned()];
    let mut next = 0;
    while let Some(group) = groups.get(next) {
        let below = subgroups(group);
        groups.extend(below);
        next += 1;
    }
    groups
}

/// The groups right below a group.
pub(super) fn subgroups(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// All at once where the kernel can (`cgroup.kill`, Linux 5.14), one by one in v1, where what is frozen does not die
/// before it goes on.
fn kill_members(group: &Path) {
    if std::fs::write(group.join("cgroup.kill"), "1").is_ok() {
        return;
    }
    let members = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in members.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let freezer = group.join("freezer.state");
    if freezer.exists() {
        let _ = std::fs::write(freezer, "THAWED");
    }
}
