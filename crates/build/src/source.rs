//! A text with lines, and places in it: what every error and warning points at.

/// A place in a text. Both numbers count from 1; columns are characters, not bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

/// The lines of one instruction, with its heredocs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Where the first word begins.
    pub start: Position,
    /// The last line, from 1.
    pub last_line: u32,
}

/// A text under the name that people know it by.
#[derive(Clone, Debug, Default)]
pub struct Source {
    name: String,
    text: String,
    /// Where in `text` each line begins.
    starts: Vec<usize>,
    /// Some bytes were no UTF-8 and stand in `text` as U+FFFD.
    damaged: bool,
}

/// A byte order mark, which some editors put in front.
const MARK: &[u8] = b"\xef\xbb\xbf";

impl Source {
    /// The text of a file called `name`, without its byte order mark.
    pub fn new(name: &str, bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
        let text = String::from_utf8_lossy(bytes);
        let damaged = matches!(text, std::borrow::Cow::Owned(_));
        let text = text.into_owned();
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| *at < text.len());
        let starts = std::iter::once(0).filter(|_| !text.is_empty()).chain(breaks).collect();
        Self { name: name.to_owned(), text, starts, damaged }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of lines.
    pub fn len(&self) -> u32 {
        u32::try_from(self.starts.len()).unwrap_or(u32::MAX)
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// A line with its end; empty beyond the last one.
    pub(crate) fn raw_line(&self, line: u32) -> &str {
        let index = line as usize;
        let Some(start) = index.checked_sub(1).and_then(|index| self.starts.get(index)) else { return "" };
        let end = self.starts.get(index).copied().unwrap_or(self.text.len());
        self.text.get(*start..end).unwrap_or_default()
    }

    /// A line without its end.
    pub fn line(&self, line: u32) -> &str {
        without_end(self.raw_line(line))
    }

    /// Whether `part` of the text holds something that was no UTF-8.
    pub(crate) fn is_damaged(&self, part: &str) -> bool {
        self.damaged && part.contains(char::REPLACEMENT_CHARACTER)
    }
}

/// A line without its end, be it of Unix or of Windows.
pub(crate) fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\n', '\r'])
}

/// A line as it can be shown in a terminal: what controls one is replaced, tabs stay.
pub fn shown(line: &str) -> String {
    let safe = |c: char| if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    line.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_numbers_from_one() {
        let source = Source::new("Dockerfile", b"\xef\xbb\xbfa\r\nb\n\nc");
        let lines: Vec<_> = (0..=5).map(|line| source.line(line)).collect();
        assert_eq!((source.len(), lines), (4, vec!["", "a", "b", "", "c", ""]));
        assert_eq!(source.raw_line(1), "a\r\n");
    }

    #[test]
    fn an_end_of_line_begins_no_line() {
        assert_eq!(Source::new("x", b"a\n").len(), 1);
        assert!(Source::new("x", b"").is_empty());
    }

    #[test]
    fn what_is_no_utf8_is_known() {
        let source = Source::new("x", b"caf\xe9\nok\n");
        assert!(source.is_damaged(source.line(1)) && !source.is_damaged(source.line(2)));
        assert!(!Source::new("x", "\u{fffd}".as_bytes()).is_damaged("\u{fffd}"));
    }
}
