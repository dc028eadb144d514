//! `holm-runtime exec`: another process in a container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_runtime::bundle::parse_as;
use holm_runtime::cgroup::SubGroup;
use holm_runtime::container::{self, Exec};
use holm_runtime::state::Container;
use holm_runtime::{Affinity, Error, Event, Kind, NewTerminal, Result, Stdio, process_affinity, seccomp};
use holm_spec::runtime::{Process, Spec};
use holm_sys::attributes::set_affinity;
use holm_sys::file::read_limited;
use holm_sys::process::Child;

use crate::arguments::Global;
use crate::arguments::plain::Plain;
use crate::console;
use crate::foreground::{self, Signals};
use crate::launch::{
    KillGuard, landlock, preserved_descriptors, standard_streams, warn_of_ambient, window, write_pid_file,
};
use crate::start::bundle_of;

/// Longest process document that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Run another process in a container
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: that of the process, 128 + n for signal n; 255 if it could not be run.\n\nExamples:\n  \
                        holm-runtime exec -t box sh\n  holm-runtime exec --process process.json --detach box"
)]
pub struct Args {
    /// Socket to send the master of the terminal to
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Socket to send a descriptor of the process to
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Give the process a terminal
    #[arg(short, long)]
    tty: bool,
    /// User and group, by number
    #[arg(short, long, value_name = "UID[:GID]", allow_hyphen_values = true)]
    user: Option<String>,
    /// Further groups, by number
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Document that describes the process
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Do not wait for the process
    #[arg(short, long)]
    detach: bool,
    /// File to write the process's number to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// Let the process gain no privileges
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    no_new_privs: Option<bool>,
    /// Add a capability
    #[arg(short, long, value_name = "CAPABILITY")]
    cap: Vec<String>,
    /// Number of descriptors from 3 on that the process inherits
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    preserve_fds: u32,
    /// Control group below the container's
    #[arg(long, value_name = "PATH")]
    cgroup: Vec<String>,
    /// Do it in a paused container, too
    #[arg(long)]
    ignore_paused: bool,
    /// Id of the container, and the command with its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "ID [COMMAND]")]
    pub id_and_command: Vec<String>,
}

impl Args {
    /// Reads what is plain.
    pub fn read(mut plain: Plain<'_>) -> Option<Self> {
        let groups = plain.list("additional-gids");
        let args = Self {
            console_socket: plain.path("console-socket"),
            pidfd_socket: plain.path("pidfd-socket"),
            cwd: plain.path("cwd"),
            env: plain.list("env"),
            tty: plain.switch("tty"),
            user: plain.text("user"),
            additional_gids: groups.iter().map(|group| group.parse().ok()).collect::<Option<_>>()?,
            process: plain.path("process"),
            detach: plain.switch("detach"),
            pid_file: plain.path("pid-file"),
            process_label: plain.text("process-label"),
            apparmor: plain.text("apparmor"),
            no_new_privs: None,
            cap: plain.list("cap"),
            preserve_fds: plain.number("preserve-fds", 0)?,
            cgroup: plain.list("cgroup"),
            ignore_paused: plain.switch("ignore-paused"),
            id_and_command: Vec::new(),
        };
        let id_and_command = plain.others().filter(|words| !words.is_empty())?;
        Some(Self { id_and_command, ..args })
    }
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    exec(args, global).map_err(|error| Error::caused(Kind::System, "exec failed", error))
}

