//! The disks of a guest: layers as partitions of one, and a scratch disk.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holm_tests::{Holm, Tarball, tarball};

const SECTOR: usize = 512;
/// Sectors in front of the first partition and behind the last one that the table may use.
const TABLE: usize = 34;
/// Partitions begin at multiples of this.
const ALIGNMENT: usize = 2048;
const ENTRY: usize = 128;
/// Bytes of the scratch disk.
const SCRATCH_SIZE: u64 = 64 << 20;

/// Both disks.
pub struct Disks {
    /// Partition 1 is the image `base`, partition 2 a layer over it.
    pub layers: PathBuf,
    /// An empty ext4.
    pub scratch: PathBuf,
}

impl Disks {
    /// Makes them in a directory.
    ///
    /// # Errors
    /// A tool is not installed.
    pub fn make(place: &Path) -> Result<Self> {
        let disks = Self { layers: place.join("layers"), scratch: place.join("scratch") };
        let over = Tarball::new()
            .directory("etc", 0o755)
            .file("etc/over", 0o644, "of the second layer\n")
            .file("etc/os-release", 0o644, "ID=over\n")
            .finish();
        let layers = [layer(tarball::base())?, layer(over)?];
        fs::write(&disks.layers, partitioned(&layers))?;
        File::create(&disks.scratch)?.set_len(SCRATCH_SIZE)?;
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disks.scratch).status();
        ensure!(made.context("running mkfs.ext4")?.success(), "mkfs.ext4 failed");
        Ok(disks)
    }
}

/// A layer as the store writes it.
fn layer(tar: Vec<u8>) -> Result<Vec<u8>> {
    let holm = Holm::empty();
    holm.call(["import", "-", "image"]).stdin(tar).run().ok();
    let files = fs::read_dir(holm.root().join("layers"))?.flatten().map(|entry| entry.path());
    let file = files.into_iter().find(|path| path.extension().is_some_and(|end| end == "erofs"));
    Ok(fs::read(file.context("the store has no layer")?)?)
}

/// A disk with a partition for each (UEFI specification, "GUID Partition Table").
fn partitioned(contents: &[Vec<u8>]) -> Vec<u8> {
    let mut next = ALIGNMENT;
    let mut places = Vec::new();
    for content in contents {
        let sectors = content.len().div_ceil(SECTOR);
        places.push((next, next + sectors - 1));
        next = (next + sectors).next_multiple_of(ALIGNMENT);
    }
    let sectors = next + TABLE;
    let mut disk = vec![0; sectors * SECTOR];
    for (content, (first, _)) in contents.iter().zip(&places) {
        disk[first * SECTOR..][..content.len()].copy_from_slice(content);
    }
    let entries = entries(&places);
    disk[2 * SECTOR..][..entries.len()].copy_from_slice(&entries);
    disk[(sectors - 33) * SECTOR..][..entries.len()].copy_from_slice(&entries);
    protective_record(&mut disk[..SECTOR], sectors);
    for (at, other, table) in [(1, sectors - 1, 2), (sectors - 1, 1, sectors - 33)] {
        let header = header(at, other, table, sectors, &entries);
        disk[at * SECTOR..][..header.len()].copy_from_slice(&header);
    }
    disk
}

fn entries(places: &[(usize, usize)]) -> Vec<u8> {
    let mut entries = vec![0; 128 * ENTRY];
    for (number, (first, last)) in places.iter().enumerate() {
        let entry = &mut entries[number * ENTRY..][..ENTRY];
        // "Linux filesystem data", as it is laid out on disk; any identity of its own.
        entry[..16].copy_from_slice(b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
        entry[16..32].fill(number as u8 + 1);
        entry[32..40].copy_from_slice(&(*first as u64).to_le_bytes());
        entry[40..48].copy_from_slice(&(*last as u64).to_le_bytes());
    }
    entries
}

fn header(at: usize, other: usize, table: usize, sectors: usize, entries: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend_from_slice(b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0");
    for sector in [at, other, TABLE, sectors - TABLE] {
        header.extend_from_slice(&(sector as u64).to_le_bytes());
    }
    header.extend_from_slice(&[9; 16]);
    header.extend_from_slice(&(table as u64).to_le_bytes());
    for number in [128, ENTRY as u32, crc32fast::hash(entries)] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    let checksum = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// Tells those who know no such table that the disk is not empty.
fn protective_record(record: &mut [u8], sectors: usize) {
    record[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    record[458..462].copy_from_slice(&(sectors as u32 - 1).to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
}

/// Whether the scratch disk is what a file system left that was unmounted in order.
pub fn is_clean(disk: &Path) -> bool {
    let mut state = [0; 2];
    File::open(disk).and_then(|file| file.read_exact_at(&mut state, 1024 + 58)).expect("it is there");
    u16::from_le_bytes(state) & 1 == 1
}
