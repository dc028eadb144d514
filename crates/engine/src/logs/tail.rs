//! Where the last lines of a log begin. A line may be several records, of which only the last is full; they may be in
//! several files.

use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::record::LogForm;

/// Bytes read in one go.
const CHUNK: u64 = 64 * 1024;

/// How many lines are wanted of files that were not looked at yet; newer files come first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub wanted: u64,
    /// A record was seen: those that come are of lines that have an end.
    seen: bool,
}

impl Tail {
    /// The last `wanted` lines.
    pub fn of(wanted: u64) -> Self {
        Self { wanted, seen: false }
    }

    /// Goes to where the lines begin, reading backwards; false, and to the beginning, if that is in an older file.
    pub fn seek(&mut self, file: &mut File, form: LogForm) -> io::Result<bool> {
        let mut position = file.seek(SeekFrom::End(0))?;
        // What was read and not looked at yet, up to the last record that was; it begins at `position`.
        let mut text: Vec<u8> = Vec::new();
        while position > 0 {
            let length = position.min(CHUNK);
            position -= length;
            let mut chunk = vec![0; usize::try_from(length).expect("a chunk fits")];
            file.read_exact_at(&mut chunk, position)?;
            chunk.append(&mut text);
            text = chunk;
            while let Some((begin, record)) = last_record(&text, position == 0) {
                if self.passes(form.ends_a_line(record)) {
                    file.seek(SeekFrom::Start(position + text.len() as u64))?;
                    return Ok(true);
                }
                text.truncate(begin);
            }
        }
        file.rewind()?;
        Ok(false)
    }

    /// Lines of a file that can only be read forwards.
    pub fn count(&mut self, reader: &mut impl BufRead, form: LogForm) -> io::Result<u64> {
        let (mut lines, mut open) = (0, false);
        while let Some(record) = next_record(reader)? {
            open = !form.ends_a_line(&record);
            lines += u64::from(!open);
        }
        Ok(lines + u64::from(open && !self.seen))
    }

    /// Goes to where the lines begin in a file that has so many; false, and nowhere, if that is in an older file.
    pub fn skip(&mut self, reader: &mut impl BufRead, lines: u64, form: LogForm) -> io::Result<bool> {
        self.seen |= lines > 0;
        let Some(mut before) = lines.checked_sub(self.wanted).filter(|before| *before > 0) else {
            self.wanted -= lines;
            return Ok(false);
        };
        while before > 0
            && let Some(record) = next_record(reader)?
        {
            before -= u64::from(form.ends_a_line(&record));
        }
        self.wanted = 0;
        Ok(true)
    }

    /// Takes a record into account, or says that the lines begin behind it.
    fn passes(&mut self, ends_a_line: bool) -> bool {
        let counts = ends_a_line || !self.seen;
        if counts && self.wanted == 0 {
            return true;
        }
        self.seen = true;
        self.wanted -= u64::from(counts);
        false
    }
}

/// A line of the file, without its end. A compressed file that is torn ends there.
fn next_record(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    match reader.read_until(b'\n', &mut line) {
        Ok(0) => Ok(None),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        read => read.map(|_| Some(line.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(line))),
    }
}

/// The last whole record of `text` and where it begins; the first one is whole only at the beginning
/// of the file.
fn last_record(text: &[u8], at_beginning: bool) -> Option<(usize, &[u8])> {
    let without_end = text.strip_suffix(b"\n").unwrap_or(text);
    if text.is_empty() {
        return None;
    }
    match without_end.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => Some((newline + 1, &without_end[newline + 1..])),
        None if at_beginning => Some((0, without_end)),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    const LOG: &str = "t stdout F one\nt stdout P tw\nt stdout F o\nt stderr F \nt stdout P $ \n";

    /// The tail of `log`, and what is wanted of older files, found backwards and forwards.
    fn tails(log: &str, tail: Tail) -> [(String, u64); 2] {
        let mut file = tempfile::tempfile().expect("a temporary file");
        file.write_all(log.as_bytes()).expect("write");
        let (mut back, mut forth, mut found) = (tail, tail, [String::new(), String::new()]);
        back.seek(&mut file, LogForm::Cri).expect("read");
        file.read_to_string(&mut found[0]).expect("text");
        let lines = forth.count(&mut log.as_bytes(), LogForm::Cri).expect("read");
        let mut reader = log.as_bytes();
        forth.skip(&mut reader, lines, LogForm::Cri).expect("read");
        reader.read_to_string(&mut found[1]).expect("text");
        let [first, second] = found;
        [(first, back.wanted), (second, forth.wanted)]
    }

    #[test]
    fn lines_are_counted_and_not_records() {
        for (wanted, records, left) in [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 4, 0), (4, 5, 0), (9, 5, 5)] {
            let begin = LOG.match_indices('\n').rev().nth(records).map_or(0, |(at, _)| at + 1);
            for found in tails(LOG, Tail::of(wanted)) {
                assert_eq!(found, (LOG[begin..].to_owned(), left), "{wanted}");
            }
        }
    }

    #[test]
    fn a_line_may_begin_in_an_older_file() {
        let newer = Tail { wanted: 0, seen: true };
        for found in tails("t stdout F a\nt stdout P b\n", newer) {
            assert_eq!(found.0, "t stdout P b\n");
        }
        for found in tails("t stdout F a\nt stdout F b\n", newer) {
            assert_eq!(found.0, "");
        }
    }

    #[test]
    fn lines_longer_than_a_chunk() {
        let long = format!("t stdout F {}\n", "x".repeat(2 * CHUNK as usize));
        for found in tails(&long.repeat(3), Tail::of(2)) {
            assert_eq!(found.0.len(), 2 * long.len());
        }
    }
}
