//! Namespaces of a container: which are made, which are joined by path, and in how many stages.
//!
//! One clone makes all namespaces at once wherever that is possible. It is not where a process must already be
//! inside something when the others are made: a user namespace that is joined, or made beside joined ones that
//! it has no rights in; a pid or time namespace that is joined, which takes effect for children only; clocks
//! with offsets, which must be written before the first process enters. Then a first stage joins and makes
//! those, and the container's first process is its sibling (see `child::outer`).

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use holm_spec::runtime::{LinuxNamespaceType, Spec};
use holm_sys::Errno;
use holm_sys::process::Namespaces;
use holm_sys::rustix::fs::{Mode, OFlags, open};
use holm_sys::rustix::process::{Pid, geteuid};
use holm_sys::rustix::thread::LinkNameSpaceType;

use crate::error::{Context, Error, Kind, Result};
use crate::maps::{IdMap, Maps};

/// What is to be done about namespaces.
#[derive(Debug, Default)]
pub(crate) struct NamespacePlan {
    /// Made by the clone of the container's first process.
    pub made: Namespaces,
    /// A cgroup namespace is made once the process is in its groups.
    pub cgroup: bool,
    /// Joined by the first process itself: all kinds but user, pid and time.
    pub joined: Vec<Joined>,
    /// Joined by the first stage.
    pub joined_outside: Vec<Joined>,
    /// A user namespace to join.
    pub joined_user: Option<OwnedFd>,
    /// The maps of the user namespace that is made.
    pub maps: Option<Maps>,
    /// Content of `timens_offsets`, when a time namespace is made.
    pub offsets: Option<Vec<u8>>,
}

/// A namespace by its descriptor.
#[derive(Debug)]
pub(crate) struct Joined {
    pub namespace: OwnedFd,
    pub kind: LinkNameSpaceType,
}

