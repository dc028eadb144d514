//! The file tree that becomes the metadata of an image: nodes and names in arrays, addressed by number, so that nothing
//! recurses, a node can have several names, and what memory cannot hold goes to a file.
//!
//! ```text
//! nodes     64 bytes each: metadata, what it is, the first of a directory's entries
//! entries   24 bytes each: the node, its name, the next entry of the directory
//! slots     8 bytes each: an entry, by the hash of its directory and name; at least half of them are free
//! bytes     names, targets of links, attributes, chunk lists
//! ```

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use super::format::{BLOCK, FileType, NO_BLOCK, u16_at, u32_at, u64_at};
use super::pages::{Array, Budget, Pages};
use holm_tar::{Error, Mtime};

/// The number of a node in its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(u32);

/// What every kind of node has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification.
    pub mtime: Mtime,
    /// Extended attributes by full name; each one [`is_storable`](super::is_storable).
    pub xattrs: Xattrs,
}

/// Extended attributes by full name.
pub type Xattrs = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// Bytes that a tree keeps, see [`Tree::keep`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    offset: u64,
    /// Their number.
    pub length: u64,
}

impl Span {
    /// The same in pieces.
    pub(super) fn pieces(self) -> impl Iterator<Item = Self> {
        (0..self.length).step_by(PIECE).map(move |start| Self {
            offset: self.offset + start,
            length: (self.length - start).min(PIECE as u64),
        })
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A directory; `opaque` hides what lower layers have in it.
    Directory {
        /// Whether it gets overlayfs's mark.
        opaque: bool,
    },
    /// A file in consecutive blocks, as [`DataWriter::start_file`](super::DataWriter::start_file) said.
    File {
        /// The first block.
        block: u32,
        /// Its size in bytes.
        size: u64,
    },
    /// A file with holes.
    Sparse {
        /// Its size in bytes.
        size: u64,
        /// log2 of a chunk's size in blocks, 0 to 31.
        chunk_bits: u8,
        /// The first block of each chunk, as the image has it.
        chunks: Span,
    },
    /// A symbolic link and its target, 1 to 4095 bytes.
    Symlink(Span),
    /// A character device; 0:0 is overlayfs's whiteout.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Content {
    /// A directory with nothing in it.
    pub const fn empty_directory() -> Self {
        Self::Directory { opaque: false }
    }

    /// What directory entries say of it.
    pub fn file_type(&self) -> FileType {
        match self {
            Self::Directory { .. } => FileType::Directory,
            Self::File { .. } | Self::Sparse { .. } => FileType::Regular,
            Self::Symlink(_) => FileType::Symlink,
            Self::Character(..) => FileType::Character,
            Self::Block(..) => FileType::Block,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }

    /// Whether it is overlayfs's mark for a removed name.
    pub fn is_whiteout(&self) -> bool {
        matches!(self, Self::Character(0, 0))
    }
}

/// A file with holes that a tree is to keep.
#[derive(Debug, Clone)]
pub struct SparseFile {
    /// Its size in bytes.
    pub size: u64,
    /// log2 of a chunk's size in blocks, 0 to 31.
    pub chunk_bits: u8,
    /// Where there are no holes, ascending: in memory this takes as much as the file has holes, not as it is large.
    runs: Vec<Run>,
}

/// Chunks of a file, one behind the other in the image as well.
#[derive(Debug, Clone, Copy)]
struct Run {
    chunk: u64,
    block: u32,
    count: u64,
}

impl SparseFile {
    /// A file of nothing but a hole.
    pub fn new(size: u64, chunk_bits: u8) -> Self {
        Self { size, chunk_bits, runs: Vec::new() }
    }

    /// Gives a chunk behind those that were given one its first block.
    pub fn put(&mut self, chunk: u64, block: u32) {
        let bits = self.chunk_bits;
        if let Some(run) = self.runs.last_mut()
            && run.chunk + run.count == chunk
            && u64::from(run.block) + (run.count << bits) == u64::from(block)
        {
            run.count += 1;
        } else {
            self.runs.push(Run { chunk, block, count: 1 });
        }
    }

    fn count(&self) -> u64 {
        self.size.div_ceil(BLOCK << self.chunk_bits)
    }

    /// The first blocks of all chunks, as the image has them.
    fn blocks(&self) -> impl Iterator<Item = u32> {
        let mut runs = self.runs.iter().peekable();
        (0..self.count()).map(move |chunk| {
            while runs.next_if(|run| run.chunk + run.count <= chunk).is_some() {}
            match runs.peek() {
                Some(run) if run.chunk <= chunk => {
                    run.block + ((chunk - run.chunk) << self.chunk_bits) as u32
                }
                _ => NO_BLOCK,
            }
        })
    }
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Owner, mode and so on.
    pub metadata: Metadata,
    /// What it is.
    pub content: Content,
}

/// A file tree.
#[derive(Debug)]
pub struct Tree {
    budget: Budget,
    nodes: Array<NODE>,
    entries: Array<ENTRY>,
    slots: Array<SLOT>,
    /// log2 of their number.
    slot_bits: u32,
    bytes: Pages,
    bytes_end: u64,
    hasher: RandomState,
}

/// Bytes of a chunk list that are made at once.
const PIECE: usize = 4096;
const NODE: usize = 64;
const ENTRY: usize = 24;
const SLOT: usize = 8;
/// log2 of the slots that an empty tree has.
const FIRST_SLOTS: u32 = 10;

/// A name in a directory.
#[derive(Debug, Clone, Copy)]
struct NameEntry {
    directory: NodeId,
    node: NodeId,
    name: u64,
    length: u16,
    /// The number of the next one in the directory, and one.
    next: u32,
}

/// Names of a directory, sorted.
#[derive(Debug, Default)]
pub(super) struct Listing {
    bytes: Vec<u8>,
    entries: Vec<(u32, u16, NodeId)>,
}

impl Listing {
    /// Names and nodes, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], NodeId)> + Clone {
        self.entries.iter().map(|&(start, length, node)| (self.name(start, length), node))
    }

    fn name(&self, start: u32, length: u16) -> &[u8] {
        &self.bytes[start as usize..start as usize + usize::from(length)]
    }
}

impl Tree {
    /// The root, which is always a directory.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of nothing but a root.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn new(root: &Metadata, budget: &Budget) -> Result<Self, Error> {
        let quarter = || budget.share(1, 4);
        let mut tree = Self {
            budget: budget.clone(),
            nodes: Array::new(quarter()),
            entries: Array::new(quarter()),
            slots: Array::new(quarter()),
            slot_bits: FIRST_SLOTS,
            bytes: Pages::new(quarter()),
            bytes_end: 0,
            hasher: RandomState::new(),
        };
        tree.add(root, Content::empty_directory())?;
        Ok(tree)
    }

