//! Extended attributes beside an inode: a header of 12 bytes, then entries of 4 bytes, name and value,
//! each padded to 4 bytes. The common beginning of a name is a number.

use super::format::u16_at;
use super::tree::{Content, Node};

/// The attribute by which overlayfs hides what lower layers have in a directory; its value is `y`.
pub const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// Bytes of attributes of one file, with header and padding. The format goes on to 256 KiB, but Linux 6.1
/// kept the size in 16 bits until a stable release of May 2023.
pub const LIMIT: u64 = 65_532;

const HEADER: usize = 12;
const ENTRY: usize = 4;
/// Beginnings of names, and their numbers. The two for ACLs are whole names.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// Number of the beginning, and the rest, of a name.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    PREFIXES.iter().find_map(|&(number, prefix)| {
        let rest = name.strip_prefix(prefix)?;
        (rest.is_empty() == matches!(number, 2 | 3)).then_some((number, rest))
    })
}

/// Whether EROFS has a place for attributes of this name; others are for file systems that a layer
/// does not become.
pub fn is_storable(name: &[u8]) -> bool {
    split(name).is_some()
}

/// Whether an attribute's name and value are short enough: 255 bytes after the prefix, and 65,535.
pub fn fits(name: &[u8], value: &[u8]) -> bool {
    split(name).is_some_and(|(_, rest)| rest.len() <= 255) && value.len() <= usize::from(u16::MAX)
}

/// The attributes of a node in the order of their names, with the mark of an opaque directory.
fn of_node(node: &Node) -> impl Iterator<Item = (&[u8], &[u8])> {
    let opaque = matches!(node.content, Content::Directory { opaque: true, .. });
    let mark = opaque.then_some((OPAQUE, b"y".as_slice()));
    node.metadata.xattrs.iter().map(|(name, value)| (&**name, &**value)).chain(mark)
}

/// The size in bytes of attributes, 0 if there are none. Those without a place do not count.
fn area<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> u64 {
    let entries: usize = pairs
        .filter_map(|(name, value)| Some(ENTRY + split(name)?.1.len() + value.len()))
        .map(|length| length.next_multiple_of(4))
        .sum();
    if entries == 0 { 0 } else { (HEADER + entries) as u64 }
}

/// Whether a node may have these attributes, also if it becomes an opaque directory.
pub fn fit_together<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> bool {
    area(pairs.chain([(OPAQUE, b"y".as_slice())])) <= LIMIT
}

/// The size in bytes of the attributes of a node, 0 if there are none.
pub(super) fn size(node: &Node) -> u64 {
    area(of_node(node))
}

/// The size field of an inode for attributes of `size` bytes; `None` if they are too many.
pub(super) fn count(size: u64) -> Option<u16> {
    match size {
        0 => Some(0),
        _ if size > LIMIT => None,
        _ => u16::try_from((size - HEADER as u64) / 4 + 1).ok(),
    }
}

/// Appends the attributes of a node to `out`.
pub(super) fn encode(node: &Node, out: &mut Vec<u8>) {
    if size(node) == 0 {
        return;
    }
    out.extend_from_slice(&[0; HEADER]);
    for (name, value) in of_node(node) {
        let Some((number, rest)) = split(name) else { continue };
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes();
        out.extend_from_slice(&[rest.len() as u8, number, length[0], length[1]]);
        out.extend_from_slice(rest);
        out.extend_from_slice(value);
        let padding = (ENTRY + rest.len() + value.len()).wrapping_neg() % 4;
        out.extend_from_slice(&[0; 3][..padding]);
    }
}

/// Attributes as read from an image: full name and value.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Decodes the attributes beside an inode; `None` if they are damaged or use what is not supported
/// (shared attributes, long prefixes).
pub(super) fn decode(bytes: &[u8]) -> Option<Pairs> {
    let mut pairs = Vec::new();
    if bytes.is_empty() {
        return Some(pairs);
    }
    let mut rest = bytes.get(HEADER..).filter(|_| bytes[4] == 0)?;
    while rest.len() >= ENTRY {
        let name_end = ENTRY + usize::from(rest[0]);
        let end = name_end + usize::from(u16_at(rest, 2));
        let (number, name, value) = (rest[1], rest.get(ENTRY..name_end)?, rest.get(name_end..end)?);
        let (_, prefix) = PREFIXES.iter().find(|(known, _)| *known == number)?;
        pairs.push(([prefix, name].concat(), value.to_vec()));
        rest = rest.get(end.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::super::format::xattr_bytes;
    use super::super::tree::Metadata;
    use super::*;

    fn node(pairs: &[(&[u8], &[u8])]) -> Node {
        let xattrs = pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect();
        Node { metadata: Metadata { xattrs, ..Metadata::default() }, content: Content::Fifo }
    }

    #[test]
    fn attributes_survive() {
        let pairs: [(&[u8], &[u8]); 4] = [
            (b"security.capability", b"\x01\0\0\x02"),
            (b"system.posix_acl_access", b"\x02\0\0\0"),
            (b"user.a", b""),
            (b"user.bcd", b"xyz"),
        ];
        let node = node(&pairs);
        let mut bytes = Vec::new();
        encode(&node, &mut bytes);
        assert_eq!(bytes.len() as u64, size(&node));
        assert_eq!(xattr_bytes(count(size(&node)).unwrap()), size(&node));
        let decoded = decode(&bytes).unwrap();
        let decoded: Vec<_> = decoded.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        assert_eq!(decoded, pairs);
    }

    #[test]
    fn what_has_no_place_is_told() {
        assert!(is_storable(b"trusted.x") && is_storable(b"system.posix_acl_default"));
        assert!(!is_storable(b"system.nfs4_acl") && !is_storable(b"user.") && !is_storable(b""));
        assert!(!is_storable(b"system.posix_acl_access2"));
        assert!(!fits(b"user.a", &[0; 65536]) && fits(b"user.a", &[0; 65535]));
    }

    #[test]
    fn the_size_with_header_and_padding_stays_below_64_kib() {
        assert_eq!((count(LIMIT), count(LIMIT + 4)), (Some(16_381), None));
        // A header, an entry with the name `a`, and the mark of an opaque directory.
        let room =
            LIMIT as usize - HEADER - (ENTRY + 1) - (ENTRY + "overlay.opaque".len() + 1).next_multiple_of(4);
        let value = vec![0; room];
        let pair = |length: usize| std::iter::once((b"user.a".as_slice(), &value[..length]));
        assert!(fit_together(pair(room / 4 * 4 - 1)));
        assert!(!fit_together(pair(room).chain([(b"user.b".as_slice(), b"".as_slice())])));
    }

    #[test]
    fn damage_is_refused() {
        for bytes in [&[0; 4][..], &[0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], &[0; 11]] {
            assert_eq!(decode(bytes), None);
        }
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(&[9, 1, 0, 0]);
        assert_eq!(decode(&bytes), None, "a name past the end");
    }
}
