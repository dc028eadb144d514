//! A file system that forgets: what is certain after a power cut, and what is merely possible.
//!
//! The usual model: a file's content is certain as of its last sync, and a directory's entries as of the
//! directory's last sync; everything later may or may not have reached the disk. A file that has a name
//! but whose content never arrived is empty, or as long as it should be and full of zeros.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::trace::Operation;

/// What the power cut took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: as if only the process had died.
    Nothing,
    /// Everything that was not synced.
    Everything,
    /// The content of files that were not synced, not their names: they are empty.
    Content,
    /// The same, and they have their length: they hold zeros.
    ContentToZeros,
}

/// Every kind of loss.
pub const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Everything, Loss::Content, Loss::ContentToZeros];

/// A tree as it lies on a disk, by path.
pub type Tree = BTreeMap<PathBuf, Entry>;

/// A file, directory or link of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Its mode.
    Directory(u32),
    /// Its mode and content.
    File(u32, Rc<Vec<u8>>),
    /// Its target.
    Link(PathBuf),
}

/// The file system.
#[derive(Clone, Debug)]
pub struct Model {
    nodes: Vec<Node>,
    /// Mode bits that new files and directories do not get: the same for this process and its children.
    mask: u32,
}

type Entries = BTreeMap<String, usize>;

#[derive(Clone, Debug)]
enum Node {
    Directory { mode: u32, now: Entries, synced: Entries },
    File { mode: u32, now: Rc<Vec<u8>>, synced: Rc<Vec<u8>> },
    Link(PathBuf),
}

const ROOT: usize = 0;

impl Model {
    /// A file system with this tree on it, all of it synced.
    pub fn of(tree: &Tree) -> Self {
        let root = Node::Directory { mode: 0o700, now: Entries::new(), synced: Entries::new() };
        let mut model = Self { nodes: vec![root], mask: mask() };
        for (path, entry) in tree {
            let node = match entry {
                Entry::Directory(mode) => {
                    Node::Directory { mode: *mode, now: Entries::new(), synced: Entries::new() }
                }
                Entry::File(mode, content) => {
                    Node::File { mode: *mode, now: Rc::clone(content), synced: Rc::clone(content) }
                }
                Entry::Link(target) => Node::Link(target.clone()),
            };
            model.add(path, node);
        }
        for node in &mut model.nodes {
            if let Node::Directory { now, synced, .. } = node {
                synced.clone_from(now);
            }
        }
        model
    }

    /// Does what a system call did.
    ///
    /// # Panics
    /// If that cannot have been: the recording is incomplete.
    pub fn apply(&mut self, operation: &Operation) {
        if operation.paths().iter().any(|path| is_of_workload(path)) {
            return;
        }
        match operation {
            Operation::MakeDirectory(path, mode) => {
                let mode = mode & !self.mask;
                self.add(path, Node::Directory { mode, now: Entries::new(), synced: Entries::new() });
            }
            Operation::Open { path, mode, empty } => self.open(path, mode & !self.mask, *empty),
            Operation::Write { path, offset, bytes } => self.write(path, *offset, bytes),
            Operation::Rename(from, to) => {
                let node = self.take(from);
                self.entries(to).insert(name_of(to), node);
            }
            Operation::HardLink(from, to) => {
                let node = self.existing(from);
                self.entries(to).insert(name_of(to), node);
            }
            Operation::SymbolicLink(target, path) => self.add(path, Node::Link(target.clone())),
            Operation::Remove(path) => drop(self.take(path)),
            Operation::Sync(path) => self.sync(path),
            Operation::SetMode(path, to) => {
                let node = self.existing(path);
                if let Node::Directory { mode, .. } | Node::File { mode, .. } = &mut self.nodes[node] {
                    *mode = *to;
                }
            }
        }
    }

    /// What a power cut leaves now.
    pub fn after(&self, loss: Loss) -> Tree {
        let mut tree = Tree::new();
        let mut pending = vec![(PathBuf::new(), ROOT)];
        while let Some((path, node)) = pending.pop() {
            let entry = match &self.nodes[node] {
                Node::Directory { mode, now, synced } => {
                    let entries = if loss == Loss::Everything { synced } else { now };
                    pending.extend(entries.iter().map(|(name, node)| (path.join(name), *node)));
                    Entry::Directory(*mode)
                }
                Node::File { mode, now, synced } => Entry::File(*mode, content(loss, now, synced)),
                Node::Link(target) => Entry::Link(target.clone()),
            };
            tree.insert(path, entry);
        }
        tree.remove(Path::new(""));
        tree
    }

