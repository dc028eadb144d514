//! The structures on disk (kernel documentation, "EROFS - Enhanced Read-Only File System", and the
//! kernel's `fs/erofs/erofs_fs.h`); all numbers are little-endian.

use holm_tar::Mtime;

/// The block size of the images.
pub const BLOCK: u64 = 4096;
/// log2 of it.
pub(super) const BLOCK_BITS: u8 = 12;
/// Inodes are addressed in units of this many bytes.
pub(super) const SLOT: u64 = 32;
/// Size of an inode in its long form, the only one that has times of its own.
pub(super) const INODE: u64 = 64;
/// Where the superblock is.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Its size.
pub(super) const SUPER_SIZE: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
const FEATURE_CHECKSUM: u32 = 1;
const FEATURE_MTIME: u32 = 2;
const FEATURE_CHUNKED: u32 = 4;
/// A chunk that is a hole; also the address of what has no blocks.
pub(super) const NO_BLOCK: u32 = u32::MAX;
/// The longest target of a symbolic link (the kernel's PATH_MAX, less the NUL).
pub const MAX_LINK: usize = 4095;

/// File types of directory entries, and the type bits of a mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// A regular file.
    Regular = 1,
    /// A directory.
    Directory = 2,
    /// A character device.
    Character = 3,
    /// A block device.
    Block = 4,
    /// A named pipe.
    Fifo = 5,
    /// A socket.
    Socket = 6,
    /// A symbolic link.
    Symlink = 7,
}

impl FileType {
    /// The bits that `st_mode` has for the type.
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0o010000,
            Self::Character => 0o020000,
            Self::Directory => 0o040000,
            Self::Block => 0o060000,
            Self::Regular => 0o100000,
            Self::Symlink => 0o120000,
            Self::Socket => 0o140000,
        }
    }

    /// The type with this number, if any.
    pub(super) const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Regular,
            2 => Self::Directory,
            3 => Self::Character,
            4 => Self::Block,
            5 => Self::Fifo,
            6 => Self::Socket,
            7 => Self::Symlink,
            _ => return None,
        })
    }

    /// The type that `mode` says, if any.
    pub const fn of_mode(mode: u16) -> Option<Self> {
        Some(match mode & 0o170000 {
            0o010000 => Self::Fifo,
            0o020000 => Self::Character,
            0o040000 => Self::Directory,
            0o060000 => Self::Block,
            0o100000 => Self::Regular,
            0o120000 => Self::Symlink,
            0o140000 => Self::Socket,
            _ => return None,
        })
    }
}

/// How the data of an inode is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// In consecutive blocks.
    Plain = 0,
    /// In consecutive blocks, except the last part, which follows the inode.
    Inline = 2,
    /// In chunks, whose block numbers follow the inode.
    Chunks = 4,
}

/// A superblock as far as it is used here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Superblock {
    pub root: u16,
    pub inodes: u64,
    pub blocks: u32,
    pub metadata: u32,
    pub uuid: [u8; 16],
    pub chunked: bool,
}

impl Superblock {
    /// The whole first block of an image.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        let mut put = |offset: usize, bytes: &[u8]| {
            let from = SUPER_OFFSET as usize + offset;
            block[from..from + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &MAGIC.to_le_bytes());
        put(8, &(FEATURE_CHECKSUM | FEATURE_MTIME).to_le_bytes());
        put(12, &[BLOCK_BITS]);
        put(14, &self.root.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.metadata.to_le_bytes());
        put(48, &self.uuid);
        put(80, &(if self.chunked { FEATURE_CHUNKED } else { 0 }).to_le_bytes());
        let checksum = crc32c(&block[SUPER_OFFSET as usize..]);
        block[SUPER_OFFSET as usize + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Decodes the first block of an image, whose superblock must hold its checksum if it has one.
    pub fn decode(block: &[u8]) -> Result<Self, &'static str> {
        let bytes = block.get(SUPER_OFFSET as usize..).filter(|bytes| bytes.len() >= SUPER_SIZE);
        let bytes = bytes.ok_or("it is too short")?;
        if u32_at(bytes, 0) != MAGIC {
            return Err("it has no EROFS magic number");
        }
        if bytes[12] != BLOCK_BITS {
            return Err("its block size is not 4096");
        }
        if u32_at(bytes, 80) & !FEATURE_CHUNKED != 0 {
            return Err("it uses features that are not supported");
        }
        if u32_at(bytes, 8) & FEATURE_CHECKSUM != 0 && !Self::checksum_holds(block) {
            return Err("its superblock's checksum does not match");
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[48..64]);
        Ok(Self {
            root: u16_at(bytes, 14),
            inodes: u64_at(bytes, 16),
            blocks: u32_at(bytes, 36),
            metadata: u32_at(bytes, 40),
            uuid,
            chunked: u32_at(bytes, 80) & FEATURE_CHUNKED != 0,
        })
    }

