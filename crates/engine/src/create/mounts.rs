//! What a workload mounts of the host: held against the image and other workloads, made where it is not there, filled.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_files::View;
use holm_runtime::user::{Identity, read_in_root};
use holm_spec::event::EventKind;
use holm_spec::files::{Task, Unpack};
use holm_spec::runtime::{LinuxIdMapping, LinuxIdMappingBuilder, Mount};
use holm_spec::volume::{MountKind, MountPoint, Volume};
use holm_spec::{Id, image};
use holm_store::Image;
use holm_sys::in_root;
use holm_sys::lock::Lock;
use holm_volume::NewVolume;
use rustix::fs::{Mode, OFlags, ResolveFlags, fchmod, fchown, fstat, open};

use super::oci::memory;
use crate::files::{carry_out, connect, null, pipe};
use crate::image_files::Root;
use crate::request::{Below, Bind, CreateRequest, IdMaps, IdRange, MountRequest, MountSource};
use crate::volumes::limited;
use crate::{Engine, Error, Kind, Result};

/// Directories of the host that are given to nobody.
const NOBODYS: [&str; 22] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib32", "/lib64", "/media", "/mnt", "/opt",
    "/proc", "/root", "/run", "/sbin", "/srv", "/sys", "/tmp", "/usr", "/var", "/var/lib",
];

/// What is mounted, by what was asked.
#[derive(Debug, Default)]
pub(super) struct Plan {
    mounts: Vec<MountRequest>,
    /// Users' words for who the workload runs as.
    user: String,
    /// Keeps the volumes that are there.
    lock: Option<Lock>,
}

/// What is mounted.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// As it is written down.
    pub points: Vec<MountPoint>,
    /// For the runtime; images are not among them, which the keeper mounts.
    pub oci: Vec<Mount>,
}

impl Plan {
    /// Whether something of it is a directory that a machine must be handed.
    pub fn needs_shares(&self) -> bool {
        self.mounts.iter().any(|mount| !matches!(mount.source, MountSource::Memory(_)))
    }
}

impl Engine {
    /// What a request mounts: its own mounts, those of other workloads, and a volume for each path that the image has one
    /// for, as Docker counts them. Makes nothing.
    pub(super) fn plan_mounts(
        &self,
        request: &CreateRequest,
        config: &image::Config,
        user: &str,
    ) -> Result<Plan> {
        let is_volume = |mount: &MountRequest| matches!(mount.source, MountSource::Volume { .. });
        let may_have = request.mounts.iter().any(is_volume)
            || !request.volumes_from.is_empty()
            || config.volumes().iter().flatten().next().is_some();
        // Before others are asked for theirs, which stay from now on.
        let lock = if may_have { Some(self.volumes().referring()?) } else { None };
        let mut mounts = request.mounts.clone();
        for mount in &mut mounts {
            mount.target = clean_target(&mount.target)?;
        }
        let tmpfs = |target: &str| request.tmpfs.keys().any(|key| key.trim_end_matches('/') == target);
        let asked: Vec<String> = mounts.iter().map(|mount| mount.target.clone()).collect();
        if let Some(twice) =
            (0..asked.len()).find(|&index| asked[..index].contains(&asked[index]) || tmpfs(&asked[index]))
        {
            return Err(invalid(format!("two mounts have the target `{}`", asked[twice])));
        }
        for from in &request.volumes_from {
            for point in self.config(&self.find(&from.workload)?)?.settings.mounts {
                // What was asked for by itself wins, and what comes later wins.
                if !asked.contains(&point.target) && !tmpfs(&point.target) {
                    mounts.retain(|mount| mount.target != point.target);
                    mounts.extend(again(point, from.read_only));
                }
            }
        }
        for target in config.volumes().iter().flatten() {
            let target = clean_target(target)?;
            if !tmpfs(&target) && mounts.iter().all(|mount| mount.target != target) {
                mounts.push(MountRequest::new(MountSource::volume(None), target));
            }
        }
        Ok(Plan { mounts, user: user.to_owned(), lock })
    }

