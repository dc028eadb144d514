//! Files below the storage's directory, reached by descriptors: no path leads through a symbolic link, whoever made it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use holm_sys::{Errno, in_root};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};

/// The mode of directories and files: the registry's user reads and writes, nobody else looks.
const DIRECTORY_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A directory below which everything lies.
pub struct Root(OwnedFd);

/// One directory below the root.
pub struct Directory(OwnedFd);

impl Root {
    /// Opens the directory at `path`, whose links are followed: it is the administrator's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a file for reading.
    pub fn file(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        Ok(in_root::open(self.0.as_fd(), path, flags, ResolveFlags::NO_SYMLINKS).map(File::from)?)
    }

    /// As [`Self::file`], only if the kernel knows the way without asking a disk; `WouldBlock` otherwise.
    pub fn file_at_once(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::CACHED;
        Ok(rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve).map(File::from)?)
    }

    /// Opens a directory that is there.
    pub fn directory(&self, path: &str) -> io::Result<Directory> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        Ok(in_root::open(self.0.as_fd(), path, flags, ResolveFlags::NO_SYMLINKS).map(Directory)?)
    }

    /// Opens a directory, made with those above it if need be, each on the disk before there is anything in it.
    pub fn make_directory(&self, path: &str) -> io::Result<Directory> {
        match self.directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let (parent, name) = match path.rsplit_once('/') {
            Some((above, name)) => (self.make_directory(above)?, name),
            None => (self.directory(".")?, path),
        };
        match rustix::fs::mkdirat(&parent.0, name, DIRECTORY_MODE) {
            Ok(()) | Err(Errno::EXIST) => parent.sync()?,
            Err(errno) => return Err(errno.into()),
        }
        self.directory(path)
    }
}

impl Directory {
    /// Makes a new file for reading and writing.
    pub fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, FILE_MODE).map(File::from)?)
    }

    /// Opens a file that is there for reading and writing.
    pub fn open(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.0, name, flags, Mode::empty()).map(File::from)?)
    }

    /// Puts `content` under `name` in one step, on the disk before this returns.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.replace_with(name, |file| file.write_all(content))
    }

    /// As [`Self::replace`], with what `write` writes.
    pub fn replace_with(
        &self,
        name: &str,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<()> {
        let temporary = Temporary::of(self);
        let mut file = self.create(&temporary.name)?;
        write(&mut file)?;
        file.sync_data()?;
        rustix::fs::renameat(&self.0, temporary.name.as_str(), &self.0, name)?;
        self.sync()
    }

    /// Gives `name` in `from` the further name `further` here; false if that name is taken.
    pub fn link(&self, from: &Self, name: &str, further: &str) -> io::Result<bool> {
        match rustix::fs::linkat(&from.0, name, &self.0, further, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives an open file the name `name` here. `CrossesDevices` where it lies elsewhere, `AlreadyExists` if the name is
    /// taken.
    pub fn link_file(&self, file: &File, name: &str) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        let link = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(rustix::fs::linkat(rustix::fs::CWD, link, &self.0, name, AtFlags::SYMLINK_FOLLOW)?)
    }

    /// Removes a name; whether it was there.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The state of what has this name.
    pub fn stat(&self, name: &str) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Makes names reach the disk.
    pub fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Calls `each` with every name that is text and does not begin with a dot, and whether it is a directory.
    pub fn each(&self, mut each: impl FnMut(&str, bool) -> io::Result<()>) -> io::Result<()> {
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let directory = match entry.file_type() {
                FileType::Unknown => FileType::from_raw_mode(self.stat(name)?.st_mode) == FileType::Directory,
                known => known == FileType::Directory,
            };
            each(name, directory)?;
        }
        Ok(())
    }

    /// Removes what a process that died left of files that it was about to put in their place.
    pub fn remove_temporaries(&self) -> io::Result<()> {
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            if entry.file_name().to_bytes().starts_with(Temporary::PREFIX.as_bytes()) {
                let _ = rustix::fs::unlinkat(&self.0, entry.file_name(), AtFlags::empty());
            }
        }
        Ok(())
    }
}

/// The name of a file that is not complete; whatever has it at the end goes.
struct Temporary<'a> {
    directory: &'a Directory,
    name: String,
}

impl<'a> Temporary<'a> {
    const PREFIX: &'static str = ".tmp-";

    fn of(directory: &'a Directory) -> Self {
        let number = u64::from_ne_bytes(holm_sys::file::random_bytes());
        Self { directory, name: format!("{}{number:016x}", Self::PREFIX) }
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        drop(self.directory.remove(&self.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_is_followed() {
        let outside = tempfile::tempdir().expect("tempdir");
        std::fs::write(outside.path().join("secret"), "x").expect("written");
        let inside = tempfile::tempdir().expect("tempdir");
        std::os::unix::fs::symlink(outside.path(), inside.path().join("link")).expect("made");
        std::os::unix::fs::symlink(outside.path().join("secret"), inside.path().join("file")).expect("made");
        let root = Root::open(inside.path()).expect("opened");
        for path in ["link/secret", "file", "../x"] {
            assert!(root.file(path).is_err() && root.file_at_once(path).is_err(), "{path}");
        }
        assert!(root.make_directory("link/new").is_err());
        assert!(root.directory(".").expect("opened").open("file").is_err());
        assert_eq!(std::fs::read_dir(outside.path()).expect("list").count(), 1);
    }

    #[test]
    fn files_are_replaced_and_nothing_else_stays() {
        let inside = tempfile::tempdir().expect("tempdir");
        let root = Root::open(inside.path()).expect("opened");
        let directory = root.make_directory("a/b/c").expect("made");
        directory.replace("x", b"one").expect("written");
        directory.replace("x", b"two").expect("written");
        assert!(directory.replace_with("x", |_| Err(io::ErrorKind::Other.into())).is_err());
        assert_eq!(std::fs::read(inside.path().join("a/b/c/x")).expect("read"), b"two");
        assert_eq!(std::fs::read_dir(inside.path().join("a/b/c")).expect("list").count(), 1);
    }
}
