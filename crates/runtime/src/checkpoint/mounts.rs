//! Mounts that come from outside of the container: CRIU writes down the others itself, and of these a name only.
//!
//! The name of a bind mount is its destination in the configuration, that of a device its path; when the container
//! is restored, the configuration says what has that name then. The kernel says which mounts are there, so links in
//! the root and mounts below bind mounts are no guesses.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_spec::runtime::{Mount, Spec};
use holm_sys::rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags, fstat, makedev, open, statx,
};
use holm_sys::{Errno, in_root};

use super::namespaces;
use crate::cgroup::Hierarchies;
use crate::error::{Context, Result};
use crate::rootfs::options::MountOptions;

/// Name and, when the container is dumped, the mount point; when it is restored, the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct External {
    pub name: String,
    pub place: String,
}

const NULL: &str = "/dev/null";
const DEV: &str = "/dev";
/// Where a new `/dev` is mounted for CRIU in its own mount namespace: a directory that is there on every host, that
/// everybody may look into, and that CRIU has no need of. The kernel has made it to be mounted on: elsewhere the mount
/// would hide a part of sysfs, and a user namespace may mount sysfs only where all of it can be seen.
pub(super) const DEVICES_PLACE: &str = "/sys/fs/bpf";

/// The external mounts of a container that runs.
///
/// # Errors
/// Its mounts cannot be read.
pub(super) fn of_container(spec: &Spec, pid: i32, hierarchies: &Hierarchies) -> Result<Vec<External>> {
    let mounts = read_mounts(&format!("/proc/{pid}/mountinfo"))?;
    let path = format!("/proc/{pid}/root");
    let root = open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .context(|| format!("open `{path}`"))?;
    let owners = owners(spec, &root, &mounts, hierarchies);
    let outside = |mount: &Mounted| match owner_of(&owners, &mount.place) {
        Some(owner) if owner.has(&mount.place) => Some(owner.name_of(&mount.place)),
        _ => device_name(&root, mount),
    };
    let named = mounts.iter().filter(|mount| mount.place != Path::new("/"));
    let named = named.filter_map(|mount| Some(External { name: outside(mount)?, place: text(&mount.place) }));
    Ok(named.collect())
}

