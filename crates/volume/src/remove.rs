//! Who has a volume, and removing those that nobody has.

use std::path::{Path, PathBuf};

use holm_spec::Id;
use holm_spec::layout::STAGED_PREFIX;
use holm_spec::volume::MountKind;
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, read_limited, remove_tree, replace};
use holm_sys::lock::{Lock, Mode};
use serde::Deserialize;

use crate::Volumes;
use crate::error::{Error, Kind, Result};
use crate::quota;
use crate::volumes::{NEW, WORK, names_in, random_name};

/// Prefix of a volume that is being removed.
const OLD: &str = "old-";
/// Prefix of the list of the volumes that go with a workload.
const WITH: &str = "with-";
/// Longest configuration of a workload, in bytes.
const CONFIG_LIMIT: u64 = 16 << 20;
/// Longest list of volumes, in bytes.
const LIST_LIMIT: u64 = 1 << 20;

/// What of a workload's configuration, of any version, tells its volumes.
#[derive(Deserialize)]
struct Refers {
    name: Option<String>,
    #[serde(default)]
    settings: Settings,
}

#[derive(Default, Deserialize)]
struct Settings {
    #[serde(default)]
    mounts: Vec<Mounted>,
}

#[derive(Deserialize)]
struct Mounted {
    kind: MountKind,
    name: Option<String>,
}

/// Which workloads have volumes.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    /// Name of a volume, id and name of a workload.
    pairs: Vec<(String, Id, String)>,
}

impl InUse {
    /// The workloads that have a volume: ids and names.
    pub fn of<'a>(&'a self, volume: &'a str) -> impl Iterator<Item = (&'a Id, &'a str)> {
        let has = move |pair: &&(String, Id, String)| pair.0 == volume;
        self.pairs.iter().filter(has).map(|(_, id, name)| (id, name.as_str()))
    }
}

impl Volumes {
    /// Which workloads have which volumes, whether they run or not.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] for a workload that does not tell: it may have any.
    pub fn in_use(&self) -> Result<InUse> {
        let mut pairs = Vec::new();
        for id in names_in(&self.layout.workloads())?.iter().filter_map(|name| name.parse::<Id>().ok()) {
            let Some(refers) = self.refers(&id)? else { continue };
            let user = refers.name.unwrap_or_else(|| id.short());
            let volumes =
                refers.settings.mounts.into_iter().filter(|mounted| mounted.kind == MountKind::Volume);
            pairs.extend(volumes.filter_map(|mounted| mounted.name).map(|volume| (volume, id, user.clone())));
        }
        Ok(InUse { pairs })
    }

    /// Whether a workload has a volume; one that is gone has none.
    pub(crate) fn has(&self, id: &Id, volume: &str) -> Result<bool> {
        let mounts = self.refers(id)?.map(|refers| refers.settings.mounts).unwrap_or_default();
        let is_it =
            |mount: &Mounted| mount.kind == MountKind::Volume && mount.name.as_deref() == Some(volume);
        Ok(mounts.iter().any(is_it))
    }

    /// `None` if the workload is gone.
    fn refers(&self, id: &Id) -> Result<Option<Refers>> {
        let paths = self.layout.workload(id);
        let about = || format!("find the volumes of workload `{}`", id.short());
        let text = match read_limited(&paths.config(), CONFIG_LIMIT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !paths.dir.exists() => {
                return Ok(None);
            }
            text => text.map_err(|error| Error::io(about(), error))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|error| Error::corrupt(about(), error))
    }

    /// Removes a volume with all that it holds; the directory of the user's that it stands for stays.
    ///
    /// # Errors
    /// [`Kind::NotFound`]; [`Kind::InUse`], by which workloads.
    pub fn remove(&self, name: &str) -> Result<()> {
        match self.find(name) {
            Err(error) if error.kind() != Kind::Corrupt => return Err(error),
            _ => {}
        }
        let exclusive = self.exclusive()?;
        let in_use = self.in_use()?;
        let users: Vec<String> = in_use.of(name).map(|(_, user)| format!("`{user}`")).collect();
        if !users.is_empty() {
            let text = format!("remove volume `{name}`: workload {} has it", users.join(", "));
            return Err(Error::new(Kind::InUse, text));
        }
        if !self.unmount(name) {
            let text = format!("remove volume `{name}`: another process reads or writes it");
            return Err(Error::new(Kind::InUse, text));
        }
        let doomed = self.take_away(name)?;
        self.forget_mount(name);
        drop(exclusive);
        remove_doomed(&doomed)
    }

