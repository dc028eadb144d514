//! Putting right what crashes left: of keepers, of commands, of the host.
//!
//! A sandbox's directory whose lock nobody holds has lost its keeper. If its process lives, a new
//! keeper adopts it; if not, or if it had a terminal, the sandbox is buried: groups emptied and removed,
//! the end recorded, the directory removed. Names with a leading dot are half made or half removed, and go
//! unless the lock in them says that somebody is at it.
//!
//! One command repairs at a time; the others leave it to that one. What cannot be put right is told and
//! does not keep the rest from being put right.

use std::ffi::OsString;
use std::path::Path;

use holm_runtime::release::{release_groups, remove_workload};
use holm_spec::Digest;
use holm_spec::Id;
use holm_spec::layout::{DOOMED_PREFIX, STAGED_PREFIX, SharedPaths};
use holm_spec::workload::{Config, State, Status};
use holm_sys::file::{Durability, remove_tree, replace};
use holm_sys::lock::{Lock, Mode};
use holm_sys::process::{boot_id, open_pidfd};
use holm_sys::shared_mount::SharedMount;

use crate::create::release_dangling_names;
use crate::find::{UNKNOWN_EXIT, ended_unseen, read_document};
use crate::{Engine, Error, Kind, Result};

impl Engine {
    /// Adopts or buries sandboxes without a keeper and removes what was half made; one line for each
    /// thing that was put right or could not be. A few system calls when there is nothing to do.
    ///
    /// # Errors
    /// The snapshots cannot be listed.
    pub fn repair(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        // Where no lock can be made, nothing can be put right either; the command itself will say why.
        let Ok(Some(_lock)) = Lock::try_acquire(&self.layout.repair_lock(), Mode::Exclusive) else {
            return Ok(done);
        };
        for name in names_in(&self.layout.sandboxes()) {
            note(&mut done, &name, self.repair_sandbox_entry(&name));
        }
        done.extend(self.end_abandoned_steps());
        self.end_abandoned_contexts();
        for name in names_in(&self.layout.workloads()) {
            note(&mut done, &name, self.repair_workload_entry(&name));
        }
        for id in self.store.snapshots()? {
            note(&mut done, &OsString::from(id.short()), self.repair_snapshot(&id));
        }
        let released = release_dangling_names(&self.layout);
        if released > 0 {
            done.push(format!("released {released} names without a workload"));
        }
        match self.volumes().repair() {
            Ok(lines) => done.extend(lines),
            Err(error) => note(&mut done, &OsString::from("volumes"), Err(error.into())),
        }
        self.repair_mounts(&mut done);
        match self.repair_networks() {
            Ok(lines) => done.extend(lines),
            Err(error) => note(&mut done, &OsString::from("networks"), Err(error)),
        }
        Ok(done)
    }

    fn repair_networks(&self) -> Result<Vec<String>> {
        let mut done = self.networks().repair()?;
        done.extend(self.repair_resolvers()?);
        Ok(done)
    }

    fn repair_sandbox_entry(&self, name: &OsString) -> Result<Option<String>> {
        let path = self.layout.sandboxes().join(name);
        let text = name.to_string_lossy();
        if let Ok(id) = text.parse() {
            return self.repair_sandbox(&id, &path);
        }
        if !text.starts_with(DOOMED_PREFIX) && !text.starts_with(STAGED_PREFIX) {
            return Ok(None);
        }
        // Its maker holds the workload's lock, too; its remover has left nothing but the folder.
        let id = text.strip_prefix(STAGED_PREFIX).and_then(|id| id.parse::<Id>().ok());
        let otherwise = || {
            let workload = self.layout.workload(&id?);
            if !workload.dir.exists() {
                return Some(Abandoned::Alone);
            }
            Lock::try_acquire(&workload.lock(), Mode::Exclusive).ok().flatten().map(Abandoned::Locked)
        };
        let Some(_proof) = abandoned(&path, otherwise) else {
            forget_empty(&text, &path);
            return Ok(None);
        };
        remove(&path)?;
        Ok(Some(format!("removed the half-made sandbox {text}")))
    }

