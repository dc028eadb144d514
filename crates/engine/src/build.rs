//! Steps of builds: commands run as workloads like any others, and what they leave becomes a layer.
//!
//! ```text
//! an image of the layers below, without a name -> a workload of it, which runs -> the layer -> workload and image go
//! <root>/builds/caches/<hex>    a directory that commands share (`RUN --mount=type=cache`), and `<hex>.lock` beside it
//! <root>/builds/scans/<hex>     what the files of a context hold (`holm_build::solve`)
//! <run>/builds/<name>/          a step that runs, by the name of its workload: `lock`, which its build holds; `images`, that are
//!                               there for it alone; secrets as its command may see them
//! ```
//! Of a build that was killed the next command removes the workload with all that belongs to its step.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holm_build::dockerfile::{Network, Sharing};
use holm_build::solve::{
    self, Built, MountSource as StepSource, Progress, Ran, Request, RunStep, StepMount, StepRunner,
};
use holm_runtime::user::{Identity, read_in_root};
use holm_spec::digest::encode_hex;
use holm_spec::files::LayerForm;
use holm_spec::log::Driver;
use holm_spec::workload::Isolation;
use holm_spec::{Digest, Id, platform::Platform, signal};
use holm_store::{BuiltLayer, Image};
use holm_sys::file::{ensure_directory, random_bytes, remove_tree};
use holm_sys::in_root;
use holm_sys::lock::{Lock, Mode};
use holm_sys::process::read_signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, ResolveFlags};
use serde_json::json;

use crate::files::{connect, pipe};
use crate::request::{
    Below, Bind, CreateRequest, EnvChange, LogRequest, MountRequest, MountSource, NetworkChoice,
};
use crate::session::{Beginning, Event, Session};
use crate::{Engine, Error, Kind, Result};

/// What workloads of builds are labelled with.
const LABEL: &str = "holm.build";
/// What the names of their workloads begin with.
const PREFIX: &str = "build-";
/// How long another build may have a cache that this one wants for itself.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// How a build runs here.
pub struct BuildSurroundings<'a> {
    /// Container or virtual machine.
    pub isolation: Isolation,
    /// What commands reach that do not say.
    pub network: NetworkChoice,
    /// Fetches an image that is not here.
    pub fetch: &'a dyn Fn(&str) -> std::result::Result<(), String>,
    /// A descriptor of [`crate::signals`]: whatever it reads ends the build.
    pub signals: BorrowedFd<'a>,
}

impl Engine {
    /// Where builds remember what the files of contexts hold.
    pub fn build_scans(&self) -> PathBuf {
        self.builds().join("scans")
    }

    fn builds(&self) -> PathBuf {
        self.layout.root.join("builds")
    }

    fn build_steps(&self) -> PathBuf {
        self.layout.run.join("builds")
    }

    /// Removes what a step had. What cannot be removed now is reached by nothing.
    fn end_step(&self, directory: &Path, images: &[Digest]) {
        if let (Ok(users), Ok(exclusive)) = (self.image_users(), self.store.exclusive()) {
            for image in images {
                let _ = exclusive.remove(&image.to_string(), false, &users);
            }
        }
        let _ = remove_tree(directory);
    }

    /// Removes what steps of builds have left that were killed; a line each.
    pub(crate) fn end_abandoned_steps(&self) -> Vec<String> {
        let mut done = Vec::new();
        for entry in fs::read_dir(self.build_steps()).into_iter().flatten().flatten() {
            let (directory, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let lock = directory.join(LOCK);
            // Without a lock it is being made.
            let Some(_lock) =
                lock.exists().then(|| Lock::try_acquire(&lock, Mode::Exclusive).ok()).flatten().flatten()
            else {
                continue;
            };
            if let Ok(id) = self.find(&name)
                && let Err(error) = self.remove(&id, true, true)
            {
                done.push(format!("could not remove what a killed build has left, `{name}`: {error}"));
                continue;
            }
            let images = fs::read_to_string(directory.join(IMAGES)).unwrap_or_default();
            let images: Vec<Digest> = images.lines().filter_map(|line| line.parse().ok()).collect();
            self.end_step(&directory, &images);
            done.push(format!("removed `{name}`, a step of a build that was killed"));
        }
        done
    }

    /// Builds an image.
    ///
    /// # Errors
    /// The first thing that goes wrong, with its place in the Dockerfile.
    pub fn build(
        &self,
        request: &Request<'_>,
        surroundings: &BuildSurroundings<'_>,
        progress: &mut dyn Progress,
    ) -> std::result::Result<Built, holm_build::Error> {
        solve::build(request, &self.store, &Runner { engine: self, surroundings }, progress)
    }
}

struct Runner<'a> {
    engine: &'a Engine,
    surroundings: &'a BuildSurroundings<'a>,
}

