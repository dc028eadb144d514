//! The process to run, prepared before the clone: everything that the child needs, in the form that
//! system calls take.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::keeper::WindowSize;
use holm_spec::runtime::{self, PosixRlimitType, Spec};
use holm_sys::attributes::Scheduling;
use holm_sys::exec::StringArray;
use holm_sys::rustix::process::{Gid, Resource, Rlimit};
use holm_sys::rustix::thread::capabilities;

use crate::attributes;
use crate::capability::{CapabilitySet, ProcessCapabilities};
use crate::error::{Context, Error, Kind, Result};
use crate::landlock::Landlock;
use crate::rootfs::{c_string, path_string};
use crate::seccomp::Program;
use crate::user::Identity;

/// Searched where the environment has no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Kernel's limit of a path, with its end.
const PATH_MAX: usize = 4096;

/// Where standard input, output and error of a process go.
#[derive(Clone, Copy, Debug)]
pub enum Stdio<'a> {
    /// Three descriptors.
    Descriptors([BorrowedFd<'a>; 3]),
    /// A new terminal of the workload's own; its master comes back.
    Terminal(NewTerminal),
}

/// What a new terminal is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewTerminal {
    /// Its size.
    pub window: Option<WindowSize>,
    /// What the program writes comes out as it is: whoever shows it makes line ends.
    pub plain_output: bool,
}

/// FIFOs by which a process is held before its program and by which it tells why it could not run it.
#[derive(Debug)]
pub struct Hold {
    /// The process waits for a byte here; open for reading and writing, so that its end never shows.
    pub start: OwnedFd,
    /// Open for writing; it closes when the program runs.
    pub result: OwnedFd,
}

/// A process, ready to be started.
#[derive(Debug)]
pub(crate) struct ProcessPlan {
    pub arguments: StringArray,
    /// Files to try in turn.
    pub candidates: Vec<CString>,
    pub environment: StringArray,
    /// Working directory.
    pub directory: CString,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<Gid>,
    /// It keeps the groups of whoever starts it instead.
    pub keeps_groups: bool,
    pub umask: u32,
    /// `None` leaves all that the runtime has.
    pub capabilities: Option<ProcessCapabilities>,
    /// Whoever makes the process has dropped what it may never gain.
    pub is_bounded: bool,
    pub no_new_privileges: bool,
    pub seccomp: Option<Program>,
    pub limits: Vec<(Resource, Rlimit)>,
    pub scheduling: Option<Scheduling>,
    /// Class and level.
    pub io_priority: Option<(u32, u32)>,
    pub personality: Option<u32>,
    /// Mode and nodes.
    pub memory_policy: Option<(i32, Vec<u64>)>,
    /// Processors, a bit each.
    pub affinity: Option<Vec<u64>>,
    /// Its group may run on some of the host's processors only.
    pub has_some_processors: bool,
    pub landlock: Option<Landlock>,
    /// Files below `/proc` and the labels to write to them.
    pub labels: Vec<(CString, Vec<u8>)>,
    /// What the keyring of its session is labelled with: by SELinux a process may use keys of its own label only.
    pub key_label: Option<Vec<u8>>,
    /// Descriptors that the last steps and the program need beside the standard streams, ascending.
    pub kept: Vec<i32>,
    pub hold: Option<Hold>,
    pub dies_with_parent: bool,
    /// The program finds all signals blocked.
    pub blocks_signals: bool,
}

