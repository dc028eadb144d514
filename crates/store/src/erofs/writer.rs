//! Writing an image in one pass: [`DataWriter`] takes the data of files as it streams, and its
//! [`finish`](DataWriter::finish) adds the metadata of a tree and, last, the superblock.

use std::fs::File;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::directory::{self, DirectoryEntry};
use super::format::{BLOCK, DataLayout, NO_BLOCK, RawInode, SLOT, Superblock, encode_device};
use super::layout::{Layout, Place, with_dots};
use super::tree::{Content, Node, NodeId, Tree};
use super::xattr;
use holm_tar::{Error, Kind};

/// How much is written at once, aligned to this size.
const BUFFER: u64 = 1 << 20;

/// A seal's first bytes, so that it is no other hash.
pub(super) const SEAL: &[u8] = b"holm erofs seal 1\n";

/// The image's file, written from block 1 on.
pub struct DataWriter<'f> {
    file: &'f File,
    buffer: Vec<u8>,
    /// Where in the file the buffer's first byte goes.
    start: u64,
    limit: u64,
    seal: Option<Sha256>,
}

/// An image that is complete but for being synced to disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its size in bytes.
    pub size: u64,
    /// See [`Image::seal`](super::Image::seal).
    pub seal: [u8; 32],
}

impl<'f> DataWriter<'f> {
    /// A writer of an empty file that refuses to make it larger than `limit` bytes.
    pub fn new(file: &'f File, limit: u64) -> Self {
        let limit = limit.min(u64::from(NO_BLOCK - 1) * BLOCK);
        Self { file, buffer: Vec::with_capacity(BUFFER as usize), start: BLOCK, limit, seal: None }
    }

    /// Where the next byte goes.
    pub fn position(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// Starts a file, or a chunk of one, at the next block, whose number it gives.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn start_file(&mut self) -> Result<u32, Error> {
        self.write_zeros(self.position().wrapping_neg() % BLOCK)?;
        u32::try_from(self.position() / BLOCK).map_err(|_| self.too_large())
    }

