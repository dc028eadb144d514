//! Attributes of a process beyond its identity, from an OCI configuration to what system calls take. Pure.

use std::ffi::{CStr, CString};

use holm_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxPersonalityDomain, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process, Scheduler, SchedulerFlag, Spec,
};
use holm_sys::attributes::Scheduling;

use crate::error::{Error, Kind, Result};

/// Highest number of a processor or a memory node in a list.
const NUMBER_LIMIT: u32 = 8191;

/// `process.scheduler` (sched_setattr(2)).
pub(crate) fn scheduling(asked: &Scheduler) -> Result<Scheduling> {
    let policy = match asked.policy() {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    };
    let wrong =
        |field: &str, why: &str| Err(Error::invalid(why).at_field(format!("process.scheduler.{field}")));
    let (nice, priority) = (asked.nice().unwrap_or(0), asked.priority().unwrap_or(0));
    if !(-20..=19).contains(&nice) {
        return wrong("nice", "it is not from -20 to 19");
    }
    if priority != 0 && !matches!(policy, 1 | 2) {
        return wrong("priority", "only the policies SCHED_FIFO and SCHED_RR have one");
    }
    let times = [asked.runtime(), asked.deadline(), asked.period()].map(|time| time.unwrap_or(0));
    if times != [0; 3] && policy != 6 {
        return wrong("runtime", "only the policy SCHED_DEADLINE has times");
    }
    let Ok(priority) = u32::try_from(priority) else { return wrong("priority", "it is negative") };
    let flags = asked.flags().iter().flatten().map(scheduler_flag).fold(0, |all, one| all | one);
    let [runtime, deadline, period] = times;
    if policy == 6 {
        check_deadline(asked).map_err(|(field, why)| {
            let message = format!("sched_setattr: `SCHED_DEADLINE` {why}");
            Error::invalid(message).at_field(format!("process.scheduler.{field}"))
        })?;
    }
    Ok(Scheduling { policy, flags, nice, priority, runtime, deadline, period })
}

/// What the kernel would refuse without saying what is wrong (sched(7), "SCHED_DEADLINE"): the field, and why. Times are
/// in nanoseconds.
fn check_deadline(asked: &Scheduler) -> std::result::Result<(), (&'static str, String)> {
    let Some(runtime) = asked.runtime() else { return Err(("runtime", "requires `runtime`".to_owned())) };
    let Some(deadline) = asked.deadline() else { return Err(("deadline", "requires `deadline`".to_owned())) };
    let period = asked.period().unwrap_or(0);
    if runtime == 0 {
        return Err(("runtime", "runtime must be greater than 0".to_owned()));
    }
    if !(SHORTEST..=LONGEST).contains(&runtime) {
        let why = format!("runtime {runtime} must be between {SHORTEST} and {LONGEST}");
        return Err(("runtime", why));
    }
    if runtime > deadline {
        return Err(("runtime", format!("runtime {runtime} must be <= deadline {deadline}")));
    }
    if period != 0 && deadline > period {
        return Err(("deadline", format!("deadline {deadline} must be <= period {period}")));
    }
    Ok(())
}

/// Bounds of the runtime that the kernel takes: its clock's steps, and what the sign needs.
const SHORTEST: u64 = 1 << 10;
const LONGEST: u64 = i64::MAX as u64;

fn scheduler_flag(flag: &SchedulerFlag) -> u64 {
    match flag {
        SchedulerFlag::ResetOnFork => 0x01,
        SchedulerFlag::Reclaim => 0x02,
        SchedulerFlag::DeadlineOverrun => 0x04,
        SchedulerFlag::KeepPolicy => 0x08,
        SchedulerFlag::KeepParameters => 0x10,
        SchedulerFlag::UtilizationMinimum => 0x20,
        SchedulerFlag::UtilizationMaximum => 0x40,
    }
}

/// `process.ioPriority` (ioprio_set(2)): class and level.
pub(crate) fn io_priority(asked: &LinuxIOPriority) -> Result<(u32, u32)> {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(asked.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(Error::invalid("it is not from 0 to 7").at_field("process.ioPriority.priority")),
    }
}