    /// Makes what is not there of it and fills what is empty. Volumes that are made and have no name of the user's go with the
    /// workload until [`Engine::keep_volumes`].
    pub(super) fn make_mounts(&self, plan: &Plan, id: &Id, image: &Image) -> Result<Mounts> {
        let made: Vec<Option<NewVolume>> = plan.mounts.iter().map(new_volume).collect();
        let nameless = made.iter().flatten().filter(|volume| volume.anonymous);
        let nameless: Vec<String> = nameless.map(|volume| volume.name.clone()).collect();
        if !nameless.is_empty() {
            self.volumes().bind_to(id, &nameless)?;
        }
        let image = ImageRoot { engine: self, image, root: OnceCell::new() };
        let mut mounts = Mounts::default();
        for (mount, volume) in plan.mounts.iter().zip(made) {
            let about = |error: Error| error.about(format!("mount on `{}`", mount.target));
            let point = match (&mount.source, volume) {
                (MountSource::Bind(bind), _) => make_bind(bind, mount)?,
                (MountSource::Memory(_), _) => point(MountKind::Tmpfs, mount),
                (MountSource::Image(name), _) => self.mount_of_image(name, mount).map_err(about)?,
                (MountSource::Volume { copy, .. }, volume) => {
                    let asked = volume.unwrap_or_default();
                    self.make_volume(&asked, mount, *copy, &image).map_err(about)?
                }
            };
            if mount.owned {
                self.refuse_to_own(&point).map_err(about)?;
                give_to(&plan.user, &point, image.get()?).map_err(about)?;
            }
            mounts.oci.extend(oci_mount(mount, &point));
            mounts.points.push(point);
        }
        Ok(mounts)
    }

    /// The workload is there: its volumes stay when it goes, unless it is one that goes by itself.
    pub(super) fn keep_volumes(&self, plan: &Plan, id: &Id, auto_remove: bool) {
        if plan.lock.is_some() && !auto_remove {
            self.volumes().unbind(id);
        }
    }

    /// Gives up what was made.
    pub(super) fn drop_volumes(&self, plan: Plan, id: &Id) {
        if plan.lock.is_some() {
            drop(plan);
            let _ = self.volumes().release(id);
        }
    }

    fn make_volume(
        &self,
        asked: &NewVolume,
        mount: &MountRequest,
        copy: bool,
        image: &ImageRoot<'_>,
    ) -> Result<MountPoint> {
        let volumes = self.volumes();
        let (volume, made) = volumes.create(asked)?;
        if made {
            self.tell_of(EventKind::Volume, "create", &volume.name, [("driver", "local".to_owned())]);
        }
        // What the image has there is for the whole of a volume, not for a part of it.
        if copy && mount.subpath.is_none() {
            let filled = volumes.fill(&volume, |directory| copy_up(image.get()?, &mount.target, directory));
            filled.map_err(|error| limited(error, &volume))?;
        }
        let source = volumes.source(&volume);
        check_device(&volume, &source)?;
        let nameless = asked.anonymous || mount.nameless;
        Ok(MountPoint { name: Some(volume.name), nameless, source, ..point(MountKind::Volume, mount) })
    }

    /// What is mounted only while a workload runs cannot be given to anybody before.
    fn refuse_to_own(&self, point: &MountPoint) -> Result<()> {
        let name = point.name.as_ref().filter(|_| point.kind == MountKind::Volume);
        match name {
            Some(name) if point.source == self.layout.volume_mount(name).root() => {
                let text = format!("`U` is not for volume `{name}`, which is a file system of its own");
                Err(Error::new(Kind::Unsupported, text))
            }
            _ => Ok(()),
        }
    }