    /// Writes data.
    ///
    /// # Errors
    /// [`Kind::TooMany`] beyond the limit, [`Kind::NoSpace`] and [`Kind::Io`] from the file.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), Error> {
        if self.position() + data.len() as u64 > self.limit {
            return Err(self.too_large());
        }
        while !data.is_empty() {
            let room = (BUFFER - self.position() % BUFFER) as usize;
            let (now, later) = data.split_at(room.min(data.len()));
            self.buffer.extend_from_slice(now);
            data = later;
            if now.len() == room {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes `count` zeros.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_zeros(&mut self, mut count: u64) -> Result<(), Error> {
        const ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];
        while count > 0 {
            let now = count.min(BLOCK);
            self.write(&ZEROS[..now as usize])?;
            count -= now;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Some(seal) = &mut self.seal {
            seal.update(&self.buffer);
        }
        self.file.write_all_at(&self.buffer, self.start).map_err(|source| {
            Error::write(format!("writing the layer's image at byte {}", self.start), source)
        })?;
        self.start = self.position();
        self.buffer.clear();
        Ok(())
    }

    fn too_large(&self) -> Error {
        Error::new(Kind::TooMany, format!("the layer's image would be larger than {} bytes", self.limit))
    }

    /// Writes the metadata of `tree`, whose files were written before, and the superblock.
    ///
    /// `identity` is the digest of what the image was made from: its beginning becomes the image's
    /// UUID, and it enters the seal. The file is not synced.
    ///
    /// # Errors
    /// As [`write`](Self::write), and [`Kind::TooLong`] if attributes are too many.
    pub fn finish(mut self, mut tree: Tree, identity: &[u8; 32]) -> Result<Finished, Error> {
        tree.forget_names();
        let layout = Layout::plan(&tree)?;
        let metadata = self.start_file()?;
        self.flush()?;
        self.seal = Some(Sha256::new_with_prefix(SEAL));
        let directories = u64::from(metadata) + layout.metadata_blocks;
        let blocks = u32::try_from(directories + layout.directory_blocks).map_err(|_| self.too_large())?;
        self.write_inodes(&tree, &layout, directories)?;
        self.write_directories(&tree, &layout)?;
        self.flush()?;
        let superblock = Superblock {
            root: u16::try_from(layout.of(Tree::ROOT)?.slot).expect("the root has the first slot"),
            inodes: layout.count(),
            blocks,
            metadata,
            uuid: uuid(identity),
            chunked: layout.chunked,
        };
        let first = superblock.encode();
        let context = "writing the superblock of the layer's image";
        self.file.write_all_at(&first, 0).map_err(|source| Error::write(context, source))?;
        let seal = self.seal.unwrap_or_default().chain_update(&first).chain_update(identity);
        Ok(Finished { size: u64::from(blocks) * BLOCK, seal: seal.finalize().into() })
    }

    /// The inodes with what follows each (of a file with holes its chunk list); `directories` is the first block after them.
    fn write_inodes(&mut self, tree: &Tree, layout: &Layout, directories: u64) -> Result<(), Error> {
        let origin = self.position();
        let mut bytes = Vec::new();
        for index in 0..layout.count() {
            let id = layout.node(index)?;
            let (node, place) = (tree.node(id)?, layout.of(id)?);
            self.write_zeros(origin + place.slot * SLOT - self.position())?;
            bytes.clear();
            bytes.extend_from_slice(&raw_inode(&node, &place, directories, index as u32 + 1).encode());
            xattr::encode(&node, &mut bytes);
            append_inline((tree, layout), id, (&node, &place), &mut bytes)?;
            self.write(&bytes)?;
            if let Content::Sparse { chunks, .. } = node.content {
                chunks.pieces().try_for_each(|piece| self.write(&tree.bytes(piece)?))?;
            }
        }
        let end = origin + layout.metadata_blocks * BLOCK;
        self.write_zeros(end - self.position())
    }

    /// What follows the metadata: blocks of directories and of long links.
    fn write_directories(&mut self, tree: &Tree, layout: &Layout) -> Result<(), Error> {
        for index in 0..layout.count() {
            let id = layout.node(index)?;
            let place = layout.of(id)?;
            if place.first_block.is_none() {
                continue;
            }
            match tree.content(id)? {
                Content::Symlink(target) => self.write(&tree.bytes(target)?)?,
                _ => directory_blocks((tree, layout), id, &place, |block, is_last| {
                    // What is left over follows the inode.
                    if is_last && place.inline > 0 { Ok(()) } else { self.write(block) }
                })?,
            }
            self.write_zeros(self.position().wrapping_neg() % BLOCK)?;
        }
        Ok(())
    }
}

/// A UUID of version 8 (RFC 9562 section 5.8): bytes of a digest with the version's bits.
fn uuid(identity: &[u8; 32]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&identity[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}

fn raw_inode(node: &Node, place: &Place, directories: u64, number: u32) -> RawInode {
    let blocks = place.first_block.map_or(NO_BLOCK, |first| (directories + first) as u32);
    let flat = if place.inline > 0 { DataLayout::Inline } else { DataLayout::Plain };
    let (layout, size, address) = match &node.content {
        Content::Directory { .. } | Content::Symlink(_) => (flat, place.size, blocks),
        Content::File { block, size } => (DataLayout::Plain, *size, *block),
        // Without the flag for indexes, chunks are plain block numbers.
        Content::Sparse { size, chunk_bits, .. } => (DataLayout::Chunks, *size, u32::from(*chunk_bits)),
        Content::Character(major, minor) | Content::Block(major, minor) => {
            (DataLayout::Plain, 0, encode_device((*major, *minor)))
        }
        Content::Fifo | Content::Socket => (DataLayout::Plain, 0, 0),
    };
    let metadata = &node.metadata;
    RawInode {
        layout,
        xattr_count: place.xattr_count,
        mode: metadata.mode & 0o7777 | node.content.file_type().mode_bits(),
        size,
        address,
        number,
        uid: metadata.uid,
        gid: metadata.gid,
        mtime: metadata.mtime,
        links: place.links,
    }
}

/// What of a link or a directory follows an inode and its attributes.
fn append_inline(
    (tree, layout): (&Tree, &Layout),
    id: NodeId,
    (node, place): (&Node, &Place),
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    match node.content {
        Content::Symlink(target) if place.inline > 0 => {
            let target = tree.bytes(target)?;
            out.extend_from_slice(&target[target.len() - place.inline as usize..]);
        }
        Content::Directory { .. } if place.inline > 0 => {
            directory_blocks((tree, layout), id, place, |block, is_last| {
                if is_last {
                    out.extend_from_slice(block);
                }
                Ok(())
            })?;
        }
        _ => {}
    }
    Ok(())
}

/// Gives the blocks of a directory, and which of them is the last.
fn directory_blocks(
    (tree, layout): (&Tree, &Layout),
    id: NodeId,
    place: &Place,
    block: impl FnMut(&[u8], bool) -> Result<(), Error>,
) -> Result<(), Error> {
    let listing = tree.list(id)?;
    let entry = |(name, target)| {
        let place = layout.of(target)?;
        Ok(DirectoryEntry { name, inode: place.slot, file_type: place.file_type })
    };
    directory::encode(with_dots(listing.iter(), id, place.parent).map(entry), block)
}
