//! Where every inode and every block of a directory goes: decided for the whole tree before any of it
//! is written, since directories hold the numbers of inodes and inodes those of blocks.

use super::directory;
use super::format::{BLOCK, FileType, INODE, SLOT, u16_at, u32_at, u64_at};
use super::pages::Array;
use super::tree::{Content, Listing, Node, NodeId, Tree};
use super::xattr;
use holm_tar::{Error, Kind};

/// The first inode's place. Not zero: a directory entry with inode number zero counts as deleted.
const FIRST: u64 = 64;

/// Where a node goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Offset of the inode in the metadata in units of 32 bytes.
    pub slot: u64,
    /// The directory that holds its first name.
    pub parent: NodeId,
    /// Its number of names, and for a directory its own `.` and its subdirectories' `..`.
    pub links: u32,
    /// Bytes of a directory or link that follow the inode.
    pub inline: u64,
    /// Index of its first block after the metadata, if it has blocks there.
    pub first_block: Option<u64>,
    /// Size in bytes of a directory.
    pub size: u64,
    /// The size field of its attributes.
    pub xattr_count: u16,
    /// What directory entries say of it.
    pub file_type: FileType,
}

/// Where everything goes.
#[derive(Debug)]
pub(super) struct Layout {
    /// Nodes in the order of their inodes: breadth first, siblings by name.
    order: Array<4>,
    places: Array<PLACE>,
    /// Blocks of metadata, then of directories and links.
    pub metadata_blocks: u64,
    pub directory_blocks: u64,
    /// Whether a file has holes.
    pub chunked: bool,
}

impl Layout {
    /// Plans the image of `tree`.
    ///
    /// # Errors
    /// [`Kind::TooLong`] if a node's attributes are more than an inode can have; what the tree's files answer.
    pub fn plan(tree: &Tree) -> Result<Self, Error> {
        let mut layout = Self {
            order: Array::new(tree.budget().share(1, 16)),
            places: Array::new(tree.budget().share(3, 16)),
            metadata_blocks: 0,
            directory_blocks: 0,
            chunked: false,
        };
        layout.queue(Tree::ROOT, &Place::of(Tree::ROOT, 2, FileType::Directory))?;
        let mut next = 0;
        let mut end = FIRST;
        while next < layout.count() {
            let id = layout.node(next)?;
            next += 1;
            let node = tree.node(id)?;
            let listing = if node.content.is_directory() { tree.list(id)? } else { Listing::default() };
            layout.visit_children(tree, id, &listing)?;
            end = layout.place(id, &node, &listing, end)?;
        }
        layout.metadata_blocks = end.div_ceil(BLOCK);
        Ok(layout)
    }

    /// How many nodes have a place.
    pub fn count(&self) -> u64 {
        self.order.len()
    }

    /// The node whose inode is at this place in their order.
    pub fn node(&self, index: u64) -> Result<NodeId, Error> {
        self.order.get(index).map(|number| NodeId::from_number(u32::from_le_bytes(number)))
    }

    /// The place of a node that has a name.
    pub fn of(&self, id: NodeId) -> Result<Place, Error> {
        let place = Place::decode(&self.places.get(id.number())?);
        Ok(place.expect("every node with a name was visited from the root"))
    }

    fn set(&mut self, id: NodeId, place: &Place) -> Result<(), Error> {
        self.places.set(id.number(), &place.encode())
    }

    fn queue(&mut self, id: NodeId, place: &Place) -> Result<(), Error> {
        let number = u32::try_from(id.number()).expect("a node's number has 32 bits");
        self.order.push(&number.to_le_bytes())?;
        self.set(id, place)
    }

    /// Counts the names in a directory and queues the nodes that were not seen before.
    fn visit_children(&mut self, tree: &Tree, id: NodeId, listing: &Listing) -> Result<(), Error> {
        let mut directories = 0;
        for (_, child) in listing.iter() {
            if let Some(mut place) = Place::decode(&self.places.get(child.number())?) {
                place.links += 1;
                self.set(child, &place)?;
                continue;
            }
            let file_type = tree.content(child)?.file_type();
            let is_directory = file_type == FileType::Directory;
            directories += u32::from(is_directory);
            self.queue(child, &Place::of(id, if is_directory { 2 } else { 1 }, file_type))?;
        }
        if directories > 0 {
            let mut place = self.of(id)?;
            place.links += directories;
            self.set(id, &place)?;
        }
        Ok(())
    }

