//! Starting a container and running further processes in it.
//!
//! The parent prepares everything, clones once, does what has to be done outside while the child mounts, and
//! then waits for the child's end of a socket (see [`crate::handshake`]): closed by `exec`, or one packet that
//! says which step failed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::runtime::{Process, Spec};
use holm_sys::process::{Child, CloneOptions, Namespaces, clone};
use holm_sys::rustix::fs::{FileType, Gid, Mode, OFlags, Uid, fchown, fstat, open};
use holm_sys::rustix::thread::{CapabilitySet, ThreadNameSpaceType, capabilities};
use holm_sys::{Errno, fail_point, socket};

use crate::attributes;
use crate::cgroup::Group;
use crate::child::{Init, Join, Leave};
use crate::error::{Context, Error, Kind, Result};
pub use crate::handshake::end;
use crate::handshake::{Answer, Expectation, confirm};
use crate::landlock::Landlock;
use crate::maps::Maps;
use crate::namespaces::{NamespacePlan, write_oom_score};
use crate::process::{Hold, ProcessPlan, Stdio};
use crate::resctrl::Membership;
use crate::rootfs::{Audience, MountPlan, Root, RootPlan, over_proc};
use crate::rootless::{is_hosts_user_namespace, is_in_user_namespace};
use crate::seccomp::Program;
use crate::step::{Failure, PROCEED, Step};
use crate::user::{Identity, check_ids, read_in_root};

/// How to start a container.
#[derive(Debug)]
pub struct Start<'a> {
    /// The OCI runtime configuration.
    pub spec: &'a Spec,
    /// Its root file system.
    pub root: Root<'a>,
    /// Its bundle, which relative paths of the configuration are meant from.
    pub bundle: &'a Path,
    /// Its control groups, limited already.
    pub group: &'a Group,
    /// `user[:group]`, looked up in the root file system; `None` for the numbers of the configuration.
    pub user: Option<&'a str>,
    /// Its system call filter.
    pub seccomp: Option<Program>,
    /// Its standard streams.
    pub stdio: Stdio<'a>,
    /// What the defaults leave out.
    pub options: StartOptions,
}

/// What most containers do without.
#[derive(Debug, Default)]
pub struct StartOptions {
    /// The first process is held before its program.
    pub hold: Option<Hold>,
    /// The first process ends when whoever started it does.
    pub dies_with_parent: bool,
    /// The program finds all signals blocked: one that comes before it listens waits for it. The kernel drops what the
    /// first process of a namespace has no handler for.
    pub blocks_signals: bool,
    /// Tell when everything is mounted, the host's tree still being there: hooks run then.
    pub meet_when_mounted: bool,
    /// Change the root without pivot_root(2).
    pub no_pivot: bool,
    /// Access to files that the process gives up.
    pub landlock: Option<Landlock>,
    /// Keep the caller's session keyring.
    pub keep_keyring: bool,
    /// Descriptors that the program inherits beside the standard streams, ascending.
    pub preserved: Vec<i32>,
}

/// A process that runs its program, or is held before it.
#[derive(Debug)]
pub struct Started {
    /// The process.
    pub process: Child,
    /// Master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    /// What a process that is held waits for, before it waits for its start.
    pub word: Option<Word>,
}

/// The word that a held process is known of. If it is dropped instead, the process ends: nobody would ever start or
/// end it.
#[derive(Debug)]
pub struct Word(pub(crate) OwnedFd);

impl Word {
    /// Gives it.
    ///
    /// # Errors
    /// The process has ended.
    pub fn give(self) -> Result<()> {
        socket::send_packet(self.0.as_fd(), PROCEED, &[]).context(|| "hold the container's process")
    }
}