    /// What a tree may take, which is what those who plan an image from it may take as well.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Gives back what only adding needs.
    pub(super) fn forget_names(&mut self) {
        self.slots = Array::new(Budget::default());
    }

    /// How many nodes were ever added; those that lost their names count.
    pub fn count(&self) -> usize {
        self.nodes.len() as usize
    }

    /// Adds a node that has no name yet; `None` beyond 4,294,967,295 of them.
    ///
    /// # Errors
    /// [`Kind::NoSpace`](holm_tar::Kind::NoSpace), [`Kind::Io`](holm_tar::Kind::Io) from the files.
    pub fn add(&mut self, metadata: &Metadata, content: Content) -> Result<Option<NodeId>, Error> {
        let Ok(number) = u32::try_from(self.nodes.len()) else { return Ok(None) };
        let xattrs = self.keep_xattrs(metadata)?;
        let record = Record { content, first: 0, xattrs, ..Record::of(metadata) };
        self.nodes.push(&record.encode())?;
        Ok(Some(NodeId(number)))
    }

    /// A node.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn node(&self, id: NodeId) -> Result<Node, Error> {
        let record = self.record(id)?;
        let mtime = Mtime { seconds: record.seconds, nanoseconds: record.nanoseconds };
        let xattrs = self.xattrs(record.xattrs)?;
        let metadata = Metadata { mode: record.mode, uid: record.uid, gid: record.gid, mtime, xattrs };
        Ok(Node { metadata, content: record.content })
    }

    /// What a node is.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn content(&self, id: NodeId) -> Result<Content, Error> {
        Ok(self.record(id)?.content)
    }

    /// Changes a node's metadata.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn set_metadata(&mut self, id: NodeId, metadata: &Metadata) -> Result<(), Error> {
        let old = self.record(id)?;
        let xattrs = self.keep_xattrs(metadata)?;
        let record = Record { content: old.content, first: old.first, xattrs, ..Record::of(metadata) };
        self.nodes.set(id.number(), &record.encode())
    }

    /// Makes a directory opaque; without effect on anything else.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn set_opaque(&mut self, id: NodeId) -> Result<(), Error> {
        let mut record = self.record(id)?;
        if let Content::Directory { opaque } = &mut record.content {
            *opaque = true;
            self.nodes.set(id.number(), &record.encode())?;
        }
        Ok(())
    }

    /// The entry `name` of a directory; `None` too if `directory` is none.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Result<Option<NodeId>, Error> {
        let found = self.find(directory, name, self.hash(directory, name))?;
        Ok(found.map(|(_, entry)| entry.node))
    }

    /// Gives `child` the name `name`, of at most 65,535 bytes, in a directory, in place of what had it. Without effect if
    /// `directory` is none.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn link(&mut self, directory: NodeId, name: &[u8], child: NodeId) -> Result<(), Error> {
        let mut parent = self.record(directory)?;
        if !parent.content.is_directory() {
            return Ok(());
        }
        let hash = self.hash(directory, name);
        if let Some((number, entry)) = self.find(directory, name, hash)? {
            return self.entries.set(number, &NameEntry { node: child, ..entry }.encode());
        }
        let Span { offset, .. } = self.keep(name)?;
        let length = u16::try_from(name.len()).expect("a name has at most 255 bytes");
        let entry = NameEntry { directory, node: child, name: offset, length, next: parent.first };
        let number = self.entries.push(&entry.encode())?;
        parent.first = u32::try_from(number + 1).expect("a name for each of fewer nodes and links");
        self.nodes.set(directory.number(), &parent.encode())?;
        self.put_slot(hash, parent.first)?;
        if self.entries.len() * 2 > 1 << self.slot_bits {
            self.grow_slots()?;
        }
        Ok(())
    }

    /// Names and nodes of a directory, sorted by name; nothing of anything else.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub(super) fn list(&self, directory: NodeId) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        let mut next = self.record(directory)?.first;
        while let Some(number) = next.checked_sub(1) {
            let entry = NameEntry::decode(&self.entries.get(number.into())?);
            let start = listing.bytes.len();
            listing.bytes.resize(start + usize::from(entry.length), 0);
            self.bytes.read(entry.name, &mut listing.bytes[start..])?;
            listing.entries.push((start as u32, entry.length, entry.node));
            next = entry.next;
        }
        let mut entries = std::mem::take(&mut listing.entries);
        entries.sort_unstable_by(|a, b| listing.name(a.0, a.1).cmp(listing.name(b.0, b.1)));
        listing.entries = entries;
        Ok(listing)
    }

    /// Keeps bytes.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn keep(&mut self, bytes: &[u8]) -> Result<Span, Error> {
        let span = Span { offset: self.bytes_end, length: bytes.len() as u64 };
        self.bytes.write(span.offset, bytes)?;
        self.bytes_end += span.length;
        Ok(span)
    }

    /// Keeps where the chunks of a file with holes are.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn sparse_file(&mut self, file: &SparseFile) -> Result<Content, Error> {
        let chunks = Span { offset: self.bytes_end, length: file.count() * 4 };
        let mut bytes = Vec::with_capacity(PIECE);
        for block in file.blocks() {
            bytes.extend_from_slice(&block.to_le_bytes());
            if bytes.len() == PIECE {
                self.keep(&bytes)?;
                bytes.clear();
            }
        }
        self.keep(&bytes)?;
        Ok(Content::Sparse { size: file.size, chunk_bits: file.chunk_bits, chunks })
    }

    /// Bytes that were kept.
    ///
    /// # Errors
    /// As [`Tree::add`].
    pub fn bytes(&self, span: Span) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; span.length as usize];
        self.bytes.read(span.offset, &mut bytes)?;
        Ok(bytes)
    }

    fn record(&self, id: NodeId) -> Result<Record, Error> {
        Ok(Record::decode(&self.nodes.get(id.number())?))
    }

    /// Attributes as they are kept: each with its lengths before it.
    fn keep_xattrs(&mut self, metadata: &Metadata) -> Result<Span, Error> {
        let mut bytes = Vec::new();
        for (name, value) in &metadata.xattrs {
            bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        self.keep(&bytes)
    }

    fn xattrs(&self, span: Span) -> Result<Xattrs, Error> {
        let mut xattrs = Xattrs::new();
        if span.length == 0 {
            return Ok(xattrs);
        }
        let bytes = self.bytes(span)?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (name, value) = (u32_at(rest, 0) as usize, u32_at(rest, 4) as usize);
            let (pair, more) = rest[8..].split_at(name + value);
            let (name, value) = pair.split_at(name);
            xattrs.insert(name.into(), value.into());
            rest = more;
        }
        Ok(xattrs)
    }

    /// Archives choose names, so nobody may know which of them fall together.
    fn hash(&self, directory: NodeId, name: &[u8]) -> u32 {
        (self.hasher.hash_one((directory.0, name)) >> 32) as u32
    }

    /// Slots of a hash, from the first on: the higher bits of hashes are in order, so that a larger table is filled from
    /// one end to the other.
    fn slots_of(&self, hash: u32) -> impl Iterator<Item = u64> + use<> {
        let bits = self.slot_bits;
        let first = u64::from(hash) >> (32 - bits);
        (first..).map(move |slot| slot & ((1 << bits) - 1))
    }

    fn find(&self, directory: NodeId, name: &[u8], hash: u32) -> Result<Option<(u64, NameEntry)>, Error> {
        for slot in self.slots_of(hash) {
            let slot = self.slots.get(slot)?;
            let Some(number) = u32_at(&slot, 0).checked_sub(1).map(u64::from) else { break };
            if u32_at(&slot, 4) != hash {
                continue;
            }
            let entry = NameEntry::decode(&self.entries.get(number)?);
            let alike = entry.directory == directory && usize::from(entry.length) == name.len();
            if alike && self.bytes(Span { offset: entry.name, length: name.len() as u64 })? == name {
                return Ok(Some((number, entry)));
            }
        }
        Ok(None)
    }

    /// Puts an entry, by its number and one, into a slot.
    fn put_slot(&mut self, hash: u32, entry: u32) -> Result<(), Error> {
        for slot in self.slots_of(hash) {
            if u32_at(&self.slots.get(slot)?, 0) == 0 {
                let mut record = [0; SLOT];
                record[..4].copy_from_slice(&entry.to_le_bytes());
                record[4..].copy_from_slice(&hash.to_le_bytes());
                return self.slots.set(slot, &record);
            }
        }
        Ok(())
    }

    fn grow_slots(&mut self) -> Result<(), Error> {
        let old = std::mem::replace(&mut self.slots, Array::new(self.budget.share(1, 4)));
        self.slot_bits += 1;
        for number in 0..old.len() {
            let slot = old.get(number)?;
            let (entry, hash) = (u32_at(&slot, 0), u32_at(&slot, 4));
            if entry > 0 {
                self.put_slot(hash, entry)?;
            }
        }
        Ok(())
    }
}

