//! The file tree in memory that becomes the metadata of an image: nodes in one arena, addressed by
//! number, so that nothing recurses and a node can have several names.

use std::collections::BTreeMap;

use super::format::FileType;
use holm_tar::Mtime;

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
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

/// The entries of a directory.
pub type Children = BTreeMap<Box<[u8]>, NodeId>;

/// What a node is.
#[derive(Debug, Clone)]
pub enum Content {
    /// A directory; `opaque` hides what lower layers have in it.
    Directory {
        /// Its entries.
        children: Children,
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
        /// The first block of each chunk, `None` for a hole.
        chunks: Box<[Option<u32>]>,
    },
    /// A symbolic link and its target, 1 to 4095 bytes.
    Symlink(Box<[u8]>),
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
    pub fn empty_directory() -> Self {
        Self::Directory { children: Children::new(), opaque: false }
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

    /// Whether it is overlayfs's mark for a removed name.
    pub fn is_whiteout(&self) -> bool {
        matches!(self, Self::Character(0, 0))
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
    nodes: Vec<Node>,
}

impl Tree {
    /// The root, which is always a directory.
    pub const ROOT: NodeId = NodeId(0);

    /// A tree of nothing but a root with `metadata`.
    pub fn new(metadata: Metadata) -> Self {
        Self { nodes: vec![Node { metadata, content: Content::empty_directory() }] }
    }

    /// How many nodes were ever added; those that lost their names count.
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// A node, to be changed.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// Adds a node that has no name yet; `None` beyond 4,294,967,295 of them.
    pub fn add(&mut self, node: Node) -> Option<NodeId> {
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(node);
        Some(id)
    }

    /// The entry `name` of a directory; `None` too if `directory` is none.
    pub fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match &self.node(directory).content {
            Content::Directory { children, .. } => children.get(name).copied(),
            _ => None,
        }
    }

    /// Gives `child` the name `name` in a directory, in place of what had it. Without effect if
    /// `directory` is none.
    pub fn link(&mut self, directory: NodeId, name: &[u8], child: NodeId) {
        if let Content::Directory { children, .. } = &mut self.node_mut(directory).content {
            children.insert(name.into(), child);
        }
    }
}

impl NodeId {
    /// Its place in arrays that are parallel to the tree.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
