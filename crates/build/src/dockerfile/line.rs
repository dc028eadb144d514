//! Lines of a Dockerfile as instructions see them: continued ones joined, comments and blank lines between them gone.
//!
//! ```text
//! RUN one \          line 3    logical line: `RUN one   two`
//!   # why                      pieces: offset 0 is 3:1, offset 8 is 5:1
//!   two              line 5
//! ```
//! A line goes on if its last character but blanks is the escape character, and the one before it is not. Space at the
//! beginning of a line that continues another one stays.

use crate::error::{Fault, Kind, Result};
use crate::source::{Position, Source, Span, without_end};

/// Length of a piece in bytes.
const PIECE: usize = 256;
/// Comments above an instruction that are kept: the last ones.
const COMMENTS: usize = 100;

/// Lines, joined, with where they came from.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub text: String,
    /// Offsets in `text` at which the text of another place begins, ascending.
    pieces: Vec<(usize, Position)>,
    pub span: Span,
    /// A blank line stands within, which Docker will refuse one day.
    pub has_blank: bool,
    /// Comments above, without `#`, from the last one that says nothing on.
    pub comments: Vec<String>,
}

/// A part of a [`Line`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    pub text: &'a str,
    /// Where in the line it begins.
    pub at: usize,
}

impl<'a> Part<'a> {
    /// Cuts it in two.
    pub fn split_at(self, at: usize) -> (Part<'a>, Part<'a>) {
        let (head, tail) = self.text.split_at(at);
        (Part { text: head, at: self.at }, Part { text: tail, at: self.at + at })
    }

    /// Without space at both ends.
    pub fn trimmed(self) -> Part<'a> {
        let text = self.text.trim_start();
        Part { text: text.trim_end(), at: self.at + self.text.len() - text.len() }
    }
}

impl Line {
    /// The whole of it.
    pub fn part(&self) -> Part<'_> {
        Part { text: &self.text, at: 0 }
    }

    /// Where something stands in the file.
    pub fn position(&self, offset: usize) -> Position {
        let index = self.pieces.partition_point(|(start, _)| *start <= offset);
        let Some((start, place)) = index.checked_sub(1).and_then(|index| self.pieces.get(index)) else {
            return self.span.start;
        };
        let between = self.text.get(*start..offset).unwrap_or_default().chars().count();
        Position { line: place.line, column: place.column.saturating_add(between as u32) }
    }

    fn push(&mut self, text: &str, line: u32, indent: u32) {
        // Long lines are several pieces, so that no place in them is far from the beginning of one.
        let mut column = indent + 1;
        let mut rest = text;
        loop {
            self.pieces.push((self.text.len(), Position { line, column }));
            let (piece, behind) = rest.split_at(rest.ceil_char_boundary(PIECE));
            self.text.push_str(piece);
            if behind.is_empty() {
                break;
            }
            column = column.saturating_add(piece.chars().count() as u32);
            rest = behind;
        }
        self.span.last_line = line;
    }
}

/// Takes a file apart.
pub(super) struct Lines<'a> {
    source: &'a Source,
    escape: char,
    /// The last line that was read.
    read: u32,
    comments: Vec<String>,
}

impl<'a> Lines<'a> {
    /// The lines behind the first `skipped` ones, which were directives.
    pub fn new(source: &'a Source, escape: char, skipped: u32) -> Self {
        Self { source, escape, read: skipped, comments: Vec::new() }
    }

    /// The next instruction's line.
    ///
    /// # Errors
    /// It holds something that is no UTF-8.
    pub fn next(&mut self) -> Result<Option<Line>> {
        while self.read < self.source.len() {
            self.read += 1;
            let raw = self.source.line(self.read);
            let text = raw.trim_start();
            if let Some(comment) = text.strip_prefix('#') {
                self.take_comment(comment.trim());
            } else if !text.is_empty() {
                return self.line(text, raw.len() - text.len()).map(Some);
            }
        }
        Ok(None)
    }

    /// A comment that says nothing separates the ones above from the instruction.
    fn take_comment(&mut self, comment: &str) {
        match comment {
            "" => self.comments.clear(),
            comment => {
                if self.comments.len() == COMMENTS {
                    self.comments.remove(0);
                }
                self.comments.push(comment.to_owned());
            }
        }
    }

