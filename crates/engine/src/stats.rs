//! `stats`: what workloads use, looked at again and again.
//!
//! A container's figures are read from the few files of its control groups. A machine's are asked of the agent in its
//! guest; all machines are asked before the first answer is awaited, so one that says nothing costs one look its
//! patience, however many there are.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holm_runtime::cgroup::{Hierarchies, processes, usage};
use holm_spec::agent::{self, Command, Report};
use holm_spec::layout::workload_cgroup;
use holm_spec::network::Endpoint;
use holm_spec::workload::{Isolation, NetworkMode, Status};
use holm_spec::{Id, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::host::memory_total;
use crate::machine::{receive_answer, send_to_machine};
use crate::{Engine, Kind, Result, Workload};

/// How long all machines of one look may take for their answers together.
const PATIENCE: Duration = Duration::from_secs(1);

/// What one workload uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The workload.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// `None` if it should tell and does not: the machine is paused, or did not answer in time.
    pub used: Option<Used>,
}

/// Figures of a workload; all 0 for one that does not run. `None` for what nobody counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Percentage of one processor since the look before; `None` at the first.
    pub cpu: Option<f64>,
    /// Processor time of this run in nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// Bytes of memory without the file pages that would go first.
    pub memory: u64,
    /// Its limit in bytes; the host's memory, or the guest's, where there is none.
    pub memory_limit: u64,
    /// Bytes received and sent, by all interfaces but loopback.
    pub network: (u64, u64),
    /// Bytes read from and written to block devices.
    pub blocks: Option<(u64, u64)>,
    /// Processes and threads.
    pub pids: u64,
}

/// Looks at workloads again and again: what never changes of them is read once.
#[derive(Debug)]
pub struct Watch<'e> {
    engine: &'e Engine,
    chosen: Chosen,
    known: BTreeMap<Id, Known>,
}

/// Which workloads are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// All that run at the moment.
    Running,
    /// All.
    All,
    /// These, in this order, as long as they are there.
    Named(Vec<Id>),
}

#[derive(Debug)]
struct Known {
    workload: Workload,
    before: Option<Reading>,
}

/// Figures of one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    /// Of which run.
    started: Timestamp,
    /// Processor time, if anybody counts it.
    cpu_nanos: Option<u64>,
    used: Used,
}

impl Engine {
    /// Begins to look at workloads.
    pub fn watch(&self, chosen: Chosen) -> Watch<'_> {
        Watch { engine: self, chosen, known: BTreeMap::new() }
    }
}

