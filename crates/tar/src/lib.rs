//! Tar archives: a streaming reader that expects hostile input, and a writer.
//!
//! Formats: V7, ustar and pax (POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Header
//! Block"), GNU long names, numbers in base 256, and sparse files as GNU tar writes them (the old
//! `S` entries with extension headers, and pax 0.0, 0.1 and 1.0).
//!
//! | file | holds |
//! |---|---|
//! | `header` | one block of 512 bytes: checksum, numbers, strings |
//! | `pax` | the records of extended headers, and what they override |
//! | `sparse` | maps of sparse files |
//! | `reader` | the archive as a sequence of entries and slices of data |
//! | `writer` | the same the other way: ustar, with pax records for what that cannot say |
//! | `error` | what can be wrong |
//!
//! ```text
//! entry:   [extension header + payload]*  header  [sparse map]  data  padding to 512
//! archive: entry* two-zero-blocks anything
//! ```
//! Whatever is no file data (headers, payloads, padding, the end) can be read back as raw bytes from
//! [`Reader::raw`], which is how an archive is recorded so that it can be given back bit for bit.

mod error;
mod header;
mod pax;
mod reader;
mod sparse;
mod writer;

pub use error::{Error, Kind, shown};
pub use reader::Reader;
pub use sparse::Segment;
pub use writer::Writer;

/// The size of a block: headers are one, and data is padded to whole ones.
pub const BLOCK: usize = 512;

/// Whether what begins with these bytes, [`BLOCK`] of them if there are so many, is an archive.
pub fn is_archive(head: &[u8]) -> bool {
    let Some(block) = head.get(..BLOCK) else { return false };
    block[257..].starts_with(b"ustar") || Reader::new(block, BLOCK).next().is_ok_and(|entry| entry.is_some())
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file; its data follows.
    File,
    /// A further name of an earlier entry.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A moment, as seconds since 1970 (may be negative) and nanoseconds below 1,000,000,000 after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mtime {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// Nanoseconds after `seconds`.
    pub nanoseconds: u32,
}

/// A decoded header with everything that its extension headers said.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where in the archive its first header begins, in bytes.
    pub offset: u64,
    /// Its name, as the archive spells it.
    pub path: Vec<u8>,
    /// The target of a link, as the archive spells it.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Mtime,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Size of the file in bytes, holes included.
    pub size: u64,
    /// Bytes of data that follow in the archive.
    pub stored: u64,
    /// Where the stored bytes belong, if the file is sparse: ascending, apart, within `size`, and in
    /// sum `stored` bytes.
    pub sparse: Option<Vec<Segment>>,
    /// Extended attributes in the order of the archive, the last of a name counts.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// An entry of root's without data, for a [`Writer`].
    pub fn new(path: Vec<u8>, kind: EntryKind, mode: u16) -> Self {
        Self {
            offset: 0,
            path,
            link: Vec::new(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            device: (0, 0),
            size: 0,
            stored: 0,
            sparse: None,
            xattrs: Vec::new(),
        }
    }
}