    fn mount_of_image(&self, name: &str, mount: &MountRequest) -> Result<MountPoint> {
        let image = self.store.resolve(name)?;
        let layers = self.store.layer_mounts(&image)?;
        let point = point(MountKind::Image, mount);
        Ok(MountPoint {
            name: Some(name.to_owned()),
            image: Some(image.id),
            layers,
            read_only: true,
            ..point
        })
    }
}

/// The files of the image, mounted when somebody asks.
struct ImageRoot<'a> {
    engine: &'a Engine,
    image: &'a Image,
    root: OnceCell<Root>,
}

impl ImageRoot<'_> {
    fn get(&self) -> Result<BorrowedFd<'_>> {
        if self.root.get().is_none() {
            let _ = self.root.set(self.engine.image_root(self.image)?);
        }
        Ok(self.root.get().expect("was set").as_fd())
    }
}

fn invalid(text: String) -> Error {
    Error::new(Kind::InvalidRequest, text)
}

/// An absolute path below `/`, without what says nothing.
fn clean_target(target: &str) -> Result<String> {
    let cleaned = target.trim_end_matches('/');
    match cleaned.starts_with('/') {
        true => Ok(cleaned.to_owned()),
        false => Err(invalid(format!("mount on `{target}`: it is no absolute path below /"))),
    }
}

/// The same mount for another workload; images and what is in memory do not go along, as with Docker.
fn again(point: MountPoint, read_only: Option<bool>) -> Option<MountRequest> {
    let source = match point.kind {
        MountKind::Bind => MountSource::Bind(Bind { path: point.source, ..Bind::default() }),
        MountKind::Volume => {
            let (options, labels) = (BTreeMap::new(), BTreeMap::new());
            MountSource::Volume { name: point.name, copy: false, options, labels }
        }
        MountKind::Image | MountKind::Tmpfs => return None,
    };
    Some(MountRequest {
        read_only: read_only.unwrap_or(point.read_only),
        subpath: point.subpath,
        propagation: point.propagation,
        nameless: point.nameless,
        mode: point.mode,
        ..MountRequest::new(source, point.target)
    })
}

fn new_volume(mount: &MountRequest) -> Option<NewVolume> {
    let MountSource::Volume { name, options, labels, .. } = &mount.source else { return None };
    Some(NewVolume { options: options.clone(), labels: labels.clone(), ..NewVolume::named(name.clone()) })
}

fn point(kind: MountKind, mount: &MountRequest) -> MountPoint {
    MountPoint {
        kind,
        name: None,
        nameless: false,
        source: Path::new("").into(),
        target: mount.target.clone(),
        subpath: mount.subpath.clone(),
        read_only: mount.read_only,
        mode: mount.mode.clone(),
        propagation: mount.propagation.clone(),
        image: None,
        layers: Vec::new(),
    }
}

fn make_bind(bind: &Bind, mount: &MountRequest) -> Result<MountPoint> {
    let failed = |error| Error::io(format!("bind `{}` on `{}`", bind.path.display(), mount.target), error);
    match (bind.path.try_exists().map_err(failed)?, bind.create) {
        (true, _) => {}
        (false, true) => std::fs::create_dir_all(&bind.path).map_err(failed)?,
        (false, false) => {
            let text = format!("bind `{}` on `{}`: it is not there", bind.path.display(), mount.target);
            return Err(Error::new(Kind::NoSuchPath, text));
        }
    }
    Ok(MountPoint { source: bind.path.clone(), ..point(MountKind::Bind, mount) })
}

fn check_device(volume: &Volume, source: &Path) -> Result<()> {
    if volume.device().is_none() || source.is_dir() {
        return Ok(());
    }
    let text = format!("volume `{}`: its directory `{}` is not there", volume.name, source.display());
    Err(Error::new(Kind::NoSuchPath, text))
}

