//! From an image to a directory.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType as Type, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat,
    chownat, fchmod, fchown, fsetxattr, futimens, linkat, lsetxattr, makedev, mkdirat, mknodat, openat,
    statat, symlinkat, syncfs, utimensat,
};
use rustix::io::Errno;

use super::walk::{DIRECTORY, Entry, Visitor, damaged, walk};
use crate::erofs::{BLOCK, FileType, Image, Inode};
use crate::error::{Error, Result};

const BUFFER: usize = 256 << 10;

/// Makes `directory`, on a file system that keeps owners and attributes, with all that the image shows, on the disk.
///
/// A file with several names is made beside it first, under its number, and gets each name from there: where its first
/// name is need not be remembered.
pub(super) fn unpack(image: &Image, directory: &Path) -> Result<()> {
    let links = directory.with_extension("links");
    let mut maker = Maker { image, links: make_directory(&links)?, buffer: vec![0; BUFFER] };
    let root = make_directory(directory)?;
    let again = openat(&root, c".", DIRECTORY, Mode::empty())
        .map_err(|errno| Error::io(format!("open `{}`", directory.display()), errno))?;
    walk(image, again, &mut maker)?;
    holm_sys::file::remove_tree(&links)
        .map_err(|error| Error::io(format!("remove `{}`", links.display()), error))?;
    syncfs(&root).map_err(|errno| Error::io(format!("sync `{}`", directory.display()), errno))
}

fn make_directory(path: &Path) -> Result<OwnedFd> {
    mkdirat(CWD, path, Mode::RWXU)
        .and_then(|()| openat(CWD, path, DIRECTORY, Mode::empty()))
        .map_err(|errno| Error::io(format!("make `{}`", path.display()), errno))
}

struct Maker<'a> {
    image: &'a Image,
    links: OwnedFd,
    buffer: Vec<u8>,
}

impl Visitor for Maker<'_> {
    fn entry(&mut self, entry: Entry<'_>) -> Result<()> {
        match entry.inode.file_type {
            FileType::Directory => mkdirat(entry.parent, entry.name, Mode::RWXU)
                .map_err(|errno| entry.failed("make directory", errno)),
            _ if entry.inode.links() > 1 => self.link(entry),
            _ => self.make(entry),
        }
    }

    fn leave(&mut self, directory: BorrowedFd<'_>, inode: &Inode, path: &[u8], _: usize) -> Result<()> {
        let here = Entry { parent: directory, name: c".", path, inode };
        self.describe(here, directory)
    }
}

impl Maker<'_> {
    /// Gives a file with several names one of them.
    fn link(&mut self, entry: Entry<'_>) -> Result<()> {
        let number = CString::new(entry.inode.number.to_string()).expect("digits");
        let links = self.links.try_clone();
        let links = links.map_err(|error| Error::io("copy a descriptor", error))?;
        if statat(&links, &number, AtFlags::SYMLINK_NOFOLLOW).is_err() {
            self.make(Entry { parent: links.as_fd(), name: &number, ..entry })?;
        }
        linkat(&links, &number, entry.parent, entry.name, AtFlags::empty())
            .map_err(|errno| entry.failed("link", errno))
    }

    fn make(&mut self, entry: Entry<'_>) -> Result<()> {
        match entry.inode.file_type {
            FileType::Regular => return self.make_file(entry),
            FileType::Symlink => {
                let target = self.image.read_link(entry.inode).map_err(damaged)?;
                symlinkat(target.as_slice(), entry.parent, entry.name)
            }
            file_type => {
                let (major, minor) = entry.inode.device();
                let file_type = node_type(file_type);
                mknodat(entry.parent, entry.name, file_type, Mode::empty(), makedev(major, minor))
            }
        }
        .map_err(|errno| entry.failed("make", errno))?;
        self.describe_by_name(entry)
    }

    fn make_file(&mut self, entry: Entry<'_>) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(entry.parent, entry.name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| entry.failed("make", errno))?;
        let file = File::from(file);
        self.write(entry, &file)?;
        self.describe(entry, file.as_fd())
    }

    /// Writes the data of a file, without its holes.
    fn write(&mut self, entry: Entry<'_>, file: &File) -> Result<()> {
        let failed =
            |error: std::io::Error| entry.failed("write", Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let inode = entry.inode;
        let chunks = self.image.chunks(inode).map_err(damaged)?;
        let chunk = chunks.map(|chunks| BLOCK << chunks.bits);
        let mut offset = 0;
        while offset < inode.size() {
            let end = chunk.map_or(inode.size(), |chunk| (offset + chunk).min(inode.size()));
            if chunk.is_some() && self.image.is_hole(inode, offset).map_err(damaged)? {
                offset = end;
                continue;
            }
            while offset < end {
                let length = usize::try_from(end - offset).unwrap_or(BUFFER).min(BUFFER);
                let buffer = &mut self.buffer[..length];
                self.image.read_data(inode, offset, buffer).map_err(damaged)?;
                file.write_all_at(buffer, offset).map_err(failed)?;
                offset += length as u64;
            }
        }
        file.set_len(inode.size()).map_err(failed)
    }

    /// Owner first, since a change of it takes capabilities and set-user-id bits away; times last.
    fn describe(&self, entry: Entry<'_>, file: BorrowedFd<'_>) -> Result<()> {
        let inode = entry.inode;
        let (owner, group) = owners(inode);
        fchown(file, owner, group).map_err(|errno| entry.failed("change the owner of", errno))?;
        for (name, value) in self.image.xattrs(inode).map_err(damaged)? {
            fsetxattr(file, name.as_slice(), &value, XattrFlags::empty())
                .map_err(|errno| entry.failed("set an attribute of", errno))?;
        }
        fchmod(file, mode(inode)).map_err(|errno| entry.failed("change the mode of", errno))?;
        futimens(file, &times(inode)).map_err(|errno| entry.failed("set the time of", errno))
    }

    /// The same for what cannot be opened.
    fn describe_by_name(&self, entry: Entry<'_>) -> Result<()> {
        let Entry { parent, name, inode, .. } = entry;
        let (owner, group) = owners(inode);
        chownat(parent, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| entry.failed("change the owner of", errno))?;
        let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(name.to_bytes());
        for (name, value) in self.image.xattrs(inode).map_err(damaged)? {
            // Only files and directories have a user's attributes: xattr(7). What an image says of others nobody sees.
            if !name.starts_with(b"user.") {
                lsetxattr(path.as_slice(), name.as_slice(), &value, XattrFlags::empty())
                    .map_err(|errno| entry.failed("set an attribute of", errno))?;
            }
        }
        if inode.file_type != FileType::Symlink {
            chmodat(parent, name, mode(inode), AtFlags::empty())
                .map_err(|errno| entry.failed("change the mode of", errno))?;
        }
        utimensat(parent, name, &times(inode), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| entry.failed("set the time of", errno))
    }
}

/// The type of a file that is made by its type.
fn node_type(file_type: FileType) -> Type {
    match file_type {
        FileType::Character => Type::CharacterDevice,
        FileType::Block => Type::BlockDevice,
        FileType::Fifo => Type::Fifo,
        FileType::Socket => Type::Socket,
        FileType::Regular => Type::RegularFile,
        FileType::Directory => Type::Directory,
        FileType::Symlink => Type::Symlink,
    }
}

fn owners(inode: &Inode) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(inode.uid())), Some(Gid::from_raw(inode.gid())))
}

fn mode(inode: &Inode) -> Mode {
    Mode::from_raw_mode(inode.mode().into())
}

fn times(inode: &Inode) -> Timestamps {
    let mtime = inode.mtime();
    let time = Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}
