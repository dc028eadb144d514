//! Snapshots: a machine's memory and devices in a file.
//!
//! ```text
//! 0     magic `HOLMSNAP`
//! 8     version, 32 bits
//! 12    length of the identity, 32 bits
//! 16    length of the stream in bytes, 64 bits
//! 24    CRC-32 of the stream
//! 28    CRC-32 of the bytes before this one and of the identity
//! 32    the identity: what the machine was, in JSON
//! 4096  the stream, in the back end's own form
//! ```
//!
//! Numbers have their lowest byte first. The head is written last, so a file is no snapshot before it is whole. Another
//! machine, another version, a file that was cut or a damaged head are refused before a back end sees anything. The
//! stream is read once, on its way to the back end: where it is damaged the machine ends before it runs.
//!
//! What the disks hold is not part of it: whoever restores brings the scratch disk as it was when the snapshot was taken.
//! Network devices have new ends on the host, and the addresses that they had.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use holm_spec::machine::Accelerator;
use holm_spec::platform::Platform;
use serde::{Deserialize, Serialize};

use crate::disk::Mark;
use crate::machine::{Description, Tap};
use crate::{Error, Result};

/// Version of the form of the file.
const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"HOLMSNAP";
/// Bytes in front of the identity.
const FIXED: usize = 32;
/// Where the stream begins.
const STREAM: usize = 4096;
/// Bytes that are copied in one go.
const CHUNK: usize = 256 * 1024;
/// What a stream may have beyond twice the memory: the devices.
const DEVICES_LIMIT: u64 = 64 << 20;

/// What a machine is that a snapshot belongs to; small, whatever the machine has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Name and version of what runs the machine, which alone can read the stream.
    pub back_end: String,
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// What the guest's processor is.
    pub platform: Platform,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel.
    pub kernel: Mark,
    /// The guest's first root.
    pub initrd: Mark,
    /// A checksum of the words for the kernel.
    pub command_line: u32,
    /// The disk with the layers: its size, and the beginnings of its files.
    pub layers: Option<Mark>,
    /// Bytes of the disk for what workloads write.
    pub scratch: Option<u64>,
    /// A checksum of the hardware addresses and largest packets of its network devices.
    #[serde(default)]
    pub network: u32,
}

/// What is needed to tell an [`Identity`], which takes reading the kernel: not done before a snapshot is wanted.
#[derive(Debug)]
pub struct Subject {
    accelerator: Accelerator,
    platform: Platform,
    cpus: u32,
    memory: u64,
    kernel: PathBuf,
    initrd: PathBuf,
    command_line: u32,
    layers: Option<Mark>,
    scratch: Option<u64>,
    network: u32,
    has_shares: bool,
}

impl Subject {
    /// What is described.
    ///
    /// # Errors
    /// A disk cannot be read.
    pub fn new(description: &Description) -> Result<Self> {
        let scratch = description.scratch.as_ref().map(|disk| {
            let stat =
                rustix::fs::fstat(disk).map_err(|errno| Error::caused("look at the scratch disk", errno))?;
            Ok(u64::try_from(stat.st_size).unwrap_or(0))
        });
        Ok(Self {
            accelerator: description.accelerator,
            platform: description.platform.clone(),
            cpus: description.cpus,
            memory: description.memory,
            kernel: description.kernel.clone(),
            initrd: description.initrd.clone(),
            command_line: crc32fast::hash(description.command_line.as_bytes()),
            layers: description.layers.as_ref().map(crate::disk::Layers::mark).transpose()?,
            scratch: scratch.transpose()?,
            network: network(&description.taps),
            has_shares: description.shares.is_some(),
        })
    }

    /// Whether it can have snapshots at all.
    ///
    /// # Errors
    /// It cannot: another process knows what the guest has open in directories of the host.
    pub fn check_shares(&self) -> Result<()> {
        if !self.has_shares {
            return Ok(());
        }
        let cause =
            "directories of the host are shared with it, and what the guest has open there cannot be kept";
        Err(Error::new(cause).with_hint("run it without volumes"))
    }

