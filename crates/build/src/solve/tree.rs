//! Files that `COPY` and `ADD` take: of a context, a stage or an image.
//!
//! Links on the way to a source are followed inside the tree, and so is a source that is one; links below it are taken as they are.
//! What an ignore file leaves out is not there.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use holm_files::{Found, names, walk};
use holm_sys::in_root;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, readlinkat};
use rustix::io::Errno;

use super::scan::Scan;
use crate::dockerfile::path;
use crate::ignore::{Directory, Ignore, is_match};

/// Characters that make a source a pattern.
const SPECIAL: [char; 4] = ['*', '?', '[', '\\'];

/// Most paths that sources may mean: links that lead up make any number of them.
const PATH_LIMIT: usize = 1_000_000;

/// A directory that can be looked at for as long as this is kept.
pub type Root = Box<dyn AsFd + Send + Sync>;

/// A tree, and what of it is left out.
pub struct Tree {
    root: Root,
    ignore: Ignore,
}

/// What is wanted of a tree.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Paths and patterns.
    pub sources: &'a [&'a str],
    /// With the directories above (`COPY --parents`).
    pub parents: bool,
    /// What of them is not wanted (`--exclude`).
    pub exclude: &'a Ignore,
}

/// Something that is taken, with what is below it.
pub struct Source {
    /// Where it is.
    pub tree: Arc<Tree>,
    /// It is unpacked if it is an archive.
    pub unpacks: bool,
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
    pub fn new(root: Root, ignore: Ignore) -> Arc<Self> {
        Arc::new(Self { root, ignore })
    }

    /// Everything that is wanted; with digests if there is a memory to ask.
    ///
    /// # Errors
    /// A source that names nothing; what reading reports.
    pub fn gather(
        self: &Arc<Self>,
        wanted: &Wanted<'_>,
        mut scan: Option<&mut Scan>,
    ) -> Result<Vec<Source>, Reason> {
        let mut gathered = Vec::new();
        for text in wanted.sources {
            // What stands in front of `/./` is not repeated below the destination.
            let pivot = text.split_once("/./").filter(|_| wanted.parents);
            let (above, rest) = pivot.unwrap_or(("", text));
            for above in self.find(vec![Vec::new()], above, wanted.parents)? {
                for path in self.find(vec![above.clone()], rest, wanted.parents)? {
                    if gathered.len() == PATH_LIMIT {
                        return Err(too_many(text));
                    }
                    let scan = scan.as_deref_mut();
                    gathered.push(match wanted.parents {
                        true => self.gather_with_parents(&above, &path, wanted.exclude, scan)?,
                        false => self.gather_one(path, &Excluded::of(wanted.exclude), scan)?,
                    });
                }
            }
        }
        Ok(gathered)
    }

    /// The paths that a text means below those in `found`, each once, in the order of their names; with `deep`, `**` stands for
    /// any number of directories.
    fn find(&self, mut found: Vec<Vec<u8>>, text: &str, deep: bool) -> Result<Vec<Vec<u8>>, Reason> {
        let whole = path::source(text);
        for part in whole.split('/').filter(|part| !part.is_empty()) {
            let mut next = Paths { text, found: BTreeSet::new() };
            match part {
                "**" if deep => self.with_directories_below(found, &mut next)?,
                part if part.contains(SPECIAL) => self.matching(&found, part, &mut next)?,
                part => found.iter().try_for_each(|above| next.add(above, part.as_bytes()))?,
            }
            found = next.found.into_iter().collect();
        }
        found.retain(|path| self.is_there(path, deep));
        if found.is_empty() {
            return Err(format!("`{text}` is not there, or left out by the ignore file"));
        }
        found.sort_by(|one, other| parts(one).cmp(parts(other)));
        Ok(found)
    }

