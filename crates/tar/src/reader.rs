//! The archive as a sequence of entries, read through one buffer: data is handed out as slices of it.
//!
//! ```text
//! next() -> entry -> data()* -> next() … next() -> None -> data()* (what follows the end)
//! ```

use std::io::{self, Read};

use crate::error::{Error, Kind, shown};
use crate::header::Header;
use crate::pax::{self, Overrides};
use crate::sparse::{self, LineMap, Progress};
use crate::{BLOCK, Entry, EntryKind, Mtime, Segment};

/// How much is read at once: large enough for few system calls, small enough to stay in the cache
/// between being read, hashed and written.
const BUFFER: usize = 256 << 10;

/// How long all global headers together may be: every entry takes over what they say.
const GLOBAL_LIMIT: usize = 64 << 10;

/// Reads an archive from `R`.
pub struct Reader<R> {
    input: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// Position in the archive of `buffer[start]`.
    position: u64,
    header_limit: usize,
    state: State,
    globals: Overrides,
    global_bytes: usize,
    raw: Vec<u8>,
    /// Entries seen so far, and the name of the last: what messages name.
    count: u64,
    current: Vec<u8>,
    without_mark: bool,
}

/// Where in the archive the reader stands.
enum State {
    /// Before a header, after the padding of the data before.
    Header,
    /// In data: bytes left, and the padding after it.
    Data { left: u64, padding: usize },
    /// After the end.
    End,
}

/// What the headers of one entry said before its own.
#[derive(Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    local: Option<Overrides>,
}

impl Extensions {
    /// Whether an entry must follow.
    fn await_entry(&self) -> bool {
        self.long_path.is_some() || self.long_link.is_some() || self.local.is_some()
    }
}