impl ProcessPlan {
    /// Prepares `process` of the container that `spec` describes to run as `identity`. One that enters another user
    /// namespace has all capabilities there, whatever this process has.
    pub fn prepare(
        spec: &Spec,
        process: &runtime::Process,
        identity: &Identity,
        seccomp: Option<Program>,
        changes_user: bool,
    ) -> Result<Self> {
        let own = if changes_user { CapabilitySet::ALL } else { own_capabilities()? };
        let arguments = process.args().as_deref().unwrap_or_default();
        let Some(program) = arguments.first().filter(|program| !program.is_empty()) else {
            return Err(Error::invalid("the process has no program to run").at_field("process.args"));
        };
        let asked = process.env().as_deref().unwrap_or_default();
        check_environment(asked)?;
        let environment = environment(asked, &identity.home);
        let nul = |_| Error::invalid("an argument or a variable of the environment holds a NUL byte");
        let directory = process.cwd();
        if !directory.is_absolute() {
            let error = format!("working directory `{}` is no absolute path", directory.display());
            return Err(Error::invalid(error).at_field("process.cwd"));
        }
        Ok(Self {
            arguments: StringArray::new(arguments).map_err(nul)?,
            candidates: candidates(program, search_path(&environment))?,
            environment: StringArray::new(&environment).map_err(nul)?,
            directory: path_string(directory)?,
            uid: identity.uid,
            gid: identity.gid,
            groups: identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect(),
            keeps_groups: keeps_groups(spec),
            umask: process.user().umask().unwrap_or(0o022),
            capabilities: process.capabilities().as_ref().map(|asked| grantable(asked, own)),
            is_bounded: false,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            seccomp,
            limits: resource_limits(process)?,
            scheduling: process.scheduler().as_ref().map(attributes::scheduling).transpose()?,
            io_priority: process.io_priority().as_ref().map(attributes::io_priority).transpose()?,
            personality: attributes::personality(spec),
            memory_policy: attributes::memory_policy(spec)?,
            affinity: None,
            has_some_processors: has_some_processors(spec),
            landlock: None,
            labels: attributes::labels(process)?,
            key_label: process
                .selinux_label()
                .clone()
                .filter(|label| !label.is_empty())
                .map(String::into_bytes),
            kept: Vec::new(),
            hold: None,
            dies_with_parent: false,
            blocks_signals: false,
        })
    }

    /// Executes this file, whatever the first argument says.
    pub fn execute(&mut self, file: &str) -> Result<()> {
        self.candidates = vec![path_string(std::path::Path::new(file))?];
        Ok(())
    }

    /// Says which descriptors stay open to the end: those that the program inherits, `sync`, and those that hold it.
    pub fn keep(&mut self, preserved: &[i32], sync: i32) {
        let hold = self.hold.iter().flat_map(|hold| [hold.start.as_raw_fd(), hold.result.as_raw_fd()]);
        self.kept = preserved.iter().copied().chain(hold).chain([sync]).collect();
        self.kept.sort_unstable();
    }

    /// The program as the user wrote it.
    pub fn program(&self) -> String {
        self.arguments.strings().first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// Processors that `exec` runs on, a bit each (`process.execCPUAffinity`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Of the runtime, before its child enters the container's control groups.
    pub initial: Option<Vec<u64>>,
    /// Of the process, once it is in them: `final`, or else what it had before, which the kernel may have reset.
    pub last: Option<Vec<u64>>,
}

/// Reads the lists of processors.
///
/// # Errors
/// What is no list of processors.
pub fn affinity(process: &runtime::Process) -> Result<Affinity> {
    let Some(asked) = process.exec_cpu_affinity() else { return Ok(Affinity::default()) };
    let set = |list: &Option<String>, name: &str| {
        let list = list.as_deref().filter(|list| !list.is_empty());
        let at = |error: Error| error.at_field(format!("process.execCPUAffinity.{name}"));
        list.map(attributes::number_set).transpose().map_err(at)
    };
    let initial = set(asked.initial(), "initial")?;
    let last = set(asked.cpu_affinity_final(), "final")?.or_else(|| initial.clone());
    Ok(Affinity { initial, last })
}

/// Annotation by which engines ask that a process keeps the supplementary groups of whoever starts the container
/// (podman's `--group-add keep-groups`): a user without rights has no other way to lend them.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

fn keeps_groups(spec: &Spec) -> bool {
    let annotations = spec.annotations().as_ref();
    annotations.and_then(|annotations| annotations.get(KEEP_GROUPS)).is_some_and(|value| value == "1")
}

/// Whether its group may run on some of the host's processors only, which not every scheduler can do.
fn has_some_processors(spec: &Spec) -> bool {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let cpu = resources.and_then(|resources| resources.cpu().as_ref());
    cpu.is_some_and(|cpu| cpu.cpus().as_deref().is_some_and(|cpus| !cpus.is_empty()))
}

fn own_capabilities() -> Result<CapabilitySet> {
    let own = capabilities(None).context(|| "read the own capabilities")?;
    Ok(CapabilitySet::from_bits(own.permitted.bits()))
}

/// What the configuration grants and whoever makes the process may grant: on a host that withholds a
/// capability from its root, a default set must not fail for it.
fn grantable(asked: &runtime::LinuxCapabilities, own: CapabilitySet) -> ProcessCapabilities {
    let asked = ProcessCapabilities::from_oci(Some(asked));
    ProcessCapabilities {
        bounding: asked.bounding,
        effective: asked.effective.and(own),
        permitted: asked.permitted.and(own),
        inheritable: asked.inheritable.and(own),
        ambient: asked.ambient.without(asked.never_ambient()).and(own),
    }
}

/// The variables, of each name the last; without a home, or with an empty one, the user's.
fn environment(asked: &[String], home: &str) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut environment: Vec<String> = Vec::with_capacity(asked.len() + 1);
    for (index, entry) in asked.iter().enumerate() {
        let later = asked[index + 1..].iter().any(|other| name(other) == name(entry));
        if !later && entry != "HOME=" {
            environment.push(entry.clone());
        }
    }
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={home}"));
    }
    environment
}

