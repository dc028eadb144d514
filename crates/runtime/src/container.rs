//! Starting a container and running further processes in it.
//!
//! The parent prepares everything, clones once, moves the child into v1 cgroups while it mounts, and
//! then waits for the child's end of a socket: closed by `exec`, or one packet that says which step
//! failed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_spec::runtime::{LinuxNamespaceType, Process, Spec};
use holm_sys::process::{Child, CloneOptions, Namespaces, clone};
use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
use holm_sys::rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, open};
use holm_sys::rustix::process::Pid;
use holm_sys::rustix::thread::ThreadNameSpaceType;
use holm_sys::{Errno, fail_point, process, socket};

use crate::cgroup::Group;
use crate::child::{Init, Join};
use crate::error::{Context, Error, Kind, Result};
use crate::process::{ProcessPlan, Stdio};
use crate::rootfs::{Root, RootPlan};
use crate::seccomp::Program;
use crate::step::{Failure, PROCEED, Step, decode_process};
use crate::user::{Identity, check_ids, read_in_root};

/// How to start a container.
#[derive(Debug)]
pub struct Start<'a> {
    /// The OCI runtime configuration.
    pub spec: &'a Spec,
    /// Its root file system.
    pub root: Root<'a>,
    /// Its control groups, limited already.
    pub group: &'a Group,
    /// `user[:group]`, looked up in the root file system; `None` for the numbers of the configuration.
    pub user: Option<&'a str>,
    /// Its system call filter.
    pub seccomp: Option<Program>,
    /// Its standard streams.
    pub stdio: Stdio<'a>,
}

/// A process that runs its program.
#[derive(Debug)]
pub struct Started {
    /// The process.
    pub process: Child,
    /// Master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

/// Starts a container; the program runs when this returns.
///
/// `meanwhile` is called while the new process mounts; the program does not run before it returns.
///
/// # Errors
/// [`Kind::CommandNotFound`] and [`Kind::CommandNotExecutable`] for the program, [`Kind::Invalid`] for
/// the configuration, [`Kind::System`] with the step that failed. Nothing is left of a failed start but
/// the control group.
pub fn start(start: Start<'_>, meanwhile: &mut dyn FnMut(&Child) -> Result<()>) -> Result<Started> {
    let process =
        start.spec.process().as_ref().ok_or_else(|| Error::invalid("the configuration has no process"))?;
    let terminal = matches!(start.stdio, Stdio::Terminal(_));
    let root = RootPlan::prepare(start.spec, start.root, Some(start.group), terminal)?;
    let identity = identity_of(root.root.as_fd(), start.user, process)?;
    give_streams(&start.stdio, &identity)?;
    let plan = ProcessPlan::prepare(process, &identity, start.seccomp)?;
    let wanted = Wanted::of(start.spec)?;
    // The cgroup namespace's root is the group at the moment of its making.
    let early_cgroup = wanted.cgroup && start.group.entrances().is_empty();
    let namespaces =
        if early_cgroup { wanted.namespaces.with(Namespaces::CGROUP) } else { wanted.namespaces };
    let (ours, theirs) = socket::packet_pair().context(|| "make a socket to the container")?;
    let init = Init {
        root: &root,
        process: &plan,
        stdio: start.stdio,
        sync: theirs.as_fd(),
        hostname: start.spec.hostname().as_ref().map(String::as_bytes),
        domainname: start.spec.domainname().as_ref().map(String::as_bytes),
        loopback: wanted.namespaces.contains(Namespaces::NETWORK),
        groups: start.group.entrances(),
        cgroup_namespace: wanted.cgroup && !early_cgroup,
        kept: &kept(root.descriptors().chain([theirs.as_raw_fd()]), start.group, &start.stdio),
    };
    let options = CloneOptions { namespaces, cgroup: start.group.birthplace() };
    let child = clone(&options, || init.run()).context(|| "make the container's namespaces")?;
    fail_point::reached("keeper-process-cloned");
    drop(theirs);
    confirm(child, &ours, meanwhile, &|failure| describe(failure, &plan, Some(&root)))
}

/// Namespaces that a configuration asks for.
struct Wanted {
    namespaces: Namespaces,
    cgroup: bool,
}

impl Wanted {
    fn of(spec: &Spec) -> Result<Self> {
        let mut wanted = Self { namespaces: Namespaces::NONE, cgroup: false };
        let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for namespace in list.into_iter().flatten() {
            if let Some(path) = namespace.path() {
                let message =
                    format!("joining the namespace `{}` by path is not supported yet", path.display());
                return Err(Error::new(Kind::Unsupported, message));
            }
            let bit = match namespace.typ() {
                LinuxNamespaceType::Mount => Namespaces::MOUNT,
                LinuxNamespaceType::Uts => Namespaces::UTS,
                LinuxNamespaceType::Ipc => Namespaces::IPC,
                LinuxNamespaceType::Pid => Namespaces::PID,
                LinuxNamespaceType::Network => Namespaces::NETWORK,
                LinuxNamespaceType::Cgroup => {
                    wanted.cgroup = true;
                    Namespaces::NONE
                }
                LinuxNamespaceType::User | LinuxNamespaceType::Time => {
                    let message = format!("namespace `{}` is not supported yet", namespace.typ());
                    return Err(Error::new(Kind::Unsupported, message));
                }
            };
            wanted.namespaces = wanted.namespaces.with(bit);
        }
        if wanted.namespaces.contains(Namespaces::MOUNT) {
            return Ok(wanted);
        }
        Err(Error::new(Kind::Unsupported, "a container without a mount namespace is not supported"))
    }
}

/// How to run another process in a container.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    /// Its number on the host.
    pub target_pid: i32,
    /// The process to run.
    pub process: &'a Process,
    /// Control groups of the container.
    pub group: &'a Group,
    /// `user[:group]`, looked up in the container; `None` for the numbers of the process.
    pub user: Option<&'a str>,
    /// Its system call filter.
    pub seccomp: Option<Program>,
    /// Its standard streams.
    pub stdio: Stdio<'a>,
}