/// What the names of a container's external mounts stand for. Names that it has not are no harm.
///
/// # Errors
/// The host's mounts cannot be read.
pub(super) fn of_configuration(
    spec: &Spec,
    bundle: &Path,
    folders: &[(&'static str, PathBuf)],
) -> Result<Vec<External>> {
    let host = read_mounts("/proc/self/mountinfo")?;
    let mut externals = vec![External { name: NULL.to_owned(), place: NULL.to_owned() }];
    for mount in spec.mounts().iter().flatten() {
        if is_bind(mount) {
            add_bind(&mut externals, mount, bundle, &host);
        } else if mount.typ().as_deref() == Some("cgroup") {
            externals.extend(folders.iter().map(|(folder, directory)| External {
                name: text(&absolute(mount.destination()).join(folder)),
                place: text(directory),
            }));
        }
    }
    if namespaces::changes_user(spec) {
        externals.push(External { name: DEV.to_owned(), place: DEVICES_PLACE.to_owned() });
    }
    let devices = spec.linux().as_ref().and_then(|linux| linux.devices().as_deref()).unwrap_or_default();
    let devices = devices.iter().map(|device| text(device.path()));
    let devices = devices.chain(DEVICES.map(|name| format!("/dev/{name}")));
    externals.extend(devices.map(|path| External { name: path.clone(), place: path }));
    Ok(externals)
}

/// Devices that a container has without being asked for and that are bound where none may be made.
const DEVICES: [&str; 5] = ["zero", "full", "random", "urandom", "tty"];

/// The mount, and those below its source if they come along.
fn add_bind(externals: &mut Vec<External>, mount: &Mount, bundle: &Path, host: &[Mounted]) {
    let source = bundle.join(mount.source().as_deref().unwrap_or(Path::new("")));
    let source = source.canonicalize().unwrap_or(source);
    let destination = absolute(mount.destination());
    if MountOptions::parse(mount.options().iter().flatten()).recursive_bind {
        let below = host.iter().filter_map(|mount| Some((mount.place.strip_prefix(&source).ok()?, mount)));
        let below = below.filter(|(rest, _)| !rest.as_os_str().is_empty());
        externals.extend(below.map(|(rest, mount)| External {
            name: text(&destination.join(rest)),
            place: text(&mount.place),
        }));
    }
    externals.push(External { name: text(&destination), place: text(&source) });
}

/// An item of `mounts` in the configuration, and where it is.
#[derive(Debug)]
struct Owner {
    /// Its destination as it is written.
    destination: PathBuf,
    /// Where it really is.
    place: PathBuf,
    outside: Outside,
}

/// What of a mount comes from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Nothing,
    /// It does, and so does what is mounted below it.
    All,
    /// It does, and nothing below it.
    Itself,
}

impl Owner {
    /// Whether what is mounted at a place inside is from outside.
    fn has(&self, place: &Path) -> bool {
        match self.outside {
            Outside::Nothing => false,
            Outside::All => true,
            Outside::Itself => place == self.place,
        }
    }

    fn name_of(&self, place: &Path) -> String {
        let rest = place.strip_prefix(&self.place).unwrap_or(Path::new(""));
        let name =
            if rest.as_os_str().is_empty() { self.destination.clone() } else { self.destination.join(rest) };
        text(&name)
    }
}

fn owners(spec: &Spec, root: &OwnedFd, mounts: &[Mounted], hierarchies: &Hierarchies) -> Vec<Owner> {
    // In v2 it is a mount of the container's own.
    let groups_are_bound = hierarchies.version() != "v2";
    let changes_user = namespaces::changes_user(spec);
    let owner = |mount: &Mount| {
        let destination = absolute(mount.destination());
        let place =
            mounts.iter().rfind(|found| Some(found.id) == mount_at(root, &destination))?.place.clone();
        let is_group = mount.typ().as_deref() == Some("cgroup") && groups_are_bound;
        let outside = outside(mount, &destination, changes_user);
        Some((is_group, Owner { destination, place, outside }))
    };
    let found = spec.mounts().iter().flatten().filter_map(owner);
    let mut owners = Vec::new();
    for (is_group, owner) in found {
        if is_group {
            // The folders of it are bound, and what holds them is not.
            let below = mounts.iter().filter(|mount| mount.place.parent() == Some(owner.place.as_path()));
            owners.extend(below.map(|mount| Owner {
                destination: owner.destination.join(mount.place.file_name().unwrap_or_default()),
                place: mount.place.clone(),
                outside: Outside::All,
            }));
        }
        owners.push(owner);
    }
    owners
}

/// CRIU restores the files of `/dev` as the container's root, who may make no devices if it has users of its own:
/// then `/dev` is as new.
fn outside(mount: &Mount, destination: &Path, changes_user: bool) -> Outside {
    match mount.typ().as_deref() {
        _ if is_bind(mount) => Outside::All,
        Some("tmpfs") if changes_user && destination == Path::new(DEV) => Outside::Itself,
        _ => Outside::Nothing,
    }
}

/// The innermost that a place is in; of two at the same place the later.
fn owner_of<'a>(owners: &'a [Owner], place: &Path) -> Option<&'a Owner> {
    let around = owners.iter().filter(|owner| place.starts_with(&owner.place));
    around.max_by_key(|owner| owner.place.as_os_str().len())
}

/// A device of the host's that is mounted by itself: it covers a path, or could not be made.
fn device_name(root: &OwnedFd, mount: &Mounted) -> Option<String> {
    if mount.kind == "devpts" {
        return None;
    }
    let file =
        in_root::open(root.as_fd(), mount.place.as_path(), OFlags::PATH, ResolveFlags::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if stat.st_rdev == makedev(1, 3) => Some(NULL.to_owned()),
        FileType::CharacterDevice | FileType::BlockDevice => Some(text(&mount.place)),
        _ => None,
    }
}

fn mount_at(root: &OwnedFd, path: &Path) -> Option<u64> {
    let file = in_root::open(root.as_fd(), path, OFlags::PATH, ResolveFlags::empty()).ok()?;
    let identified = |file: &OwnedFd| -> Result<_, Errno> {
        statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).map(|found| found.stx_mnt_id)
    };
    identified(&file).ok()
}

/// A mount as the kernel tells of it (proc_pid_mountinfo(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mounted {
    id: u64,
    /// Mount point, from the root of whoever was asked.
    pub place: PathBuf,
    /// Type of its file system.
    kind: String,
    /// Options of its file system, which all its mounts share.
    pub options: Vec<String>,
}

