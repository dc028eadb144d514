//! Finding, listing and making volumes.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use holm_spec::Timestamp;
use holm_spec::layout::Layout;
use holm_spec::volume::{VERSION, Volume, is_valid_name};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, random_bytes, read_limited, replace, sync_directory};
use holm_sys::lock::{Lock, Mode};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};
use crate::options::Asked;
use crate::quota;
use crate::remove::remove_with_limit;

/// Permissions of a volume's root, until it is filled with what has others.
pub const DATA_MODE: u32 = 0o755;
/// Longest document, in bytes.
pub(crate) const LIMIT: u64 = 1 << 20;
pub(crate) const DIRECTORY_MODE: u32 = 0o700;

/// What is asked for a new volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Nobody chose the name.
    pub anonymous: bool,
    /// Options of Docker's `local` driver: see `options.rs`.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl NewVolume {
    /// A volume of this name, or one with a random name that nobody chose: 64 hexadecimal digits, as Docker names it.
    pub fn named(name: Option<String>) -> Self {
        let anonymous = name.is_none();
        Self { name: name.unwrap_or_else(random_name), anonymous, ..Self::default() }
    }
}

/// The volumes of one installation.
#[derive(Debug)]
pub struct Volumes {
    pub(crate) layout: Layout,
}

impl Volumes {
    /// Those of the installation at `layout`.
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone() }
    }

    /// The volume of that name.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Corrupt`].
    pub fn find(&self, name: &str) -> Result<Volume> {
        let found = if is_valid_name(name) { self.read(name)? } else { None };
        found.ok_or_else(|| Error::new(Kind::NotFound, format!("no such volume: `{name}`")))
    }

    /// All volumes, by name, but for those whose document is damaged: they can be removed by their names.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn list(&self) -> Result<Vec<Volume>> {
        let mut volumes = Vec::new();
        for name in names_in(&self.layout.volumes())? {
            if is_valid_name(&name) {
                match self.read(&name) {
                    Err(error) if error.kind() == Kind::Corrupt => {}
                    read => volumes.extend(read?),
                }
            }
        }
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(volumes)
    }

    /// Where the host has what a volume holds; of a file system while somebody uses it ([`Volumes::share`]).
    pub fn source(&self, volume: &Volume) -> PathBuf {
        if volume.is_file_system() {
            return self.layout.volume_mount(&volume.name).root();
        }
        volume.device().map_or_else(|| self.layout.volume(&volume.name).data(), Path::to_owned)
    }

    /// Makes a volume, or finds the one of that name if it is as asked; says whether it made it. Whoever is about to refer to
    /// it holds [`Volumes::referring`].
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a name or an option; [`Kind::Exists`] if there is one that is otherwise.
    pub fn create(&self, asked: &NewVolume) -> Result<(Volume, bool)> {
        let what = check(&asked.name, asked)?;
        if let Some(there) = self.read(&asked.name)? {
            return same(there, asked).map(|volume| (volume, false));
        }
        let quota = match what {
            Asked::Own { size: Some(size) } => {
                let bytes = quota::parse(&asked.name, &size)?;
                Some(quota::choose(&self.layout.volumes(), &asked.name, bytes)?)
            }
            _ => None,
        };
        let volume = Volume {
            version: VERSION,
            name: asked.name.clone(),
            created: Timestamp::from_nanos(holm_sys::process::now()),
            anonymous: asked.anonymous,
            options: asked.options.clone(),
            labels: asked.labels.clone(),
            quota,
        };
        match self.publish(&volume) {
            Ok(()) => Ok((volume, true)),
            // Somebody else was faster.
            Err(Errno::EXIST | Errno::NOTEMPTY) => {
                same(self.find(&volume.name)?, asked).map(|volume| (volume, false))
            }
            Err(errno) => Err(Error::io(format!("make volume `{}`", volume.name), errno)),
        }
    }

    /// Keeps every volume where it is until this is dropped. For who makes a workload that has one.
    ///
    /// # Errors
    /// [`Kind::Locked`].
    pub fn referring(&self) -> Result<Lock> {
        Ok(Lock::acquire(&self.layout.volumes_lock(), Mode::Shared)?)
    }

    /// Sees to it that a volume which has a size is kept to it, before somebody uses it.
    ///
    /// # Errors
    /// [`Kind::NoQuota`] if nothing does that any more.
    pub fn keep_size(&self, volume: &Volume) -> Result<()> {
        let limit = volume.quota.as_ref();
        limit.map_or(Ok(()), |limit| quota::keep(&volume.name, &self.source(volume), limit))
    }

    /// What a volume holds, if how much that may be is limited.
    ///
    /// # Errors
    /// The file system does not tell.
    pub fn held(&self, volume: &Volume) -> Result<Option<u64>> {
        let Some(quota) = &volume.quota else { return Ok(None) };
        let bytes = quota::held(&self.layout.volume(&volume.name).dir, quota);
        bytes.map(Some).map_err(|errno| Error::io(format!("measure volume `{}`", volume.name), errno))
    }

    fn publish(&self, volume: &Volume) -> Result<(), Errno> {
        let staged = self.layout.volumes().join(WORK).join(format!("{NEW}{}", random_name()));
        let make = || {
            ensure_directory(&staged, DIRECTORY_MODE)?;
            let text = serde_json::to_vec(volume).expect("a volume is plain data");
            // One that nobody named is not missed after a power cut.
            let durability = if volume.anonymous { Durability::Volatile } else { Durability::Durable };
            // Before the limit: who removes what a crash left learns from it which one to take away.
            replace(&staged.join("volume.json"), &text, durability)?;
            if let Some(quota) = &volume.quota {
                quota::establish(&staged, quota)?;
            }
            ensure_directory(&staged.join("_data"), DIRECTORY_MODE)?;
            let mode = rustix::fs::Mode::from_raw_mode(DATA_MODE);
            Ok(rustix::fs::chmod(staged.join("_data"), mode)?)
        };
        make().map_err(|error: std::io::Error| {
            let _ = remove_with_limit(&staged);
            Errno::from_io_error(&error).unwrap_or(Errno::IO)
        })?;
        fail_point::reached("volume-staged");
        let named =
            renameat_with(CWD, &staged, CWD, &self.layout.volume(&volume.name).dir, RenameFlags::NOREPLACE);
        if named.is_err() {
            let _ = remove_with_limit(&staged);
        } else if !volume.anonymous {
            // The name is there for this host anyway.
            let _ = sync_directory(&self.layout.volumes());
        }
        named
    }

    fn read(&self, name: &str) -> Result<Option<Volume>> {
        let path = self.layout.volume(name).document();
        let about = || format!("read volume `{name}`");
        let text = match read_limited(&path, LIMIT) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            text => text.map_err(|error| Error::io(about(), error))?,
        };
        let volume: Volume = serde_json::from_slice(&text).map_err(|error| Error::corrupt(about(), error))?;
        match volume.version {
            VERSION => Ok(Some(volume)),
            other => Err(Error::new(Kind::Corrupt, format!("{}: unknown version {other}", about()))),
        }
    }
}

