//! Archives that a kernel unpacks into its first root: cpio of the form "newc" (the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`). Several in a row are unpacked one over the other.

use std::fmt::Write as _;

/// `S_IFDIR`, `S_IFREG` and `S_IFLNK` of inode(7).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive in the making; all entries are root's and have no time. Parents come before what is in them.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A directory with mode 0755.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// A regular file.
    ///
    /// # Panics
    /// If the content is longer than the form can say: 4 GiB.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entry(path, FILE | mode, content)
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, LINK | 0o777, target.as_bytes())
    }

    /// The archive with its end mark, a multiple of four bytes long.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// A header of thirteen numbers in hexadecimal, the name, the content, each padded to four bytes.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entries += 1;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("less than 4 GiB");
        let (size, name) = (length(content), length(path.as_bytes()) + 1);
        // Inode, mode, user, group, links, time, size, four device numbers, length of the name, checksum.
        let numbers = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        let mut header = String::from("070701");
        for number in numbers {
            write!(header, "{number:08x}").expect("a string takes all");
        }
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_to_four_bytes_and_an_archive_has_its_end_mark() {
        let mut archive = Archive::default();
        archive.directory("a").file("a/b", 0o644, b"12345").symlink("c", "a/b");
        let bytes = archive.finish();
        let header = |mode: &str, size: u32, name: u32, inode: u32| {
            format!("070701{inode:08x}{mode}0000000000000000{:08x}00000000{size:08x}", 1)
                + &format!("{:032x}{name:08x}{:08x}", 0, 0)
        };
        let mut expected = Vec::new();
        for (header, tail) in [
            (header("000041ed", 0, 2, 1), &b"a\0"[..]),
            (header("000081a4", 5, 4, 2), &b"a/b\0\0\x0012345\0\0\0"[..]),
            (header("0000a1ff", 3, 2, 3), &b"c\0a/b\0"[..]),
            (header("00000000", 0, 11, 4), &b"TRAILER!!!\0\0\0\0"[..]),
        ] {
            expected.extend_from_slice(header.as_bytes());
            expected.extend_from_slice(tail);
        }
        assert_eq!(bytes, expected);
        assert_eq!(bytes.len() % 4, 0);
    }
}
