//! The tree of a layer, to which the entries of its archive are applied in their order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use super::copy;
use super::lower::{Found, Lower};
use super::path::{self, Name};
use super::{Limits, Options};
use crate::erofs::{
    self, Budget, Content, DataWriter, FileType, Image, Inode, Metadata, NodeId, SparseFile, Tree,
};
use holm_tar::{Entry, EntryKind};
use holm_tar::{Error, Kind, shown};

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;
/// As many components as one path may have with all links in its way: the longest path has 2048.
const MAX_STEPS: usize = 4096;
/// As many components as the links of a layer may lead through in all.
const MAX_LINK_STEPS: u64 = 1 << 28;
/// The longest target of a link, as in Linux.
const MAX_TARGET: usize = 4095;

/// An error that names an entry.
pub(super) fn refuse(kind: Kind, entry: &Entry, why: &str) -> Error {
    Error::new(kind, format!("tar entry `{}` at byte {}: {why}", shown(&entry.path), entry.offset))
}

/// Where an entry goes.
pub(super) enum Destination {
    Root,
    Name { directory: NodeId, name: Box<[u8]> },
}

/// A layer under construction.
pub(super) struct Layer<'a> {
    tree: Tree,
    lower: Lower<'a>,
    limits: &'a Limits,
    self_contained: bool,
    metadata_left: u64,
    link_steps_left: u64,
    /// The directory of the last entry: neighbours in an archive mostly share it. Never one behind a link of
    /// the parents, in whose place the layer may put something without touching its own tree.
    recent: Option<(Box<[u8]>, NodeId)>,
    /// Whether the walk at hand followed a link of the parents.
    through_lower: bool,
    /// The parents' names in the root were removed.
    root_is_emptied: bool,
    /// Files copied from the parents, by layer and inode number, so that their names stay linked.
    copied: BTreeMap<(usize, u64), Copied>,
}

/// A copy of a file of the parents.
struct Copied {
    node: NodeId,
    /// The hard link that it was made for, to be named in errors.
    entry: Entry,
}

/// A component of a resolved path; without a node if only the parents have it.
struct Step {
    name: Box<[u8]>,
    node: Option<NodeId>,
}

/// The entry of a directory in the merged view of layer and parents.
enum Child<'a> {
    Layer(NodeId),
    Lower(Found<'a>),
    Missing,
}

impl<'a> Layer<'a> {
    /// An empty layer over the parents that `options` has.
    pub fn new(options: &Options<'a>, limits: &'a Limits) -> Result<Self, Error> {
        let budget = Budget { directory: options.spill.map(Path::to_owned), memory: limits.memory };
        Ok(Self {
            // The root that people see is that of the writable layer on top, so none is taken from below.
            tree: Tree::new(&Metadata { mode: 0o755, ..Metadata::default() }, &budget)?,
            lower: Lower::new(options.parents),
            limits,
            self_contained: true,
            metadata_left: limits.metadata,
            link_steps_left: MAX_LINK_STEPS,
            recent: None,
            through_lower: false,
            root_is_emptied: false,
            copied: BTreeMap::new(),
        })
    }

    /// Whether nothing depended on what is below.
    pub fn is_self_contained(&self) -> bool {
        self.self_contained
    }

    /// The tree, complete after [`Layer::name_copies`].
    pub fn into_tree(self) -> Tree {
        self.tree
    }

    /// Gives copies of the parents' files the names too that those have there, where nothing came in their place: a
    /// link and its target are one file then. To be called when all entries are applied.
    pub fn name_copies(&mut self) -> Result<(), Error> {
        let copied = std::mem::take(&mut self.copied);
        for layer in 0..self.lower.count() {
            let files = copied.range((layer, 0)..=(layer, u64::MAX));
            let numbers: BTreeSet<u64> = files.map(|((_, number), _)| *number).collect();
            let lower = self.lower;
            lower.names(layer, &numbers, |path, number| {
                let key = (layer, number);
                copied.get(&key).map_or(Ok(()), |copied| self.name_copy(path, key, copied))
            })?;
        }
        Ok(())
    }

    fn name_copy(&mut self, path: &[u8], key: (usize, u64), copied: &Copied) -> Result<(), Error> {
        // Each component is looked up.
        self.charge(&copied.entry, path.len() as u64)?;
        let components: Vec<_> = path.split(|&byte| byte == b'/').collect();
        let Some((last, directories)) = components.split_last() else { return Ok(()) };
        let Some(steps) = self.walk(directories, false, &copied.entry)? else { return Ok(()) };
        // Where the layer has put a link in the way, the name is another one.
        let led_here = steps.iter().map(|step| &*step.name).eq(directories.iter().copied());
        match self.child(&steps, last)? {
            Child::Lower(found) if led_here && (found.layer, found.inode.number) == key => {}
            _ => return Ok(()),
        }
        let directory = self.directory(directories, &copied.entry)?;
        self.link(directory, last, copied.node, &copied.entry)
    }

