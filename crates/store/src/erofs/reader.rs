//! An image read by path or inode number without mounting it.
//!
//! Images are taken as hostile: every offset is checked against the image's length, directories and
//! attributes are read block by block, and nothing recurses. Read are images of the forms
//! that the writer makes, which are not all that the kernel knows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::format::{
    BLOCK, DataLayout, FileType, INODE, MAX_LINK, NO_BLOCK, RawInode, SLOT, Superblock, decode_device,
    u16_at, u64_at, xattr_bytes,
};
use super::writer::SEAL;
use super::xattr;
use holm_tar::Mtime;
use holm_tar::{Error, Kind};

/// Something that is read at any position.
pub trait ReadAt: Send + Sync {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] if there is less.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// How many bytes there are.
    ///
    /// # Errors
    /// What the operating system reports.
    fn length(&self) -> io::Result<u64>;
}

impl ReadAt for File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let bytes = from.and_then(|from| self.get(from..)?.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

/// An image.
pub struct Image {
    source: Box<dyn ReadAt>,
    length: u64,
    superblock: Superblock,
}

/// An inode of an image.
#[derive(Debug, Clone)]
pub struct Inode {
    /// Its number: offset in the metadata in units of 32 bytes.
    pub number: u64,
    /// What it is.
    pub file_type: FileType,
    raw: RawInode,
    offset: u64,
}

impl Inode {
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    pub fn mode(&self) -> u16 {
        self.raw.mode & 0o7777
    }

    /// Owner.
    pub fn uid(&self) -> u32 {
        self.raw.uid
    }

    /// Group.
    pub fn gid(&self) -> u32 {
        self.raw.gid
    }

    /// Last modification.
    pub fn mtime(&self) -> Mtime {
        self.raw.mtime
    }

    /// How many names it has.
    pub fn links(&self) -> u32 {
        self.raw.links
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.raw.size
    }

    /// Major and minor number if it is a device.
    pub fn device(&self) -> (u32, u32) {
        match self.file_type {
            FileType::Character | FileType::Block => decode_device(self.raw.address),
            _ => (0, 0),
        }
    }

    /// Whether it is overlayfs's mark for a removed name.
    pub fn is_whiteout(&self) -> bool {
        self.file_type == FileType::Character && self.device() == (0, 0)
    }

    /// Where its data begins if it follows the inode.
    fn behind(&self) -> u64 {
        self.offset + INODE + xattr_bytes(self.raw.xattr_count)
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The number of its inode.
    pub inode: u64,
    /// Its type as the directory says, see [`FileType`]; only a hint.
    pub file_type: u8,
}

/// The chunks of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunking {
    /// log2 of a chunk in blocks.
    pub bits: u8,
    /// Their number.
    pub count: u64,
}

impl Chunking {
    /// Bytes of memory that a table of them takes.
    pub fn table_size(self) -> u64 {
        self.count * size_of::<Option<u32>>() as u64
    }
}

fn damaged_chunks(inode: &Inode) -> Error {
    Error::new(Kind::Corrupt, format!("inode {} of the EROFS image has damaged chunks", inode.number))
}

/// Where a run of a file's bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// Offset in the image, `None` for a hole.
    at: Option<u64>,
    length: u64,
}

impl Image {
    /// Opens an image.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if it is none or its superblock is damaged, [`Kind::Truncated`] if it is
    /// shorter than its superblock says.
    pub fn open(source: impl ReadAt + 'static) -> Result<Self, Error> {
        let source = Box::new(source);
        let length =
            source.length().map_err(|error| Error::read("looking at the length of an image", error))?;
        let mut block = vec![0; BLOCK as usize];
        if length < BLOCK {
            return Err(Error::new(Kind::Truncated, "the EROFS image is shorter than one block"));
        }
        source.read_exact_at(&mut block, 0).map_err(|error| Error::read("reading a superblock", error))?;
        let superblock = Superblock::decode(&block)
            .map_err(|what| Error::new(Kind::Corrupt, format!("the EROFS image is not usable: {what}")))?;
        if u64::from(superblock.blocks) * BLOCK > length {
            return Err(Error::new(Kind::Truncated, "the EROFS image is shorter than its superblock says"));
        }
        Ok(Self { source, length, superblock })
    }

