//! Maps of sparse files: which part of a file the stored bytes are (GNU tar manual, "Storing Sparse
//! Files").

use crate::header::number;
use crate::pax::decimal;

/// A run of stored bytes of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is; zero only at the end, where it says how long the last hole is.
    pub length: u64,
}

/// Reads pairs of a GNU sparse header into `map`; false if a number is damaged.
///
/// The first pair without a length ends the map.
pub(super) fn read_pairs(pairs: &[u8], map: &mut Vec<Segment>) -> bool {
    for pair in pairs.chunks_exact(24) {
        let (offset, length) = pair.split_at(12);
        if length[0] == 0 {
            break;
        }
        let Some((offset, length)) = number(offset).zip(number(length)) else { return false };
        let Some((offset, length)) = u64::try_from(offset).ok().zip(u64::try_from(length).ok()) else {
            return false;
        };
        map.push(Segment { offset, length });
    }
    true
}

/// How far the map before the data (pax 1.0) has been read.
pub(super) enum Progress {
    /// More blocks belong to it.
    More,
    /// The whole map.
    Done(Vec<Segment>),
    /// It is damaged.
    Damaged,
}

/// The map before the data: lines with the number of segments, then with each one's offset and
/// length, padded to whole blocks.
#[derive(Default)]
pub(super) struct LineMap {
    text: Vec<u8>,
    lines: u64,
    wanted: Option<u64>,
}

impl LineMap {
    /// Takes the next block.
    pub fn push(&mut self, block: &[u8]) -> Progress {
        self.text.extend_from_slice(block);
        self.lines += block.iter().filter(|&&byte| byte == b'\n').count() as u64;
        if self.wanted.is_none() && self.lines > 0 {
            let first = self.text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            self.wanted = decimal(first).and_then(|count| count.checked_mul(2)?.checked_add(1));
        }
        match self.wanted {
            Some(wanted) if self.lines >= wanted => {
                self.parse(wanted).map_or(Progress::Damaged, Progress::Done)
            }
            Some(_) => Progress::More,
            // The first line is a number of at most 20 digits, so a block has its end.
            None => Progress::Damaged,
        }
    }

    fn parse(&self, wanted: u64) -> Option<Vec<Segment>> {
        let mut numbers = self.text.split(|&byte| byte == b'\n').map(decimal).skip(1);
        (0..wanted / 2)
            .map(|_| Some(Segment { offset: numbers.next()??, length: numbers.next()?? }))
            .collect()
    }
}

/// Whether a map is ascending, without overlaps, within `size`, and in sum `stored` bytes long.
pub(super) fn is_valid(map: &[Segment], size: u64, stored: u64) -> bool {
    let mut end = 0u64;
    let mut sum = 0u64;
    for segment in map {
        if segment.offset < end {
            return false;
        }
        match segment.offset.checked_add(segment.length) {
            Some(next) if next <= size => end = next,
            _ => return false,
        }
        sum += segment.length;
    }
    sum == stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_before_the_data_is_read_as_it_comes() {
        let mut map = LineMap::default();
        for part in [&b"2\n0\n"[..], b"5\n40", b"96\n"] {
            assert!(matches!(map.push(part), Progress::More));
        }
        let Progress::Done(map) = map.push(b"7\n\0\0\0") else { panic!("not done") };
        assert_eq!(map, [Segment { offset: 0, length: 5 }, Segment { offset: 4096, length: 7 }]);
        for bad in [&b"x\n"[..], &[b'1'; 512], b"1\n0\n\n", b"99999999999999999999\n"] {
            assert!(matches!(LineMap::default().push(bad), Progress::Damaged), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn maps_that_contradict_themselves_are_refused() {
        let map = |pairs: &[(u64, u64)]| -> Vec<Segment> {
            pairs.iter().map(|&(offset, length)| Segment { offset, length }).collect()
        };
        assert!(is_valid(&map(&[(0, 5), (10, 5), (20, 0)]), 20, 10));
        assert!(!is_valid(&map(&[(10, 5), (0, 5)]), 20, 10), "descending");
        assert!(!is_valid(&map(&[(0, 5), (4, 5)]), 20, 10), "overlapping");
        assert!(!is_valid(&map(&[(0, 5), (16, 5)]), 20, 10), "past the end");
        assert!(!is_valid(&map(&[(u64::MAX, 5)]), u64::MAX, 5), "overflow");
        assert!(!is_valid(&map(&[(0, 5)]), 20, 6), "stored");
    }
}