impl NodeId {
    /// Its place in arrays that are parallel to the tree.
    pub(super) fn number(self) -> u64 {
        self.0.into()
    }

    /// The node with this number.
    pub(super) fn from_number(number: u32) -> Self {
        Self(number)
    }
}

impl NameEntry {
    fn encode(self) -> [u8; ENTRY] {
        let mut record = [0; ENTRY];
        record[..4].copy_from_slice(&self.directory.0.to_le_bytes());
        record[4..8].copy_from_slice(&self.node.0.to_le_bytes());
        record[8..12].copy_from_slice(&self.next.to_le_bytes());
        // 48 bits are more than all names may have.
        record[12..18].copy_from_slice(&self.name.to_le_bytes()[..6]);
        record[18..20].copy_from_slice(&self.length.to_le_bytes());
        record
    }

    fn decode(record: &[u8; ENTRY]) -> Self {
        let mut name = [0; 8];
        name[..6].copy_from_slice(&record[12..18]);
        Self {
            directory: NodeId(u32_at(record, 0)),
            node: NodeId(u32_at(record, 4)),
            next: u32_at(record, 8),
            name: u64::from_le_bytes(name),
            length: u16_at(record, 18),
        }
    }
}

/// A node as it is kept.
struct Record {
    seconds: i64,
    nanoseconds: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    content: Content,
    xattrs: Span,
    /// The number of a directory's last entry, and one.
    first: u32,
}

