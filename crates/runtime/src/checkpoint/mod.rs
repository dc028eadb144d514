//! Checkpoints: the processes of a container as files, and a container from such files. CRIU does the work.
//!
//! ```text
//! <images>/                 CRIU's files, of its own formats
//!   descriptors.json        what the standard streams were when the container was made: a list of three texts
//! <work>/dump.log           what CRIU did; in <images> unless there is a directory for it
//! <work>/restore.log
//! ```
//! What is written there is what runc writes, so a container can be checkpointed by one and restored by the other.
//!
//! A restore prepares the container's control groups and CRIU is born in them, in a mount namespace of its own that
//! has the container's root as a mount: whatever happens to it, no mount stays behind. The restored first process
//! becomes a child of the runtime, not of CRIU.

mod group_options;
mod images;
mod message;
pub(crate) mod mounts;
mod namespaces;
mod options;
mod restore;
mod service;
mod trees;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_spec::runtime::Spec;

use crate::cgroup::{self, Hierarchies};
use crate::error::{Context, Error, Kind, Result};
use crate::rootless::is_host_root;
use group_options::GroupOptions;
use images::{Images, Log};
use message::{Subject, feature_question};
use service::{Service, Surroundings};

pub use restore::{Progress, Restoration, restore};

/// The oldest CRIU that does all of this: major, minor.
const OLDEST: [u64; 2] = [3, 16];
/// Field of `criu_features`: changes of memory can be tracked.
const TRACKS_MEMORY: u64 = 1;
/// Field of `criu_features`: memory can be brought when it is used.
const BRINGS_LAZILY: u64 = 2;

/// What becomes of control groups (`--manage-cgroups` of criu(8)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupMode {
    /// What CRIU thinks best.
    #[default]
    Default,
    /// They are left out.
    Ignore,
    /// Settings of groups that CRIU makes are restored.
    Soft,
    /// Settings of all groups are restored.
    Full,
    /// All must be there as they were.
    Strict,
}

impl GroupMode {
    /// The mode of that name.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "" => Ok(Self::Default),
            "ignore" => Ok(Self::Ignore),
            "soft" => Ok(Self::Soft),
            "full" => Ok(Self::Full),
            "strict" => Ok(Self::Strict),
            _ => Err(Error::invalid("invalid manage-cgroups-mode value")),
        }
    }

    /// `criu_cg_mode`.
    fn number(self) -> u64 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
            Self::Default => 6,
        }
    }
}

/// What a dump and a restore have in common; each switch is an option of criu(8).
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Directory of the files, absolute.
    pub images: PathBuf,
    /// Directory of the log, if another one.
    pub work: Option<PathBuf>,
    /// What becomes of control groups.
    pub groups: GroupMode,
    /// Open connections are kept.
    pub tcp_established: bool,
    /// Sockets that lead outside are no obstacle.
    pub external_sockets: bool,
    /// The session's leader may be outside.
    pub shell_job: bool,
    /// Locks of files are kept.
    pub file_locks: bool,
    /// Memory is brought when it is used.
    pub lazy_pages: bool,
    /// Memory that a later dump holds is removed from earlier ones.
    pub auto_dedup: bool,
}

/// A container to be dumped.
#[derive(Debug)]
pub struct Dump<'a> {
    /// How.
    pub settings: &'a Settings,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its first process, as this process numbers it.
    pub pid: i32,
    /// Directory of its root file system.
    pub root: &'a Path,
    /// Its control groups, relative to each hierarchy's root, if it has any.
    pub group: Option<&'a Path>,
    /// What its standard streams were when it was made.
    pub descriptors: &'a [String],
    /// Files of a dump before, relative to the images: what has not changed since is not written again.
    pub parent: Option<&'a str>,
    /// It goes on afterwards.
    pub leave_running: bool,
    /// Only memory, for a dump that follows; it goes on.
    pub memory_only: bool,
    /// Connections that are being opened are left out.
    pub skip_in_flight: bool,
    /// Removed files that are open get a name again.
    pub link_remap: bool,
    /// Address and port of a process that takes the memory.
    pub page_server: Option<(&'a str, u16)>,
    /// Gets a byte of 0 when memory can be asked for.
    pub status: Option<OwnedFd>,
}

