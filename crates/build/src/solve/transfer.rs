//! What `COPY`, `ADD` and `WORKDIR` make: a layer, written as an archive straight from the files, nowhere unpacked before.
//!
//! A directory that is there below keeps what it is: the layer repeats it, since an overlay shows the upper one. Links on the way to
//! the destination are followed in what is below. Entries are in the order of the sources, and each directory is in front of what
//! is in it.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use holm_files::{Xattr, xattrs};
use holm_store::compression;
use holm_sys::in_root;
use holm_tar::{BLOCK, Entry as Header, EntryKind, Mtime, Reader, Writer};
use rustix::fs::{FileType, OFlags, ResolveFlags, Stat, fstat, readlinkat};
use sha2::{Digest as _, Sha256};

use super::tree::{Entry, Reason, Source, joined};
use crate::dockerfile::mode::Mode;

/// Links that are followed on the way to a destination.
const LINK_LIMIT: usize = 40;
/// Bytes that are copied at once.
const CHUNK: usize = 256 << 10;
/// Most bytes of the headers of one entry of an archive.
const HEADER_LIMIT: usize = 1 << 20;
/// Mode of directories that are made on the way.
const DIRECTORY_MODE: u16 = 0o755;

/// What goes where.
pub struct Transfer {
    /// What is taken.
    pub sources: Vec<Source>,
    /// Files of the Dockerfile's own: name and content.
    pub texts: Vec<(String, String)>,
    /// Where to; a slash at its end says that it is a directory.
    pub destination: String,
    /// User and group of everything.
    pub owner: Option<(u32, u32)>,
    /// Without an owner, each has its own: files of stages and images. Others are root's.
    pub keeps_owners: bool,
    /// Permissions of everything.
    pub mode: Option<Mode>,
    /// When directories and texts were made, in seconds.
    pub now: i64,
    /// No time is later than this.
    pub latest: Option<i64>,
}

/// A layer in the making.
struct Layer<'a, 'o> {
    about: &'a Transfer,
    below: Option<BorrowedFd<'a>>,
    writer: Writer<&'o mut dyn Write>,
    /// Directories that it has.
    made: HashSet<Vec<u8>>,
    /// Whether a directory is there below.
    known: HashMap<Vec<u8>, bool>,
    /// Files with several names, by device and inode, and the other way round.
    names: HashMap<(u64, u64), Vec<u8>>,
    numbers: HashMap<Vec<u8>, (u64, u64)>,
    /// What it has that is no directory.
    files: HashSet<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Transfer {
    /// Writes the layer; `below` is the root of what it lies on, if there is anything.
    ///
    /// # Errors
    /// What is in the way, what changed since it was looked at, what reading and writing report.
    pub fn write(&self, below: Option<BorrowedFd<'_>>, output: &mut dyn Write) -> Result<(), Reason> {
        let mut layer = Layer::new(self, below, output);
        let (path, is_directory) = layer.resolve(&self.destination)?;
        let several = self.sources.len() + self.texts.len() > 1;
        let into = is_directory || several || ends_as_directory(&self.destination);
        for source in &self.sources {
            layer.source(source, &path, into)?;
        }
        for (name, text) in &self.texts {
            let target = if into { joined(&path, name.as_bytes()) } else { path.clone() };
            layer.text(target, text)?;
        }
        layer.writer.finish().map(drop).map_err(written)
    }

    /// Writes a layer with nothing but the destination, a directory.
    ///
    /// # Errors
    /// As [`Transfer::write`].
    pub fn write_directory(
        &self,
        below: Option<BorrowedFd<'_>>,
        output: &mut dyn Write,
    ) -> Result<(), Reason> {
        let mut layer = Layer::new(self, below, output);
        let (path, _) = layer.resolve(&self.destination)?;
        layer.directories(&path)?;
        layer.writer.finish().map(drop).map_err(written)
    }
}

fn written(error: std::io::Error) -> Reason {
    format!("write the layer: {error}")
}

fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// Where an entry is in its tree.
fn place(source: &Source, entry: &Entry) -> Vec<u8> {
    match entry.path.is_empty() {
        true => source.path.clone(),
        false => [&source.path, b"/".as_slice(), &entry.path].concat(),
    }
}

fn open(source: &Source, entry: &Entry) -> Result<File, Reason> {
    let path = place(source, entry);
    let opened = source.tree.open(&path, OFlags::RDONLY | OFlags::NONBLOCK);
    let name = path.strip_prefix(b"/").unwrap_or(&path);
    opened.map(File::from).map_err(|errno| format!("open `{}`: {}", shown(name), std::io::Error::from(errno)))
}

impl<'a, 'o> Layer<'a, 'o> {
    fn new(about: &'a Transfer, below: Option<BorrowedFd<'a>>, output: &'o mut dyn Write) -> Self {
        Self {
            about,
            below,
            writer: Writer::new(output),
            made: HashSet::new(),
            known: HashMap::new(),
            names: HashMap::new(),
            numbers: HashMap::new(),
            files: HashSet::new(),
            buffer: vec![0; CHUNK],
        }
    }