    /// Counts `bytes` of metadata that are kept.
    pub fn charge(&mut self, entry: &Entry, bytes: u64) -> Result<(), Error> {
        let left = self.metadata_left.checked_sub(bytes);
        self.metadata_left = left.ok_or_else(|| {
            refuse(
                Kind::TooMany,
                entry,
                &format!("the layer's names and attributes exceed {} bytes", self.limits.metadata),
            )
        })?;
        Ok(())
    }

    /// What is taken at most.
    pub fn limits(&self) -> &Limits {
        self.limits
    }

    /// The error for more files or entries than the limit.
    pub fn too_many(&self, entry: &Entry) -> Error {
        refuse(Kind::TooMany, entry, &format!("the layer has more than {} files", self.limits.entries))
    }

    /// Where an entry goes; `None` if it leaves nothing to place: a whiteout, which is applied, or a
    /// note of aufs.
    pub fn destination(&mut self, entry: &Entry) -> Result<Option<Destination>, Error> {
        let components = path::components(&entry.path, "tar entry", self.limits.path)?;
        let Some((last, directories)) = components.split_last() else {
            return match entry.kind {
                EntryKind::Directory => Ok(Some(Destination::Root)),
                _ => Err(refuse(Kind::Corrupt, entry, "it names the root, which is a directory")),
            };
        };
        let meaning = path::classify_directories(directories)
            .and_then(|above| above.or_else(|| path::classify(last)))
            .ok_or_else(|| refuse(Kind::Corrupt, entry, "it is a whiteout of nothing"))?;
        if meaning == Name::Ignored {
            return Ok(None);
        }
        let directory = self.directory(directories, entry)?;
        match meaning {
            Name::Plain(name) => return Ok(Some(Destination::Name { directory, name: name.into() })),
            Name::Whiteout(name) => self.white_out(directory, name, entry)?,
            Name::Opaque => self.make_opaque(directory, entry)?,
            Name::Ignored => {}
        }
        Ok(None)
    }

    /// Places a file whose data is in the image.
    pub fn place_file(&mut self, at: &Destination, entry: &Entry, content: Content) -> Result<(), Error> {
        let metadata = self.metadata(entry)?;
        self.insert(at, (&metadata, content), entry)
    }

    /// A file with holes whose data is in the image.
    pub fn sparse_file(&mut self, file: &SparseFile) -> Result<Content, Error> {
        self.tree.sparse_file(file)
    }

    /// Places anything else; a hard link into the parents copies its data into `data`.
    pub fn place(&mut self, at: &Destination, entry: &Entry, data: &mut DataWriter<'_>) -> Result<(), Error> {
        let (major, minor) = entry.device;
        let content = match entry.kind {
            EntryKind::HardLink => return self.hard_link(at, entry, data),
            EntryKind::Character if entry.device == (0, 0) => {
                let Destination::Name { directory, name } = at else { return Ok(()) };
                return self.white_out(*directory, name, entry);
            }
            EntryKind::Symlink => self.symlink(entry)?,
            EntryKind::Directory => Content::empty_directory(),
            EntryKind::Character => Content::Character(major, minor),
            EntryKind::Block => Content::Block(major, minor),
            EntryKind::Fifo => Content::Fifo,
            EntryKind::File => Content::File { block: 0, size: 0 },
        };
        let mut metadata = self.metadata(entry)?;
        if entry.kind == EntryKind::Symlink {
            metadata.mode = 0o777;
        }
        self.insert(at, (&metadata, content), entry)
    }

    fn symlink(&mut self, entry: &Entry) -> Result<Content, Error> {
        match entry.link.len() {
            0 => Err(refuse(Kind::Corrupt, entry, "the link's target is empty")),
            length if length > MAX_TARGET => {
                Err(refuse(Kind::TooLong, entry, "the link's target is longer than 4095 bytes"))
            }
            _ if entry.link.contains(&0) => {
                Err(refuse(Kind::Corrupt, entry, "the link's target holds a NUL byte"))
            }
            length => {
                self.charge(entry, length as u64)?;
                Ok(Content::Symlink(self.tree.keep(&entry.link)?))
            }
        }
    }

