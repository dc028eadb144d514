//! Whole lines out of pieces, for those who want them whole.

/// What of a line is kept until its end comes, in bytes; Docker's size. A longer line comes in parts.
const LIMIT: usize = 16 * 1024;

/// A line that has no end yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    /// Adds what was said; gives `take` every line without its end, and parts of those that are longer than a part can be.
    pub fn feed(&mut self, bytes: &[u8], mut take: impl FnMut(&[u8], bool)) {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, full) = without_end(line);
            if full && self.begun.is_empty() && line.len() <= LIMIT {
                take(line, true);
                continue;
            }
            self.begun.extend_from_slice(line);
            while self.begun.len() > LIMIT {
                let length = whole_characters(&self.begun[..=LIMIT]);
                take(&self.begun[..length], false);
                self.begun.drain(..length);
            }
            if full {
                take(&self.begun, true);
                self.begun.clear();
            }
        }
    }

    /// What has no end, which will not come.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        let rest = std::mem::take(&mut self.begun);
        (!rest.is_empty()).then_some(rest)
    }
}

/// A line, and whether it had an end.
pub(super) fn without_end(line: &[u8]) -> (&[u8], bool) {
    line.strip_suffix(b"\n").map_or((line, false), |line| (line, true))
}

/// How much of a part, of which there is one byte more than may be, does not cut a character (RFC 3629) in two.
fn whole_characters(bytes: &[u8]) -> usize {
    let is_inside = |at: usize| bytes[at] & 0xc0 == 0x80;
    let begin = (LIMIT - 3..=LIMIT).rev().find(|&at| !is_inside(at));
    begin.unwrap_or(LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(pieces: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
        let (mut lines, mut taken) = (Lines::default(), Vec::new());
        for piece in pieces {
            lines.feed(piece, |line, full| taken.push((line.to_vec(), full)));
        }
        taken.extend(lines.take().map(|rest| (rest, false)));
        taken
    }

    #[test]
    fn lines_are_put_together() {
        let expected =
            [(b"one".to_vec(), true), (b"two".to_vec(), true), (vec![], true), (b"$ ".to_vec(), false)];
        assert_eq!(fed(&[b"one\ntw", b"o\n\n$", b" "]), expected);
    }

    #[test]
    fn long_lines_come_in_parts_of_whole_characters() {
        let line = format!("x{}\n", "ä".repeat(LIMIT));
        let parts = fed(&[&line.as_bytes()[..LIMIT], &line.as_bytes()[LIMIT..]]);
        assert_eq!(parts.iter().map(|(_, full)| *full).collect::<Vec<_>>(), [false, false, true]);
        assert!(parts.iter().all(|(part, _)| part.len() <= LIMIT && std::str::from_utf8(part).is_ok()));
        let together: Vec<u8> = parts.into_iter().flat_map(|(part, _)| part).collect();
        assert_eq!(together, line.trim_end().as_bytes());
        let binary = fed(&[&[0x80; LIMIT + 5]]);
        assert_eq!(binary.iter().map(|(part, _)| part.len()).collect::<Vec<_>>(), [LIMIT, 5]);
        assert_eq!(fed(&[&[b'x'; LIMIT], b"\n"]), [(vec![b'x'; LIMIT], true)]);
    }
}
