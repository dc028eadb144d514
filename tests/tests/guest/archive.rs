//! Initial file systems of guests: cpio archives of the form "newc" (Documentation/driver-api/early-userspace
//! of the kernel), which the kernel unpacks into its first root.

use std::io::Write as _;

/// `S_IFDIR`, `S_IFREG` and `S_IFLNK` of inode(7).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// An archive in the making. Parents come before what is in them.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// A directory of root's.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        self.entry(path, DIRECTORY | 0o755, &[])
    }

    /// A regular file of root's.
    pub fn file(&mut self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> &mut Self {
        self.entry(path, FILE | mode, content.as_ref())
    }

    /// A symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.entry(path, LINK | 0o777, target.as_bytes())
    }

    /// The archive with its end mark.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    /// A header of thirteen numbers in hexadecimal, the name, the content, each padded to four bytes.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> &mut Self {
        self.entries += 1;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("files of a guest are small");
        let (size, name) = (length(content), length(path.as_bytes()) + 1);
        // Inode, mode, user, group, links, time, size, four device numbers, length of the name, checksum.
        let numbers = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
        self.bytes.extend_from_slice(b"070701");
        for number in numbers {
            write!(self.bytes, "{number:08x}").expect("a vector takes all");
        }
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