    pub(crate) fn repair_sandbox(&self, id: &Id, path: &Path) -> Result<Option<String>> {
        // Its keeper lives, or has just removed it.
        let Ok(Some(lock)) = Lock::try_acquire(&path.join("lock"), Mode::Exclusive) else {
            let went_on = self.end_abandoned_commit(id)?;
            let told =
                || format!("workload {}: its commit was killed while it was paused; it goes on", id.short());
            return Ok(went_on.then(told));
        };
        if !self.can_be_adopted(id) {
            return self.bury_without_keeper(id);
        }
        if self.spawn_adopter(id, lock)? {
            return Ok(Some(format!("workload {}: its keeper was killed, a new one took over", id.short())));
        }
        // It may have ended at that moment.
        let Ok(Some(_lock)) = Lock::try_acquire(&path.join("lock"), Mode::Exclusive) else { return Ok(None) };
        if self.can_be_adopted(id) {
            let message = "its keeper was killed, and no new one could take over; `holm rm -f` ends it";
            return Err(Error::new(Kind::Failed, message));
        }
        self.bury_without_keeper(id)
    }

    fn bury_without_keeper(&self, id: &Id) -> Result<Option<String>> {
        let Some(workload) = self.leave_to_revive(id) else { return Ok(None) };
        self.bury(id, "its keeper was killed")?;
        if workload.is_some() && self.revive(id)? {
            return Ok(Some(format!("workload {}: its keeper was killed; it is started again", id.short())));
        }
        Ok(Some(format!("workload {}: its keeper was killed and it ended; cleaned up", id.short())))
    }

    /// Whether the workload's process lives and can do without its old keeper.
    pub(crate) fn can_be_adopted(&self, id: &Id) -> bool {
        let state: Option<State> = read_document(&self.layout.sandbox(id).state(id)).unwrap_or_default();
        let config: Option<Config> = read_document(&self.layout.workload(id).config()).unwrap_or_default();
        let (Some(state), Some(config)) = (state, config) else { return false };
        let this_boot = boot_id().is_ok_and(|boot| boot == state.boot_id);
        this_boot && !config.tty && open_pidfd(state.pid, state.pid_start).is_some()
    }

    /// Ends whatever is left of a sandbox and records that. The caller holds its lock.
    pub(crate) fn bury(&self, id: &Id, reason: &str) -> Result<()> {
        let config: Option<Config> = read_document(&self.layout.workload(id).config()).unwrap_or_default();
        let parent = config.as_ref().map_or(self.cgroup_parent(), |config| &config.cgroup_parent);
        release_groups(parent, id)?;
        self.networks().release(id)?;
        if let Some(config) = &config {
            self.record_end(config, reason)?;
        }
        remove(&self.layout.sandbox(id).dir)
    }

    fn record_end(&self, config: &Config, reason: &str) -> Result<()> {
        if config.auto_remove {
            remove_workload(&self.layout, &config.id, &config.name)?;
            self.tell(config, "die", [("exitCode", UNKNOWN_EXIT.to_string())]);
            self.tell(config, "destroy", []);
            return Ok(());
        }
        let state: Option<State> =
            read_document(&self.layout.sandbox(&config.sandbox).state(&config.id)).unwrap_or_default();
        // A keeper that was killed before it wrote a state had not got the program to run for anybody to see,
        // and one that was killed after the end has recorded it.
        let exit = self.layout.workload(&config.id).exit();
        let recorded: Option<State> = read_document(&exit).unwrap_or_default();
        let is_recorded = |state: &State| {
            let recorded = recorded.as_ref().filter(|recorded| recorded.status == Status::Exited);
            recorded.is_some_and(|recorded| recorded.started == state.started)
        };
        let Some(state) = state.filter(|state| !is_recorded(state)) else { return Ok(()) };
        let text = serde_json::to_vec(&ended_unseen(state, reason)).expect("a state is plain data");
        replace(&exit, &text, Durability::Volatile)
            .map_err(|error| Error::io(format!("write `{}`", exit.display()), error))?;
        self.tell(config, "die", [("exitCode", UNKNOWN_EXIT.to_string())]);
        Ok(())
    }

