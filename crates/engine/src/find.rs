//! Finding workloads by name, id, or prefix of an id, and reading what is written of them.

use std::io::ErrorKind;
use std::path::Path;

use holm_spec::changes::Changes;
use holm_spec::workload::{Config, State, Status, VERSION};
use holm_spec::{Digest, Id, Timestamp};
use holm_store::ImageUser;
use holm_sys::file::read_limited;
use holm_sys::process::{boot_id, boot_time, now};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Engine, Error, Kind, Result, Workload};

/// Longest document of ours that is read, in bytes.
const DOCUMENT_LIMIT: u64 = 16 << 20;
/// Exit code of a workload whose end nobody saw.
pub(crate) const UNKNOWN_EXIT: i32 = 255;

impl Engine {
    /// The workload that a user names: full id, name, or unique prefix of an id.
    ///
    /// # Errors
    /// [`Kind::NoSuchWorkload`], [`Kind::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Id> {
        if let Some(id) = text.parse().ok().filter(|id| self.exists(id)) {
            return Ok(id);
        }
        if let Some(id) = self.find_name(text).filter(|id| self.exists(id)) {
            return Ok(id);
        }
        self.find_prefix(text)
    }

    fn exists(&self, id: &Id) -> bool {
        self.layout.workload(id).dir.exists()
    }

    fn find_name(&self, name: &str) -> Option<Id> {
        if !holm_spec::id::is_valid_name(name) {
            return None;
        }
        std::fs::read_link(self.layout.names().join(name)).ok()?.to_str()?.parse().ok()
    }

    fn find_prefix(&self, prefix: &str) -> Result<Id> {
        let missing = || Error::new(Kind::NoSuchWorkload, format!("no such workload: `{prefix}`"));
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(missing());
        }
        let ids = self.ids()?;
        let mut matching = ids.into_iter().filter(|id| id.to_string().starts_with(prefix));
        match (matching.next(), matching.next()) {
            (Some(id), None) => Ok(id),
            (Some(_), Some(_)) => {
                Err(Error::new(Kind::Ambiguous, format!("id prefix `{prefix}` names several workloads")))
            }
            (None, _) => Err(missing()),
        }
    }

    /// Ids of all published workloads, in no order.
    pub(crate) fn ids(&self) -> Result<Vec<Id>> {
        let directory = self.layout.workloads();
        let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(failed)?,
        };
        let id = |entry: std::fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse().ok());
        // One that is left out for an error would lose what it uses.
        entries.filter_map(|entry| entry.map(id).map_err(failed).transpose()).collect()
    }

    /// The image that a workload was made from, and those that it mounts, with the workload's name; none if the workload is
    /// gone.
    pub(crate) fn image_users_of(&self, id: &Id) -> Result<Vec<ImageUser>> {
        let paths = self.layout.workload(id);
        let unknown = || format!("find the image of workload `{}`", id.short());
        match read_document::<MadeFrom>(&paths.config()) {
            Ok(Some(config)) => {
                let name = config.name.unwrap_or_else(|| id.short());
                let mounted = config.settings.mounts.into_iter().filter_map(|mount| mount.image);
                Ok([config.image.id].into_iter().chain(mounted).map(|image| (image, name.clone())).collect())
            }
            // Removed meanwhile: a workload has its configuration from the first moment on.
            Ok(None) if !paths.dir.exists() => Ok(Vec::new()),
            Ok(None) => Err(Error::new(
                Kind::Corrupt,
                format!("{}: `{}` is missing", unknown(), paths.config().display()),
            )),
            Err(error) => Err(Error::caused(Kind::Corrupt, unknown(), error)),
        }
    }

    /// The kernel of a workload's machine, with the workload's name; `None` for a container, or if the workload is gone.
    pub(crate) fn kernel_user(&self, id: &Id) -> Result<Option<ImageUser>> {
        let paths = self.layout.workload(id);
        let read = read_document::<BootedFrom>(&paths.config()).map_err(|error| {
            let unknown = format!("find the kernel of workload `{}`", id.short());
            Error::caused(Kind::Corrupt, unknown, error)
        })?;
        let user = |config: BootedFrom| {
            let name = config.name.unwrap_or_else(|| id.short());
            config.machine.map(|machine| (machine.kernel.id, name))
        };
        Ok(read.and_then(user))
    }

    /// Configuration and state of a workload.
    ///
    /// # Errors
    /// [`Kind::NoSuchWorkload`], [`Kind::Corrupt`] for a document that cannot be read.
    pub fn workload(&self, id: &Id) -> Result<Workload> {
        let config = self.config(id)?;
        let state = self.state(&config)?;
        let paused = state.status == Status::Running && self.is_frozen(id);
        Ok(Workload { config, state, paused })
    }

    /// The same workload as it is now.
    ///
    /// # Errors
    /// As [`Engine::workload`].
    pub(crate) fn anew(&self, workload: Workload) -> Result<Workload> {
        let config = workload.config;
        if !self.exists(&config.id) {
            return Err(Error::new(
                Kind::NoSuchWorkload,
                format!("no such workload: `{}`", config.id.short()),
            ));
        }
        let state = self.state(&config)?;
        let paused = state.status == Status::Running && self.is_frozen(&config.id);
        Ok(Workload { config, state, paused })
    }

    pub(crate) fn config(&self, id: &Id) -> Result<Config> {
        let paths = self.layout.workload(id);
        let gone = || Error::new(Kind::NoSuchWorkload, format!("no such workload: `{}`", id.short()));
        let mut config: Config = read_document(&paths.config())?.ok_or_else(gone)?;
        if let Some(changed) = read_document(&paths.networks())? {
            config.settings.networks = changed;
        }
        if let Some(changes) = read_document::<Changes>(&paths.changes())? {
            changes.apply(&mut config);
        }
        Ok(config)
    }

    /// The name that goes with a workload; of one whose configuration is damaged or missing, what is registered.
    pub(crate) fn name_to_release(&self, id: &Id) -> Result<String> {
        match self.config(id) {
            Ok(config) => Ok(config.name),
            Err(error) if error.kind() == Kind::Corrupt || self.exists(id) => Ok(self.registered_name(id)),
            Err(error) => Err(error),
        }
    }

    /// The name that is registered for a workload; empty if there is none.
    fn registered_name(&self, id: &Id) -> String {
        let names = std::fs::read_dir(self.layout.names()).into_iter().flatten().flatten();
        let mut names = names.filter_map(|entry| entry.file_name().into_string().ok());
        names.find(|name| self.find_name(name) == Some(*id)).unwrap_or_default()
    }

    pub(crate) fn state(&self, config: &Config) -> Result<State> {
        let running = self.layout.sandbox(&config.sandbox).state(&config.id);
        let running: Option<State> = read_document(&running)?;
        // One that cannot be read says as little as one that is not there.
        let last: Option<State> = read_document(&self.layout.workload(&config.id).exit()).unwrap_or_default();
        // The end is recorded before the sandbox goes.
        let ended = |state: &State| {
            last.as_ref().is_some_and(|last| last.status == Status::Exited && last.started == state.started)
        };
        if let Some(state) = running.filter(|state| state.status == Status::Restarting || !ended(state)) {
            return Ok(if is_of_this_boot(&state) { state } else { ended_with_host(state) });
        }
        Ok(match last {
            None => State::created(),
            Some(state) if state.status == Status::Running && is_of_this_boot(&state) => {
                self.begun_or_unrecorded(config, state)?
            }
            Some(state) if state.status == Status::Running => ended_with_host(state),
            Some(state) => state,
        })
    }

    /// The state of a workload that is said to run and was not seen to: it has begun to since that was looked at, or
    /// its end could not be written.
    fn begun_or_unrecorded(&self, config: &Config, last: State) -> Result<State> {
        if let Some(state) = read_document(&self.layout.sandbox(&config.sandbox).state(&config.id))? {
            return Ok(state);
        }
        // It may also have ended since.
        let last = read_document(&self.layout.workload(&config.id).exit())?.unwrap_or(last);
        let recorded = last.status == Status::Exited;
        Ok(if recorded { last } else { ended_unseen(last, "its end could not be written") })
    }

    /// All workloads, newest first. One that goes while the list is made is left out, and one whose
    /// configuration cannot be read.
    pub fn list(&self) -> Result<Vec<Workload>> {
        let mut workloads = Vec::new();
        for id in self.ids()? {
            match self.workload(&id) {
                Ok(workload) if workload.config.visits.is_some() => {}
                Ok(workload) => workloads.push(workload),
                Err(error) if error.kind() == Kind::NoSuchWorkload => {}
                // One that is damaged must not hide the others.
                Err(error) if error.kind() == Kind::Corrupt => {
                    tracing::warn!("workload {id} is damaged: {error}")
                }
                Err(error) => return Err(error),
            }
        }
        workloads.sort_by_key(|workload| std::cmp::Reverse((workload.config.created, workload.config.id)));
        Ok(workloads)
    }
}