/// `linux.personality` (personality(2)).
pub(crate) fn personality(spec: &Spec) -> Option<u32> {
    const PER_LINUX32: u32 = 8;
    let domain = spec.linux().as_ref()?.personality().as_ref()?.domain();
    Some(match domain {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}

/// `linux.memoryPolicy` (set_mempolicy(2)): mode with its flags, and nodes.
pub(crate) fn memory_policy(spec: &Spec) -> Result<Option<(i32, Vec<u64>)>> {
    let Some(asked) = spec.linux().as_ref().and_then(|linux| linux.memory_policy().as_ref()) else {
        return Ok(None);
    };
    let mode = match asked.mode() {
        MemoryPolicyModeType::MpolDefault => 0,
        MemoryPolicyModeType::MpolPreferred => 1,
        MemoryPolicyModeType::MpolBind => 2,
        MemoryPolicyModeType::MpolInterleave => 3,
        MemoryPolicyModeType::MpolLocal => 4,
        MemoryPolicyModeType::MpolPreferredMany => 5,
        MemoryPolicyModeType::MpolWeightedInterleave => 6,
    };
    let flags = asked.flags().iter().flatten().map(|flag| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    });
    let at_nodes = |error: Error| error.at_field("linux.memoryPolicy.nodes");
    let nodes = number_set(asked.nodes().as_deref().unwrap_or_default())
        .map_err(|error| at_nodes(Error::caused(Kind::Invalid, "invalid memory policy node", error)))?;
    let count: u32 = nodes.iter().map(|word| word.count_ones()).sum();
    if count != 0 && matches!(mode, 0 | 4) {
        return Err(at_nodes(Error::invalid(format!(
            "invalid memory policy: mode requires 0 nodes but got {count}"
        ))));
    }
    Ok(Some((flags.fold(mode, |all, one| all | one), nodes)))
}

/// A list such as `0-3,7` as bits; empty for an empty list (cpuset(7), "List format").
pub(crate) fn number_set(list: &str) -> Result<Vec<u64>> {
    let mut words = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| {
            let number = text.trim().parse().ok().filter(|number| *number <= NUMBER_LIMIT);
            number.ok_or_else(|| {
                Error::invalid(format!("`{range}` is no range of numbers up to {NUMBER_LIMIT}"))
            })
        };
        let (first, last): (u32, u32) = (number(first)?, number(last)?);
        if first > last {
            return Err(Error::invalid(format!("`{range}` ends before it begins")));
        }
        for number in first..=last {
            let word = number as usize / 64;
            words.resize(words.len().max(word + 1), 0);
            words[word] |= 1 << (number % 64);
        }
    }
    Ok(words)
}

/// What the kernel wants in front of a profile of AppArmor's that the next program runs in.
const ON_EXECUTE: &str = "exec ";

/// What to write for `process.apparmorProfile` and `process.selinuxLabel`, and where.
///
/// # Errors
/// [`Kind::Unsupported`] if the kernel has no such security module, since running without would be a lie.
pub(crate) fn labels(process: &Process) -> Result<Vec<(CString, Vec<u8>)>> {
    let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let mut labels = Vec::new();
    if let Some(profile) = given(process.apparmor_profile()) {
        let enabled =
            std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"));
        if !enabled {
            return Err(missing("AppArmor", "process.apparmorProfile"));
        }
        labels.push((
            c"/proc/thread-self/attr/apparmor/exec".to_owned(),
            format!("{ON_EXECUTE}{profile}").into_bytes(),
        ));
    }
    if let Some(label) = given(process.selinux_label()) {
        if !has_selinux() {
            return Err(missing("SELinux", SELINUX_LABEL));
        }
        labels.push((c"/proc/thread-self/attr/exec".to_owned(), label.into_bytes()));
    }
    Ok(labels)
}

/// Field of the label of a process.
pub(crate) const SELINUX_LABEL: &str = "process.selinuxLabel";

