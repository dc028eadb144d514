//! Files that `COPY` and `ADD` take: of a context, a stage or an image.
//!
//! Links on the way to a source are followed inside the tree, and so is a source that is one; links below it are taken as they are.
//! What an ignore file leaves out is not there.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_files::{Found, names, walk};
use holm_sys::in_root;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, readlinkat};
use rustix::io::Errno;

use super::scan::Scan;
use crate::dockerfile::path;
use crate::ignore::{Directory, Ignore, is_match};

/// Characters that make a source a pattern.
const SPECIAL: [char; 4] = ['*', '?', '[', '\\'];

/// A tree, and what of it is left out.
#[derive(Debug)]
pub struct Tree {
    root: OwnedFd,
    ignore: Ignore,
}

/// Something that is taken, with what is below it.
#[derive(Debug)]
pub struct Source {
    /// Its last name.
    pub name: Vec<u8>,
    /// Where it is in the tree.
    pub path: Vec<u8>,
    /// Itself, and then what is below, parents first, names in the order of their bytes.
    pub entries: Vec<Entry>,
}

/// One file, directory or link.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Below the source; empty for itself.
    pub path: Vec<u8>,
    /// What it is, and all numbers.
    pub stat: Stat,
    /// Where a link leads.
    pub link: Vec<u8>,
    /// The digest of a file's content, if it was asked for.
    pub digest: Option<[u8; 32]>,
}

impl Source {
    /// Whether it is one.
    pub fn is_directory(&self) -> bool {
        self.entries.first().is_some_and(|entry| entry.file_type() == FileType::Directory)
    }
}

impl Entry {
    /// Which sort of thing.
    pub fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Why something cannot be taken: words, with a cause at their end.
pub type Reason = String;

fn reason(what: &str, path: &[u8], error: impl Into<std::io::Error>) -> Reason {
    format!("{what} `{}`: {}", shown(path), error.into())
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path.strip_prefix(b"/").unwrap_or(path)).into_owned()
}

impl Tree {
    /// A tree, without what `ignore` leaves out.
    pub fn new(root: OwnedFd, ignore: Ignore) -> Self {
        Self { root, ignore }
    }

    /// Everything that the sources name but for what matches `exclude`; with digests if there is a memory to ask.
    ///
    /// # Errors
    /// A source that names nothing; what reading reports.
    pub fn gather(
        &self,
        sources: &[&str],
        exclude: &Ignore,
        mut scan: Option<&mut Scan>,
    ) -> Result<Vec<Source>, Reason> {
        let mut gathered = Vec::new();
        for text in sources {
            for path in self.find(text)? {
                gathered.push(self.gather_one(path, exclude, scan.as_deref_mut())?);
            }
        }
        Ok(gathered)
    }

    /// The paths that a source means, in the order of their names.
    fn find(&self, text: &str) -> Result<Vec<Vec<u8>>, Reason> {
        let whole = path::source(text);
        let mut found = vec![Vec::new()];
        for part in whole.split('/').filter(|part| !part.is_empty()) {
            found = match part.contains(SPECIAL) {
                false => found
                    .into_iter()
                    .map(|above| [above.as_slice(), b"/", part.as_bytes()].concat())
                    .collect(),
                true => self.matching(&found, part)?,
            };
        }
        found.retain(|path| self.is_there(path));
        if found.is_empty() {
            return Err(format!("`{text}` is not there, or left out by the ignore file"));
        }
        Ok(found)
    }

