//! From an archive to files.
//!
//! Below the directory that was asked for no link is followed, whether the archive brought it or it was there: a link in the
//! way of a file is replaced, one in the way of a directory or in the middle of a path is an error. A file gets its name
//! when it is complete; what something is mounted on is written to instead.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_spec::files::Unpack;
use holm_sys::file::random_bytes;
use holm_sys::in_root;
use holm_tar::{Entry, EntryKind, Mtime, Reader, shown};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chownat,
    fchmod, fchown, fsetxattr, fstat, futimens, linkat, mkdirat, mknodat, openat, renameat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::walk::{DIRECTORY, failed};
use crate::{Error, Result, look};

/// Most bytes of headers for one entry.
const HEADER_LIMIT: usize = 1 << 20;
/// So many zeros are worth a hole.
const HOLE: usize = 4096;
/// Set-user-id and set-group-id.
const PRIVILEGES: u16 = 0o6000;
/// Attributes that give rights: to whoever executes the file, to users whom an access control list names.
const PRIVILEGED_XATTRS: [&[u8]; 2] = [b"security.", b"system."];
/// Mode of directories that an archive does not mention.
const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);
/// Longest path of an entry (`PATH_MAX`).
const PATH_LIMIT: usize = 4096;

/// Puts the entries of an archive into a directory.
pub fn unpack(root: BorrowedFd<'_>, directory: &str, options: &Unpack, input: &mut dyn Read) -> Result<()> {
    let into = look::open(root, directory, OFlags::RDONLY | OFlags::DIRECTORY, true)
        .map_err(|errno| Error::io("open it", errno))?;
    let mut unpacker = Unpacker { into, options, parent: None, times: Vec::new() };
    let mut reader = Reader::new(input, HEADER_LIMIT);
    while let Some(entry) = reader.next()? {
        unpacker.entry(&entry, &mut reader)?;
    }
    // What follows the end is read, so that whoever writes it is not killed for it.
    while reader.data()?.is_some() {}
    unpacker.set_times()
}

struct Unpacker<'a> {
    into: OwnedFd,
    options: &'a Unpack,
    /// The directory of the entry before, which most entries share, by its path.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories whose time is set when nothing more comes into them.
    times: Vec<(Vec<u8>, Mtime)>,
}

/// Where an entry goes.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: CString,
    path: &'a [u8],
}

impl Place<'_> {
    fn failed(&self, what: &str, errno: Errno) -> Error {
        failed(what, self.path, errno)
    }

    /// What is there; `None` for nothing.
    fn file_type(&self) -> Result<Option<FileType>> {
        match statat(self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed("look at", errno)),
        }
    }

    /// Whether something is mounted there: to replace it would take the mount away.
    fn is_mount_point(&self) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let opened = in_root::open(self.parent, &*self.name, flags, ResolveFlags::NO_XDEV);
        matches!(opened, Err(Errno::XDEV))
    }

    /// Makes room for something that is no directory.
    fn clear(&self) -> Result<()> {
        if self.is_mount_point() {
            let message = format!("replace `{}`: something is mounted there", shown(self.path));
            return Err(Error::invalid(message));
        }
        match unlinkat(self.parent, &self.name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Err(Error::invalid(format!(
                "replace directory `{}` by what is no directory",
                shown(self.path)
            ))),
            Err(errno) => Err(self.failed("replace", errno)),
        }
    }
}

