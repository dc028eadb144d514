//! The subset of Go's template language that `--format` takes, over JSON values.
//!
//! ```text
//! text  --lexer-->  tokens  --parser-->  nodes  --evaluate (+ a value)-->  text
//! ```
//! Actions: `{{.Field.Sub}}`, `{{$x := ...}}`, pipelines with `|` and parentheses, `if`/`else if`/`else`, `range` (also
//! with one or two variables), `with`, comments, and trimming by `{{-` and `-}}`. Functions are those of
//! [`functions`]. In templates of lists `\t`, `\n` and `\\` outside of actions stand for what they mean in Go strings,
//! as with Docker; in those of one document they are text.
//!
//! A template comes from the command line: no text makes this module panic, recurse without bound, or loop.

mod evaluate;
mod functions;
mod lexer;
mod parser;
mod shapes;

use std::fmt;

use serde_json::Value;

use parser::Node;

/// Deepest nesting of blocks and parentheses.
const DEPTH_LIMIT: usize = 50;

/// A template that was parsed without error.
#[derive(Debug)]
pub struct Template {
    source: String,
    nodes: Vec<Node>,
}

impl Template {
    /// Parses a template of one document.
    ///
    /// # Errors
    /// The first thing that is not of the language, with its place.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        Self::build(source, false)
    }

    /// Parses a template of the rows of a list.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_row(source: &str) -> Result<Self, TemplateError> {
        Self::build(source, true)
    }

    fn build(source: &str, escapes: bool) -> Result<Self, TemplateError> {
        let located = |fault: Fault| fault.located(source);
        let tokens = lexer::tokens(source, escapes).map_err(located)?;
        let nodes = parser::parse(tokens).map_err(located)?;
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// The text that the template makes of `value`.
    ///
    /// # Errors
    /// The first field that is not there, or function that does not take its arguments, with its place.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, value).map_err(|fault| fault.located(&self.source))
    }
}

/// What is wrong at which byte of a template.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    reason: String,
}

impl Fault {
    fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }

    fn located(self, source: &str) -> TemplateError {
        let before = source.get(..self.at).unwrap_or(source);
        TemplateError {
            template: source.to_owned(),
            position: before.chars().count() + 1,
            reason: self.reason,
        }
    }
}

/// Why a template cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub struct TemplateError {
    template: String,
    /// Character where the trouble is, counted from 1.
    position: usize,
    reason: String,
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "template `{}`, character {}: {}", self.template, self.position, self.reason)
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests;