/// Every variable is a name and a value.
fn check_environment(environment: &[String]) -> Result<()> {
    match environment.iter().position(|entry| entry.find('=').is_none_or(|at| at == 0)) {
        Some(index) => {
            let error = format!("`{}` is no `NAME=value`", environment[index].escape_debug());
            Err(Error::invalid(error).at_field(format!("process.env[{index}]")))
        }
        None => Ok(()),
    }
}

fn search_path(environment: &[String]) -> &str {
    environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH)
}

/// The program itself if it names a path, else one file for each folder of `PATH`.
fn candidates(program: &str, path: &str) -> Result<Vec<CString>> {
    if program.contains('/') {
        return Ok(vec![c_string(program)?]);
    }
    let folders = path.split(':').map(|folder| if folder.is_empty() { "." } else { folder });
    let files = folders.map(|folder| format!("{folder}/{program}")).filter(|file| file.len() < PATH_MAX);
    let candidates = files.map(|file| c_string(&file)).collect::<Result<Vec<_>>>()?;
    if candidates.is_empty() {
        return Err(Error::new(Kind::CommandNotFound, format!("executable `{program}` is not in $PATH")));
    }
    Ok(candidates)
}

fn resource_limits(process: &runtime::Process) -> Result<Vec<(Resource, Rlimit)>> {
    let mut limits: Vec<(Resource, Rlimit)> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let at = |error: String| Error::invalid(error).at_field(format!("process.rlimits[{index}]"));
        let resource = resource(limit.typ());
        if limits.iter().any(|(known, _)| *known == resource) {
            return Err(at(format!("a second {}", limit.typ())));
        }
        if limit.soft() > limit.hard() {
            return Err(at(format!(
                "{}: the soft limit {} is above the hard limit {}",
                limit.typ(),
                limit.soft(),
                limit.hard()
            )));
        }
        limits.push((resource, rlimit(limit.soft(), limit.hard())));
    }
    Ok(limits)
}

/// The largest number means no limit (`RLIM_INFINITY`).
fn rlimit(soft: u64, hard: u64) -> Rlimit {
    let bounded = |value: u64| (value != u64::MAX).then_some(value);
    Rlimit { current: bounded(soft), maximum: bounded(hard) }
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(program: &str, path: &str) -> Vec<String> {
        candidates(program, path)
            .expect("valid")
            .iter()
            .map(|file| file.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn programs_are_searched_as_execvp_does() {
        assert_eq!(text("sh", "/a::/b"), ["/a/sh", "./sh", "/b/sh"]);
        assert_eq!(text("./sh", "/a"), ["./sh"]);
        assert_eq!(text("/bin/sh", ""), ["/bin/sh"]);
        assert!(candidates("a\0b", "/a").is_err());
    }

    #[test]
    fn the_last_path_counts() {
        let environment = ["PATH=/a".to_owned(), "X=1".to_owned(), "PATH=/b".to_owned()];
        assert_eq!(search_path(&environment), "/b");
        assert_eq!(search_path(&[]), DEFAULT_PATH);
    }
}
