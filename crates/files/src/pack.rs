//! From files to an archive.

use std::collections::HashMap;
use std::ffi::CStr;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_tar::{Entry, EntryKind, Mtime, Writer, shown};
use rustix::fs::{FileType, Mode, OFlags, Stat, fgetxattr, flistxattr, fstat, fstatfs, openat, readlinkat};
use rustix::io::Errno;

use crate::walk::{Found, failed, walk};
use crate::{Error, Result, look};

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// Longest value of an extended attribute, and longest list of their names (xattr(7)).
const XATTR_LIMIT: usize = 64 << 10;
/// What belongs to an overlay or to the host's policy, not to a file.
const NOT_KEPT: [&[u8]; 2] = [b"trusted.", b"security.selinux"];

/// How files are opened to be looked at: a device that was put in a file's place is not opened by that.
const PLACE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// How they are then opened to be read.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);
/// File systems that show what the kernel knows, and nothing that anybody keeps (statfs(2)): proc, sysfs, cgroup, cgroup2,
/// devpts, mqueue, debugfs, tracefs, securityfs, bpf.
const OF_THE_KERNEL: [i64; 10] = [
    0x9fa0,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x1cd1,
    0x1980_0202,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xcafe_4a11,
];

/// Opens a file that was found, if it is one.
fn open_file(found: &OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    match FileType::from_raw_mode(fstat(found)?.st_mode) {
        FileType::RegularFile => look::reopen(found, FILE).map(Some),
        _ => Ok(None),
    }
}

/// Whether a directory's content is the kernel's. Of what was asked for by its own path everything counts.
fn is_kernels(found: &Found<'_>) -> bool {
    let kind = found.open_directory().and_then(|directory| fstatfs(&directory)).map(|found| found.f_type);
    found.file_type() == FileType::Directory && kind.is_ok_and(|kind| OF_THE_KERNEL.contains(&kind))
}

/// Packs what lies at `path` under the name `name`; with the name `.` what lies below it without itself, with `./` a directory as the
/// archive's own.
pub fn pack(
    root: BorrowedFd<'_>,
    path: &str,
    name: &str,
    follow: bool,
    output: &mut dyn Write,
) -> Result<()> {
    let opened = |errno| Error::io(format!("pack `{path}`"), errno);
    let stat = look::open(root, path, OFlags::PATH, follow).and_then(fstat).map_err(opened)?;
    let mut packer = Packer::new(output);
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let directory =
                look::open(root, path, OFlags::RDONLY | OFlags::DIRECTORY, follow).map_err(opened)?;
            let prefix =
                if matches!(name, "." | "./") { Vec::new() } else { [name.as_bytes(), b"/"].concat() };
            if name != "." {
                packer.directory(name.as_bytes().to_vec(), &stat, directory.as_fd())?;
            }
            walk(directory, &mut |found| {
                packer.found([prefix.as_slice(), found.path].concat(), found)?;
                Ok(found.stat.st_dev == stat.st_dev || !is_kernels(found))
            })?;
        }
        FileType::RegularFile => {
            let file = look::open(root, path, OFlags::PATH, follow).and_then(|found| open_file(&found));
            if let Some(file) = file.map_err(opened)? {
                packer.file(name.as_bytes().to_vec(), &file)?;
            }
        }
        FileType::Symlink => {
            let link = look::open(root, path, OFlags::PATH, false).map_err(opened)?;
            let target = readlinkat(&link, c"", Vec::new()).map_err(opened)?;
            packer.link(name.as_bytes().to_vec(), &stat, target.into_bytes())?;
        }
        _ => packer.special(name.as_bytes().to_vec(), &stat)?,
    }
    packer.finish()
}

/// Writes entries.
pub struct Packer<'a> {
    writer: Writer<&'a mut dyn Write>,
    /// Files with several names that were packed, by device and inode.
    names: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
    /// No entry says that it changed later than then, in seconds.
    latest: Option<i64>,
}

impl<'a> Packer<'a> {
    /// A packer whose archive is still empty.
    pub fn new(output: &'a mut dyn Write) -> Self {
        Self { writer: Writer::new(output), names: HashMap::new(), buffer: vec![0; CHUNK], latest: None }
    }

    /// The same, with no time later than that, in seconds.
    pub fn no_later_than(self, latest: Option<i64>) -> Self {
        Self { latest, ..self }
    }

    /// Packs something that a walk found, under a name.
    pub fn found(&mut self, name: Vec<u8>, found: &Found<'_>) -> Result<()> {
        let gone = |errno: Errno| matches!(errno, Errno::NOENT | Errno::LOOP | Errno::NOTDIR);
        let packed = match found.file_type() {
            FileType::RegularFile => openat(found.parent, found.name, PLACE, Mode::empty())
                .and_then(|found| open_file(&found))
                .map(|file| file.map_or(Ok(()), |file| self.file(name, &file))),
            FileType::Directory => {
                found.open_directory().map(|directory| self.directory(name, &found.stat, directory.as_fd()))
            }
            FileType::Symlink => readlinkat(found.parent, found.name, Vec::new())
                .map(|target| self.link(name, &found.stat, target.into_bytes())),
            _ => Ok(self.special(name, &found.stat)),
        };
        match packed {
            Ok(result) => result,
            // It went away, or became something else.
            Err(errno) if gone(errno) => Ok(()),
            Err(errno) => Err(failed("open", found.path, errno)),
        }
    }

