//! Names of entries: lists of components from the layer's root, and what a whiteout's name means.

use holm_tar::{Error, Kind, shown};

/// The longest component of a path in Linux.
const COMPONENT: usize = 255;
const WHITEOUT: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// The components of a name from the archive; empty for the root.
///
/// # Errors
/// [`Kind::Escape`] for `..`, [`Kind::TooLong`] beyond `limit` bytes or 255 in a component,
/// [`Kind::Corrupt`] for a NUL.
pub(super) fn components<'p>(path: &'p [u8], what: &str, limit: usize) -> Result<Vec<&'p [u8]>, Error> {
    let refuse = |kind, why: &str| Err(Error::new(kind, format!("{what} `{}`: {why}", shown(path))));
    let mut components = Vec::new();
    let mut length = 0;
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return refuse(Kind::Escape, "`..` may lead out of the layer"),
            _ if component.len() > COMPONENT => {
                return refuse(Kind::TooLong, "a component of the name is longer than 255 bytes");
            }
            _ if component.contains(&0) => return refuse(Kind::Corrupt, "the name holds a NUL byte"),
            _ => components.push(component),
        }
        length += component.len() + 1;
        if length > limit + 1 {
            return refuse(Kind::TooLong, &format!("the name is longer than {limit} bytes"));
        }
    }
    Ok(components)
}

/// What the last component of an entry's name says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'p> {
    /// A name.
    Plain(&'p [u8]),
    /// The parents' entry of this name is removed.
    Whiteout(&'p [u8]),
    /// Everything that the parents have in the directory is removed.
    Opaque,
    /// A note of aufs.
    Ignored,
}

/// Takes a name apart; `None` if a whiteout names nothing that can be removed.
pub(super) fn classify(name: &[u8]) -> Option<Name<'_>> {
    if name == OPAQUE {
        return Some(Name::Opaque);
    }
    if name.starts_with(META) {
        return Some(Name::Ignored);
    }
    match name.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => None,
        Some(removed) => Some(Name::Whiteout(removed)),
        None => Some(Name::Plain(name)),
    }
}

/// What directories in the way to an entry say: `Some(Ignored)` for one of aufs, `None` for a whiteout,
/// in which nothing can be.
pub(super) fn classify_directories<'p>(directories: &[&'p [u8]]) -> Option<Option<Name<'p>>> {
    if directories.iter().any(|name| name.starts_with(META)) {
        return Some(Some(Name::Ignored));
    }
    if directories.iter().any(|name| name.starts_with(WHITEOUT)) { None } else { Some(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(path: &[u8]) -> Result<Vec<&[u8]>, Kind> {
        components(path, "entry", 4095).map_err(|error| error.kind())
    }

    #[test]
    fn names_are_taken_from_the_root() {
        for path in [&b"a/b"[..], b"/a/b", b"./a/b", b"/./a//b/", b"a/./b/."] {
            assert_eq!(split(path), Ok(vec![&b"a"[..], b"b"]), "{}", path.escape_ascii());
        }
        for path in [&b""[..], b"/", b"./", b"."] {
            assert_eq!(split(path), Ok(vec![]));
        }
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!(split(b"../a"), Err(Kind::Escape));
        assert_eq!(split(b"a/../../b"), Err(Kind::Escape));
        assert_eq!(split(b"a\0b"), Err(Kind::Corrupt));
        assert_eq!(split(&[b'a'; 256]), Err(Kind::TooLong));
        assert_eq!(split(&b"a/".repeat(10_000)), Err(Kind::TooLong));
        assert_eq!(split(&b"a/".repeat(2048)).map(|names| names.len()), Ok(2048), "4095 bytes");
        assert_eq!(split(&b"a/".repeat(2049)), Err(Kind::TooLong));
    }

    #[test]
    fn whiteouts_are_told_by_name() {
        assert_eq!(classify(b".wh.a"), Some(Name::Whiteout(b"a")));
        assert_eq!(classify(b".wh..wh..opq"), Some(Name::Opaque));
        assert_eq!(classify(b".wh..wh.plnk"), Some(Name::Ignored));
        assert_eq!(classify(b".wha"), Some(Name::Plain(b".wha")));
        assert_eq!((classify(b".wh."), classify(b".wh..."), classify(b".wh..")), (None, None, None));
    }
}
