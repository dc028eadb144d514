//! Whole-file reads and writes that a crash cannot tear, and removal that follows no link.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// Whether a write must be on the disk before the function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Atomic for readers; lost by a power cut.
    Volatile,
    /// Synced, with the directory that names it.
    Durable,
}

/// Replaces the file at `path` in one step: readers see the old or the new content, never a part.
///
/// The temporary file lies beside it and is removed on failure. New files get mode 0600.
///
/// # Errors
/// Any error of open, write, sync or rename; the old content stays.
pub fn replace(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let (temporary, mut file) = TemporaryFile::create(parent, Mode::RUSR | Mode::WUSR)?;
    file.write_all(content)?;
    if durability == Durability::Durable {
        file.sync_data()?;
    }
    rustix::fs::rename(&temporary.0, path)?;
    std::mem::forget(temporary);
    if durability == Durability::Durable {
        sync_directory(parent)?;
    }
    Ok(())
}

#[derive(Debug)]
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    /// A random name: process ids are those of a namespace, and several may share the directory.
    fn name(parent: &Path) -> PathBuf {
        parent.join(format!(".tmp-{:016x}", u64::from_ne_bytes(random_bytes())))
    }

    fn create(parent: &Path, mode: Mode) -> io::Result<(Self, File)> {
        let path = Self::name(parent);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::open(&path, flags, mode)?;
        Ok((Self(path), File::from(file)))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file that gets its name when it is whole and on the disk; a process that ends before leaves nothing, where the file
/// system has files without names.
#[derive(Debug)]
pub struct Draft {
    file: File,
    directory: PathBuf,
    /// On other file systems.
    temporary: Option<TemporaryFile>,
}

impl Draft {
    /// Begins a file that will be at `path`, with the mode that the process gives new files.
    ///
    /// # Errors
    /// Any error of open.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let directory = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let mode = Mode::from_raw_mode(0o666);
        match rustix::fs::open(&directory, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Self { file: file.into(), directory, temporary: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let (temporary, file) = TemporaryFile::create(&directory, mode)?;
                Ok(Self { file, directory, temporary: Some(temporary) })
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Where its content goes.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it the name `path`, in the directory that it was begun in, in place of what has that.
    ///
    /// # Errors
    /// Any error of sync, link or rename; what was at `path` stays.
    pub fn finish(mut self, path: &Path) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        self.file.sync_data()?;
        let temporary = match self.temporary.take() {
            Some(temporary) => temporary,
            None => {
                let temporary = TemporaryFile(TemporaryFile::name(&self.directory));
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                let (from, to) = (rustix::fs::CWD, rustix::fs::CWD);
                rustix::fs::linkat(from, own, to, &temporary.0, AtFlags::SYMLINK_FOLLOW)?;
                temporary
            }
        };
        rustix::fs::rename(&temporary.0, path)?;
        std::mem::forget(temporary);
        sync_directory(&self.directory)
    }
}

/// A new file in `directory` that has no name, and goes when it is closed.
///
/// # Errors
/// Any error of open.
pub fn unnamed_file(directory: &Path) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(directory, flags | OFlags::TMPFILE, mode) {
        Ok(file) => Ok(file.into()),
        // The file system has none without names.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let path = TemporaryFile::name(directory);
            let file =
                rustix::fs::open(&path, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
            rustix::fs::unlink(&path)?;
            Ok(file.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Makes the entries of a directory reach the disk.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// `FileTooLarge` beyond the limit, or any error of open and read.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path)?;
    let size = file.metadata()?.len().min(limit);
    content.reserve_exact(usize::try_from(size).unwrap_or(0) + 1);
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// The absolute path of what is at `path`, without links: as realpath(3), with three calls and none of the C library's
/// memory.
///
/// # Errors
/// Nothing is there, or `/proc` is not mounted.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd;
    use std::os::unix::ffi::OsStringExt;
    let place = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let link = format!("/proc/self/fd/{}", place.as_raw_fd());
    let real = rustix::fs::readlink(link, Vec::new())?;
    Ok(std::ffi::OsString::from_vec(real.into_bytes()).into())
}

/// Creates a directory (mode 0700 or what `mode` says); fine if it is there.
pub fn ensure_directory(path: &Path, mode: u32) -> io::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(Errno::NOENT) => {
            if let Some(parent) = path.parent() {
                ensure_directory(parent, mode)?;
            }
            ensure_directory_once(path, mode)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn ensure_directory_once(path: &Path, mode: u32) -> io::Result<()> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes a file or a whole tree; fine if nothing is there.
///
/// Walks by descriptors and never follows a symbolic link, so nobody who writes inside the tree can
/// make it remove anything outside. Does not recurse: depth costs memory on the heap, not stack, and
/// a descriptor only for the directory at hand.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    match rustix::fs::unlink(path) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(errno.into()),
    }
    let parent = open_directory(rustix::fs::CWD, parent)?;
    remove_directory_at(&parent, name.as_ref())
}

/// As [`remove_tree`] for a directory that holds a lock: the file `lock` goes last, so that whoever finds a
/// part of the directory also finds the lock that says whether its remover lives.
pub fn remove_locked_tree(path: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != "lock" {
            remove_tree(&entry.path())?;
        }
    }
    remove_tree(path)
}

/// Flattens as it goes: a subdirectory that is not empty is moved up beside its parent's siblings
/// only by walking down and up with `..` descriptors, so one path component is resolved at a time.
fn remove_directory_at(parent: &OwnedFd, name: &Path) -> io::Result<()> {
    let mut names = vec![name.to_owned()];
    let mut current = match open_directory(parent.as_fd(), name) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    loop {
        if let Some(subdirectory) = empty_of_files(&current)? {
            match open_directory(current.as_fd(), &subdirectory) {
                Ok(inside) => {
                    current = inside;
                    names.push(subdirectory);
                }
                // Somebody else removes, too.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
            continue;
        }
        let Some(finished) = names.pop() else { return Ok(()) };
        if names.is_empty() {
            return ignore_missing(unlinkat(parent, &finished, AtFlags::REMOVEDIR));
        }
        current = open_parent(&current)?;
        ignore_missing(unlinkat(&current, &finished, AtFlags::REMOVEDIR))?;
    }
}

fn open_parent(directory: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(openat(directory, "..", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn open_directory(at: impl AsFd, name: &Path) -> Result<OwnedFd, Errno> {
    openat(at, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Removes what is no directory and every empty directory; the name of one that is not empty.
fn empty_of_files(directory: &OwnedFd) -> io::Result<Option<PathBuf>> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if !is_directory(directory.as_fd(), &entry)? {
            ignore_missing(unlinkat(directory, name, AtFlags::empty()))?;
            continue;
        }
        match unlinkat(directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::NOTEMPTY | Errno::EXIST) => {
                use std::os::unix::ffi::OsStrExt;
                return Ok(Some(PathBuf::from(std::ffi::OsStr::from_bytes(name.to_bytes()))));
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(None)
}

fn is_directory(directory: BorrowedFd<'_>, entry: &rustix::fs::DirEntry) -> io::Result<bool> {
    if entry.file_type() != FileType::Unknown {
        return Ok(entry.file_type() == FileType::Directory);
    }
    let stat = rustix::fs::statat(directory, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn ignore_missing(result: Result<(), Errno>) -> io::Result<()> {
    match result {
        Err(Errno::NOENT) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Fills `bytes` from the kernel's random number generator.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Blocks only before the generator is seeded, early in boot; can fail only by a signal.
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_gets_its_name_when_it_is_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        std::fs::write(&path, "old").expect("written");
        let mut draft = Draft::begin(&path).expect("begun");
        draft.file().write_all(b"new").expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"old");
        draft.finish(&path).expect("named");
        assert_eq!(std::fs::read(&path).expect("there"), b"new");
        drop(Draft::begin(&path).expect("begun"));
        assert!(Draft::begin(&directory.path().join("none/file")).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "nothing else stays");
    }

    #[test]
    fn real_paths_are_absolute_and_without_links() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().canonicalize().expect("it is there");
        std::fs::create_dir(root.join("a")).expect("made");
        std::os::unix::fs::symlink("a", root.join("link")).expect("made");
        for path in ["a", "link", "link/../a/."] {
            assert_eq!(real_path(&root.join(path)).expect(path), root.join("a"));
        }
        assert_eq!(real_path(Path::new(".")).ok(), std::env::current_dir().ok());
        let error = real_path(&root.join("absent")).expect_err("absent");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn replace_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("file");
        replace(&path, b"one", Durability::Volatile).expect("write");
        replace(&path, b"two", Durability::Durable).expect("write");
        assert_eq!(read_limited(&path, 3).expect("read"), b"two");
        assert_eq!(read_limited(&path, 2).expect_err("too large").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn removal_follows_no_link_and_survives_depth() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).expect("mkdir");
        std::fs::write(outside.join("kept"), b"").expect("write");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("mkdir");
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("symlink");
        let mut deep = open_directory(rustix::fs::CWD, &tree).expect("open");
        for _ in 0..5000 {
            rustix::fs::mkdirat(&deep, "d", Mode::RWXU).expect("mkdir");
            deep = open_directory(deep.as_fd(), Path::new("d")).expect("open");
        }
        remove_tree(&tree).expect("remove");
        remove_tree(&tree).expect("nothing to remove");
        assert!(!tree.exists());
        assert!(outside.join("kept").exists());
    }
}