    /// What it is, on a back end of this name and version.
    ///
    /// # Errors
    /// The kernel or the first root cannot be read.
    pub fn identity(&self, back_end: String) -> Result<Identity> {
        Ok(Identity {
            back_end,
            accelerator: self.accelerator,
            platform: self.platform.clone(),
            cpus: self.cpus,
            memory: self.memory,
            kernel: mark(&self.kernel)?,
            initrd: mark(&self.initrd)?,
            command_line: self.command_line,
            layers: self.layers,
            scratch: self.scratch,
            network: self.network,
        })
    }

    /// Bytes of the disk with the layers.
    pub fn layers_size(&self) -> u64 {
        self.layers.map_or(0, |layers| layers.size)
    }

    /// Longest stream in bytes. A machine that stands still has each page of its memory once.
    pub fn stream_limit(&self) -> u64 {
        self.memory.saturating_mul(2).saturating_add(DEVICES_LIMIT)
    }
}

/// Zero for no devices.
fn network(taps: &[Tap]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    for tap in taps {
        sum.update(&tap.hardware.0);
        sum.update(&tap.mtu.unwrap_or(0).to_le_bytes());
    }
    sum.finalize()
}

fn mark(path: &Path) -> Result<Mark> {
    let read = || -> std::io::Result<Mark> {
        let mut sum = Sum::default();
        std::io::copy(&mut File::open(path)?, &mut sum)?;
        Ok(Mark { size: sum.length, checksum: sum.hasher.finalize() })
    };
    read().map_err(|error| Error::caused(format!("read `{}`", path.display()), error))
}

/// Length and checksum of what is written to it.
#[derive(Default)]
struct Sum {
    length: u64,
    hasher: crc32fast::Hasher,
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A snapshot that is being written.
pub struct Writer {
    file: File,
    sum: Sum,
}

impl Writer {
    /// Empties `file`, which must be a regular one that can be read and written.
    ///
    /// # Errors
    /// It is something else.
    pub fn new(file: BorrowedFd<'_>) -> Result<Self> {
        let file = own(file)?;
        file.set_len(0).map_err(|error| Error::caused("empty the file of the snapshot", error))?;
        Ok(Self { file, sum: Sum::default() })
    }

    /// Takes the stream to its end, of at most `limit` bytes.
    ///
    /// # Errors
    /// The stream stalls or is too long; the file takes no more.
    pub fn take(&mut self, stream: &mut impl Read, limit: u64) -> Result<()> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = read_some(stream, &mut buffer)
                .map_err(|error| Error::caused("read the machine's memory", error))?;
            if length == 0 {
                return Ok(());
            }
            if self.sum.length + length as u64 > limit {
                return Err(Error::new("the back end writes more than a machine of this size has"));
            }
            let place = STREAM as u64 + self.sum.length;
            self.file
                .write_all_at(&buffer[..length], place)
                .and_then(|()| self.sum.write_all(&buffer[..length]))
                .map_err(|error| Error::caused("write the snapshot", error))?;
        }
    }

    /// Makes it a snapshot.
    ///
    /// # Errors
    /// The file takes no more.
    pub fn finish(self, identity: &Identity) -> Result<()> {
        let head = head(identity, self.sum.length, self.sum.hasher.finalize())?;
        self.file
            .write_all_at(&head, 0)
            .map_err(|error| Error::caused("write the head of the snapshot", error))
    }
}

fn own(file: BorrowedFd<'_>) -> Result<File> {
    let copy = crate::qemu::copy(file)?;
    Ok(File::from(copy))
}

fn read_some(stream: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn head(identity: &Identity, stream: u64, checksum: u32) -> Result<Vec<u8>> {
    let identity = serde_json::to_vec(identity).expect("an identity is plain data");
    if FIXED + identity.len() > STREAM {
        return Err(Error::new("write the head of the snapshot: what describes the machine is too long"));
    }
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&u32::try_from(identity.len()).expect("it was compared").to_le_bytes());
    head.extend_from_slice(&stream.to_le_bytes());
    head.extend_from_slice(&checksum.to_le_bytes());
    head.extend_from_slice(&head_checksum(&head, &identity).to_le_bytes());
    head.extend_from_slice(&identity);
    Ok(head)
}

