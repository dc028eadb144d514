//! From a request to a published workload.
//!
//! ```text
//! workloads/.new-<id>/ made, its lock held      a crash here: the next command removes it
//! names/<name> claimed, snapshot made           a crash here: likewise, with both
//! config.json written (synced without --rm)
//! renamed to workloads/<id>/                    the workload exists
//! ```

mod files;
mod health;
mod log;
mod mounts;
mod names;
mod network;

pub(crate) use mounts::copy_up;
pub(crate) use names::release_dangling as release_dangling_names;
mod oci;
mod privileges;
mod resolve;

pub(crate) use resolve::check_limits;

use std::path::Path;

use holm_spec::layout::{STAGED_PREFIX, WorkloadPaths};
use holm_spec::workload::{Config, VERSION};
use holm_spec::{Id, Timestamp};
use holm_store::Image;
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, random_bytes, remove_tree, replace, sync_directory};
use holm_sys::lock::Lock;

pub(crate) use network::refuse_too_many;

use crate::launch::Ground;
use crate::request::CreateRequest;
use crate::{Engine, Error, Result};

/// A workload that was created. Its lock is held until this is dropped or started.
#[derive(Debug)]
pub struct Created {
    /// Its id.
    pub id: Id,
    /// Its name.
    pub name: String,
    pub(crate) ground: Ground,
    _lock: Lock,
}

impl Engine {
    /// Creates a workload; it does not run yet. On failure nothing is left.
    ///
    /// # Errors
    /// [`Kind::NoSuchImage`], [`Kind::ForeignImage`], [`Kind::NameTaken`], [`Kind::InvalidRequest`],
    /// [`Kind::Unsupported`] for what a virtual machine cannot have, [`Kind::NoSuchKernel`].
    pub fn create(&self, request: &CreateRequest) -> Result<Created> {
        // Held until the workload is published: removal of images waits for it.
        let _in_use = self.store.in_use()?;
        let image = self.store.resolve(&request.image)?;
        resolve::check_platform(request, &image)?;
        let id = Id::from_bytes(random_bytes());
        let image_config = image.config.config().clone().unwrap_or_default();
        let network = self.resolve_network(request, &image_config)?;
        let mut resolved = resolve::Resolved::new(request, &image_config, &id, network)?;
        resolved.mounts = self.plan_mounts(request, &image_config, &resolved.user)?;
        let needs_shares = resolved.mounts.needs_shares();
        resolved.machine = self.resolve_machine(request, &image.platform(), needs_shares)?;
        let staged = Staged::make(self, id, request.auto_remove)?;
        let name = names::claim(&self.layout, request.name.as_deref(), &id)?;
        fail_point::reached("create-name-claimed");
        match self.publish(staged, request, &image, &resolved, &name) {
            Ok((lock, config)) => {
                self.tell(&config, "create", []);
                Ok(Created { id, name, ground: Ground::of(config), _lock: lock })
            }
            Err(error) => {
                let _ = holm_runtime::release::remove_workload(&self.layout, &id, &name);
                self.drop_volumes(resolved.mounts, &id);
                Err(error)
            }
        }
    }

    /// Creates a visitor of a workload in a virtual machine, with the disk of that one. On failure nothing is left.
    pub(crate) fn create_visitor(&self, config: Config, visited: &Id) -> Result<Created> {
        let staged = Staged::make(self, config.id, true)?;
        let name = names::claim(&self.layout, Some(&config.name), &config.id)?;
        let lock = self
            .publish_visitor(staged, &config, visited)
            .inspect_err(|_| drop(holm_runtime::release::remove_workload(&self.layout, &config.id, &name)))?;
        let id = config.id;
        Ok(Created { id, name, ground: Ground::of(config), _lock: lock })
    }

    fn publish_visitor(&self, mut staged: Staged, config: &Config, visited: &Id) -> Result<Lock> {
        make_directory(&self.layout.snapshot(&config.id))?;
        std::fs::hard_link(self.layout.scratch(visited), self.layout.scratch(&config.id))
            .map_err(|error| Error::io(format!("share the disk of workload {}", visited.short()), error))?;
        staged.write(config)?;
        staged.publish(&self.layout.workload(&config.id))
    }