/// What a step has beside its workload, until it is over.
struct Aside {
    /// The workload's name.
    name: String,
    directory: PathBuf,
    images: Vec<Digest>,
    secrets: usize,
    /// Of the directory, and of caches.
    locks: Vec<Lock>,
}

impl Aside {
    fn begin(engine: &Engine) -> Result<Self> {
        let name = format!("{PREFIX}{}", encode_hex(&random_bytes::<8>()));
        let directory = engine.build_steps().join(&name);
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        let lock = Lock::create_held(&directory, LOCK)?;
        Ok(Self { name, directory, images: Vec::new(), secrets: 0, locks: vec![lock] })
    }

    fn note_image(&mut self, id: Digest) -> Result<()> {
        self.images.push(id);
        let text: String = self.images.iter().map(|id| format!("{id}\n")).collect();
        let path = self.directory.join(IMAGES);
        fs::write(&path, text).map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }
}

const LOCK: &str = "lock";
const IMAGES: &str = "images";

fn told(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl StepRunner for Runner<'_> {
    fn image(&self, name: &str) -> std::result::Result<Image, String> {
        let store = &self.engine.store;
        let image = match store.resolve(name) {
            Err(error) if error.kind() == holm_store::Kind::NotFound => {
                (self.surroundings.fetch)(name)?;
                store.resolve(name)
            }
            found => found,
        };
        image.map_err(|error| told(&error.into()))
    }

    fn root(&self, layers: &[BuiltLayer]) -> std::result::Result<Box<dyn AsFd>, String> {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let root = self.engine.layers_root(&diff_ids).map_err(|error| told(&error))?;
        Ok(Box::new(root))
    }

    fn owner(&self, root: Option<&dyn AsFd>, name: &str) -> std::result::Result<(u32, u32), String> {
        let read = |path| root.map(|root| read_in_root(root.as_fd(), path)).unwrap_or_default();
        let identity = Identity::resolve(name, &read("/etc/passwd"), &read("/etc/group"));
        let identity = identity.map_err(|error| error.to_string())?;
        // A number without a group is both.
        let gid = if name.parse() == Ok(identity.uid) { identity.uid } else { identity.gid };
        Ok((identity.uid, gid))
    }

    fn run(
        &self,
        step: &RunStep,
        key: &Digest,
        output: &mut dyn FnMut(&[u8]),
    ) -> std::result::Result<Ran, String> {
        if step.layers.is_empty() {
            return Err("there are no files yet that a command could be one of".to_owned());
        }
        let mut aside = Aside::begin(self.engine).map_err(|error| told(&error))?;
        let ran = self.run_beside(step, key, output, &mut aside);
        self.engine.end_step(&aside.directory, &aside.images);
        ran.map_err(|error| told(&error))
    }
}

