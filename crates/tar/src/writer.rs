//! Writing archives: ustar headers, before them pax records for whatever a header cannot say.
//!
//! The same entries give the same bytes. Numbers that fit are octal; a name, link, owner, size or time that does not fit,
//! and extended attributes (`SCHILY.xattr.`), go into records of their own.

use std::io::{self, Write};

use crate::{BLOCK, Entry, EntryKind, Mtime};

/// Largest numbers of octal fields of 8 and of 12 bytes, the last of which ends them.
const SMALL: u64 = 0o7_777_777;
const LARGE: u64 = 0o77_777_777_777;
/// Longest name and link of a header.
const NAME: usize = 100;
/// Longest part of a name that a header puts before it.
const PREFIX: usize = 155;

/// Writes an archive to `W`.
///
/// ```text
/// entry() -> data()* -> entry() … finish()
/// ```
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    /// Bytes that the entry's data still lacks.
    left: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// A writer of an archive that is still empty.
    pub fn new(output: W) -> Self {
        Self { output, left: 0, padding: 0 }
    }

    /// Begins an entry; `size` bytes of data must follow if it is a file. Of the entry's size, what is stored and the map
    /// of a sparse file nothing is read but `size`.
    ///
    /// # Errors
    /// What writing reports; `InvalidInput` if data of the entry before is missing.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.end_data()?;
        let size = if entry.kind == EntryKind::File { entry.size } else { 0 };
        let records = records(entry, size);
        if !records.is_empty() {
            let mut header = Entry::new(b"pax".to_vec(), EntryKind::File, 0o644);
            header.size = records.len() as u64;
            self.output.write_all(&block(&header, header.size, b'x'))?;
            self.output.write_all(&records)?;
            self.pad(header.size)?;
        }
        self.output.write_all(&block(entry, size, type_flag(entry.kind)))?;
        (self.left, self.padding) = (size, padding(size));
        Ok(())
    }

    /// Writes data of the entry.
    ///
    /// # Errors
    /// What writing reports; `InvalidInput` for more than its size.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "an entry has more data than it said")
        })?;
        self.output.write_all(bytes)
    }

    /// Bytes that the entry's data still lacks.
    pub fn missing(&self) -> u64 {
        self.left
    }

    /// Ends the archive, and gives the output back.
    ///
    /// # Errors
    /// As [`Writer::entry`].
    pub fn finish(mut self) -> io::Result<W> {
        self.end_data()?;
        self.output.write_all(&[0; 2 * BLOCK])?;
        self.output.flush()?;
        Ok(self.output)
    }

    fn end_data(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an entry has less data than it said"));
        }
        let padding = std::mem::take(&mut self.padding);
        self.output.write_all(&[0; BLOCK][..padding])
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        self.output.write_all(&[0; BLOCK][..padding(size)])
    }
}

fn padding(size: u64) -> usize {
    (size.wrapping_neg() % BLOCK as u64) as usize
}

fn type_flag(kind: EntryKind) -> u8 {
    match kind {
        EntryKind::File => b'0',
        EntryKind::HardLink => b'1',
        EntryKind::Symlink => b'2',
        EntryKind::Character => b'3',
        EntryKind::Block => b'4',
        EntryKind::Directory => b'5',
        EntryKind::Fifo => b'6',
    }
}

/// Where a name is split into the header's prefix and name; `None` where it does not fit.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let at =
        path[..path.len().min(PREFIX + 1)].iter().rposition(|byte| *byte == b'/').filter(|at| *at > 0)?;
    let name = &path[at + 1..];
    (!name.is_empty() && name.len() <= NAME).then(|| (&path[..at], name))
}

/// What the header of an entry cannot say.
fn records(entry: &Entry, size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    if split(&entry.path).is_none() {
        record(&mut records, b"path", &entry.path);
    }
    if entry.link.len() > NAME {
        record(&mut records, b"linkpath", &entry.link);
    }
    for (key, value, limit) in
        [("size", size, LARGE), ("uid", entry.uid.into(), SMALL), ("gid", entry.gid.into(), SMALL)]
    {
        if value > limit {
            record(&mut records, key.as_bytes(), value.to_string().as_bytes());
        }
    }
    if let Some(time) = long_time(entry.mtime) {
        record(&mut records, b"mtime", time.as_bytes());
    }
    for (name, value) in &entry.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

/// A time that is not a number of whole seconds since 1970 that fits.
fn long_time(mtime: Mtime) -> Option<String> {
    let Mtime { seconds, nanoseconds } = mtime;
    if nanoseconds == 0 {
        let fits = u64::try_from(seconds).is_ok_and(|seconds| seconds <= LARGE);
        return (!fits).then(|| seconds.to_string());
    }
    // Before 1970 the fraction counts the other way.
    let (sign, whole, fraction) = match seconds {
        0.. => ("", seconds.unsigned_abs(), nanoseconds),
        _ => ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds),
    };
    Some(format!("{sign}{whole}.{fraction:09}").trim_end_matches('0').to_owned())
}

