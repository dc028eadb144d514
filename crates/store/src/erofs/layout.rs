//! Where every inode and every block of a directory goes: decided for the whole tree before any of it
//! is written, since directories hold the numbers of inodes and inodes those of blocks.

use super::directory;
use super::format::{BLOCK, INODE, SLOT};
use super::tree::{Content, NodeId, Tree};
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
}

/// Where everything goes.
#[derive(Debug)]
pub(super) struct Layout {
    /// Nodes in the order of their inodes: breadth first, siblings by name.
    pub order: Vec<NodeId>,
    places: Vec<Option<Place>>,
    /// Blocks of metadata, then of directories and links.
    pub metadata_blocks: u64,
    pub directory_blocks: u64,
}

impl Layout {
    /// Plans the image of `tree`.
    ///
    /// # Errors
    /// [`Kind::TooLong`] if a node's attributes are more than an inode can have.
    pub fn plan(tree: &Tree) -> Result<Self, Error> {
        let mut layout = Self {
            order: vec![Tree::ROOT],
            places: vec![None; tree.count()],
            metadata_blocks: 0,
            directory_blocks: 0,
        };
        layout.places[Tree::ROOT.index()] = Some(Place::of(Tree::ROOT));
        let mut next = 0;
        let mut end = FIRST;
        while let Some(&id) = layout.order.get(next) {
            next += 1;
            layout.visit_children(tree, id);
            end = layout.place(tree, id, end)?;
        }
        layout.metadata_blocks = end.div_ceil(BLOCK);
        Ok(layout)
    }

    /// The place of a node that has a name.
    pub fn of(&self, id: NodeId) -> &Place {
        self.places[id.index()].as_ref().expect("every node with a name was visited from the root")
    }

    fn of_mut(&mut self, id: NodeId) -> &mut Place {
        self.places[id.index()].as_mut().expect("every node with a name was visited from the root")
    }

    /// Counts the names in a directory and queues the nodes that were not seen before.
    fn visit_children(&mut self, tree: &Tree, id: NodeId) {
        let Content::Directory { children, .. } = &tree.node(id).content else { return };
        for &child in children.values() {
            if matches!(tree.node(child).content, Content::Directory { .. }) {
                self.of_mut(id).links += 1;
                self.places[child.index()] = Some(Place::of(id));
                self.order.push(child);
            } else if let Some(place) = &mut self.places[child.index()] {
                place.links += 1;
            } else {
                self.places[child.index()] = Some(Place { links: 1, ..Place::of(id) });
                self.order.push(child);
            }
        }
    }

    /// Places an inode at or after `end`, and gives the end of what belongs to it.
    fn place(&mut self, tree: &Tree, id: NodeId, end: u64) -> Result<u64, Error> {
        let node = tree.node(id);
        let xattrs = xattr::size(node);
        let xattr_count = xattr::count(xattrs).ok_or_else(|| {
            let what = format!("a file's extended attributes exceed {} bytes", xattr::LIMIT);
            Error::new(Kind::TooLong, what)
        })?;
        let body = INODE + xattrs;
        let size = match &node.content {
            Content::Directory { children, .. } => {
                directory::size(directory_names(children.keys().map(|name| &**name)))
            }
            Content::Symlink(target) => target.len() as u64,
            _ => 0,
        };
        let (inline, blocks) = split(size, body);
        let behind = match &node.content {
            Content::Sparse { chunks, .. } => chunks.len() as u64 * 4,
            _ => inline,
        };
        // The kernel reads an inode and what is inline from one block; attributes may go on in the next.
        let together = [body + inline, body, INODE].into_iter().find(|length| *length <= BLOCK);
        let start = not_crossing(end, together.unwrap_or(INODE));
        let first_block = (blocks > 0).then_some(self.directory_blocks);
        self.directory_blocks += blocks;
        let place = self.of_mut(id);
        *place = Place { slot: start / SLOT, inline, first_block, size, xattr_count, ..*place };
        Ok((start + body + behind).next_multiple_of(SLOT))
    }
}

impl Place {
    /// The place of a directory whose `..` is `parent`, before it is known.
    fn of(parent: NodeId) -> Self {
        Self { slot: 0, parent, links: 2, inline: 0, first_block: None, size: 0, xattr_count: 0 }
    }
}

/// The names of a directory with `.` and `..`, in order.
pub(super) fn directory_names<'a>(names: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let mut own = [b".".as_slice(), b"..".as_slice()].into_iter().peekable();
    let mut names = names.peekable();
    std::iter::from_fn(move || match (own.peek(), names.peek()) {
        (Some(dots), Some(name)) if dots > name => names.next(),
        (Some(_), _) => own.next(),
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
        let names = [b"!".as_slice(), b"-", b".a", b"0"];
        let sorted: Vec<_> = directory_names(names.into_iter()).collect();
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