impl Watch<'_> {
    /// What the workloads use now: the newest first, or those that were named in their order. One that is gone, or
    /// cannot be read, is left out.
    ///
    /// # Errors
    /// The workloads cannot be listed; the host has no control groups.
    pub fn look(&mut self) -> Result<Vec<Sample>> {
        self.refresh()?;
        let ids = self.shown();
        let mut readings = self.read(&ids)?;
        Ok(ids.into_iter().filter_map(|id| self.sample(&id, readings.remove(&id))).collect())
    }

    fn refresh(&mut self) -> Result<()> {
        let ids = match &self.chosen {
            Chosen::Named(ids) => ids.clone(),
            Chosen::Running | Chosen::All => self.engine.ids()?,
        };
        self.known.retain(|id, _| ids.contains(id));
        for id in ids {
            let fresh = match self.known.remove(&id) {
                Some(Known { workload, before }) => self.engine.anew(workload).map(|now| (now, before)),
                None => self.engine.workload(&id).map(|workload| (workload, None)),
            };
            match fresh {
                // It is nobody's: it shows another one's files.
                Ok((workload, _)) if workload.config.visits.is_some() => {}
                Ok((workload, before)) => drop(self.known.insert(id, Known { workload, before })),
                Err(error) if matches!(error.kind(), Kind::NoSuchWorkload | Kind::Corrupt) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn shown(&self) -> Vec<Id> {
        if let Chosen::Named(ids) = &self.chosen {
            return ids.iter().filter(|id| self.known.contains_key(id)).copied().collect();
        }
        let mut shown: Vec<&Workload> = self.known.values().map(|known| &known.workload).collect();
        shown.retain(|workload| self.chosen == Chosen::All || workload.state.status == Status::Running);
        shown.sort_by_key(|workload| std::cmp::Reverse((workload.config.created, workload.config.id)));
        shown.into_iter().map(|workload| workload.config.id).collect()
    }

    /// Readings of those of the workloads that run and tell.
    fn read(&self, ids: &[Id]) -> Result<BTreeMap<Id, Reading>> {
        let workloads = ids.iter().filter_map(|id| self.known.get(id)).map(|known| &known.workload);
        let running = workloads.filter(|workload| workload.state.status == Status::Running);
        let (machines, containers): (Vec<_>, Vec<_>) =
            running.partition(|workload| workload.config.isolation == Isolation::Vm);
        let asked = ask_all(machines.into_iter().filter(|machine| !machine.paused));
        let hierarchies = Hierarchies::detect()?;
        let host = memory_total();
        let mut readings: BTreeMap<Id, Reading> = containers
            .into_iter()
            .map(|workload| (workload.config.id, read_container(&hierarchies, workload, host)))
            .collect();
        readings.extend(answers(asked, Instant::now() + PATIENCE));
        self.add_networks_of_machines(&mut readings);
        Ok(readings)
    }

    /// The host counts itself what goes through a machine's devices.
    fn add_networks_of_machines(&self, readings: &mut BTreeMap<Id, Reading>) {
        let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        for (id, reading) in readings {
            let Some(Known { workload, .. }) = self.known.get(id) else { continue };
            if workload.config.isolation == Isolation::Vm {
                reading.used.network = of_machine(&table, &self.engine.endpoints_of(workload));
            }
        }
    }

    /// Puts a reading beside the one before.
    fn sample(&mut self, id: &Id, reading: Option<Reading>) -> Option<Sample> {
        let known = self.known.get_mut(id)?;
        let runs = known.workload.state.status == Status::Running;
        let nothing = Used { cpu: Some(0.0), blocks: Some((0, 0)), ..Used::default() };
        let used = match reading {
            Some(now) => {
                let cpu = cpu_percent(known.before, now);
                Some(Used { cpu, cpu_nanos: now.cpu_nanos, ..now.used })
            }
            None => (!runs).then_some(nothing),
        };
        known.before = reading;
        Some(Sample { id: *id, name: known.workload.config.name.clone(), used })
    }
}

/// Share of one processor between two readings of the same run.
fn cpu_percent(before: Option<Reading>, now: Reading) -> Option<f64> {
    let before = before.filter(|before| before.started == now.started)?;
    let used = Duration::from_nanos(now.cpu_nanos?.saturating_sub(before.cpu_nanos?));
    let time = now.at.saturating_duration_since(before.at);
    (!time.is_zero()).then(|| used.as_secs_f64() / time.as_secs_f64() * 100.0)
}

fn read_container(hierarchies: &Hierarchies, workload: &Workload, host_memory: u64) -> Reading {
    let config = &workload.config;
    let group = workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id);
    let usage = usage(hierarchies, &group);
    // Of the host's own interfaces nothing is the workload's, as with Docker.
    let has_network = config.settings.network != NetworkMode::Host;
    let memory = if usage.counted.memory { usage.memory_in_use() } else { anonymous(hierarchies, &group) };
    let used = Used {
        cpu: None,
        cpu_nanos: None,
        memory,
        memory_limit: usage.memory_limit.min(host_memory),
        network: if has_network { network(workload.state.pid) } else { (0, 0) },
        blocks: usage.counted.blocks.then_some((usage.read_bytes, usage.written_bytes)),
        pids: usage.pids,
    };
    let cpu_nanos = usage.counted.cpu.then_some(usage.cpu_nanos);
    Reading { at: Instant::now(), started: workload.state.started, cpu_nanos, used }
}

/// Bytes that the processes of a group share with no file, for a host where no group counts memory: one number of a
/// file that the kernel keeps at hand. Pages that a fork has not written to yet are counted in both processes.
fn anonymous(hierarchies: &Hierarchies, group: &Path) -> u64 {
    let of_process = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
        anonymous_pages(&text).unwrap_or(0)
    };
    let pages = processes(hierarchies, group).into_iter().map(of_process).fold(0, u64::saturating_add);
    pages.saturating_mul(rustix::param::page_size() as u64)
}

