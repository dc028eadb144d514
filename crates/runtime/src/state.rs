//! What a command-line runtime remembers of its containers, below its `--root`.
//!
//! ```text
//! <root>/<id>/            made exclusively: the claim of the id; flock: held by whoever starts it
//!   state.json            a [`Record`]; replaced by rename, there from the end of `create` on
//!   config.json           the configuration as it was received; whole when there is a `state.json`
//!   group                 path of its control groups, from before they are made
//!   unit                  name of the systemd unit that they are, from before it is started
//!   resctrl               its groups in resctrl, from before they are made
//!   notify/               mounted on /run/notify, if somebody waits for its readiness
//!   start, result         FIFOs of a container that is created and not started (see [`crate::Hold`])
//! <root>/.seccomp@/       compiled filters; no id holds an `@`
//! ```
//!
//! ```text
//! (claimed) --create--> created --start--> running --end--> stopped --delete--> (gone)
//!                          |                 |  ^ pause, resume
//!                          +------ end ------+--+------------^
//! ```
//! Whether a container is created, runs, is paused or has stopped is never written down: the kernel says, so no
//! crash can make it untrue. Created is one whose process still reads the FIFO.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holm_spec::Timestamp;
use holm_spec::runtime::Spec;
use holm_sys::Errno;
use holm_sys::file::{Durability, ensure_directory, read_limited, remove_tree, replace};
use holm_sys::lock::Lock;
use holm_sys::process::open_pidfd;
use holm_sys::rustix::fs::{CWD, FileType, Mode, OFlags, chmod, mkdir, mknodat, open};
use serde::{Deserialize, Serialize};

use crate::bundle::{CONFIG_LIMIT, parse, parse_as};
use crate::cgroup::{self, Group, Hierarchies, SubGroup};
use crate::error::{Context, Error, Kind, Result};
use crate::hooks::Point;
use crate::process::Hold;
use crate::resctrl::Membership;
use crate::rootless::is_host_root;
use crate::seccomp::{DocumentDigest, Foreknown};
use crate::systemd::Unit;

/// Version of [`Record`] that this code writes; it reads no other.
pub const VERSION: u32 = 1;
/// Longest record that is read, in bytes.
const RECORD_LIMIT: u64 = 4 << 20;

/// What is remembered of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The container.
    pub id: String,
    /// Directory of its bundle.
    pub bundle: PathBuf,
    /// Directory of its root file system.
    pub root: PathBuf,
    /// When it was created.
    pub created: Timestamp,
    /// First process, as the host numbers it.
    pub pid: i32,
    /// Start time of that process in clock ticks since boot: with the pid it names one process.
    pub pid_start: u64,
    /// Its control groups, relative to each hierarchy's root; none where its user may not make any.
    pub group: Option<PathBuf>,
    /// The systemd unit that its control groups are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What of resctrl its processes are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<Membership>,
    /// It has process ids of its own, so they end with the first.
    pub own_pids: bool,
    /// Its root is attached in the host's mount namespace and must be taken from there.
    pub attached: bool,
    /// What its standard streams were when it was made, as `/proc` tells: a checkpoint takes it along.
    #[serde(default)]
    pub descriptors: Vec<String>,
    /// At which points it has hooks; unknown where this is not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Vec<Point>>,
    /// [`DocumentDigest`] of its filter, which is computed again where it is not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<String>,
    /// Annotations of its configuration.
    pub annotations: BTreeMap<String, String>,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its process waits for the start.
    Created,
    /// Its program runs.
    Running,
    /// Its processes are frozen.
    Paused,
    /// Its process has ended.
    Stopped,
}

impl Status {
    /// As the specification spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// All containers below one root.
#[derive(Clone, Debug)]
pub struct Containers {
    root: PathBuf,
}

impl Containers {
    /// Those below `root`, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Directory of compiled seccomp filters.
    pub fn seccomp_cache(&self) -> PathBuf {
        self.root.join(".seccomp@")
    }