impl Runner<'_> {
    fn run_beside(
        &self,
        step: &RunStep,
        key: &Digest,
        output: &mut dyn FnMut(&[u8]),
        aside: &mut Aside,
    ) -> Result<Ran> {
        let image = self.unnamed_image(&step.layers, aside)?;
        let mut request = self.request(step, &image);
        request.name = Some(aside.name.clone());
        for mount in &step.mounts {
            self.mount(mount, &mut request, aside)?;
        }
        let created = self.engine.create(&request)?;
        let id = created.id;
        let ran = self.execute(created, output).and_then(|code| match code {
            0 => self.layer(&id, step, key).map(|layer| Ran::Layer(Box::new(layer))),
            code => Ok(Ran::Failed(code)),
        });
        let removed = self.engine.remove(&id, true, true);
        ran.and_then(|ran| removed.map(|()| ran))
    }

    /// An image of layers without a name, for a workload: what that is given, the request says.
    fn unnamed_image(&self, layers: &[BuiltLayer], aside: &mut Aside) -> Result<Digest> {
        let Platform { os, architecture } = Platform::host();
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({
            "os": os, "architecture": architecture, "config": {}, "comment": LABEL,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let id = self.engine.store.assemble(layers, &config, &[])?;
        aside.note_image(id)?;
        Ok(id)
    }

    fn request(&self, step: &RunStep, image: &Digest) -> CreateRequest {
        let set = |(name, value): &(String, String)| EnvChange::Set(name.clone(), value.clone());
        CreateRequest {
            image: image.to_string(),
            command: step.words.clone(),
            entrypoint: Some(Vec::new()),
            isolation: self.surroundings.isolation,
            env: step.environment.iter().map(set).collect(),
            workdir: Some(step.directory.clone()).filter(|directory| !directory.is_empty()),
            user: Some(step.user.clone()).filter(|user| !user.is_empty()),
            network: match step.network {
                Network::Default => self.surroundings.network.clone(),
                Network::None => NetworkChoice::None,
                Network::Host => NetworkChoice::Host,
            },
            privileged: step.insecure,
            labels: BTreeMap::from([(LABEL.to_owned(), "step".to_owned())]),
            log: LogRequest { driver: Driver::None, ..LogRequest::default() },
            start_at_once: true,
            ..CreateRequest::default()
        }
    }

    fn mount(&self, mount: &StepMount, request: &mut CreateRequest, aside: &mut Aside) -> Result<()> {
        let bind = |path: PathBuf| MountSource::Bind(Bind { path, below: Below::Hidden, ..Bind::default() });
        let mut add = |source| {
            let mount = MountRequest {
                read_only: mount.read_only,
                ..MountRequest::new(source, mount.target.clone())
            };
            request.mounts.push(mount);
        };
        match &mount.source {
            StepSource::Memory(size) => {
                let options = size.map_or_else(String::new, |size| format!("size={size}"));
                add(MountSource::Memory(options));
            }
            StepSource::Cache { id, sharing, mode, owner } => {
                add(bind(self.cache(id, *sharing, *mode, *owner, aside)?));
            }
            StepSource::Secret { path, mode, owner } => add(bind(self.secret(path, *mode, *owner, aside)?)),
            StepSource::Host(path) => add(bind(path.clone())),
            StepSource::Layers(layers, path) => {
                let image = self.unnamed_image(layers, aside)?;
                let mut whole =
                    MountRequest::new(MountSource::Image(image.to_string()), mount.target.clone());
                whole.subpath = Some(path.trim_start_matches('/').to_owned()).filter(|path| !path.is_empty());
                whole.read_only = true;
                request.mounts.push(whole);
            }
        }
        Ok(())
    }

    /// A directory that builds share; a private one if another build has it and this one must be alone.
    fn cache(
        &self,
        id: &str,
        sharing: Sharing,
        mode: u32,
        owner: (u32, u32),
        aside: &mut Aside,
    ) -> Result<PathBuf> {
        let caches = self.engine.builds().join("caches");
        let failed = |error| Error::io(format!("make the cache `{id}`"), error);
        ensure_directory(&caches, 0o700).map_err(failed)?;
        let name = encode_hex(&Digest::of(id.as_bytes()).as_bytes()[..16]);
        for number in 0.. {
            let directory = caches.join(format!("{name}-{number}"));
            let lock = caches.join(format!("{name}-{number}.lock"));
            match sharing {
                Sharing::Shared => aside.locks.push(Lock::acquire_within(&lock, Mode::Shared, PATIENCE)?),
                Sharing::Locked => aside.locks.push(Lock::acquire_within(&lock, Mode::Exclusive, PATIENCE)?),
                Sharing::Private => match Lock::try_acquire(&lock, Mode::Exclusive)? {
                    Some(lock) => aside.locks.push(lock),
                    None => continue,
                },
            }
            if ensure_is_new(&directory).map_err(failed)? {
                let own = std::os::unix::fs::chown(&directory, Some(owner.0), Some(owner.1));
                let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
                own.and_then(|()| fs::set_permissions(&directory, permissions)).map_err(failed)?;
            }
            return Ok(directory);
        }
        unreachable!("numbers do not end")
    }

    /// A copy of a secret that its command may read, in memory.
    fn secret(&self, path: &Path, mode: u32, owner: (u32, u32), aside: &mut Aside) -> Result<PathBuf> {
        let failed = |error| Error::io(format!("hand on the secret `{}`", path.display()), error);
        aside.secrets += 1;
        let copy = aside.directory.join(format!("secret{}", aside.secrets));
        let content = fs::read(path).map_err(failed)?;
        fs::write(&copy, content).map_err(failed)?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::os::unix::fs::chown(&copy, Some(owner.0), Some(owner.1))
            .and_then(|()| fs::set_permissions(&copy, permissions))
            .map_err(failed)?;
        Ok(copy)
    }

    /// Runs a workload to its end.
    fn execute(&self, created: crate::Created, output: &mut dyn FnMut(&[u8])) -> Result<i32> {
        let streams = holm_spec::keeper::Streams { stdin: false, stdout: true, stderr: true };
        let mut session = self.engine.start_created(created, Beginning::new(streams, None, None))?;
        loop {
            if self.is_interrupted(&session)? {
                session.signal(signal::KILL)?;
                return Err(Error::new(Kind::Failed, "the build was interrupted"));
            }
            match session.receive()? {
                Event::Stdout(bytes) | Event::Stderr(bytes) => output(bytes),
                Event::Exited { code, .. } => return Ok(code),
                Event::Closed => return Err(Error::new(Kind::KeeperEnded, "the step's keeper ended")),
                Event::Taken { .. } | Event::Removed => {}
            }
        }
    }

    /// Waits for something to come; whether that is a signal.
    fn is_interrupted(&self, session: &Session) -> Result<bool> {
        let signals = self.surroundings.signals;
        let mut ready = [
            PollFd::from_borrowed_fd(session.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals, PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Error::io("wait for the step", errno)),
        }
        Ok(!ready[1].revents().is_empty() && read_signal(signals).is_some())
    }

    /// Directories that are made only because something is mounted below them.
    fn stubs(&self, step: &RunStep) -> Result<Vec<String>> {
        if step.mounts.is_empty() {
            return Ok(Vec::new());
        }
        let below: Vec<Digest> = step.layers.iter().map(|layer| layer.diff_id).collect();
        let root = self.engine.layers_root(&below)?;
        let is_there = |path: &&Path| {
            let path = path.as_os_str().as_encoded_bytes();
            in_root::open(root.as_fd(), path, OFlags::PATH, ResolveFlags::NO_MAGICLINKS).is_ok()
        };
        let above = |mount: &StepMount| {
            let above = Path::new(&mount.target).ancestors().skip(1);
            let made = above.take_while(|path| !is_there(path));
            made.map(|path| path.to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        Ok(step.mounts.iter().flat_map(above).collect())
    }

    fn layer(&self, id: &Id, step: &RunStep, key: &Digest) -> Result<BuiltLayer> {
        let files = self.engine.files(id)?;
        let below: Vec<Digest> = step.layers.iter().map(|layer| layer.diff_id).collect();
        let form = LayerForm { latest: step.latest, stubs: self.stubs(step)? };
        let (output, input) = pipe()?;
        connect(
            || files.layer(form, output),
            || Ok(self.engine.store.make_step(key, fs::File::from(input), &below, step.created)?),
        )
    }
}

fn ensure_is_new(directory: &Path) -> std::io::Result<bool> {
    match fs::create_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}