fn exec(args: &Args, global: &Global) -> Result<u8> {
    let preserved = preserved_descriptors(args.preserve_fds);
    let (id, command) = args.id_and_command.split_first().expect("one is required");
    let containers = global.containers()?;
    let container = containers.get(id)?;
    let target = target(&container, args)?;
    let (spec, filter) = container.spec_and_filter(&containers.seccomp_cache())?;
    let process = process(args, command, &spec)?;
    let terminal = process.terminal().unwrap_or(false);
    check_terminal(args, terminal)?;
    let signals = (!args.detach).then(Signals::hold).transpose()?;
    let group = container.join_group(&sub_groups(args)?).map_err(|error| {
        Error::caused(error.kind(), "adding pid of the process to cgroups of the container", error)
    })?;
    let seccomp = seccomp::container_filter(&spec, filter, &containers.seccomp_cache())?;
    warn_of_ambient(Some(&process));
    let affinity = process_affinity(&process)?;
    say_affinity(&affinity, global);
    if let Some(processors) = &affinity.initial {
        set_affinity(processors).map_err(|errno| {
            Error::system("run on other processors", errno).at_field("process.execCPUAffinity.initial")
        })?;
    }
    let exec = Exec {
        spec: &spec,
        target: target.as_fd(),
        target_pid: container.record.pid,
        process: &process,
        program: None,
        group: &group,
        user: None,
        seccomp: seccomp.as_ref().map(|filter| filter.program.clone()),
        stdio: if terminal {
            Stdio::Terminal(NewTerminal { window: window(&process), plain_output: !args.detach })
        } else {
            Stdio::Descriptors(standard_streams())
        },
        dies_with_parent: false,
        preserved,
        landlock: landlock(restricted(&process, &spec))?,
        affinity: affinity.last,
        resctrl: container.record.resctrl.as_ref(),
    };
    let mut answer = |event: Event, child: &Child| match event {
        Event::Listener(listener) => {
            let bundle = bundle_of(&container, &spec);
            let asked = seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
            console::send_listener(asked, &listener, id, &bundle, child.pid.as_raw_nonzero().get(), "running")
        }
        Event::Made | Event::Mounted => Ok(()),
    };
    let started = container::exec(exec, &mut answer)?;
    let guard = KillGuard::new(started.process);
    let terminal = console::hand_over(started.terminal, args.console_socket.as_deref())?;
    console::send_pidfd(args.pidfd_socket.as_deref(), "setns", guard.child())?;
    if let Some(file) = &args.pid_file {
        write_pid_file(file, guard.child())?;
    }
    let child = guard.keep();
    let code = match signals {
        Some(signals) => foreground::wait(&signals, &child, terminal.as_ref(), None)?,
        None => 0,
    };
    // All that is held goes with this process. To take it apart is to touch pages that are shared since the child was
    // made, and the kernel has a fault's work with each.
    std::process::exit(code.into())
}

/// A process that says nothing of its own gives up what the container's first does.
fn restricted<'a>(process: &'a Process, spec: &'a Spec) -> Option<&'a Process> {
    if process.landlock().is_some() { Some(process) } else { spec.process().as_ref() }
}

/// Whoever debugs affinities wants to see what was made of the lists.
fn say_affinity(affinity: &Affinity, global: &Global) {
    for words in [&affinity.initial, &affinity.last].into_iter().flatten().filter(|_| global.debug) {
        let mask: String = words.iter().rev().map(|word| format!("{word:x}")).collect();
        crate::talk::debug(&format!("affinity: 0x{mask}"));
    }
}

/// The container's first process, if others may join it.
fn target(container: &Container, args: &Args) -> Result<OwnedFd> {
    let process = container.process();
    let process = process.ok_or_else(|| Error::invalid("cannot exec in a stopped container"))?;
    if !args.ignore_paused && container.is_frozen() {
        return Err(Error::invalid("cannot exec in a paused container (use --ignore-paused to override)"));
    }
    Ok(process)
}

fn check_terminal(args: &Args, terminal: bool) -> Result<()> {
    if terminal && args.detach && args.console_socket.is_none() {
        return Err(Error::invalid("cannot allocate tty if runc will detach without setting console socket"));
    }
    if args.console_socket.is_some() && !(terminal && args.detach) {
        return Err(Error::invalid("cannot use console socket if runc will not detach or allocate tty"));
    }
    Ok(())
}

/// Groups below the container's that were asked for: of some controllers, or of all.
fn sub_groups(args: &Args) -> Result<Vec<SubGroup>> {
    let mut groups = Vec::new();
    for asked in &args.cgroup {
        let (controllers, path) = match asked.split_once(':') {
            Some(("", _)) => {
                return Err(Error::invalid(format!(
                    "invalid --cgroup argument: {asked} (empty <controller> prefix)"
                )));
            }
            Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
            None => (Vec::new(), asked.as_str()),
        };
        let path = Path::new(path.trim_matches('/'));
        if path.components().any(|part| !matches!(part, std::path::Component::Normal(_))) {
            return Err(Error::invalid(format!("bad sub cgroup path: {asked}")));
        }
        groups.push(SubGroup { controllers, path: path.to_owned() });
    }
    let mut names: Vec<&String> = groups.iter().flat_map(|group| &group.controllers).collect();
    names.sort();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid(format!("controller {} specified multiple times", twice[0])));
    }
    Ok(groups)
}

