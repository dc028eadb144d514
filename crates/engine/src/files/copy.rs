//! Copying between workloads and the host, by Docker's rules for where a copy goes.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_spec::files::{Status, Task, Unpack};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

use super::{Files, perform_on_host};
use crate::{Error, Kind, Result};

/// How much may be on its way.
const PIPE_SIZE: usize = 1 << 20;

/// How many links in a row are followed, as Linux does.
const LINKS_LIMIT: usize = 40;

/// How a copy is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct CopyOptions {
    /// Keep owners, set-user-id bits and file capabilities; otherwise everything is the receiving user's.
    pub archive: bool,
    /// Of a link that is to be copied, what it leads to.
    pub follow: bool,
}

/// One side of a copy.
#[derive(Debug)]
pub enum Side<'a> {
    /// A path in a workload, from its root.
    Workload(&'a Files, &'a str),
    /// A path on the host.
    Host(&'a str),
}

/// Where a copy goes: into which directory, under which name; `.` for what lies in the source without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Arrival {
    directory: String,
    name: String,
}

impl Side<'_> {
    /// Copies what is here to the other side.
    ///
    /// # Errors
    /// [`Kind::NoSuchPath`]; [`Kind::InvalidRequest`] where both do not fit.
    pub fn copy_to(&self, other: &Side<'_>, options: CopyOptions) -> Result<()> {
        let path = self.path();
        let follow = options.follow || path.ends_with('/') || path.ends_with("/.");
        let status = self.look(follow)?;
        let arrival = arrive(path, &self.base(), &status, other)?;
        let only = Some(arrival.name.clone()).filter(|name| name != ".");
        let options = Unpack { only, ..other.unpack_options(options) };
        let pack = Task::Pack { path: self.absolute()?, name: arrival.name, follow };
        let unpack = Task::Unpack { directory: arrival.directory, options };
        let (output, input) = pipe()?;
        let null = null()?;
        connect(|| self.perform(&pack, None, output), || other.perform(&unpack, Some(input), null))
    }

    /// Writes what is here as an archive.
    ///
    /// # Errors
    /// As [`Side::copy_to`].
    pub fn pack_to(&self, output: OwnedFd, follow: bool) -> Result<()> {
        let name = self.base();
        self.perform(&Task::Pack { path: self.absolute()?, name, follow }, None, output)
    }

    /// Puts an archive into the directory that is here.
    ///
    /// # Errors
    /// As [`Side::copy_to`].
    pub fn unpack_from(&self, input: OwnedFd, options: CopyOptions) -> Result<()> {
        if !self.look(true)?.is_directory() {
            let message = format!("unpack into `{}`: it is no directory", self.path());
            return Err(Error::new(Kind::InvalidRequest, message));
        }
        let task = Task::Unpack { directory: self.absolute()?, options: self.unpack_options(options) };
        self.perform(&task, Some(input), null()?)
    }

    fn path(&self) -> &str {
        match self {
            Self::Workload(_, path) | Self::Host(path) => path,
        }
    }

    /// From the root on.
    fn absolute(&self) -> Result<String> {
        match self {
            Self::Workload(_, path) => Ok((*path).to_owned()),
            Self::Host(path) => absolute(path),
        }
    }

    /// The same side, at another path.
    fn at<'b>(&self, path: &'b str) -> Side<'b>
    where
        Self: 'b,
    {
        match self {
            Self::Workload(files, _) => Side::Workload(files, path),
            Self::Host(_) => Side::Host(path),
        }
    }

    /// Where a copy to here goes: what is a link is written to where it leads, whether something is there or not.
    fn destination(&self) -> Result<String> {
        let mut path = self.absolute()?;
        for _ in 0..LINKS_LIMIT {
            if path.ends_with('/') {
                return Ok(path);
            }
            let link = match self.at(&path).look(false) {
                Err(error) if error.kind() == Kind::NoSuchPath => return Ok(path),
                other => other?.link,
            };
            match link {
                None => return Ok(path),
                Some(link) if link.starts_with('/') => path = link,
                Some(link) => path = format!("{}/{link}", split(&path).0),
            }
        }
        Err(Error::new(Kind::InvalidRequest, format!("follow `{}`: too many links", self.path())))
    }

    /// What a copy of it is called.
    fn base(&self) -> String {
        let path = self.path();
        let trimmed = path.trim_end_matches('/');
        if trimmed.is_empty() || trimmed == "." || trimmed.ends_with("/.") {
            return ".".to_owned();
        }
        let named = match self {
            Self::Host(_) if trimmed.ends_with("..") => fs::canonicalize(trimmed).unwrap_or_default(),
            _ => PathBuf::from(trimmed),
        };
        named.file_name().map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned())
    }

    fn look(&self, follow: bool) -> Result<Status> {
        match self {
            Self::Workload(files, path) => files.look(path, follow),
            Self::Host(path) => {
                use std::os::unix::fs::MetadataExt;
                let found = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
                let metadata = found.map_err(|error| match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        Error::caused(Kind::NoSuchPath, format!("look at `{path}`"), error)
                    }
                    _ => Error::io(format!("look at `{path}`"), error),
                })?;
                let link = fs::read_link(path).ok().filter(|_| metadata.is_symlink());
                let link = link.map(|link| link.to_string_lossy().into_owned());
                Ok(Status { mode: metadata.mode(), size: metadata.len(), link })
            }
        }
    }

    fn perform(&self, task: &Task, input: Option<OwnedFd>, output: OwnedFd) -> Result<()> {
        match self {
            Self::Workload(files, _) => files.perform(task, input, output),
            Self::Host(_) => perform_on_host(task, input, output),
        }
    }

    /// What is copied to the host gives nobody rights there, unless that is asked for.
    fn unpack_options(&self, options: CopyOptions) -> Unpack {
        let own = match self {
            Self::Workload(..) => (0, 0),
            Self::Host(_) => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        Unpack {
            only: None,
            owner: (!options.archive).then_some(own),
            privileges: options.archive,
            devices: options.archive || matches!(self, Self::Workload(..)),
            top: false,
        }
    }
}