    /// Whether there is such a root.
    ///
    /// # Errors
    /// It is not there.
    pub fn check_root(&self) -> Result<()> {
        self.root.metadata().map(drop).context(|| format!("open `{}`", self.root.display()))
    }

    /// Names of all directories that are a container or will be one, sorted.
    ///
    /// # Errors
    /// The root cannot be read; one that is not there holds nothing.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context(|| format!("read `{}`", self.root.display()))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<_> = names.filter(|name| check_id(name).is_ok()).collect();
        ids.sort();
        Ok(ids)
    }

    /// The container of that id.
    ///
    /// # Errors
    /// What is no id; a record that cannot be read.
    pub fn find(&self, id: &str) -> Result<Option<Container>> {
        check_id(id)?;
        let directory = self.root.join(id);
        let file = directory.join("state.json");
        let text = match read_limited(&file, RECORD_LIMIT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.context(|| format!("read `{}`", file.display()))?,
        };
        let record = parse_record(&text)?;
        Ok(Some(Container { directory, record }))
    }

    /// The container of that id, which must be there.
    ///
    /// # Errors
    /// As [`Containers::find`]; no such container.
    pub fn get(&self, id: &str) -> Result<Container> {
        self.find(id)?.ok_or_else(|| Error::invalid("container does not exist"))
    }

    /// Claims an id for a container that is being made.
    ///
    /// # Errors
    /// What is no id; one that is taken.
    pub fn claim(&self, id: &str) -> Result<Claim> {
        check_id(id)?;
        let failed = || format!("make directory `{}`", self.root.display());
        ensure_directory(&self.root, 0o700).context(failed)?;
        let directory = self.root.join(id);
        match mkdir(&directory, Mode::RWXU | Mode::XGRP | Mode::XOTH) {
            Err(Errno::EXIST) => Err(Error::invalid("container with given ID already exists")),
            Err(errno) => Err(errno).context(|| format!("make directory `{}`", directory.display())),
            Ok(()) => Ok(Claim { directory: Some(directory) }),
        }
    }

    /// Removes what is left of a container that was never complete, its control groups and whatever is in them
    /// included; fine if nothing is.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove_remains(&self, id: &str) -> Result<()> {
        check_id(id)?;
        let directory = self.root.join(id);
        let note = |name: &str| {
            let text = read_limited(&directory.join(name), RECORD_LIMIT).ok()?;
            String::from_utf8(text).ok().filter(|text| !text.is_empty())
        };
        if let Some(group) = note("group") {
            cgroup::remove(&Hierarchies::detect()?, Path::new(&group))?;
        }
        if let Some(unit) = note("unit") {
            Unit::named(&unit).stop()?;
        }
        if let Some(membership) = note("resctrl") {
            parse_as::<Membership>(membership.as_bytes(), "resctrl")?.remove()?;
        }
        remove_tree(&directory).context(|| format!("remove `{}`", directory.display()))
    }
}

/// Letters, digits and `_+.-`, and no name of a directory that is always there.
///
/// # Errors
/// Anything else.
pub fn check_id(id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::invalid("container id cannot be empty"));
    }
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_+.-".contains(&byte);
    if id.bytes().all(known) && id != "." && id != ".." && id.len() <= 255 {
        return Ok(());
    }
    Err(Error::invalid("invalid container ID format"))
}

/// Reads a record. Pure.
///
/// # Errors
/// [`Kind::Invalid`] for what is none, or is of another version.
pub fn parse_record(text: &[u8]) -> Result<Record> {
    let record: Record = parse_as(text, "state.json")?;
    if record.version != VERSION {
        let message = format!("state.json has version {}, this runtime knows {VERSION}", record.version);
        return Err(Error::new(Kind::Unsupported, message));
    }
    Ok(record)
}

