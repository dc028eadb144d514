//! Steps of builds: commands run as workloads like any others, and what they leave becomes a layer.
//!
//! ```text
//! an image of the layers below, without a name -> a workload of it, which runs -> the layer -> workload and image go
//! <root>/builds/caches/<hex>    a directory that commands share (`RUN --mount=type=cache`), and `<hex>.lock` beside it
//! <root>/builds/scans/<hex>     what the files of a context hold (`holm_build::solve`)
//! <root>/builds/platforms/<hex> the id of an image of a name for another platform than this host's
//! <root>/builds/reasons/<hex>   what the steps of a Dockerfile were made of, to tell why one is made anew (`holm_build::solve`)
//! <root>/builds/steps/<name>/   a step that runs, by the name of its workload: `lock`, which its build holds; `images`, that are
//!                               there for it alone
//! <run>/builds/<name>/          its secrets as its command may see them; in /dev/shm if <run> is on a disk
//! ```
//! Of a build that was killed the next command removes the workload with all that belongs to its step.
//!
//! A signal ends the commands that are being executed, and then the build, which says so; where none is, or the build has more to
//! do than to say it, the process ends as it would have without this.

mod agent;
mod stop;

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holm_build::Fault;
use holm_build::dockerfile::{Network, Sharing};
use holm_build::remote::Repository;
use holm_build::solve::{
    self, Built, Downloaded, MountSource as StepSource, Progress, Ran, Request, Root, RunStep, Secret,
    StepMount, StepRunner,
};
use holm_registry::copy::BuildCache;
use holm_runtime::user::{Identity, read_in_root};
use holm_spec::digest::encode_hex;
use holm_spec::files::LayerForm;
use holm_spec::log::Driver;
use holm_spec::workload::{ExtraHost, Isolation};
use holm_spec::{Digest, Id, platform::Platform, signal};
use holm_store::{BuiltLayer, Image, Store, chain};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, random_bytes, remove_tree, replace};
use holm_sys::in_root;
use holm_sys::lock::{Lock, Mode};
use rustix::fs::{CWD, OFlags, RenameFlags, ResolveFlags, renameat_with};
use serde_json::json;

use crate::create::copy_up;
use crate::files::{connect, pipe};
use crate::request::{
    Below, Bind, CreateRequest, EnvChange, LogRequest, MountRequest, MountSource, NetworkChoice,
};
use crate::session::{Beginning, Event};
use crate::{Created, Download, Engine, Error, Kind, Result};
use agent::Agents;
use stop::Stop;

/// What workloads of builds are labelled with.
const LABEL: &str = "holm.build";
/// What the names of their workloads begin with.
const PREFIX: &str = "build-";
/// Until a cache that another build has is asked for again.
const AGAIN: Duration = Duration::from_millis(50);
/// Where secrets are, if the directory of what a boot ends is on a disk.
const MEMORY: &str = "/dev/shm";

/// What a command may use; no limit where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepLimits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// Size of `/dev/shm` in bytes.
    pub shared_memory: Option<u64>,
}

/// Fetches an image.
pub type Fetch<'a> = dyn Fn(&str, &Platform) -> std::result::Result<Digest, String> + Sync + 'a;

/// How a build runs here.
pub struct BuildSurroundings<'a> {
    /// Container or virtual machine.
    pub isolation: Isolation,
    /// What commands reach that do not say.
    pub network: NetworkChoice,
    /// What they may use.
    pub limits: StepLimits,
    /// Names that they know. Their texts belong in the request, too: what commands see is in the keys.
    pub hosts: Vec<ExtraHost>,
    /// Images are fetched even if they are here, once each.
    pub pull: bool,
    /// Where steps are looked for that are not here.
    pub caches: &'a [BuildCache],
    /// Fetches an image for a platform, and gives its id. Its name goes on to mean what it meant if that is for this host and the image
    /// is not.
    pub fetch: &'a Fetch<'a>,
    /// Signals that end the build, after the commands that are being executed.
    pub signals: &'a [i32],
}

impl Engine {
    /// Where builds remember what the files of contexts hold.
    pub fn build_scans(&self) -> PathBuf {
        self.builds().join("scans")
    }

