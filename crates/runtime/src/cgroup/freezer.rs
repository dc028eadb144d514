//! Freezing: `cgroup.freeze` of v2, the `freezer` controller of v1.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Hierarchies, write_setting};
use crate::error::{Error, Kind, Result};

/// How long processes may take to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// The group by which a container is frozen.
enum Freezer {
    Unified(PathBuf),
    Legacy(PathBuf),
}

impl Freezer {
    fn find(hierarchies: &Hierarchies, path: &Path) -> Option<Self> {
        let unified = hierarchies.unified().map(|root| root.join(path));
        if let Some(directory) = unified.filter(|directory| directory.join("cgroup.freeze").exists()) {
            return Some(Self::Unified(directory));
        }
        let legacy = hierarchies.legacy("freezer").map(|root| root.join(path));
        legacy.filter(|directory| directory.exists()).map(Self::Legacy)
    }

    fn directory(self) -> PathBuf {
        match self {
            Self::Unified(directory) | Self::Legacy(directory) => directory,
        }
    }

    fn is(&self, frozen: bool) -> bool {
        let read =
            |directory: &Path, file: &str| std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        match self {
            Self::Unified(directory) => {
                let line = if frozen { "frozen 1" } else { "frozen 0" };
                read(directory, "cgroup.events").lines().any(|found| found == line)
            }
            Self::Legacy(directory) => {
                read(directory, "freezer.state").trim() == if frozen { "FROZEN" } else { "THAWED" }
            }
        }
    }

    fn order(&self, frozen: bool) -> Result<()> {
        match self {
            Self::Unified(directory) => {
                write_setting(&directory.join("cgroup.freeze"), if frozen { "1" } else { "0" })
            }
            Self::Legacy(directory) => {
                write_setting(&directory.join("freezer.state"), if frozen { "FROZEN" } else { "THAWED" })
            }
        }
    }
}

/// The directory of the group by which the container at `path` is frozen.
pub fn freezer_directory(hierarchies: &Hierarchies, path: &Path) -> Option<PathBuf> {
    Freezer::find(hierarchies, path).map(Freezer::directory)
}

/// Whether the processes of the group are frozen.
pub fn is_frozen(hierarchies: &Hierarchies, path: &Path) -> bool {
    Freezer::find(hierarchies, path).is_some_and(|freezer| freezer.is(true))
}

/// Lets the processes of the group go on, if they are frozen.
///
/// # Errors
/// As [`freeze`].
pub fn thaw(hierarchies: &Hierarchies, path: &Path) -> Result<()> {
    if is_frozen(hierarchies, path) { freeze(hierarchies, path, false) } else { Ok(()) }
}

/// Stops all processes of the group where they are, or lets them go on.
///
/// # Errors
/// There is no group to do it with, or they do not stop within ten seconds.
pub fn freeze(hierarchies: &Hierarchies, path: &Path, frozen: bool) -> Result<()> {
    let freezer = Freezer::find(hierarchies, path).ok_or_else(|| {
        Error::new(Kind::Unsupported, "the container has no control group that can be frozen")
    })?;
    freezer.order(frozen)?;
    let deadline = Instant::now() + PATIENCE;
    while !freezer.is(frozen) {
        if Instant::now() > deadline {
            let _ = freezer.order(false);
            return Err(Error::new(Kind::System, "its processes did not stop in time"));
        }
        std::thread::sleep(Duration::from_millis(1));
        // A v1 group may stay half frozen until it is asked again.
        freezer.order(frozen)?;
    }
    Ok(())
}