    fn directory(&mut self, mut name: Vec<u8>, stat: &Stat, directory: BorrowedFd<'_>) -> Result<()> {
        name.push(b'/');
        let mut entry = entry_of(name, EntryKind::Directory, stat);
        entry.xattrs =
            xattrs(directory).map_err(|errno| failed("read the attributes of", &entry.path, errno))?;
        self.write(&entry)
    }

    fn link(&mut self, name: Vec<u8>, stat: &Stat, target: Vec<u8>) -> Result<()> {
        let mut entry = entry_of(name, EntryKind::Symlink, stat);
        entry.link = target;
        self.write(&entry)
    }

    /// A device or FIFO; a socket is none of the things that an archive can hold.
    fn special(&mut self, name: Vec<u8>, stat: &Stat) -> Result<()> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => EntryKind::Character,
            FileType::BlockDevice => EntryKind::Block,
            FileType::Fifo => EntryKind::Fifo,
            _ => return Ok(()),
        };
        let mut entry = entry_of(name, kind, stat);
        entry.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
        self.write(&entry)
    }

    fn file(&mut self, name: Vec<u8>, file: &OwnedFd) -> Result<()> {
        let stat = fstat(file).map_err(|errno| failed("look at", &name, errno))?;
        if stat.st_nlink > 1 {
            if let Some(earlier) = self.names.get(&(stat.st_dev, stat.st_ino)) {
                let mut entry = entry_of(name, EntryKind::HardLink, &stat);
                entry.link.clone_from(earlier);
                return self.write(&entry);
            }
            self.names.insert((stat.st_dev, stat.st_ino), name.clone());
        }
        let mut entry = entry_of(name, EntryKind::File, &stat);
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.xattrs =
            xattrs(file.as_fd()).map_err(|errno| failed("read the attributes of", &entry.path, errno))?;
        self.write(&entry)?;
        self.content(&entry, file)
    }

    /// The data of a file, as much as its entry says: one that grows is cut off, one that shrinks is filled with zeros.
    fn content(&mut self, entry: &Entry, file: &OwnedFd) -> Result<()> {
        while self.writer.missing() > 0 {
            let room = usize::try_from(self.writer.missing()).unwrap_or(CHUNK).min(CHUNK);
            let length = match rustix::io::read(file, &mut self.buffer[..room]) {
                Ok(0) => {
                    self.buffer[..room].fill(0);
                    room
                }
                Ok(length) => length,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(failed("read", &entry.path, errno)),
            };
            self.writer.data(&self.buffer[..length]).map_err(|error| written(&entry.path, error))?;
        }
        Ok(())
    }

    /// Writes an entry without data.
    pub fn write(&mut self, entry: &Entry) -> Result<()> {
        if let Some(latest) = self.latest.filter(|latest| entry.mtime.seconds >= *latest) {
            let earlier = Entry { mtime: Mtime { seconds: latest, nanoseconds: 0 }, ..entry.clone() };
            return self.writer.entry(&earlier).map_err(|error| written(&entry.path, error));
        }
        self.writer.entry(entry).map_err(|error| written(&entry.path, error))
    }

    /// Ends the archive.
    pub fn finish(self) -> Result<()> {
        self.writer.finish().map(drop).map_err(|error| Error::io("write the archive", error))
    }
}

fn written(path: &[u8], error: std::io::Error) -> Error {
    Error::io(format!("write the archive at `{}`", shown(path)), error)
}

/// What an entry says of a file, besides its data.
pub fn entry_of(name: Vec<u8>, kind: EntryKind, stat: &Stat) -> Entry {
    let mut entry = Entry::new(name, kind, (stat.st_mode & 0o7777) as u16);
    (entry.uid, entry.gid) = (stat.st_uid, stat.st_gid);
    entry.mtime =
        Mtime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    entry
}

/// Name and value of an extended attribute.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// Extended attributes that belong to a file, in the order of their names.
///
/// # Errors
/// What reading them reports.
pub fn xattrs(file: BorrowedFd<'_>) -> Result<Vec<Xattr>, Errno> {
    let mut list = vec![0; XATTR_LIMIT];
    let length = match flistxattr(file, &mut list) {
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let mut names: Vec<&[u8]> =
        list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    // A record's key ends at the first `=`.
    names.retain(|name| !NOT_KEPT.iter().any(|prefix| name.starts_with(prefix)) && !name.contains(&b'='));
    names.sort_unstable();
    let mut xattrs = Vec::with_capacity(names.len());
    for name in names {
        match xattr(file, name) {
            Some(Ok(value)) => xattrs.push((name.to_vec(), value)),
            // It was removed.
            Some(Err(Errno::NODATA)) | None => {}
            Some(Err(errno)) => return Err(errno),
        }
    }
    Ok(xattrs)
}

fn xattr(file: BorrowedFd<'_>, name: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
    let name = [name, b"\0"].concat();
    let name = CStr::from_bytes_with_nul(&name).ok()?;
    let mut value = vec![0; XATTR_LIMIT];
    Some(fgetxattr(file, name, &mut value).map(|length| {
        value.truncate(length);
        value
    }))
}