    /// The image's length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The image's UUID.
    pub fn uuid(&self) -> [u8; 16] {
        self.superblock.uuid
    }

    /// How many inodes the image says it has.
    pub fn inode_count(&self) -> u64 {
        self.superblock.inodes
    }

    /// The seal of the image: the sha256 of everything in it that is not data of files, with the
    /// `identity` that the writer was given.
    ///
    /// Together with the diff-id, which covers the data, it covers the image without hashing the data
    /// twice: if the seal holds and the tar that comes back has its digest, every byte that a mount
    /// can show is the one that was written. The exception are copies of the parents' files that a
    /// hard link asked for, whose data is in no tar; [`digest`](Self::digest) covers these as well.
    ///
    /// # Errors
    /// What reading reports.
    pub fn seal(&self, identity: &[u8; 32]) -> Result<[u8; 32], Error> {
        let mut hash = Sha256::new_with_prefix(SEAL);
        let end = u64::from(self.superblock.blocks) * BLOCK;
        let mut position = u64::from(self.superblock.metadata) * BLOCK;
        let mut buffer = vec![0; 256 << 10];
        while position < end {
            let now = (end - position).min(buffer.len() as u64) as usize;
            self.read_at(&mut buffer[..now], position)?;
            hash.update(&buffer[..now]);
            position += now as u64;
        }
        self.read_at(&mut buffer[..BLOCK as usize], 0)?;
        hash.update(&buffer[..BLOCK as usize]);
        Ok(hash.chain_update(identity).finalize().into())
    }