/// Resident pages less those of files and shared memory (proc_pid_statm(5)).
fn anonymous_pages(statm: &str) -> Option<u64> {
    let mut numbers = statm.split_whitespace().skip(1);
    let (resident, shared): (u64, u64) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(resident.saturating_sub(shared))
}

fn network(pid: i32) -> (u64, u64) {
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    sum_of_interfaces(&table)
}

/// Bytes received and sent by all interfaces but loopback.
fn sum_of_interfaces(table: &str) -> (u64, u64) {
    sum(table, |name| name != "lo")
}

/// Bytes that a machine received and sent: what its devices' ends on the host sent and received.
fn of_machine(table: &str, endpoints: &[Endpoint]) -> (u64, u64) {
    let (received, sent) =
        sum(table, |name| endpoints.iter().any(|endpoint| endpoint.host_interface == name));
    (sent, received)
}

/// Bytes received and sent by some interfaces of a table (proc_net_dev(5)).
fn sum(table: &str, is_counted: impl Fn(&str) -> bool) -> (u64, u64) {
    let of_line = |line: &str| -> Option<(u64, u64)> {
        let (name, numbers) = line.split_once(':')?;
        let mut numbers = numbers.split_whitespace();
        let received = numbers.next()?.parse().ok()?;
        let sent = numbers.nth(7)?.parse().ok()?;
        is_counted(name.trim()).then_some((received, sent))
    };
    let add =
        |sum: (u64, u64), line: (u64, u64)| (sum.0.saturating_add(line.0), sum.1.saturating_add(line.1));
    table.lines().filter_map(of_line).fold((0, 0), add)
}

/// A machine that was asked.
struct Asked {
    id: Id,
    started: Timestamp,
    socket: OwnedFd,
}

/// Asks machines; one that cannot be asked has just ended, or is beyond answers.
fn ask_all<'w>(machines: impl Iterator<Item = &'w Workload>) -> Vec<Asked> {
    let ask = |workload: &Workload| {
        let id = workload.config.id;
        let socket = send_to_machine(&workload.state, &Command::Stats { request: 0, workload: id }).ok()?;
        Some(Asked { id, started: workload.state.started, socket })
    };
    machines.filter_map(ask).collect()
}

/// Takes the answers that come until the deadline.
fn answers(mut asked: Vec<Asked>, deadline: Instant) -> Vec<(Id, Reading)> {
    let mut readings = Vec::new();
    while !asked.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        let time = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut ready: Vec<_> = asked.iter().map(|asked| PollFd::new(&asked.socket, PollFlags::IN)).collect();
        match poll(&mut ready, Some(&time)) {
            Ok(1..) => {}
            Err(holm_sys::Errno::INTR) => continue,
            Ok(0) | Err(_) => break,
        }
        let said: Vec<bool> = ready.iter().map(|ready| !ready.revents().is_empty()).collect();
        let mut said = said.into_iter();
        let (answered, waiting): (Vec<_>, Vec<_>) =
            asked.into_iter().partition(|_| said.next().unwrap_or(false));
        readings.extend(answered.iter().filter_map(|asked| Some((asked.id, reading_of(asked)?))));
        asked = waiting;
    }
    readings
}

fn reading_of(asked: &Asked) -> Option<Reading> {
    let Ok(Report::Stats { stats, .. }) = receive_answer(asked.socket.as_fd()) else { return None };
    Some(from_guest(&stats, asked.started, Instant::now()))
}