    fn repair_workload_entry(&self, name: &OsString) -> Result<Option<String>> {
        let path = self.layout.workloads().join(name);
        let text = name.to_string_lossy();
        if let Ok(id) = text.parse() {
            return self.repair_unstarted(&id, &path);
        }
        let half_made = text.strip_prefix(STAGED_PREFIX).and_then(|id| id.parse::<Id>().ok());
        let half_removed = text.strip_prefix(DOOMED_PREFIX).and_then(|id| id.parse::<Id>().ok());
        let Some(id) = half_made.or(half_removed) else { return Ok(None) };
        // Whoever makes one holds the store's lock, too; whoever removes one has left nothing but the folder.
        let otherwise =
            || half_made.and_then(|_| self.store.try_exclusive().ok().flatten()).map(Abandoned::Store);
        let Some(_proof) = abandoned(&path, otherwise) else {
            forget_empty(&text, &path);
            return Ok(None);
        };
        // The name goes with the dangling ones.
        self.store.remove_snapshot(&id)?;
        remove(&path)?;
        Ok(Some(match half_made {
            Some(_) => format!("removed the half-made workload {}", id.short()),
            None => format!("workload {}: finished its removal", id.short()),
        }))
    }

    /// A workload of `run --rm` that never ran and that nobody holds: its `run` was killed.
    fn repair_unstarted(&self, id: &Id, path: &Path) -> Result<Option<String>> {
        let may_run = || self.layout.sandbox(id).dir.exists() || self.layout.workload(id).exit().exists();
        if may_run() {
            return Ok(None);
        }
        let Ok(Some(_lock)) = Lock::try_acquire(&path.join("lock"), Mode::Exclusive) else { return Ok(None) };
        let path = self.layout.workload(id).config();
        let config: Option<Config> = read_document(&path).unwrap_or_default();
        let killed = |config: &Config| config.auto_remove && config.start_at_once;
        // Whatever outlives its run is synced before it has its name: only of `--rm` can a power cut leave
        // a name without content.
        let lost = std::fs::read(&path).is_ok_and(|content| content.iter().all(|byte| *byte == 0));
        if may_run() || !(lost || config.as_ref().is_some_and(killed)) {
            return Ok(None);
        }
        // The name of one that lost its content goes with the dangling ones.
        remove_workload(&self.layout, id, config.as_ref().map_or("", |config| &config.name))?;
        Ok(Some(format!("removed workload {}, whose start was killed", id.short())))
    }

    fn repair_snapshot(&self, id: &Id) -> Result<Option<String>> {
        let published = || self.layout.workload(id).dir.exists();
        let with = |prefix: &str| self.layout.workloads().join(format!("{prefix}{id}")).exists();
        // Looked at twice, for it may be published in between.
        if published() || with(STAGED_PREFIX) || with(DOOMED_PREFIX) || published() {
            return Ok(None);
        }
        // It goes before the rest of a workload that is being removed: one that is there now belongs to nobody.
        if !self.layout.snapshot(id).exists() {
            return Ok(None);
        }
        self.store.remove_snapshot(id)?;
        Ok(Some(format!("removed the writable part of workload {}, which is gone", id.short())))
    }

    fn repair_mounts(&self, done: &mut Vec<String>) {
        for name in names_in(&self.layout.whole_images()) {
            let paths = SharedPaths { dir: self.layout.whole_images().join(name) };
            if let Ok(true) = SharedMount::reclaim(&paths.lock(), &paths.root()) {
                done.push("unmounted an image that nobody uses".to_owned());
            }
        }
        let directory = self.layout.layer_mounts();
        for name in names_in(&directory) {
            let lock = directory.join(&name);
            if lock.extension().is_none_or(|extension| extension != "lock") {
                continue;
            }
            if let Ok(true) = SharedMount::reclaim(&lock, &lock.with_extension("")) {
                done.push("unmounted a layer that nobody uses".to_owned());
            }
        }
    }

    /// Removes the mount points of layers and images that are gone.
    pub fn forget_layers(&self) {
        for name in names_in(&self.layout.whole_images()) {
            if let Ok(image) = format!("sha256:{}", name.to_string_lossy()).parse() {
                self.forget_image(&image);
            }
        }
        let directory = self.layout.layer_mounts();
        for name in names_in(&directory) {
            let lock = directory.join(&name);
            let layer = self
                .layout
                .root
                .join("layers")
                .join(format!("{}.v1.erofs", lock.file_stem().unwrap_or_default().display()));
            if lock.extension().is_none_or(|extension| extension != "lock") || layer.exists() {
                continue;
            }
            if let Ok(Some(_held)) = Lock::try_acquire(&lock, Mode::Exclusive)
                && std::fs::remove_dir(lock.with_extension("")).is_ok()
            {
                let _ = std::fs::remove_file(&lock);
            }
        }
    }