    /// Where it is remembered what the steps of a Dockerfile were made of, for a context and the Dockerfile's name.
    pub fn build_reasons(&self, context: &Path, dockerfile: &str) -> PathBuf {
        let which = [context.as_os_str().as_encoded_bytes(), b"\0", dockerfile.as_bytes()].concat();
        self.builds().join("reasons").join(Digest::of(&which).hex())
    }

    pub(crate) fn builds(&self) -> PathBuf {
        self.layout.root.join("builds")
    }

    /// Where it is remembered which image a name means for another platform than this host's.
    fn foreign_image(&self, name: &str, platform: &Platform) -> PathBuf {
        let which = format!("{platform} {name}");
        self.builds().join("platforms").join(Digest::of(which.as_bytes()).hex())
    }

    fn build_steps(&self) -> PathBuf {
        self.builds().join("steps")
    }

    /// Removes what a step had, and its record if nothing is left: else the next command goes on.
    fn end_step(&self, directory: &Path, images: &[Digest]) {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let _ = remove_tree(&self.secrets_of(&name));
        if self.find(&name).is_err() && self.remove_step_images(images) {
            images.iter().for_each(|image| self.forget_image(image));
            let _ = remove_tree(directory);
        }
    }

    fn remove_step_images(&self, images: &[Digest]) -> bool {
        let Ok(exclusive) = self.store.exclusive() else { return false };
        // Asked for behind the lock: nobody makes a workload meanwhile.
        let Ok(users) = self.image_users() else { return false };
        images.iter().all(|image| match exclusive.remove(&image.to_string(), false, &users) {
            Ok(_) => true,
            Err(error) => error.kind() == holm_store::Kind::NotFound,
        })
    }

    /// Where the secrets of a step are: in memory, in whatever the other files of a boot are.
    fn secrets_of(&self, name: &str) -> PathBuf {
        const TMPFS: i64 = 0x0102_1994;
        let run = self.layout.run.join("builds");
        let is_memory = rustix::fs::statfs(&self.layout.run).is_ok_and(|about| about.f_type == TMPFS);
        if is_memory { run.join(name) } else { Path::new(MEMORY).join(format!("holm-{name}")) }
    }

    /// Removes what steps of builds have left that were killed; a line each.
    pub(crate) fn end_abandoned_steps(&self) -> Vec<String> {
        let mut done = Vec::new();
        for entry in fs::read_dir(self.build_steps()).into_iter().flatten().flatten() {
            let (directory, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let lock = directory.join(LOCK);
            // Without a lock it is being made, or its maker was killed at that.
            if !lock.exists() && is_unlocked_for_long(&directory) {
                let _ = fs::remove_dir(&directory);
            }
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
        progress: &dyn Progress,
    ) -> std::result::Result<Built, holm_build::Error> {
        // Without it a step may go before its image has a name; then the build fails, and nothing else does.
        let _building = self.store.building();
        let failed = |why: String| {
            let position = request.dockerfile.stages[0].span.start;
            request.dockerfile.error(Fault::new(holm_build::Kind::Step, position, why))
        };
        let stop = Stop::begin(surroundings.signals).map_err(failed)?;
        std::thread::scope(|scope| {
            scope.spawn(|| stop.watch());
            let _end = stop.end_at_drop();
            let runner = Runner { engine: self, surroundings, stop: &stop, images: Mutex::default() };
            let built = solve::build(request, &self.store, &runner, progress);
            // Nothing is done with what came out after all.
            built.and_then(|built| stop.interruption().map_or(Ok(built), |why| Err(failed(why))))
        })
    }
}

struct Runner<'a> {
    engine: &'a Engine,
    surroundings: &'a BuildSurroundings<'a>,
    stop: &'a Stop,
    /// Images that this build uses, by their names and platforms. Who holds it fetches alone.
    images: Mutex<BTreeMap<(String, String), Digest>>,
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
    agents: Agents,
}

impl Aside {
    fn begin(engine: &Engine) -> Result<Self> {
        let name = format!("{PREFIX}{}", encode_hex(&random_bytes::<8>()));
        let directory = engine.build_steps().join(&name);
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        let lock = Lock::create_held(&directory, LOCK)?;
        Ok(Self {
            name,
            directory,
            images: Vec::new(),
            secrets: 0,
            locks: vec![lock],
            agents: Agents::default(),
        })
    }