/// `length key=value\n`, where the length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ".as_slice(), key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn block(entry: &Entry, size: u64, type_flag: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let (prefix, name) = split(&entry.path).unwrap_or_else(|| (b"", &entry.path[..NAME]));
    put(&mut block[..NAME], name);
    octal(&mut block[100..108], entry.mode.into());
    octal(&mut block[108..116], u64::from(entry.uid).min(SMALL));
    octal(&mut block[116..124], u64::from(entry.gid).min(SMALL));
    octal(&mut block[124..136], size.min(LARGE));
    octal(&mut block[136..148], u64::try_from(entry.mtime.seconds).unwrap_or(0).min(LARGE));
    block[156] = type_flag;
    put(&mut block[157..257], &entry.link[..entry.link.len().min(NAME)]);
    put(&mut block[257..265], b"ustar\x0000");
    octal(&mut block[329..337], entry.device.0.into());
    octal(&mut block[337..345], entry.device.1.into());
    put(&mut block[345..500], prefix);
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut block[148..156], format!("{sum:06o}\0 ").as_bytes());
    block
}

fn put(field: &mut [u8], bytes: &[u8]) {
    field[..bytes.len()].copy_from_slice(bytes);
}

/// Digits to the field's last byte, which ends them.
fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    put(field, format!("{value:0width$o}").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    fn written(entries: &[(Entry, &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (entry, data) in entries {
            writer.entry(entry).expect("a header");
            writer.data(data).expect("as much as it said");
        }
        writer.finish().expect("complete")
    }

    /// Everything that a reader takes from an archive.
    fn read(archive: &[u8]) -> Vec<(Entry, Vec<u8>)> {
        let mut reader = Reader::new(archive, 1 << 20);
        let mut found = Vec::new();
        while let Some(mut entry) = reader.next().expect("it is sound") {
            let mut data = Vec::new();
            while let Some(bytes) = reader.data().expect("it is complete") {
                data.extend_from_slice(bytes);
            }
            (entry.offset, entry.stored) = (0, 0);
            found.push((entry, data));
        }
        assert!(!reader.ended_early());
        found
    }

    #[test]
    fn what_is_written_is_read() {
        let mut plain = Entry::new(b"etc/motd".to_vec(), EntryKind::File, 0o4755);
        (plain.size, plain.uid, plain.gid) = (5, 1000, 100);
        plain.mtime = Mtime { seconds: 1_700_000_000, nanoseconds: 0 };
        let mut odd = Entry::new([b"d/".repeat(200), b"f".to_vec()].concat(), EntryKind::File, 0o600);
        (odd.size, odd.uid, odd.gid) = (512, u32::MAX - 1, 3_000_000);
        odd.mtime = Mtime { seconds: -2, nanoseconds: 250_000_000 };
        odd.xattrs = vec![(b"security.capability".to_vec(), vec![1, 0, b'\n', 255])];
        let mut link = Entry::new(b"l".to_vec(), EntryKind::Symlink, 0o777);
        link.link = vec![b'x'; 300];
        link.mtime = Mtime { seconds: 7, nanoseconds: 1 };
        let mut device = Entry::new(b"dev/null".to_vec(), EntryKind::Character, 0o666);
        device.device = (1, 3);
        let directory = Entry::new(
            [vec![b'p'; 120], b"/".to_vec(), vec![b'n'; 90]].concat(),
            EntryKind::Directory,
            0o1777,
        );
        let block = [9; 512];
        let entries =
            [(plain, &b"hello"[..]), (odd, &block[..]), (link, b""), (device, b""), (directory, b"")];
        let found = read(&written(&entries));
        let expected: Vec<_> = entries.into_iter().map(|(entry, data)| (entry, data.to_vec())).collect();
        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
    }

    #[test]
    fn names_are_split_where_they_fit() {
        assert_eq!(split(&[b'a'; 100]), Some((&b""[..], &[b'a'; 100][..])));
        assert_eq!(split(&[b'a'; 101]), None);
        let path = [vec![b'p'; 155], b"/".to_vec(), vec![b'n'; 100]].concat();
        assert_eq!(split(&path).map(|(prefix, name)| (prefix.len(), name.len())), Some((155, 100)));
        assert_eq!(split(&[b"/".to_vec(), vec![b'n'; 120]].concat()), None);
        assert_eq!(split(&[vec![b'p'; 120], b"/".to_vec()].concat()), None);
    }

    #[test]
    fn lengths_of_records_count_themselves() {
        let mut records = Vec::new();
        record(&mut records, b"k", b"v");
        record(&mut records, b"key", &[b'v'; 92]);
        record(&mut records, b"key", &[b'v'; 91]);
        let lengths: Vec<_> =
            crate::pax::records(&records).map(|record| record.map(|(_, value)| value.len())).collect();
        assert_eq!(lengths, [Some(1), Some(92), Some(91)]);
        assert!(records.starts_with(b"6 k=v\n"));
    }

    #[test]
    fn data_is_as_long_as_its_entry_says() {
        let mut entry = Entry::new(b"f".to_vec(), EntryKind::File, 0o644);
        entry.size = 3;
        let mut writer = Writer::new(Vec::new());
        writer.entry(&entry).expect("a header");
        assert!(writer.data(b"four").is_err());
        writer.data(b"ab").expect("less");
        assert_eq!(writer.missing(), 1);
        assert!(writer.entry(&entry).is_err());
    }
}
