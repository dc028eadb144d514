//! The words of an instruction before any variable is expanded: keyword, flags, arguments.
//!
//! Three ways of cutting a text are in use, and they do not agree: flags lose their quotes, pairs (`ENV`, `ARG`, `LABEL`)
//! keep them but may have space inside of them, and everything else is cut at every space whatever the quotes say.

use super::line::{Line, Part};
use crate::error::{Fault, Kind};
use crate::source::Position;

/// Space between words of one line.
const SPACE: [char; 5] = ['\t', '\x0b', '\x0c', '\r', ' '];

/// An argument as it is written, for who expands it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// The text, with its quotes and variables.
    pub text: String,
    /// Where it begins.
    pub position: Position,
}

impl Word {
    /// A fault of this word.
    pub fn fault(&self, kind: Kind, message: impl Into<String>) -> Fault {
        Fault::new(kind, self.position, message).across(&self.text)
    }
}

/// A flag as it is written: `--name` or `--name=value`, without quotes.
#[derive(Clone, Debug)]
pub(super) struct Flag {
    pub text: String,
    pub position: Position,
}

/// An instruction's line, cut.
pub(super) struct Parts<'a> {
    pub keyword: Part<'a>,
    pub flags: Vec<Flag>,
    pub arguments: Part<'a>,
}

impl<'a> Parts<'a> {
    /// Cuts a line, or what follows `ONBUILD`.
    pub fn of(line: &Line, text: Part<'a>, escape: char) -> Self {
        let text = text.trimmed();
        let (keyword, rest) = text.split_at(text.text.find(SPACE).unwrap_or(text.text.len()));
        let (flags, arguments) = flags(line, rest, escape);
        Self { keyword, flags, arguments: arguments.trimmed() }
    }
}

/// What stands in front of the first word that does not begin with `--`, and the rest; a bare `--` ends flags, too.
fn flags<'a>(line: &Line, text: Part<'a>, escape: char) -> (Vec<Flag>, Part<'a>) {
    let mut flags = Vec::new();
    let mut rest = text.trimmed();
    while rest.text.starts_with("--") {
        let (length, _) = word_length(rest.text, escape, true);
        let (word, behind) = rest.split_at(length);
        let text = unquoted(word.text, escape);
        rest = behind.trimmed();
        if text == "--" {
            break;
        }
        flags.push(Flag { text, position: line.position(word.at) });
    }
    (flags, rest)
}

/// How long the word is that `text` begins with, up to space outside of quotes that is not escaped; and whether it ends with
/// an escape character that has nothing to escape. Nothing is escaped between single quotes, unless `always`.
fn word_length(text: &str, escape: char, always: bool) -> (usize, bool) {
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match quote {
            None if c.is_whitespace() => return (at, false),
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            open if c == escape && (always || open != Some('\'')) && chars.next().is_none() => {
                return (text.len(), true);
            }
            _ => {}
        }
    }
    (text.len(), false)
}

fn unquoted(word: &str, escape: char) -> String {
    let mut quote = None;
    let mut text = String::new();
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if c == open => quote = None,
            _ if c == escape => text.extend(chars.next()),
            _ => text.push(c),
        }
    }
    text
}

/// Words cut at every space.
pub(super) fn cut(text: Part<'_>) -> Vec<Part<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.text.find(|c| !SPACE.contains(&c));
        let Some(start) = start else { return words };
        let (_, from) = rest.split_at(start);
        let (word, behind) = from.split_at(from.text.find(SPACE).unwrap_or(from.text.len()));
        words.push(word);
        rest = behind;
    }
}

/// Words whose quotes stay and may have space inside. An escape character at the very end is none.
pub(super) fn cut_quoted(text: Part<'_>, escape: char) -> Vec<Part<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.text.find(|c: char| !c.is_whitespace());
        let Some(start) = start else { return words };
        let (_, from) = rest.split_at(start);
        let (length, lone_escape) = word_length(from.text, escape, false);
        let (mut word, behind) = from.split_at(length);
        if lone_escape {
            word.text = word.text.strip_suffix(escape).unwrap_or(word.text);
        }
        if !word.text.is_empty() {
            words.push(word);
        }
        rest = behind;
    }
}

/// The first word, and the rest without the space between: for `ENV name the rest`.
pub(super) fn first_and_rest(text: Part<'_>) -> (Part<'_>, Option<Part<'_>>) {
    let Some(end) = text.text.find(SPACE) else { return (text, None) };
    let (first, rest) = text.split_at(end);
    let start = rest.text.find(|c| !SPACE.contains(&c)).unwrap_or(rest.text.len());
    (first, Some(rest.split_at(start).1))
}

impl Line {
    /// A part as a word.
    pub fn word(&self, part: Part<'_>) -> Word {
        Word { text: part.text.to_owned(), position: self.position(part.at) }
    }

    /// Every part as a word.
    pub fn words(&self, parts: &[Part<'_>]) -> Vec<Word> {
        parts.iter().map(|part| self.word(*part)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Part<'_> {
        Part { text, at: 0 }
    }

    fn texts<'a>(parts: &[Part<'a>]) -> Vec<&'a str> {
        parts.iter().map(|part| part.text).collect()
    }

    #[test]
    fn flags_end_at_the_first_other_word() {
        let cases: [(&str, &[&str], &str); 8] = [
            ("COPY a b", &[], "a b"),
            ("COPY --from=x --link a b", &["--from=x", "--link"], "a b"),
            ("COPY --a='x y' --b=\"z\\\" z\" c", &["--a=x y", "--b=z\" z"], "c"),
            ("COPY --a=x\\ y c", &["--a=x y"], "c"),
            ("COPY --a -- --b c", &["--a"], "--b c"),
            ("COPY -- a", &[], "a"),
            ("COPY -a --b", &[], "-a --b"),
            ("COPY --a", &["--a"], ""),
        ];
        for (text, flags, arguments) in cases {
            let line = Line::default();
            let parts = Parts::of(&line, part(text), '\\');
            let found: Vec<_> = parts.flags.iter().map(|flag| flag.text.as_str()).collect();
            assert_eq!((found.as_slice(), parts.arguments.text), (flags, arguments), "{text}");
        }
    }

    #[test]
    fn quoted_words_keep_their_quotes() {
        let cases: [(&str, &[&str]); 8] = [
            ("a=b c=d", &["a=b", "c=d"]),
            ("a=\"b c\" d", &["a=\"b c\"", "d"]),
            ("a=b\\ c d", &["a=b\\ c", "d"]),
            ("a='b\\' c", &["a='b\\'", "c"]),
            ("a=\"b\\\" c\" d", &["a=\"b\\\" c\"", "d"]),
            ("a='b", &["a='b"]),
            ("a=b\\", &["a=b"]),
            ("\\", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(texts(&cut_quoted(part(text), '\\')), expected, "{text}");
        }
    }

    #[test]
    fn plain_words_are_cut_at_every_space() {
        assert_eq!(texts(&cut(part(" a\t'b  c' "))), ["a", "'b", "c'"]);
        let (first, rest) = first_and_rest(part("name  a  b"));
        assert_eq!((first.text, rest.map(|rest| (rest.text, rest.at))), ("name", Some(("a  b", 6))));
    }
}