impl Record {
    fn of(metadata: &Metadata) -> Self {
        Self {
            seconds: metadata.mtime.seconds,
            nanoseconds: metadata.mtime.nanoseconds,
            uid: metadata.uid,
            gid: metadata.gid,
            mode: metadata.mode,
            content: Content::Fifo,
            xattrs: Span { offset: 0, length: 0 },
            first: 0,
        }
    }

    /// Metadata in the first 24 bytes, then three numbers that tell what it is, attributes, and the first entry.
    fn encode(&self) -> [u8; NODE] {
        let (kind, small, first, second) = match self.content {
            Content::Directory { opaque } => (0, u8::from(opaque), 0, 0),
            Content::File { block, size } => (1, 0, size, block.into()),
            Content::Sparse { size, chunk_bits, chunks } => (2, chunk_bits, size, chunks.offset),
            Content::Symlink(target) => (3, 0, target.length, target.offset),
            Content::Character(major, minor) => (4, 0, major.into(), minor.into()),
            Content::Block(major, minor) => (5, 0, major.into(), minor.into()),
            Content::Fifo => (6, 0, 0, 0),
            Content::Socket => (7, 0, 0, 0),
        };
        let mut record = [0; NODE];
        record[..8].copy_from_slice(&self.seconds.to_le_bytes());
        record[8..12].copy_from_slice(&self.nanoseconds.to_le_bytes());
        record[12..16].copy_from_slice(&self.uid.to_le_bytes());
        record[16..20].copy_from_slice(&self.gid.to_le_bytes());
        record[20..22].copy_from_slice(&self.mode.to_le_bytes());
        record[22..24].copy_from_slice(&[kind, small]);
        record[24..32].copy_from_slice(&u64::to_le_bytes(first));
        record[32..40].copy_from_slice(&u64::to_le_bytes(second));
        record[40..48].copy_from_slice(&self.xattrs.offset.to_le_bytes());
        record[48..52].copy_from_slice(&(self.xattrs.length as u32).to_le_bytes());
        record[52..56].copy_from_slice(&self.first.to_le_bytes());
        if let Content::Sparse { chunks, .. } = self.content {
            record[56..64].copy_from_slice(&chunks.length.to_le_bytes());
        }
        record
    }