    /// Removes those of `chosen` that no workload has; gives these.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] while a workload does not tell its volumes.
    pub fn remove_unused(&self, chosen: &[String]) -> Result<Vec<String>> {
        self.remove_under(chosen, self.exclusive()?)
    }

    fn remove_under(&self, chosen: &[String], exclusive: Lock) -> Result<Vec<String>> {
        let in_use = self.in_use()?;
        let (mut removed, mut doomed) = (Vec::new(), Vec::new());
        for name in chosen.iter().filter(|name| in_use.of(name).next().is_none()) {
            match self.find(name) {
                Err(error) if error.kind() == Kind::NotFound => continue,
                Err(error) if error.kind() != Kind::Corrupt => return Err(error),
                _ if !self.unmount(name) => continue,
                _ => doomed.push(self.take_away(name)?),
            }
            self.forget_mount(name);
            removed.push(name.clone());
        }
        drop(exclusive);
        doomed.iter().try_for_each(|path| remove_doomed(path))?;
        Ok(removed)
    }

    /// Writes down that these volumes go when a workload does. Before they are made, so that a crash leaves none of them.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn bind_to(&self, workload: &Id, volumes: &[String]) -> Result<()> {
        let failed = |error| Error::io(format!("note the volumes of workload `{}`", workload.short()), error);
        ensure_directory(&self.work(), 0o700).map_err(failed)?;
        replace(&self.list_of(workload), volumes.join("\n").as_bytes(), Durability::Volatile).map_err(failed)
    }

    /// Forgets that: the volumes stay when the workload goes.
    pub fn unbind(&self, workload: &Id) {
        // Nobody misses the list, and a list without its workload goes with the next repair.
        let _ = std::fs::remove_file(self.list_of(workload));
    }

    /// Removes the volumes that go with a workload, which is gone, as far as no other one has them. While somebody makes a
    /// workload with volumes, that is left to the next repair: says whether it was done.
    ///
    /// # Errors
    /// As [`Volumes::remove_unused`]; the next repair tries again.
    pub fn release(&self, workload: &Id) -> Result<bool> {
        let list = self.list_of(workload);
        let text = match read_limited(&list, LIST_LIMIT) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
            text => text.map_err(|error| Error::io(format!("read `{}`", list.display()), error))?,
        };
        let Some(exclusive) = Lock::try_acquire(&self.layout.volumes_lock(), Mode::Exclusive)? else {
            return Ok(false);
        };
        let names: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        fail_point::reached("volumes-releasing");
        self.remove_under(&names, exclusive)?;
        self.unbind(workload);
        Ok(true)
    }

    /// Finishes what crashes left; one line for each thing.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn repair(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        for name in names_in(&self.work())? {
            let path = self.work().join(&name);
            let with = name.strip_prefix(WITH).and_then(|id| id.parse::<Id>().ok());
            if let Some(id) = with {
                if !self.is_there(&id) && matches!(self.release(&id), Ok(true)) {
                    done.push(format!("workload {}: removed the volumes that went with it", id.short()));
                }
            } else if name.starts_with(OLD) && remove_with_limit(&path).is_ok() {
                done.push("finished the removal of a volume".to_owned());
            } else if name.starts_with(NEW) && self.is_abandoned(&path) && remove_with_limit(&path).is_ok() {
                done.push("removed a half-made volume".to_owned());
            }
        }
        let reclaimed = (0..self.reclaim()?).map(|_| "unmounted a volume that nobody uses".to_owned());
        done.extend(reclaimed);
        Ok(done)
    }

    /// Whether a workload is there, or is being made.
    fn is_there(&self, id: &Id) -> bool {
        let (published, staged) = (self.layout.workload(id).dir, format!("{STAGED_PREFIX}{id}"));
        // It may be published between two looks.
        published.exists() || self.layout.workloads().join(staged).exists() || published.exists()
    }

    /// Whether nobody is making what lies there: whoever does keeps the lock.
    fn is_abandoned(&self, path: &Path) -> bool {
        let lock = Lock::try_acquire(&self.layout.volumes_lock(), Mode::Exclusive);
        matches!(lock, Ok(Some(_))) && path.exists()
    }

    fn exclusive(&self) -> Result<Lock> {
        Ok(Lock::acquire(&self.layout.volumes_lock(), Mode::Exclusive)?)
    }

    /// Takes a volume's name away; where it lies then.
    fn take_away(&self, name: &str) -> Result<PathBuf> {
        let doomed = self.work().join(format!("{OLD}{}", random_name()));
        let failed = |error| Error::io(format!("remove volume `{name}`"), error);
        ensure_directory(&self.work(), 0o700).map_err(failed)?;
        std::fs::rename(&self.layout.volume(name).dir, &doomed).map_err(failed)?;
        fail_point::reached("volume-unnamed");
        Ok(doomed)
    }

    fn work(&self) -> PathBuf {
        self.layout.volumes().join(WORK)
    }

    fn list_of(&self, workload: &Id) -> PathBuf {
        self.work().join(format!("{WITH}{workload}"))
    }
}