impl Unpacker<'_> {
    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        let path = normal(&entry.path)?;
        let Some((parent, name)) = split(&path) else {
            // The directory itself, which is there.
            return if self.options.top { self.top(entry) } else { Ok(()) };
        };
        self.check_name(&path)?;
        if matches!(entry.kind, EntryKind::Character | EntryKind::Block) && !self.options.devices {
            return Ok(());
        }
        let target = if entry.kind == EntryKind::HardLink { Some(normal(&entry.link)?) } else { None };
        target.as_ref().map_or(Ok(()), |target| self.check_name(target))?;
        if entry.kind == EntryKind::Directory {
            self.times.push((path.clone(), entry.mtime));
        }
        let opened = self.open_parent(parent)?;
        let place = Place { parent: opened.as_fd(), name, path: &path };
        let unpacked = match (entry.kind, target) {
            (EntryKind::Directory, _) => self.directory(&place, entry),
            (EntryKind::File, _) => self.file(&place, entry, reader),
            (EntryKind::HardLink, Some(target)) => self.hard_link(&place, &target),
            (EntryKind::Symlink, _) => self.symlink(&place, entry),
            _ => self.special(&place, entry),
        };
        self.parent = Some((parent.to_vec(), opened));
        unpacked
    }

    fn top(&self, entry: &Entry) -> Result<()> {
        if entry.kind != EntryKind::Directory {
            return Ok(());
        }
        let place = Place { parent: self.into.as_fd(), name: c".".to_owned(), path: b"." };
        self.attributes(&place, entry, &self.into)
    }

    /// Whoever packs was asked for one name; more than that is no mistake of theirs.
    fn check_name(&self, path: &[u8]) -> Result<()> {
        let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        match &self.options.only {
            Some(only) if only.as_bytes() != first => {
                Err(Error::invalid(format!("the archive holds `{}`, which nobody asked for", shown(path))))
            }
            _ => Ok(()),
        }
    }

    /// Opens the directory of an entry, making what is not there of it.
    fn open_parent(&mut self, path: &[u8]) -> Result<OwnedFd> {
        match self.parent.take() {
            Some((known, directory)) if known == path => Ok(directory),
            _ => match self.open_below(path) {
                Err(Errno::NOENT) => self.make_parents(path),
                other => other.map_err(|errno| failed("open directory", path, errno)),
            },
        }
    }

    fn open_below(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let no_links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        in_root::open(self.into.as_fd(), path, DIRECTORY, no_links)
    }

    fn make_parents(&self, path: &[u8]) -> Result<OwnedFd> {
        let mut directory = self.open_below(b"").map_err(|errno| failed("open directory", path, errno))?;
        for part in path.split(|byte| *byte == b'/') {
            let name = c_string(part)?;
            let made = mkdirat(&directory, &name, PARENT_MODE);
            if let Err(errno) = made
                && errno != Errno::EXIST
            {
                return Err(failed("make directory", path, errno));
            }
            let inner = openat(&directory, &name, DIRECTORY, Mode::empty());
            let inner = inner.map_err(|errno| failed("open directory", path, errno))?;
            if made.is_ok() {
                fchmod(&inner, PARENT_MODE).map_err(|errno| failed("make directory", path, errno))?;
                self.own(&inner, (0, 0)).map_err(|errno| failed("make directory", path, errno))?;
            }
            directory = inner;
        }
        Ok(directory)
    }

    /// Makes a directory; one that is there gets the entry's attributes.
    fn directory(&self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        if !matches!(place.file_type()?, None | Some(FileType::Directory)) {
            let message = format!("replace `{}`, which is no directory, by a directory", shown(place.path));
            return Err(Error::invalid(message));
        }
        match mkdirat(place.parent, &place.name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(place.failed("make directory", errno)),
        }
        let directory = openat(place.parent, &place.name, DIRECTORY, Mode::empty());
        let directory = directory.map_err(|errno| place.failed("open directory", errno))?;
        self.attributes(place, entry, &directory)
    }

    fn file<R: Read>(&self, place: &Place<'_>, entry: &Entry, reader: &mut Reader<R>) -> Result<()> {
        if place.file_type()? == Some(FileType::Directory) {
            return place.clear();
        }
        let name = temporary();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(place.parent, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| place.failed("make file", errno))?;
        let complete = self.fill(place, entry, reader, &file).and_then(|()| rename(place, &name));
        complete.inspect_err(|_| {
            // No half a file stays.
            let _ = unlinkat(place.parent, &name, AtFlags::empty());
        })
    }

    fn fill<R: Read>(
        &self,
        place: &Place<'_>,
        entry: &Entry,
        reader: &mut Reader<R>,
        file: &OwnedFd,
    ) -> Result<()> {
        write_data(place, entry, reader, file)?;
        self.attributes(place, entry, file)?;
        let time = timestamps(entry.mtime);
        futimens(file, &time).map_err(|errno| place.failed("set the time of", errno))
    }

    fn hard_link(&self, place: &Place<'_>, target: &[u8]) -> Result<()> {
        let Some((directory, name)) = split(target) else {
            return Err(Error::invalid(format!("`{}` is a link to a directory", shown(place.path))));
        };
        let directory =
            self.open_below(directory).map_err(|errno| failed("open directory of", target, errno))?;
        if directory_entry(&directory, &name) == directory_entry(&place.parent, &place.name) {
            // Both are one already, and to clear the place would remove it.
            return Ok(());
        }
        place.clear()?;
        linkat(&directory, &name, place.parent, &place.name, AtFlags::empty())
            .map_err(|errno| place.failed("make link", errno))
    }

    fn symlink(&self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        place.clear()?;
        let target = c_string(&entry.link)?;
        symlinkat(&target, place.parent, &place.name).map_err(|errno| place.failed("make link", errno))?;
        self.dress(place, entry)
    }

    fn special(&self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        let kind = match entry.kind {
            EntryKind::Fifo => FileType::Fifo,
            EntryKind::Character => FileType::CharacterDevice,
            _ => FileType::BlockDevice,
        };
        place.clear()?;
        let (major, minor) = entry.device;
        let mode = Mode::from_raw_mode((entry.mode & 0o777).into());
        mknodat(place.parent, &place.name, kind, Mode::empty(), rustix::fs::makedev(major, minor))
            .map_err(|errno| place.failed("make", errno))?;
        self.dress(place, entry)?;
        let failed = |errno| place.failed("set the mode of", errno);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(place.parent, &place.name, flags, Mode::empty()).map_err(failed)?;
        if FileType::from_raw_mode(fstat(&made).map_err(failed)?.st_mode) != kind {
            // Somebody put something else there; its mode is none of ours.
            return Ok(());
        }
        rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode).map_err(failed)
    }

    /// Owner and time of what cannot be opened.
    fn dress(&self, place: &Place<'_>, entry: &Entry) -> Result<()> {
        let (user, group) = self.options.owner.unwrap_or((entry.uid, entry.gid));
        let no_follow = AtFlags::SYMLINK_NOFOLLOW;
        let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
        chownat(place.parent, &place.name, user, group, no_follow)
            .and_then(|()| utimensat(place.parent, &place.name, &timestamps(entry.mtime), no_follow))
            .map_err(|errno| place.failed("set the owner of", errno))
    }

    /// Owner, mode and extended attributes, in the order in which the kernel takes none of them away again.
    fn attributes(&self, place: &Place<'_>, entry: &Entry, file: &OwnedFd) -> Result<()> {
        self.own(file, (entry.uid, entry.gid)).map_err(|errno| place.failed("set the owner of", errno))?;
        let dropped = if self.options.privileges { 0 } else { PRIVILEGES };
        fchmod(file, Mode::from_raw_mode((entry.mode & !dropped).into()))
            .map_err(|errno| place.failed("set the mode of", errno))?;
        for (name, value) in &entry.xattrs {
            let privileged = PRIVILEGED_XATTRS.iter().any(|prefix| name.starts_with(prefix));
            if name.starts_with(b"trusted.") || privileged && !self.options.privileges {
                continue;
            }
            match fsetxattr(file, &c_string(name)?, value, XattrFlags::empty()) {
                // The file system knows no such attributes: the file is what counts.
                Ok(()) | Err(Errno::NOTSUP) => {}
                Err(errno) => return Err(place.failed("set an attribute of", errno)),
            }
        }
        Ok(())
    }

    fn own(&self, file: &OwnedFd, own: (u32, u32)) -> Result<(), Errno> {
        let (user, group) = self.options.owner.unwrap_or(own);
        fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
    }

    fn set_times(&mut self) -> Result<()> {
        for (path, mtime) in std::mem::take(&mut self.times).into_iter().rev() {
            match self.open_below(&path).and_then(|directory| futimens(&directory, &timestamps(mtime))) {
                // A later entry replaced it.
                Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(failed("set the time of", &path, errno)),
            }
        }
        Ok(())
    }
}

