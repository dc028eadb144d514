//! What workloads and the guest use.

use std::fs;

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::process_table::Table;
use holm_runtime::{Error, Result};
use holm_spec::Id;
use holm_spec::agent::{PROCESSES_LIMIT, ProcessRow, Stats};

use crate::workload::group_path;

/// Longest command line that is told, in bytes.
const COMMAND_LIMIT: usize = 1024;

/// What a workload uses.
///
/// # Errors
/// The kernel does not tell how much memory there is.
pub fn stats(id: &Id) -> Result<Stats> {
    let usage = cgroup::usage(&Hierarchies::detect()?, &group_path(id));
    let table =
        fs::read_to_string("/proc/meminfo").map_err(|error| Error::system("read `/proc/meminfo`", error))?;
    let of_guest = |name: &str| memory(&table, name).unwrap_or(0);
    Ok(Stats {
        cpu_usage: usage.cpu_nanos / 1000,
        memory: usage.memory_in_use(),
        memory_limit: usage.memory_limit.min(of_guest("MemTotal")),
        pids: usage.pids,
        read: usage.read_bytes,
        written: usage.written_bytes,
        guest_available: of_guest("MemAvailable"),
    })
}

/// A line of meminfo, in bytes.
fn memory(table: &str, name: &str) -> Option<u64> {
    let line = table.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Processes of a workload, the oldest first.
///
/// # Errors
/// There is no `/proc`.
pub fn processes(id: &Id) -> Result<Vec<ProcessRow>> {
    let table = Table::read()?;
    let pids = cgroup::processes(&Hierarchies::detect()?, &group_path(id));
    let mut rows: Vec<_> =
        pids.into_iter().take(PROCESSES_LIMIT).filter_map(|pid| row(&table, pid)).collect();
    rows.sort_by_key(|row| (row.started, row.pid));
    Ok(rows)
}

fn row(table: &Table, pid: i32) -> Option<ProcessRow> {
    let mut entry = table.entry(pid)?;
    entry.command.truncate(entry.command.floor_char_boundary(COMMAND_LIMIT));
    Some(ProcessRow {
        uid: entry.uid,
        pid,
        parent: entry.parent,
        started: u64::try_from(entry.started.nanos() / 1_000_000_000).unwrap_or(0),
        cpu: entry.cpu_nanos / 10_000_000,
        terminal: if entry.terminal == "?" { String::new() } else { entry.terminal },
        command: entry.command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes() {
        let table = "MemTotal:         507904 kB\nMemAvailable:      1 kB\nHugePages_Total:       0\n";
        assert_eq!(memory(table, "MemTotal"), Some(507_904 << 10));
        assert_eq!(memory(table, "MemAvailable"), Some(1024));
        assert_eq!((memory(table, "Mem"), memory(table, "HugePages_Total")), (None, None));
    }

    #[test]
    fn a_row_is_of_its_process() {
        let own = i32::try_from(std::process::id()).expect("pid");
        let row = row(&Table::read().expect("proc"), own).expect("alive");
        assert_eq!(row.pid, own);
        assert!(row.command.len() <= COMMAND_LIMIT && row.started > 1_000_000_000);
    }
}