    /// The sha256 of the whole image: reads all of it.
    ///
    /// # Errors
    /// What reading reports.
    pub fn digest(&self) -> Result<[u8; 32], Error> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        let mut position = 0;
        while position < self.length {
            let now = (self.length - position).min(buffer.len() as u64) as usize;
            self.read_at(&mut buffer[..now], position)?;
            hash.update(&buffer[..now]);
            position += now as u64;
        }
        Ok(hash.finalize().into())
    }

    /// Reads bytes of the image itself.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if they are not within it, what reading reports.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), Error> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
            return Err(Error::new(Kind::Corrupt, "the EROFS image refers to bytes past its end"));
        }
        self.source
            .read_exact_at(buffer, offset)
            .map_err(|error| Error::read(format!("reading an EROFS image at byte {offset}"), error))
    }

    /// The root.
    ///
    /// # Errors
    /// As [`inode`](Self::inode).
    pub fn root(&self) -> Result<Inode, Error> {
        self.inode(u64::from(self.superblock.root))
    }

    /// An inode by number.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if there is none.
    pub fn inode(&self, number: u64) -> Result<Inode, Error> {
        let corrupt =
            |what: &str| Error::new(Kind::Corrupt, format!("inode {number} of the EROFS image: {what}"));
        let offset = number
            .checked_mul(SLOT)
            .and_then(|offset| offset.checked_add(u64::from(self.superblock.metadata) * BLOCK))
            .filter(|offset| *offset <= self.length)
            .ok_or_else(|| corrupt("it would lie past the end"))?;
        if self.length - offset < INODE {
            return Err(corrupt("it would lie past the end"));
        }
        let mut bytes = [0; INODE as usize];
        self.read_at(&mut bytes, offset)?;
        let raw = RawInode::decode(&bytes).map_err(corrupt)?;
        let file_type = FileType::of_mode(raw.mode).ok_or_else(|| corrupt("its mode has no type"))?;
        Ok(Inode { number, file_type, raw, offset })
    }

    /// The extended attributes of an inode, by full name.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if they are damaged or shared.
    pub fn xattrs(&self, inode: &Inode) -> Result<xattr::Pairs, Error> {
        let mut bytes = vec![0; xattr_bytes(inode.raw.xattr_count) as usize];
        self.read_at(&mut bytes, inode.offset + INODE)?;
        xattr::decode(&bytes).ok_or_else(|| {
            let what = format!("the attributes of inode {} of the EROFS image are damaged", inode.number);
            Error::new(Kind::Corrupt, what)
        })
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if `inode` is none, or the target is longer than the kernel takes.
    pub fn read_link(&self, inode: &Inode) -> Result<Vec<u8>, Error> {
        if inode.file_type != FileType::Symlink || inode.size() > MAX_LINK as u64 {
            let what = format!("inode {} of the EROFS image is no usable symbolic link", inode.number);
            return Err(Error::new(Kind::Corrupt, what));
        }
        let mut target = vec![0; inode.size() as usize];
        self.read_data(inode, 0, &mut target)?;
        Ok(target)
    }

    /// Reads data of a file, a directory or a link; gives how many bytes, fewer than asked for only at
    /// the end. Holes read as zeros.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the data would lie past the end of the image.
    pub fn read_data(&self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut done = 0;
        while done < buffer.len() {
            let position = offset.saturating_add(done as u64);
            if position >= inode.size() {
                break;
            }
            let run = self.run(inode, position)?;
            let length = usize::try_from(run.length).unwrap_or(usize::MAX).min(buffer.len() - done);
            let part = &mut buffer[done..done + length];
            match run.at {
                Some(at) => self.read_at(part, at)?,
                None => part.fill(0),
            }
            done += length;
        }
        Ok(done)
    }

    /// How a file is cut into chunks; `None` for one that lies in one piece.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if its chunks cannot be all within the image.
    pub fn chunks(&self, inode: &Inode) -> Result<Option<Chunking>, Error> {
        if inode.file_type != FileType::Regular || inode.raw.layout != DataLayout::Chunks {
            return Ok(None);
        }
        let bits = u8::try_from(inode.raw.address).ok().filter(|bits| *bits <= 0x1f);
        let chunking = bits.map(|bits| Chunking { bits, count: inode.size().div_ceil(BLOCK << bits) });
        // Each has a block number in the image.
        let chunking = chunking.filter(|chunking| chunking.count <= self.length / 4);
        chunking.map(Some).ok_or_else(|| damaged_chunks(inode))
    }

    /// Whether the byte at `position`, which is within the file, is in a hole.
    ///
    /// # Errors
    /// As [`read_data`](Self::read_data).
    pub fn is_hole(&self, inode: &Inode, position: u64) -> Result<bool, Error> {
        Ok(self.run(inode, position)?.at.is_none())
    }

    /// Where the bytes at `position`, which is within the file, are; at least one.
    fn run(&self, inode: &Inode, position: u64) -> Result<Run, Error> {
        let left = inode.size() - position;
        let tail = inode.size() - inode.size() % BLOCK;
        // Past the end, not overflowing, where the sum is too large.
        let flat = (u64::from(inode.raw.address) * BLOCK).saturating_add(position);
        Ok(match inode.raw.layout {
            DataLayout::Inline if position >= tail => {
                Run { at: Some(inode.behind() + (position - tail)), length: left }
            }
            DataLayout::Inline => Run { at: Some(flat), length: tail - position },
            DataLayout::Plain => Run { at: Some(flat), length: left },
            DataLayout::Chunks => self.chunk_run(inode, position)?,
        })
    }

    fn chunk_run(&self, inode: &Inode, position: u64) -> Result<Run, Error> {
        let corrupt = || damaged_chunks(inode);
        let format = inode.raw.address;
        if format > 0x1f {
            return Err(corrupt());
        }
        let bits = 12 + format;
        let entry = (position >> bits).checked_mul(4).and_then(|offset| inode.behind().checked_add(offset));
        let mut bytes = [0; 4];
        self.read_at(&mut bytes, entry.ok_or_else(corrupt)?)?;
        let within = position & ((1 << bits) - 1);
        let length = ((1 << bits) - within).min(inode.size() - position);
        let at = match u32::from_le_bytes(bytes) {
            NO_BLOCK => None,
            block => Some((u64::from(block) * BLOCK).checked_add(within).ok_or_else(corrupt)?),
        };
        Ok(Run { at, length })
    }

    /// Calls `visit` with every entry of a directory but `.` and `..`.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if `directory` is none or is damaged; what `visit` returns.
    pub fn read_directory(
        &self,
        directory: &Inode,
        visit: &mut dyn FnMut(Listed<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut at = Position::default();
        while self.visit_next(directory, &mut at, visit)? {}
        Ok(())
    }

    /// Calls `visit` with the entry of a directory that `at` stands before, `.` and `..` left out, and moves `at` behind it;
    /// false behind the last one.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if `directory` is none or is damaged; those of `visit`.
    pub fn visit_next(
        &self,
        directory: &Inode,
        at: &mut Position,
        visit: &mut dyn FnMut(Listed<'_>) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        loop {
            let block = match &at.block {
                Some(block) if at.entry < block.count => block,
                _ if at.next >= self.directory_blocks(directory)? => return Ok(false),
                _ => {
                    (at.entry, at.next) = (0, at.next + 1);
                    at.block.insert(DirectoryBlock::read(self, directory, at.next - 1)?)
                }
            };
            let listed = block.entry(at.entry)?;
            at.entry += 1;
            if !matches!(listed.name, b"." | b"..") {
                return visit(listed).map(|()| true);
            }
        }
    }

    /// The entry `name` of a directory, found by halves.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if `directory` is none or is damaged.
    pub fn lookup(&self, directory: &Inode, name: &[u8]) -> Result<Option<Inode>, Error> {
        let (mut low, mut high) = (0, self.directory_blocks(directory)?);
        // The last block whose first name is not after `name`.
        while low < high {
            let middle = low + (high - low) / 2;
            let block = DirectoryBlock::read(self, directory, middle)?;
            if block.entry(0)?.name <= name { low = middle + 1 } else { high = middle }
        }
        let Some(index) = low.checked_sub(1) else { return Ok(None) };
        let block = DirectoryBlock::read(self, directory, index)?;
        for position in 0..block.count {
            let listed = block.entry(position)?;
            if listed.name == name {
                return self.inode(listed.inode).map(Some);
            }
        }
        Ok(None)
    }

    /// The inode at a path of plain names from the root; links are not followed.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if the image is damaged.
    pub fn find(&self, path: &[u8]) -> Result<Option<Inode>, Error> {
        let mut inode = self.root()?;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            if inode.file_type != FileType::Directory {
                return Ok(None);
            }
            match self.lookup(&inode, name)? {
                Some(next) => inode = next,
                None => return Ok(None),
            }
        }
        Ok(Some(inode))
    }

    fn directory_blocks(&self, directory: &Inode) -> Result<u64, Error> {
        if directory.file_type != FileType::Directory || directory.size() > self.length {
            let what = format!("inode {} of the EROFS image is no usable directory", directory.number);
            return Err(Error::new(Kind::Corrupt, what));
        }
        Ok(directory.size().div_ceil(BLOCK))
    }
}

