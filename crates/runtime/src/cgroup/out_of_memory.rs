//! Processes that the kernel killed for lack of memory, and news of them while the group is still there.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Hierarchies;

/// The kernel tells of events at most once in ten milliseconds: of those that follow only then.
const BURST: Duration = Duration::from_millis(30);
/// How often the count is read in a burst. A group of systemd's goes soon after its last process.
const LOOK: Duration = Duration::from_millis(1);
/// More than the file says.
const FILE_SIZE: usize = 512;

/// How many processes of the group the kernel killed for lack of memory.
pub fn out_of_memory_kills(hierarchies: &Hierarchies, path: &Path) -> u64 {
    open(hierarchies, path).and_then(|file| kills_in(&file)).unwrap_or(0)
}

/// Whoever waits for the kernel to kill a process of a group for lack of memory.
#[derive(Debug)]
pub struct OutOfMemoryWatch<'a> {
    hierarchies: &'a Hierarchies,
    path: &'a Path,
    /// None until the group counts memory.
    file: Option<File>,
    kills: u64,
    burst_end: Option<Instant>,
}

impl<'a> OutOfMemoryWatch<'a> {
    /// Begins; what was before does not count.
    pub fn new(hierarchies: &'a Hierarchies, path: &'a Path) -> Self {
        let file = open(hierarchies, path);
        let kills = file.as_ref().and_then(kills_in).unwrap_or(0);
        Self { hierarchies, path, file, kills, burst_end: None }
    }

    /// Waits until something happens to the group's memory or `process` ends, for a time at most.
    pub fn wait(&mut self, process: BorrowedFd<'_>, time: Duration) {
        let burst = self.burst_end.is_some_and(|end| Instant::now() < end);
        let time = if burst { time.min(LOOK) } else { time };
        let limit = Timespec::try_from(time).unwrap_or(Timespec { tv_sec: 0, tv_nsec: 0 });
        let mut awaited = vec![PollFd::from_borrowed_fd(process, PollFlags::IN)];
        // In a burst nothing is read that would not be read anyway.
        if let Some(file) = self.file.as_ref().filter(|_| !burst) {
            awaited.push(PollFd::from_borrowed_fd(file.as_fd(), PollFlags::PRI));
        }
        let _ = poll(&mut awaited, Some(&limit));
        if awaited.get(1).is_some_and(|group| !group.revents().is_empty()) {
            self.burst_end = Some(Instant::now() + BURST);
        }
    }

    /// Whether processes were killed since the last call. Reading is what lets the kernel tell of the next.
    pub fn has_killed(&mut self) -> bool {
        if self.file.is_none() {
            self.file = open(self.hierarchies, self.path);
        }
        let kills = self.file.as_ref().and_then(kills_in).unwrap_or(self.kills);
        let more = kills > self.kills;
        self.kills = kills;
        more
    }
}

/// The file that counts: v2's, of which the kernel also tells (poll(2)), or v1's, of which it does not.
fn open(hierarchies: &Hierarchies, path: &Path) -> Option<File> {
    let legacy = hierarchies.legacy("memory").map(|root| root.join(path).join("memory.oom_control"));
    let unified = hierarchies.unified().map(|root| root.join(path).join("memory.events"));
    legacy.into_iter().chain(unified).find_map(|file| File::open(file).ok())
}

fn kills_in(file: &File) -> Option<u64> {
    let mut bytes = [0; FILE_SIZE];
    let length = file.read_at(&mut bytes, 0).ok()?;
    count_in(std::str::from_utf8(bytes.get(..length)?).ok()?)
}

fn count_in(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_files_count() {
        let unified = "low 0\nhigh 0\nmax 18\noom 1\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(count_in(unified), Some(2));
        assert_eq!(count_in("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), Some(3));
        assert_eq!(count_in("oom_kill_disable 0\n"), None);
    }
}