    /// The metadata of an entry, without attributes that a layer must not have or cannot hold.
    fn metadata(&mut self, entry: &Entry) -> Result<Metadata, Error> {
        let mut metadata = Metadata {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            ..Metadata::default()
        };
        let mut size = 0;
        for (name, value) in entry.xattrs.iter().filter(|(name, _)| is_kept(name)) {
            size += name.len() + value.len() + 8;
            if !erofs::fits(name, value) {
                let what = format!("its extended attribute `{}` is too long", shown(name));
                return Err(refuse(Kind::TooLong, entry, &what));
            }
            metadata.xattrs.insert(name.as_slice().into(), value.as_slice().into());
        }
        if !erofs::fit_together(metadata.xattrs.iter().map(|(name, value)| (&**name, &**value))) {
            let what = format!("its extended attributes exceed {} bytes", erofs::XATTR_LIMIT);
            return Err(refuse(Kind::TooLong, entry, &what));
        }
        self.charge(entry, size as u64)?;
        Ok(metadata)
    }

    /// Gives `node` its name, in place of what had it; a directory that was there stays, with new
    /// metadata.
    fn insert(
        &mut self,
        at: &Destination,
        (metadata, content): (&Metadata, Content),
        entry: &Entry,
    ) -> Result<(), Error> {
        if !matches!(content, Content::File { .. }) {
            self.recent = None;
        }
        let Destination::Name { directory, name } = at else {
            return self.tree.set_metadata(Tree::ROOT, metadata);
        };
        let existing = self.tree.child(*directory, name)?;
        let known = existing.map(|id| self.tree.content(id)).transpose()?;
        if let Some(id) = existing
            && content.is_directory()
            && known.is_some_and(|known| known.is_directory())
        {
            return self.tree.set_metadata(id, metadata);
        }
        let id = self.add(metadata, content, entry)?;
        if known.is_some_and(|known| known.is_whiteout()) {
            self.tree.set_opaque(id)?;
        }
        self.link(*directory, name, id, entry)
    }

    fn add(&mut self, metadata: &Metadata, content: Content, entry: &Entry) -> Result<NodeId, Error> {
        let has_room = self.tree.count() < self.limits.entries;
        let id = if has_room { self.tree.add(metadata, content)? } else { None };
        id.ok_or_else(|| self.too_many(entry))
    }

    /// Gives a node a name, also in place of another.
    fn link(&mut self, directory: NodeId, name: &[u8], id: NodeId, entry: &Entry) -> Result<(), Error> {
        self.charge(entry, name.len() as u64 + 32)?;
        if self.tree.child(directory, name)?.is_some() {
            self.recent = None;
        }
        self.tree.link(directory, name, id)
    }

    fn make_opaque(&mut self, directory: NodeId, entry: &Entry) -> Result<(), Error> {
        if self.lower.is_empty() {
            self.self_contained = false;
        } else if directory == Tree::ROOT {
            // Overlayfs looks for no mark on the root of a layer: each name is removed by itself, once.
            self.self_contained = false;
            if std::mem::replace(&mut self.root_is_emptied, true) {
                return Ok(());
            }
            for name in self.lower.root_names()? {
                self.white_out(directory, &name, entry)?;
            }
        } else {
            self.tree.set_opaque(directory)?;
        }
        Ok(())
    }

    /// Removes what the parents have under a name; what the layer has there stays.
    fn white_out(&mut self, directory: NodeId, name: &[u8], entry: &Entry) -> Result<(), Error> {
        if self.lower.is_empty() {
            self.self_contained = false;
            return Ok(());
        }
        match self.tree.child(directory, name)? {
            Some(existing) => self.tree.set_opaque(existing)?,
            None => {
                let id = self.add(&Metadata::default(), Content::Character(0, 0), entry)?;
                self.link(directory, name, id, entry)?;
            }
        }
        Ok(())
    }

    /// A further name for a file of the layer, or for a copy of one of the parents.
    fn hard_link(&mut self, at: &Destination, entry: &Entry, data: &mut DataWriter<'_>) -> Result<(), Error> {
        let Destination::Name { directory, name } = at else { return Ok(()) };
        let what = "the target of a hard link in the tar archive,";
        let components = path::components(&entry.link, what, self.limits.path)?;
        let missing = || {
            let what = format!("the target `{}` of the hard link does not exist", shown(&entry.link));
            refuse(Kind::NotFound, entry, &what)
        };
        let Some((last, directories)) = components.split_last() else { return Err(missing()) };
        let steps = self.walk(directories, false, entry)?.ok_or_else(missing)?;
        let id = match self.child(&steps, last)? {
            Child::Layer(id) if self.tree.content(id)?.is_whiteout() => return Err(missing()),
            Child::Layer(id) => id,
            Child::Lower(found) => self.copy_file(&found, entry, data)?,
            Child::Missing => return Err(missing()),
        };
        if self.tree.content(id)?.is_directory() {
            return Err(refuse(Kind::Corrupt, entry, "the target of the hard link is a directory"));
        }
        self.link(*directory, name, id, entry)
    }

