//! Starting, joining, signalling, ending and removing workloads.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use holm_runtime::cgroup::{Hierarchies, open_keepers_group};
use holm_runtime::release::remove_workload;
use holm_spec::Id;
use holm_spec::keeper::{ExecProcess, PROTOCOL, Request, Streams, WindowSize};
use holm_spec::layout::{SOCKET_NAME, STAGED_PREFIX, SandboxPaths, keepers_cgroup};
use holm_spec::machine::Machine;
use holm_spec::network::Attachment;
use holm_spec::rootfs::LayerMount;
use holm_spec::signal;
use holm_spec::workload::{Config, Status};
use holm_sys::exec::{StringArray, execute_descriptor};
use holm_sys::file::{ensure_directory, remove_tree};
use holm_sys::lock::{Lock, Mode};
use holm_sys::process::{Child, CloneOptions, clone};
use holm_sys::{Errno, fail_point, mount, process, socket};
use rustix::event::{PollFd, PollFlags, poll};

use crate::session::{self, Beginning, Cause, Event, Session};
use crate::{Created, Engine, Error, Kind, PAUSED, Result, host};

/// How long a new keeper may take to take over.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(2);
/// How long an exec waits for who changes the workload; it does without their leave then.
const EXEC_PATIENCE: Duration = Duration::from_secs(2);
/// How long SIGKILL may take to end a workload.
const KILL_PATIENCE: Duration = Duration::from_secs(30);

/// What is prepared on this host for each start of a workload.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The virtual machine, if it is in one.
    pub machine: Option<Machine>,
    /// Layers that this host mounts: those of a container's root, and of images that are mounted in the workload.
    layers: Vec<LayerMount>,
    /// Its networks.
    networks: Vec<Attachment>,
}

impl Ground {
    pub(crate) fn of(config: Config) -> Self {
        let Config { machine, root, settings, .. } = config;
        // A machine reads the layers' files of its root itself.
        let mut layers = if machine.is_some() { Vec::new() } else { root.layers };
        layers.extend(settings.mounts.into_iter().flat_map(|mount| mount.layers));
        Self { machine, layers, networks: settings.networks }
    }
}

impl Engine {
    /// Starts a created or exited workload and joins it; its program runs when this returns.
    ///
    /// # Errors
    /// [`Kind::StillRunning`], [`Kind::CommandNotFound`], [`Kind::CommandNotExecutable`], or whatever
    /// the keeper met.
    pub fn start(&self, id: &Id, beginning: Beginning<'_>) -> Result<Session> {
        let _lock = self.lock_workload(id)?;
        self.start_locked(id, &Ground::of(self.config(id)?), beginning)
    }