/// A directory for a container that is being made; removed unless it is completed.
#[derive(Debug)]
pub struct Claim {
    directory: Option<PathBuf>,
}

impl Claim {
    fn directory(&self) -> &Path {
        self.directory.as_deref().expect("it is there until the claim is completed")
    }

    /// Notes where the control groups will be, for whoever finds the claim without its owner.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_group(&self, group: &Path) -> Result<()> {
        self.note("group", group.as_os_str().as_encoded_bytes())
    }

    /// Notes which systemd unit they will be.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_unit(&self, unit: &Unit) -> Result<()> {
        self.note("unit", unit.name().as_bytes())
    }

    /// Notes what of resctrl the container will be in.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_resctrl(&self, membership: &Membership) -> Result<()> {
        self.note("resctrl", &serde_json::to_vec(membership).expect("it is plain data"))
    }

    fn note(&self, name: &str, text: &[u8]) -> Result<()> {
        let file = self.directory().join(name);
        std::fs::write(&file, text).context(|| format!("write `{}`", file.display()))
    }

    /// Makes the directory of the socket by which the program says that it is ready, for all to look into.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make_notify(&self) -> Result<PathBuf> {
        let path = self.directory().join("notify");
        let made = mkdir(&path, Mode::RWXU).and_then(|()| chmod(&path, Mode::from_raw_mode(0o755)));
        made.context(|| format!("make directory `{}`", path.display()))?;
        Ok(path)
    }

    /// Makes the FIFOs that hold the first process; they belong to the runtime and, being open, need no name
    /// inside.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn make_hold(&self) -> Result<Hold> {
        let fifo = |name: &str| {
            let path = self.directory().join(name);
            let made = mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
            made.and_then(|()| open(&path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()))
                .context(|| format!("make FIFO `{}`", path.display()))
        };
        Ok(Hold { start: fifo("start")?, result: fifo("result")? })
    }

    /// Keeps the configuration as it was received. Nobody reads it before the container exists.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn note_configuration(&self, document: &[u8]) -> Result<()> {
        let file = self.directory().join("config.json");
        let create = || File::options().write(true).create_new(true).mode(0o600).open(&file);
        let written = create().and_then(|mut created| created.write_all(document));
        written.context(|| format!("write `{}`", file.display()))
    }

    /// Writes down what the container is; from now on it exists.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn complete(mut self, record: Record) -> Result<Container> {
        let directory = self.directory().to_owned();
        let file = directory.join("state.json");
        let text = serde_json::to_vec(&record).expect("a record is plain data");
        replace(&file, &text, Durability::Volatile).context(|| format!("write `{}`", file.display()))?;
        self.directory = None;
        Ok(Container { directory, record })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(directory) = &self.directory {
            // Nothing more can be done; `delete --force` removes what is left.
            let _ = remove_tree(directory);
        }
    }
}

/// A container that exists.
#[derive(Clone, Debug)]
pub struct Container {
    directory: PathBuf,
    /// What is remembered of it.
    pub record: Record,
}

impl Container {
    /// What the kernel says that it is doing.
    pub fn status(&self) -> Status {
        if self.process().is_none() {
            return Status::Stopped;
        }
        match (self.is_frozen(), self.knock().is_ok()) {
            (true, _) => Status::Paused,
            (false, true) => Status::Created,
            (false, false) => Status::Running,
        }
    }

    /// Whether its processes are frozen, as far as it has any.
    pub fn is_frozen(&self) -> bool {
        let group = self.record.group.as_deref();
        group.is_some_and(|group| Hierarchies::detect().is_ok_and(|all| cgroup::is_frozen(&all, group)))
    }

    /// Its control groups, for what cannot be done without.
    ///
    /// # Errors
    /// Its user may not make any.
    pub fn group(&self) -> Result<&Path> {
        self.record.group.as_deref().ok_or_else(|| {
            let message = "the container has no control group (its user may make none)";
            Error::new(Kind::Unsupported, message)
        })
    }