    /// A node for a file of the parents, with its data in the image.
    fn copy_file(
        &mut self,
        found: &Found<'_>,
        entry: &Entry,
        data: &mut DataWriter<'_>,
    ) -> Result<NodeId, Error> {
        self.self_contained = false;
        let key = (found.layer, found.inode.number);
        if let Some(copied) = self.copied.get(&key) {
            return Ok(copied.node);
        }
        let (image, inode) = (found.image, &found.inode);
        let (major, minor) = inode.device();
        let content = match inode.file_type {
            FileType::Regular => self.copy_data(image, inode, entry, data)?,
            FileType::Directory => Content::empty_directory(),
            FileType::Symlink => Content::Symlink(self.tree.keep(&image.read_link(inode)?)?),
            FileType::Character => Content::Character(major, minor),
            FileType::Block => Content::Block(major, minor),
            FileType::Fifo => Content::Fifo,
            FileType::Socket => Content::Socket,
        };
        let metadata = lower_metadata(image, inode)?;
        let id = self.add(&metadata, content, entry)?;
        self.charge(entry, (entry.path.len() + entry.link.len() + size_of::<Copied>()) as u64)?;
        let entry = Entry { xattrs: Vec::new(), sparse: None, ..entry.clone() };
        self.copied.insert(key, Copied { node: id, entry });
        Ok(id)
    }

    /// The data of a file of the parents, its holes as such.
    fn copy_data(
        &mut self,
        image: &Image,
        inode: &Inode,
        entry: &Entry,
        data: &mut DataWriter<'_>,
    ) -> Result<Content, Error> {
        match image.chunks(inode)? {
            Some(chunks) => {
                self.charge(entry, chunks.table_size())?;
                self.tree.sparse_file(&copy::sparse(image, inode, chunks, data)?)
            }
            None => copy::whole(image, inode, data),
        }
    }

    /// The directory that `components` lead to in the layer, made where it is missing.
    fn directory(&mut self, components: &[&[u8]], entry: &Entry) -> Result<NodeId, Error> {
        if components.is_empty() {
            return Ok(Tree::ROOT);
        }
        let key = components.join(&b'/');
        if let Some((_, id)) = self.recent.as_ref().filter(|(recent, _)| **recent == *key) {
            return Ok(*id);
        }
        self.through_lower = false;
        let steps = self.walk(components, true, entry)?.unwrap_or_default();
        let id = steps.last().map_or(Some(Tree::ROOT), |step| step.node).unwrap_or(Tree::ROOT);
        self.recent = (!self.through_lower).then(|| (key.into(), id));
        Ok(id)
    }