    fn matching(&self, above: &[Vec<u8>], pattern: &str) -> Result<Vec<Vec<u8>>, Reason> {
        let mut found = Vec::new();
        for above in above {
            let Ok(directory) = self.open(above, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let names = names(directory.as_fd()).map_err(|errno| reason("read directory", above, errno))?;
            for name in names {
                if is_match(pattern, &name.to_string_lossy())? {
                    found.push([above, b"/".as_slice(), name.to_bytes()].concat());
                }
            }
        }
        Ok(found)
    }

    /// Whether there is something that is not left out, neither by its name nor by the name that links lead to.
    fn is_there(&self, path: &[u8]) -> bool {
        let Ok(found) = self.open(path, OFlags::PATH) else { return false };
        let real = self.real_path(&found).unwrap_or_else(|| path.to_vec());
        let is_directory =
            fstat(&found).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        [path, &real].iter().all(|path| !self.is_left_out(path, is_directory))
    }

    /// Of a directory something may be taken although it is left out itself.
    fn is_left_out(&self, path: &[u8], is_directory: bool) -> bool {
        let text = String::from_utf8_lossy(path);
        let is_excluded = !text.is_empty() && self.ignore.excludes(&text);
        is_excluded && !(is_directory && self.directory(path).may_include())
    }

    /// What a directory is to the ignore file.
    fn directory(&self, path: &[u8]) -> Directory {
        let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        parts.fold(self.ignore.root(), |above, part| self.ignore.enter(&above, part))
    }

    /// The path of what was found, without links in it.
    fn real_path(&self, found: &OwnedFd) -> Option<Vec<u8>> {
        let name = |file: &OwnedFd| {
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            std::fs::read_link(link).ok().map(|path| path.into_os_string().into_encoded_bytes())
        };
        let (root, path) = (name(&self.root)?, name(found)?);
        path.strip_prefix(root.strip_suffix(b"/").unwrap_or(&root)).map(<[u8]>::to_vec)
    }

    /// Opens a path, through links inside the tree.
    ///
    /// # Errors
    /// As openat2(2).
    pub fn open(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"/" } else { path };
        in_root::open(self.root.as_fd(), path, flags | OFlags::CLOEXEC, RESOLVE)
    }

    fn gather_one(
        &self,
        path: Vec<u8>,
        exclude: &Ignore,
        mut scan: Option<&mut Scan>,
    ) -> Result<Source, Reason> {
        let found = self.open(&path, OFlags::PATH).map_err(|errno| reason("open", &path, errno))?;
        let stat = fstat(&found).map_err(|errno| reason("look at", &path, errno))?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let real = self.real_path(&found).unwrap_or_else(|| path.clone());
        let mut source = Source { name, path, entries: Vec::new() };
        let mut entry = Entry { path: Vec::new(), stat, link: Vec::new(), digest: None };
        if entry.file_type() == FileType::Directory {
            source.entries.push(entry);
            self.gather_below(&mut source, &real, exclude, scan)?;
            return Ok(source);
        }
        if exclude.excludes(&String::from_utf8_lossy(&source.name)) {
            return Ok(source);
        }
        if let Some(scan) = scan.as_mut().filter(|_| entry.file_type() == FileType::RegularFile) {
            let open = || Ok(self.open(&source.path, OFlags::RDONLY | OFlags::NONBLOCK)?);
            let digest = scan.digest(&stat, open);
            entry.digest = Some(digest.map_err(|error| reason("read", &source.path, error))?);
        }
        source.entries.push(entry);
        Ok(source)
    }

