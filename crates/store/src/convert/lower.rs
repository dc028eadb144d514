//! The parents as one merged tree, as overlayfs would show them: directories of all layers become one
//! until something that is no directory, a whiteout or an opaque directory hides what is below.

use std::collections::BTreeSet;

use crate::erofs::{FileType, Image, Inode, OPAQUE, Position};
use holm_tar::{Error, Kind};

/// The images of the layers below.
#[derive(Clone, Copy)]
pub(super) struct Lower<'a> {
    images: &'a [Image],
}

/// A file or directory of the parents.
pub(super) struct Found<'a> {
    /// The image that shows it, and its place among the parents.
    pub image: &'a Image,
    pub layer: usize,
    pub inode: Inode,
}

/// The longest path of Linux.
const LONGEST: usize = 4095;

/// A directory on the way down.
struct Way {
    directory: Inode,
    at: Position,
    /// Of its path.
    length: usize,
}

/// A merged directory: its parts, from the top.
type Parts = Vec<(usize, Inode)>;

impl<'a> Lower<'a> {
    /// The merged tree of `images`, lowest first.
    pub fn new(images: &'a [Image]) -> Self {
        Self { images }
    }

    /// Whether there are no parents.
    pub fn is_empty(self) -> bool {
        self.images.is_empty()
    }

    /// What is at a path of plain names; links are not followed.
    pub fn find(self, path: &[&[u8]]) -> Result<Option<Found<'a>>, Error> {
        let mut parts = self.roots()?;
        for name in path {
            parts = self.descend(&parts, name)?;
            if parts.is_empty() {
                return Ok(None);
            }
        }
        Ok(parts.into_iter().next().map(|(layer, inode)| Found { image: &self.images[layer], layer, inode }))
    }

    /// How many layers there are.
    pub fn count(self) -> usize {
        self.images.len()
    }

    /// The names in the root.
    pub fn root_names(self) -> Result<BTreeSet<Box<[u8]>>, Error> {
        let mut names: BTreeSet<Box<[u8]>> = BTreeSet::new();
        for (layer, root) in self.roots()? {
            self.images[layer].read_directory(&root, &mut |entry| {
                names.insert(entry.name.into());
                Ok(())
            })?;
        }
        let mut seen = BTreeSet::new();
        for name in names {
            if self.find(&[&name])?.is_some() {
                seen.insert(name);
            }
        }
        Ok(seen)
    }

    /// Calls `found` with all paths of the files with these inode numbers in one layer, seen or not, but for those that are
    /// too long for a path. What it takes of memory grows with the depth of directories only.
    pub fn names(
        self,
        layer: usize,
        numbers: &BTreeSet<u64>,
        mut found: impl FnMut(&[u8], u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let image = &self.images[layer];
        let (mut path, mut way) = (Vec::new(), Vec::new());
        if !numbers.is_empty() {
            way.push(Way { directory: image.root()?, at: Position::default(), length: 0 });
        }
        let mut left = image.inode_count();
        while let Some(here) = way.last_mut() {
            path.truncate(here.length);
            let mut below = None;
            let more = image.visit_next(&here.directory, &mut here.at, &mut |entry| {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(entry.name);
                if path.len() <= LONGEST && numbers.contains(&entry.inode) {
                    found(&path, entry.inode)?;
                }
                // What the directory says of a type is only a hint.
                if path.len() <= LONGEST && entry.file_type == FileType::Directory as u8 {
                    below = Some(image.inode(entry.inode)?);
                }
                Ok(())
            })?;
            if !more {
                way.pop();
            } else if let Some(directory) = below.filter(|inode| inode.file_type == FileType::Directory) {
                left = left.checked_sub(1).ok_or_else(|| {
                    Error::new(
                        Kind::Corrupt,
                        "the EROFS image has more directories than it says, or a loop of them",
                    )
                })?;
                way.push(Way { directory, at: Position::default(), length: path.len() });
            }
        }
        Ok(())
    }

    /// Overlayfs heeds no mark of an opaque directory on them.
    fn roots(self) -> Result<Parts, Error> {
        let layers = self.images.iter().enumerate().rev();
        layers.map(|(layer, image)| Ok((layer, image.root()?))).collect()
    }

    /// The parts of the entry `name` of a merged directory; a single one unless it is a directory.
    fn descend(self, parts: &Parts, name: &[u8]) -> Result<Parts, Error> {
        let mut found = Parts::new();
        for (layer, directory) in parts {
            if directory.file_type != FileType::Directory {
                break;
            }
            let image = &self.images[*layer];
            let Some(inode) = image.lookup(directory, name)? else { continue };
            let is_directory = inode.file_type == FileType::Directory;
            if inode.is_whiteout() || (!is_directory && !found.is_empty()) {
                break;
            }
            let last = !is_directory || is_opaque(image, &inode)?;
            found.push((*layer, inode));
            if last {
                break;
            }
        }
        Ok(found)
    }
}

fn is_opaque(image: &Image, inode: &Inode) -> Result<bool, Error> {
    Ok(image.xattrs(inode)?.iter().any(|(name, _)| name == OPAQUE))
}
