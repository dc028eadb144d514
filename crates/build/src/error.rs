//! What is wrong with a file, and where: a [`Fault`] for whoever has the file at hand, an [`Error`] for whoever has not.
//!
//! ```text
//! Dockerfile:3:6: unknown flag `--form`
//!    3 | COPY --form=build /app /app
//!      |      ^^^^^^
//! ```

use std::fmt;

use crate::source::{Position, Source, shown};

/// What went wrong, for callers that decide what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The text has not the form that it must have.
    Syntax,
    /// No instruction has this name.
    UnknownInstruction,
    /// The instruction has no such flag, or the flag no such key.
    UnknownFlag,
    /// A flag or an argument has a value that it cannot have.
    Value,
    /// A variable must have a value and has none, or is written in a way that means nothing.
    Variable,
    /// A stage is named that is not there, or not yet there.
    Stage,
    /// A limit is passed.
    TooLarge,
    /// What the instruction says could not be done.
    Step,
}

/// Something wrong at a place of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: Kind,
    position: Position,
    width: usize,
    message: String,
    hint: Option<String>,
}

/// What can be done with a text, or what is wrong with it.
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// A fault in one sentence.
    pub fn new(kind: Kind, position: Position, message: impl Into<String>) -> Self {
        Self { kind, position, width: 1, message: message.into(), hint: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, advice: impl Into<String>) -> Self {
        self.hint = Some(advice.into());
        self
    }

    /// Adds the nearest word, if one is near.
    #[must_use]
    pub fn meant(self, nearest: Option<impl fmt::Display>) -> Self {
        match nearest {
            Some(word) => self.hint(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    /// The same, of all the characters of `text`.
    #[must_use]
    pub fn across(mut self, text: &str) -> Self {
        self.width = text.chars().count().max(1);
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where.
    pub fn position(&self) -> Position {
        self.position
    }

    /// With the file's name and the line, for whoever has not the file at hand.
    pub fn of(self, source: &Source) -> Error {
        let line = source.line(self.position.line).to_owned();
        Error { file: source.name().to_owned(), line, fault: self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Something wrong with a file, and the line that it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    file: String,
    line: String,
    fault: Fault,
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> Kind {
        self.fault.kind
    }

    /// Where.
    pub fn position(&self) -> Position {
        self.fault.position
    }

    /// The sentence alone.
    pub fn message(&self) -> &str {
        &self.fault.message
    }

    /// File, line, column, and the sentence.
    pub fn summary(&self) -> String {
        let Position { line, column } = self.fault.position;
        format!("{}:{line}:{column}: {}", self.file, self.fault.message)
    }

    /// The line with its number, and below it a mark: safe to be shown. Nothing where the line is blank.
    pub fn excerpt(&self) -> Option<String> {
        let Position { line, column } = self.fault.position;
        let before = (column as usize).saturating_sub(1);
        let cut = if self.line.chars().count() > SHOWN { before.saturating_sub(BEFORE) } else { 0 };
        let text: String = self.line.chars().skip(cut).take(SHOWN).collect();
        if text.trim().is_empty() {
            return None;
        }
        // Tabs stay tabs, so that the mark is below its word whatever their width is.
        let blank = |c: char| if c == '\t' { '\t' } else { ' ' };
        let indent: String = text.chars().map(blank).take(before - cut).collect();
        let room = text.chars().count().saturating_sub(before - cut).max(1);
        let mark = "^".repeat(self.fault.width.min(room));
        Some(format!("{line:4} | {}\n     | {indent}{mark}", shown(&text)))
    }

    /// Advice.
    pub fn hint(&self) -> Option<&str> {
        self.fault.hint.as_deref()
    }
}

/// Characters of a long line that are shown, and how many of these before the place.
const SHOWN: usize = 160;
const BEFORE: usize = 60;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        self.excerpt().map_or(Ok(()), |excerpt| write!(f, "\n{excerpt}"))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: u32, column: u32) -> Fault {
        Fault::new(Kind::Syntax, Position { line, column }, "unknown flag `--form`").across("--form")
    }

    #[test]
    fn the_line_is_shown_with_a_mark() {
        let source = Source::new("Dockerfile", b"FROM a\nCOPY\t--form=x a b\n");
        let error = fault(2, 6).hint("did you mean `--from`?").of(&source);
        assert_eq!(
            error.to_string(),
            "Dockerfile:2:6: unknown flag `--form`\n   2 | COPY\t--form=x a b\n     |     \t^^^^^^"
        );
        assert_eq!(error.hint(), Some("did you mean `--from`?"));
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = Source::new("f", format!("{}X{}", "a".repeat(500), "b".repeat(500)).as_bytes());
        let shown = fault(1, 501).of(&source).to_string();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[1].find('X'), lines[2].find('^'));
        assert!(lines[1].len() < 200);
    }

    #[test]
    fn places_outside_of_the_text_and_control_characters_do_no_harm() {
        let source = Source::new("f", b"a\x1b[2Jb");
        assert_eq!(fault(9, 9).of(&source).to_string(), "f:9:9: unknown flag `--form`");
        assert!(fault(1, 90).of(&source).to_string().ends_with('^'));
        assert!(!fault(1, 1).of(&source).to_string().contains('\x1b'));
    }
}