fn head_checksum(front: &[u8], identity: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(front);
    hasher.update(identity);
    hasher.finalize()
}

/// A snapshot that can be restored, as far as its head tells.
pub struct Reader {
    file: File,
    length: u64,
    checksum: u32,
    identity: Identity,
}

impl Reader {
    /// Reads the head.
    ///
    /// # Errors
    /// The file is no snapshot, not whole, or of another version.
    pub fn open(file: BorrowedFd<'_>) -> Result<Self> {
        let failed = |error: std::io::Error| Error::caused("read the snapshot", error);
        let file = own(file)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut start = vec![0; usize::try_from(size).unwrap_or(STREAM).min(STREAM)];
        file.read_exact_at(&mut start, 0).map_err(failed)?;
        let (length, checksum, identity) = parse(&start)?;
        let whole = (STREAM as u64).checked_add(length);
        if whole != Some(size) {
            let message = format!("the snapshot is not whole: {size} bytes are not its head and {length}");
            return Err(Error::new(message));
        }
        Ok(Self { file, length, checksum, identity })
    }

    /// Whether it is of the machine that is described.
    ///
    /// # Errors
    /// It is of another one.
    pub fn check(&self, wanted: &Identity) -> Result<()> {
        difference(&self.identity, wanted).map_or(Ok(()), |(name, had, has)| {
            let message = format!("the snapshot is of another machine: its `{name}` was {had} and is {has}");
            Err(Error::new(message))
        })
    }

    /// Gives the stream to the back end, each byte once.
    ///
    /// # Errors
    /// The back end takes no more; the stream is damaged, which is known only at its end.
    pub fn give(&self, stream: &mut impl Write) -> Result<()> {
        let mut hasher = crc32fast::Hasher::new();
        let mut buffer = vec![0; CHUNK];
        let mut given = 0;
        while given < self.length {
            let part = usize::try_from(self.length - given).unwrap_or(CHUNK).min(CHUNK);
            self.file
                .read_exact_at(&mut buffer[..part], STREAM as u64 + given)
                .map_err(|error| Error::caused("read the snapshot", error))?;
            hasher.update(&buffer[..part]);
            stream
                .write_all(&buffer[..part])
                .map_err(|error| Error::caused("give the machine its memory", error))?;
            given += part as u64;
        }
        if hasher.finalize() == self.checksum { Ok(()) } else { Err(damaged()) }
    }
}

fn damaged() -> Error {
    Error::new("the snapshot is damaged: its checksum is another one")
}

/// Length and checksum of the stream, and the identity.
fn parse(start: &[u8]) -> Result<(u64, u32, Identity)> {
    let cut = || Error::new("the file is no snapshot");
    let front: &[u8; FIXED] = start.first_chunk().ok_or_else(cut)?;
    if !front.starts_with(MAGIC) {
        return Err(cut());
    }
    let number = |at: usize| u32::from_le_bytes([front[at], front[at + 1], front[at + 2], front[at + 3]]);
    let version = number(8);
    if version != VERSION {
        let message = format!("the snapshot has version {version}, and this Holm reads version {VERSION}");
        return Err(Error::new(message));
    }
    let end = FIXED.saturating_add(usize::try_from(number(12)).unwrap_or(usize::MAX));
    let identity = start.get(FIXED..end).ok_or_else(damaged)?;
    if head_checksum(&front[..28], identity) != number(28) {
        return Err(damaged());
    }
    let identity = serde_json::from_slice(identity)
        .map_err(|error| Error::caused("read the head of the snapshot", error))?;
    Ok((u64::from(number(16)) | u64::from(number(20)) << 32, number(24), identity))
}

