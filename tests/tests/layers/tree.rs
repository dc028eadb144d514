//! The lister: everything about a file tree that a program in it can see, a line an entry.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use holm_spec::Digest;

/// Facts by path, whose odd bytes are escaped; the root is `.`.
pub type Tree = BTreeMap<String, String>;

/// Lists what is at and below `root`, without the file systems mounted below it.
pub fn list(root: &Path) -> Tree {
    let mut found = Vec::new();
    walk(root, &mut found);
    let mut links: BTreeMap<(u64, u64), Vec<String>> = BTreeMap::new();
    for (path, data) in found.iter().filter(|(_, data)| data.nlink() > 1 && !data.is_dir()) {
        links.entry((data.dev(), data.ino())).or_default().push(shown(root, path));
    }
    let line = |(path, data): &(PathBuf, Metadata)| {
        let mut facts = facts(path, data);
        if let Some(names) = links.get(&(data.dev(), data.ino())).filter(|_| !data.is_dir()) {
            let names = names.iter().min().expect("it has this name");
            facts += &format!(" {} links, first {names}", data.nlink());
        }
        (shown(root, path), facts + &attributes(path))
    };
    found.iter().map(line).collect()
}

fn walk(path: &Path, found: &mut Vec<(PathBuf, Metadata)>) {
    let data = path.symlink_metadata().expect("what is listed is there");
    let is_directory = data.is_dir();
    found.push((path.to_owned(), data));
    if is_directory {
        for entry in fs::read_dir(path).expect("a directory is read") {
            walk(&entry.expect("an entry is read").path(), found);
        }
    }
}

fn shown(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).expect("it lies below").as_os_str().as_bytes();
    if below.is_empty() { ".".to_owned() } else { below.escape_ascii().to_string() }
}

/// `TYPE MODE USER:GROUP SECONDS.NANOSECONDS`, and what only this type has.
fn facts(path: &Path, data: &Metadata) -> String {
    let kind = data.file_type();
    let number = || format!("{}:{}", rustix::fs::major(data.rdev()), rustix::fs::minor(data.rdev()));
    let (letter, more) = match () {
        () if kind.is_dir() => ('d', String::new()),
        () if kind.is_file() => ('f', format!(" {} {}", data.len(), digest(path))),
        () if kind.is_symlink() => ('l', format!(" -> {}", target(path))),
        () if kind.is_char_device() => ('c', format!(" {}", number())),
        () if kind.is_block_device() => ('b', format!(" {}", number())),
        () if kind.is_fifo() => ('p', String::new()),
        () => ('?', String::new()),
    };
    let (mode, time) = (data.mode() & 0o7777, format!("{}.{:09}", data.mtime(), data.mtime_nsec()));
    format!("{letter} {mode:04o} {}:{} {time}{more}", data.uid(), data.gid())
}

fn target(path: &Path) -> String {
    fs::read_link(path).expect("a link is read").as_os_str().as_bytes().escape_ascii().to_string()
}

/// The first digits of the digest of a file's content; a piece at a time, since some are large.
fn digest(path: &Path) -> String {
    let mut content = Vec::new();
    let mut file = fs::File::open(path).expect("a file is opened");
    file.read_to_end(&mut content).expect("a file is read");
    Digest::of(&content).to_string()[7..19].to_owned()
}

/// ` [NAME=VALUE]` for each extended attribute, by name.
fn attributes(path: &Path) -> String {
    let mut names = vec![0; 64 << 10];
    let count = rustix::fs::llistxattr(path, &mut names).expect("attributes are listed");
    let mut names: Vec<_> = names[..count].split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.into_iter().map(|name| format!(" [{}={}]", name.escape_ascii(), value(path, name))).collect()
}

fn value(path: &Path, name: &[u8]) -> String {
    let mut value = vec![0; 64 << 10];
    let count =
        rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).expect("an attribute is read");
    let value = &value[..count];
    if count > 40 {
        format!("{count} bytes, {}", &Digest::of(value).to_string()[7..19])
    } else {
        value.escape_ascii().to_string()
    }
}