    /// A path below the root without links in it, as far as it is there; and whether there is a directory.
    fn resolve(&self, path: &str) -> Result<(Vec<u8>, bool), Reason> {
        let mut done: Vec<u8> = Vec::new();
        let mut left: Vec<String> = parts(path).rev().map(str::to_owned).collect();
        let mut links = 0;
        while let Some(part) = left.pop() {
            if part == ".." {
                done.truncate(done.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            let next = joined(&done, part.as_bytes());
            let Some(link) = self.link(&next) else {
                done = next;
                continue;
            };
            links += 1;
            if links > LINK_LIMIT {
                return Err(format!("`{path}`: more than {LINK_LIMIT} links on the way"));
            }
            if link.starts_with('/') {
                done.clear();
            }
            left.extend(parts(&link).rev().map(str::to_owned));
        }
        let is_directory = self.look(&done).is_some_and(|stat| is_directory(&stat));
        Ok((done, is_directory))
    }

    fn link(&self, path: &[u8]) -> Option<String> {
        let found = self.open_below(path)?;
        let link = readlinkat(&found, c"", Vec::new()).ok()?;
        link.into_string().ok()
    }

    fn look(&self, path: &[u8]) -> Option<Stat> {
        fstat(self.open_below(path)?).ok()
    }

    fn open_below(&self, path: &[u8]) -> Option<OwnedFd> {
        let path = if path.is_empty() { b"/".as_slice() } else { path };
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        in_root::open(self.below?, path, flags, ResolveFlags::NO_MAGICLINKS).ok()
    }

    /// Attributes of a directory below; what cannot be read is not repeated.
    fn xattrs_below(&self, path: &[u8]) -> Vec<Xattr> {
        let path = if path.is_empty() { b"/".as_slice() } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let opened = self.below.map(|root| in_root::open(root, path, flags, ResolveFlags::NO_MAGICLINKS));
        opened.and_then(|opened| xattrs(opened.ok()?.as_fd()).ok()).unwrap_or_default()
    }

    /// Whether there is a directory below, asked once.
    fn is_there(&mut self, path: &[u8]) -> bool {
        if let Some(known) = self.known.get(path) {
            return *known;
        }
        let is_there = self.look(path).is_some_and(|stat| is_directory(&stat));
        self.known.insert(path.to_vec(), is_there);
        is_there
    }

    /// Makes a directory and those above it, as they are below or anew.
    fn directories(&mut self, path: &[u8]) -> Result<(), Reason> {
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let ends: Vec<usize> = ends.chain((!path.is_empty()).then_some(path.len())).collect();
        for end in ends {
            let directory = &path[..end];
            if self.made.contains(directory) {
                continue;
            }
            if self.files.contains(directory) {
                return Err(format!("`{}` is there and no directory", shown(directory)));
            }
            let header = match self.look(directory) {
                Some(stat) if is_directory(&stat) => {
                    let mut header = header_of(directory, EntryKind::Directory, &stat);
                    header.xattrs = self.xattrs_below(directory);
                    header
                }
                Some(_) => return Err(format!("`{}` is there and no directory", shown(directory))),
                None => self.new_directory(directory),
            };
            self.begin_directory(directory, header)?;
        }
        Ok(())
    }

    fn new_directory(&self, path: &[u8]) -> Header {
        let mut header = Header::new(path.to_vec(), EntryKind::Directory, DIRECTORY_MODE);
        (header.uid, header.gid) = self.about.owner.unwrap_or((0, 0));
        header.mtime = Mtime { seconds: self.about.now, nanoseconds: 0 };
        header
    }

    fn begin_directory(&mut self, path: &[u8], mut header: Header) -> Result<(), Reason> {
        self.made.insert(path.to_vec());
        header.path.push(b'/');
        self.begin(header)
    }

    fn begin(&mut self, mut header: Header) -> Result<(), Reason> {
        check_names(&header.path)?;
        // What has had this path has it no more.
        if let Some(number) = self.numbers.remove(&header.path) {
            self.names.remove(&number);
        }
        if header.kind != EntryKind::Directory {
            self.files.insert(header.path.clone());
        }
        if let Some(latest) = self.about.latest.filter(|latest| header.mtime.seconds >= *latest) {
            header.mtime = Mtime { seconds: latest, nanoseconds: 0 };
        }
        self.writer.entry(&header).map_err(written)
    }

    /// Nothing of another kind may be where something is to be.
    fn check_place(&mut self, path: &[u8], wants_directory: bool) -> Result<(), Reason> {
        match wants_directory {
            true if self.files.contains(path) => {
                return Err(format!("cannot copy a directory to `{}`, which is none", shown(path)));
            }
            false if self.made.contains(path) => {
                return Err(format!("cannot copy a file to `{}`, which is a directory", shown(path)));
            }
            _ => {}
        }
        let above = path.iter().rposition(|byte| *byte == b'/').map_or(&path[..0], |at| &path[..at]);
        if !self.is_there(above) {
            return Ok(());
        }
        match self.look(path) {
            Some(stat) if is_directory(&stat) != wants_directory => Err(match wants_directory {
                true => format!("cannot copy a directory to `{}`, which is none", shown(path)),
                false => format!("cannot copy a file to `{}`, which is a directory", shown(path)),
            }),
            _ => Ok(()),
        }
    }

    fn source(&mut self, source: &Source, destination: &[u8], into: bool) -> Result<(), Reason> {
        let Some(top) = source.entries.first() else { return Ok(()) };
        if top.file_type() == FileType::Directory {
            self.directories(destination)?;
            return source.entries[1..]
                .iter()
                .try_for_each(|entry| self.entry(source, entry, joined(destination, &entry.path)));
        }
        if source.unpacks && self.unpack(source, destination)? {
            return Ok(());
        }
        let target = if into { joined(destination, &source.name) } else { destination.to_vec() };
        self.entry(source, top, target)
    }

    fn entry(&mut self, source: &Source, entry: &Entry, target: Vec<u8>) -> Result<(), Reason> {
        let kind = match entry.file_type() {
            FileType::RegularFile => EntryKind::File,
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => EntryKind::Symlink,
            FileType::CharacterDevice => EntryKind::Character,
            FileType::BlockDevice => EntryKind::Block,
            FileType::Fifo => EntryKind::Fifo,
            // No archive holds a socket.
            _ => return Ok(()),
        };
        if kind == EntryKind::Character && entry.stat.st_rdev == 0 {
            return Err(format!("`{}`: in a layer a device 0:0 would hide something", shown(&target)));
        }
        self.check_place(&target, kind == EntryKind::Directory)?;
        let above = target.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at);
        self.directories(&target[..above])?;
        let mut header = header_of(&target, kind, &entry.stat);
        self.adjust(&mut header);
        header.link.clone_from(&entry.link);
        match kind {
            EntryKind::Directory => {
                header.xattrs = self.kept_xattrs(source, entry, OFlags::DIRECTORY);
                self.begin_directory(&target, header)
            }
            EntryKind::File => self.file_or_link(source, entry, header),
            _ => self.begin(header),
        }
    }

    /// Owner and permissions, as it was said.
    fn adjust(&self, header: &mut Header) {
        if let Some(owner) = self.about.owner {
            (header.uid, header.gid) = owner;
        } else if !self.about.keeps_owners {
            (header.uid, header.gid) = (0, 0);
        }
        if let Some(mode) = self.about.mode.as_ref().filter(|_| header.kind != EntryKind::Symlink) {
            let changed = mode.apply(header.mode.into(), header.kind == EntryKind::Directory);
            header.mode = u16::try_from(changed & 0o7777).unwrap_or(header.mode);
        }
    }

    /// A file, or another name of one that the layer has.
    fn file_or_link(&mut self, source: &Source, entry: &Entry, mut header: Header) -> Result<(), Reason> {
        let number = (entry.stat.st_dev, entry.stat.st_ino);
        if let Some(first) = self.names.get(&number).filter(|first| **first != header.path) {
            header.link.clone_from(first);
            header.kind = EntryKind::HardLink;
            return self.begin(header);
        }
        header.xattrs = self.kept_xattrs(source, entry, OFlags::empty());
        let path = header.path.clone();
        self.file(source, entry, header)?;
        if entry.stat.st_nlink > 1 {
            self.numbers.insert(path.clone(), number);
            self.names.insert(number, path);
        }
        Ok(())
    }

    /// Attributes of what comes from a stage or an image; those of the host's files mean nothing in an image.
    fn kept_xattrs(&self, source: &Source, entry: &Entry, kind: OFlags) -> Vec<Xattr> {
        if !self.about.keeps_owners {
            return Vec::new();
        }
        let opened = source.tree.open(&place(source, entry), OFlags::RDONLY | OFlags::NONBLOCK | kind);
        opened.ok().and_then(|file| xattrs(file.as_fd()).ok()).unwrap_or_default()
    }

    fn file(&mut self, source: &Source, entry: &Entry, mut header: Header) -> Result<(), Reason> {
        let mut file = open(source, entry)?;
        let name = String::from_utf8_lossy(&place(source, entry)).into_owned();
        let changed = || format!("`{}` changed while it was read", name.trim_start_matches('/'));
        header.size = u64::try_from(entry.stat.st_size).unwrap_or(0);
        self.begin(header)?;
        let mut hasher = entry.digest.map(|_| Sha256::new());
        while self.writer.missing() > 0 {
            let room = usize::try_from(self.writer.missing()).unwrap_or(CHUNK).min(CHUNK);
            let count =
                file.read(&mut self.buffer[..room]).map_err(|error| format!("read `{name}`: {error}"))?;
            if count == 0 {
                return Err(changed());
            }
            if let Some(hasher) = &mut hasher {
                hasher.update(&self.buffer[..count]);
            }
            self.writer.data(&self.buffer[..count]).map_err(written)?;
        }
        let read: Option<[u8; 32]> = hasher.map(|hasher| hasher.finalize().into());
        if read == entry.digest { Ok(()) } else { Err(changed()) }
    }

    fn text(&mut self, target: Vec<u8>, text: &str) -> Result<(), Reason> {
        self.check_place(&target, false)?;
        let above = target.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at);
        self.directories(&target[..above])?;
        let mut header = Header::new(target, EntryKind::File, 0o644);
        header.mtime = Mtime { seconds: self.about.now, nanoseconds: 0 };
        header.size = text.len() as u64;
        self.adjust(&mut header);
        self.begin(header)?;
        self.writer.data(text.as_bytes()).map_err(written)
    }