/// Starts a container; the program runs when this returns, unless the process is to be held.
///
/// `answer` is called when the process gets somewhere; the first time while it mounts.
///
/// # Errors
/// [`Kind::CommandNotFound`] and [`Kind::CommandNotExecutable`] for the program, [`Kind::Invalid`] for
/// the configuration, [`Kind::System`] with the step that failed. Nothing is left of a failed start but
/// the control group.
pub fn start(start: Start<'_>, answer: &mut Answer<'_>) -> Result<Started> {
    let Start { spec, group, options, .. } = start;
    let process =
        spec.process().as_ref().ok_or_else(|| Error::invalid("the configuration has no process"))?;
    let namespaces = NamespacePlan::prepare(spec)?;
    let audience = Audience {
        group: Some(group),
        cgroup_namespace: namespaces.has_cgroup(),
        terminal: matches!(start.stdio, Stdio::Terminal(_)),
        maps: namespaces.maps.as_ref(),
        user_namespace: namespaces.joined_user.as_ref().map(AsFd::as_fd),
        bundle: start.bundle,
    };
    let root = RootPlan::prepare(spec, start.root, &audience)?;
    let identity = identity_of(root.root.as_fd(), start.user, process)?;
    give_streams(&start.stdio, &identity, namespaces.maps.as_ref())?;
    let mut plan = ProcessPlan::prepare(spec, process, &identity, start.seccomp, namespaces.changes_user())?;
    plan.hold = options.hold;
    plan.dies_with_parent = options.dies_with_parent;
    plan.blocks_signals = options.blocks_signals;
    plan.landlock = options.landlock;
    let leave = leave(&namespaces, options.no_pivot);
    // The cgroup namespace's root is the group at the moment of its making.
    let early_cgroup = namespaces.cgroup
        && group.entrances().is_empty()
        && !group.needs_porter()
        && !namespaces.needs_stage();
    let (ours, theirs) = socket::packet_pair().context(|| "make a socket to the container")?;
    plan.keep(&options.preserved, theirs.as_raw_fd());
    let numbers = root.descriptors().chain(namespaces.descriptors());
    let init = Init {
        root: &root,
        process: &plan,
        namespaces: &namespaces,
        stdio: start.stdio,
        sync: theirs.as_fd(),
        hostname: name(spec.hostname()),
        domainname: name(spec.domainname()),
        loopback: namespaces.made.contains(Namespaces::NETWORK),
        groups: group.entrances(),
        is_carried: group.needs_porter(),
        cgroup_namespace: namespaces.cgroup && !early_cgroup,
        new_keyring: !options.keep_keyring,
        leave,
        mount_first: options.meet_when_mounted
            || namespaces.changes_user()
            || is_in_user_namespace()
            || leave != Leave::Pivot,
        meet_when_mounted: options.meet_when_mounted,
        kept: &kept(numbers, group, &start.stdio, &plan),
    };
    let child = clone(&clone_options(&namespaces, early_cgroup, group), || init.run())
        .context(|| "make the container's namespaces")?;
    fail_point::reached("keeper-process-cloned");
    drop(theirs);
    let expectation = Expectation {
        staged: namespaces.needs_stage(),
        is_carried: group.needs_porter(),
        waits: !options.meet_when_mounted,
        lends_listener: false,
        maps: namespaces.maps.as_ref(),
        first: &mut |child| group.admit(child.pid).and_then(|()| set_oom_score(child, process)),
        map_ids: &|index, tree| root.map_ids(index, tree),
        answer,
        describe: &|failure| describe(failure, &plan, Some(&root)),
    };
    confirm(child, ours, expectation)
}

/// Waits until a process that was held runs its program.
///
/// # Errors
/// The program cannot be executed.
pub(crate) fn outcome(result: &OwnedFd, program: &dyn Fn() -> String) -> Result<()> {
    use holm_sys::rustix::event::{PollFd, PollFlags, poll};
    let mut packet = [0; 8];
    loop {
        match rustix::io::read(result, &mut packet) {
            Ok(0) => return Ok(()),
            Ok(length) => {
                let failure = Failure::decode(&packet[..length]);
                return failure.map_or(Ok(()), |failure| Err(late_failure(failure, &program())));
            }
            Err(Errno::AGAIN) => {
                let waited = poll(&mut [PollFd::new(result, PollFlags::IN)], None);
                match waited {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno).context(|| "wait for the program"),
                }
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "wait for the program"),
        }
    }
}

/// What the process could not do once it was let go.
fn late_failure(failure: Failure, program: &str) -> Error {
    let kind = match (failure.step, failure.errno) {
        (Step::Execute, Errno::NOENT | Errno::NOTDIR) => Kind::CommandNotFound,
        (Step::Execute, _) => Kind::CommandNotExecutable,
        _ => Kind::System,
    };
    let message = match kind {
        Kind::CommandNotFound => format!("exec {program}"),
        _ => format!("{} `{program}`", failure.step.description()),
    };
    Error::errno(kind, message, failure.errno)
}

fn name(name: &Option<String>) -> Option<&[u8]> {
    name.as_deref().filter(|name| !name.is_empty()).map(str::as_bytes)
}