    /// Starts a workload right after its creation, before anybody else can touch it.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_created(&self, created: Created, beginning: Beginning<'_>) -> Result<Session> {
        self.start_locked(&created.id, &created.ground, beginning)
    }

    pub(crate) fn start_locked(&self, id: &Id, ground: &Ground, beginning: Beginning<'_>) -> Result<Session> {
        let Beginning { streams, window, signals, restarts, env } = beginning;
        let sandbox = self.stage_sandbox(id)?;
        let undo = |_: &Error| drop(remove_tree(&sandbox.paths.dir));
        self.prepare(ground, &sandbox.paths).inspect_err(undo)?;
        let (ours, theirs) =
            socket::packet_pair().map_err(|errno| Error::io("make a socket for the keeper", errno))?;
        // Lies in the socket before the keeper looks.
        session::send(
            ours.as_fd(),
            &Request::Start { protocol: PROTOCOL, workload: *id, streams, window, restarts, env },
        )?;
        let mode = KeeperMode::Start { handoff: &theirs };
        let keeper = self.spawn_keeper(id, &sandbox, &mode).inspect_err(undo)?;
        drop((theirs, sandbox));
        fail_point::reached("start-keeper-spawned");
        Session::confirm(ours, Some(keeper), signals)
    }

    fn prepare(&self, ground: &Ground, sandbox: &SandboxPaths) -> Result<()> {
        self.store.prepare_layers(&ground.layers)?;
        self.ensure_resolvers(&ground.networks)?;
        ground.machine.as_ref().map_or(Ok(()), |machine| self.prepare_launch(machine, sandbox))
    }

    pub(crate) fn lock_workload(&self, id: &Id) -> Result<Lock> {
        const NOT_THERE: i32 = 2;
        let paths = self.layout.workload(id);
        let gone = || Error::new(Kind::NoSuchWorkload, format!("no such workload: `{}`", id.short()));
        if !paths.dir.exists() {
            return Err(gone());
        }
        Lock::acquire(&paths.lock(), Mode::Exclusive).map_err(|error| {
            // Removed while this waited.
            if error.errno() == Some(NOT_THERE) { gone() } else { error.into() }
        })
    }

    /// Makes the sandbox's directory with its lock held, in one step for everybody else.
    fn stage_sandbox(&self, id: &Id) -> Result<Sandbox> {
        let paths = self.layout.sandbox(id);
        if paths.dir.exists() {
            return Err(Error::new(Kind::StillRunning, format!("workload {} runs already", id.short())));
        }
        let staged = SandboxPaths { dir: self.layout.sandboxes().join(format!("{STAGED_PREFIX}{id}")) };
        let failed = |error: std::io::Error| Error::io(format!("make `{}`", paths.dir.display()), error);
        ensure_directory(&staged.dir, 0o700).map_err(failed)?;
        let lock = Lock::create_held(&staged.dir, "lock")?;
        fail_point::reached("start-sandbox-staged");
        if let Err(error) = std::fs::rename(&staged.dir, &paths.dir) {
            let _ = remove_tree(&staged.dir);
            return Err(failed(error));
        }
        fail_point::reached("start-sandbox-published");
        Ok(Sandbox { paths, lock })
    }

    /// Lets a new keeper take over a workload that lives, with the lock of its sandbox; says whether it did.
    pub(crate) fn spawn_adopter(&self, id: &Id, lock: Lock) -> Result<bool> {
        let sandbox = Sandbox { paths: self.layout.sandbox(id), lock };
        let keeper = self.spawn_keeper(id, &sandbox, &KeeperMode::Adopt)?;
        drop(sandbox);
        // It answers once it watches the process and holds the layers.
        let deadline = Instant::now() + ADOPTION_PATIENCE;
        while !self.has_keeper(id) {
            if ends_within(&keeper, Duration::from_millis(1)) || Instant::now() > deadline {
                // It may have answered somebody else, with the workload's end.
                return Ok(!ends_within(&keeper, Duration::ZERO) && self.has_keeper(id));
            }
        }
        Ok(true)
    }

    /// Executes the keeper: in a session and a cgroup of its own, with nothing of the caller's but what
    /// it needs, from a read-only mount so that no container can write to its file through /proc.
    fn spawn_keeper(&self, id: &Id, sandbox: &Sandbox, mode: &KeeperMode<'_>) -> Result<Child> {
        let (name, last) = match mode {
            KeeperMode::Start { handoff } => ("start", handoff.as_raw_fd().to_string()),
            KeeperMode::Adopt => ("adopt", id.to_string()),
        };
        let arguments = arguments(
            &self.layout.root,
            &self.layout.run,
            &[name, &id.to_string(), &sandbox.lock.as_fd().as_raw_fd().to_string(), &last],
        );
        let kept = [Some(sandbox.lock.as_fd()), mode.handoff()];
        self.spawn_program("holm-keeper", &arguments, &kept)
    }

    /// Executes a program of ours that outlives this command, in a session of its own and in the cgroup of keepers, with
    /// nothing of the caller's but these descriptors.
    pub(crate) fn spawn_program(
        &self,
        name: &str,
        arguments: &StringArray,
        kept: &[Option<BorrowedFd<'_>>],
    ) -> Result<Child> {
        let program = host::helper(name)?;
        let failed = |errno| Error::io(format!("execute `{}`", program.display()), errno);
        let binary = read_only_binary(&program).map_err(failed)?;
        let group = self.keepers_group()?;
        let null = rustix::fs::open(
            "/dev/null",
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .map_err(|errno| Error::io("open `/dev/null`", errno))?;
        let environment = StringArray::new(
            std::env::var("HOLM_FAIL_POINT").map(|point| format!("HOLM_FAIL_POINT={point}")),
        )
        .expect("a variable of the environment holds no NUL byte");
        let options = CloneOptions { cgroup: group.as_ref().map(AsFd::as_fd), ..CloneOptions::default() };
        clone(&options, || {
            // Nothing here allocates; an exit code of 125 shows as an end before the first answer.
            let prepare = || -> std::result::Result<(), Errno> {
                rustix::process::setsid()?;
                process::reset_signals();
                process::close_on_exec_from(3)?;
                (0..3).try_for_each(|number| process::place_descriptor(null.as_fd(), number))?;
                kept.iter().flatten().try_for_each(|fd| process::place_descriptor(*fd, fd.as_raw_fd()))?;
                rustix::process::chdir(c"/")
            };
            if prepare().is_ok() {
                execute_descriptor(binary.as_fd(), arguments, &environment);
            }
            125
        })
        .map_err(failed)
    }

    fn keepers_group(&self) -> Result<Option<OwnedFd>> {
        let hierarchies = Hierarchies::detect()?;
        Ok(open_keepers_group(&hierarchies, &keepers_cgroup(self.cgroup_parent()))?)
    }

    /// Whether a keeper answers for the workload.
    fn has_keeper(&self, id: &Id) -> bool {
        let request = Request::Attach { protocol: PROTOCOL, workload: *id, streams: Streams::NONE };
        self.try_connect(id).ok().flatten().is_some_and(|socket| Session::begin(socket, &request).is_ok())
    }

    /// Connects to the keeper of a running workload; one whose keeper was killed gets a new one first, for
    /// "it does not run" would be no true answer.
    fn connect(&self, id: &Id) -> Result<OwnedFd> {
        let deadline = Instant::now() + ADOPTION_PATIENCE;
        loop {
            if let Some(socket) = self.try_connect(id)? {
                return Ok(socket);
            }
            self.repair_sandbox(id, &self.layout.sandbox(id).dir)?;
            if let Some(socket) = self.try_connect(id)? {
                return Ok(socket);
            }
            // One that was killed just now holds its lock until the kernel has taken it down.
            if !self.can_be_adopted(id) || Instant::now() > deadline {
                let text = format!("workload `{}` is not running", id.short());
                return Err(Error::new(Kind::NotRunning, text));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Asks the keeper of a running workload; if that was killed before it read the request, the next one.
    fn ask<T>(&self, id: &Id, ask: impl Fn(OwnedFd) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + ADOPTION_PATIENCE;
        loop {
            match ask(self.connect(id)?) {
                Err(error) if error.kind() == Kind::Unread && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                answer => return answer,
            }
        }
    }

    pub(crate) fn try_connect(&self, id: &Id) -> Result<Option<OwnedFd>> {
        match socket::connect_packets(&self.layout.sandbox(id).dir, SOCKET_NAME) {
            Ok(socket) => Ok(Some(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(Error::io(format!("connect to the keeper of {}", id.short()), errno)),
        }
    }

    /// Joins a running workload.
    ///
    /// # Errors
    /// [`Kind::NotRunning`].
    pub fn attach(&self, id: &Id, streams: Streams) -> Result<Session> {
        let request = Request::Attach { protocol: PROTOCOL, workload: *id, streams };
        self.ask(id, |socket| Session::begin(socket, &request))
    }

    /// Runs another process in a running workload.
    ///
    /// # Errors
    /// [`Kind::NotRunning`], [`Kind::Paused`], [`Kind::CommandNotFound`], [`Kind::CommandNotExecutable`].
    pub fn exec(
        &self,
        id: &Id,
        process: ExecProcess,
        streams: Streams,
        window: Option<WindowSize>,
    ) -> Result<Session> {
        // While it is held nobody pauses the workload: a process that is born frozen holds up its keeper.
        let lock = self.layout.workload(id).lock();
        let _lock = Lock::acquire_within(&lock, Mode::Shared, EXEC_PATIENCE);
        self.refuse_if_paused(id, "run a command in")?;
        let request = Request::Exec { protocol: PROTOCOL, workload: *id, process, streams, window };
        self.ask(id, |socket| Session::begin(socket, &request))
    }

    /// Sends a signal to a running workload's first process.
    ///
    /// # Errors
    /// [`Kind::NotRunning`].
    pub fn kill(&self, id: &Id, signal: i32) -> Result<()> {
        let request = Request::Signal { protocol: PROTOCOL, workload: *id, signal };
        self.ask(id, |socket| session::ask(socket.as_fd(), &request))?;
        if let Ok(config) = self.config(id) {
            self.tell(&config, "kill", [("signal", signal.to_string())]);
        }
        Ok(())
    }

    /// Asks a workload to end and kills it after `timeout` (its own if absent; `Some(None)` waits for
    /// ever). Fine if it does not run.
    pub fn stop(&self, id: &Id, signal: Option<i32>, timeout: Option<Option<Duration>>) -> Result<()> {
        self.end(id, signal, timeout, Cause::Request)
    }

    /// As [`Engine::stop`], because the host goes down: once it is up again, the workload has run until then.
    ///
    /// # Errors
    /// As [`Engine::stop`].
    pub fn stop_for_shutdown(&self, id: &Id) -> Result<()> {
        self.end(id, None, None, Cause::Shutdown)
    }

    fn end(&self, id: &Id, signal: Option<i32>, timeout: Option<Option<Duration>>, why: Cause) -> Result<()> {
        let config = self.config(id)?;
        let own = config.stop_timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let signal = signal.unwrap_or(config.stop_signal);
        if self.end_with(id, signal, deadline(timeout.unwrap_or(own)), why)?
            || self.end_with(id, signal::KILL, deadline(Some(KILL_PATIENCE)), why)?
        {
            self.tell(&config, "stop", []);
            return Ok(());
        }
        Err(outlived_its_kill(id))
    }

    /// Sends a signal and waits for the workload's end, with another keeper if one is killed meanwhile; false if it
    /// takes longer.
    fn end_with(&self, id: &Id, signal: i32, deadline: Option<Instant>, why: Cause) -> Result<bool> {
        loop {
            match self.attach(id, Streams::NONE) {
                Err(error) if error.kind() == Kind::NotRunning => {
                    if self.cancel_restart(id)? {
                        return Ok(true);
                    }
                    // Or so says a keeper that was killed before it answered.
                    let repaired = self.repair_sandbox(id, &self.layout.sandbox(id).dir)?.is_some();
                    // It may have come back meanwhile, or is about to be gone.
                    if !repaired && !self.is_up(id) {
                        return Ok(true);
                    }
                    if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                        return Ok(false);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error),
                Ok(mut session) => {
                    session.end_by(signal, why)?;
                    match wait_for_end(&mut session, deadline)? {
                        Wait::Ended => return Ok(true),
                        Wait::TooLong => return Ok(false),
                        Wait::KeeperGone => {}
                    }
                }
            }
        }
    }

    /// Whether a workload runs, or is about to.
    fn is_up(&self, id: &Id) -> bool {
        let up = [Status::Running, Status::Restarting];
        self.workload(id).is_ok_and(|workload| up.contains(&workload.state.status))
    }

    /// Waits until a workload does not run; its exit code.
    pub fn wait(&self, id: &Id) -> Result<i32> {
        match self.attach(id, Streams::NONE) {
            Err(error) if error.kind() == Kind::NotRunning => Ok(self.workload(id)?.state.exit_code),
            Err(error) => Err(error),
            Ok(mut session) => {
                let mut code = None;
                loop {
                    match session.receive()? {
                        Event::Exited { code: ended, .. } => code = Some(ended),
                        Event::Closed => break,
                        _ => {}
                    }
                }
                // A keeper that was killed says nothing; the state does.
                code.map_or_else(|| Ok(self.workload(id)?.state.exit_code), Ok)
            }
        }
    }

    /// Removes a workload and everything of it; a running one only with `force`, by SIGKILL. With `volumes` those of its
    /// volumes go along that nobody named and no other workload has.
    ///
    /// # Errors
    /// [`Kind::StillRunning`] without `force`.
    pub fn remove(&self, id: &Id, force: bool, volumes: bool) -> Result<()> {
        let name = self.name_to_release(id)?;
        for _ in 0..REMOVE_ATTEMPTS {
            let lock = match self.lock_workload(id) {
                // It was started with --rm, and so its keeper has removed it.
                Err(error) if error.kind() == Kind::NoSuchWorkload => return Ok(()),
                other => other?,
            };
            if self.make_sure_it_is_down(id)? {
                self.settle_volumes(id, volumes)?;
                let config = self.config(id).ok();
                remove_workload(&self.layout, id, &name)?;
                if let Some(config) = config {
                    self.tell(&config, "destroy", []);
                }
                // Or it is done by the next command.
                self.volumes().release(id)?;
                return Ok(());
            }
            drop(lock);
            match self.attach(id, Streams::NONE) {
                Ok(_) if !force => {
                    let state = if self.is_frozen(id) { PAUSED } else { "running" };
                    let message = format!("remove workload `{name}`: it is {state}");
                    return Err(Error::new(Kind::StillRunning, message));
                }
                Ok(mut session) => kill_and_wait(&mut session, id)?,
                Err(error) if error.kind() == Kind::NotRunning => {
                    if !force && self.is_restarting(id) {
                        let message = format!("remove workload `{name}`: it is restarting");
                        return Err(Error::new(Kind::StillRunning, message));
                    }
                    // Or it is on its way out.
                    if !force || !self.cancel_restart(id)? {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(
            Kind::StillRunning,
            format!("remove workload `{name}`: it is started again and again"),
        ))
    }

    /// Whether nothing of a workload runs; one whose keeper is dead is buried. The caller holds its lock,
    /// so nobody starts it meanwhile.
    fn make_sure_it_is_down(&self, id: &Id) -> Result<bool> {
        let sandbox = self.layout.sandbox(id);
        if !sandbox.dir.exists() {
            return Ok(true);
        }
        let Ok(Some(_lock)) = Lock::try_acquire(&sandbox.lock(), Mode::Exclusive) else { return Ok(false) };
        self.bury(id, "its keeper was killed")?;
        Ok(true)
    }
}

/// Whether a process ends within this time; it is reaped then.
fn ends_within(child: &Child, time: Duration) -> bool {
    let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    let ended =
        poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&time)).is_ok_and(|count| count > 0);
    if ended {
        // An error is one that was reaped already.
        let _ = process::wait(child.pidfd.as_fd());
    }
    ended
}

/// How often a removal looks again at a workload that others start and end.
const REMOVE_ATTEMPTS: usize = 500;

/// A sandbox's directory, published, and the lock that its keeper will hold.
struct Sandbox {
    paths: SandboxPaths,
    lock: Lock,
}

/// What a new keeper begins with.
enum KeeperMode<'a> {
    Start { handoff: &'a OwnedFd },
    Adopt,
}

impl KeeperMode<'_> {
    fn handoff(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Start { handoff } => Some(handoff.as_fd()),
            Self::Adopt => None,
        }
    }
}

/// The program through a detached read-only mount: /proc/<pid>/exe leads to a file that cannot be
/// opened for writing, whoever finds the process inside a container.
fn read_only_binary(program: &Path) -> std::result::Result<OwnedFd, Errno> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(program.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    mount::clone_read_only(rustix::fs::CWD, &path)
}

fn arguments(root: &Path, run: &Path, [mode, id, lock, last]: &[&str; 4]) -> StringArray {
    use std::os::unix::ffi::OsStrExt;
    let arguments: [&[u8]; 7] = [
        b"holm-keeper",
        mode.as_bytes(),
        root.as_os_str().as_bytes(),
        run.as_os_str().as_bytes(),
        id.as_bytes(),
        lock.as_bytes(),
        last.as_bytes(),
    ];
    StringArray::new(arguments).expect("a path of an open directory holds no NUL byte")
}

fn kill_and_wait(session: &mut Session, id: &Id) -> Result<()> {
    session.end_by(signal::KILL, Cause::Request)?;
    match wait_for_end(session, deadline(Some(KILL_PATIENCE)))? {
        Wait::TooLong => Err(outlived_its_kill(id)),
        Wait::Ended | Wait::KeeperGone => Ok(()),
    }
}

fn outlived_its_kill(id: &Id) -> Error {
    Error::new(Kind::Failed, format!("workload {} did not end within 30 seconds of SIGKILL", id.short()))
}

/// When a time from now is over; never, if that is further than a clock counts.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// How a wait for a workload's end came out.
enum Wait {
    /// Its keeper has told its end and taken everything down.
    Ended,
    TooLong,
    /// Its keeper was killed before it told anything.
    KeeperGone,
}

/// Waits until the keeper has taken everything down.
fn wait_for_end(session: &mut Session, deadline: Option<Instant>) -> Result<Wait> {
    let mut ended = false;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| rustix::event::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&*session, PollFlags::IN)], left.as_ref()) {
            Ok(0) => return Ok(Wait::TooLong),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::io("wait for the keeper", errno)),
        }
        match session.receive()? {
            Event::Exited { .. } => ended = true,
            Event::Closed if ended => return Ok(Wait::Ended),
            Event::Closed => return Ok(Wait::KeeperGone),
            _ => {}
        }
    }
}