    /// Unpacks a source into the destination if it is an archive; says whether it is.
    fn unpack(&mut self, source: &Source, destination: &[u8]) -> Result<bool, Reason> {
        let failed = |error: &dyn std::fmt::Display| {
            format!("unpack `{}`: {error}", String::from_utf8_lossy(&source.name))
        };
        let Some(file) = source.entries.first().filter(|entry| entry.file_type() == FileType::RegularFile)
        else {
            return Ok(false);
        };
        if !is_archive(open(source, file)?) {
            return Ok(false);
        }
        let raw = Hashed::new(open(source, file)?);
        let mut rest = raw.clone();
        let input = decoded(raw).map_err(|error| failed(&error))?;
        let mut reader = Reader::new(input, HEADER_LIMIT);
        self.directories(destination)?;
        while let Some(mut header) = reader.next().map_err(|error| failed(&error))? {
            let Some(path) = inside(&header.path) else { continue };
            if path.is_empty() {
                continue;
            }
            header.path = joined(destination, &path);
            if header.kind == EntryKind::HardLink {
                let link = inside(&header.link).ok_or_else(|| {
                    failed(&format!("`{}` is another name of what is not in it", shown(&header.path)))
                })?;
                header.link = joined(destination, &link);
            }
            self.unpack_entry(header, &mut reader).map_err(|error| failed(&error))?;
        }
        std::io::copy(&mut rest, &mut std::io::sink()).map_err(|error| failed(&error))?;
        // What was unpacked is what its key says.
        match file.digest.is_none_or(|digest| digest == rest.digest()) {
            true => Ok(true),
            false => Err(failed(&"it changed while it was read")),
        }
    }