fn leave(namespaces: &NamespacePlan, no_pivot: bool) -> Leave {
    match (namespaces.isolates_mounts(), no_pivot) {
        (false, _) => Leave::ChangeRoot,
        (true, true) => Leave::Move,
        (true, false) => Leave::Pivot,
    }
}

fn clone_options<'a>(namespaces: &NamespacePlan, early_cgroup: bool, group: &'a Group) -> CloneOptions<'a> {
    let made = if namespaces.needs_stage() { Namespaces::NONE } else { namespaces.made };
    let made = if early_cgroup { made.with(Namespaces::CGROUP) } else { made };
    CloneOptions { namespaces: made, cgroup: group.birthplace() }
}

fn set_oom_score(child: &Child, process: &Process) -> Result<()> {
    process.oom_score_adj().map_or(Ok(()), |score| write_oom_score(child.pid, score))
}

/// How to run another process in a container.
#[derive(Debug)]
pub struct Exec<'a> {
    /// The OCI runtime configuration of the container.
    pub spec: &'a Spec,
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    /// Its number on the host.
    pub target_pid: i32,
    /// The process to run.
    pub process: &'a Process,
    /// The file to execute, if it is not what the first argument says.
    pub program: Option<&'a str>,
    /// Control groups of the container.
    pub group: &'a Group,
    /// `user[:group]`, looked up in the container; `None` for the numbers of the process.
    pub user: Option<&'a str>,
    /// Its system call filter.
    pub seccomp: Option<Program>,
    /// Its standard streams.
    pub stdio: Stdio<'a>,
    /// The process ends when whoever started it does.
    pub dies_with_parent: bool,
    /// Descriptors that the program inherits beside the standard streams, ascending.
    pub preserved: Vec<i32>,
    /// Access to files that it gives up.
    pub landlock: Option<Landlock>,
    /// Processors that it may run on, a bit each.
    pub affinity: Option<Vec<u64>>,
    /// What of resctrl the container is in.
    pub resctrl: Option<&'a Membership>,
}

/// Runs another process in a container; its program runs when this returns.
///
/// # Errors
/// As [`start`]; `ENOMEM` or `ESRCH` below [`Kind::System`] when the container has ended.
pub fn exec(exec: Exec<'_>, answer: &mut Answer<'_>) -> Result<Started> {
    let root_path = format!("/proc/{}/root", exec.target_pid);
    let root = open(&root_path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| "look into the container")?;
    let identity = identity_of(root.as_fd(), exec.user, exec.process)?;
    drop(root);
    let namespaces = JoinedNamespaces::of(exec.target_pid)?;
    give_streams(&exec.stdio, &identity, None)?;
    let mut plan =
        ProcessPlan::prepare(exec.spec, exec.process, &identity, exec.seccomp, namespaces.changes_user)?;
    plan.dies_with_parent = exec.dies_with_parent;
    plan.affinity = exec.affinity;
    plan.landlock = exec.landlock;
    plan.is_bounded = true;
    if let Some(program) = exec.program {
        plan.execute(program)?;
    }
    let proc = host_proc(&plan)?;
    let (ours, theirs) = socket::packet_pair().context(|| "make a socket to the process")?;
    plan.keep(&exec.preserved, theirs.as_raw_fd());
    let numbers = [exec.target.as_raw_fd()].into_iter().chain(proc.as_ref().map(AsRawFd::as_raw_fd));
    let lends_listener = !may_trace() && plan.seccomp.as_ref().is_some_and(Program::has_listener);
    let join = Join {
        target: exec.target,
        namespaces: namespaces.kinds,
        changes_user: namespaces.changes_user,
        groups: exec.group.entrances(),
        process: &plan,
        stdio: exec.stdio,
        sync: theirs.as_fd(),
        proc: proc.as_ref().map(AsFd::as_fd),
        lends_listener,
        kept: &kept(numbers, exec.group, &exec.stdio, &plan),
    };
    let child = bear(exec.group, &join)?;
    drop(theirs);
    let expectation = Expectation {
        staged: true,
        is_carried: false,
        waits: lends_listener,
        lends_listener,
        maps: None,
        first: &mut |child| {
            exec.group.admit(child.pid)?;
            // Whoever is born of the stage is born in its groups.
            exec.resctrl.map_or(Ok(()), |groups| groups.admit(child.pid.as_raw_nonzero().get()))?;
            set_oom_score(child, exec.process)
        },
        map_ids: &|_, _| Ok(()),
        answer,
        describe: &|failure| describe(failure, &plan, None),
    };
    confirm(child, ours, expectation)
}

