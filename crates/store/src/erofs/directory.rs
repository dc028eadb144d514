//! The blocks of a directory: in each, entries of 12 bytes, then the names, both sorted by name; a
//! block's first name tells how many entries it has. Names are sorted over the whole directory, with
//! `.` and `..` in their places, so that the kernel can search by halves.

use super::format::{BLOCK, FileType};
use holm_tar::Error;

const ENTRY: u64 = 12;

/// An entry of a directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct DirectoryEntry<'a> {
    pub name: &'a [u8],
    /// The inode's number: its offset in the metadata in units of 32 bytes.
    pub inode: u64,
    pub file_type: FileType,
}

/// The size in bytes of a directory with these names, `.` and `..` among them.
pub(super) fn size<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut full = 0;
    let mut used = 0;
    for name in names {
        let need = ENTRY + name.len() as u64;
        if used + need > BLOCK {
            full += 1;
            used = 0;
        }
        used += need;
    }
    full * BLOCK + used
}

/// Gives the directory's blocks one after the other, and says of the last that it is the last: all others are whole, and
/// that is as long as it needs.
///
/// # Errors
/// Those of `entries` and of `block`.
pub(super) fn encode<'a>(
    entries: impl Iterator<Item = Result<DirectoryEntry<'a>, Error>>,
    mut block: impl FnMut(&[u8], bool) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut here, mut used, mut bytes) = (Vec::new(), 0, Vec::new());
    for entry in entries {
        let entry = entry?;
        let need = ENTRY + entry.name.len() as u64;
        if used + need > BLOCK {
            bytes.clear();
            encode_block(&here, &mut bytes);
            bytes.resize(BLOCK as usize, 0);
            block(&bytes, false)?;
            here.clear();
            used = 0;
        }
        used += need;
        here.push(entry);
    }
    bytes.clear();
    encode_block(&here, &mut bytes);
    block(&bytes, true)
}

fn encode_block(entries: &[DirectoryEntry<'_>], out: &mut Vec<u8>) {
    let mut name_offset = entries.len() * ENTRY as usize;
    for entry in entries {
        out.extend_from_slice(&entry.inode.to_le_bytes());
        out.extend_from_slice(&(name_offset as u16).to_le_bytes());
        out.extend_from_slice(&[entry.file_type as u8, 0]);
        name_offset += entry.name.len();
    }
    entries.iter().for_each(|entry| out.extend_from_slice(entry.name));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_bytes_agree() {
        for count in [1usize, 2, 50, 290, 5000] {
            let names: Vec<String> =
                (0..count).map(|n| format!("{n:0width$}", width = 1 + n % 250)).collect();
            let entry = |name| DirectoryEntry { name, inode: 7, file_type: FileType::Regular };
            let entries: Vec<_> = names.iter().map(|name| entry(name.as_bytes())).collect();
            let mut bytes = Vec::new();
            let blocks = encode(entries.into_iter().map(Ok), |block, is_last| {
                bytes.extend_from_slice(block);
                assert!(is_last || block.len() as u64 == BLOCK);
                Ok(())
            });
            blocks.expect("encoded");
            assert_eq!(bytes.len() as u64, size(names.iter().map(|name| name.as_bytes())), "{count}");
        }
    }
}