/// The mounts of a mount namespace.
///
/// # Errors
/// The file cannot be read.
pub(super) fn read_mounts(file: &str) -> Result<Vec<Mounted>> {
    let text = std::fs::read_to_string(file).context(|| format!("read `{file}`"))?;
    Ok(text.lines().filter_map(parse_mount).collect())
}

/// Mount point of the first mount of a kind of file system in such a table. Pure.
pub(crate) fn place_of_kind(table: &str, kind: &str) -> Option<PathBuf> {
    table.lines().filter_map(parse_mount).find(|mount| mount.kind == kind).map(|mount| mount.place)
}

fn parse_mount(line: &str) -> Option<Mounted> {
    let (first, second) = line.split_once(" - ")?;
    let mut fields = first.split(' ');
    let id = fields.next()?.parse().ok()?;
    let place = unescape(fields.nth(3)?);
    let mut fields = second.split(' ');
    let kind = fields.next()?.to_owned();
    let options = fields.nth(1).unwrap_or_default().split(',').map(str::to_owned).collect();
    Some(Mounted { id, place: place.into(), kind, options })
}

/// Space, tab, line break and backslash are written as `\` and three octal digits.
fn unescape(text: &str) -> String {
    let mut pieces = text.split('\\');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let byte = piece.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match byte.filter(u8::is_ascii) {
            Some(byte) => plain.extend([char::from(byte)].into_iter().chain(piece[3..].chars())),
            None => plain.extend(['\\'].into_iter().chain(piece.chars())),
        }
    }
    plain
}

fn is_bind(mount: &Mount) -> bool {
    MountOptions::parse(mount.options().iter().flatten()).bind
        || matches!(mount.typ().as_deref(), Some("bind"))
}

fn absolute(path: &Path) -> PathBuf {
    let path = Path::new("/").join(path);
    // Without what says nothing, such as a `/` at the end.
    path.components().collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let line =
            r"36 35 98:0 /mnt1 /with\040space\134 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = parse_mount(line).expect("valid");
        assert_eq!(
            (mount.id, mount.place.to_str(), mount.kind.as_str()),
            (36, Some("/with space\\"), "ext3")
        );
        assert_eq!(mount.options, ["rw", "errors=continue"]);
        assert_eq!(parse_mount("36 35"), None);
        assert_eq!(unescape(r"a\9z\"), r"a\9z\");
    }

    #[test]
    fn a_mount_belongs_to_the_innermost() {
        let owner = |path: &str, outside| Owner { destination: path.into(), place: path.into(), outside };
        let owners =
            [owner("/", Outside::Nothing), owner("/data", Outside::All), owner("/data/tmp", Outside::Itself)];
        let found = |path: &str| owner_of(&owners, Path::new(path)).map(|owner| owner.destination.clone());
        assert_eq!(found("/data/sub/mount"), Some("/data".into()));
        assert_eq!(found("/data/tmp"), Some("/data/tmp".into()));
        assert_eq!(found("/database"), Some("/".into()));
        assert_eq!(owners[1].name_of(Path::new("/data/sub")), "/data/sub");
        let has =
            |path: &str| owner_of(&owners, Path::new(path)).is_some_and(|owner| owner.has(Path::new(path)));
        assert!(has("/data") && has("/data/sub") && has("/data/tmp"));
        assert!(!has("/data/tmp/below") && !has("/other"));
    }

    #[test]
    fn names_stand_for_sources() {
        let document = r#"{"ociVersion":"1.2.0","mounts":[
            {"destination":"data/","type":"bind","source":"v","options":["bind"]},
            {"destination":"/proc","type":"proc","source":"proc"}],
            "linux":{"devices":[{"path":"/dev/fuse","type":"c","major":10,"minor":229}]}}"#;
        let spec = crate::bundle::parse(document.as_bytes(), &mut Vec::new()).expect("valid");
        let externals = of_configuration(&spec, Path::new("/bundle"), &[]).expect("readable");
        let found = |name: &str| externals.iter().find(|one| one.name == name).map(|one| one.place.as_str());
        assert_eq!(found("/data"), Some("/bundle/v"));
        assert_eq!(found("/dev/null"), Some("/dev/null"));
        assert_eq!(found("/dev/fuse"), Some("/dev/fuse"));
        assert_eq!(found("/proc"), None);
    }
}