/// A place between the entries of a directory; the first is before all of them.
#[derive(Default)]
pub struct Position {
    block: Option<DirectoryBlock>,
    /// In that block.
    entry: usize,
    /// The block behind it.
    next: u64,
}

/// One block of a directory.
struct DirectoryBlock {
    bytes: Vec<u8>,
    count: usize,
    inode: u64,
}

impl DirectoryBlock {
    fn read(image: &Image, directory: &Inode, index: u64) -> Result<Self, Error> {
        let offset = index * BLOCK;
        let length = directory.size().saturating_sub(offset).min(BLOCK) as usize;
        let mut bytes = vec![0; length];
        image.read_data(directory, offset, &mut bytes)?;
        let mut block = Self { bytes, count: 0, inode: directory.number };
        if length < 12 {
            return Err(block.damaged());
        }
        let names = usize::from(u16_at(&block.bytes, 8));
        if names < 12 || !names.is_multiple_of(12) || names > length {
            return Err(block.damaged());
        }
        block.count = names / 12;
        Ok(block)
    }

    fn entry(&self, position: usize) -> Result<Listed<'_>, Error> {
        let at = position * 12;
        let from = usize::from(u16_at(&self.bytes, at + 8));
        let last = position + 1 == self.count;
        let to = if last { self.bytes.len() } else { usize::from(u16_at(&self.bytes, at + 20)) };
        let name = self.bytes.get(from..to).ok_or_else(|| self.damaged())?;
        // The last name of a block that is not full ends with a NUL.
        let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
        let name = &name[..end];
        if name.is_empty() || name.len() > 255 || name.contains(&b'/') {
            return Err(self.damaged());
        }
        Ok(Listed { name, inode: u64_at(&self.bytes, at), file_type: self.bytes[at + 10] })
    }

    fn damaged(&self) -> Error {
        Error::new(Kind::Corrupt, format!("directory inode {} of the EROFS image is damaged", self.inode))
    }
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("length", &self.length).finish_non_exhaustive()
    }
}
