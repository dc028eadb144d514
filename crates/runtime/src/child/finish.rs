//! The last steps before `exec`, for a container's first process and for one that joins it.
//!
//! Order: what needs privileges first. Without `no_new_privs` the filter needs CAP_SYS_ADMIN and so
//! goes before the capabilities; with it the filter comes last and covers less of this code. A process that is
//! held until somebody starts it waits when all but its program is done.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_sys::attributes;
use holm_sys::landlock::{allow_beneath, create_ruleset, restrict_self};
use holm_sys::rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use holm_sys::rustix::io::{read, write};
use holm_sys::rustix::process::{
    Gid, Signal, Uid, chdir, ioctl_tiocsctty, set_parent_process_death_signal, setrlimit, umask,
};
use holm_sys::rustix::thread::{
    CapabilitySet as Bits, CapabilitySets, clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use holm_sys::{Errno, exec, process, seccomp, signals};

use super::meet_parent;
use super::mounts::{check_device, write_in_proc};
use crate::capability::{CapabilitySet, ProcessCapabilities};
use crate::landlock::Landlock;
use crate::process::{Hold, ProcessPlan};
use crate::step::{At, Failure, HELD, Step, encode_listener};

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
    set_limits(plan)?;
    set_labels(plan, proc)?;
    close_others(plan)?;
    umask(Mode::from_raw_mode(plan.umask));
    set_attributes(plan)?;
    let rules = plan.landlock.as_ref().map(make_rules).transpose()?;
    if plan.no_new_privileges {
        set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    } else {
        restrict(rules.as_ref())?;
        install_filter(plan, sync)?;
    }
    let entered = chdir(plan.directory.as_c_str());
    set_identity(plan)?;
    if plan.dies_with_parent {
        // Set behind the change of user, which would clear it.
        set_parent_process_death_signal(Some(Signal::KILL)).at(Step::ControllingTerminal)?;
    }
    enter_directory(plan, entered)?;
    if plan.hold.is_some() {
        look_for_program(plan)?;
    }
    if plan.no_new_privileges {
        restrict(rules.as_ref())?;
        install_filter(plan, sync)?;
    }
    if let Some(hold) = &plan.hold {
        return wait_for_start(plan, hold, sync);
    }
    Err(execute(plan)).at(Step::Execute)
}

/// A directory that only root or only the user may enter: either will do, as with other runtimes. No descriptor
/// is open through which it could lead outside.
fn enter_directory(plan: &ProcessPlan, entered: Result<(), Errno>) -> Result<(), Failure> {
    match entered {
        Err(Errno::ACCESS | Errno::PERM) => chdir(plan.directory.as_c_str()),
        other => other,
    }
    .at(Step::WorkingDirectory)?;
    process::check_directory_inside_root().at(Step::EscapedDirectory)
}

/// Stops here until somebody writes to the FIFO; a failure after that is told to whoever did.
fn wait_for_start(
    plan: &ProcessPlan,
    hold: &Hold,
    sync: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, Failure> {
    // Without a parent that wrote down that this process is here, nobody would ever start or end it.
    process::end_on_signals();
    meet_parent(sync, HELD, Step::Hold)?;
    let mut word = [0];
    while read(&hold.start, &mut word) == Err(Errno::INTR) {}
    let failure = Failure { step: Step::Execute, index: 0, errno: execute(plan) };
    let _ = write(&hold.result, &failure.encode());
    Err(failure)
}

/// Whether one of the candidates can be executed, to say so before anybody waits for it. The user's own rights
/// show only when it is done.
fn look_for_program(plan: &ProcessPlan) -> Result<(), Failure> {
    use holm_sys::rustix::fs::{Access, AtFlags, CWD, FileType, accessat, stat};
    let mut last = Errno::NOENT;
    for candidate in &plan.candidates {
        let kind = stat(candidate.as_c_str()).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Ok(FileType::Directory) {
            last = Errno::ACCESS;
            continue;
        }
        match accessat(CWD, candidate.as_c_str(), Access::EXEC_OK, AtFlags::EACCESS) {
            Ok(()) => return Ok(()),
            Err(Errno::ACCESS) => last = Errno::ACCESS,
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            // A filter may refuse the question.
            Err(_) => return Ok(()),
        }
    }
    Err(last).at(Step::Execute)
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
        let own = own_null(stream);
        let stream = own.as_ref().map_or(stream, AsFd::as_fd);
        process::place_descriptor(stream, number).at(Step::Stdio)?;
    }
    Ok(())
}