    /// Directories and all that are below them.
    fn with_directories_below(&self, above: Vec<Vec<u8>>, found: &mut Paths<'_>) -> Result<(), Reason> {
        for above in above {
            let Ok(directory) = self.open(&above, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let mut added = Ok(());
            let walked = walk(directory, &mut |it| {
                let is_directory = it.file_type() == FileType::Directory;
                if is_directory && added.is_ok() {
                    added = found.add(&above, it.path);
                }
                Ok(is_directory && added.is_ok())
            });
            walked.map_err(|error| error.to_string())?;
            added?;
            found.found.insert(above);
        }
        Ok(())
    }

    fn matching(&self, above: &[Vec<u8>], pattern: &str, found: &mut Paths<'_>) -> Result<(), Reason> {
        for above in above {
            let Ok(directory) = self.open(above, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
            let names = names(directory.as_fd()).map_err(|errno| reason("read directory", above, errno))?;
            for name in names {
                if is_match(pattern, &name.to_string_lossy())? {
                    found.add(above, name.to_bytes())?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is something that is not left out, neither by its name nor by the name that links lead to; a link itself if
    /// links are kept.
    fn is_there(&self, path: &[u8], keeps_links: bool) -> bool {
        let follow = if keeps_links { OFlags::NOFOLLOW } else { OFlags::empty() };
        let Ok(found) = self.open(path, OFlags::PATH | follow) else { return false };
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
        enter(&self.ignore, path)
    }

    /// The path of what was found, without links in it.
    fn real_path(&self, found: &OwnedFd) -> Option<Vec<u8>> {
        let name = |file: BorrowedFd<'_>| {
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            std::fs::read_link(link).ok().map(|path| path.into_os_string().into_encoded_bytes())
        };
        let (root, path) = (name(self.root.as_fd())?, name(found.as_fd())?);
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

    /// A path below `above` with the directories between them, as what is below `above` and nothing else.
    fn gather_with_parents(
        self: &Arc<Self>,
        above: &[u8],
        path: &[u8],
        exclude: &Ignore,
        scan: Option<&mut Scan>,
    ) -> Result<Source, Reason> {
        let below = path[above.len()..].strip_prefix(b"/").unwrap_or_default();
        let inner = self.gather_one(path.to_vec(), &Excluded { rules: exclude, below: Some(below) }, scan)?;
        let mut source = Source { path: above.to_vec(), name: Vec::new(), entries: Vec::new(), ..inner };
        if inner.entries.is_empty() {
            return Ok(source);
        }
        let ends = below.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in std::iter::once(0).filter(|_| !below.is_empty()).chain(ends) {
            let path = joined(above, &below[..end]);
            let found = self.open(&path, OFlags::PATH).map_err(|errno| reason("open", &path, errno))?;
            let stat = fstat(&found).map_err(|errno| reason("look at", &path, errno))?;
            source.entries.push(Entry { path: below[..end].to_vec(), stat, link: Vec::new(), digest: None });
        }
        let inner = inner.entries.into_iter();
        source.entries.extend(inner.map(|entry| Entry { path: joined(below, &entry.path), ..entry }));
        Ok(source)
    }

    fn gather_one(
        self: &Arc<Self>,
        path: Vec<u8>,
        excluded: &Excluded<'_>,
        mut scan: Option<&mut Scan>,
    ) -> Result<Source, Reason> {
        // With the directories above, a link is a link; alone, it is what it leads to.
        let is_link_kept = excluded.below.is_some_and(|below| !below.is_empty());
        let follow = if is_link_kept { OFlags::NOFOLLOW } else { OFlags::empty() };
        let found = self.open(&path, OFlags::PATH | follow).map_err(|errno| reason("open", &path, errno))?;
        let stat = fstat(&found).map_err(|errno| reason("look at", &path, errno))?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        let real = self.real_path(&found).unwrap_or_else(|| path.clone());
        let mut source = Source { tree: self.clone(), unpacks: false, name, path, entries: Vec::new() };
        let mut entry = Entry { path: Vec::new(), stat, link: Vec::new(), digest: None };
        match entry.file_type() {
            FileType::Directory => {
                source.entries.push(entry);
                self.gather_below(&mut source, &real, excluded, scan)?;
                return Ok(source);
            }
            FileType::Symlink => {
                let link = readlinkat(&found, c"", Vec::new());
                entry.link = link.map_err(|errno| reason("read link", &source.path, errno))?.into_bytes();
            }
            _ => {}
        }
        if excluded.rules.excludes(&String::from_utf8_lossy(excluded.below.unwrap_or(&source.name))) {
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
        excluded: &Excluded<'_>,
        mut scan: Option<&mut Scan>,
    ) -> Result<(), Reason> {
        let directory = self
            .open(&source.path, OFlags::RDONLY | OFlags::DIRECTORY)
            .map_err(|errno| reason("open directory", &source.path, errno))?;
        let start = [self.directory(real), enter(excluded.rules, excluded.below.unwrap_or_default())];
        let mut filter = Filter { rules: [&self.ignore, excluded.rules], levels: Vec::new(), start };
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

/// What a source means, each path once and not too many.
struct Paths<'a> {
    text: &'a str,
    found: BTreeSet<Vec<u8>>,
}

impl Paths<'_> {
    fn add(&mut self, above: &[u8], name: &[u8]) -> Result<(), Reason> {
        self.found.insert([above, b"/", name].concat());
        match self.found.len() > PATH_LIMIT {
            true => Err(too_many(self.text)),
            false => Ok(()),
        }
    }
}

fn too_many(text: &str) -> Reason {
    format!("`{text}` means more than {PATH_LIMIT} files and directories")
}

/// The names in a path.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
}

/// `--exclude`, and the path that it sees a source under: with parents, that below the pivot.
struct Excluded<'a> {
    rules: &'a Ignore,
    below: Option<&'a [u8]>,
}

impl<'a> Excluded<'a> {
    fn of(rules: &'a Ignore) -> Self {
        Self { rules, below: None }
    }
}

/// What a directory is to rules.
fn enter(rules: &Ignore, path: &[u8]) -> Directory {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    parts.fold(rules.root(), |above, part| rules.enter(&above, part))
}

/// A path and a name below it; either may be empty.
pub fn joined(above: &[u8], name: &[u8]) -> Vec<u8> {
    match (above.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => above.to_vec(),
        _ => [above, b"/", name].concat(),
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn tree(directory: &Path, ignore: &str) -> Arc<Tree> {
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
        Tree::new(Box::new(root), Ignore::parse(".dockerignore", ignore.as_bytes()).expect("patterns"))
    }

    fn gathered(tree: &Arc<Tree>, sources: &[&str], exclude: &[&str]) -> Result<Vec<String>, Reason> {
        gathered_as(tree, sources, exclude, false)
    }

    fn gathered_as(
        tree: &Arc<Tree>,
        sources: &[&str],
        exclude: &[&str],
        parents: bool,
    ) -> Result<Vec<String>, Reason> {
        let exclude: Vec<String> = exclude.iter().map(|text| (*text).to_owned()).collect();
        let exclude = Ignore::of_patterns(&exclude).expect("patterns");
        let sources = tree.gather(&Wanted { sources, parents, exclude: &exclude }, None)?;
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
    fn patterns_mean_each_path_once_and_not_any_number() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = tree(directory.path(), "");
        let link = |name: &str| std::os::unix::fs::symlink(".", directory.path().join(name)).expect("a link");
        link("b/up");
        let once = ["/b:", "/b:deep", "/b:deep/three.txt"];
        for source in ["b/./**/**/three.txt", "b/./**/**/**/t*"] {
            assert_eq!(gathered_as(&tree, &[source], &[], true).expect("found"), once, "{source}");
        }
        let through = ["/b/deep/three.txt:", "/b/up/deep/three.txt:", "/b/up/up/deep/three.txt:"];
        let found: Vec<String> = ["b/deep/*", "b/*/deep/*", "b/*/*/deep/*"]
            .iter()
            .flat_map(|source| gathered(&tree, &[source], &[]).expect("found"))
            .collect();
        assert_eq!(found, through);
        (0..101).for_each(|number| link(&number.to_string()));
        let error = gathered(&tree, &["[0-9]*/[0-9]*/[0-9]*"], &[]).expect_err("too many");
        assert!(error.contains("means more than 1000000 files"), "{error}");
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

    #[test]
    fn parents_come_along_from_the_pivot_on() {
        let directory = tempfile::tempdir().expect("a directory");
        let tree = tree(directory.path(), "");
        for (source, exclude, expected) in [
            ("a/one.txt", "", &[":", ":a", ":a/one.txt"][..]),
            ("./b/deep", "", &[":", ":b", ":b/deep", ":b/deep/three.txt"]),
            ("b/./deep/*.txt", "", &["/b:", "/b:deep", "/b:deep/three.txt"]),
            ("./**/*.txt", "a", &[":", ":b", ":b/deep", ":b/deep/three.txt", ":", ":four.txt"]),
            ("b", "b/deep/*", &[":", ":b", ":b/deep"]),
            ("/b/deep/./", "", &["/b/deep:", "/b/deep:three.txt"]),
            ("link", "", &[":", ":link"]),
            ("./outside", "", &[":", ":outside"]),
            ("link/./one.txt", "", &["/link:", "/link:one.txt"]),
            ("link/one.txt", "", &[":", ":link", ":link/one.txt"]),
            ("a/../../b/./deep/../deep/three.txt", "", &["/b:", "/b:deep", "/b:deep/three.txt"]),
        ] {
            assert_eq!(gathered_as(&tree, &[source], &[exclude], true).expect(source), expected, "{source}");
        }
        assert!(gathered_as(&tree, &["a/./none"], &[], true).is_err());
    }
}