    /// Places an inode at or after `end`, and gives the end of what belongs to it.
    fn place(&mut self, id: NodeId, node: &Node, listing: &Listing, end: u64) -> Result<u64, Error> {
        let xattrs = xattr::size(node);
        let xattr_count = xattr::count(xattrs).ok_or_else(|| {
            let what = format!("a file's extended attributes exceed {} bytes", xattr::LIMIT);
            Error::new(Kind::TooLong, what)
        })?;
        let body = INODE + xattrs;
        let size = match &node.content {
            Content::Directory { .. } => {
                directory::size(with_dots(listing.iter(), id, id).map(|(name, _)| name))
            }
            Content::Symlink(target) => target.length,
            _ => 0,
        };
        let (inline, blocks) = split(size, body);
        let behind = match &node.content {
            Content::Sparse { chunks, .. } => chunks.length,
            _ => inline,
        };
        self.chunked |= matches!(node.content, Content::Sparse { .. });
        // The kernel reads an inode and what is inline from one block; attributes may go on in the next.
        let together = [body + inline, body, INODE].into_iter().find(|length| *length <= BLOCK);
        let start = not_crossing(end, together.unwrap_or(INODE));
        let first_block = (blocks > 0).then_some(self.directory_blocks);
        self.directory_blocks += blocks;
        let known = self.of(id)?;
        self.set(id, &Place { slot: start / SLOT, inline, first_block, size, xattr_count, ..known })?;
        Ok((start + body + behind).next_multiple_of(SLOT))
    }
}

/// Bytes of a place as it is kept.
const PLACE: usize = 48;

impl Place {
    /// The place of a node whose first name is in the directory `parent`, before it is known.
    fn of(parent: NodeId, links: u32, file_type: FileType) -> Self {
        Self { slot: 0, parent, links, inline: 0, first_block: None, size: 0, xattr_count: 0, file_type }
    }

    fn encode(&self) -> [u8; PLACE] {
        let mut record = [0; PLACE];
        record[..8].copy_from_slice(&self.slot.to_le_bytes());
        record[8..16].copy_from_slice(&self.parent.number().to_le_bytes());
        record[16..20].copy_from_slice(&self.links.to_le_bytes());
        record[20..22].copy_from_slice(&self.xattr_count.to_le_bytes());
        // No type has the number 0, so that what was never written is no place.
        record[22] = self.file_type as u8;
        record[24..32].copy_from_slice(&self.inline.to_le_bytes());
        record[32..40].copy_from_slice(&self.first_block.map_or(0, |block| block + 1).to_le_bytes());
        record[40..48].copy_from_slice(&self.size.to_le_bytes());
        record
    }

    fn decode(record: &[u8; PLACE]) -> Option<Self> {
        Some(Self {
            file_type: FileType::from_number(record[22])?,
            slot: u64_at(record, 0),
            parent: NodeId::from_number(u32_at(record, 8)),
            links: u32_at(record, 16),
            xattr_count: u16_at(record, 20),
            inline: u64_at(record, 24),
            first_block: u64_at(record, 32).checked_sub(1),
            size: u64_at(record, 40),
        })
    }
}

/// The names of a directory and what they mean, in order, with `.` and `..`.
pub(super) fn with_dots<'a>(
    names: impl Iterator<Item = (&'a [u8], NodeId)>,
    own: NodeId,
    parent: NodeId,
) -> impl Iterator<Item = (&'a [u8], NodeId)> {
    let mut dots = [(b".".as_slice(), own), (b"..".as_slice(), parent)].into_iter().peekable();
    let mut names = names.peekable();
    std::iter::from_fn(move || match (dots.peek(), names.peek()) {
        (Some((dot, _)), Some((name, _))) if dot > name => names.next(),
        (Some(_), _) => dots.next(),
        (None, _) => names.next(),
    })
}

/// How many bytes of `size` follow the inode, and how many blocks the others take.
fn split(size: u64, body: u64) -> (u64, u64) {
    let tail = size % BLOCK;
    if body + tail <= BLOCK { (tail, size / BLOCK) } else { (0, size.div_ceil(BLOCK)) }
}

/// The first slot from `end` on where `length` bytes do not cross a block's boundary.
fn not_crossing(end: u64, length: u64) -> u64 {
    if end % BLOCK + length > BLOCK { end.next_multiple_of(BLOCK) } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_sorted_among_the_names() {
        let names = [b"!".as_slice(), b"-", b".a", b"0"].map(|name| (name, Tree::ROOT));
        let sorted = with_dots(names.into_iter(), Tree::ROOT, Tree::ROOT);
        let sorted: Vec<_> = sorted.map(|(name, _)| name).collect();
        assert_eq!(sorted, [b"!".as_slice(), b"-", b".", b"..", b".a", b"0"]);
    }

    #[test]
    fn tails_stay_with_their_inodes() {
        assert_eq!(split(100, 64), (100, 0));
        assert_eq!(split(4096, 64), (0, 1));
        assert_eq!(split(8292, 64), (100, 2));
        assert_eq!(split(4090, 64), (0, 1));
        assert_eq!((not_crossing(4064, 64), not_crossing(4032, 64)), (4096, 4032));
    }
}
