//! One block of 512 bytes: where its fields are, its checksum, its numbers and strings (POSIX.1-2017
//! `pax`, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format").

use std::ops::Range;

use crate::BLOCK;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..263;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;
/// The shorter prefix of `star`, told by its trailer.
const STAR_PREFIX: Range<usize> = 345..476;
const STAR_TRAILER: Range<usize> = 508..512;
/// Four pairs of offset and length in a GNU sparse header.
const SPARSE: Range<usize> = 386..482;
const SPARSE_MORE: usize = 482;
const SPARSE_SIZE: Range<usize> = 483..495;
/// Twenty-one pairs in each block that continues it.
const EXTENSION: Range<usize> = 0..504;
const EXTENSION_MORE: usize = 504;

/// A header block.
#[derive(Clone, Copy)]
pub(super) struct Header<'a>(pub &'a [u8; BLOCK]);

impl<'a> Header<'a> {
    /// Whether the block holds only zeros, as the end of an archive does.
    pub fn is_zero(self) -> bool {
        *self.0 == [0; BLOCK]
    }

    /// Whether the recorded checksum is that of the block, over bytes taken as unsigned (POSIX) or
    /// as signed (old Sun tar).
    pub fn checksum_holds(self) -> bool {
        let Some(recorded) = octal(&self.0[CHECKSUM]) else { return false };
        let spaces = (CHECKSUM.len() * usize::from(b' ')) as i64;
        let unsigned = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
        let signed = |bytes: &[u8]| bytes.iter().map(|&byte| i32::from(byte as i8)).sum::<i32>();
        i64::from(unsigned(self.0) - unsigned(&self.0[CHECKSUM])) + spaces == recorded as i64
            || i64::from(signed(self.0) - signed(&self.0[CHECKSUM])) + spaces == recorded as i64
    }

    /// The type flag.
    pub fn type_flag(self) -> u8 {
        self.0[TYPE]
    }

    /// The name, with the prefix that ustar allows before it.
    pub fn path(self) -> Vec<u8> {
        let name = string(&self.0[NAME]);
        let prefix = match &self.0[MAGIC] {
            b"ustar\0" if &self.0[STAR_TRAILER] == b"tar\0" => string(&self.0[STAR_PREFIX]),
            b"ustar\0" => string(&self.0[PREFIX]),
            _ => b"",
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    /// The target of a link.
    pub fn link(self) -> Vec<u8> {
        string(&self.0[LINK]).to_vec()
    }

    /// Permission bits; the archive may have the type's bits as well.
    pub fn mode(self) -> Option<i64> {
        number(&self.0[MODE])
    }

    /// Owner.
    pub fn uid(self) -> Option<i64> {
        number(&self.0[UID])
    }

    /// Group.
    pub fn gid(self) -> Option<i64> {
        number(&self.0[GID])
    }

    /// Bytes of data after the header.
    pub fn size(self) -> Option<i64> {
        number(&self.0[SIZE])
    }

    /// Last modification in seconds since 1970.
    pub fn mtime(self) -> Option<i64> {
        number(&self.0[MTIME])
    }

    /// Major and minor number of a device.
    pub fn device(self) -> Option<(i64, i64)> {
        number(&self.0[MAJOR]).zip(number(&self.0[MINOR]))
    }

    /// The part of a sparse map that is in the header of a GNU sparse entry.
    pub fn sparse(self) -> (&'a [u8], bool) {
        (&self.0[SPARSE], self.0[SPARSE_MORE] != 0)
    }

    /// The size of the whole file of a GNU sparse entry.
    pub fn sparse_size(self) -> Option<i64> {
        number(&self.0[SPARSE_SIZE])
    }

    /// The block taken as a continuation of a GNU sparse map.
    pub fn sparse_extension(self) -> (&'a [u8], bool) {
        (&self.0[EXTENSION], self.0[EXTENSION_MORE] != 0)
    }
}

/// A field up to its first NUL.
fn string(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number in octal digits or, where the top bit of the first byte is set, in base 256.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    match field.first()? {
        first if first & 0x80 != 0 => base256(field),
        _ => octal(field).and_then(|value| i64::try_from(value).ok()),
    }
}

/// Digits with spaces before, and spaces or NULs after; nothing at all is zero.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|&byte| byte != b' ').unwrap_or(field.len());
    let digits = &field[start..];
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    digits[..end].iter().try_fold(0u64, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(u64::from(digit))
    })
}

/// A two's complement number in big-endian order; its sign is the second bit.
fn base256(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let first = if negative { i64::from(*first as i8) } else { i64::from(first & 0x7f) };
    rest.iter().try_fold(first, |value, &byte| value.checked_mul(256)?.checked_add(i64::from(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_octal() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"77777777777\0"), Some(0o77777777777));
        assert_eq!(number(b"777777777777"), Some(0o777777777777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"-000001\0"), None);
        assert_eq!(number(b""), None);
    }

    #[test]
    fn numbers_in_base_256() {
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]), Some(0x200_0000_0000_0000));
        assert_eq!(number(&[0x81, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]), None, "more than 63 bits");
        assert_eq!(number(&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), Some(0x3fff_ffff_ffff_ffff));
    }

    #[test]
    fn checksums_signed_and_unsigned() {
        let mut block = [0u8; BLOCK];
        block[NAME.start] = 0xe4;
        for (sum, holds) in [(256 + 0xe4, true), (256 + 0xe4 - 0x100, true), (256, false)] {
            block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            assert_eq!(Header(&block).checksum_holds(), holds, "{sum}");
        }
        block[CHECKSUM].copy_from_slice(b"000744\0 ");
        block[1] = 1;
        assert!(!Header(&block).checksum_holds());
    }
}
