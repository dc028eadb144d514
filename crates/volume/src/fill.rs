//! Filling a volume that is empty, so that it is either empty or whole, whatever happens meanwhile.
//!
//! ```text
//! filling/   is being written                       a crash here: the next who fills it begins anew
//! filled/    is whole, its entries move to _data/   a crash here: the next who fills it moves the rest
//! ```
//! Only names move, and never over one that is there: a workload that has the volume already loses nothing.

use std::os::fd::AsFd;
use std::path::Path;

use holm_spec::layout::VolumePaths;
use holm_spec::volume::Volume;
use holm_sys::fail_point;
use holm_sys::file::{ensure_directory, remove_tree};
use holm_sys::lock::{Lock, Mode};
use rustix::fs::{
    Gid, Mode as Permissions, OFlags, RenameFlags, Uid, chownat, fchmod, fstat, open, renameat_with, syncfs,
};
use rustix::io::Errno;

use crate::Volumes;
use crate::error::{Error, Result};
use crate::volumes::DATA_MODE;

impl Volumes {
    /// Lets `fill` write into a directory what an empty volume is to hold; the owner and the permissions of that directory
    /// become the volume's. One that holds something is left as it is, and so is a directory of the host's, a file system, and one that `fill` says it has nothing for.
    /// Says whether it was filled.
    ///
    /// # Errors
    /// What `fill` reports; [`crate::Kind::Locked`], [`crate::Kind::NoSpace`].
    pub fn fill<E: From<Error>>(
        &self,
        volume: &Volume,
        fill: impl FnOnce(&Path) -> std::result::Result<bool, E>,
    ) -> std::result::Result<bool, E> {
        let paths = self.layout.volume(&volume.name);
        let is_others = volume.device().is_some() || volume.is_file_system();
        if is_others || (!is_empty(&paths.data())? && !paths.filled().exists()) {
            return Ok(false);
        }
        let _lock = Lock::acquire(&paths.lock(), Mode::Exclusive).map_err(Error::from)?;
        if paths.filled().exists() {
            move_in(&paths, volume)?;
        }
        if !is_empty(&paths.data())? {
            return Ok(false);
        }
        let filling = paths.filling();
        make_anew(&filling, volume)?;
        if !fill(&filling).inspect_err(|_| drop(remove_tree(&filling)))? {
            remove_tree(&filling).map_err(|error| Error::io(about(volume), error))?;
            return Ok(false);
        }
        fail_point::reached("volume-filling");
        publish(&paths, volume)?;
        fail_point::reached("volume-filled");
        move_in(&paths, volume)?;
        Ok(true)
    }
}

fn about(volume: &Volume) -> String {
    format!("fill volume `{}`", volume.name)
}

fn is_empty(directory: &Path) -> Result<bool> {
    let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
    let mut entries = std::fs::read_dir(directory).map_err(failed)?;
    Ok(entries.next().transpose().map_err(failed)?.is_none())
}

fn make_anew(filling: &Path, volume: &Volume) -> Result<()> {
    let make = || {
        remove_tree(filling)?;
        ensure_directory(filling, DATA_MODE)?;
        rustix::fs::chmod(filling, Permissions::from_raw_mode(DATA_MODE)).map_err(std::io::Error::from)
    };
    make().map_err(|error| Error::io(about(volume), error))
}