    /// Follows `components` as a lookup within the root would, links included. With `create`, what is
    /// missing in the layer is made there; without, `None` if something is missing.
    fn walk(
        &mut self,
        components: &[&[u8]],
        create: bool,
        entry: &Entry,
    ) -> Result<Option<Vec<Step>>, Error> {
        let mut steps: Vec<Step> = Vec::new();
        let mut pending: VecDeque<Box<[u8]>> = components.iter().map(|&name| name.into()).collect();
        let (mut links, mut taken) = (0, 0);
        while let Some(name) = pending.pop_front() {
            taken += 1;
            if taken > MAX_STEPS {
                return Err(too_many_links(entry));
            }
            match &*name {
                b"" | b"." => continue,
                b".." => {
                    steps.pop();
                    continue;
                }
                _ => {}
            }
            let child = self.child(&steps, &name)?;
            if let Some(target) = self.link_target(&child)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(too_many_links(entry));
                }
                self.charge_link(&target, entry)?;
                if target.starts_with(b"/") {
                    steps.clear();
                }
                target.split(|&byte| byte == b'/').rev().for_each(|name| pending.push_front(name.into()));
                continue;
            }
            match self.step(&steps, &name, child, create, entry)? {
                Some(node) => steps.push(Step { name, node }),
                None => return Ok(None),
            }
        }
        Ok(Some(steps))
    }

    /// Counts the components of a link that is followed, also those that are skipped.
    fn charge_link(&mut self, target: &[u8], entry: &Entry) -> Result<(), Error> {
        let steps = target.iter().filter(|&&byte| byte == b'/').count() as u64 + 1;
        let left = self.link_steps_left.checked_sub(steps);
        self.link_steps_left = left.ok_or_else(|| too_many_links(entry))?;
        Ok(())
    }

    fn link_target(&mut self, child: &Child<'_>) -> Result<Option<Box<[u8]>>, Error> {
        match child {
            Child::Layer(id) => match self.tree.content(*id)? {
                Content::Symlink(target) => Ok(Some(self.tree.bytes(target)?.into())),
                _ => Ok(None),
            },
            Child::Lower(found) if found.inode.file_type == FileType::Symlink => {
                self.self_contained = false;
                self.through_lower = true;
                found.image.read_link(&found.inode).map(|target| Some(target.into()))
            }
            _ => Ok(None),
        }
    }

    /// The node of a directory in the way: `Some(None)` if only the parents have it.
    fn step(
        &mut self,
        steps: &[Step],
        name: &[u8],
        child: Child<'_>,
        create: bool,
        entry: &Entry,
    ) -> Result<Option<Option<NodeId>>, Error> {
        let metadata = match child {
            Child::Layer(id) => match self.tree.content(id)? {
                Content::Directory { .. } => return Ok(Some(Some(id))),
                content if content.is_whiteout() => Metadata { mode: 0o755, ..Metadata::default() },
                _ if !create => return Ok(None),
                _ => {
                    let what = format!("`{}` in its way is no directory", shown(name));
                    return Err(refuse(Kind::Corrupt, entry, &what));
                }
            },
            Child::Lower(found) if found.inode.file_type == FileType::Directory => {
                if !create {
                    return Ok(Some(None));
                }
                lower_metadata(found.image, &found.inode)?
            }
            Child::Lower(_) | Child::Missing => Metadata { mode: 0o755, ..Metadata::default() },
        };
        if !create {
            return Ok(None);
        }
        self.make_directory(steps, name, metadata, entry).map(|id| Some(Some(id)))
    }

    /// Makes a directory that no entry named, and whose metadata therefore depends on the parents.
    fn make_directory(
        &mut self,
        steps: &[Step],
        name: &[u8],
        metadata: Metadata,
        entry: &Entry,
    ) -> Result<NodeId, Error> {
        if name.len() > 255 {
            return Err(refuse(
                Kind::TooLong,
                entry,
                "a link in its way has a component longer than 255 bytes",
            ));
        }
        self.self_contained = false;
        let directory = steps.last().map_or(Some(Tree::ROOT), |step| step.node).unwrap_or(Tree::ROOT);
        let over_whiteout = self.tree.child(directory, name)?.is_some();
        let id = self.add(&metadata, Content::empty_directory(), entry)?;
        if over_whiteout {
            self.tree.set_opaque(id)?;
        }
        self.link(directory, name, id, entry)?;
        Ok(id)
    }

    /// The entry `name` of the directory that `steps` lead to, in the merged view.
    fn child(&self, steps: &[Step], name: &[u8]) -> Result<Child<'a>, Error> {
        let directory = steps.last().map_or(Some(Tree::ROOT), |step| step.node);
        let own = directory.map(|directory| self.tree.child(directory, name)).transpose()?.flatten();
        if let Some(id) = own {
            return Ok(Child::Layer(id));
        }
        if self.lower.is_empty() {
            return Ok(Child::Missing);
        }
        for id in std::iter::once(Tree::ROOT).chain(steps.iter().filter_map(|step| step.node)) {
            if matches!(self.tree.content(id)?, Content::Directory { opaque: true }) {
                return Ok(Child::Missing);
            }
        }
        let path: Vec<&[u8]> = steps.iter().map(|step| &*step.name).chain([name]).collect();
        Ok(self.lower.find(&path)?.map_or(Child::Missing, Child::Lower))
    }
}

fn too_many_links(entry: &Entry) -> Error {
    refuse(Kind::Corrupt, entry, "too many symbolic links are in its way")
}

/// Whether an attribute goes into the image: EROFS has a place for it, and overlayfs gives it no meaning.
fn is_kept(name: &[u8]) -> bool {
    let of_overlay = name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    erofs::is_storable(name) && !of_overlay
}

/// The metadata of a file of the parents.
fn lower_metadata(image: &Image, inode: &Inode) -> Result<Metadata, Error> {
    let xattrs = image.xattrs(inode)?.into_iter().filter(|(name, _)| is_kept(name));
    Ok(Metadata {
        mode: inode.mode(),
        uid: inode.uid(),
        gid: inode.gid(),
        mtime: inode.mtime(),
        xattrs: xattrs.map(|(name, value)| (name.into(), value.into())).collect(),
    })
}
