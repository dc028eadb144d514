//! Detection and streaming decoding of compressed layers: gzip (RFC 1952, also of several members),
//! zstd (RFC 8878, also of several frames) and xz, told apart by their magic numbers.
//!
//! What has no known magic is passed through; whether it is a tar archive is for its reader to say.

use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

use crate::layer_error::{Error, Kind};

/// How the bytes of a layer are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, as `application/vnd.oci.image.layer.v1.tar+gzip`.
    Gzip,
    /// zstd, as `application/vnd.oci.image.layer.v1.tar+zstd`.
    Zstd,
    /// xz; no OCI media type has it, `import` takes it.
    Xz,
}

impl Compression {
    /// The name that people know it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        }
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
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
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
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<R>>),
    Xz(liblzma::bufread::XzDecoder<BufReader<R>>),
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
            Compression::None | Compression::Gzip => {
                Inner::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(input)))
            }
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
        }
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
        assert_eq!(detect(&b""[..]).err().map(|error| error.kind()), Some(Kind::NotATar));
    }
}