/// The first stage, born in the container's group, with a copy of this process's memory: whoever inside gets hold of it must get hold
/// of nothing else.
fn bear(group: &Group, join: &Join<'_>) -> Result<Child> {
    match born_in(group.birthplace(), join) {
        Err(Errno::BUSY) => {
            let other = group.other_birthplace()?;
            let other = other.as_ref().map(AsFd::as_fd).ok_or(Errno::BUSY);
            let born = other.and_then(|other| born_in(Some(other), join));
            born.context(|| "adding pid of the process to cgroups of the container")
        }
        other => other.context(|| "make a process for the container"),
    }
}

/// Whether this process may look into any other one of the host.
fn may_trace() -> bool {
    let may = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE));
    may && !is_in_user_namespace()
}

fn born_in(cgroup: Option<BorrowedFd<'_>>, join: &Join<'_>) -> Result<Child, Errno> {
    clone(&CloneOptions { namespaces: Namespaces::NONE, cgroup }, || join.run())
}

/// Through the host's `proc` labels are set; nobody needs it without labels.
fn host_proc(plan: &ProcessPlan) -> Result<Option<OwnedFd>> {
    if plan.labels.is_empty() {
        return Ok(None);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open("/proc", flags, Mode::empty()).map(Some).context(|| "open `/proc`")
}

/// Namespaces that a process in a container has to enter.
pub(crate) struct JoinedNamespaces {
    pub kinds: ThreadNameSpaceType,
    pub changes_user: bool,
}

impl JoinedNamespaces {
    /// All that differ from this process's. Joining one that is shared changes nothing, but a user namespace that is
    /// shared cannot be entered again, and from inside another user namespace those of the host cannot.
    pub fn of(target: i32) -> Result<Self> {
        let own = |kind: &str| std::fs::read_link(format!("/proc/self/ns/{kind}")).ok();
        let others = |kind: &str| {
            let path = format!("/proc/{target}/ns/{kind}");
            std::fs::read_link(&path).context(|| format!("read `{path}`"))
        };
        // Kernels may be built without one.
        let differs = |kind: &str| own(kind).is_some_and(|own| others(kind).is_ok_and(|other| other != own));
        let own_user = own("user");
        let changes_user = Some(others("user")?) != own_user;
        let is_inside = changes_user || own_user.is_some_and(|own| !is_hosts_user_namespace(&own));
        let mut kinds = ThreadNameSpaceType::empty();
        for (kind, bit) in ALWAYS_JOINED {
            kinds.set(bit, !is_inside || differs(kind));
        }
        kinds.set(ThreadNameSpaceType::USER, changes_user);
        kinds.set(ThreadNameSpaceType::TIME, differs("time"));
        Ok(Self { kinds, changes_user })
    }
}

const ALWAYS_JOINED: [(&str, ThreadNameSpaceType); 6] = [
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("net", ThreadNameSpaceType::NETWORK),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
];

/// Numbers of the descriptors that a child needs, ascending.
fn kept(
    numbers: impl IntoIterator<Item = i32>,
    group: &Group,
    stdio: &Stdio<'_>,
    plan: &ProcessPlan,
) -> Vec<i32> {
    let groups = group.entrances().iter().map(AsRawFd::as_raw_fd);
    let last = plan.kept.iter().copied();
    let mut kept: Vec<i32> = numbers.into_iter().chain(groups).chain(last).collect();
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
fn give_streams(stdio: &Stdio<'_>, identity: &Identity, maps: Option<&Maps>) -> Result<()> {
    let Stdio::Descriptors(streams) = stdio else { return Ok(()) };
    let (uid, gid) = match maps {
        Some(maps) => (maps.uids.to_host(identity.uid), maps.gids.to_host(identity.gid)),
        None => (Some(identity.uid), Some(identity.gid)),
    };
    let (Some(uid), Some(gid)) = (uid, gid) else {
        let error = format!("user {}:{} is not mapped into the user namespace", identity.uid, identity.gid);
        return Err(Error::invalid(error).at_field("process.user"));
    };
    if uid == 0 {
        return Ok(());
    }
    for stream in streams {
        let kind = fstat(stream).map(|stat| FileType::from_raw_mode(stat.st_mode));
        if kind == Ok(FileType::Fifo) {
            match fchown(stream, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))) {
                // A caller without rights over the ids of its user namespace: the program has them open all the same.
                Ok(()) | Err(Errno::PERM | Errno::INVAL) => {}
                Err(errno) => return Err(errno).context(|| "give the standard streams to the user"),
            }
        }
    }
    Ok(())
}

