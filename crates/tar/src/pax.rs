//! Extended headers (POSIX.1-2017 `pax`, "pax Extended Header"): records of `length key=value\n` that
//! override fields of the header after them, or of all that follow.
//!
//! Understood are `path`, `linkpath`, `size`, `uid`, `gid`, `mtime`, the attributes of star
//! (`SCHILY.xattr.`, any bytes) and of libarchive (`LIBARCHIVE.xattr.`, base64), and GNU's keys for
//! sparse files. Other keys (user names, access times, text ACLs, vendors' notes) have no place in a
//! layer and are skipped.

use crate::{Mtime, Segment};

const STAR_XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

/// One record: its key and its value.
pub(super) type Record<'a> = (&'a [u8], &'a [u8]);

/// Splits the payload of an extended header into its records; `None` ends them early if they are
/// damaged.
pub(super) fn records(mut payload: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || payload.iter().all(|&byte| byte == 0) {
            return None;
        }
        let parsed = record(payload);
        match parsed {
            Some((_, rest)) => payload = rest,
            None => broken = true,
        }
        Some(parsed.map(|(record, _)| record))
    })
}

/// The first record and what follows it.
fn record(payload: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let digits = payload.iter().take(20).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(payload.get(..digits)?)?).ok()?;
    let body = payload.get(digits + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    (!key.is_empty() && !key.contains(&0)).then_some(((key, value), &payload[length..]))
}

/// Digits and nothing else.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |value, &byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Seconds with a sign and a fraction of any length, of which nine digits count.
fn moment(text: &[u8]) -> Option<Mtime> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let point = text.iter().position(|&byte| byte == b'.').unwrap_or(text.len());
    let seconds = i64::try_from(decimal(&text[..point])?).ok()?;
    let fraction = text.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| fraction.get(place).map_or(0, |digit| u32::from(digit - b'0'));
    let nanoseconds = (0..9).fold(0, |value, place| value * 10 + digit(place));
    Some(match (negative, nanoseconds) {
        (false, _) => Mtime { seconds, nanoseconds },
        (true, 0) => Mtime { seconds: -seconds, nanoseconds },
        (true, _) => Mtime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

/// What GNU's keys say of a sparse file.
#[derive(Debug, Default, Clone)]
pub(super) struct Sparse {
    /// `GNU.sparse.major` and `minor`: in version 1.0 the map stands before the data.
    pub major: Option<u64>,
    pub minor: Option<u64>,
    /// `GNU.sparse.name`: the real name; the header's is a stand-in.
    pub name: Option<Vec<u8>>,
    /// `GNU.sparse.size` or `realsize`: the size with holes.
    pub size: Option<u64>,
    /// The map, from `GNU.sparse.map` (0.1) or from pairs of `offset` and `numbytes` (0.0).
    pub map: Option<Vec<Segment>>,
    /// The offset of a pair of which `numbytes` is still to come.
    offset: Option<u64>,
}

/// Everything that extended headers override.
#[derive(Debug, Default, Clone)]
pub(super) struct Overrides {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Mtime>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub sparse: Sparse,
}

impl Overrides {
    /// Takes one record over; a later one of the same key wins, an empty value takes an earlier one
    /// back. `None` if its value makes no sense.
    pub fn apply(&mut self, (key, value): Record<'_>) -> Option<()> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = optional(value, decimal)?,
            b"uid" => self.uid = optional(value, decimal)?,
            b"gid" => self.gid = optional(value, decimal)?,
            b"mtime" => self.mtime = optional(value, moment)?,
            _ => match (key.strip_prefix(STAR_XATTR), key.strip_prefix(LIBARCHIVE_XATTR)) {
                (Some(name), _) => self.xattrs.push((name.to_vec(), value.to_vec())),
                (_, Some(name)) => self.xattrs.push((percent_decoded(name)?, base64_decoded(value)?)),
                _ => self
                    .sparse
                    .apply(key.strip_prefix(b"GNU.sparse.".as_slice()).unwrap_or_default(), value)?,
            },
        }
        Some(())
    }
}

impl Sparse {
    fn apply(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"name" => self.name = text(value)?,
            b"size" | b"realsize" => self.size = Some(decimal(value)?),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => {
                let segment = Segment { offset: self.offset.take()?, length: decimal(value)? };
                self.map.get_or_insert_default().push(segment);
            }
            b"map" => self.map = Some(comma_separated_map(value)?),
            // "numblocks" repeats what the pairs say; the empty key is what is not GNU's.
            _ => {}
        }
        Some(())
    }
}