/// The process to run: a document of its own, or the container's with what was asked over it.
fn process(args: &Args, command: &[String], spec: &Spec) -> Result<Process> {
    if let Some(file) = &args.process {
        let text = read_limited(file, DOCUMENT_LIMIT)
            .map_err(|error| Error::system(format!("read `{}`", file.display()), error))?;
        return checked(parse_as(&text, &file.to_string_lossy())?);
    }
    let mut process =
        spec.process().clone().ok_or_else(|| Error::invalid("process property must not be empty"))?;
    if command.is_empty() {
        return Err(Error::invalid("exec args cannot be empty"));
    }
    process.set_args(Some(command.to_vec())).set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    let mut environment = process.env().clone().unwrap_or_default();
    for entry in &args.env {
        let name = entry.split('=').next().unwrap_or(entry);
        environment.retain(|old| old.split('=').next() != Some(name));
        environment.push(entry.clone());
    }
    process.set_env(Some(environment));
    for (asked, set) in [
        (&args.process_label, Process::set_selinux_label as fn(&mut Process, Option<String>) -> &mut Process),
        (&args.apparmor, Process::set_apparmor_profile),
    ] {
        if asked.is_some() {
            set(&mut process, asked.clone());
        }
    }
    if let Some(wanted) = args.no_new_privs {
        process.set_no_new_privileges(Some(wanted));
    }
    set_user(&mut process, args)?;
    add_capabilities(&mut process, &args.cap);
    checked(process)
}

fn checked(process: Process) -> Result<Process> {
    if process.args().as_deref().unwrap_or_default().is_empty() {
        return Err(Error::invalid("args must not be empty"));
    }
    if process.cwd().as_os_str().is_empty() {
        return Err(Error::invalid("Cwd property must not be empty"));
    }
    if !process.cwd().is_absolute() {
        return Err(Error::invalid("Cwd must be an absolute path"));
    }
    Ok(process)
}

/// `uid[:gid]`, numbers only; what is no whole number is refused and not taken for 0.
fn set_user(process: &mut Process, args: &Args) -> Result<()> {
    let mut user = process.user().clone();
    if let Some(asked) = &args.user {
        let (uid, gid) = match asked.split_once(':') {
            Some((uid, gid)) => (uid, Some(gid)),
            None => (asked.as_str(), None),
        };
        let number = |kind: &str, text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = digits.then(|| text.parse().ok()).flatten();
            number.ok_or_else(|| Error::invalid(format!("bad {kind}: `{text}` is no number")))
        };
        user.set_uid(number("uid", uid)?);
        if let Some(gid) = gid {
            user.set_gid(number("gid", gid)?);
        }
    }
    if !args.additional_gids.is_empty() {
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&args.additional_gids);
        user.set_additional_gids(Some(groups));
    }
    process.set_user(user);
    Ok(())
}

/// Never to what is inherited: files could then give back what the process has given up (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let mut sets = process.capabilities().clone().unwrap_or_default();
    for name in names {
        let Ok(capability) = name.trim_start_matches("CAP_").parse() else {
            crate::talk::warn(&format!("ignoring unknown or unavailable capabilities: [{name}]"));
            continue;
        };
        let with = |set: &Option<holm_spec::runtime::Capabilities>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(capability);
            Some(set)
        };
        let (bounding, effective, permitted) =
            (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
        // The kernel lets nothing be ambient that is not inheritable.
        let inherited = sets.inheritable().as_ref().is_some_and(|set| set.contains(&capability));
        let more = if inherited { with(sets.ambient()) } else { sets.ambient().clone() };
        sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted).set_ambient(more);
    }
    process.set_capabilities(Some(sets));
}