    /// A program that everybody may execute: on no file system of this boot's, which may let nobody execute.
    fn script(&self, text: &str) -> Result<PathBuf> {
        let path = self.directory.join("script");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, permissions))
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))?;
        Ok(path)
    }

    fn note_image(&mut self, id: Digest) -> Result<()> {
        self.images.push(id);
        let text: String = self.images.iter().map(|id| format!("{id}\n")).collect();
        let path = self.directory.join(IMAGES);
        fs::write(&path, text).map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }
}

/// Why steps end that are not at fault.
const STOPPED: &str = "another step failed";
/// How long a directory may be without its lock.
const UNLOCKED: Duration = Duration::from_secs(60);
const LOCK: &str = "lock";
const IMAGES: &str = "images";

impl StepRunner for Runner<'_> {
    fn image(&self, name: &str, platform: &Platform) -> std::result::Result<Image, String> {
        let mut images = lock(&self.images);
        let which = (name.to_owned(), platform.to_string());
        if let Some(id) = images.get(&which) {
            return self.engine.store.resolve(&id.to_string()).map_err(|error| chain(&Error::from(error)));
        }
        let image = self.find_image(name, platform)?;
        images.insert(which, image.id);
        Ok(image)
    }

    fn cached(&self, key: &Digest, below: &[Digest]) -> Option<BuiltLayer> {
        let fetch = |cache: &BuildCache| {
            let fetched = cache.fetch(&self.engine.store, key, below);
            fetched
                .inspect_err(|error| tracing::warn!("{}; the step is made anew", chain(error)))
                .ok()
                .flatten()
        };
        self.surroundings.caches.iter().find_map(fetch)
    }

    fn root(&self, layers: &[BuiltLayer]) -> std::result::Result<Root, String> {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let root = self.engine.layers_root(&diff_ids).map_err(|error| chain(&error))?;
        Ok(Box::new(root))
    }

    fn download(&self, url: &str, checksum: Option<&Digest>) -> std::result::Result<Downloaded, String> {
        let download = self.engine.download(url, checksum).map_err(|error| chain(&error))?;
        let (directory, file) = download.place().map_err(|error| chain(&error))?;
        let Download { digest, name, modified, cached, .. } = download;
        Ok(Downloaded { directory: Box::new(directory), file, name, digest, modified, cached })
    }

    fn commit(&self, repository: &Repository) -> std::result::Result<String, String> {
        self.engine.git_commit(repository).map_err(|error| chain(&error))
    }

    fn checkout(&self, repository: &Repository, commit: &str) -> std::result::Result<Root, String> {
        let files = self.engine.git_checkout(repository, commit).map_err(|error| chain(&error))?;
        Ok(Box::new(files))
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
            return Err("the stage has no files yet, so there is no command that could run".to_owned());
        }
        let _running = self.stop.running()?;
        let mut aside = Aside::begin(self.engine).map_err(|error| chain(&error))?;
        let ran = self.run_beside(step, key, output, &mut aside);
        self.engine.end_step(&aside.directory, &aside.images);
        ran.map_err(|error| chain(&error))
    }

    fn stop(&self) {
        self.stop.stop(STOPPED);
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
        let image = self.unnamed_image(&step.layers, step.platform.as_ref(), aside)?;
        let mut request = self.request(step, &image);
        request.name = Some(aside.name.clone());
        let caches = self.caches(step, aside)?;
        for mount in &step.mounts {
            self.mount(mount, &caches, &mut request, aside)?;
        }
        let created = self.engine.create(&request)?;
        let id = created.id;
        let ran = self.execute(created, &step.secrets, output).and_then(|code| match code {
            0 => self.layer(&id, step, key).map(|layer| Ran::Layer(Box::new(layer))),
            code => Ok(Ran::Failed(code)),
        });
        fail_point::reached("build-step-made");
        let removed = self.engine.remove(&id, true, true);
        ran.and_then(|ran| removed.map(|()| ran))
    }

    /// A command for another processor needs a machine that has it.
    fn isolation(&self, step: &RunStep) -> Isolation {
        match &step.platform {
            Some(platform) if platform.architecture != Platform::host().architecture => Isolation::Vm,
            _ => self.surroundings.isolation,
        }
    }

    /// An image by its name, here or from elsewhere.
    fn find_image(&self, name: &str, platform: &Platform) -> std::result::Result<Image, String> {
        let store = &self.engine.store;
        let told = |error: holm_store::Error| chain(&Error::from(error));
        let memory = self.engine.foreign_image(name, platform);
        let mut other = None;
        if !self.surroundings.pull {
            match store.resolve(name) {
                Ok(image) if image.platform() == *platform => return Ok(image),
                Ok(image) => other = Some(image.platform()),
                Err(error) if error.kind() == holm_store::Kind::NotFound => {}
                Err(error) => return Err(told(error)),
            }
            let remembered = fs::read_to_string(&memory).ok().and_then(|id| store.resolve(&id).ok());
            if let Some(image) = remembered.filter(|image| image.platform() == *platform) {
                return Ok(image);
            }
        }
        let fetched = (self.surroundings.fetch)(name, platform).map_err(|why| match other {
            Some(other) => format!("image `{name}` is here for {other}, not for {platform}; {why}"),
            None => why,
        })?;
        if *platform != Platform::host() {
            // That it is not remembered costs another fetch.
            let directory = memory.parent().unwrap_or(Path::new("/"));
            let _ = ensure_directory(directory, 0o700)
                .and_then(|()| replace(&memory, fetched.to_string().as_bytes(), Durability::Volatile));
        }
        store.resolve(&fetched.to_string()).map_err(told)
    }

    /// An image of layers without a name, for a workload: what that is given, the request says.
    fn unnamed_image(
        &self,
        layers: &[BuiltLayer],
        platform: Option<&Platform>,
        aside: &mut Aside,
    ) -> Result<Digest> {
        let Platform { os, architecture } = platform.cloned().unwrap_or_else(Platform::host);
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({
            "os": os, "architecture": architecture, "config": {}, "comment": aside.name,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        // Noted before it is there: who is killed in between leaves none that nobody knows.
        aside.note_image(Store::image_id(&config))?;
        let id = self.engine.store.assemble(layers, &config, &[], &BTreeMap::new())?;
        fail_point::reached("build-image-noted");
        Ok(id)
    }

    fn request(&self, step: &RunStep, image: &Digest) -> CreateRequest {
        let set = |(name, value): &(String, String)| EnvChange::Set(name.clone(), value.clone());
        CreateRequest {
            image: image.to_string(),
            command: step.words.clone(),
            entrypoint: Some(Vec::new()),
            isolation: self.isolation(step),
            env: step.environment.iter().map(set).collect(),
            workdir: Some(step.directory.clone()).filter(|directory| !directory.is_empty()),
            user: Some(step.user.clone()).filter(|user| !user.is_empty()),
            network: match step.network {
                Network::Default => self.surroundings.network.clone(),
                Network::None => NetworkChoice::None,
                Network::Host => NetworkChoice::Host,
            },
            privileged: step.insecure,
            memory: self.surroundings.limits.memory,
            nano_cpus: self.surroundings.limits.nano_cpus,
            tmpfs: shared_memory(self.surroundings.limits.shared_memory),
            extra_hosts: self.surroundings.hosts.clone(),
            labels: BTreeMap::from([(LABEL.to_owned(), "step".to_owned())]),
            log: LogRequest { driver: Driver::None, ..LogRequest::default() },
            start_at_once: true,
            ..CreateRequest::default()
        }
    }

    fn mount(
        &self,
        mount: &StepMount,
        caches: &BTreeMap<String, PathBuf>,
        request: &mut CreateRequest,
        aside: &mut Aside,
    ) -> Result<()> {
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
            StepSource::Cache { id, .. } => add(bind(caches[id].clone())),
            StepSource::Secret { secret, mode, owner } => {
                add(bind(self.secret(secret, *mode, *owner, aside)?));
            }
            StepSource::Script(text) => add(bind(aside.script(text)?)),
            StepSource::Agent { socket, mode, owner } => {
                let failed = |why| Error::new(Kind::Failed, why);
                if request.isolation == Isolation::Vm {
                    return Err(failed("an agent of SSH keys cannot be reached from a machine".to_owned()));
                }
                let directory = self.own_directory(&aside.name)?;
                add(bind(aside.agents.begin(socket, &directory, *mode, *owner).map_err(failed)?));
            }
            StepSource::Layers(layers, path) if !mount.read_only => {
                let copy = aside.directory.join(format!("copy{}", request.mounts.len()));
                self.copy(layers, path, &copy)?;
                request.mounts.push(MountRequest::new(bind(copy), mount.target.clone()));
            }
            StepSource::Layers(layers, path) => {
                let image = self.unnamed_image(layers, None, aside)?;
                let mut whole =
                    MountRequest::new(MountSource::Image(image.to_string()), mount.target.clone());
                whole.subpath = Some(path.trim_start_matches('/').to_owned()).filter(|path| !path.is_empty());
                whole.read_only = true;
                request.mounts.push(whole);
            }
        }
        Ok(())
    }

    /// The directories that a step shares with others, by their ids: each once, in one order for all, at the strictest sharing that
    /// is asked for.
    fn caches(&self, step: &RunStep, aside: &mut Aside) -> Result<BTreeMap<String, PathBuf>> {
        let mut wanted: BTreeMap<&str, Cache<'_>> = BTreeMap::new();
        for mount in &step.mounts {
            let StepSource::Cache { id, sharing, mode, owner, content } = &mount.source else { continue };
            let content = content.as_ref();
            let cache =
                wanted.entry(id).or_insert(Cache { sharing: *sharing, mode: *mode, owner: *owner, content });
            if cache.sharing == Sharing::Shared {
                cache.sharing = *sharing;
            }
        }
        let one = |(id, cache): (&str, Cache<'_>)| Ok((id.to_owned(), self.cache(id, &cache, aside)?));
        wanted.into_iter().map(one).collect()
    }

    /// A directory that builds share; a private one if another build has it and this one must be alone.
    fn cache(&self, id: &str, cache: &Cache<'_>, aside: &mut Aside) -> Result<PathBuf> {
        let caches = self.engine.builds().join("caches");
        let failed = |error| Error::io(format!("make the cache `{id}`"), error);
        ensure_directory(&caches, 0o700).map_err(failed)?;
        let name = encode_hex(&Digest::of(id.as_bytes()).as_bytes()[..16]);
        let mode = if cache.sharing == Sharing::Shared { Mode::Shared } else { Mode::Exclusive };
        let mut number = 0;
        loop {
            let directory = caches.join(format!("{name}-{number}"));
            match Lock::try_acquire(&caches.join(format!("{name}-{number}.lock")), mode)? {
                Some(lock) => {
                    aside.locks.push(lock);
                    self.make_cache(&directory, cache, failed)?;
                    return Ok(directory);
                }
                None if cache.sharing == Sharing::Private => number += 1,
                None => self.stop.sleep(AGAIN).map_err(|why| Error::new(Kind::Failed, why))?,
            }
        }
    }

    /// Makes a cache, whole from its first moment; fine if it is there.
    fn make_cache(
        &self,
        directory: &Path,
        cache: &Cache<'_>,
        failed: impl Fn(std::io::Error) -> Error,
    ) -> Result<()> {
        if directory.exists() {
            return Ok(());
        }
        let draft = directory.with_extension(encode_hex(&random_bytes::<8>()));
        let made = match cache.content {
            Some((layers, path)) => self.copy(layers, path, &draft),
            None => fs::create_dir(&draft).map_err(&failed),
        };
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(cache.mode);
        let made = made.and_then(|()| {
            std::os::unix::fs::chown(&draft, Some(cache.owner.0), Some(cache.owner.1))
                .and_then(|()| fs::set_permissions(&draft, permissions))
                .and_then(|()| Ok(renameat_with(CWD, &draft, CWD, directory, RenameFlags::NOREPLACE)?))
                .map_err(failed)
        });
        if made.is_err() {
            let _ = remove_tree(&draft);
        }
        // Another build may have been faster.
        if directory.exists() { Ok(()) } else { made }
    }

    /// What is at a path in layers, at a new path here.
    fn copy(&self, layers: &[BuiltLayer], path: &str, to: &Path) -> Result<()> {
        let failed = |error: std::io::Error| Error::io(format!("copy `{path}` for the step"), error);
        let below: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        let root = self.engine.layers_root(&below)?;
        fs::create_dir(to).map_err(failed)?;
        if copy_up(root.as_fd(), path, to)? {
            return Ok(());
        }
        let found = in_root::open(root.as_fd(), path, OFlags::RDONLY, ResolveFlags::NO_MAGICLINKS);
        let mut file = fs::File::from(found.map_err(|errno| failed(errno.into()))?);
        fs::remove_dir(to).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        if !about.is_file() {
            let text = format!("copy `{path}` for the step: it is neither a directory nor a file");
            return Err(Error::new(Kind::Failed, text));
        }
        let mut copy = fs::File::create_new(to).map_err(failed)?;
        std::io::copy(&mut file, &mut copy).map_err(failed)?;
        std::os::unix::fs::chown(to, Some(about.uid()), Some(about.gid()))
            .and_then(|()| fs::set_permissions(to, about.permissions()))
            .map_err(failed)
    }

    /// What a step has in memory.
    fn own_directory(&self, name: &str) -> Result<PathBuf> {
        let directory = self.engine.secrets_of(name);
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        Ok(directory)
    }

    /// A copy of a secret that its command may read, in memory.
    fn secret(&self, secret: &Secret, mode: u32, owner: (u32, u32), aside: &mut Aside) -> Result<PathBuf> {
        let failed = |error| Error::io(format!("hand on a secret, {secret:?}"), error);
        aside.secrets += 1;
        let copy = self.own_directory(&aside.name)?.join(format!("secret{}", aside.secrets));
        let content = secret.read().map_err(failed)?;
        fs::write(&copy, content).map_err(failed)?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::os::unix::fs::chown(&copy, Some(owner.0), Some(owner.1))
            .and_then(|()| fs::set_permissions(&copy, permissions))
            .map_err(failed)?;
        Ok(copy)
    }

    /// Runs a workload to its end.
    fn execute(
        &self,
        created: Created,
        secrets: &[(String, Secret)],
        output: &mut dyn FnMut(&[u8]),
    ) -> Result<i32> {
        let streams = holm_spec::keeper::Streams { stdin: false, stdout: true, stderr: true };
        let mut beginning = Beginning::new(streams, None, None);
        beginning.env = secrets.iter().map(variable).collect::<Result<_>>()?;
        let mut session = self.engine.start_created(created, beginning)?;
        loop {
            if let Err(why) = self.stop.wait_beside(session.as_fd()) {
                session.signal(signal::KILL)?;
                return Err(Error::new(Kind::Failed, why));
            }
            match session.receive()? {
                Event::Stdout(bytes) | Event::Stderr(bytes) => output(bytes),
                Event::Exited { code, .. } => return Ok(code),
                Event::Closed => return Err(Error::new(Kind::KeeperEnded, "the step's keeper ended")),
                Event::Taken { .. } | Event::Removed => {}
            }
        }
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
            || {
                Ok(self.engine.store.make_step(
                    key,
                    fs::File::from(input),
                    &below,
                    step.created,
                    step.anew,
                )?)
            },
        )
    }
}