/// Device and inode of a name; `None` if nothing is there.
fn directory_entry(directory: &impl AsFd, name: &CString) -> Option<(u64, u64)> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// Writes the data of an entry, with its holes where it has some.
fn write_data<R: Read>(
    place: &Place<'_>,
    entry: &Entry,
    reader: &mut Reader<R>,
    file: &OwnedFd,
) -> Result<()> {
    let write = |bytes: &[u8], at: u64| -> Result<()> {
        if bytes.len() >= HOLE && bytes.iter().all(|byte| *byte == 0) {
            // The file is new: what is not written is a hole.
            return Ok(());
        }
        let (mut left, mut at) = (bytes, at);
        while !left.is_empty() {
            match rustix::io::pwrite(file, left, at) {
                Ok(length) => (left, at) = (&left[length..], at + length as u64),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(place.failed("write", errno)),
            }
        }
        Ok(())
    };
    let whole = [holm_tar::Segment { offset: 0, length: entry.size }];
    let mut segments = entry.sparse.as_deref().unwrap_or(&whole).iter().copied();
    let mut segment = segments.next();
    while let Some(mut bytes) = reader.data()? {
        while !bytes.is_empty() {
            let Some(current) = &mut segment else { break };
            let length = usize::try_from(current.length).unwrap_or(usize::MAX).min(bytes.len());
            write(&bytes[..length], current.offset)?;
            bytes = &bytes[length..];
            (current.offset, current.length) =
                (current.offset + length as u64, current.length - length as u64);
            if current.length == 0 {
                segment = segments.next();
            }
        }
    }
    rustix::fs::ftruncate(file, entry.size).map_err(|errno| place.failed("write", errno))
}