/// The field that a label for this file is from.
pub(crate) fn field_of_label(file: &CStr) -> &'static str {
    if file.to_bytes().ends_with(b"/apparmor/exec") { "process.apparmorProfile" } else { SELINUX_LABEL }
}

/// The label of what is mounted for the container (`linux.mountLabel`).
///
/// # Errors
/// As [`labels`]; a label that the policy does not know, which a mount would not say.
pub(crate) fn mount_label(spec: &Spec) -> Result<Option<&str>> {
    const FIELD: &str = "linux.mountLabel";
    let label = spec.linux().as_ref().and_then(|linux| linux.mount_label().as_deref());
    let Some(label) = label.filter(|label| !label.is_empty()) else { return Ok(None) };
    if !has_selinux() {
        return Err(missing("SELinux", FIELD));
    }
    match std::fs::write("/sys/fs/selinux/context", label) {
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            Err(Error::system(format!("label mounts `{label}`"), error).at_field(FIELD))
        }
        // Whoever may not ask will hear it of the mount.
        _ => Ok(Some(label)),
    }
}

fn has_selinux() -> bool {
    std::path::Path::new("/sys/fs/selinux/enforce").exists()
}

/// The profile or label in what is written, as the configuration has it.
pub(crate) fn name_in_label(written: &[u8]) -> String {
    let text = String::from_utf8_lossy(written);
    text.strip_prefix(ON_EXECUTE).unwrap_or(&text).to_owned()
}

fn missing(module: &str, field: &str) -> Error {
    Error::new(Kind::Unsupported, format!("{module} is not enabled on this host")).at_field(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_bits() {
        assert_eq!(number_set("0-3,7").expect("valid"), [0b1000_1111]);
        assert_eq!(number_set(" 64 , ,1").expect("valid"), [2, 1]);
        assert_eq!(number_set("").expect("valid"), [0_u64; 0]);
        for wrong in ["a", "3-1", "-1", "1-", "9999999"] {
            assert!(number_set(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn labels_are_told_by_their_names() {
        assert_eq!(name_in_label(b"exec docker-default"), "docker-default");
        assert_eq!(name_in_label(b"system_u:system_r:container_t:s0"), "system_u:system_r:container_t:s0");
    }

    #[test]
    fn schedulers_have_their_own_numbers() {
        let mut asked = Scheduler::default();
        asked.set_policy(LinuxSchedulerPolicy::SchedBatch).set_nice(Some(5));
        let wanted = scheduling(&asked).expect("valid");
        assert_eq!((wanted.policy, wanted.nice), (3, 5));
        asked.set_priority(Some(1));
        assert!(scheduling(&asked).is_err());
    }

    #[test]
    fn times_of_a_deadline_have_an_order() {
        let message = |runtime: Option<u64>, deadline: Option<u64>, period: Option<u64>| {
            let mut asked = Scheduler::default();
            asked.set_policy(LinuxSchedulerPolicy::SchedDeadline);
            asked.set_runtime(runtime).set_deadline(deadline).set_period(period);
            scheduling(&asked).map_or_else(|error| error.to_string(), |_| String::new())
        };
        assert_eq!(message(Some(2000), Some(2000), None), "");
        assert_eq!(message(Some(2000), Some(3000), Some(4000)), "");
        let wrong = [
            (message(None, Some(1), Some(2)), "requires `runtime`"),
            (message(Some(2000), None, None), "requires `deadline`"),
            (message(Some(0), Some(1), None), "greater than 0"),
            (message(Some(1023), Some(2000), None), "must be between"),
            (message(Some(1 << 63), Some(2000), None), "must be between"),
            (message(Some(3000), Some(2000), None), "must be <= deadline 2000"),
            (message(Some(2000), Some(3000), Some(2500)), "must be <= period 2500"),
        ];
        for (message, why) in wrong {
            assert!(message.starts_with("`process.scheduler.") && message.contains(why), "{message}");
        }
    }
}
