//! Files by their names: those of a directory, or of a tar archive that is read where it lies.
//!
//! A compressed archive is unpacked first, into a file without a name in the directory for temporary files.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use holm_store::DOCUMENT_LIMIT;
use holm_store::compression::{Compression, Decoder, detect};
use holm_sys::file::unnamed_file;
use holm_tar::{Entry, EntryKind, Reader};

use super::place::io_error;
use crate::error::{Error, Kind, Result};

/// Headers of one entry.
const HEADER_LIMIT: usize = 1 << 20;
/// Files of an archive. An image has a few for each layer.
const FILES: usize = 100_000;
/// Links that are followed from one file of an archive to another.
const LINKS: usize = 8;

/// Files by their names.
#[derive(Debug)]
pub enum Tree {
    /// Those of a directory.
    Directory(PathBuf),
    /// Those of an archive.
    Archive(Archive),
}

/// A tar archive and what is in it.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
    entries: HashMap<String, Place>,
}

#[derive(Clone, Debug)]
enum Place {
    Here {
        at: u64,
        size: u64,
    },
    /// Where another file is.
    Like(String),
}

/// A file, or a part of one.
#[derive(Debug)]
pub struct Part {
    file: File,
    at: u64,
    left: u64,
}

impl Part {
    /// Its size in bytes, before anything is read.
    pub fn size(&self) -> u64 {
        self.left
    }
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let length = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += length as u64;
        self.left -= length as u64;
        Ok(length)
    }
}

impl Tree {
    /// The files of the archive at `path`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is none; [`Kind::NotFound`], [`Kind::Io`].
    pub fn of_archive(path: &Path) -> Result<Self> {
        let context = || format!("read the archive `{}`", path.display());
        let archive = open_plain(path).and_then(|file| {
            let entries = entries(&file)?;
            Ok(Archive { path: path.to_owned(), file, entries })
        });
        archive.map(Self::Archive).map_err(|error| error.about(context()))
    }

    /// Opens a file.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Io`].
    pub fn open(&self, name: &str) -> Result<Part> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name);
                let failed = |error| io_error(format!("open `{}`", path.display()), error);
                let file = File::open(&path).map_err(failed)?;
                let left = file.metadata().map_err(failed)?.len();
                Ok(Part { file, at: 0, left })
            }
            Self::Archive(archive) => archive.open(name),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// [`Kind::NotFound`], [`Kind::Io`]; [`Kind::Invalid`] where it is too large for one.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let part = self.open(name)?;
        if part.size() > DOCUMENT_LIMIT {
            let text = format!("`{name}` is larger than the {DOCUMENT_LIMIT} bytes that a document may have");
            return Err(Error::new(Kind::Invalid, text));
        }
        let mut content = Vec::new();
        let read = part.take(DOCUMENT_LIMIT).read_to_end(&mut content);
        read.map(|_| content).map_err(|error| io_error(format!("read `{name}`"), error))
    }

    /// Whether there is such a file.
    pub fn has(&self, name: &str) -> bool {
        self.open(name).is_ok()
    }
}

impl Archive {
    fn open(&self, name: &str) -> Result<Part> {
        let mut place = self.entries.get(name);
        for _ in 0..LINKS {
            match place {
                Some(Place::Here { at, size }) => {
                    let file = self.file.try_clone().map_err(|error| io_error("use an open file", error))?;
                    return Ok(Part { file, at: *at, left: *size });
                }
                Some(Place::Like(other)) => place = self.entries.get(other),
                None => break,
            }
        }
        let text = format!("there is no `{name}` in the archive `{}`", self.path.display());
        Err(Error::new(Kind::NotFound, text))
    }
}

/// Opens an archive, and unpacks it if it is compressed.
fn open_plain(path: &Path) -> Result<File> {
    let mut file = File::open(path).map_err(|error| io_error("open it", error))?;
    let (compression, stream) = detect(&file).map_err(not_an_archive)?;
    if compression != Compression::None {
        let directory = std::env::temp_dir();
        let mut unpacked =
            unnamed_file(&directory).map_err(|error| io_error("make a temporary file", error))?;
        let mut decoder = Decoder::new(compression, stream).map_err(not_an_archive)?;
        io::copy(&mut decoder, &mut unpacked).map_err(|error| io_error("unpack it", error))?;
        file = unpacked;
    }
    file.rewind().map_err(|error| io_error("read it", error))?;
    Ok(file)
}