/// What goes through its network the guest is not asked.
fn from_guest(stats: &agent::Stats, started: Timestamp, at: Instant) -> Reading {
    let used = Used {
        cpu: None,
        cpu_nanos: None,
        memory: stats.memory,
        memory_limit: stats.memory_limit,
        network: (0, 0),
        blocks: Some((stats.read, stats.written)),
        pids: stats.pids,
    };
    Reading { at, started, cpu_nanos: Some(stats.cpu_usage.saturating_mul(1000)), used }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at: Instant, run: i64, cpu_nanos: u64) -> Reading {
        let started = Timestamp::from_nanos(run);
        Reading { at, started, cpu_nanos: Some(cpu_nanos), used: Used::default() }
    }

    #[test]
    fn processor_time_is_a_share_of_the_time_between() {
        let begin = Instant::now();
        let (first, later) =
            (reading(begin, 1, 500), reading(begin + Duration::from_millis(200), 1, 100_000_500));
        assert_eq!(cpu_percent(Some(first), later), Some(50.0));
        assert_eq!(cpu_percent(None, later), None, "one reading tells nothing");
        assert_eq!(cpu_percent(Some(first), first), None, "no time has passed");
        let another = Reading { started: Timestamp::from_nanos(2), ..later };
        assert_eq!(cpu_percent(Some(first), another), None, "another run began at 0");
        let less = Reading { cpu_nanos: Some(1), ..later };
        assert_eq!(cpu_percent(Some(first), less), Some(0.0));
        assert_eq!(cpu_percent(Some(first), Reading { cpu_nanos: None, ..later }), None, "nobody counts");
    }

    #[test]
    fn interfaces_are_summed_without_loopback() {
        let table = "Inter-|   Receive                                                |  Transmit\n \
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n    \
             lo:   10  1 0 0 0 0 0 0   10  1 0 0 0 0 0 0\n  \
             eth0: 100 2 0 0 0 0 0 0   7 1 0 0 0 0 0 0\n  \
             eth1:1 2 0 0 0 0 0 0   2 1 0 0 0 0 0 0\n";
        assert_eq!(sum_of_interfaces(table), (101, 9));
        assert_eq!(sum_of_interfaces(""), (0, 0));
        assert_eq!(sum(table, |name| name == "eth0"), (100, 7));
        assert_eq!(of_machine(table, &[]), (0, 0));
    }

    #[test]
    fn pages_of_files_are_left_out() {
        assert_eq!(anonymous_pages("500 120 100 5 0 30 0\n"), Some(20));
        assert_eq!(anonymous_pages("500 1 2"), Some(0));
        assert_eq!(anonymous_pages(""), None);
    }

    #[test]
    fn one_that_says_nothing_keeps_no_answer_back() {
        let pair = || holm_sys::socket::packet_pair().expect("a pair");
        let started = Timestamp::from_nanos(1);
        let asked = |number: u8, socket| Asked { id: Id::from_bytes([number; 32]), started, socket };
        let ((silent, _keep), (telling, tells), (broken, breaks), (gone, goes)) =
            (pair(), pair(), pair(), pair());
        let stats = agent::Stats { cpu_usage: 5, pids: 2, ..agent::Stats::default() };
        let report = serde_json::to_vec(&Report::Stats { request: 1, stats }).expect("plain");
        holm_sys::socket::send_packet(tells.as_fd(), &report, &[]).expect("sent");
        holm_sys::socket::send_packet(breaks.as_fd(), b"{", &[]).expect("sent");
        drop(goes);
        let all = vec![asked(1, silent), asked(2, telling), asked(3, broken), asked(4, gone)];
        let readings = answers(all, Instant::now() + Duration::from_millis(20));
        assert_eq!(readings.len(), 1);
        let (id, reading) = readings[0];
        assert_eq!((id, reading.cpu_nanos, reading.used.pids), (Id::from_bytes([2; 32]), Some(5000), 2));
    }
}