    fn gather_below(
        &self,
        source: &mut Source,
        real: &[u8],
        exclude: &Ignore,
        mut scan: Option<&mut Scan>,
    ) -> Result<(), Reason> {
        let directory = self
            .open(&source.path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| reason("open directory", &source.path, errno))?;
        let start = self.directory(real);
        let mut filter =
            Filter { rules: [&self.ignore, exclude], levels: Vec::new(), start: [start, exclude.root()] };
        let mut failed = None;
        let walked = walk(directory, &mut |found| {
            let chosen = filter.choose(found);
            if chosen.taken {
                match entry_of(found, scan.as_deref_mut()) {
                    Ok(entry) => {
                        source.entries.append(&mut filter.parents_of(found.path));
                        filter.note_taken(found);
                        source.entries.push(entry);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            Ok(chosen.entered && failed.is_none())
        });
        walked.map_err(|error| error.to_string())?;
        failed.map_or(Ok(()), Err)
    }
}

const RESOLVE: ResolveFlags = ResolveFlags::NO_MAGICLINKS;

fn entry_of(found: &Found<'_>, scan: Option<&mut Scan>) -> Result<Entry, Reason> {
    let mut entry = Entry { path: found.path.to_vec(), stat: found.stat, link: Vec::new(), digest: None };
    match found.file_type() {
        FileType::Symlink => {
            let link = readlinkat(found.parent, found.name, Vec::new());
            entry.link = link.map_err(|errno| reason("read link", found.path, errno))?.into_bytes();
        }
        FileType::RegularFile => {
            if let Some(scan) = scan {
                let open = || {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                    Ok(rustix::fs::openat(found.parent, found.name, flags, Mode::empty())?)
                };
                let digest = scan.digest(&found.stat, open);
                entry.digest = Some(digest.map_err(|error| reason("read", found.path, error))?);
            }
        }
        _ => {}
    }
    Ok(entry)
}

/// What of a walk is taken: neither the ignore file nor `--exclude` leaves it out.
struct Filter<'a> {
    rules: [&'a Ignore; 2],
    start: [Directory; 2],
    levels: Vec<Level>,
}

/// A directory that the walk is in.
struct Level {
    path: Vec<u8>,
    directories: [Directory; 2],
    /// What it is, if nothing of it was taken yet: an excluded one is taken with the first thing below that is not.
    pending: Option<Entry>,
}

#[derive(Clone, Copy)]
struct Choice {
    taken: bool,
    entered: bool,
}

impl Filter<'_> {
    fn choose(&mut self, found: &Found<'_>) -> Choice {
        self.leave(found.path);
        let above = self.levels.last().map_or(&self.start, |level| &level.directories);
        let name = found.name.to_bytes();
        if found.file_type() != FileType::Directory {
            let is_excluded = (0..2).any(|at| self.rules[at].excludes_in(&above[at], name));
            return Choice { taken: !is_excluded, entered: false };
        }
        let directories = [0, 1].map(|at| self.rules[at].enter(&above[at], name));
        let taken = !directories.iter().any(Directory::is_excluded);
        let entered = directories.iter().all(Directory::may_include);
        if entered {
            let entry = Entry { path: found.path.to_vec(), stat: found.stat, link: Vec::new(), digest: None };
            let pending = (!taken).then_some(entry);
            self.levels.push(Level { path: found.path.to_vec(), directories, pending });
        }
        Choice { taken, entered }
    }

    /// Forgets directories that the walk has left.
    fn leave(&mut self, path: &[u8]) {
        let is_in = |level: &Level| {
            path.strip_prefix(level.path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        while self.levels.last().is_some_and(|level| !is_in(level)) {
            self.levels.pop();
        }
    }

    /// Directories above that were not taken yet.
    fn parents_of(&mut self, path: &[u8]) -> Vec<Entry> {
        let above = self.levels.iter_mut().filter(|level| level.path != path);
        above.filter_map(|level| level.pending.take()).collect()
    }

    fn note_taken(&mut self, found: &Found<'_>) {
        if let Some(level) = self.levels.last_mut().filter(|level| level.path == found.path) {
            level.pending = None;
        }
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn tree(directory: &Path, ignore: &str) -> Tree {
        for (path, text) in
            [("a/one.txt", "1"), ("a/two.log", "2"), ("b/deep/three.txt", "3"), ("four.txt", "4")]
        {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
        std::os::unix::fs::symlink("a", directory.join("link")).expect("a link");
        std::os::unix::fs::symlink("/etc/passwd", directory.join("outside")).expect("a link");
        let root =
            rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("opened");
        Tree::new(root, Ignore::parse(".dockerignore", ignore.as_bytes()).expect("patterns"))
    }

    fn gathered(tree: &Tree, sources: &[&str], exclude: &[&str]) -> Result<Vec<String>, Reason> {
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let exclude = Ignore::of_patterns(&exclude).expect("patterns");
        let sources = tree.gather(sources, &exclude, None)?;
        let entries = sources.iter().flat_map(|source| {
            let path = |entry: &Entry| {
                format!("{}:{}", String::from_utf8_lossy(&source.path), String::from_utf8_lossy(&entry.path))
            };
            source.entries.iter().map(path).collect::<Vec<_>>()
        });
        Ok(entries.collect())
    }

    #[test]
    fn sources_are_paths_patterns_and_links_inside() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = tree(directory.path(), "");
        assert_eq!(gathered(&tree, &["four.txt"], &[]).expect("found"), ["/four.txt:"]);
        assert_eq!(gathered(&tree, &["*/*.txt"], &[]).expect("found"), ["/a/one.txt:", "/link/one.txt:"]);
        assert_eq!(
            gathered(&tree, &["link"], &[]).expect("found"),
            ["/link:", "/link:one.txt", "/link:two.log"]
        );
        assert_eq!(gathered(&tree, &["../b"], &["**/three*"]).expect("found"), ["/b:", "/b:deep"]);
        for absent in ["none", "*.none", "outside", "a/one.txt/x"] {
            assert!(gathered(&tree, &[absent], &[]).is_err(), "{absent}");
        }
    }

    #[test]
    fn what_is_ignored_is_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = tree(directory.path(), "*\n!a/one.txt\n!b/deep\n");
        assert_eq!(
            gathered(&tree, &["."], &[]).expect("found"),
            [":", ":a", ":a/one.txt", ":b", ":b/deep", ":b/deep/three.txt"]
        );
        assert!(gathered(&tree, &["four.txt"], &[]).is_err());
    }
}