    /// The systemd unit that its control groups are.
    pub fn unit(&self) -> Option<Unit> {
        self.record.unit.as_deref().map(Unit::named)
    }

    /// Digest of the document that its filter of system calls was compiled from, if it was written down.
    pub fn seccomp(&self) -> Option<DocumentDigest> {
        self.record.seccomp.as_deref().and_then(|digest| digest.parse().ok())
    }

    /// What another process of it joins: the groups that were made for it, or where its first process has gone since
    /// if they cannot be had and nothing `below` them was asked for.
    ///
    /// # Errors
    /// As [`Group::find`].
    pub fn join_group(&self, below: &[SubGroup]) -> Result<Group> {
        let Some(path) = &self.record.group else { return Ok(Group::none()) };
        let followed = below.is_empty().then_some(self.record.pid);
        let group = Group::find(&Hierarchies::detect()?, path, below, followed)?;
        Ok(match self.unit().filter(|_| !is_host_root()) {
            Some(unit) => group.entered_through(unit),
            None => group,
        })
    }

    /// The first process, if it has not ended.
    pub fn process(&self) -> Option<OwnedFd> {
        open_pidfd(self.record.pid, self.record.pid_start)
    }

    /// The FIFO at which a created container waits; `ENXIO` if nobody does.
    fn knock(&self) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        open(self.directory.join("start"), flags, Mode::empty())
    }

    /// Keeps every other `start` out.
    ///
    /// # Errors
    /// Another one takes too long.
    pub fn lock(&self) -> Result<Lock> {
        Lock::acquire_directory(&self.directory)
            .map_err(|error| Error::caused(Kind::System, "start the container", error))
    }

    /// Directory of the socket by which its program says that it is ready; it need not be there.
    pub fn notify(&self) -> PathBuf {
        self.directory.join("notify")
    }

    /// Lets a created container go on to its program; `Err` tells why it could not be executed.
    ///
    /// # Errors
    /// It does not wait; its program cannot be executed.
    pub fn release(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let failed = || "start the container";
        let result = open(self.directory.join("result"), flags, Mode::empty()).context(failed)?;
        let start = self.knock().context(failed)?;
        rustix::io::write(&start, b"0").context(failed)?;
        drop(start);
        let outcome = crate::container::outcome(&result, &|| self.program());
        for name in ["start", "result"] {
            // They have done their work; the directory goes with the container.
            let _ = std::fs::remove_file(self.directory.join(name));
        }
        outcome
    }

    /// The program as the user wrote it, for errors.
    fn program(&self) -> String {
        let process = self.spec().ok().and_then(|spec| spec.process().clone());
        let arguments = process.and_then(|process| process.args().clone()).unwrap_or_default();
        arguments.into_iter().next().unwrap_or_default()
    }

    /// Its configuration, as it was when it was created.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn spec(&self) -> Result<Spec> {
        parse(&self.document()?, &mut Vec::new())
    }

    /// Its configuration without the rules of its filter of system calls, if the program of that is in `filters`, and
    /// what is known of the filter.
    ///
    /// # Errors
    /// As [`Container::spec`].
    pub fn spec_and_filter(&self, filters: &Path) -> Result<(Spec, Option<Foreknown>)> {
        let mut text = Cow::Owned(self.document()?);
        let filter = Foreknown::take(&mut text, self.seccomp(), filters);
        Ok((parse(&text, &mut Vec::new())?, filter))
    }

    /// Its configuration as it was received.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn document(&self) -> Result<Vec<u8>> {
        let file = self.directory.join("config.json");
        read_limited(&file, CONFIG_LIMIT).context(|| format!("read `{}`", file.display()))
    }

    /// Its configuration if it has hooks at one of these points, which is all that whoever asks wants of it.
    ///
    /// # Errors
    /// As [`Container::spec`].
    pub fn spec_with_hooks(&self, points: &[Point]) -> Result<Option<Spec>> {
        match &self.record.hooks {
            Some(own) if !own.iter().any(|point| points.contains(point)) => Ok(None),
            _ => self.spec().map(Some),
        }
    }

    /// User id of whoever created it.
    pub fn owner(&self) -> u32 {
        use std::os::unix::fs::MetadataExt;
        self.directory.metadata().map_or(0, |data| data.uid())
    }

    /// Whether somebody else has forgotten it.
    pub fn is_forgotten(&self) -> bool {
        !self.directory.exists()
    }

    /// Forgets it.
    ///
    /// # Errors
    /// Its directory cannot be removed.
    pub fn forget(&self) -> Result<()> {
        remove_tree(&self.directory)
            .context(|| format!("unable to remove container's state dir `{}`", self.directory.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_files() {
        for id in ["a", "A-b_c.d+1", &"x".repeat(255)] {
            check_id(id).expect(id);
        }
        for id in ["", ".", "..", "a/b", "a b", "ä", "a@b", &"x".repeat(256)] {
            assert!(check_id(id).is_err(), "{id}");
        }
    }

    #[test]
    fn records_of_earlier_versions_are_read() {
        let text = r#"{"version":1,"id":"a","bundle":"/b","root":"/b/r","created":"2026-01-02T03:04:05Z","pid":2,
            "pid_start":3,"group":"x","own_pids":true,"attached":false,"annotations":{}}"#;
        let record = parse_record(text.as_bytes()).expect("valid");
        assert_eq!((record.hooks, record.seccomp, record.unit), (None, None, None));
    }

    #[test]
    fn a_claim_is_exclusive_and_goes_unless_completed() {
        let directory = tempfile::tempdir().expect("tempdir");
        let containers = Containers::new(directory.path().join("root"));
        let claim = containers.claim("a").expect("claim");
        assert!(containers.claim("a").is_err());
        assert!(containers.find("a").expect("readable").is_none());
        drop(claim);
        let claim = containers.claim("a").expect("claim");
        let record = Record {
            version: VERSION,
            id: "a".into(),
            bundle: "/b".into(),
            root: "/b/r".into(),
            created: Timestamp::from_nanos(0),
            pid: i32::MAX,
            pid_start: 1,
            group: Some("x".into()),
            unit: None,
            resctrl: None,
            own_pids: true,
            attached: false,
            descriptors: Vec::new(),
            hooks: Some(vec![Point::CreateRuntime, Point::Poststop]),
            seccomp: None,
            annotations: BTreeMap::new(),
        };
        claim.note_configuration(b"{}").expect("noted");
        claim.complete(record.clone()).expect("complete");
        let found = containers.get("a").expect("there");
        assert_eq!((found.record.clone(), found.status()), (record, Status::Stopped));
        assert_eq!(containers.ids().expect("readable"), ["a"]);
        assert!(found.spec_with_hooks(&[Point::StartContainer]).expect("not read").is_none());
        assert!(found.spec_with_hooks(&[Point::Poststop]).is_ok_and(|spec| spec.is_some()));
        found.forget().expect("removed");
        assert_eq!(containers.ids().expect("readable"), Vec::<String>::new());
    }

    #[test]
    fn remains_take_their_groups_in_resctrl_along() {
        let directory = tempfile::tempdir().expect("tempdir");
        let containers = Containers::new(directory.path().join("root"));
        let group = directory.path().join("class");
        std::fs::create_dir(&group).expect("a directory");
        let membership = serde_json::json!({"groups": [group], "own": [group]});
        let membership: Membership = serde_json::from_value(membership).expect("as it is written");
        let claim = containers.claim("a").expect("claim");
        claim.note_resctrl(&membership).expect("noted");
        std::mem::forget(claim);
        containers.remove_remains("a").expect("removed");
        assert!(!group.exists());
        assert_eq!(containers.ids().expect("readable"), Vec::<String>::new());
    }
}