/// Directory of what is half made and half removed.
pub(crate) const WORK: &str = ".work";
/// Prefix of a volume that is being made.
pub(crate) const NEW: &str = "new-";

/// 64 hexadecimal digits.
pub(crate) fn random_name() -> String {
    random_bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names in a directory, in no order; none if it is not there.
pub(crate) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.map(|entry| entry.file_name().into_string().ok()).map_err(failed).transpose()
    };
    entries.filter_map(name).collect()
}

fn same(there: Volume, asked: &NewVolume) -> Result<Volume> {
    if asked.options.is_empty() || asked.options == there.options {
        return Ok(there);
    }
    let text = format!("volume `{}` is there with other options", there.name);
    Err(Error::new(Kind::Exists, text))
}

/// What is asked for, if it makes sense.
fn check(name: &str, asked: &NewVolume) -> Result<Asked> {
    let invalid = |why: String| Err(Error::new(Kind::Invalid, why));
    if !is_valid_name(name) {
        return invalid(format!(
            "`{name}` is no name of a volume: at least two letters, digits, `_`, `.` or `-`, the first a letter or digit"
        ));
    }
    let asked = Asked::parse(&asked.options).or_else(|why| invalid(format!("volume `{name}`: {why}")))?;
    match &asked {
        Asked::Directory(device) if !device.is_dir() => {
            invalid(format!("volume `{name}`: device `{}` is no directory of the host", device.display()))
        }
        _ => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes() -> (tempfile::TempDir, Volumes) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("root/locks")).expect("a directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        (dir, Volumes::new(&layout))
    }

    fn named(name: &str) -> NewVolume {
        NewVolume::named(Some(name.into()))
    }

    #[test]
    fn a_volume_is_made_once() {
        let (_dir, volumes) = volumes();
        assert_eq!(volumes.find("data").map_err(|error| error.kind()), Err(Kind::NotFound));
        let (made, new) = volumes.create(&named("data")).expect("makes it");
        assert!(new && !made.anonymous && volumes.source(&made).is_dir());
        assert_eq!(volumes.create(&named("data")).expect("finds it"), (made.clone(), false));
        let (nameless, _) = volumes.create(&NewVolume::named(None)).expect("makes it");
        assert!(nameless.anonymous && nameless.name.len() == 64);
        let names: Vec<String> =
            volumes.list().expect("lists").into_iter().map(|volume| volume.name).collect();
        assert_eq!(names.len(), 2);
        assert!(names.contains(&made.name) && names.contains(&nameless.name));
    }

    #[test]
    fn a_volume_may_stand_for_a_directory() {
        let (dir, volumes) = volumes();
        let device = dir.path().to_str().expect("UTF-8").to_owned();
        let options = |pairs: &[(&str, &str)]| NewVolume {
            options: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..named("data")
        };
        for bad in [
            &[("size", "1k")][..],
            &[("type", "nfs"), ("device", "host"), ("o", "addr=1.2.3.4")],
            &[("type", "none"), ("o", "bind")],
            &[("type", "none"), ("o", "bind"), ("device", "relative")],
            &[("type", "none"), ("o", "bind"), ("device", "/nowhere/at/all")],
        ] {
            let error = volumes.create(&options(bad)).expect_err("is refused");
            assert_eq!(error.kind(), Kind::Invalid, "{error}");
        }
        let good = options(&[("type", "none"), ("o", "bind"), ("device", &device)]);
        let (volume, _) = volumes.create(&good).expect("makes it");
        assert_eq!(volumes.source(&volume), dir.path());
        assert_eq!(volumes.create(&named("data")).expect("finds it"), (volume, false));
        let other = options(&[("type", "none"), ("o", "bind"), ("device", "/")]);
        assert_eq!(volumes.create(&other).map_err(|error| error.kind()), Err(Kind::Exists));
    }
}
