//! Detection and streaming decoding of compressed layers: gzip (RFC 1952, also of several members),
//! zstd (RFC 8878, also of several frames), xz and bzip2, told apart by their magic numbers.
//!
//! What has no known magic is passed through; whether it is a tar archive is for its reader to say.

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

use holm_tar::{Error, Kind};

/// How the bytes of a layer are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, as `application/vnd.oci.image.layer.v1.tar+gzip`.
    Gzip,
    /// zstd, as `application/vnd.oci.image.layer.v1.tar+zstd`.
    Zstd,
    /// xz; no OCI media type has it, `import` and `ADD` take it.
    Xz,
    /// bzip2, as xz.
    Bzip2,
}

impl Compression {
    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Bzip2 => "bzip2",
        }
    }
}

impl Compression {
    /// The one with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Zstd, Self::Xz, Self::Bzip2]
            .into_iter()
            .find(|known| known.name() == name)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The bytes that are enough to tell the formats apart.
const MAGIC_LENGTH: usize = 6;
/// How much compressed input is read at once.
const INPUT_BUFFER: usize = 256 << 10;
/// The memory that an xz stream may ask for: four times what `xz -9` needs.
const XZ_MEMORY: u64 = 256 << 20;
/// log2 of the largest zstd window: 128 MiB, what `zstd -d` takes without being told.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Tells by the first bytes how a stream is packed.
pub fn of_magic(prefix: &[u8]) -> Compression {
    match prefix {
        [0x1f, 0x8b, 0x08, ..] => Compression::Gzip,
        // A frame, or one to be skipped (RFC 8878 section 3.1.2).
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        _ => Compression::None,
    }
}

/// A stream whose first bytes were looked at and are given again.
pub type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// Looks at the first bytes of `input`.
///
/// # Errors
/// [`Kind::NotATar`] if there are none; what reading `input` reports.
pub fn detect<R: Read>(mut input: R) -> Result<(Compression, Peeked<R>), Error> {
    let mut prefix = Vec::with_capacity(MAGIC_LENGTH);
    input
        .by_ref()
        .take(MAGIC_LENGTH as u64)
        .read_to_end(&mut prefix)
        .map_err(|source| Error::read("reading the start of the layer", source).with_kind(Kind::Io))?;
    if prefix.is_empty() {
        return Err(Error::new(Kind::NotATar, "the input is empty, not a tar archive"));
    }
    Ok((of_magic(&prefix), Cursor::new(prefix).chain(input)))
}

/// The uncompressed bytes of a stream.
///
/// Errors of the decoders are [`io::ErrorKind::InvalidData`] (or `InvalidInput`, `Other`) where the
/// stream is damaged and [`io::ErrorKind::UnexpectedEof`] where it ends too early.
pub struct Decoder<R: Read>(Inner<R>);

enum Inner<R: Read> {
    Plain(R),
    Gzip(Box<GzipMembers<BufReader<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
    Xz(liblzma::bufread::XzDecoder<BufReader<R>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<BufReader<R>>),
}

impl<R: Read> Decoder<R> {
    /// A decoder for a stream that is packed as `compression`.
    ///
    /// # Errors
    /// [`Kind::Io`] if a decoder cannot be set up, which means that memory is short.
    pub fn new(compression: Compression, input: R) -> Result<Self, Error> {
        Self::build(compression, input).map(Self).map_err(|source| {
            Error::read(format!("setting up the {compression} decoder"), source).with_kind(Kind::Io)
        })
    }

    fn build(compression: Compression, input: R) -> io::Result<Inner<R>> {
        if compression == Compression::None {
            return Ok(Inner::Plain(input));
        }
        let input = BufReader::with_capacity(INPUT_BUFFER, input);
        Ok(match compression {
            Compression::None | Compression::Gzip => Inner::Gzip(Box::new(GzipMembers::new(input))),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Inner::Zstd(decoder)
            }
            Compression::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, liblzma::stream::CONCATENATED)?;
                Inner::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Bzip2 => Inner::Bzip2(bzip2::bufread::MultiBzDecoder::new(input)),
        })
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Plain(input) => input.read(buffer),
            Inner::Gzip(decoder) => decoder.read(buffer),
            Inner::Zstd(decoder) => decoder.read(buffer),
            Inner::Xz(decoder) => decoder.read(buffer),
            Inner::Bzip2(decoder) => decoder.read(buffer),
        }
    }
}

