//! `top`: the processes of a workload as the host sees them.

use holm_runtime::cgroup::{Hierarchies, processes};
use holm_spec::layout::workload_cgroup;
use holm_spec::{Id, Timestamp};

use crate::{Engine, Error, Kind, Result};

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ProcessRow {
    /// User name on the host, or the number.
    pub user: String,
    /// Process id on the host.
    pub pid: i32,
    /// Parent's id on the host.
    pub parent: i32,
    /// Process id inside the workload; 0 for the keeper and what is above it.
    pub inner_pid: i32,
    /// Percentage of a processor over its life, rounded down, as `ps` column C.
    pub cpu: u64,
    /// Start time, nanoseconds since the Unix epoch.
    pub started: Timestamp,
    /// Controlling terminal, `?` for none.
    pub tty: String,
    /// Processor time used, in seconds.
    pub cpu_seconds: u64,
    /// Command line.
    pub command: String,
}

impl Engine {
    /// Processes of a running workload, parents before children.
    ///
    /// # Errors
    /// [`Kind::NotRunning`].
    pub fn top(&self, id: &Id) -> Result<Vec<ProcessRow>> {
        let workload = self.running(id)?;
        let config = &workload.config;
        let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
        let host = Host::read()?;
        let mut rows: Vec<ProcessRow> =
            processes(&Hierarchies::detect()?, &group).into_iter().filter_map(|pid| host.row(pid)).collect();
        rows.sort_by_key(|row| (row.started, row.pid));
        Ok(rows)
    }

    /// The chain of parents from the workload's first process up to PID 1, nearest first: its keeper
    /// comes first.
    ///
    /// # Errors
    /// [`Kind::NotRunning`].
    pub fn ancestors(&self, id: &Id) -> Result<Vec<ProcessRow>> {
        let host = Host::read()?;
        let mut chain = Vec::new();
        let mut next = host.row(self.running(id)?.state.pid).map_or(0, |row| row.parent);
        while let Some(row) = host.row(next) {
            next = row.parent;
            chain.push(ProcessRow { inner_pid: 0, ..row });
        }
        Ok(chain)
    }

    fn running(&self, id: &Id) -> Result<crate::Workload> {
        let workload = self.workload(id)?;
        if workload.state.pid == 0 {
            return Err(Error::new(
                Kind::NotRunning,
                format!("workload `{}` is not running", workload.config.name),
            ));
        }
        Ok(workload)
    }
}

/// What the rows of all processes are computed from.
struct Host {
    ticks_per_second: u64,
    boot_nanos: i64,
    now_ticks: u64,
    passwd: String,
}

impl Host {
    fn read() -> Result<Self> {
        let stat =
            std::fs::read_to_string("/proc/stat").map_err(|error| Error::io("read `/proc/stat`", error))?;
        let boot = stat
            .lines()
            .find_map(|line| line.strip_prefix("btime "))
            .and_then(|time| time.trim().parse().ok());
        let boot_nanos = boot.unwrap_or(0_i64).saturating_mul(1_000_000_000);
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let up_nanos = u64::try_from(holm_sys::process::now().saturating_sub(boot_nanos)).unwrap_or(0);
        Ok(Self {
            ticks_per_second,
            boot_nanos,
            now_ticks: up_nanos / (1_000_000_000 / ticks_per_second),
            passwd: std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
        })
    }

    /// What proc(5) tells of a process; `None` if it is gone.
    fn row(&self, pid: i32) -> Option<ProcessRow> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let (head, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let (cpu_ticks, start_ticks) = (number(14)? + number(15)?, number(22)?);
        let life = self.now_ticks.saturating_sub(start_ticks).max(1);
        let nanos_per_tick = 1_000_000_000 / self.ticks_per_second;
        let started = i64::try_from(start_ticks * nanos_per_tick).ok()?.checked_add(self.boot_nanos)?;
        let line =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::split_whitespace);
        Some(ProcessRow {
            user: self.user_name(line("Uid:")?.nth(1)?),
            pid,
            parent: fields.get(1)?.parse().ok()?,
            inner_pid: line("NSpid:").and_then(|ids| ids.last()?.parse().ok()).unwrap_or(pid),
            cpu: (cpu_ticks * 100 / life).min(99),
            started: Timestamp::from_nanos(started),
            tty: terminal_name(number(7)?),
            cpu_seconds: cpu_ticks / self.ticks_per_second,
            command: command_line(pid)
                .unwrap_or_else(|| format!("[{}]", head.split_once('(').map_or("", |(_, name)| name))),
        })
    }

    fn user_name(&self, uid: &str) -> String {
        let name = self.passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)? == uid).then_some(name)
        });
        name.unwrap_or(uid).to_owned()
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
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> =
        line.split(|byte| *byte == 0).filter(|word| !word.is_empty()).map(String::from_utf8_lossy).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_told_rightly() {
        let row =
            Host::read().expect("proc").row(i32::try_from(std::process::id()).expect("pid")).expect("alive");
        assert_eq!(row.parent, i32::try_from(std::os::unix::process::parent_id()).expect("pid"));
        let age = holm_sys::process::now() - row.started.nanos();
        assert!((-2_000_000_000..3_600_000_000_000).contains(&age), "{age}");
    }

    #[test]
    fn terminals_have_names() {
        assert_eq!(terminal_name(0), "?");
        assert_eq!(terminal_name(136 << 8 | 5), "pts/5");
        assert_eq!(terminal_name(4 << 8 | 64), "ttyS0");
    }
}
