//! What proc(5) tells of processes: for `top` on a host, and for the agent of a guest.

use holm_spec::Timestamp;

use crate::error::{Context, Result};

/// Longest command line that is told, in bytes.
const COMMAND_LIMIT: u64 = 128 * 1024;
/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// One process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Real user id.
    pub uid: u32,
    /// As the caller's pid namespace numbers it.
    pub pid: i32,
    /// Its parent's number.
    pub parent: i32,
    /// Its number in its own pid namespace.
    pub inner_pid: i32,
    /// When it started.
    pub started: Timestamp,
    /// Processor time in nanoseconds.
    pub cpu_nanos: u64,
    /// Controlling terminal; `?` for none.
    pub terminal: String,
    /// Command line; the name in brackets for a kernel thread and for what has ended.
    pub command: String,
}

/// What all entries are computed from.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    nanos_per_tick: u64,
    boot_nanos: i64,
}

impl Table {
    /// Reads when this machine was started, and how it counts.
    ///
    /// # Errors
    /// There is no `/proc`.
    pub fn read() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat").context(|| "read `/proc/stat`")?;
        let boot = stat.lines().find_map(|line| line.strip_prefix("btime "));
        let boot: i64 = boot.and_then(|time| time.trim().parse().ok()).unwrap_or(0);
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        Ok(Self { nanos_per_tick: SECOND / ticks_per_second, boot_nanos: boot.saturating_mul(SECOND as i64) })
    }

    /// A process; `None` if it is gone.
    pub fn entry(&self, pid: i32) -> Option<Entry> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let (head, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let nanos = |ticks: u64| ticks.saturating_mul(self.nanos_per_tick);
        let line =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
        Some(Entry {
            uid: line("Uid:")?.nth(1)?.parse().ok()?,
            pid,
            parent: fields.get(1)?.parse().ok()?,
            inner_pid: line("NSpid:").and_then(|ids| ids.last()?.parse().ok()).unwrap_or(pid),
            started: Timestamp::from_nanos(
                i64::try_from(nanos(number(22)?)).ok()?.checked_add(self.boot_nanos)?,
            ),
            cpu_nanos: nanos(number(14)?.saturating_add(number(15)?)),
            terminal: terminal_name(number(7)?),
            command: command_line(pid)
                .unwrap_or_else(|| format!("[{}]", head.split_once('(').map_or("", |(_, name)| name))),
        })
    }
}

/// Name of a controlling terminal by its device number (proc(5), `tty_nr`).
fn terminal_name(number: u64) -> String {
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xfff00);
    match major {
        0 => "?".to_owned(),
        4 if minor >= 64 => format!("ttyS{}", minor - 64),
        4 => format!("tty{minor}"),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        _ => format!("{major}:{minor}"),
    }
}

/// `None` for a kernel thread or a process that has ended.
fn command_line(pid: i32) -> Option<String> {
    use std::io::Read as _;
    let file = std::fs::File::open(format!("/proc/{pid}/cmdline")).ok()?;
    let mut line = Vec::new();
    file.take(COMMAND_LIMIT).read_to_end(&mut line).ok()?;
    let words: Vec<_> =
        line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_told_rightly() {
        let own = i32::try_from(std::process::id()).expect("pid");
        let entry = Table::read().expect("proc").entry(own).expect("alive");
        assert_eq!(entry.parent, i32::try_from(std::os::unix::process::parent_id()).expect("pid"));
        let age = holm_sys::process::now() - entry.started.nanos();
        assert!((-2_000_000_000..3_600_000_000_000).contains(&age), "{age}");
        assert!(Table::read().expect("proc").entry(i32::MAX).is_none());
    }

    #[test]
    fn terminals_have_names() {
        assert_eq!(terminal_name(0), "?");
        assert_eq!(terminal_name(136 << 8 | 5), "pts/5");
        assert_eq!(terminal_name(4 << 8 | 64), "ttyS0");
    }
}