    /// Makes the workload visible; its lock stays held.
    fn publish(
        &self,
        mut staged: Staged,
        request: &CreateRequest,
        image: &Image,
        resolved: &resolve::Resolved,
        name: &str,
    ) -> Result<(Lock, Config)> {
        let root = self.store.root_fs(image, &staged.id, request.auto_remove)?;
        if resolved.machine.is_some() {
            self.make_scratch(&staged.id)?;
        }
        fail_point::reached("create-snapshot-made");
        let paths = self.layout.workload(&staged.id);
        let mounts = self.make_mounts(&resolved.mounts, &staged.id, image)?;
        let files =
            files::write(&self.layout, &staged.paths.dir, &paths.dir, request, resolved, staged.durability)?;
        let log = log::settings(request, resolved, &staged.id, name, &image.id.to_string())?;
        let config = Config {
            version: VERSION,
            id: staged.id,
            name: name.to_owned(),
            sandbox: staged.id,
            isolation: request.isolation,
            machine: resolved.machine.clone(),
            visits: None,
            created: Timestamp::from_nanos(holm_sys::process::now()),
            image: holm_spec::workload::ImageUse { name: request.image.clone(), id: image.id },
            auto_remove: request.auto_remove,
            start_at_once: request.start_at_once,
            tty: request.tty,
            open_stdin: request.open_stdin,
            stdin_once: request.stdin_once,
            user: resolved.user.clone(),
            init: request.init,
            stop_signal: resolved.stop_signal,
            stop_timeout: resolved.stop_timeout,
            restart: request.restart,
            health: health::resolve(&request.health, image.health.as_ref())?,
            labels: resolved.labels.clone(),
            settings: resolve::settings(request, resolved, mounts.points, log),
            root,
            cgroup_parent: self.cgroup_parent().to_owned(),
            seccomp: resolved.seccomp.source,
            oci: oci::specification(request, resolved, &files, mounts.oci)?,
        };
        staged.write(&config)?;
        fail_point::reached("create-config-written");
        if staged.durability == Durability::Durable {
            sync(&self.layout.names())?;
            sync(&self.layout.snapshot(&staged.id))?;
            sync(&self.layout.snapshots())?;
        }
        let lock = staged.publish(&paths)?;
        fail_point::reached("create-published");
        self.keep_volumes(&resolved.mounts, &config.id, request.auto_remove);
        self.store.touch(&image.id);
        Ok((lock, config))
    }
}

fn sync(directory: &Path) -> Result<()> {
    sync_directory(directory).map_err(|error| Error::io(format!("sync `{}`", directory.display()), error))
}

/// A workload's directory before it has its name. Dropped unpublished, it is removed.
struct Staged {
    id: Id,
    paths: WorkloadPaths,
    durability: Durability,
    /// Gone once published.
    lock: Option<Lock>,
}

impl Staged {
    fn make(engine: &Engine, id: Id, auto_remove: bool) -> Result<Self> {
        let directory = engine.layout.workloads().join(format!("{STAGED_PREFIX}{id}"));
        make_directory(&directory)?;
        let paths = WorkloadPaths { dir: directory };
        let lock = Some(Lock::create_held(&paths.dir, "lock")?);
        let durability = if auto_remove { Durability::Volatile } else { Durability::Durable };
        Ok(Self { id, paths, durability, lock })
    }

    fn write(&self, config: &Config) -> Result<()> {
        let text = serde_json::to_vec(config).expect("a configuration is plain data");
        let path = self.paths.config();
        replace(&path, &text, self.durability)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }

    fn publish(&mut self, paths: &WorkloadPaths) -> Result<Lock> {
        let failed =
            |error: std::io::Error| Error::io(format!("publish workload `{}`", paths.dir.display()), error);
        std::fs::rename(&self.paths.dir, &paths.dir).map_err(failed)?;
        let lock = self.lock.take().expect("published once");
        if self.durability == Durability::Durable {
            sync_directory(paths.dir.parent().unwrap_or(Path::new("/"))).map_err(failed)?;
        }
        Ok(lock)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if self.lock.is_some() {
            let _ = remove_tree(&self.paths.dir);
        }
    }
}

fn make_directory(path: &Path) -> Result<()> {
    ensure_directory(path, 0o700).map_err(|error| Error::io(format!("make `{}`", path.display()), error))
}
