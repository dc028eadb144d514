//! Sparse files as chunks: the file is cut into chunks of one size, a power of two of blocks; each is
//! either whole in the image or a hole.
//!
//! Small chunks need a long table, large ones are filled up with zeros; the size is the one that costs
//! fewest bytes in all.
//!
//! What is filled up is bounded by what is stored: a header of a few bytes can claim a file of 2^63 bytes
//! with a byte here and there, and each byte would fill a chunk.

use crate::erofs::{BLOCK, DataWriter, SparseFile};
use holm_tar::Error;
use holm_tar::Segment;

/// log2 of the largest chunk in blocks: 4 GiB.
const MAX_BITS: u8 = 20;
/// The longest table: 64 MiB of block numbers.
const MAX_CHUNKS: u64 = 16 << 20;

/// Zeros that a stored byte may cost, beside the layer's allowance.
const FILL_FACTOR: u64 = 16;
/// Zeros that all sparse files of a layer together may cost beyond that: 64 MiB.
pub(super) const FILL_ALLOWANCE: u64 = 64 << 20;

/// How a sparse file is going to be written. Nothing is allocated yet.
pub(super) struct Plan<'m> {
    map: &'m [Segment],
    size: u64,
    bits: u8,
}

impl<'m> Plan<'m> {
    /// Plans a file of `size` bytes of which `map` (ascending, without overlaps, within `size`) is
    /// stored; `None` if it cannot be represented.
    pub fn new(map: &'m [Segment], size: u64) -> Option<Self> {
        let bits = (0..=MAX_BITS)
            .filter(|bits| count(size, *bits) <= MAX_CHUNKS)
            .min_by_key(|bits| cost(map, size, *bits))?;
        Some(Self { map, size, bits })
    }

    /// Bytes of memory that the table takes.
    pub fn table_size(&self) -> u64 {
        count(self.size, self.bits) * size_of::<Option<u32>>() as u64
    }

    /// Bytes of zeros that the file takes from its layer's allowance: those beyond a multiple of what is
    /// stored.
    pub fn excess(&self) -> u64 {
        let stored: u64 = self.map.iter().map(|segment| segment.length).sum();
        let used = used(self.map, self.bits).saturating_mul(BLOCK << self.bits);
        used.saturating_sub(stored).saturating_sub(stored.saturating_mul(FILL_FACTOR))
    }

    /// Begins to write it.
    pub fn begin(self) -> Chunks<'m> {
        Chunks::begin(self.map, self.size, self.bits)
    }
}

/// A sparse file that is being written.
pub(super) struct Chunks<'m> {
    file: SparseFile,
    segments: std::iter::Copied<std::slice::Iter<'m, Segment>>,
    /// What is left of the current segment.
    segment: Segment,
    /// Where in the file the next byte of the image belongs, if a chunk has been begun.
    written: Option<u64>,
}

impl<'m> Chunks<'m> {
    /// Whether any byte of the file is not stored.
    pub fn has_holes(map: &[Segment], size: u64) -> bool {
        map.iter().map(|segment| segment.length).sum::<u64>() != size
    }

    fn begin(map: &'m [Segment], size: u64, bits: u8) -> Self {
        Self {
            file: SparseFile::new(size, bits),
            segments: map.iter().copied(),
            segment: Segment { offset: 0, length: 0 },
            written: None,
        }
    }

    fn chunk(&self) -> u64 {
        BLOCK << self.file.chunk_bits
    }

    /// Makes `data` stand where the next stored byte goes, and gives how many of `available` bytes may
    /// be written there at once.
    pub fn stand(&mut self, data: &mut DataWriter<'_>, available: usize) -> Result<usize, Error> {
        while self.segment.length == 0 {
            // The map's sum is the number of stored bytes, so there is a segment for each.
            self.segment =
                self.segments.next().unwrap_or(Segment { offset: self.file.size, length: u64::MAX });
        }
        let offset = self.segment.offset;
        let chunk = self.chunk();
        if self.written.is_none_or(|written| written.div_ceil(chunk) <= offset / chunk) {
            self.end_chunk(data)?;
            self.file.put(offset / chunk, data.start_file()?);
            self.written = Some(offset - offset % chunk);
        }
        data.write_zeros(offset - self.written.unwrap_or(offset))?;
        let length = self.segment.length.min(chunk - offset % chunk).min(available as u64);
        self.segment.offset = self.segment.offset.saturating_add(length);
        self.segment.length -= length;
        self.written = Some(self.segment.offset);
        Ok(length as usize)
    }

    /// Fills the current chunk up, as far as the file goes.
    fn end_chunk(&mut self, data: &mut DataWriter<'_>) -> Result<(), Error> {
        let Some(written) = self.written else { return Ok(()) };
        let end = written.next_multiple_of(self.chunk()).min(self.file.size);
        data.write_zeros(end - written)
    }

    /// The file, complete.
    pub fn finish(mut self, data: &mut DataWriter<'_>) -> Result<SparseFile, Error> {
        self.end_chunk(data)?;
        Ok(self.file)
    }
}

/// Chunks of a file of `size` bytes.
fn count(size: u64, bits: u8) -> u64 {
    size.div_ceil(BLOCK << bits)
}

/// Chunks that are not holes.
fn used(map: &[Segment], bits: u8) -> u64 {
    let chunk = BLOCK << bits;
    let mut used = 0;
    let mut next = 0;
    for segment in map.iter().filter(|segment| segment.length > 0) {
        let first = (segment.offset / chunk).max(next);
        let end = (segment.offset + segment.length).div_ceil(chunk);
        used += end.saturating_sub(first);
        next = next.max(end);
    }
    used
}

/// Bytes in the image, table and data, with chunks of this size.
fn cost(map: &[Segment], size: u64, bits: u8) -> u64 {
    used(map, bits).saturating_mul(BLOCK << bits).saturating_add(count(size, bits) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(map: &[(u64, u64)]) -> Vec<Segment> {
        map.iter().map(|&(offset, length)| Segment { offset, length }).collect()
    }

    fn bits(segments: &[(u64, u64)], size: u64) -> Option<u8> {
        Plan::new(&map(segments), size).map(|plan| plan.bits)
    }

    #[test]
    fn the_cheapest_chunk_is_taken() {
        assert_eq!(bits(&[(0, 1)], 1 << 20), Some(0));
        assert_eq!(bits(&[], 1 << 32), Some(20), "one hole");
        assert_eq!(bits(&[(0, 1)], 1 << 40), Some(9), "2 MiB of table, 2 MiB of data");
        assert_eq!(bits(&[(0, 1)], u64::MAX >> 1), None);
    }

    #[test]
    fn what_is_filled_up_is_bounded_by_what_is_stored() {
        let scattered: Vec<(u64, u64)> = (0..256).map(|at| (at << 32, 1)).collect();
        let excess =
            |segments: &[(u64, u64)], size| Plan::new(&map(segments), size).map(|plan| plan.excess());
        assert!(excess(&scattered, 1 << 56).is_some_and(|excess| excess > FILL_ALLOWANCE));
        assert_eq!(excess(&[(0, 4096), (1 << 40, 4096)], 1 << 41).map(|excess| excess < 8 << 20), Some(true));
        assert_eq!(excess(&[(0, 1 << 20)], 1 << 30), Some(0));
    }
}