fn entries(file: &File) -> Result<HashMap<String, Place>> {
    let mut reader = Reader::new(file, HEADER_LIMIT);
    let mut entries = HashMap::new();
    while let Some(entry) = reader.next().map_err(not_an_archive)? {
        let Some(name) = normal(&entry.path, "") else { continue };
        if let Some(place) = place_of(&entry, &name, reader.position()) {
            entries.insert(name, place);
        }
        if entries.len() > FILES {
            return Err(Error::new(Kind::Invalid, format!("it has more than {FILES} files")));
        }
    }
    Ok(entries)
}

/// Where an entry's content is; `None` for what has none.
fn place_of(entry: &Entry, name: &str, at: u64) -> Option<Place> {
    match entry.kind {
        EntryKind::File if entry.sparse.is_none() => Some(Place::Here { at, size: entry.stored }),
        EntryKind::HardLink => normal(&entry.link, "").map(Place::Like),
        EntryKind::Symlink => {
            normal(&entry.link, name.rsplit_once('/').map_or("", |(above, _)| above)).map(Place::Like)
        }
        _ => None,
    }
}

/// A name from the archive's root, of one that stands in the directory `base`; `None` where it leads out of it.
fn normal(name: &[u8], base: &str) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let base = if name.starts_with('/') { "" } else { base };
    let mut components = Vec::new();
    for component in base.split('/').chain(name.split('/')) {
        match component {
            "" | "." => {}
            ".." => drop(components.pop()?),
            component => components.push(component),
        }
    }
    Some(components.join("/"))
}

fn not_an_archive(error: holm_tar::Error) -> Error {
    let kind = if error.kind() == holm_tar::Kind::Io { Kind::Io } else { Kind::Invalid };
    Error::because(kind, "read what should be a tar archive", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, EntryKind, &str)]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let mut writer = holm_tar::Writer::new(&mut file);
        for (name, kind, content) in entries {
            let mut entry = Entry::new(name.as_bytes().to_vec(), *kind, 0o644);
            match kind {
                EntryKind::File => entry.size = content.len() as u64,
                _ => entry.link = content.as_bytes().to_vec(),
            }
            writer.entry(&entry).expect("written");
            if *kind == EntryKind::File {
                writer.data(content.as_bytes()).expect("written");
            }
        }
        writer.finish().expect("written");
        file
    }

    #[test]
    fn files_of_an_archive_are_found_by_name_and_by_link() {
        let file = archive(&[
            ("./a/layer.tar", EntryKind::File, "layer"),
            ("b/layer.tar", EntryKind::Symlink, "../a/layer.tar"),
            ("hard", EntryKind::HardLink, "a/layer.tar"),
            ("c/out", EntryKind::Symlink, "../../etc/passwd"),
            ("d/loop", EntryKind::Symlink, "loop"),
        ]);
        let tree = Tree::of_archive(file.path()).expect("an archive");
        for name in ["a/layer.tar", "b/layer.tar", "hard"] {
            assert_eq!(tree.read(name).expect(name), b"layer");
        }
        for name in ["c/out", "d/loop", "/etc/passwd", "../etc/passwd", "none"] {
            assert_eq!(tree.read(name).expect_err(name).kind(), Kind::NotFound);
        }
    }

    #[test]
    fn compressed_archives_are_unpacked_and_others_refused() {
        let file = archive(&[("a", EntryKind::File, "content")]);
        let packed = tempfile::NamedTempFile::new().expect("a file");
        let mut encoder = flate2::write::GzEncoder::new(packed.as_file(), flate2::Compression::fast());
        io::copy(&mut file.reopen().expect("open"), &mut encoder).expect("packed");
        encoder.finish().expect("packed");
        let tree = Tree::of_archive(packed.path()).expect("an archive");
        assert_eq!(tree.read("a").expect("there"), b"content");
        let other = tempfile::NamedTempFile::new().expect("a file");
        for content in [&b""[..], b"no archive", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0]] {
            std::fs::write(other.path(), content).expect("written");
            Tree::of_archive(other.path()).expect_err("no archive");
        }
    }
}