    fn unpack_entry(&mut self, mut header: Header, reader: &mut Reader<impl Read>) -> Result<(), Reason> {
        if header.kind == EntryKind::Character && header.device == (0, 0) {
            return Err(format!("`{}`: in a layer a device 0:0 would hide something", shown(&header.path)));
        }
        let above = header.path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at);
        let path = header.path.clone();
        self.directories(&path[..above])?;
        if let Some(owner) = self.about.owner {
            (header.uid, header.gid) = owner;
        }
        if header.kind == EntryKind::Directory {
            return self.begin_directory(&path, header);
        }
        let sparse = header.sparse.take();
        self.begin(header)?;
        let mut segments = sparse.into_iter().flatten();
        let (mut segment, mut at) = (segments.next(), 0_u64);
        while let Some(data) = reader.data().map_err(|error| error.to_string())? {
            let mut data = data;
            while let Some(here) = segment.as_ref().filter(|_| !data.is_empty()) {
                at = self.fill(at, here.offset)?;
                let length =
                    usize::try_from(here.offset + here.length - at).unwrap_or(usize::MAX).min(data.len());
                self.writer.data(&data[..length]).map_err(written)?;
                (data, at) = (&data[length..], at + length as u64);
                if at == here.offset + here.length {
                    segment = segments.next();
                }
            }
            self.writer.data(data).map_err(written)?;
        }
        let missing = self.writer.missing();
        self.fill(0, missing).map(drop)
    }