/// The container's own null device where a stream is the host's: of a file whose mount is not the container's, no
/// checkpoint can be made. Where the container has none, the host's will do.
fn own_null(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    check_device(stream, 1, 3).ok()?;
    let open =
        |flags| openat(CWD, c"/dev/null", flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok();
    // Opening what the image may have put there could do something: so it is looked at first.
    check_device(open(OFlags::PATH)?.as_fd(), 1, 3).ok()?;
    let null = open(OFlags::RDWR | OFlags::NOCTTY)?;
    check_device(null.as_fd(), 1, 3).ok().map(|()| null)
}

fn set_limits(plan: &ProcessPlan) -> Result<(), Failure> {
    for (index, (resource, limit)) in plan.limits.iter().enumerate() {
        setrlimit(*resource, *limit).at_index(Step::ResourceLimit, index)?;
    }
    Ok(())
}

/// Labels of the next program, through the `proc` that was just mounted or is the host's.
fn set_labels(plan: &ProcessPlan, proc: Option<BorrowedFd<'_>>) -> Result<(), Failure> {
    for (index, (file, label)) in plan.labels.iter().enumerate() {
        write_in_proc(proc, file, label).at_index(Step::SecurityLabel, index)?;
    }
    Ok(())
}

/// No descriptor of the keeper may be open when a path of the image is followed or its program runs.
fn close_others(plan: &ProcessPlan) -> Result<(), Failure> {
    process::close_all_but(&plan.kept).at(Step::CloseDescriptors)
}

/// More than any kernel knows.
static ALL_PROCESSORS: [u64; 128] = [u64::MAX; 128];

fn set_attributes(plan: &ProcessPlan) -> Result<(), Failure> {
    if let Some(scheduling) = &plan.scheduling {
        attributes::set_scheduling(scheduling).at(Step::Scheduler)?;
    }
    if let Some((class, level)) = plan.io_priority {
        attributes::set_io_priority(class, level).at(Step::IoPriority)?;
    }
    if let Some(domain) = plan.personality {
        attributes::set_personality(domain).at(Step::Personality)?;
    }
    if let Some((mode, nodes)) = &plan.memory_policy {
        attributes::set_memory_policy(*mode, nodes).at(Step::MemoryPolicy)?;
    }
    match &plan.affinity {
        Some(processors) => attributes::set_affinity(processors).at(Step::Affinity),
        // Whatever the caller runs on: all that the container's group has.
        None => {
            let _ = attributes::set_affinity(&ALL_PROCESSORS);
            Ok(())
        }
    }
}

/// The rules of Landlock, by paths as root finds them. Closed when the program is executed.
fn make_rules(landlock: &Landlock) -> Result<ManuallyDrop<OwnedFd>, Failure> {
    let rules = create_ruleset(landlock.handled()).map(ManuallyDrop::new).at(Step::Landlock)?;
    for (index, (path, allowed)) in landlock.rules().iter().enumerate() {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let opened = match openat(CWD, path.as_c_str(), flags, Mode::empty()) {
            Err(Errno::NOENT) if !landlock.is_strict() => continue,
            other => ManuallyDrop::new(other.at_index(Step::LandlockPath, index)?),
        };
        allow_beneath(rules.as_fd(), *allowed & allowed_for(opened.as_fd()), opened.as_fd())
            .at_index(Step::LandlockPath, index)?;
        // One of many: they would add up.
        drop(ManuallyDrop::into_inner(opened));
    }
    Ok(rules)
}

/// What makes sense for a file that is no directory: execute, write, read, truncate, ioctl.
fn allowed_for(path: BorrowedFd<'_>) -> u64 {
    const OF_FILES: u64 = 0b111 | 1 << 14 | 1 << 15;
    let is_directory =
        fstat(path).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
    if is_directory { u64::MAX } else { OF_FILES }
}

fn restrict(rules: Option<&ManuallyDrop<OwnedFd>>) -> Result<(), Failure> {
    rules.map_or(Ok(()), |rules| restrict_self(rules.as_fd())).at(Step::Landlock)
}

/// The parent takes the listener out of this process itself: sending it could be a call that asks the listener.
fn install_filter(plan: &ProcessPlan, sync: BorrowedFd<'_>) -> Result<(), Failure> {
    let Some(program) = &plan.seccomp else { return Ok(()) };
    let listener = seccomp::install(program.instructions(), program.flags()).at(Step::Seccomp)?;
    let Some(listener) = listener.map(ManuallyDrop::new) else { return Ok(()) };
    meet_parent(sync, &encode_listener(listener.as_raw_fd()), Step::Listener)
}

fn set_identity(plan: &ProcessPlan) -> Result<(), Failure> {
    if let Some(sets) = plan.capabilities.as_ref().filter(|_| !plan.is_bounded) {
        bound(sets.bounding)?;
    }
    set_keep_capabilities(true).at(Step::KeepCapabilities)?;
    if !plan.keeps_groups {
        match set_thread_groups(&plan.groups) {
            // A user namespace may forbid it for ever; no groups are what it has then.
            Err(Errno::PERM) if plan.groups.is_empty() => {}
            other => other.at(Step::Groups)?,
        }
    }
    let (gid, uid) = (Gid::from_raw(plan.gid), Uid::from_raw(plan.uid));
    set_thread_res_gid(gid, gid, gid).at(Step::GroupId)?;
    set_thread_res_uid(uid, uid, uid).at(Step::UserId)?;
    match &plan.capabilities {
        Some(sets) => set_capability_sets(sets),
        None => Ok(()),
    }
}

/// Drops what may never be gained, up to the last capability that this kernel knows.
pub(super) fn bound(bounding: CapabilitySet) -> Result<(), Failure> {
    for number in (0..64).filter(|number| !bounding.has(*number)) {
        match remove_capability_from_bounding_set(Bits::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // A kernel that does not know the capability cannot grant it, nor one behind it.
            Err(Errno::INVAL) => break,
            other => other.at(Step::BoundingSet)?,
        }
    }
    Ok(())
}

fn set_capability_sets(sets: &ProcessCapabilities) -> Result<(), Failure> {
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
    if plan.blocks_signals
        && let Err(errno) = signals::block_all()
    {
        return errno;
    }
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