    fn decode(record: &[u8; NODE]) -> Self {
        let (first, second) = (u64_at(record, 24), u64_at(record, 32));
        let content = match record[22] {
            0 => Content::Directory { opaque: record[23] > 0 },
            1 => Content::File { size: first, block: second as u32 },
            2 => {
                let chunks = Span { offset: second, length: u64_at(record, 56) };
                Content::Sparse { size: first, chunk_bits: record[23], chunks }
            }
            3 => Content::Symlink(Span { length: first, offset: second }),
            4 => Content::Character(first as u32, second as u32),
            5 => Content::Block(first as u32, second as u32),
            6 => Content::Fifo,
            _ => Content::Socket,
        };
        Self {
            seconds: u64_at(record, 0) as i64,
            nanoseconds: u32_at(record, 8),
            uid: u32_at(record, 12),
            gid: u32_at(record, 16),
            mode: u16_at(record, 20),
            content,
            xattrs: Span { offset: u64_at(record, 40), length: u32_at(record, 48).into() },
            first: u32_at(record, 52),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(memory: usize) -> Tree {
        let budget = Budget { directory: Some(std::env::temp_dir()), memory };
        Tree::new(&Metadata { mode: 0o755, ..Metadata::default() }, &budget).expect("a tree")
    }

    fn metadata(number: u32) -> Metadata {
        let mtime = Mtime { seconds: -i64::from(number), nanoseconds: number };
        let mut metadata = Metadata { mode: 0o640, uid: number, gid: !number, mtime, ..Metadata::default() };
        if number.is_multiple_of(3) {
            let value = number.to_string().repeat(50).into_bytes();
            metadata.xattrs.insert(b"user.number"[..].into(), value.into());
            metadata.xattrs.insert(b"user.empty"[..].into(), Box::default());
        }
        metadata
    }

    #[test]
    fn nodes_and_names_come_back_whether_they_fit_or_not() {
        for memory in [0, 64 << 10, 64 << 20] {
            let mut tree = tree(memory);
            let mut directories = vec![Tree::ROOT];
            for number in 0..5000_u32 {
                let parent = directories[number as usize % directories.len()];
                let span = tree.keep(&number.to_le_bytes()).expect("kept");
                let content = match number % 8 {
                    0 => Content::empty_directory(),
                    1 => Content::Symlink(span),
                    2 => Content::Sparse { size: 1 << 40, chunk_bits: 9, chunks: span },
                    3 => Content::Character(number, 7),
                    _ => Content::File { block: number, size: u64::from(number) << 20 },
                };
                let id = tree.add(&metadata(number), content).expect("added").expect("room");
                tree.link(parent, format!("name-{number}").as_bytes(), id).expect("linked");
                assert_eq!(tree.content(id).expect("there"), content);
                if content.is_directory() && directories.len() < 20 {
                    directories.push(id);
                }
            }
            for number in 0..5000_u32 {
                let id = NodeId(number + 1);
                assert_eq!(tree.node(id).expect("there").metadata, metadata(number));
                if let Content::Symlink(span) = tree.content(id).expect("there") {
                    assert_eq!(tree.bytes(span).expect("kept"), number.to_le_bytes());
                }
            }
            let mut names = 0;
            for directory in directories {
                let listing = tree.list(directory).expect("listed");
                assert!(listing.iter().map(|(name, _)| name).is_sorted());
                for (name, id) in listing.iter() {
                    assert_eq!(tree.child(directory, name).expect("found"), Some(id));
                    assert_eq!(name, format!("name-{}", id.0 - 1).as_bytes());
                    names += 1;
                }
            }
            assert_eq!(names, 5000);
            assert_eq!(tree.child(Tree::ROOT, b"none").expect("looked"), None);
        }
    }

    #[test]
    fn chunks_are_where_they_were_put() {
        let mut file = SparseFile::new((10 << 14) - 1, 2);
        for (chunk, block) in [(1, 100), (2, 104), (3, 112), (7, 7), (9, 1)] {
            file.put(chunk, block);
        }
        assert_eq!(file.runs.len(), 4);
        let none = NO_BLOCK;
        let blocks: Vec<u32> = file.blocks().collect();
        assert_eq!(blocks, [none, 100, 104, 112, none, none, none, 7, none, 1]);
        let mut tree = tree(0);
        tree.keep(b"before").expect("kept");
        let large = SparseFile::new(5000 << 12, 0);
        let Content::Sparse { chunks, .. } = tree.sparse_file(&large).expect("kept") else {
            panic!("sparse")
        };
        assert_eq!(chunks.length, 20_000);
        let bytes: Vec<u8> = chunks.pieces().flat_map(|piece| tree.bytes(piece).expect("kept")).collect();
        assert_eq!(bytes, vec![0xff; 20_000]);
    }

    #[test]
    fn a_name_moves_and_a_directory_stays() {
        let mut tree = tree(0);
        let add = |tree: &mut Tree, content| tree.add(&metadata(1), content).expect("added").expect("room");
        let (first, second) = (add(&mut tree, Content::Fifo), add(&mut tree, Content::empty_directory()));
        tree.link(Tree::ROOT, b"a", first).expect("linked");
        tree.link(Tree::ROOT, b"a", second).expect("linked");
        tree.link(first, b"below a pipe", second).expect("without effect");
        assert_eq!(tree.child(Tree::ROOT, b"a").expect("found"), Some(second));
        assert_eq!(tree.list(Tree::ROOT).expect("listed").iter().count(), 1);
        tree.link(second, b"b", first).expect("linked");
        tree.set_metadata(second, &metadata(3)).expect("set");
        tree.set_opaque(second).expect("set");
        tree.set_opaque(first).expect("without effect");
        assert_eq!(tree.content(first).expect("there"), Content::Fifo);
        let node = tree.node(second).expect("there");
        assert_eq!((node.metadata, node.content), (metadata(3), Content::Directory { opaque: true }));
        assert_eq!(tree.child(second, b"b").expect("found"), Some(first));
    }
}