/// Runs another process in a container; its program runs when this returns.
///
/// # Errors
/// As [`start`]; `ENOMEM` or `ESRCH` below [`Kind::System`] when the container has ended.
pub fn exec(exec: Exec<'_>) -> Result<Started> {
    let root_path = format!("/proc/{}/root", exec.target_pid);
    let root = open(&root_path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| "look into the container")?;
    let identity = identity_of(root.as_fd(), exec.user, exec.process)?;
    drop(root);
    give_streams(&exec.stdio, &identity)?;
    let plan = ProcessPlan::prepare(exec.process, &identity, exec.seccomp)?;
    let (ours, theirs) = socket::packet_pair().context(|| "make a socket to the process")?;
    let join = Join {
        target: exec.target,
        namespaces: JOINED_NAMESPACES,
        groups: exec.group.entrances(),
        process: &plan,
        stdio: exec.stdio,
        sync: theirs.as_fd(),
        kept: &kept([theirs.as_raw_fd(), exec.target.as_raw_fd()], exec.group, &exec.stdio),
    };
    let options = CloneOptions { namespaces: Namespaces::NONE, cgroup: exec.group.birthplace() };
    let child = clone(&options, || join.run()).context(|| "make a process for the container")?;
    drop(theirs);
    confirm(child, &ours, &mut |_| Ok(()), &|failure| describe(failure, &plan, None))
}

/// Joining one that is shared with the host changes nothing.
const JOINED_NAMESPACES: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION)
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::CONTROL_GROUP)
    .union(ThreadNameSpaceType::PROCESS_ID);

/// Numbers of the descriptors that a child needs, ascending.
fn kept(numbers: impl IntoIterator<Item = i32>, group: &Group, stdio: &Stdio<'_>) -> Vec<i32> {
    let groups = group.entrances().iter().map(AsRawFd::as_raw_fd);
    let mut kept: Vec<i32> = numbers.into_iter().chain(groups).collect();
    if let Stdio::Descriptors(streams) = stdio {
        kept.extend(streams.iter().map(AsRawFd::as_raw_fd));
    }
    kept.sort_unstable();
    kept
}

fn identity_of(root: BorrowedFd<'_>, user: Option<&str>, process: &Process) -> Result<Identity> {
    if let Some(request) = user {
        return Identity::resolve(
            request,
            &read_in_root(root, "/etc/passwd"),
            &read_in_root(root, "/etc/group"),
        );
    }
    let user = process.user();
    check_ids([user.uid(), user.gid()].into_iter().chain(user.additional_gids().iter().flatten().copied()))?;
    let by_number = Identity::resolve(&user.uid().to_string(), &read_in_root(root, "/etc/passwd"), "")?;
    let groups = user.additional_gids().clone().unwrap_or_default();
    Ok(Identity { uid: user.uid(), gid: user.gid(), groups, home: by_number.home })
}

/// Pipes go to the user, so that the program may open `/dev/stdout` again.
fn give_streams(stdio: &Stdio<'_>, identity: &Identity) -> Result<()> {
    let Stdio::Descriptors(streams) = stdio else { return Ok(()) };
    if identity.uid == 0 {
        return Ok(());
    }
    for stream in streams {
        let kind = fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Ok(FileType::Fifo) {
            fchown(stream, Some(Uid::from_raw(identity.uid)), Some(Gid::from_raw(identity.gid)))
                .context(|| "give the standard streams to the user")?;
        }
    }
    Ok(())
}