/// The members of a gzip stream (RFC 1952 section 2.2), and the zeros that some writers fill its last block
/// up with, as `gzip -d` takes them.
struct GzipMembers<R> {
    /// None after the end.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> GzipMembers<R> {
    fn new(input: R) -> Self {
        Self { member: Some(GzDecoder::new(input)) }
    }

    /// What follows a member: another one, or the end.
    fn next(mut input: R) -> io::Result<Option<GzDecoder<R>>> {
        match input.fill_buf()?.first() {
            None => return Ok(None),
            Some(0) => {}
            Some(_) => return Ok(Some(GzDecoder::new(input))),
        }
        loop {
            let rest = input.fill_buf()?;
            if rest.is_empty() {
                return Ok(None);
            }
            if rest.iter().any(|byte| *byte != 0) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "garbage follows a gzip stream"));
            }
            let length = rest.len();
            input.consume(length);
        }
    }
}

impl<R: BufRead> Read for GzipMembers<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            self.member =
                self.member.take().map(GzDecoder::into_inner).map(Self::next).transpose()?.flatten();
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(packed: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let (compression, input) = detect(packed).unwrap();
        let mut data = Vec::new();
        Decoder::new(compression, input).unwrap().read_to_end(&mut data)?;
        Ok((compression, data))
    }

    #[test]
    fn every_format_is_detected_and_decoded_also_in_several_parts() {
        let parts: [&[u8]; 2] = [b"first part, ", b"second part"];
        let whole = parts.concat();
        let join = |encode: &dyn Fn(&[u8]) -> Vec<u8>| [encode(parts[0]), encode(parts[1])].concat();
        let zstd = |data: &[u8]| zstd::encode_all(data, 1).unwrap();
        let cases = [
            (Compression::None, whole.clone()),
            (Compression::Gzip, join(&gzip)),
            (Compression::Zstd, join(&zstd)),
            (Compression::Xz, join(&xz)),
        ];
        for (compression, packed) in cases {
            assert_eq!(decode(&packed).unwrap(), (compression, whole.clone()), "{compression}");
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let data: Vec<u8> =
            (0..100_000u32).flat_map(|n| (n.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
        for packed in [gzip(&data), zstd::encode_all(&data[..], 1).unwrap(), xz(&data)] {
            let error = decode(&packed[..packed.len() / 2]).expect_err("half a stream decodes");
            assert_eq!(Error::read("", error).kind(), Kind::Truncated);
        }
    }

    #[test]
    fn a_short_input_is_plain_and_an_empty_one_an_error() {
        assert_eq!(decode(b"ab").unwrap(), (Compression::None, b"ab".to_vec()));
        assert_eq!(of_magic(b"BZh91A"), Compression::Bzip2);
        assert_eq!(detect(&b""[..]).err().map(|error| error.kind()), Some(Kind::NotATar));
    }

    #[test]
    fn a_zstd_stream_may_begin_with_a_frame_to_skip() {
        for kind in [0x50, 0x5f] {
            let packed = [
                &[kind, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3],
                &zstd::encode_all(&b"data"[..], 1).unwrap()[..],
            ]
            .concat();
            assert_eq!(decode(&packed).unwrap(), (Compression::Zstd, b"data".to_vec()));
        }
    }

    #[test]
    fn zeros_after_a_gzip_stream_are_padding() {
        let padded =
            |zeros: usize, end: &[u8]| [&gzip(b"one "), &gzip(b"two"), &vec![0; zeros][..], end].concat();
        for zeros in [1, 511, 600_000] {
            assert_eq!(decode(&padded(zeros, b"")).unwrap(), (Compression::Gzip, b"one two".to_vec()));
        }
        let error = decode(&padded(511, b"x")).expect_err("garbage");
        assert_eq!(Error::read("", error).kind(), Kind::Corrupt);
        assert!(decode(&padded(0, b"garbage")).is_err());
        assert!(decode(&padded(0, &gzip(b"cut")[..9])).is_err());
    }
}