impl NamespacePlan {
    /// Reads what `linux.namespaces`, the maps and the offsets say, and opens what is joined.
    ///
    /// # Errors
    /// A kind that is named twice; settings without their namespace; a path that is no namespace.
    pub fn prepare(spec: &Spec) -> Result<Self> {
        let linux = spec.linux().as_ref();
        let list = linux.and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
        let mut plan = Self::default();
        let mut seen = Vec::new();
        for (index, namespace) in list.iter().enumerate() {
            let kind = namespace.typ();
            let at = |error: Error| error.at_field(format!("linux.namespaces[{index}]"));
            if seen.contains(&kind) {
                return Err(at(Error::invalid(format!("a second {} namespace", name(kind)))));
            }
            seen.push(kind);
            match namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()) {
                Some(path) => plan.join(kind, path).map_err(at)?,
                None => plan.make(kind),
            }
        }
        plan.read_maps(spec)?;
        plan.read_offsets(spec)?;
        plan.check(spec, &seen)?;
        plan.sort();
        Ok(plan)
    }

    fn make(&mut self, kind: LinuxNamespaceType) {
        match kind {
            LinuxNamespaceType::Cgroup => self.cgroup = true,
            kind => self.made = self.made.with(bit(kind)),
        }
    }

    fn join(&mut self, kind: LinuxNamespaceType, path: &Path) -> Result<()> {
        if !path.is_absolute() {
            return Err(Error::invalid(format!("path `{}` is not absolute", path.display())));
        }
        let namespace = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| format!("open {} namespace `{}`", name(kind), path.display()))?;
        check_kind(&namespace, kind, path)?;
        match kind {
            LinuxNamespaceType::User => self.joined_user = Some(namespace),
            LinuxNamespaceType::Pid | LinuxNamespaceType::Time => {
                self.joined_outside.push(Joined { namespace, kind: link(kind) });
            }
            kind => self.joined.push(Joined { namespace, kind: link(kind) }),
        }
        Ok(())
    }

    fn read_maps(&mut self, spec: &Spec) -> Result<()> {
        let Some(linux) = spec.linux() else { return Ok(()) };
        let maps = Maps::from_oci(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref())
            .map_err(|error| error.at_field("linux"))?;
        let makes_user = self.made.contains(Namespaces::USER);
        match (maps, makes_user) {
            // Beside a namespace that is joined they only say what it is like.
            (maps, _) if self.joined_user.is_some() => drop(maps),
            (Some(_), false) => {
                return Err(
                    Error::invalid("maps of ids, and no user namespace").at_field("linux.uidMappings")
                );
            }
            (None, true) => {
                return Err(
                    Error::invalid("a user namespace needs maps of ids").at_field("linux.uidMappings")
                );
            }
            (maps, _) => self.maps = maps,
        }
        let rootless = self
            .maps
            .as_ref()
            .filter(|maps| maps.uids.to_host(0).is_none() || maps.gids.to_host(0).is_none());
        if rootless.is_some() {
            return Err(Error::invalid("the container's root is not mapped").at_field("linux.uidMappings"));
        }
        Ok(())
    }

    fn read_offsets(&mut self, spec: &Spec) -> Result<()> {
        let Some(offsets) = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref()) else {
            return Ok(());
        };
        if offsets.is_empty() {
            return Ok(());
        }
        if !self.made.contains(Namespaces::TIME) {
            let error = Error::invalid("offsets of clocks, and no time namespace is made");
            return Err(error.at_field("linux.timeOffsets"));
        }
        let mut text = Vec::new();
        for (clock, offset) in offsets {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                let error = Error::invalid(format!("clock `{clock}` is neither monotonic nor boottime"));
                return Err(error.at_field("linux.timeOffsets"));
            }
            let _ =
                writeln!(text, "{clock} {} {}", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        }
        self.offsets = Some(text);
        Ok(())
    }

    /// Refuses settings of something that the container shares with the host.
    fn check(&self, spec: &Spec, seen: &[LinuxNamespaceType]) -> Result<()> {
        let has = |kind| seen.contains(&kind);
        let named = |field: &Option<String>| field.as_ref().is_some_and(|name| !name.is_empty());
        if !has(LinuxNamespaceType::Uts) {
            for (field, set) in
                [("hostname", named(spec.hostname())), ("domainname", named(spec.domainname()))]
            {
                if set {
                    return Err(Error::invalid("it cannot be set without a UTS namespace").at_field(field));
                }
            }
        }
        if has(LinuxNamespaceType::Mount) {
            return Ok(());
        }
        let linux = spec.linux().as_ref();
        let some = |paths: Option<&Vec<String>>| paths.is_some_and(|paths| !paths.is_empty());
        let masked = some(linux.and_then(|linux| linux.masked_paths().as_ref()));
        let read_only = some(linux.and_then(|linux| linux.readonly_paths().as_ref()));
        for (field, set) in [("linux.maskedPaths", masked), ("linux.readonlyPaths", read_only)] {
            if set {
                return Err(Error::invalid("unable to restrict sys entries without a private MNT namespace")
                    .at_field(field));
            }
        }
        Ok(())
    }

    /// A user namespace has no rights in namespaces that others made: those are joined before it.
    fn sort(&mut self) {
        if self.joined_user.is_some() || self.made.contains(Namespaces::USER) {
            let (mounts, others) = std::mem::take(&mut self.joined)
                .into_iter()
                .partition(|joined| joined.kind == LinkNameSpaceType::Mount);
            self.joined = mounts;
            self.joined_outside.extend::<Vec<_>>(others);
        }
    }

    /// Whether a first stage is needed.
    pub fn needs_stage(&self) -> bool {
        !self.joined_outside.is_empty() || self.joined_user.is_some() || self.made.contains(Namespaces::TIME)
    }

    /// Whether the container is in another user namespace than this process.
    pub fn changes_user(&self) -> bool {
        self.joined_user.is_some() || self.made.contains(Namespaces::USER)
    }

    /// Whether the container has mounts of its own.
    pub fn isolates_mounts(&self) -> bool {
        self.made.contains(Namespaces::MOUNT)
            || self.joined.iter().any(|joined| joined.kind == LinkNameSpaceType::Mount)
    }

    /// Whether the container has a cgroup namespace of its own.
    pub fn has_cgroup(&self) -> bool {
        let joined = self.joined.iter().chain(&self.joined_outside);
        self.cgroup || joined.into_iter().any(|joined| joined.kind == LinkNameSpaceType::ControlGroup)
    }

    /// Descriptors that the child needs.
    pub fn descriptors(&self) -> impl Iterator<Item = i32> + '_ {
        let joined = self.joined.iter().chain(&self.joined_outside).map(|joined| &joined.namespace);
        joined.chain(&self.joined_user).map(AsRawFd::as_raw_fd)
    }
}

