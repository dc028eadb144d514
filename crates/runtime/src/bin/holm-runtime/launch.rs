//! What `create` and `run` have in common: from a bundle to a process that is held or runs.

use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_runtime::bundle::Bundle;
use holm_runtime::capability::ProcessCapabilities;
use holm_runtime::container::{self, Start, StartOptions, Word};
use holm_runtime::hooks::{self, Place, Point};
use holm_runtime::landlock::Landlock;
use holm_runtime::network;
use holm_runtime::resctrl::Placement;
use holm_runtime::rootfs::Root;
use holm_runtime::rootless;
use holm_runtime::seccomp;
use holm_runtime::state::{Container, Record, VERSION};
use holm_runtime::{Error, Event, NewTerminal, Result, Stdio};
use holm_spec::Timestamp;
use holm_spec::keeper::WindowSize;
use holm_spec::runtime::{LinuxNamespaceType, Process, Spec};
use holm_sys::process::Child;

use crate::arguments::Global;
use crate::arguments::plain::Plain;
use crate::command::state::document;
use crate::console;
use crate::groups::Groups;
use crate::readiness;

/// Options of `create` and `run`.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    pub bundle: PathBuf,
    /// Socket to send the master of the terminal to
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,
    /// Socket to send a descriptor of the process to
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,
    /// File to write the process's number to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Change the root without pivot_root
    #[arg(long)]
    pub no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub no_new_keyring: bool,
    /// Number of descriptors from 3 on that the process inherits
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub preserve_fds: u32,
}

impl Options {
    /// Takes what is plain.
    pub fn read(plain: &mut Plain<'_>) -> Option<Self> {
        Some(Self {
            bundle: plain.path("bundle").unwrap_or_else(|| ".".into()),
            console_socket: plain.path("console-socket"),
            pidfd_socket: plain.path("pidfd-socket"),
            pid_file: plain.path("pid-file"),
            no_pivot: plain.switch("no-pivot"),
            no_new_keyring: plain.switch("no-new-keyring"),
            preserve_fds: plain.number("preserve-fds", 0)?,
        })
    }
}

/// A container whose first process is there and held until it is started.
pub struct Launched {
    pub container: Container,
    pub process: Child,
    /// Master of the terminal, unless it was sent away.
    pub terminal: Option<OwnedFd>,
}

/// Whether the caller waits for the process.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It does not.
    Detach,
    /// It does.
    Foreground,
}