    fn line(&mut self, first: &str, indent: usize) -> Result<Line> {
        let start = Position { line: self.read, column: indent as u32 + 1 };
        let mut line = Line { comments: std::mem::take(&mut self.comments), ..Line::default() };
        line.span.start = start;
        let (text, mut goes_on) = self.continuation(first);
        line.push(text, self.read, indent as u32);
        while goes_on && self.read < self.source.len() {
            self.read += 1;
            let raw = self.source.line(self.read);
            match raw.trim_start() {
                "" => line.has_blank = true,
                text if text.starts_with('#') => {}
                _ => {
                    let (text, more) = self.continuation(raw);
                    goes_on = more;
                    line.push(text, self.read, 0);
                }
            }
        }
        line.span.last_line = self.read;
        self.check_encoding(&line.text, start)?;
        Ok(line)
    }

    /// A line without what says that it goes on, and whether that was there.
    fn continuation<'l>(&self, line: &'l str) -> (&'l str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(rest) if !rest.ends_with(self.escape) => (rest, true),
            _ => (line, false),
        }
    }

    /// The lines up to one that says `end`, as they are; tabs in front of `end` do not count with `tabs`.
    ///
    /// # Errors
    /// No line says `end`; `opened` is where it was asked for.
    pub fn content(&mut self, end: &str, tabs: bool, opened: Position) -> Result<String> {
        let mut content = String::new();
        while self.read < self.source.len() {
            self.read += 1;
            let raw = self.source.raw_line(self.read);
            let line = without_end(raw);
            if line == end || (tabs && line.trim_start_matches('\t') == end) {
                self.check_encoding(&content, opened)?;
                return Ok(content);
            }
            content.push_str(raw);
        }
        let fault = Fault::new(Kind::Syntax, opened, format!("the heredoc `{end}` does not end"));
        Err(fault.across(end).hint(format!("a line that says only `{end}` ends it")))
    }

    /// The last line that was read, from 1.
    pub fn last_read(&self) -> u32 {
        self.read
    }

    fn check_encoding(&self, text: &str, position: Position) -> Result<()> {
        if self.source.is_damaged(text) {
            return Err(Fault::new(Kind::Syntax, position, "this instruction is not written in UTF-8"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, escape: char) -> Vec<Line> {
        let source = Source::new("Dockerfile", text.as_bytes());
        let mut lines = Lines::new(&source, escape, 0);
        std::iter::from_fn(|| lines.next().expect("lines")).collect()
    }

    #[test]
    fn continued_lines_are_joined() {
        let cases = [
            ("RUN a\\\n  b\\\nc", "RUN a  bc"),
            ("RUN a \\  \t\nb", "RUN a b"),
            ("RUN a \\\n \\\n b", "RUN a   b"),
            ("RUN a\\\n\\\nb", "RUN ab"),
            ("RUN a \\\n# comment\n\n  # another\nb", "RUN a b"),
            ("RUN a \\", "RUN a "),
            ("RUN a \\\\\n", "RUN a \\\\"),
            ("  RUN a\r\n", "RUN a"),
            ("\\\nRUN a", "RUN a"),
            ("RUN a # no comment\\\nb", "RUN a # no commentb"),
        ];
        for (text, expected) in cases {
            let lines = lines(text, '\\');
            assert_eq!(lines[0].text, expected, "{text:?}");
        }
        assert_eq!(lines("COPY a `\n  c:\\", '`')[0].text, "COPY a   c:\\");
    }

    #[test]
    fn places_are_those_of_the_file() {
        let line = &lines("\n  RUN one \\\n# x\n  two\n", '\\')[0];
        assert_eq!(line.span, Span { start: Position { line: 2, column: 3 }, last_line: 4 });
        assert_eq!(line.position(4), Position { line: 2, column: 7 });
        assert_eq!(line.position(10), Position { line: 4, column: 3 });
        let long = &lines(&format!("RUN {}é{} x", "é".repeat(300), "a".repeat(700)), '\\')[0];
        for (offset, c) in long.text.char_indices().enumerate().map(|(column, (at, _))| (at, column)) {
            assert_eq!(long.position(offset), Position { line: 1, column: c as u32 + 1 });
        }
    }

    #[test]
    fn comments_belong_to_the_instruction_below() {
        let lines = lines("# a\n#\n# b\n\n#  c\nRUN x\nRUN y \\\n# no\nz", '\\');
        assert_eq!(lines[0].comments, ["b", "c"]);
        assert!(lines[1].comments.is_empty());
    }
}
