//! From a line to an instruction: what all of them have in common, and the table of keywords.

mod files;
mod healthcheck;
mod metadata;
mod run;
mod stage;

use super::heredoc::{self, Heredoc};
use super::instruction::{Command, CommandLine, Instruction};
use super::line::{Line, Lines, Part};
use super::words::{Parts, Word};
use super::{Stage, flags::Flags, flags::Takes};
use crate::dockerfile::HEREDOC_LIMIT;
use crate::error::{Fault, Kind, Result};
use crate::nearest::nearest;
use crate::source::Span;

/// What a line is.
pub(super) enum Item {
    Stage(Box<Stage>),
    Instruction(Box<Instruction>),
}

/// What makes an instruction of a line.
type Parse = fn(Statement<'_>) -> Result<Command>;

/// Every keyword but `FROM`.
const COMMANDS: &[(&str, Parse)] = &[
    ("ADD", files::add),
    ("ARG", metadata::arg),
    ("CMD", metadata::cmd),
    ("COPY", files::copy),
    ("ENTRYPOINT", metadata::entrypoint),
    ("ENV", metadata::env),
    ("EXPOSE", metadata::expose),
    ("HEALTHCHECK", healthcheck::healthcheck),
    ("LABEL", metadata::label),
    ("MAINTAINER", metadata::maintainer),
    ("ONBUILD", metadata::onbuild),
    ("RUN", run::run),
    ("SHELL", metadata::shell),
    ("STOPSIGNAL", metadata::stop_signal),
    ("USER", metadata::user),
    ("VOLUME", metadata::volume),
    ("WORKDIR", metadata::workdir),
];
const FROM: &str = "FROM";
const ONBUILD: &str = "ONBUILD";

/// A line that is being made an instruction.
struct Statement<'a> {
    line: &'a Line,
    parts: Parts<'a>,
    heredocs: Vec<Heredoc>,
    escape: char,
}

/// Reads a line, and the heredocs that it opens from the lines below.
pub(super) fn item(line: &Line, lines: &mut Lines<'_>, escape: char) -> Result<Item> {
    let parts = Parts::of(line, line.part(), escape);
    let heredocs = heredocs(line, &parts, lines, escape)?;
    let span = Span { last_line: lines.last_read(), ..line.span };
    let statement = Statement { line, parts, heredocs, escape };
    let keyword = statement.parts.keyword;
    let name = keyword.text.to_ascii_uppercase();
    if name == FROM {
        return Ok(Item::Stage(Box::new(stage::stage(statement)?)));
    }
    let Some((_, parse)) = COMMANDS.iter().find(|(known, _)| *known == name) else {
        return Err(unknown(line, keyword, &name));
    };
    Ok(Item::Instruction(Box::new(Instruction {
        span,
        keyword: keyword.text.to_owned(),
        original: line.text.trim().to_owned(),
        comments: line.comments.clone(),
        command: parse(statement)?,
    })))
}

fn unknown(line: &Line, keyword: Part<'_>, name: &str) -> Fault {
    let message = format!("unknown instruction `{}`", keyword.text);
    let fault = Fault::new(Kind::UnknownInstruction, line.position(keyword.at), message).across(keyword.text);
    let known = COMMANDS.iter().map(|(known, _)| *known).chain([FROM]);
    match nearest(name, known) {
        Some(near) => fault.hint(format!("did you mean `{near}`?")),
        None if line.text.trim_start().starts_with(['&', '|']) => {
            fault.hint("a backslash at the end of the line above lets it go on here")
        }
        None => fault,
    }
}

/// The heredocs that a line opens, with their content.
fn heredocs(line: &Line, parts: &Parts<'_>, lines: &mut Lines<'_>, escape: char) -> Result<Vec<Heredoc>> {
    let inner = parts.keyword.text.eq_ignore_ascii_case(ONBUILD);
    let inner = inner.then(|| Parts::of(line, parts.arguments, escape));
    let parts = inner.as_ref().unwrap_or(parts);
    let takes = ["ADD", "COPY", "RUN"].iter().any(|keyword| parts.keyword.text.eq_ignore_ascii_case(keyword));
    if !takes || matches!(json(parts.arguments.text), Json::Strings(_)) {
        return Ok(Vec::new());
    }
    let mut heredocs = heredoc::opened(line);
    if heredocs.len() > HEREDOC_LIMIT {
        let message = format!("there are more than {HEREDOC_LIMIT} heredocs in one instruction");
        return Err(Fault::new(Kind::TooLarge, line.span.start, message));
    }
    for heredoc in &mut heredocs {
        heredoc.content = lines.content(&heredoc.name, heredoc.strip_tabs, heredoc.position)?;
    }
    Ok(heredocs)
}

/// What arguments are that may be a JSON array.
enum Json {
    /// An array of strings.
    Strings(Vec<String>),
    /// An array, and not of strings only.
    Others,
    /// Something else, which is taken as text.
    No,
}

fn json(text: &str) -> Json {
    if !text.starts_with('[') {
        return Json::No;
    }
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(text) else { return Json::No };
    let string = |value| match value {
        serde_json::Value::String(text) => Some(text),
        _ => None,
    };
    values.into_iter().map(string).collect::<Option<_>>().map_or(Json::Others, Json::Strings)
}

impl<'a> Statement<'a> {
    /// The keyword in capitals.
    fn name(&self) -> String {
        self.parts.keyword.text.to_ascii_uppercase()
    }

    /// A fault of the whole instruction.
    fn fault(&self, kind: Kind, message: impl Into<String>) -> Fault {
        let keyword = self.parts.keyword;
        Fault::new(kind, self.line.position(keyword.at), message).across(keyword.text)
    }

    /// A fault of the arguments.
    fn fault_of_arguments(&self, kind: Kind, message: impl Into<String>) -> Fault {
        self.arguments().fault(kind, message)
    }

    /// All arguments, as one word.
    fn arguments(&self) -> Word {
        self.line.word(self.parts.arguments)
    }

    /// The flags, of which `known` are there.
    fn flags(&mut self, known: &[(&'static str, Takes)]) -> Result<Flags> {
        Flags::check(std::mem::take(&mut self.parts.flags), known)
    }

    /// All arguments, of which there must be something.
    fn text(&mut self) -> Result<Word> {
        self.flags(&[])?;
        match self.parts.arguments.text {
            "" => Err(self.fault(Kind::Syntax, format!("`{}` needs an argument", self.name()))),
            _ => Ok(self.arguments()),
        }
    }

    /// A JSON array, if the arguments are one.
    fn json(&self) -> Result<Option<Vec<String>>> {
        match json(self.parts.arguments.text) {
            Json::Strings(strings) => Ok(Some(strings)),
            Json::No => Ok(None),
            Json::Others => {
                let fault =
                    self.fault_of_arguments(Kind::Syntax, "the JSON array holds something else than strings");
                Err(fault.hint("write numbers in double quotes"))
            }
        }
    }

    /// The arguments as words: of a JSON array, or cut at space.
    fn list(&self) -> Result<Vec<Word>> {
        let position = self.line.position(self.parts.arguments.at);
        Ok(match self.json()? {
            Some(strings) => strings.into_iter().map(|text| Word { text, position }).collect(),
            None => self.line.words(&super::words::cut(self.parts.arguments)),
        })
    }

    /// The arguments as a command.
    fn command_line(&self) -> Result<CommandLine> {
        let text = || CommandLine::Shell(self.parts.arguments.text.to_owned());
        Ok(self.json()?.map_or_else(text, CommandLine::Exec))
    }
}
