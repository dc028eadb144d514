//! What a layer's image does not hold of its tar archive: headers, padding and order, so that both
//! together give the archive back bit for bit.
//!
//! A file is a zstd stream of a magic number with the version, and records:
//!
//! ```text
//! "holm tarmeta 1\n"
//! 1 length bytes…     these bytes of the archive
//! 2 gap length        bytes of the archive that are in the image: they begin `gap` bytes (signed)
//!                     after the block boundary that follows the end of the run before
//! 0                   the end
//! ```
//! Numbers are LEB128. Data of files, the bulk, follows from block boundary to block boundary, so that
//! `gap` is nearly always zero. Data that the image does not keep is recorded as bytes.

use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use sha2::{Digest, Sha256};

use crate::erofs::{BLOCK, Image};
use holm_tar::{Error, Kind};

const MAGIC: &[u8] = b"holm tarmeta 1\n";
const END: u8 = 0;
const BYTES: u8 = 1;
const DATA: u8 = 2;
/// Headers are repetitive: the fastest level already leaves little.
const LEVEL: i32 = 1;
/// The largest window that is accepted when reading: 8 MiB.
const WINDOW_LOG: u32 = 23;
const BUFFER: usize = 256 << 10;

/// Records an archive as it is read.
pub struct Recorder<W: Write> {
    out: BufWriter<zstd::stream::write::Encoder<'static, W>>,
    /// A run of data not yet written: where it began in the image, and its length.
    run: Option<(u64, u64)>,
    end: u64,
}

impl<W: Write> Recorder<W> {
    /// A recorder that writes to `out`.
    ///
    /// # Errors
    /// [`Kind::NoSpace`] and [`Kind::Io`] from `out`.
    pub fn new(out: W) -> Result<Self, Error> {
        let encoder = zstd::stream::write::Encoder::new(out, LEVEL).map_err(written)?;
        let mut out = BufWriter::with_capacity(BUFFER / 4, encoder);
        out.write_all(MAGIC).map_err(written)?;
        Ok(Self { out, run: None, end: 0 })
    }

    /// The next bytes of the archive are these.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.end_run()?;
        self.record(BYTES, &[bytes.len() as u64])?;
        self.out.write_all(bytes).map_err(written)
    }

    /// The next `length` bytes of the archive are those in the image at `offset`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn data(&mut self, offset: u64, length: u64) -> Result<(), Error> {
        match &mut self.run {
            _ if length == 0 => Ok(()),
            Some((start, run)) if *start + *run == offset => {
                *run += length;
                Ok(())
            }
            _ => {
                self.end_run()?;
                self.run = Some((offset, length));
                Ok(())
            }
        }
    }

    fn end_run(&mut self) -> Result<(), Error> {
        let Some((offset, length)) = self.run.take() else { return Ok(()) };
        let gap = offset.wrapping_sub(self.end.next_multiple_of(BLOCK)) as i64;
        self.end = offset + length;
        self.record(DATA, &[zigzag(gap), length])
    }

    fn record(&mut self, tag: u8, numbers: &[u64]) -> Result<(), Error> {
        let mut bytes = [0; 21];
        bytes[0] = tag;
        let mut length = 1;
        for number in numbers {
            length += encode_number(*number, &mut bytes[length..]);
        }
        self.out.write_all(&bytes[..length]).map_err(written)
    }

    /// Ends the file, which is not synced.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn finish(mut self) -> Result<(), Error> {
        self.end_run()?;
        self.record(END, &[])?;
        let encoder = self.out.into_inner().map_err(|error| written(error.into_error()))?;
        encoder.finish().and_then(|mut out| out.flush()).map_err(written)
    }
}

fn written(source: io::Error) -> Error {
    Error::write("writing the layer's tar metadata", source)
}

/// What a layer's archive is known to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The sha256 of the archive: the layer's diff-id.
    pub diff_id: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
}

/// Writes to `out` the archive from which `image` and `tarmeta` were made.
///
/// # Errors
/// [`Kind::Corrupt`] or [`Kind::Truncated`] if they do not give the archive that is `expected`; what
/// was written to `out` by then must be thrown away. [`Kind::NoSpace`] and [`Kind::Io`] from `out`.
pub fn restore_tar(
    image: &Image,
    tarmeta: impl Read,
    out: impl Write,
    expected: &Expected,
) -> Result<(), Error> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::with_capacity(BUFFER, tarmeta))
        .map_err(|source| Error::read("setting up the zstd decoder", source))?;
    decoder
        .window_log_max(WINDOW_LOG)
        .map_err(|source| Error::read("setting up the zstd decoder", source))?;
    let mut input = BufReader::with_capacity(BUFFER, decoder);
    let mut sink = Sink { out, hash: Sha256::new(), left: expected.size };
    let mut magic = [0; MAGIC.len()];
    input.read_exact(&mut magic).map_err(read)?;
    if magic != MAGIC {
        return Err(damaged("it has another version or is none"));
    }
    let mut end = 0;
    while let Some(record) = next_record(&mut input, &mut end)? {
        match record {
            Record::Bytes(length) => copy_bytes(&mut input, length, &mut sink)?,
            Record::Data { offset, length } => copy_data(image, offset, length, &mut sink)?,
        }
    }
    sink.finish(expected)
}

