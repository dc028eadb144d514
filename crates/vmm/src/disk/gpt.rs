//! Partition tables (UEFI specification 2.10, section 5.3): one partition a layer.
//!
//! ```text
//! sector 0       protective master boot record
//! 1              header
//! 2 .. 33        128 entries of 128 bytes
//! 34 .. 39       nothing, so that layers begin at a multiple of 4 KiB
//! 40 ..          the layers
//! last 33        the entries again, the header's copy
//! ```
//!
//! Identifiers are made from numbers, not drawn: the same layers give the same bytes.

use super::SECTOR;

/// Partitions of a table.
pub const ENTRIES: usize = 128;
const ENTRY: usize = 128;
const ENTRIES_SECTORS: u64 = (ENTRIES * ENTRY) as u64 / SECTOR;
/// Where the first partition begins.
const FIRST: u64 = 40;
/// Sectors behind the last partition: the entries and the header's copy.
const TAIL: u64 = ENTRIES_SECTORS + 1;
/// "Linux filesystem data", 0FC63DAF-8483-4772-8E79-3D69D8477DE4, in the order of bytes on disk.
const LINUX_DATA: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// The table of partitions that lie one behind the other.
#[derive(Debug)]
pub struct Table {
    entries: Vec<u8>,
    /// Sectors of the whole disk.
    total: u64,
}

impl Table {
    /// A table of partitions with these numbers of sectors.
    pub fn new(sizes: &[u64]) -> Self {
        let mut entries = Vec::with_capacity(ENTRIES * ENTRY);
        let mut start = FIRST;
        for (number, size) in (1u32..).zip(sizes) {
            entries.extend_from_slice(&LINUX_DATA);
            entries.extend_from_slice(&identifier(number));
            entries.extend_from_slice(&start.to_le_bytes());
            entries.extend_from_slice(&(start + size - 1).to_le_bytes());
            entries.resize(entries.len().next_multiple_of(ENTRY), 0);
            start += size;
        }
        entries.resize(ENTRIES * ENTRY, 0);
        Self { entries, total: start + TAIL }
    }

    /// What stands before the first partition.
    pub fn head(&self) -> Vec<u8> {
        let mut head = self.protective_record();
        head.extend_from_slice(&self.header(1, self.total - 1, 2));
        head.extend_from_slice(&self.entries);
        head.resize((FIRST * SECTOR) as usize, 0);
        head
    }

    /// What stands behind the last partition.
    pub fn tail(&self) -> Vec<u8> {
        let mut tail = self.entries.clone();
        tail.extend_from_slice(&self.header(self.total - 1, 1, self.total - TAIL));
        tail
    }

    fn header(&self, own: u64, other: u64, entries_at: u64) -> Vec<u8> {
        let mut header = Vec::with_capacity(SECTOR as usize);
        header.extend_from_slice(b"EFI PART");
        // Revision 1.0, 92 bytes, the checksum's place, four bytes that are reserved.
        for number in [0x1_0000u32, 92, 0, 0] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        for number in [own, other, FIRST, self.total - TAIL - 1] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        header.extend_from_slice(&identifier(0));
        header.extend_from_slice(&entries_at.to_le_bytes());
        for number in [ENTRIES as u32, ENTRY as u32, crc32fast::hash(&self.entries)] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32fast::hash(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header.resize(SECTOR as usize, 0);
        header
    }

    /// One partition over everything, so that tools that know no other tables leave the disk alone.
    fn protective_record(&self) -> Vec<u8> {
        let mut record = vec![0; SECTOR as usize];
        record[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
        record[454..458].copy_from_slice(&1u32.to_le_bytes());
        let sectors = u32::try_from(self.total - 1).unwrap_or(u32::MAX);
        record[458..462].copy_from_slice(&sectors.to_le_bytes());
        record[510..].copy_from_slice(&[0x55, 0xaa]);
        record
    }
}

/// A partition's identifier, or with 0 the disk's.
fn identifier(number: u32) -> [u8; 16] {
    let mut identifier = *b"holm\0\0\0\x40\x80\0\0\0\0\0\0\0";
    identifier[12..].copy_from_slice(&number.to_be_bytes());
    identifier
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    }

    #[test]
    fn partitions_follow_each_other_and_both_headers_point_at_each_other() {
        let table = Table::new(&[8, 800, 16]);
        let (head, tail) = (table.head(), table.tail());
        assert_eq!((head.len(), tail.len()), (40 * 512, 33 * 512));
        let entry = |index: usize| {
            let at = 1024 + index * 128;
            (number(&head, at + 32), number(&head, at + 40))
        };
        assert_eq!([entry(0), entry(1), entry(2), entry(3)], [(40, 47), (48, 847), (848, 863), (0, 0)]);
        let total = 40 + 824 + 33;
        assert_eq!((number(&head, 512 + 24), number(&head, 512 + 32)), (1, total - 1));
        let copy = &tail[32 * 512..];
        assert_eq!((number(copy, 24), number(copy, 32), number(copy, 72)), (total - 1, 1, total - 33));
    }

    #[test]
    fn checksums_are_right() {
        let head = Table::new(&[8]).head();
        let mut header = head[512..512 + 92].to_vec();
        let checksum = u32::from_le_bytes(header[16..20].try_into().expect("four bytes"));
        header[16..20].fill(0);
        assert_eq!(checksum, crc32fast::hash(&header));
        let entries = u32::from_le_bytes(header[88..92].try_into().expect("four bytes"));
        assert_eq!(entries, crc32fast::hash(&head[1024..1024 + 128 * 128]));
    }
}