/// What is whole, and on the disk, gets the name that says so. The content of an anonymous volume is not missed.
fn publish(paths: &VolumePaths, volume: &Volume) -> Result<()> {
    let publish = || {
        let filling = open(
            paths.filling(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Permissions::empty(),
        )?;
        if !volume.anonymous && !is_empty(&paths.filling()).unwrap_or(false) {
            syncfs(&filling)?;
        }
        rustix::fs::rename(paths.filling(), paths.filled())
    };
    publish().map_err(|errno| Error::io(about(volume), errno))
}

/// Also those that are no text.
fn every_name_in(directory: &Path) -> std::io::Result<Vec<std::ffi::OsString>> {
    std::fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

fn move_in(paths: &VolumePaths, volume: &Volume) -> Result<()> {
    let names = every_name_in(&paths.filled()).map_err(|error| Error::io(about(volume), error))?;
    let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let move_names = || {
        let filled = open(paths.filled(), directory, Permissions::empty())?;
        let data = open(paths.data(), directory, Permissions::empty())?;
        for name in names {
            match renameat_with(&filled, &name, &data, &name, RenameFlags::NOREPLACE) {
                // What a workload has put there meanwhile stays.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
        let stat = fstat(&filled)?;
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(data.as_fd(), c"", Some(owner.0), Some(owner.1), rustix::fs::AtFlags::EMPTY_PATH)?;
        fchmod(&data, Permissions::from_raw_mode(stat.st_mode))
    };
    move_names().map_err(|errno: Errno| Error::io(about(volume), errno))?;
    remove_tree(&paths.filled()).map_err(|error| Error::io(about(volume), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NewVolume;
    use crate::volumes::names_in;
    use holm_spec::layout::Layout;

    struct Case {
        _dir: tempfile::TempDir,
        volumes: Volumes,
        volume: Volume,
        paths: VolumePaths,
    }

    fn case() -> Case {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("locks")).expect("a directory");
        let layout = Layout::new(dir.path(), dir.path().join("run"));
        let volumes = Volumes::new(&layout);
        let asked = NewVolume::named(Some("data".into()));
        let (volume, _) = volumes.create(&asked).expect("makes it");
        Case { _dir: dir, volumes, volume, paths: layout.volume("data") }
    }

    fn write(directory: &Path) -> Result<bool> {
        std::fs::write(directory.join("a"), "new").expect("write");
        std::fs::create_dir(directory.join("b")).expect("a directory");
        Ok(true)
    }

    fn names(case: &Case) -> Vec<String> {
        let mut names = names_in(&case.paths.data()).expect("lists");
        names.sort();
        names
    }

    #[test]
    fn only_an_empty_volume_is_filled() {
        let case = case();
        assert!(case.volumes.fill(&case.volume, write).expect("fills it"));
        assert_eq!(names(&case), ["a", "b"]);
        assert!(
            !case
                .volumes
                .fill(&case.volume, |_| -> Result<bool> { panic!("asked again") })
                .expect("leaves it")
        );
        assert!(!case.paths.filled().exists() && !case.paths.filling().exists());
    }

    #[test]
    fn what_was_left_half_is_begun_anew_and_what_was_whole_goes_on() {
        let case = case();
        std::fs::create_dir(case.paths.filling()).expect("a directory");
        std::fs::write(case.paths.filling().join("half"), "").expect("write");
        assert!(case.volumes.fill(&case.volume, write).expect("fills it"));
        assert_eq!(names(&case), ["a", "b"]);
        // Killed between two names, and a workload wrote one of them since.
        std::fs::create_dir(case.paths.filled()).expect("a directory");
        std::fs::write(case.paths.filled().join("a"), "old").expect("write");
        std::fs::write(case.paths.filled().join("c"), "old").expect("write");
        assert!(!case.volumes.fill(&case.volume, write).expect("goes on"));
        assert_eq!(names(&case), ["a", "b", "c"]);
        assert_eq!(std::fs::read_to_string(case.paths.data().join("a")).expect("read"), "new");
    }

    #[test]
    fn names_that_are_no_text_come_along() {
        use std::os::unix::ffi::OsStrExt;
        let case = case();
        let name = std::ffi::OsStr::from_bytes(b"\xe9");
        let write = |directory: &Path| {
            std::fs::write(directory.join(name), "").expect("write");
            Ok::<_, Error>(true)
        };
        assert!(case.volumes.fill(&case.volume, write).expect("fills it"));
        assert!(case.paths.data().join(name).exists());
    }

    #[test]
    fn what_fails_leaves_nothing() {
        let case = case();
        let failed = case.volumes.fill(&case.volume, |directory| {
            write(directory)?;
            Err(Error::new(crate::Kind::Invalid, "no"))
        });
        assert!(failed.is_err());
        let mode = |case: &Case| std::fs::metadata(case.paths.data()).expect("is there").permissions();
        let before = mode(&case);
        assert!(!case.volumes.fill(&case.volume, |_| Ok::<_, Error>(false)).expect("leaves it"));
        assert_eq!(mode(&case), before);
        assert!(names(&case).is_empty() && !case.paths.filling().exists());
    }
}