/// Makes a container. Nothing is left of one that fails.
pub fn launch(id: &str, options: &Options, mode: Mode, global: &Global) -> Result<Launched> {
    // Before anything is opened: what is open now came from the caller.
    let preserved = preserved_descriptors(options.preserve_fds);
    let pid_file = options.pid_file.as_deref().map(std::path::absolute).transpose();
    let pid_file = pid_file.map_err(|error| Error::system("find the pid file", error))?;
    let containers = global.containers()?;
    let mut bundle = ManuallyDrop::new(Bundle::load(&options.bundle, &containers.seccomp_cache())?);
    pass_on_listeners(&mut bundle.spec, &preserved);
    if !bundle.unknown_capabilities.is_empty() {
        let names = bundle.unknown_capabilities.join(" ");
        crate::talk::warn(&format!("ignoring unknown or unavailable capabilities: [{names}]"));
    }
    warn_of_ambient(bundle.spec.process().as_ref());
    let terminal = check_terminal(&bundle.spec, options.console_socket.as_deref(), mode)?;
    let root = bundle.root()?;
    let claim = containers.claim(id)?;
    readiness::prepare(&mut bundle.spec, &claim)?;
    let groups = Groups::make(id, &bundle, &claim, global.systemd_cgroup)?;
    let placement = Placement::make(&bundle.spec, id, &claim)?;
    warn_of_orphans(&bundle.spec, &groups);
    rootless::enter(&mut bundle.spec)?;
    let spec = &bundle.spec;
    let seccomp = seccomp::container_filter(spec, bundle.filter.clone(), &containers.seccomp_cache())?;
    // Also for `run`: a program must not run before it is written down that it does.
    let hold = Some(claim.make_hold()?);
    let meets = [Point::Prestart, Point::CreateRuntime, Point::CreateContainer]
        .iter()
        .any(|point| !hooks::at(spec, *point).is_empty());
    let start = Start {
        spec,
        root: Root::Directory(&root),
        bundle: &bundle.directory,
        group: groups.group(),
        user: None,
        seccomp: seccomp.as_ref().map(|filter| filter.program.clone()),
        stdio: if terminal {
            Stdio::Terminal(NewTerminal {
                window: spec.process().as_ref().and_then(window),
                plain_output: mode == Mode::Foreground,
            })
        } else {
            Stdio::Descriptors(standard_streams())
        },
        options: StartOptions {
            hold,
            dies_with_parent: false,
            blocks_signals: false,
            meet_when_mounted: meets,
            no_pivot: options.no_pivot,
            landlock: landlock(spec.process().as_ref())?,
            keep_keyring: options.no_new_keyring,
            preserved,
        },
    };
    let mut answer = |event: Event, child: &Child| match event {
        // While the process mounts.
        Event::Made => {
            groups.guard_devices()?;
            placement.admit(child.pid.as_raw_nonzero().get())?;
            network::move_devices(&bundle.spec, child.pid)?;
            claim.note_configuration(&bundle.document)
        }
        Event::Mounted => run_creation_hooks(id, &bundle, &root, child),
        Event::Listener(listener) => {
            let asked = seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
            console::send_listener(
                asked,
                &listener,
                id,
                &bundle,
                child.pid.as_raw_nonzero().get(),
                "creating",
            )
        }
    };
    let started = container::start(start, &mut answer)?;
    holm_sys::fail_point::reached("keeper-process-started");
    let process = KillGuard::new(started.process);
    let terminal = console::hand_over(started.terminal, options.console_socket.as_deref())?;
    console::send_pidfd(options.pidfd_socket.as_deref(), "standard", process.child())?;
    let mut record = record(id, &bundle, &root, &groups, process.child());
    record.seccomp = seccomp.map(|filter| filter.document.to_string());
    record.resctrl = placement.membership().cloned();
    let container = claim.complete(record)?;
    let written = pid_file.as_deref().map_or(Ok(()), |file| write_pid_file(file, process.child()));
    if let Err(error) = written.and_then(|()| started.word.map_or(Ok(()), Word::give)) {
        drop(process);
        drop(groups);
        drop(placement);
        container.forget()?;
        return Err(error);
    }
    groups.keep();
    placement.keep();
    Ok(Launched { container, process: process.keep(), terminal })
}

/// Access to files that the process gives up, as far as this kernel can make it.
pub fn landlock(process: Option<&Process>) -> Result<Option<Landlock>> {
    let Some(asked) = process.and_then(|process| process.landlock().as_ref()) else { return Ok(None) };
    let (landlock, lacking) = Landlock::from_oci(asked)?.fit()?;
    if let Some(lacking) = lacking {
        crate::talk::warn(&format!("process.landlock: {lacking}"));
    }
    Ok(landlock)
}

/// Without process ids of its own and without a control group nothing ties a container's processes together.
fn warn_of_orphans(spec: &Spec, groups: &Groups) {
    if groups.path().is_none() && !has_namespace(spec, LinuxNamespaceType::Pid) {
        crate::talk::warn(
            "the container has neither process ids of its own nor a control group: what its first process leaves \
             running cannot be ended. Such configuration is strongly discouraged",
        );
    }
}

fn has_namespace(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    list.unwrap_or_default().iter().any(|namespace| namespace.typ() == kind)
}

/// Says which capabilities cannot be ambient, in runc's words.
pub fn warn_of_ambient(process: Option<&Process>) {
    let sets = ProcessCapabilities::from_oci(process.and_then(|process| process.capabilities().as_ref()));
    for name in sets.never_ambient().names() {
        crate::talk::warn(&format!("can't raise ambient capability {name}: operation not permitted"));
    }
}

/// Those of the caller's descriptors from 3 on that are open, and those that were announced by systemd.
pub fn preserved_descriptors(count: u32) -> Vec<i32> {
    let last = count.saturating_add(listeners()).min(65_536);
    let numbers = (3..3 + i32::try_from(last).unwrap_or(0))
        .filter(|number| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    numbers.collect()
}

/// Descriptors of socket activation (sd_listen_fds(3)) that are for this process.
fn listeners() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(std::process::id()) {
        return 0;
    }
    number("LISTEN_FDS").unwrap_or(0)
}

fn pass_on_listeners(spec: &mut Spec, preserved: &[i32]) {
    let count = listeners().min(u32::try_from(preserved.len()).unwrap_or(0));
    if count == 0 {
        return;
    }
    if let Some(process) = spec.process_mut() {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.extend([format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()]);
        process.set_env(Some(environment));
    }
}