    /// Zeros from one place to another.
    fn fill(&mut self, from: u64, to: u64) -> Result<u64, Reason> {
        let mut left = to.saturating_sub(from);
        while left > 0 {
            let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            self.writer.data(&vec![0; length]).map_err(written)?;
            left -= length as u64;
        }
        Ok(to.max(from))
    }
}

/// In a layer such a name would hide something.
fn check_names(path: &[u8]) -> Result<(), Reason> {
    match path.split(|byte| *byte == b'/').any(|name| name.starts_with(b".wh.")) {
        true => Err(format!("`{}`: a name in a layer cannot begin with `.wh.`", shown(path))),
        false => Ok(()),
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Whether a destination says itself that it is a directory.
fn ends_as_directory(destination: &str) -> bool {
    destination.ends_with('/') || destination.ends_with("/.") || destination == "."
}

fn parts(path: &str) -> impl DoubleEndedIterator<Item = &str> {
    path.split('/').filter(|part| !matches!(*part, "" | "."))
}

fn header_of(path: &[u8], kind: EntryKind, stat: &Stat) -> Header {
    let mut header = Header::new(path.to_vec(), kind, (stat.st_mode & 0o7777) as u16);
    (header.uid, header.gid) = (stat.st_uid, stat.st_gid);
    header.mtime =
        Mtime { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) };
    header.device = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    header
}

/// The path of an archive's entry below the destination; none for one that leads out of it.
fn inside(path: &[u8]) -> Option<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    (!parts.contains(&b"..".as_slice())).then(|| parts.join(&b'/'))
}

fn decoded(file: impl Read + Send + 'static) -> Result<Box<dyn Read>, String> {
    let (form, input) = compression::detect(file).map_err(|error| error.to_string())?;
    let decoder = compression::Decoder::new(form, input).map_err(|error| error.to_string())?;
    Ok(Box::new(decoder))
}

/// A file and the digest of all that was read of it, by whichever of the clones.
#[derive(Clone)]
struct Hashed(Arc<Mutex<(File, Sha256)>>);

impl Hashed {
    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new((file, Sha256::new()))))
    }

    fn digest(&self) -> [u8; 32] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone().finalize().into()
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = inner.0.read(buffer)?;
        inner.1.update(&buffer[..count]);
        Ok(count)
    }
}

/// Whether a file begins as a tar archive does, compressed or not.
fn is_archive(file: File) -> bool {
    let Ok(input) = decoded(file) else { return false };
    let mut head = Vec::new();
    input.take(BLOCK as u64).read_to_end(&mut head).is_ok() && holm_tar::is_archive(&head)
}