/// Copies what the image has at a path, which the image may lead anywhere inside it, and who owns it; whether there is
/// something.
pub(crate) fn copy_up(root: BorrowedFd<'_>, target: &str, directory: &Path) -> Result<bool> {
    let failed = |errno| Error::io(format!("copy `{target}` of the image"), errno);
    // Nothing, or a file: then there is nothing to copy.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let Ok(source) = in_root::open(root, target, flags, ResolveFlags::empty()) else { return Ok(false) };
    let into = open_directory(directory).map_err(failed)?;
    let stat = fstat(&source).map_err(failed)?;
    let (output, input) = pipe()?;
    let options = Unpack { only: None, owner: None, privileges: true, devices: true, top: false };
    let pack = Task::Pack { path: "/".into(), name: ".".into(), follow: true };
    let unpack = Task::Unpack { directory: "/".into(), options };
    let (from, to) = (
        View::of(source),
        View::of(into.try_clone().map_err(|error| Error::io("copy a descriptor", error))?),
    );
    let null = null()?;
    connect(|| carry_out(&pack, &from, None, output), || carry_out(&unpack, &to, Some(input), null))?;
    let owner = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    fchown(&into, Some(owner.0), Some(owner.1)).map_err(failed)?;
    fchmod(&into, Mode::from_raw_mode(stat.st_mode)).map_err(failed)?;
    Ok(true)
}

fn open_directory(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Everything in it becomes the user's that the workload runs as, as the image knows that one.
fn give_to(user: &str, point: &MountPoint, image: BorrowedFd<'_>) -> Result<()> {
    let (passwd, group) = (read_in_root(image, "/etc/passwd"), read_in_root(image, "/etc/group"));
    let identity = Identity::resolve(user, &passwd, &group)?;
    let about = || format!("give `{}` to user {}", point.source.display(), identity.uid);
    if NOBODYS.iter().any(|path| point.source == Path::new(path)) {
        return Err(invalid(format!("{}: the host needs it as it is", about())));
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = open(&point.source, flags, Mode::empty()).map_err(|errno| Error::io(about(), errno))?;
    let found = match &point.subpath {
        Some(part) => in_root::open(opened.as_fd(), part.as_str(), OFlags::PATH, ResolveFlags::empty())
            .map_err(|errno| Error::io(about(), errno))?,
        None => opened,
    };
    holm_files::own(&found, identity.uid, identity.gid).map_err(|error| Error::from(error).about(about()))
}

/// For the runtime. A mount of an image is the keeper's to make.
fn oci_mount(asked: &MountRequest, point: &MountPoint) -> Option<Mount> {
    let bind = match &asked.source {
        MountSource::Bind(bind) => Some(bind),
        MountSource::Volume { .. } => None,
        MountSource::Image(_) => return None,
        MountSource::Memory(options) => return Some(memory(&asked.target, options)),
    };
    let below = bind.map_or(Below::Shown, |bind| bind.below);
    let mut options = vec![if below == Below::Hidden { "bind" } else { "rbind" }];
    options.push(point.propagation.as_deref().unwrap_or("rprivate"));
    if point.read_only {
        options.push("ro");
        options.extend((below == Below::Shown).then_some("rro"));
    }
    let mut mount = Mount::default();
    mount
        .set_destination(point.target.clone().into())
        .set_typ(Some("bind".to_owned()))
        .set_source(Some(point.source.clone()))
        .set_options(Some(options.into_iter().map(str::to_owned).collect()));
    if let Some(IdMaps { users, groups }) = bind.and_then(|bind| bind.ids.as_ref()) {
        mount.set_uid_mappings(Some(id_mappings(users))).set_gid_mappings(Some(id_mappings(groups)));
    }
    Some(mount)
}

/// In the specification's words the container's id is the one that the file system has.
fn id_mappings(ranges: &[IdRange]) -> Vec<LinuxIdMapping> {
    let mapping = |range: &IdRange| {
        let IdRange { from, to, count } = *range;
        let mapping = LinuxIdMappingBuilder::default().container_id(from).host_id(to).size(count).build();
        mapping.expect("every field has a default")
    };
    ranges.iter().map(mapping).collect()
}
