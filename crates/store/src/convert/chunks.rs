//! Sparse files as chunks: the file is cut into chunks of one size, a power of two of blocks; each is
//! either whole in the image or a hole.
//!
//! Small chunks need a long table, large ones are filled up with zeros; the size is the one that costs
//! fewest bytes in all.

use crate::erofs::{BLOCK, Content, DataWriter};
use crate::layer_error::Error;
use crate::tar::Segment;

/// log2 of the largest chunk in blocks: 4 GiB.
const MAX_BITS: u8 = 20;
/// The longest table: 64 MiB of block numbers.
const MAX_CHUNKS: u64 = 16 << 20;

/// A sparse file that is being written.
pub(super) struct Chunks<'m> {
    size: u64,
    bits: u8,
    blocks: Vec<Option<u32>>,
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

    /// Plans a file of `size` bytes of which `map` (ascending, without overlaps, within `size`) is
    /// stored; `None` if it cannot be represented.
    pub fn plan(map: &'m [Segment], size: u64) -> Option<Self> {
        let bits = (0..=MAX_BITS)
            .filter(|bits| size.div_ceil(BLOCK << bits) <= MAX_CHUNKS)
            .min_by_key(|bits| cost(map, size, *bits))?;
        let count = size.div_ceil(BLOCK << bits) as usize;
        Some(Self {
            size,
            bits,
            blocks: vec![None; count],
            segments: map.iter().copied(),
            segment: Segment { offset: 0, length: 0 },
            written: None,
        })
    }

    /// Bytes of memory that the table takes.
    pub fn table_size(&self) -> u64 {
        self.blocks.len() as u64 * 8
    }

    fn chunk(&self) -> u64 {
        BLOCK << self.bits
    }

    /// Makes `data` stand where the next stored byte goes, and gives how many of `available` bytes may
    /// be written there at once.
    pub fn stand(&mut self, data: &mut DataWriter<'_>, available: usize) -> Result<usize, Error> {
        while self.segment.length == 0 {
            // The map's sum is the number of stored bytes, so there is a segment for each.
            self.segment = self.segments.next().unwrap_or(Segment { offset: self.size, length: u64::MAX });
        }
        let offset = self.segment.offset;
        let chunk = self.chunk();
        if self.written.is_none_or(|written| written.div_ceil(chunk) <= offset / chunk) {
            self.end_chunk(data)?;
            let block = data.start_file()?;
            if let Some(slot) = self.blocks.get_mut((offset / chunk) as usize) {
                *slot = Some(block);
            }
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
        let end = written.next_multiple_of(self.chunk()).min(self.size);
        data.write_zeros(end - written)
    }

    /// The file, complete.
    pub fn finish(mut self, data: &mut DataWriter<'_>) -> Result<Content, Error> {
        self.end_chunk(data)?;
        Ok(Content::Sparse { size: self.size, chunk_bits: self.bits, chunks: self.blocks.into() })
    }
}

/// Bytes in the image, table and data, with chunks of this size.
fn cost(map: &[Segment], size: u64, bits: u8) -> u64 {
    let chunk = BLOCK << bits;
    let mut used = 0;
    let mut next = 0;
    for segment in map.iter().filter(|segment| segment.length > 0) {
        let first = (segment.offset / chunk).max(next);
        let end = (segment.offset + segment.length).div_ceil(chunk);
        used += end.saturating_sub(first);
        next = next.max(end);
    }
    used.saturating_mul(chunk).saturating_add(size.div_ceil(chunk) * 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(map: &[(u64, u64)], size: u64) -> Option<u8> {
        let map: Vec<_> = map.iter().map(|&(offset, length)| Segment { offset, length }).collect();
        Chunks::plan(&map, size).map(|chunks| chunks.bits)
    }

    #[test]
    fn the_cheapest_chunk_is_taken() {
        assert_eq!(bits(&[(0, 1)], 1 << 20), Some(0));
        assert_eq!(bits(&[], 1 << 32), Some(20), "one hole");
        assert_eq!(bits(&[(0, 1)], 1 << 40), Some(9), "2 MiB of table, 2 MiB of data");
        assert_eq!(bits(&[(0, 1)], u64::MAX >> 1), None);
    }
}