/// The first part in which two differ, with both values.
fn difference(had: &Identity, has: &Identity) -> Option<(String, String, String)> {
    let document = |identity| serde_json::to_value(identity).expect("an identity is plain data");
    let (had, has) = (document(had), document(has));
    let parts = has.as_object()?;
    let (name, value) = parts.iter().find(|(name, value)| had.get(name.as_str()) != Some(value))?;
    Some((name.clone(), had[name].to_string(), value.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn identity() -> Identity {
        let mark = Mark { size: 9, checksum: 8 };
        Identity {
            back_end: "tester 1".to_owned(),
            accelerator: Accelerator::Tcg,
            platform: Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() },
            cpus: 2,
            memory: 1 << 20,
            kernel: mark,
            initrd: mark,
            command_line: 7,
            layers: Some(mark),
            scratch: None,
            network: 0,
        }
    }

    fn snapshot(stream: &[u8]) -> File {
        let file = tempfile::tempfile().expect("a file");
        let mut writer = Writer::new(file.as_fd()).expect("a regular file");
        writer.take(&mut &stream[..], 1 << 20).expect("taken");
        writer.finish(&identity()).expect("finished");
        file
    }

    fn error_of(file: &File) -> String {
        Reader::open(file.as_fd()).err().expect("refused").to_string()
    }

    #[test]
    fn what_is_given_is_what_was_taken() {
        let file = snapshot(&[5; 300_000]);
        let reader = Reader::open(file.as_fd()).expect("a snapshot");
        reader.check(&identity()).expect("the same machine");
        let mut given = Vec::new();
        reader.give(&mut given).expect("whole");
        assert_eq!(given, [5; 300_000]);
    }

    #[test]
    fn the_form_of_the_head_stays() {
        let head = head(&identity(), 0x1234, 0x5678).expect("it fits");
        assert_eq!(crc32fast::hash(&head), 0xb3ae_73ea, "{}", String::from_utf8_lossy(&head[FIXED..]));
    }

    #[test]
    fn another_machine_is_refused_by_the_part_that_differs() {
        let file = snapshot(b"stream");
        let reader = Reader::open(file.as_fd()).expect("a snapshot");
        let other = Identity { cpus: 1, ..identity() };
        let error = reader.check(&other).expect_err("another machine").to_string();
        assert_eq!(error, "the snapshot is of another machine: its `cpus` was 2 and is 1");
    }

    #[test]
    fn every_damaged_byte_is_found() {
        let mut bytes = Vec::new();
        let whole = snapshot(b"stream");
        let mut reader = Reader::open(whole.as_fd()).expect("a snapshot").file;
        std::io::Seek::rewind(&mut reader).expect("a regular file");
        reader.read_to_end(&mut bytes).expect("read");
        let used = bytes.iter().take(STREAM).rposition(|byte| *byte != 0).expect("a head");
        for place in (0..=used).chain(STREAM..bytes.len()) {
            whole.write_all_at(&[bytes[place] ^ 1], place as u64).expect("written");
            let result = Reader::open(whole.as_fd()).and_then(|reader| reader.give(&mut Vec::new()));
            assert!(result.is_err(), "byte {place}");
            whole.write_all_at(&bytes[place..=place], place as u64).expect("written");
        }
        assert!(Reader::open(whole.as_fd()).is_ok());
    }

    #[test]
    fn what_is_no_whole_snapshot_is_refused() {
        let empty = tempfile::tempfile().expect("a file");
        assert_eq!(error_of(&empty), "the file is no snapshot");
        let unfinished = tempfile::tempfile().expect("a file");
        Writer::new(unfinished.as_fd()).and_then(|mut writer| writer.take(&mut &b"s"[..], 9)).expect("taken");
        assert_eq!(error_of(&unfinished), "the file is no snapshot");
        let cut = snapshot(b"stream");
        cut.set_len(STREAM as u64 + 5).expect("cut");
        assert_eq!(error_of(&cut), "the snapshot is not whole: 4101 bytes are not its head and 6");
        cut.set_len(40).expect("cut");
        assert_eq!(error_of(&cut), "the snapshot is damaged: its checksum is another one");
        let new = snapshot(b"stream");
        new.write_all_at(&[2], 8).expect("written");
        assert_eq!(error_of(&new), "the snapshot has version 2, and this Holm reads version 1");
    }

    #[test]
    fn a_stream_beyond_its_limit_is_refused() {
        let file = tempfile::tempfile().expect("a file");
        let mut writer = Writer::new(file.as_fd()).expect("a regular file");
        assert!(writer.take(&mut std::io::repeat(1), 1 << 20).is_err());
    }
}