/// Whether the process gets a terminal, and somebody takes it.
pub fn check_terminal(spec: &Spec, console_socket: Option<&Path>, mode: Mode) -> Result<bool> {
    let terminal = spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false);
    let detached = mode != Mode::Foreground;
    if terminal && detached && console_socket.is_none() {
        return Err(Error::invalid("cannot allocate tty if runc will detach without setting console socket"));
    }
    if console_socket.is_some() && !(terminal && detached) {
        return Err(Error::invalid("cannot use console socket if runc will not detach or allocate tty"));
    }
    Ok(terminal)
}

/// The size that a process's terminal begins with.
pub fn window(process: &Process) -> Option<WindowSize> {
    let size = process.console_size()?;
    let number = |value: u64| u16::try_from(value).ok().filter(|value| *value != 0);
    Some(WindowSize { rows: number(size.height())?, columns: number(size.width())? })
}

pub fn standard_streams() -> [BorrowedFd<'static>; 3] {
    use holm_sys::rustix::stdio::{stderr, stdin, stdout};
    [stdin(), stdout(), stderr()]
}

/// A process that is ended unless the container comes to be.
pub struct KillGuard(Option<Child>);

impl KillGuard {
    pub fn new(child: Child) -> Self {
        Self(Some(child))
    }

    pub fn child(&self) -> &Child {
        self.0.as_ref().expect("it is there until the guard is given up")
    }

    pub fn keep(mut self) -> Child {
        self.0.take().expect("it is there until the guard is given up")
    }
}

impl Drop for KillGuard {
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            container::end(child);
        }
    }
}

fn run_creation_hooks(id: &str, bundle: &Bundle, root: &Path, child: &Child) -> Result<()> {
    let pid = child.pid.as_raw_nonzero().get();
    let state = document(id, "creating", Some(pid), &bundle.directory, bundle.spec.annotations().as_ref());
    let outside = Place::Runtime(Some(&bundle.directory));
    hooks::run(&bundle.spec, Point::Prestart, &state, outside)?;
    hooks::run(&bundle.spec, Point::CreateRuntime, &state, outside)?;
    let inside = Place::Container(child, root);
    hooks::run(&bundle.spec, Point::CreateContainer, &state, inside)
}

pub fn record(id: &str, bundle: &Bundle, root: &Path, groups: &Groups, child: &Child) -> Record {
    let pid = child.pid.as_raw_nonzero().get();
    let namespaces = bundle.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref());
    let namespaces = namespaces.unwrap_or_default();
    let own = |kind| namespaces.iter().any(|namespace| namespace.typ() == kind && namespace.path().is_none());
    Record {
        version: VERSION,
        id: id.to_owned(),
        bundle: bundle.directory.clone(),
        root: root.to_owned(),
        created: Timestamp::from_nanos(holm_sys::process::now()),
        pid,
        pid_start: holm_sys::process::start_time(pid).unwrap_or(0),
        group: groups.path().map(Path::to_owned),
        unit: groups.unit().map(str::to_owned),
        resctrl: None,
        own_pids: own(LinuxNamespaceType::Pid),
        attached: !has_namespace(&bundle.spec, LinuxNamespaceType::Mount),
        descriptors: standard_descriptors(pid),
        hooks: Some(hooks::points(&bundle.spec)),
        seccomp: None,
        annotations: bundle
            .spec
            .annotations()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    }
}

/// What the standard streams of a process are; less if they cannot be told.
fn standard_descriptors(pid: i32) -> Vec<String> {
    let links = (0..3).map_while(|number| std::fs::read_link(format!("/proc/{pid}/fd/{number}")).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

/// The number and nothing else: callers read the whole file as a number. Never seen half written.
pub fn write_pid_file(file: &Path, child: &Child) -> Result<()> {
    let failed = |error| Error::system(format!("write pid file `{}`", file.display()), error);
    let name = file.file_name().map(|name| format!(".{}", name.to_string_lossy()));
    let name =
        name.ok_or_else(|| Error::invalid(format!("`{}` is no name for a pid file", file.display())))?;
    let partial = file.with_file_name(name);
    let _ = std::fs::remove_file(&partial);
    std::fs::write(&partial, child.pid.as_raw_nonzero().to_string()).map_err(failed)?;
    std::fs::rename(&partial, file).map_err(failed)
}
