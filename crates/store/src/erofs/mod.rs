//! EROFS images: one read-only file system a layer, written in one pass and read back without mounting.
//!
//! | file | holds |
//! |---|---|
//! | `format` | the structures on disk |
//! | `tree` | the file tree that becomes an image's metadata |
//! | `pages` | what memory cannot hold goes to a file |
//! | `xattr` | extended attributes beside an inode |
//! | `directory` | the blocks of a directory |
//! | `layout` | where every inode and directory block goes |
//! | `writer` | data as it streams, then metadata, then the superblock |
//! | `reader` | an image read by path or inode number, expecting hostile input |
//!
//! Layout of the images written here, in blocks of 4096 bytes:
//!
//! ```text
//! block 0         superblock at byte 1024, the rest zero; written last
//! data            files in the order in which they came, each from a block boundary
//! metadata        inodes breadth first, each with attributes and a small directory, a link's target or
//!                 the block numbers of a sparse file; the superblock's meta_blkaddr points here
//! directories     blocks of large directories and of symbolic links that do not fit beside an inode
//! ```
//! Same input, same bytes: the image holds no clock and no random number. Only what kernel 6.1 mounts
//! is used: extended inodes, flat and chunk-based files, the checksum and mtime flags; no compression,
//! no shared attributes, no further devices.

mod directory;
mod format;
mod layout;
mod pages;
mod reader;
mod tree;
mod writer;
mod xattr;

pub use format::{BLOCK, FileType};
pub use pages::Budget;
pub use reader::{Chunking, Image, Inode, Listed, Position, ReadAt};
pub use tree::{Content, Metadata, Node, NodeId, Span, SparseFile, Tree};
pub use writer::{DataWriter, Finished};
pub use xattr::{LIMIT as XATTR_LIMIT, OPAQUE, fit_together, fits, is_storable};

/// The version of the images' layout, part of their file names: whatever changes the bytes that come
/// from the same input changes it.
pub const LAYOUT_VERSION: u32 = 1;
