//! The parents as one merged tree, as overlayfs would show them: directories of all layers become one
//! until something that is no directory, a whiteout or an opaque directory hides what is below.

use crate::erofs::{FileType, Image, Inode, OPAQUE};
use holm_tar::Error;

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

    fn roots(self) -> Result<Parts, Error> {
        let mut parts = Parts::new();
        for (layer, image) in self.images.iter().enumerate().rev() {
            let root = image.root()?;
            let last = is_opaque(image, &root)?;
            parts.push((layer, root));
            if last {
                break;
            }
        }
        Ok(parts)
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