/// What of a configuration, of any version, tells the image.
#[derive(Deserialize)]
struct MadeFrom {
    name: Option<String>,
    image: ImageId,
    #[serde(default)]
    settings: Mounts,
}

#[derive(Default, Deserialize)]
struct Mounts {
    #[serde(default)]
    mounts: Vec<MountedImage>,
}

#[derive(Deserialize)]
struct MountedImage {
    image: Option<Digest>,
}

#[derive(Deserialize)]
struct ImageId {
    id: Digest,
}

/// What of a configuration, of any version, tells the kernel.
#[derive(Deserialize)]
struct BootedFrom {
    name: Option<String>,
    #[serde(default)]
    machine: Option<MachineKernel>,
}

#[derive(Deserialize)]
struct MachineKernel {
    kernel: ImageId,
}

fn is_of_this_boot(state: &State) -> bool {
    boot_id().is_ok_and(|boot| boot == state.boot_id)
}

/// The state of a workload that ran until the host went down, at whatever time that was before it came up again.
fn ended_with_host(state: State) -> State {
    let finished = Timestamp::from_nanos(boot_time()).max(state.started);
    State { finished, ..ended_unseen(state, "the host was restarted") }
}

/// The state of a workload whose end was not seen.
pub(crate) fn ended_unseen(state: State, reason: &str) -> State {
    State {
        version: VERSION,
        status: Status::Exited,
        pid: 0,
        pid_start: 0,
        finished: Timestamp::from_nanos(now()),
        exit_code: UNKNOWN_EXIT,
        error: format!("{reason}; the exit code is lost"),
        ..state
    }
}

/// Reads a JSON document of ours; `None` if it is not there.
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match read_limited(path, DOCUMENT_LIMIT) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        other => other.map_err(|error| Error::io(format!("read `{}`", path.display()), error))?,
    };
    let document = serde_json::from_slice(&text);
    document
        .map(Some)
        .map_err(|error| Error::caused(Kind::Corrupt, format!("read `{}`", path.display()), error))
}