    /// Removes the mount point of an image that is gone.
    pub(crate) fn forget_image(&self, image: &Digest) {
        let paths = self.layout.whole_image(image);
        if paths.lock().exists()
            && self.store.resolve(&image.to_string()).is_err()
            && let Ok(Some(_held)) = Lock::try_acquire(&paths.lock(), Mode::Exclusive)
            && matches!(std::fs::remove_dir(paths.root()), Ok(()))
        {
            let _ = remove_tree(&paths.dir);
        }
    }

    /// Removes what nothing refers to from the image store, and half-written imports; nothing if somebody
    /// else is at work there.
    ///
    /// # Errors
    /// Something that cannot be removed.
    pub fn repair_images(&self) -> Result<Vec<String>> {
        let Ok(Some(exclusive)) = self.store.try_exclusive() else { return Ok(Vec::new()) };
        self.forget_mounts();
        match self.image_users() {
            // Who removes an image is told; until then garbage may stay.
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::warn!("nothing was collected: {error}");
                Ok(Vec::new())
            }
            users => Ok(exclusive.repair(&users?)?),
        }
    }

    /// Images that workloads were made from, with the workload's name. Of a configuration nothing else is
    /// read, so one that is newer, or damaged elsewhere, still tells.
    ///
    /// # Errors
    /// The directory of workloads cannot be read; [`Kind::Corrupt`](crate::Kind::Corrupt) for a workload
    /// that does not tell its image: it may be any, so nothing may be removed.
    pub fn image_users(&self) -> Result<Vec<holm_store::ImageUser>> {
        let ids = self.ids()?;
        let users = ids.iter().map(|id| self.image_users_of(id)).collect::<Result<Vec<_>>>()?;
        let workloads = users.into_iter().flatten().map(Ok);
        let mounts = self
            .image_mounts()?
            .into_iter()
            .map(|mount| Ok((mount.image, mount.target.display().to_string())));
        workloads.chain(mounts).collect()
    }
}

/// Keeps what was done to an object, or why it could not be.
fn note(done: &mut Vec<String>, name: &OsString, result: Result<Option<String>>) {
    match result {
        Ok(line) => done.extend(line),
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            done.push(format!("could not repair {}: {error}{cause}", name.to_string_lossy()));
        }
    }
}

fn names_in(directory: &Path) -> Vec<OsString> {
    std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

fn remove(path: &Path) -> Result<()> {
    remove_tree(path).map_err(|error| Error::io(format!("remove `{}`", path.display()), error))
}

/// The folder of a removal that came as far as its lock.
fn forget_empty(name: &str, path: &Path) {
    if name.starts_with(DOOMED_PREFIX) {
        let _ = std::fs::remove_dir(path);
    }
}

/// Proof that nobody is making or removing a directory, held while it is removed.
enum Abandoned<'a> {
    /// A lock that its maker or remover would hold.
    Locked(#[expect(dead_code, reason = "held, not looked at")] Lock),
    /// The store's lock, which its maker would hold.
    Store(#[expect(dead_code, reason = "held, not looked at")] holm_store::Exclusive<'a>),
    /// What it belongs to is gone.
    Alone,
}

/// By the lock in the directory; `otherwise` tells of one that was left before it had a lock, or whose lock
/// is gone already.
fn abandoned<'a>(
    directory: &Path,
    otherwise: impl FnOnce() -> Option<Abandoned<'a>>,
) -> Option<Abandoned<'a>> {
    let lock = directory.join("lock");
    if lock.exists() {
        return Lock::try_acquire(&lock, Mode::Exclusive).ok().flatten().map(Abandoned::Locked);
    }
    let proof = otherwise()?;
    // It may have got its lock in between, and lost its maker's others; or its name, and be no longer half made.
    (!lock.exists() && directory.exists()).then_some(proof)
}