/// How long a child may take to get to its program. Whoever can stop or freeze it must not hold up the
/// caller for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until the child runs its program; ends and reaps it if it does not get there.
fn confirm(
    child: Child,
    sync: &OwnedFd,
    ready: &mut dyn FnMut(&Child) -> Result<()>,
    describe: &dyn Fn(Failure) -> Error,
) -> Result<Started> {
    let mut heard = Heard::default();
    let result = handshake(&child, sync.as_fd(), ready, describe, &mut heard);
    match (result, heard.born_inside) {
        (Ok(()), None) => Ok(Started { process: child, terminal: heard.terminal }),
        (Ok(()), Some(process)) => {
            let _ = process::wait(child.pidfd.as_fd());
            Ok(Started { process, terminal: heard.terminal })
        }
        (Err(error), born_inside) => {
            for process in [Some(child), born_inside].into_iter().flatten() {
                let _ = process::signal(process.pidfd.as_fd(), 9);
                let _ = process::wait(process.pidfd.as_fd());
            }
            Err(error)
        }
    }
}

/// What the child sent.
#[derive(Default)]
struct Heard {
    terminal: Option<OwnedFd>,
    /// The process that will run the program, if it is not the child itself.
    born_inside: Option<Child>,
}

fn handshake(
    child: &Child,
    sync: BorrowedFd<'_>,
    ready: &mut dyn FnMut(&Child) -> Result<()>,
    describe: &dyn Fn(Failure) -> Error,
    heard: &mut Heard,
) -> Result<()> {
    ready(child)?;
    // A child that failed meanwhile has closed its end; its packet says why.
    let _ = socket::send_packet(sync, PROCEED, &[]);
    let deadline = Instant::now() + PATIENCE;
    let mut packet = [0; 16];
    loop {
        await_packet(sync, deadline)?;
        let (length, descriptor) =
            socket::receive_packet(sync, &mut packet).context(|| "hear from the container's process")?;
        let packet = &packet[..length];
        if let Some(failure) = Failure::decode(packet) {
            return Err(describe(failure));
        }
        match (decode_process(packet).and_then(Pid::from_raw), descriptor) {
            (Some(pid), Some(pidfd)) => heard.born_inside = Some(Child { pid, pidfd }),
            (_, Some(terminal)) => heard.terminal = Some(terminal),
            (_, None) if length == 0 => return Ok(()),
            (_, None) => {}
        }
    }
}

fn await_packet(sync: BorrowedFd<'_>, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&sync, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => {
                let message =
                    format!("the process did not get to its program within {} seconds", PATIENCE.as_secs());
                return Err(Error::new(Kind::System, message));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for the container's process"),
        }
    }
}

/// A failure in words, with the object that the step was at.
fn describe(failure: Failure, plan: &ProcessPlan, root: Option<&RootPlan>) -> Error {
    let index = usize::from(failure.index);
    let object = match failure.step {
        Step::Execute => return cannot_execute(failure.errno, plan),
        Step::WorkingDirectory | Step::EscapedDirectory => {
            Some(plan.directory.to_string_lossy().into_owned())
        }
        Step::MakeMount | Step::OpenTarget | Step::MakeTarget | Step::AttachMount => root
            .and_then(|root| root.mounts.get(index))
            .map(|mount| mount.target.path.to_string_lossy().into_owned()),
        Step::MaskPath => path_at(root.map(|root| &root.masked), index),
        Step::ReadOnlyPath => path_at(root.map(|root| &root.read_only_paths), index),
        Step::Parameter => root
            .and_then(|root| root.parameters.get(index))
            .map(|(path, _)| path.to_string_lossy().into_owned()),
        Step::ResourceLimit => plan.limits.get(index).map(|(resource, _)| format!("{resource:?}")),
        _ => None,
    };
    let description = failure.step.description();
    let message = object.map_or_else(|| description.to_owned(), |object| format!("{description} `{object}`"));
    Error::errno(Kind::System, message, failure.errno)
}

fn path_at(paths: Option<&Vec<std::ffi::CString>>, index: usize) -> Option<String> {
    paths?.get(index).map(|path| path.to_string_lossy().into_owned())
}

fn cannot_execute(errno: Errno, plan: &ProcessPlan) -> Error {
    let program = plan.program();
    match errno {
        Errno::NOENT | Errno::NOTDIR if !program.contains('/') => Error::new(
            Kind::CommandNotFound,
            format!("execute `{program}`: executable file not found in $PATH"),
        ),
        Errno::NOENT | Errno::NOTDIR => {
            Error::errno(Kind::CommandNotFound, format!("execute `{program}`"), errno)
        }
        _ => Error::errno(Kind::CommandNotExecutable, format!("execute `{program}`"), errno),
    }
}
