//! `top`: the processes of a workload as the host sees them.

use holm_runtime::cgroup::{Hierarchies, processes};
use holm_runtime::process_table::Table;
use holm_spec::agent::{self, Command, Report};
use holm_spec::layout::workload_cgroup;
use holm_spec::workload::Isolation;
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
        if config.isolation == Isolation::Vm {
            // What would answer stands still.
            self.refuse_if_paused(id, "show the processes of")?;
            return self.top_in_guest(&workload);
        }
        let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
        let host = Host::read()?;
        let mut rows: Vec<ProcessRow> =
            processes(&Hierarchies::detect()?, &group).into_iter().filter_map(|pid| host.row(pid)).collect();
        rows.sort_by_key(|row| (row.started, row.pid));
        Ok(rows)
    }

    /// As the guest numbers and names them: the host sees one process, the machine.
    fn top_in_guest(&self, workload: &crate::Workload) -> Result<Vec<ProcessRow>> {
        let ask = Command::Processes { request: 0, workload: workload.config.id };
        let Report::Processes { processes, .. } = self.ask_machine(&workload.state, &ask)? else {
            return Err(Error::new(Kind::Failed, "the guest answers something else than was asked"));
        };
        let now = holm_sys::process::now();
        let row = |row: agent::ProcessRow| {
            let started = i64::try_from(row.started).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
            let life = u64::try_from(now.saturating_sub(started)).unwrap_or(0).max(1);
            ProcessRow {
                user: row.uid.to_string(),
                pid: row.pid,
                parent: row.parent,
                inner_pid: row.pid,
                cpu: (row.cpu.saturating_mul(1_000_000_000) / life).min(99),
                started: Timestamp::from_nanos(started),
                tty: if row.terminal.is_empty() { "?".to_owned() } else { row.terminal },
                cpu_seconds: row.cpu / 100,
                command: row.command,
            }
        };
        Ok(processes.into_iter().map(row).collect())
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

    pub(crate) fn running(&self, id: &Id) -> Result<crate::Workload> {
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
    table: Table,
    now: i64,
    passwd: String,
}

impl Host {
    fn read() -> Result<Self> {
        Ok(Self {
            table: Table::read()?,
            now: holm_sys::process::now(),
            passwd: std::fs::read_to_string("/etc/passwd").unwrap_or_default(),
        })
    }

    /// What is known of a process; `None` if it is gone.
    fn row(&self, pid: i32) -> Option<ProcessRow> {
        let entry = self.table.entry(pid)?;
        let life = u64::try_from(self.now.saturating_sub(entry.started.nanos())).unwrap_or(0).max(1);
        Some(ProcessRow {
            user: self.user_name(&entry.uid.to_string()),
            pid,
            parent: entry.parent,
            inner_pid: entry.inner_pid,
            cpu: (entry.cpu_nanos.saturating_mul(100) / life).min(99),
            started: entry.started,
            tty: entry.terminal,
            cpu_seconds: entry.cpu_nanos / 1_000_000_000,
            command: entry.command,
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