/// Removes the directory of a volume, whatever its name is now, and the limit of what it may hold. The limit goes first, since
/// only the document tells of it.
pub(crate) fn remove_with_limit(directory: &Path) -> std::io::Result<()> {
    quota::lift(directory);
    remove_tree(directory)
}

fn remove_doomed(path: &Path) -> Result<()> {
    remove_with_limit(path).map_err(|error| Error::io(format!("remove `{}`", path.display()), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewVolume;
    use holm_spec::layout::Layout;

    struct Case {
        _dir: tempfile::TempDir,
        layout: Layout,
        volumes: Volumes,
    }

    fn case() -> Case {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("locks")).expect("a directory");
        let layout = Layout::new(dir.path(), dir.path().join("run"));
        let case = Case { volumes: Volumes::new(&layout), layout, _dir: dir };
        for name in ["one", "two"] {
            let asked = NewVolume::named(Some(name.into()));
            case.volumes.create(&asked).expect("makes it");
        }
        case
    }

    fn id(byte: u8) -> Id {
        Id::from_bytes([byte; 32])
    }

    fn workload(case: &Case, id: &Id, volume: &str) {
        let paths = case.layout.workload(id);
        std::fs::create_dir_all(&paths.dir).expect("a directory");
        let mount = serde_json::json!({ "kind": "volume", "name": volume });
        let config = serde_json::json!({ "name": "web", "settings": { "mounts": [mount] } });
        std::fs::write(paths.config(), config.to_string()).expect("write");
    }

    #[test]
    fn a_volume_that_a_workload_has_stays() {
        let case = case();
        workload(&case, &id(1), "one");
        let error = case.volumes.remove("one").expect_err("is refused");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (Kind::InUse, "remove volume `one`: workload `web` has it")
        );
        let chosen = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(case.volumes.remove_unused(&chosen).expect("removes"), ["two"]);
        assert_eq!(case.volumes.remove("three").map_err(|error| error.kind()), Err(Kind::NotFound));
        std::fs::write(case.layout.workload(&id(1)).config(), "{").expect("write");
        assert_eq!(case.volumes.remove("one").map_err(|error| error.kind()), Err(Kind::Corrupt));
        case.volumes.find("one").expect("is there");
    }

    #[test]
    fn volumes_go_with_a_workload_that_is_gone() {
        let case = case();
        case.volumes.bind_to(&id(1), &["one".into(), "two".into()]).expect("notes it");
        workload(&case, &id(1), "one");
        assert_eq!(case.volumes.repair().expect("repairs"), Vec::<String>::new());
        std::fs::remove_dir_all(case.layout.workload(&id(1)).dir).expect("remove");
        workload(&case, &id(2), "two");
        assert_eq!(case.volumes.repair().expect("repairs").len(), 1);
        assert!(case.volumes.find("one").is_err());
        case.volumes.find("two").expect("is another one's, too");
        assert_eq!(case.volumes.repair().expect("repairs"), Vec::<String>::new());
    }

    #[test]
    fn what_a_crash_left_is_finished() {
        let case = case();
        let work = case.layout.volumes().join(WORK);
        for name in ["new-1", "old-1"] {
            std::fs::create_dir_all(work.join(name).join("_data")).expect("a directory");
        }
        let maker = case.volumes.referring().expect("locks");
        assert_eq!(case.volumes.repair().expect("repairs"), ["finished the removal of a volume"]);
        drop(maker);
        assert_eq!(case.volumes.repair().expect("repairs"), ["removed a half-made volume"]);
        assert_eq!(names_in(&work).expect("lists"), Vec::<String>::new());
    }
}