    fn checksum_holds(block: &[u8]) -> bool {
        let mut covered = block[SUPER_OFFSET as usize..].to_vec();
        let recorded = u32_at(&covered, 4);
        covered[4..8].fill(0);
        crc32c(&covered) == recorded
    }
}

/// An inode on disk.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawInode {
    pub layout: DataLayout,
    /// The size field of the attributes: 0 for none, else 1 + (their bytes - 12) / 4.
    pub xattr_count: u16,
    pub mode: u16,
    pub size: u64,
    /// First block, device number or chunk format.
    pub address: u32,
    pub number: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Mtime,
    pub links: u32,
}

impl RawInode {
    /// The long form.
    pub fn encode(&self) -> [u8; INODE as usize] {
        let mut bytes = [0; INODE as usize];
        let mut put =
            |offset: usize, field: &[u8]| bytes[offset..offset + field.len()].copy_from_slice(field);
        put(0, &(1 | (self.layout as u16) << 1).to_le_bytes());
        put(2, &self.xattr_count.to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &self.address.to_le_bytes());
        put(20, &self.number.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &self.mtime.seconds.to_le_bytes());
        put(40, &self.mtime.nanoseconds.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }

    /// Decodes the long form.
    pub fn decode(bytes: &[u8; INODE as usize]) -> Result<Self, &'static str> {
        let layout = match u16_at(bytes, 0) {
            0b0001 => DataLayout::Plain,
            0b0101 => DataLayout::Inline,
            0b1001 => DataLayout::Chunks,
            _ => return Err("its form or data layout is not supported"),
        };
        Ok(Self {
            layout,
            xattr_count: u16_at(bytes, 2),
            mode: u16_at(bytes, 4),
            size: u64_at(bytes, 8),
            address: u32_at(bytes, 16),
            number: u32_at(bytes, 20),
            uid: u32_at(bytes, 24),
            gid: u32_at(bytes, 28),
            mtime: Mtime { seconds: u64_at(bytes, 32) as i64, nanoseconds: u32_at(bytes, 40) },
            links: u32_at(bytes, 44),
        })
    }
}

/// A device number as inodes hold it (the kernel's `new_encode_dev`).
pub(super) const fn encode_device((major, minor): (u32, u32)) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// The reverse of [`encode_device`].
pub(super) const fn decode_device(device: u32) -> (u32, u32) {
    ((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

/// Bytes of attributes for the size field of an inode.
pub(super) const fn xattr_bytes(count: u16) -> u64 {
    if count == 0 { 0 } else { 12 + (count as u64 - 1) * 4 }
}

/// The field of two bytes at `offset`, which the caller knows to be there.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> u16 {
    u16::from_le_bytes([bytes[offset], bytes[offset + 1]])
}

/// The field of four bytes at `offset`, which the caller knows to be there.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from(u16_at(bytes, offset)) | u32::from(u16_at(bytes, offset + 2)) << 16
}

/// The field of eight bytes at `offset`, which the caller knows to be there.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

/// CRC-32C (Castagnoli), from all ones and without the final inversion, as the kernel computes it here.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    }

    #[test]
    fn device_numbers_survive() {
        for device in [(0, 0), (1, 3), (4095, 1_048_575), (8, 256)] {
            assert_eq!(decode_device(encode_device(device)), device);
        }
    }

    #[test]
    fn a_superblock_survives_and_damage_is_seen() {
        let superblock =
            Superblock { root: 2, inodes: 7, blocks: 9, metadata: 8, uuid: [5; 16], chunked: true };
        let mut block = superblock.encode();
        let decoded = Superblock::decode(&block).expect("it is sound");
        assert_eq!((decoded.root, decoded.inodes, decoded.blocks, decoded.metadata), (2, 7, 9, 8));
        assert!(decoded.chunked);
        block[SUPER_OFFSET as usize + 40] ^= 1;
        assert_eq!(Superblock::decode(&block).unwrap_err(), "its superblock's checksum does not match");
        assert!(Superblock::decode(&block[..1100]).is_err());
    }
}