/// Most bytes of a secret that is a variable: it goes to the keeper in one packet with what else that hears.
const VARIABLE_LIMIT: usize = 32 << 10;

/// A secret as a variable.
fn variable((name, secret): &(String, Secret)) -> Result<String> {
    let content = secret.read();
    let content = content.map_err(|error| Error::io(format!("hand on a secret, {secret:?}"), error))?;
    if content.len() > VARIABLE_LIMIT {
        let text = format!(
            "a secret, {secret:?}, has more than {} KiB, which `{name}` may have",
            VARIABLE_LIMIT >> 10
        );
        return Err(Error::new(Kind::Failed, text));
    }
    match String::from_utf8(content) {
        Ok(text) if !text.contains('\0') => Ok(format!("{name}={text}")),
        _ => Err(Error::new(Kind::Failed, format!("a secret, {secret:?}, is no text, as `{name}` must be"))),
    }
}

/// How a cache is to be.
struct Cache<'a> {
    sharing: Sharing,
    mode: u32,
    owner: (u32, u32),
    content: Option<&'a (Vec<BuiltLayer>, String)>,
}

/// `/dev/shm` of another size than the usual one.
fn shared_memory(size: Option<u64>) -> BTreeMap<String, String> {
    size.map(|size| ("/dev/shm".to_owned(), format!("mode=1777,size={size}"))).into_iter().collect()
}

/// A thread that panicked left nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a directory without a lock is one whose maker was killed before it had one.
pub(crate) fn is_unlocked_for_long(directory: &Path) -> bool {
    let modified = directory.metadata().and_then(|about| about.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|since| since > UNLOCKED))
}