/// A failure in words, with the object that the step was at.
fn describe(failure: Failure, plan: &ProcessPlan, root: Option<&RootPlan>) -> Error {
    let object = match failure.step {
        Step::Execute => return cannot_execute(failure.errno, plan),
        Step::Scheduler if failure.errno == Errno::PERM && plan.has_some_processors => {
            let message = "set the scheduler (process scheduler can't be used together with AllowedCPUs)";
            return Error::errno(Kind::System, message, failure.errno);
        }
        Step::WorkingDirectory | Step::EscapedDirectory => plan.directory.to_string_lossy().into_owned(),
        Step::LandlockPath => {
            let rules = plan.landlock.as_ref().map(Landlock::rules).unwrap_or_default();
            match rules.get(usize::from(failure.index)) {
                Some((path, _)) => path.to_string_lossy().into_owned(),
                None => return describe_mounting(failure, root),
            }
        }
        Step::SecurityLabel => match plan.labels.get(usize::from(failure.index)) {
            Some((file, label)) => {
                let object = attributes::name_in_label(label);
                return in_words(failure, Some(object)).at_field(attributes::field_of_label(file));
            }
            None => return describe_mounting(failure, root),
        },
        Step::KeyLabel => {
            let object = plan.key_label.as_deref().map(attributes::name_in_label);
            return in_words(failure, object).at_field(attributes::SELINUX_LABEL);
        }
        Step::ResourceLimit => match plan.limits.get(usize::from(failure.index)) {
            Some((resource, _)) => format!("{resource:?}"),
            None => return describe_mounting(failure, root),
        },
        _ => return describe_mounting(failure, root),
    };
    in_words(failure, Some(object))
}

/// A failure of a step that concerns the root at most.
pub(crate) fn describe_mounting(failure: Failure, root: Option<&RootPlan>) -> Error {
    let index = usize::from(failure.index);
    let object = match failure.step {
        Step::NoPlainDirectory => return no_plain_directory(root, index),
        Step::InsideProc => return inside_proc(root, index),
        Step::CoverProc => return over_proc(),
        Step::BindSource => root.and_then(|root| root.mounts.get(index)).and_then(MountPlan::inner_source),
        Step::MakeMount | Step::MapIds | Step::OpenTarget | Step::MakeTarget | Step::AttachMount => root
            .and_then(|root| root.mounts.get(index))
            .map(|mount| mount.target.path.to_string_lossy().into_owned()),
        Step::MakeDevice => root
            .and_then(|root| root.devices.get(index))
            .map(|node| format!("{}/{}", node.parent.path.to_string_lossy(), node.name.to_string_lossy())),
        Step::MaskPath => path_at(root.map(|root| &root.masked), index),
        Step::ReadOnlyPath => path_at(root.map(|root| &root.read_only_paths), index),
        Step::Parameter => root
            .and_then(|root| root.parameters.get(index))
            .map(|(path, _)| path.to_string_lossy().into_owned()),
        _ => None,
    };
    in_words(failure, object)
}

fn in_words(failure: Failure, object: Option<String>) -> Error {
    let description = failure.step.description();
    let message = object.map_or_else(|| description.to_owned(), |object| format!("{description} `{object}`"));
    Error::errno(Kind::System, message, failure.errno)
}

fn inside_proc(root: Option<&RootPlan>, index: usize) -> Error {
    let path = root.and_then(|root| root.mounts.get(index)).map(|mount| mount.target.path.to_string_lossy());
    let path = path.unwrap_or_default();
    Error::invalid(format!("\"{path}\" cannot be mounted because it is inside /proc"))
}

/// In the words that other runtimes have for it, which tests look for.
fn no_plain_directory(root: Option<&RootPlan>, index: usize) -> Error {
    let mount = root.and_then(|root| root.mounts.get(index));
    let kind = if mount.is_some_and(MountPlan::is_proc) { "proc" } else { "sysfs" };
    let path = mount.map(|mount| mount.target.path.to_string_lossy().into_owned()).unwrap_or_default();
    Error::invalid(format!("filesystem \"{kind}\" must be mounted on ordinary directory, not on `{path}`"))
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
        // As other runtimes say it: the interpreter of a script may be what is missing.
        Errno::NOENT | Errno::NOTDIR => Error::errno(Kind::CommandNotFound, format!("exec {program}"), errno),
        _ => Error::errno(Kind::CommandNotExecutable, format!("execute `{program}`"), errno),
    }
}
