//! The last steps before `exec`, for a container's first process and for one that joins it.
//!
//! Order: what needs privileges first. Without `no_new_privs` the filter needs CAP_SYS_ADMIN and so
//! goes before the capabilities; with it the filter comes last and covers less of this code.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_sys::rustix::fs::Mode;
use holm_sys::rustix::process::{
    Gid, Signal, Uid, chdir, ioctl_tiocsctty, set_parent_process_death_signal, setrlimit, umask,
};
use holm_sys::rustix::thread::{
    CapabilitySet as Bits, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use holm_sys::{Errno, exec, process, seccomp};

use super::mounts::write_in_proc;
use crate::capability::CapabilitySet;
use crate::process::ProcessPlan;
use crate::step::{At, Failure, Step};

/// Where the process's standard streams come from.
#[derive(Debug)]
pub(super) enum Descriptors<'a> {
    Given([BorrowedFd<'a>; 3]),
    /// Closed with everything else that is not a standard stream.
    Terminal(ManuallyDrop<OwnedFd>),
}

/// Becomes the program; comes back only with a failure.
pub(super) fn run(
    plan: &ProcessPlan,
    descriptors: &Descriptors<'_>,
    sync: BorrowedFd<'_>,
    proc: Option<BorrowedFd<'_>>,
) -> Result<std::convert::Infallible, Failure> {
    set_stdio(descriptors)?;
    set_limits(plan, proc)?;
    close_others(sync)?;
    umask(Mode::from_raw_mode(plan.umask));
    if plan.no_new_privileges {
        set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    } else {
        install_filter(plan)?;
    }
    set_identity(plan)?;
    if matches!(descriptors, Descriptors::Terminal(_)) {
        // Nobody can take over a terminal. Set behind the change of user, which would clear it.
        set_parent_process_death_signal(Some(Signal::KILL)).at(Step::ControllingTerminal)?;
    }
    chdir(plan.directory.as_c_str()).at(Step::WorkingDirectory)?;
    process::check_directory_inside_root().at(Step::EscapedDirectory)?;
    if plan.no_new_privileges {
        install_filter(plan)?;
    }
    Err(execute(plan)).at(Step::Execute)
}

fn set_stdio(descriptors: &Descriptors<'_>) -> Result<(), Failure> {
    let streams = match descriptors {
        Descriptors::Given(streams) => *streams,
        Descriptors::Terminal(slave) => {
            ioctl_tiocsctty(slave.as_fd()).at(Step::ControllingTerminal)?;
            [slave.as_fd(); 3]
        }
    };
    for (number, stream) in (0..).zip(streams) {
        process::place_descriptor(stream, number).at(Step::Stdio)?;
    }
    Ok(())
}

fn set_limits(plan: &ProcessPlan, proc: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    for (index, (resource, limit)) in plan.limits.iter().enumerate() {
        setrlimit(*resource, *limit).at_index(Step::ResourceLimit, index)?;
    }
    if let Some(score) = &plan.oom_score {
        write_in_proc(proc, c"/proc/self/oom_score_adj", score).at(Step::OomScore)?;
    }
    Ok(())
}

/// No descriptor of the keeper may be open when a path of the image is followed or its program runs.
fn close_others(sync: BorrowedFd<'_>) -> Result<(), Failure> {
    use std::os::fd::AsRawFd;
    let sync = u32::try_from(sync.as_raw_fd()).map_err(|_| Errno::BADF).at(Step::CloseDescriptors)?;
    process::close_range_now(3, sync - 1).at(Step::CloseDescriptors)?;
    process::close_range_now(sync + 1, u32::MAX).at(Step::CloseDescriptors)
}

fn install_filter(plan: &ProcessPlan) -> Result<(), Failure> {
    let Some(program) = &plan.seccomp else { return Ok(()) };
    seccomp::install(program.instructions(), program.flags()).map(drop).at(Step::Seccomp)
}

fn set_identity(plan: &ProcessPlan) -> Result<(), Failure> {
    let sets = &plan.capabilities;
    for number in (0..CapabilitySet::COUNT).filter(|number| !sets.bounding.has(*number)) {
        match remove_capability_from_bounding_set(Bits::from_bits_retain(1 << number)) {
            // A kernel that does not know the capability cannot grant it.
            Ok(()) | Err(Errno::INVAL) => {}
            other => other.at(Step::BoundingSet)?,
        }
    }
    set_keep_capabilities(true).at(Step::KeepCapabilities)?;
    set_thread_groups(&plan.groups).at(Step::Groups)?;
    let (gid, uid) = (Gid::from_raw(plan.gid), Uid::from_raw(plan.uid));
    set_thread_res_gid(gid, gid, gid).at(Step::GroupId)?;
    set_thread_res_uid(uid, uid, uid).at(Step::UserId)?;
    let bits = |set: CapabilitySet| Bits::from_bits_retain(set.bits());
    let wanted = CapabilitySets {
        effective: bits(sets.effective),
        permitted: bits(sets.permitted),
        inheritable: bits(sets.inheritable),
    };
    set_capabilities(None, wanted).at(Step::Capabilities)?;
    set_ambient(sets.ambient)
}

fn set_ambient(ambient: CapabilitySet) -> Result<(), Failure> {
    clear_ambient_capability_set().at(Step::AmbientCapabilities)?;
    for number in (0..CapabilitySet::COUNT).filter(|number| ambient.has(*number)) {
        configure_capability_in_ambient_set(Bits::from_bits_retain(1 << number), true)
            .at(Step::AmbientCapabilities)?;
    }
    Ok(())
}

/// Tries the candidates as execvp(3) does: a file that may not be executed is remembered, one that is
/// not there is passed over.
fn execute(plan: &ProcessPlan) -> Errno {
    let mut denied = None;
    let mut last = Errno::NOENT;
    for candidate in &plan.candidates {
        match exec::execute(candidate, &plan.arguments, &plan.environment) {
            errno @ (Errno::NOENT | Errno::NOTDIR) => last = errno,
            Errno::ACCESS => denied = Some(Errno::ACCESS),
            errno => return errno,
        }
    }
    denied.unwrap_or(last)
}
