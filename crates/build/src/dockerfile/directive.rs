//! Parser directives: comments at the very beginning that say how to read the rest.
//!
//! ```text
//! # syntax=docker/dockerfile:1
//! # escape=`
//! # check=skip=JSONArgsRecommended;error=true
//! ```
//! The first line that is no directive ends them. A first line with `#!` is passed over, and then `escape` is a comment.

use crate::error::{Fault, Kind, Result};
use crate::source::{Position, Source};

/// What the directives say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The frontend that is asked for. Holm is its own and only reads it.
    pub syntax: Option<String>,
    /// The escape character: `\` or a backquote.
    pub escape: char,
    /// What `check` says, and where.
    pub check: Option<(String, Position)>,
    /// How many lines they are.
    pub(super) lines: u32,
}

impl Directives {
    /// Reads the directives of a file.
    ///
    /// # Errors
    /// A directive that is given twice, or an escape character that cannot be one.
    pub(super) fn read(source: &Source) -> Result<Self> {
        let mut directives = Self { syntax: None, escape: '\\', check: None, lines: 0 };
        let shebang = source.line(1).starts_with("#!");
        let first = if shebang { 2 } else { 1 };
        let mut seen = Vec::new();
        for line in first..=source.len() {
            let Some((name, value)) = directive(source.line(line)) else { break };
            let position = Position { line, column: 1 };
            if seen.contains(&name) {
                let message = format!("the directive `{name}` is given twice");
                return Err(Fault::new(Kind::Syntax, position, message));
            }
            directives.take(&name, value, position, shebang)?;
            directives.lines = if shebang { 0 } else { line };
            seen.push(name);
        }
        Ok(directives)
    }

    fn take(&mut self, name: &str, value: &str, position: Position, shebang: bool) -> Result<()> {
        let word = || value.split(' ').next().unwrap_or_default().to_owned();
        match name {
            "syntax" => self.syntax = Some(word()),
            "check" => self.check = Some((word(), position)),
            _ if shebang => {}
            _ => self.escape = escape(value, position)?,
        }
        Ok(())
    }
}

fn escape(value: &str, position: Position) -> Result<char> {
    match value {
        "\\" => Ok('\\'),
        "`" => Ok('`'),
        _ => {
            let fault =
                Fault::new(Kind::Value, position, format!("`{value}` cannot be the escape character"));
            Err(fault.hint("it is a backslash or a backquote"))
        }
    }
}

/// Name and value, if the line is a directive.
fn directive(line: &str) -> Option<(String, &str)> {
    named(line.trim_start().strip_prefix('#')?)
}

/// `name = value` of a comment without its `#`, if the name is a directive's.
fn named(comment: &str) -> Option<(String, &str)> {
    let (name, value) = comment.split_once('=')?;
    let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
    (matches!(name.as_str(), "syntax" | "escape" | "check") && !value.is_empty()).then_some((name, value))
}

/// What a comment above an instruction says of its check, if it does (`check=skip=all // why`).
pub(crate) fn check_of(comment: &str) -> Option<&str> {
    let (name, value) = named(comment)?;
    (name == "check").then(|| value.split(' ').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Directives> {
        Directives::read(&Source::new("Dockerfile", text.as_bytes()))
    }

    #[test]
    fn directives_stand_at_the_very_beginning() {
        let cases = [
            ("# escape=`\nFROM a", '`', 1),
            ("#escape = `\n# syntax=x\n", '`', 2),
            ("# syntax=x\n#  EsCaPe= ` \n", '`', 2),
            ("# About\n# escape=`\n", '\\', 0),
            ("\n# escape=`\n", '\\', 0),
            ("FROM a\n# escape=`", '\\', 0),
            ("# unknown=x\n# escape=`", '\\', 0),
            ("#!/bin/x\n# escape=`", '\\', 0),
        ];
        for (text, escape, lines) in cases {
            let directives = read(text).expect("directives");
            assert_eq!((directives.escape, directives.lines), (escape, lines), "{text:?}");
        }
    }

    #[test]
    fn values_are_one_word() {
        let directives =
            read("#!x\n# syntax = docker/dockerfile:1 --x\n# check=skip=all // why\n").expect("directives");
        assert_eq!(directives.syntax.as_deref(), Some("docker/dockerfile:1"));
        assert_eq!(directives.check, Some(("skip=all".to_owned(), Position { line: 3, column: 1 })));
        assert_eq!(check_of("check=skip=all // why"), Some("skip=all"));
        assert_eq!(check_of("checked by somebody"), None);
    }

    #[test]
    fn wrong_directives_are_refused() {
        for (text, message) in [
            ("# escape=x", "`x` cannot be the escape character"),
            ("# escape=`\n# escape=\\", "the directive `escape` is given twice"),
            ("# syntax=a\n# Syntax=b", "the directive `syntax` is given twice"),
        ] {
            assert_eq!(read(text).expect_err("a fault").to_string(), message);
        }
    }
}