/// Gives a complete file its name; what something is mounted on is written to instead.
fn rename(place: &Place<'_>, name: &CString) -> Result<()> {
    if place.is_mount_point() {
        copy_over(place, name)?;
        return unlinkat(place.parent, name, AtFlags::empty())
            .map_err(|errno| place.failed("remove what was copied to", errno));
    }
    renameat(place.parent, name, place.parent, &place.name).map_err(|errno| place.failed("replace", errno))
}

/// Copies a complete file over one that something is mounted on.
fn copy_over(place: &Place<'_>, name: &CString) -> Result<()> {
    let failed = |errno| place.failed("write to", errno);
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let from = openat(place.parent, name, OFlags::RDONLY | flags, Mode::empty()).map_err(failed)?;
    let there = openat(place.parent, &place.name, OFlags::PATH | flags, Mode::empty()).map_err(failed)?;
    if FileType::from_raw_mode(fstat(&there).map_err(failed)?.st_mode) != FileType::RegularFile {
        return Err(Error::invalid(format!("write to `{}`: no file is mounted there", shown(place.path))));
    }
    let to = look::reopen(&there, OFlags::WRONLY | OFlags::TRUNC | OFlags::NONBLOCK).map_err(failed)?;
    let (mut from, mut to) = (std::fs::File::from(from), std::fs::File::from(to));
    let copied = std::io::copy(&mut from, &mut to);
    copied.map(drop).map_err(|error| Error::io(format!("write to `{}`", shown(place.path)), error))
}

fn temporary() -> CString {
    let random: [u8; 8] = random_bytes();
    let hex: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    CString::new(format!(".holm-{hex}")).expect("it has no NUL")
}

fn c_string(bytes: &[u8]) -> Result<CString> {
    CString::new(bytes).map_err(|_| Error::invalid(format!("`{}` has a NUL byte", shown(bytes))))
}

fn timestamps(mtime: Mtime) -> Timestamps {
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// A path of an archive from the directory that it is unpacked into; empty for that itself.
fn normal(path: &[u8]) -> Result<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(Error::invalid(format!("entry `{}` leads out of the archive", shown(path)))),
            part => parts.push(part),
        }
    }
    let path = parts.join(&b'/');
    if path.len() >= PATH_LIMIT {
        return Err(Error::invalid(format!("entry `{}` is too long", shown(&path))));
    }
    Ok(path)
}

/// The directory and the name of a normal path; `None` for the directory that all are in.
fn split(path: &[u8]) -> Option<(&[u8], CString)> {
    let (directory, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    if name.is_empty() { None } else { Some((directory, CString::new(name).ok()?)) }
}