/// Version 0.1: `offset,length,offset,length…`.
fn comma_separated_map(value: &[u8]) -> Option<Vec<Segment>> {
    if value.is_empty() {
        return Some(Vec::new());
    }
    let numbers: Vec<u64> = value.split(|&byte| byte == b',').map(decimal).collect::<Option<_>>()?;
    let pairs = numbers.chunks_exact(2);
    pairs
        .remainder()
        .is_empty()
        .then(|| pairs.map(|pair| Segment { offset: pair[0], length: pair[1] }).collect())
}

/// A name: any bytes but NUL.
fn text(value: &[u8]) -> Option<Option<Vec<u8>>> {
    (!value.contains(&0)).then(|| (!value.is_empty()).then(|| value.to_vec()))
}

/// A value that may be empty, which means that there is none.
fn optional<T>(value: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { parse(value).map(Some) }
}

/// libarchive's names of attributes: `%XX` for bytes that are not printable.
fn percent_decoded(name: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        let hexadecimal = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match hexadecimal.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                decoded.push(byte);
                rest = &tail[2..];
            }
            _ => {
                decoded.push(first);
                rest = tail;
            }
        }
    }
    (!decoded.contains(&0)).then_some(decoded)
}

/// Base64 (RFC 4648 section 4) with or without padding.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digits = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut decoded = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    for group in digits.chunks(4) {
        let mut bits = 0u32;
        for place in 0..4 {
            bits = bits << 6 | group.get(place).map_or(Some(0), |digit| base64_digit(*digit))?;
        }
        let bytes = match group.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        decoded.extend_from_slice(&bits.to_be_bytes()[1..=bytes]);
    }
    Some(decoded)
}

fn base64_digit(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(payload: &[u8]) -> Option<Overrides> {
        let mut overrides = Overrides::default();
        records(payload).try_for_each(|record| overrides.apply(record?))?;
        Some(overrides)
    }

    #[test]
    fn records_are_split_by_length_not_by_line() {
        let overrides = parse(b"13 path=a\nb\n\n27 SCHILY.xattr.user.x=\0\n=\n").unwrap();
        assert_eq!(overrides.path.as_deref(), Some(&b"a\nb\n"[..]));
        assert_eq!(overrides.xattrs, [(b"user.x".to_vec(), b"\0\n=".to_vec())]);
    }

    #[test]
    fn an_empty_value_takes_an_override_back() {
        assert_eq!(parse(b"9 path=a\n8 path=\n").unwrap().path, None);
    }

    #[test]
    fn damaged_records_are_refused() {
        let bad: [&[u8]; 9] = [
            b"9 path=ab\n",
            b"99 path=a\n",
            b"0 path=a\n",
            b"path=a\n",
            b"5 =a\n",
            b"7 path\n",
            b"10 size=-1\n",
            b"99999999999999999999999 path=a\n",
            b"10 path=a\0\n",
        ];
        for payload in bad {
            assert!(parse(payload).is_none(), "{}", payload.escape_ascii());
        }
    }

    #[test]
    fn moments_have_signs_and_fractions() {
        let at = |seconds, nanoseconds| Some(Mtime { seconds, nanoseconds });
        assert_eq!(moment(b"12.5"), at(12, 500_000_000));
        assert_eq!(moment(b"12.0000000019"), at(12, 1));
        assert_eq!(moment(b"-1.25"), at(-2, 750_000_000));
        assert_eq!(moment(b"-3"), at(-3, 0));
        assert_eq!(moment(b"1."), at(1, 0));
        assert_eq!(
            (moment(b""), moment(b"1.x"), moment(b"--1"), moment(b"99999999999999999999")),
            (None, None, None, None)
        );
    }

    #[test]
    fn attributes_of_libarchive_are_decoded() {
        let overrides = parse(b"38 LIBARCHIVE.xattr.user.a%20b=AAECAw\n").unwrap();
        assert_eq!(overrides.xattrs, [(b"user.a b".to_vec(), vec![0, 1, 2, 3])]);
        assert_eq!(base64_decoded(b"aGVsbG8=").unwrap(), b"hello");
        assert_eq!((base64_decoded(b"a"), base64_decoded(b"a*==")), (None, None));
    }

    #[test]
    fn sparse_maps_of_both_old_versions() {
        let map = Some(vec![Segment { offset: 0, length: 5 }, Segment { offset: 10, length: 0 }]);
        assert_eq!(parse(b"27 GNU.sparse.map=0,5,10,0\n").unwrap().sparse.map, map);
        let pairs = b"23 GNU.sparse.offset=0\n25 GNU.sparse.numbytes=5\n24 GNU.sparse.offset=10\n25 GNU.sparse.numbytes=0\n";
        assert_eq!(parse(pairs).unwrap().sparse.map, map);
        assert!(parse(b"27 GNU.sparse.map=0,5,10,x\n").is_none());
        assert!(parse(b"23 GNU.sparse.map=0,5,\n").is_none());
    }
}