enum Record {
    Bytes(u64),
    Data { offset: u64, length: u64 },
}

fn next_record(input: &mut impl Read, end: &mut u64) -> Result<Option<Record>, Error> {
    let mut tag = [0];
    input.read_exact(&mut tag).map_err(read)?;
    match tag[0] {
        END => Ok(None),
        BYTES => Ok(Some(Record::Bytes(decode_number(input)?))),
        DATA => {
            let gap = unzigzag(decode_number(input)?);
            let length = decode_number(input)?;
            let offset = end.checked_next_multiple_of(BLOCK).and_then(|start| start.checked_add_signed(gap));
            let offset = offset.ok_or_else(|| damaged("an offset overflows"))?;
            *end = offset.checked_add(length).ok_or_else(|| damaged("a length overflows"))?;
            Ok(Some(Record::Data { offset, length }))
        }
        _ => Err(damaged("a record has an unknown type")),
    }
}

fn copy_bytes<W: Write>(input: &mut impl BufRead, mut length: u64, sink: &mut Sink<W>) -> Result<(), Error> {
    while length > 0 {
        let available = input.fill_buf().map_err(read)?;
        if available.is_empty() {
            return Err(read(io::ErrorKind::UnexpectedEof.into()));
        }
        let now = available.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        sink.write(&available[..now])?;
        input.consume(now);
        length -= now as u64;
    }
    Ok(())
}

fn copy_data<W: Write>(
    image: &Image,
    mut offset: u64,
    mut length: u64,
    sink: &mut Sink<W>,
) -> Result<(), Error> {
    let mut buffer = vec![0; BUFFER.min(usize::try_from(length).unwrap_or(BUFFER))];
    while length > 0 {
        let now = length.min(BUFFER as u64);
        let part = &mut buffer[..now as usize];
        image.read_at(part, offset)?;
        sink.write(part)?;
        offset += now;
        length -= now;
    }
    Ok(())
}

/// The archive that comes out: its hash, and how much may still come.
struct Sink<W> {
    out: W,
    hash: Sha256,
    left: u64,
}

impl<W: Write> Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| damaged("it gives more than the layer's archive"))?;
        self.hash.update(bytes);
        self.out.write_all(bytes).map_err(|source| Error::write("writing the layer's archive", source))
    }

    fn finish(mut self, expected: &Expected) -> Result<(), Error> {
        self.out.flush().map_err(|source| Error::write("writing the layer's archive", source))?;
        let digest: [u8; 32] = self.hash.finalize().into();
        if self.left > 0 || digest != expected.diff_id {
            return Err(Error::new(
                Kind::Corrupt,
                "the layer's image and tar metadata do not give its archive back",
            ));
        }
        Ok(())
    }
}

fn damaged(what: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the layer's tar metadata is not usable: {what}"))
}

fn read(source: io::Error) -> Error {
    Error::read("reading the layer's tar metadata", source)
}

const fn zigzag(number: i64) -> u64 {
    (number as u64) << 1 ^ (number >> 63) as u64
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Writes LEB128 into `out`, which has room for ten bytes, and gives how many it took.
fn encode_number(mut number: u64, out: &mut [u8]) -> usize {
    let mut length = 0;
    loop {
        let more = number > 0x7f;
        out[length] = number as u8 & 0x7f | if more { 0x80 } else { 0 };
        length += 1;
        number >>= 7;
        if !more {
            return length;
        }
    }
}

fn decode_number(input: &mut impl Read) -> Result<u64, Error> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte).map_err(read)?;
        let bits = u64::from(byte[0] & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if byte[0] & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a number is longer than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = [0; 10];
            let length = encode_number(number, &mut bytes);
            assert_eq!(decode_number(&mut &bytes[..length]).unwrap(), number);
        }
        for number in [0, 1, -1, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
    }

    #[test]
    fn numbers_that_are_too_long_or_cut_are_refused() {
        assert_eq!(decode_number(&mut &[0xff; 12][..]).unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(decode_number(&mut &[0x80][..]).unwrap_err().kind(), Kind::Truncated);
    }
}
