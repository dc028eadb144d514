//! A store in a temporary directory, and archives to fill it with.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use holm_spec::layout::Layout;
use holm_spec::{Digest, Reference, Timestamp};
use holm_store::{Change, Import, Store};

/// A store that goes with the guard.
pub struct Scratch {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        Self { dir, store }
    }

    /// Imports a small archive whose content depends on `content`.
    pub fn import(&self, name: &str, content: &str) -> Digest {
        import(&self.store, Some(name), content).expect("import")
    }

    pub fn root(&self) -> &Path {
        &self.store.layout().root
    }

    /// Every file of the store but locks, relative to its root.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        files(self.root())
    }

    /// Number of files in one of the store's directories.
    pub fn count(&self, directory: &str) -> usize {
        self.files().iter().filter(|path| path.starts_with(directory)).count()
    }
}

pub fn open(dir: &Path) -> Store {
    Store::open(&Layout::new(dir.join("root"), dir.join("run"))).expect("open")
}

pub fn import(store: &Store, name: Option<&str>, content: &str) -> holm_store::Result<Digest> {
    let reference = name.map(reference);
    let request = Import {
        reference: reference.as_ref(),
        created: Some(Timestamp::from_nanos(1_700_000_000_000_000_000)),
        ..Import::default()
    };
    store.import(&*archive(&[("etc/content", content.as_bytes())]), &request)
}

pub fn reference(text: &str) -> Reference {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

pub fn changes(texts: &[&str]) -> Vec<Change> {
    texts.iter().map(|text| text.parse().unwrap_or_else(|error| panic!("{error}"))).collect()
}

fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(root).expect("below the root").to_owned());
            }
        }
    }
    found.retain(|path| !path.starts_with("locks"));
    found
}

/// A POSIX ustar archive of regular files below one directory `etc`.
pub fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = header("etc/", b'5', 0o755, 0).to_vec();
    for (name, content) in files {
        bytes.extend(header(name, b'0', 0o644, content.len()));
        bytes.extend(*content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize((bytes.len() + 1024).next_multiple_of(10240), 0);
    bytes
}

fn header(name: &str, kind: u8, mode: u32, size: usize) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "14524770400");
    put(148, "        ");
    put(257, "ustar");
    put(263, "00");
    block[156] = kind;
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}