/// Docker's rules: what is copied goes into a directory that is there, over a file that is there, or gets the name that is
/// not there.
fn arrive(source: &str, base: &str, status: &Status, to: &Side<'_>) -> Result<Arrival> {
    let path = to.destination()?;
    let refuse = |why: &str| {
        Err(Error::new(Kind::InvalidRequest, format!("copy `{source}` to `{}`: {why}", to.path())))
    };
    let present = match to.at(&path).look(true) {
        Err(error) if error.kind() == Kind::NoSuchPath => None,
        other => Some(other?),
    };
    match present {
        Some(present) if present.is_directory() => Ok(Arrival { directory: path, name: base.to_owned() }),
        Some(_) if status.is_directory() => refuse("a directory cannot take the place of a file"),
        Some(_) if path.ends_with('/') => refuse("it is no directory"),
        None if path.ends_with('/') && !status.is_directory() => refuse("there is no such directory"),
        _ => {
            let (directory, name) = split(&path);
            // Of what is packed without itself the new directory is made by its entries.
            let directory = if directory.is_empty() { "/".to_owned() } else { directory.to_owned() };
            Ok(Arrival { directory, name: name.to_owned() })
        }
    }
}

fn split(path: &str) -> (&str, &str) {
    let path = path.trim_end_matches('/');
    path.rsplit_once('/').unwrap_or(("", path))
}

fn absolute(path: &str) -> Result<String> {
    let failed = |error| Error::io(format!("find `{path}`"), error);
    let absolute = std::path::absolute(Path::new(path)).map_err(failed)?;
    // What ends in a slash or a dot means a directory.
    let end = if path.ends_with('/') { "/" } else { "" };
    Ok(format!("{}{end}", absolute.to_string_lossy()))
}

/// Lets one side write what the other reads. The first failure that is no consequence of the other's is told.
pub(crate) fn connect<T>(
    write: impl FnOnce() -> Result<()> + Send,
    read: impl FnOnce() -> Result<T>,
) -> Result<T> {
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let read = read();
        let written =
            writer.join().unwrap_or_else(|_| Err(Error::new(Kind::Failed, "the copy was given up")));
        let consequence = |error: &Error| {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            format!("{error}{cause}").contains("Broken pipe")
        };
        match (written, read) {
            (Err(error), _) if !consequence(&error) => Err(error),
            (_, Err(error)) => Err(error),
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(made)) => Ok(made),
        }
    })
}

/// A pipe, its end for writing first.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Error::io("make a pipe", errno))?;
    // Fewer turns; without it the copy is slower and no worse.
    let _ = fcntl_setpipe_size(&write, PIPE_SIZE);
    Ok((write, read))
}

pub(crate) fn null() -> Result<OwnedFd> {
    let null = fs::File::options().write(true).open("/dev/null");
    null.map(Into::into).map_err(|error| Error::io("open `/dev/null`", error))
}