impl<R: Read> Reader<R> {
    /// A reader that keeps at most `header_limit` bytes of headers for one entry.
    pub fn new(input: R, header_limit: usize) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            position: 0,
            header_limit,
            state: State::Header,
            globals: Overrides::default(),
            global_bytes: 0,
            raw: Vec::new(),
            count: 0,
            current: Vec::new(),
            without_mark: false,
        }
    }

    /// Bytes of the archive that have been taken so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the archive ended without the blocks of zeros that mark its end.
    pub fn ended_early(&self) -> bool {
        self.without_mark
    }

    /// What the last [`next`](Self::next) took from the archive before the data: padding of the entry
    /// before, extension headers, the header, a sparse map; or the blocks that end the archive.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The next slice of the entry's data, or of what follows the end; `None` when there is no more.
    ///
    /// # Errors
    /// [`Kind::Truncated`] if the archive ends inside the data; what reading reports.
    pub fn data(&mut self) -> Result<Option<&[u8]>, Error> {
        let left = match self.state {
            State::Header => return Ok(None),
            State::Data { left, .. } => left,
            State::End => u64::MAX,
        };
        if left == 0 {
            return Ok(None);
        }
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if !self.fill()? {
                return if left == u64::MAX { Ok(None) } else { Err(self.ends_inside("data", left)) };
            }
        }
        let length = (self.end - self.start).min(usize::try_from(left).unwrap_or(usize::MAX));
        if let State::Data { left, .. } = &mut self.state {
            *left -= length as u64;
        }
        let slice = self.start..self.start + length;
        self.advance(length);
        Ok(Some(&self.buffer[slice]))
    }

    /// The next entry; `None` at the end of the archive. Data that was not asked for is skipped.
    ///
    /// # Errors
    /// [`Kind::NotATar`] if the input does not begin as an archive; [`Kind::Truncated`],
    /// [`Kind::Corrupt`], [`Kind::Unsupported`] or [`Kind::TooLong`] for damage, naming the entry and
    /// the byte; what reading reports.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not lend the reader's buffer")]
    pub fn next(&mut self) -> Result<Option<Entry>, Error> {
        while self.data_is_left() {
            self.data()?;
        }
        self.raw.clear();
        self.take_padding()?;
        let offset = self.position;
        let mut extensions = Extensions::default();
        loop {
            let Some(block) = self.block()? else { return self.end_without_mark(&extensions) };
            let header = Header(&block);
            if header.is_zero() {
                return self.end_mark(&extensions);
            }
            if !header.checksum_holds() {
                return Err(self.bad_checksum());
            }
            if !self.extension(header, &mut extensions)? {
                return self.entry(header, offset, extensions).map(Some);
            }
        }
    }

    fn data_is_left(&self) -> bool {
        matches!(self.state, State::Data { left: 1.., .. })
    }

    /// Takes an extension header with its payload; false if `header` is that of an entry.
    fn extension(&mut self, header: Header<'_>, extensions: &mut Extensions) -> Result<bool, Error> {
        let flag = header.type_flag();
        if !matches!(flag, b'L' | b'K' | b'x' | b'X' | b'g' | b'V') {
            return Ok(false);
        }
        let payload = self.payload(header)?;
        match flag {
            b'L' => extensions.long_path = Some(until_nul(payload)),
            b'K' => extensions.long_link = Some(until_nul(payload)),
            b'x' | b'X' => {
                let base = self.globals.clone();
                extensions.local = Some(self.overrides(base, &payload)?);
            }
            b'g' => {
                self.global_bytes += payload.len();
                if self.global_bytes > GLOBAL_LIMIT {
                    return Err(self.fail(Kind::TooLong, "the global headers are too long"));
                }
                let base = std::mem::take(&mut self.globals);
                self.globals = self.overrides(base, &payload)?;
            }
            // A volume's label says nothing about files.
            _ => {}
        }
        Ok(true)
    }

    fn overrides(&self, base: Overrides, payload: &[u8]) -> Result<Overrides, Error> {
        let mut overrides = base;
        for record in pax::records(payload) {
            let key = |record: pax::Record<'_>| {
                format!("the extended header's value of `{}` is invalid", shown(record.0))
            };
            let record =
                record.ok_or_else(|| self.fail(Kind::Corrupt, "an extended header's record is malformed"))?;
            overrides.apply(record).ok_or_else(|| self.fail(Kind::Corrupt, &key(record)))?;
        }
        Ok(overrides)
    }

    /// The payload of an extension header, of bounded length.
    fn payload(&mut self, header: Header<'_>) -> Result<Vec<u8>, Error> {
        let size = self.size(header)?;
        let padded = size.checked_next_multiple_of(BLOCK as u64);
        let length = padded
            .and_then(|padded| usize::try_from(padded).ok())
            .filter(|padded| self.raw.len().saturating_add(*padded) <= self.header_limit)
            .ok_or_else(|| self.fail(Kind::TooLong, "its extension headers are too long"))?;
        let from = self.raw.len();
        while self.raw.len() < from + length {
            if self.block()?.is_none() {
                return Err(self.ends_inside("extension header", (from + length - self.raw.len()) as u64));
            }
        }
        Ok(self.raw[from..from + size as usize].to_vec())
    }

    fn size(&self, header: Header<'_>) -> Result<u64, Error> {
        header
            .size()
            .and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| self.fail(Kind::Corrupt, "its size is no number"))
    }

    /// Decodes the header of an entry and stands before its data.
    fn entry(&mut self, header: Header<'_>, offset: u64, extensions: Extensions) -> Result<Entry, Error> {
        let over = extensions.local.unwrap_or_else(|| self.globals.clone());
        let path = over.path.or(extensions.long_path).unwrap_or_else(|| header.path());
        self.count += 1;
        self.current.clone_from(&path);
        let kind = self.kind(header, &path)?;
        let stored = match kind {
            // As in other readers, only files have data, whatever the size field says.
            EntryKind::File => over.size.map_or_else(|| self.size(header), Ok)?,
            _ => 0,
        };
        if i64::try_from(stored).is_err() {
            return Err(self.fail(Kind::Unsupported, "its size is out of range"));
        }
        let mut entry = Entry {
            offset,
            link: over.link.or(extensions.long_link).unwrap_or_else(|| header.link()),
            kind,
            mode: (self.field(header.mode(), "mode")? & 0o7777) as u16,
            uid: self.owner(over.uid, header.uid(), "user id")?,
            gid: self.owner(over.gid, header.gid(), "group id")?,
            mtime: match over.mtime {
                Some(mtime) => mtime,
                None => Mtime { seconds: self.field(header.mtime(), "modification time")?, nanoseconds: 0 },
            },
            device: self.device(header, kind)?,
            size: stored,
            stored,
            sparse: None,
            xattrs: over.xattrs,
            path,
        };
        self.sparse(header, over.sparse, &mut entry)?;
        self.state = State::Data {
            left: entry.stored,
            padding: (entry.stored.wrapping_neg() % BLOCK as u64) as usize,
        };
        Ok(entry)
    }

    fn kind(&self, header: Header<'_>, path: &[u8]) -> Result<EntryKind, Error> {
        Ok(match header.type_flag() {
            // V7 has no type for directories: their names end in a slash.
            0 if path.ends_with(b"/") => EntryKind::Directory,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' => EntryKind::Character,
            b'4' => EntryKind::Block,
            b'5' => EntryKind::Directory,
            b'6' => EntryKind::Fifo,
            other => {
                let what = format!("its type `{}` is not supported", other.escape_ascii());
                return Err(self.fail(Kind::Unsupported, &what));
            }
        })
    }

    fn field(&self, value: Option<i64>, name: &str) -> Result<i64, Error> {
        value.ok_or_else(|| self.fail(Kind::Corrupt, &format!("its {name} is no number")))
    }

    fn owner(&self, over: Option<u64>, value: Option<i64>, name: &str) -> Result<u32, Error> {
        let owner = match over {
            Some(owner) => u32::try_from(owner).ok(),
            None => u32::try_from(self.field(value, name)?).ok(),
        };
        owner.ok_or_else(|| self.fail(Kind::Unsupported, &format!("its {name} is out of range")))
    }

    /// The numbers of a device: 12 bits of major and 20 of minor are what Linux has.
    fn device(&self, header: Header<'_>, kind: EntryKind) -> Result<(u32, u32), Error> {
        if !matches!(kind, EntryKind::Character | EntryKind::Block) {
            return Ok((0, 0));
        }
        match header.device() {
            Some((major @ 0..0x1000, minor @ 0..0x10_0000)) => Ok((major as u32, minor as u32)),
            Some(_) => Err(self.fail(Kind::Unsupported, "its device number is out of range")),
            None => Err(self.fail(Kind::Corrupt, "its device number is no number")),
        }
    }

    /// Completes a sparse entry: its map, its size with holes, its real name.
    fn sparse(&mut self, header: Header<'_>, pax: pax::Sparse, entry: &mut Entry) -> Result<(), Error> {
        let (map, size) = match (entry.kind, header.type_flag(), &pax) {
            (EntryKind::File, b'S', _) => {
                let size = header.sparse_size().and_then(|size| u64::try_from(size).ok());
                (self.gnu_map(header)?, size)
            }
            (EntryKind::File, _, pax::Sparse { major: Some(1), minor: Some(0), size, .. }) => {
                let map = self.map_before_data(entry)?;
                (map, *size)
            }
            (EntryKind::File, _, pax::Sparse { map: Some(map), size, .. }) => (map.clone(), *size),
            _ => return Ok(()),
        };
        if let Some(name) = pax.name {
            self.current.clone_from(&name);
            entry.path = name;
        }
        let Some(size) = size.filter(|size| sparse::is_valid(&map, *size, entry.stored)) else {
            return Err(self.fail(Kind::Corrupt, "its sparse map is invalid"));
        };
        entry.size = size;
        entry.sparse = Some(map);
        Ok(())
    }

    /// The map of a GNU sparse entry: four pairs in the header, more in blocks after it.
    fn gnu_map(&mut self, header: Header<'_>) -> Result<Vec<Segment>, Error> {
        let mut map = Vec::new();
        let (pairs, mut more) = header.sparse();
        let mut sound = sparse::read_pairs(pairs, &mut map);
        while more && sound {
            let block = self.map_block()?;
            let (pairs, again) = Header(&block).sparse_extension();
            sound = sparse::read_pairs(pairs, &mut map);
            more = again;
        }
        if sound { Ok(map) } else { Err(self.fail(Kind::Corrupt, "its sparse map is malformed")) }
    }

    /// The map that pax 1.0 puts before the data; it counts as data in the archive.
    fn map_before_data(&mut self, entry: &mut Entry) -> Result<Vec<Segment>, Error> {
        let mut lines = LineMap::default();
        loop {
            entry.stored = entry
                .stored
                .checked_sub(BLOCK as u64)
                .ok_or_else(|| self.fail(Kind::Corrupt, "its sparse map is longer than its data"))?;
            let block = self.map_block()?;
            match lines.push(&block) {
                Progress::More => {}
                Progress::Done(map) => return Ok(map),
                Progress::Damaged => return Err(self.fail(Kind::Corrupt, "its sparse map is malformed")),
            }
        }
    }

    fn map_block(&mut self) -> Result<[u8; BLOCK], Error> {
        if self.raw.len() >= self.header_limit {
            return Err(self.fail(Kind::TooLong, "its sparse map is too long"));
        }
        self.block()?.ok_or_else(|| self.ends_inside("sparse map", BLOCK as u64))
    }

    /// The archive ends where a header was expected, without the blocks that mark its end.
    fn end_without_mark(&mut self, extensions: &Extensions) -> Result<Option<Entry>, Error> {
        if extensions.await_entry() {
            return Err(self.ends_inside("extension headers", BLOCK as u64));
        }
        if self.position == 0 {
            return Err(Error::new(Kind::NotATar, "the input is too short for a tar archive"));
        }
        self.without_mark = true;
        self.state = State::End;
        Ok(None)
    }

    /// One block of zeros was read: a second one ends the archive.
    fn end_mark(&mut self, extensions: &Extensions) -> Result<Option<Entry>, Error> {
        if extensions.await_entry() {
            return Err(self.fail(Kind::Corrupt, "extension headers stand before the end of the archive"));
        }
        match self.block()? {
            Some(block) if Header(&block).is_zero() => {}
            // A lone block of zeros, and then nothing, is a mark that other readers take as well.
            None => {}
            Some(_) => {
                return Err(self.fail(Kind::Corrupt, "a single block of zeros stands before another entry"));
            }
        }
        self.state = State::End;
        Ok(None)
    }

    fn bad_checksum(&self) -> Error {
        if self.count == 0 && self.position <= BLOCK as u64 {
            return Error::new(
                Kind::NotATar,
                "the input is not a tar archive: its first header has no valid checksum",
            );
        }
        self.fail(Kind::Corrupt, "a header's checksum does not match")
    }

    fn take_padding(&mut self) -> Result<(), Error> {
        let State::Data { padding, .. } = self.state else { return Ok(()) };
        if !self.have(padding)? {
            return Err(self.ends_inside("padding", (padding - (self.end - self.start)) as u64));
        }
        self.raw.extend_from_slice(&self.buffer[self.start..self.start + padding]);
        self.advance(padding);
        self.state = State::Header;
        Ok(())
    }

    /// The next block, which is remembered as raw; `None` where the input ends.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        if !self.have(BLOCK)? {
            return match self.end - self.start {
                0 => Ok(None),
                _ if self.count == 0 && self.position == 0 => {
                    Err(Error::new(Kind::NotATar, "the input is too short for a tar archive"))
                }
                left => Err(self.ends_inside("header", (BLOCK - left) as u64)),
            };
        }
        let bytes = &self.buffer[self.start..self.start + BLOCK];
        let mut block = [0; BLOCK];
        block.copy_from_slice(bytes);
        self.raw.extend_from_slice(&block);
        self.advance(BLOCK);
        Ok(Some(block))
    }

    fn advance(&mut self, length: usize) {
        self.start += length;
        self.position += length as u64;
    }

    /// Makes `length` bytes (few) lie together in the buffer; false if the input ends before.
    fn have(&mut self, length: usize) -> Result<bool, Error> {
        while self.end - self.start < length {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads more behind what the buffer holds; false where the input ends.
    fn fill(&mut self) -> Result<bool, Error> {
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let at = self.position + (self.end - self.start) as u64;
                    return Err(Error::read(
                        format!("reading the archive at byte {at}{}", self.after()),
                        error,
                    ));
                }
            }
        }
    }

    fn after(&self) -> String {
        if self.count == 0 {
            return String::new();
        }
        format!(" (entry {} `{}`)", self.count, shown(&self.current))
    }

    fn fail(&self, kind: Kind, what: &str) -> Error {
        let after = if self.count == 0 { String::new() } else { format!(", at or after{}", self.after()) };
        Error::new(kind, format!("the tar archive is not usable at byte {}: {what}{after}", self.position))
    }

    fn ends_inside(&self, part: &str, missing: u64) -> Error {
        let at = self.position + (self.end - self.start) as u64;
        let what = format!(
            "the tar archive ends at byte {at} inside the {part}{}, {missing} bytes short",
            self.after()
        );
        Error::new(Kind::Truncated, what)
    }
}

fn until_nul(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    text.truncate(end);
    text
}