/// Writes a container's processes to files. Unless it is to go on, they have ended afterwards.
///
/// # Errors
/// [`Kind::Unsupported`] without CRIU or with one that is too old; [`Kind::System`] with what CRIU says.
pub fn dump(mut dump: Dump<'_>) -> Result<()> {
    check_criu()?;
    namespaces::check(dump.spec)?;
    let images = Images::create(dump.settings)?;
    images.open_to_root_of(dump.spec)?;
    if dump.memory_only {
        check_feature(TRACKS_MEMORY, "MemTrack")?;
    }
    if dump.settings.lazy_pages {
        check_feature(BRINGS_LAZILY, "LazyPages")?;
    }
    let hierarchies = Hierarchies::detect()?;
    let _options = GroupOptions::remember(&hierarchies);
    let mut outside = options::Outside {
        namespaces: namespaces::external(dump.spec)?,
        freezer: dump.group.and_then(|group| cgroup::freezer_directory(&hierarchies, group)),
        ..options::Outside::default()
    };
    if !dump.memory_only {
        outside.mounts = mounts::of_container(dump.spec, dump.pid, &hierarchies)?;
        images.write_descriptors(dump.descriptors)?;
    }
    let subject = if dump.memory_only { Subject::PreDump } else { Subject::Dump };
    let request = subject.with_options(&options::of_dump(&dump, &images, &outside));
    let mut status = dump.status.take();
    let done = quietly(&request, Some(&images), &mut |point| {
        if let Some(status) = status.take_if(|_| point == "status-ready") {
            // Who waits for it may have gone.
            let _ = rustix::io::write(&status, &[0]);
        }
    });
    done.map(drop)
}

/// Asks CRIU for something that concerns no stream and no group.
fn quietly(
    request: &message::Message,
    images: Option<&Images>,
    notice: &mut dyn FnMut(&str),
) -> Result<message::Response> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.context(|| "open `/dev/null`")?;
    use std::os::fd::AsFd;
    let streams = [null.as_fd(); 3];
    let service = Service::start(&Surroundings { streams, images, handed: &[], group: None, trees: &[] })?;
    let explain = |error| match images {
        Some(images) => images.explain(error, Log::Dump),
        None => error,
    };
    service.ask(request, &explain, &mut |notification| {
        notice(&notification.point);
        Ok(())
    })
}

/// Whether there is a CRIU that does all of this for this user.
fn check_criu() -> Result<()> {
    if !is_host_root() {
        return Err(Error::new(Kind::Unsupported, "checkpoints need root's rights, since criu does"));
    }
    let failed = |error: Error| Error::caused(error.kind(), "CRIU version check failed", error);
    let found = quietly(&Subject::Version.request(), None, &mut |_| {}).map_err(failed)?.version;
    if found[..2] >= OLDEST[..] {
        return Ok(());
    }
    let [major, minor] = OLDEST;
    let message = format!("CRIU version {}.{} must be {major}.{minor} or higher", found[0], found[1]);
    Err(Error::new(Kind::Unsupported, message))
}

fn check_feature(feature: u64, name: &str) -> Result<()> {
    let failed = |error: Error| Error::caused(error.kind(), "CRIU feature check failed", error);
    let found = quietly(&feature_question(feature), None, &mut |_| {}).map_err(failed)?.features;
    if found.contains(&feature) {
        return Ok(());
    }
    Err(Error::new(Kind::Unsupported, format!("criu is missing features: [{name}]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_have_criu_s_numbers() {
        let numbers =
            ["", "ignore", "soft", "full", "strict"].map(|name| GroupMode::named(name).expect(name).number());
        assert_eq!(numbers, [6, 0, 3, 4, 5]);
        assert!(GroupMode::named("none").is_err());
    }
}