    fn add(&mut self, path: &Path, node: Node) {
        self.nodes.push(node);
        let index = self.nodes.len() - 1;
        let old = self.entries(path).insert(name_of(path), index);
        assert_eq!(old, None, "`{}` was there already", path.display());
    }

    fn open(&mut self, path: &Path, mode: u32, empty: bool) {
        match self.find(path) {
            None => {
                let nothing = Rc::default();
                self.add(path, Node::File { mode, now: Rc::clone(&nothing), synced: nothing });
            }
            Some(node) => {
                if let (Node::File { now, .. }, true) = (&mut self.nodes[node], empty) {
                    *now = Rc::default();
                }
            }
        }
    }

    fn write(&mut self, path: &Path, offset: Option<usize>, bytes: &[u8]) {
        let node = self.existing(path);
        let Node::File { now, .. } = &mut self.nodes[node] else { panic!("`{}` is no file", path.display()) };
        let content = Rc::make_mut(now);
        let offset = offset.unwrap_or(content.len());
        let end = offset + bytes.len();
        content.resize(content.len().max(end), 0);
        content[offset..end].copy_from_slice(bytes);
    }

    fn sync(&mut self, path: &Path) {
        let node = self.existing(path);
        match &mut self.nodes[node] {
            Node::Directory { now, synced, .. } => synced.clone_from(now),
            Node::File { now, synced, .. } => *synced = Rc::clone(now),
            Node::Link(_) => {}
        }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.iter().try_fold(ROOT, |node, name| match &self.nodes[node] {
            Node::Directory { now, .. } => now.get(name.to_str()?).copied(),
            _ => None,
        })
    }

    #[track_caller]
    fn existing(&self, path: &Path) -> usize {
        self.find(path).unwrap_or_else(|| panic!("`{}` was never made", path.display()))
    }

    /// The entries of the directory that `path` lies in.
    #[track_caller]
    fn entries(&mut self, path: &Path) -> &mut Entries {
        let parent = self.existing(path.parent().expect("a path below the root"));
        match &mut self.nodes[parent] {
            Node::Directory { now, .. } => now,
            _ => panic!("`{}` lies in no directory", path.display()),
        }
    }

    #[track_caller]
    fn take(&mut self, path: &Path) -> usize {
        let node = self.entries(path).remove(&name_of(path));
        node.unwrap_or_else(|| panic!("`{}` was never made", path.display()))
    }
}

fn content(loss: Loss, now: &Rc<Vec<u8>>, synced: &Rc<Vec<u8>>) -> Rc<Vec<u8>> {
    match loss {
        Loss::Nothing => Rc::clone(now),
        Loss::ContentToZeros if now != synced => Rc::new(vec![0; now.len()]),
        Loss::Everything | Loss::Content | Loss::ContentToZeros => Rc::clone(synced),
    }
}

/// The file mode creation mask of this process.
fn mask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let text = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("a line of every process");
    u32::from_str_radix(text.trim(), 8).expect("an octal number")
}

/// Whether a path lies inside the writable part of a workload: the kernel makes files there, too.
fn is_of_workload(path: &Path) -> bool {
    path.starts_with("snapshots") && path.components().count() > 3
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("names are text").to_owned()
}

/// Reads a tree from a disk, without the inside of what workloads write: the kernel makes that.
pub fn read(directory: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(path) = pending.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let path = entry.path();
            let below = path.strip_prefix(directory).expect("it lies below").to_owned();
            let data = path.symlink_metadata().expect("nobody removes it");
            let mode = data.permissions().mode() & 0o7777;
            if is_of_workload(&below) {
                continue;
            }
            let entry = match std::fs::read_link(&path) {
                Ok(target) => Entry::Link(target),
                Err(_) if data.is_dir() => {
                    pending.push(path);
                    Entry::Directory(mode)
                }
                Err(_) => Entry::File(mode, Rc::new(std::fs::read(&path).expect("a file can be read"))),
            };
            tree.insert(below, entry);
        }
    }
    tree
}

/// Makes a directory hold a tree and nothing else.
pub fn write(tree: &Tree, directory: &Path) {
    drop(std::fs::remove_dir_all(directory));
    std::fs::create_dir_all(directory).expect("mkdir");
    for (path, entry) in tree {
        let path = directory.join(path);
        let mode = match entry {
            Entry::Directory(mode) => {
                std::fs::create_dir(&path).expect("parents come first");
                mode
            }
            Entry::File(mode, content) => {
                std::fs::write(&path, &**content).expect("write");
                mode
            }
            Entry::Link(target) => {
                std::os::unix::fs::symlink(target, &path).expect("symlink");
                continue;
            }
        };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).expect("chmod");
    }
}