/// As an OCI configuration calls it.
fn name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mount",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "network",
        LinuxNamespaceType::Time => "time",
    }
}

fn bit(kind: LinuxNamespaceType) -> Namespaces {
    match kind {
        LinuxNamespaceType::Mount => Namespaces::MOUNT,
        LinuxNamespaceType::Cgroup => Namespaces::CGROUP,
        LinuxNamespaceType::Uts => Namespaces::UTS,
        LinuxNamespaceType::Ipc => Namespaces::IPC,
        LinuxNamespaceType::User => Namespaces::USER,
        LinuxNamespaceType::Pid => Namespaces::PID,
        LinuxNamespaceType::Network => Namespaces::NETWORK,
        LinuxNamespaceType::Time => Namespaces::TIME,
    }
}

fn link(kind: LinuxNamespaceType) -> LinkNameSpaceType {
    match kind {
        LinuxNamespaceType::Mount => LinkNameSpaceType::Mount,
        LinuxNamespaceType::Cgroup => LinkNameSpaceType::ControlGroup,
        LinuxNamespaceType::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        LinuxNamespaceType::Ipc => LinkNameSpaceType::InterProcessCommunication,
        LinuxNamespaceType::User => LinkNameSpaceType::User,
        LinuxNamespaceType::Pid => LinkNameSpaceType::ProcessID,
        LinuxNamespaceType::Network => LinkNameSpaceType::Network,
        LinuxNamespaceType::Time => LinkNameSpaceType::Time,
    }
}

/// `NS_GET_NSTYPE` (ioctl_ns(2)) tells which kind a descriptor is; what is no namespace does not know it.
fn check_kind(namespace: &OwnedFd, kind: LinuxNamespaceType, path: &Path) -> Result<()> {
    let found = holm_sys::process::namespace_kind(namespace);
    if found == Ok(bit(kind).bits()) {
        return Ok(());
    }
    Err(Error::invalid(format!("`{}` is no {} namespace", path.display(), name(kind))))
}

/// Writes the maps of a process's user namespace, each in one write as the kernel demands. A process that may
/// not map what is asked hands the work to `newuidmap` and `newgidmap`, whose `/etc/subuid` says what it may.
///
/// # Errors
/// Of the kernel, or of those programs.
pub(crate) fn write_maps(process: Pid, maps: &Maps) -> Result<()> {
    let process = process.as_raw_nonzero();
    let directory = PathBuf::from(format!("/proc/{process}"));
    if !geteuid().is_root() {
        // One group may be mapped without a helper only by a process that can never drop its groups.
        if maps.gids.ranges().len() == 1 && maps.gids.ranges()[0][2] == 1 {
            write_map(&directory.join("setgroups"), "deny")?;
        }
    }
    for (file, program, map) in [("uid_map", "newuidmap", &maps.uids), ("gid_map", "newgidmap", &maps.gids)] {
        match write_map(&directory.join(file), &map.to_text()) {
            Err(_) if !geteuid().is_root() => map_by_helper(program, process, map)?,
            other => other?,
        }
    }
    Ok(())
}

fn write_map(file: &Path, text: &str) -> Result<()> {
    File::options()
        .write(true)
        .open(file)
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .context(|| format!("write `{}` to `{}`", text.trim_end().replace('\n', ", "), file.display()))
}

fn map_by_helper(program: &str, process: impl std::fmt::Display, map: &IdMap) -> Result<()> {
    let numbers = map.ranges().iter().flatten().map(u32::to_string);
    let output = Command::new(program).arg(process.to_string()).args(numbers).output();
    let output = output.context(|| format!("execute `{program}`"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::new(Kind::System, format!("`{program}` failed with {}: {said}", output.status)))
}

/// Writes how readily the kernel ends a process for lack of memory.
///
/// # Errors
/// Of the kernel: a score below its own needs a right.
pub(crate) fn write_oom_score(process: Pid, score: i32) -> Result<()> {
    let file = format!("/proc/{}/oom_score_adj", process.as_raw_nonzero());
    let written = File::options().write(true).open(&file).and_then(|mut opened| write!(opened, "{score}"));
    written.map_err(|error| {
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        Error::system(format!("set the out-of-memory score to {score}"), error)
            .at_field("process.oomScoreAdj")
    })
}
