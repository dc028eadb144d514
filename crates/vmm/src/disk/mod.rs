//! Disks of machines.
//!
//! The layers of an image are one read-only disk: a partition table, each layer file as it is, the table's copy. The
//! emulator reads the layer files themselves, so machines and containers of one image share the host's page cache.

mod gpt;
pub mod scratch;
mod vmdk;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, memfd_create};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Bytes of a sector, which is what disks count.
pub const SECTOR: u64 = 512;
/// Most layers of one disk: what a partition table holds.
pub const LAYERS_LIMIT: usize = gpt::ENTRIES;

/// Bytes of a layer's first block.
const BLOCK: usize = 4096;

/// A disk made of layer files.
#[derive(Debug)]
pub struct Layers {
    parts: Vec<Part>,
}

/// What tells one file, or one disk, from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Bytes.
    pub size: u64,
    /// CRC-32.
    pub checksum: u32,
}

/// A part of a disk: a file from its beginning.
#[derive(Debug)]
struct Part {
    file: OwnedFd,
    sectors: u64,
}

impl Layers {
    /// Composes a disk of layers, lowest first: layer n is partition n + 1.
    ///
    /// # Errors
    /// There are no layers, or more than [`LAYERS_LIMIT`]; a file is empty or no whole number of blocks.
    pub fn compose(layers: Vec<OwnedFd>) -> Result<Self> {
        if layers.is_empty() || layers.len() > LAYERS_LIMIT {
            let message =
                format!("compose a disk of {} layers: a disk holds 1 to {LAYERS_LIMIT}", layers.len());
            return Err(Error::new(message));
        }
        let layers: Vec<Part> = layers.into_iter().map(part).collect::<Result<_>>()?;
        let sizes: Vec<u64> = layers.iter().map(|layer| layer.sectors).collect();
        let table = gpt::Table::new(&sizes);
        let head = part(in_memory("partition table", &table.head())?)?;
        let tail = part(in_memory("copy of the partition table", &table.tail())?)?;
        let parts = std::iter::once(head).chain(layers).chain(std::iter::once(tail)).collect();
        Ok(Self { parts })
    }

    /// The files of the disk, in order.
    pub fn files(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.parts.iter().map(|part| part.file.as_fd())
    }

    /// What tells it from another disk: the checksum is of the beginnings of its files, which are the partition table and
    /// what each layer says of itself.
    ///
    /// # Errors
    /// A layer cannot be read.
    pub fn mark(&self) -> Result<Mark> {
        let mut hasher = crc32fast::Hasher::new();
        let mut block = [0; BLOCK];
        for part in &self.parts {
            let length = rustix::io::pread(&part.file, &mut block, 0)
                .map_err(|errno| Error::caused("read the beginning of a layer", errno))?;
            hasher.update(&block[..length]);
        }
        let sectors: u64 = self.parts.iter().map(|part| part.sectors).sum();
        Ok(Mark { size: sectors * SECTOR, checksum: hasher.finalize() })
    }

    /// A description of the disk for QEMU, given the paths that it is to find the [`Layers::files`] at.
    ///
    /// # Errors
    /// The kernel has no memory for it.
    pub fn descriptor(&self, paths: &[String]) -> Result<OwnedFd> {
        let sizes = self.parts.iter().map(|part| part.sectors);
        in_memory("description of the disk", vmdk::descriptor(sizes.zip(paths)).as_bytes())
    }
}

fn part(file: OwnedFd) -> Result<Part> {
    let stat = fstat(&file).map_err(|errno| Error::caused("look at a layer", errno))?;
    let bytes = u64::try_from(stat.st_size).unwrap_or(0);
    if bytes == 0 || bytes % SECTOR != 0 {
        return Err(Error::new(format!("a layer of {bytes} bytes is no whole number of blocks")));
    }
    Ok(Part { file, sectors: bytes / SECTOR })
}

/// A file in memory that nobody can change.
fn in_memory(what: &str, content: &[u8]) -> Result<OwnedFd> {
    let make = || -> std::io::Result<OwnedFd> {
        let file = memfd_create("holm-disk", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(file);
        file.write_all(content)?;
        fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
        // The emulator looks among descriptors for one that is as open as it wants to have it.
        Ok(File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.into())
    };
    make().map_err(|error| Error::caused(format!("hold the {what} in memory"), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn layer(blocks: usize) -> OwnedFd {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(&vec![7; blocks * 4096], 0).expect("write");
        file.into()
    }

    #[test]
    fn a_disk_is_its_table_its_layers_and_the_copy() {
        let disk = Layers::compose(vec![layer(3), layer(1)]).expect("two layers");
        assert_eq!(disk.parts.iter().map(|part| part.sectors).collect::<Vec<_>>(), [40, 24, 8, 33]);
        let paths: Vec<String> = (2..6).map(|set| format!("/dev/fdset/{set}")).collect();
        let text =
            std::io::read_to_string(File::from(disk.descriptor(&paths).expect("memory"))).expect("text");
        assert!(text.contains("RW 24 FLAT \"/dev/fdset/3\" 0\n"), "{text}");
    }

    #[test]
    fn what_is_no_layer_is_refused() {
        assert!(Layers::compose(Vec::new()).is_err());
        assert!(Layers::compose(vec![tempfile::tempfile().expect("a file").into()]).is_err());
        let odd = tempfile::tempfile().expect("a file");
        odd.write_all_at(&[1; 700], 0).expect("write");
        assert!(Layers::compose(vec![odd.into()]).is_err());
        assert!(Layers::compose((0..=LAYERS_LIMIT).map(|_| layer(1)).collect()).is_err());
    }
}
