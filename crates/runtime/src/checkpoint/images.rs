//! The directories of a checkpoint: CRIU's files, and its log.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use holm_spec::runtime::Spec;
use holm_sys::file::read_limited;
use holm_sys::rustix::fs::{Gid, Mode, OFlags, fchmod, fchown, open};

use super::Settings;
use crate::error::{Context, Error, Kind, Result};
use crate::maps::Maps;
use crate::rootfs::path_string;

/// What the standard streams were; the name and form are runc's.
const DESCRIPTORS: &str = "descriptors.json";
/// Longest list of descriptors that is read, in bytes.
const DESCRIPTORS_LIMIT: u64 = 64 << 10;

/// Which log.
#[derive(Clone, Copy, Debug)]
pub(super) enum Log {
    Dump,
    Restore,
}

impl Log {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "dump.log",
            Self::Restore => "restore.log",
        }
    }
}

/// The directories, open: CRIU gets them at the same numbers.
#[derive(Debug)]
pub(super) struct Images {
    path: PathBuf,
    directory: File,
    work: Option<(PathBuf, File)>,
}

impl Images {
    /// Opens the directories for a dump and makes what is absent.
    ///
    /// # Errors
    /// They cannot be made or opened.
    pub fn create(settings: &Settings) -> Result<Self> {
        make_directory(&settings.images)?;
        Self::open(settings)
    }

    /// Opens the directories for a restore; that of the log is made if it is absent.
    ///
    /// # Errors
    /// They cannot be opened.
    pub fn open(settings: &Settings) -> Result<Self> {
        let directory = open_directory(&settings.images)?;
        let work = settings.work.as_deref().map(|path| {
            make_directory(path)?;
            Ok((path.to_owned(), open_directory(path)?))
        });
        Ok(Self { path: settings.images.clone(), directory, work: work.transpose()? })
    }

    /// Lets the root of the container's user namespace look into the directory of CRIU's files, since CRIU reads some
    /// of them as that one: by its group, for nobody else is to read a container's memory, and before the namespace
    /// has its maps CRIU reads as the owner.
    ///
    /// # Errors
    /// The group or the mode cannot be changed.
    pub fn open_to_root_of(&self, spec: &Spec) -> Result<()> {
        let linux = spec.linux().as_ref();
        let maps =
            linux.map(|linux| Maps::from_oci(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref()));
        let Some(group) = maps.transpose()?.flatten().and_then(|maps| maps.gids.to_host(0)) else {
            return Ok(());
        };
        let failed = || format!("open directory `{}` to the container's root", self.path.display());
        let data = self.directory.metadata().context(failed)?;
        if data.mode() & 0o005 == 0o005 || (data.gid() == group && data.mode() & 0o050 == 0o050) {
            return Ok(());
        }
        fchown(&self.directory, None, Some(Gid::from_raw(group))).context(failed)?;
        fchmod(&self.directory, Mode::from_raw_mode(data.mode() & 0o7777 | 0o050)).context(failed)
    }

    /// All of them, with their paths.
    ///
    /// # Errors
    /// A path with a NUL byte.
    pub fn directories(&self) -> Result<Vec<(BorrowedFd<'_>, CString)>> {
        let work = self.work.iter().map(|(path, directory)| (path, directory));
        let all = [(&self.path, &self.directory)].into_iter().chain(work);
        all.map(|(path, directory)| Ok((directory.as_fd(), path_string(path)?))).collect()
    }

    /// Number of the descriptor of CRIU's files.
    pub fn number(&self) -> i32 {
        self.directory.as_raw_fd()
    }

    /// Number of the descriptor of the log's directory, if it is another one.
    pub fn work_number(&self) -> Option<i32> {
        self.work.as_ref().map(|(_, directory)| directory.as_raw_fd())
    }

    /// Writes down what the standard streams were.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write_descriptors(&self, descriptors: &[String]) -> Result<()> {
        use std::io::Write;
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(DESCRIPTORS);
        let text = serde_json::to_vec(descriptors).expect("texts are plain data");
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(&text)).context(|| format!("write `{}`", path.display()))
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not there, or no such list.
    pub fn read_descriptors(&self) -> Result<Vec<String>> {
        let path = self.path.join(DESCRIPTORS);
        let text = read_limited(&path, DESCRIPTORS_LIMIT).context(|| format!("read `{}`", path.display()))?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::caused(Kind::Invalid, format!("read `{}`", path.display()), error))
    }

    /// Adds to an error where the log is, and the first error that stands in it.
    pub fn explain(&self, error: Error, log: Log) -> Error {
        let directory = self.work.as_ref().map_or(&self.path, |(path, _)| path);
        let file = directory.join(log.name());
        let Some(first) = File::open(&file).ok().and_then(|file| first_error(BufReader::new(file))) else {
            return error;
        };
        Error::caused(error.kind(), format!("{error} (log file: {})", file.display()), first)
    }
}

/// The first line that tells of an error, without its time. That another program ended with a failure is none if
/// there is a better one: CRIU tries what the host has.
fn first_error(log: impl BufRead) -> Option<String> {
    let lines = log.split(b'\n').map_while(|line| line.ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let mut errors = texts.filter_map(|line| Some(line[line.find("Error (")?..].trim_end().to_owned()));
    let first = errors.next()?;
    if !first.contains("exited, status=") {
        return Some(first);
    }
    Some(errors.find(|error| !error.contains("exited, status=")).unwrap_or(first))
}

fn make_directory(path: &Path) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other.context(|| format!("make directory `{}`", path.display())),
    }
}

fn open_directory(path: &Path) -> Result<File> {
    let opened = open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    opened.map(File::from).context(|| format!("open directory `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(directory: &Path) -> Settings {
        Settings { images: directory.join("i"), work: Some(directory.join("w")), ..Settings::default() }
    }

    #[test]
    fn descriptors_come_back() {
        let place = tempfile::tempdir().expect("tempdir");
        assert!(Images::open(&settings(place.path())).is_err());
        let images = Images::create(&settings(place.path())).expect("made");
        let descriptors = ["/dev/null".to_owned(), "pipe:[1]".to_owned()];
        images.write_descriptors(&descriptors).expect("written");
        let images = Images::open(&settings(place.path())).expect("there");
        assert_eq!(images.read_descriptors().expect("readable"), descriptors);
        std::fs::write(place.path().join("i").join(DESCRIPTORS), "{}").expect("written");
        assert!(images.read_descriptors().is_err());
    }

    #[test]
    fn the_first_error_of_the_log_is_told() {
        let place = tempfile::tempdir().expect("tempdir");
        let images = Images::create(&settings(place.path())).expect("made");
        let error = || Error::new(Kind::System, "criu failed");
        assert_eq!(images.explain(error(), Log::Dump).to_string(), "criu failed");
        let log = place.path().join("w/dump.log");
        std::fs::write(&log, "(0.1) fine\n(0.2) Error (u.c:1): exited, status=1\n(0.2) Error (x.c:1): first\n(0.3) Error (x.c:2): next\n")
            .expect("log");
        let error = images.explain(error(), Log::Dump);
        assert_eq!(error.to_string(), format!("criu failed (log file: {})", log.display()));
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("Error (x.c:1): first"));
    }
}
