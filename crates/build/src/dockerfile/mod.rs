//! Dockerfiles, as the Dockerfile reference and BuildKit have them: text in, stages of instructions out.
//!
//! | file | holds |
//! |---|---|
//! | `directive` | `# syntax=`, `# escape=`, `# check=` |
//! | `line` | lines that are continued, comments, where everything stands |
//! | `words` | keyword, flags and arguments of a line |
//! | `heredoc` | texts that stand in the file itself |
//! | `flags` | flags against those that an instruction has |
//! | `parse` | one function for each instruction |
//! | `instruction` | what comes out |
//! | `mount`, `mode`, `port`, `duration`, `path` | values with a grammar of their own |
//! | `valid` | what can be wrong with an instruction when its variables are expanded |
//!
//! Order: a file is cut into lines, a line into words, words into an instruction; nothing is expanded. Whoever builds
//! walks over the stages that it needs (module `stages`), with the variables of each (module `variables`).

mod directive;
mod duration;
mod flags;
mod heredoc;
mod instruction;
mod line;
pub mod mode;
mod mount;
mod parse;
pub mod path;
pub mod port;
pub mod valid;
mod words;

pub use directive::Directives;
pub(crate) use directive::check_of;
pub use heredoc::Heredoc;
pub use instruction::{
    Add, Argument, Command, CommandLine, Copy, Device, Healthcheck, HealthcheckOptions, Instruction, Network,
    Pair, Program, Run, Security, Transfer, Trigger,
};
pub use mount::{Mount, MountFlag, MountKind, Sharing};
pub use words::Word;

use line::Lines;
use parse::Item;

use crate::error::{Error, Fault, Kind, Result};
use crate::source::{Position, Source, Span};

/// The largest Dockerfile, in bytes.
pub const SIZE_LIMIT: usize = 4 << 20;
/// Most instructions of one Dockerfile.
pub const INSTRUCTION_LIMIT: usize = 10_000;

/// Most heredocs of one instruction.
pub const HEREDOC_LIMIT: usize = 100;

/// A Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// The text.
    pub source: Source,
    /// What stands at its beginning.
    pub directives: Directives,
    /// `ARG` before the first `FROM`: variables of all `FROM`.
    pub globals: Vec<Instruction>,
    /// The stages.
    pub stages: Vec<Stage>,
    /// Instructions that go on behind a blank line, by their last lines.
    pub blank_continuations: Vec<u32>,
}

/// `FROM`, and what follows up to the next one.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The lines of `FROM`.
    pub span: Span,
    /// `FROM`, as it is written.
    pub keyword: String,
    /// The whole of `FROM`, on one line.
    pub original: String,
    /// Comments above.
    pub comments: Vec<String>,
    /// The image or stage that it begins with.
    pub base: Word,
    /// `--platform`.
    pub platform: Option<Word>,
    /// What it is called.
    pub name: Option<StageName>,
    /// What is done.
    pub instructions: Vec<Instruction>,
}

/// What a stage is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageName {
    /// The name, in small letters: case means nothing.
    pub name: String,
    /// As it is written.
    pub written: Word,
    /// `AS`, as it is written.
    pub keyword: String,
}

/// A Dockerfile up to what is wrong with it, if something is.
#[derive(Debug)]
pub struct Parsed {
    /// What could be read.
    pub dockerfile: Dockerfile,
    /// Why no more.
    pub error: Option<Error>,
}

impl Dockerfile {
    /// Reads the Dockerfile that people call `name`.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(name: &str, bytes: &[u8]) -> std::result::Result<Self, Error> {
        let parsed = Self::parse_far(name, bytes);
        parsed.error.map_or(Ok(parsed.dockerfile), Err)
    }

    /// Reads a Dockerfile as far as it can be read.
    pub fn parse_far(name: &str, bytes: &[u8]) -> Parsed {
        let too_large = bytes.len() > SIZE_LIMIT;
        let source = Source::new(name, if too_large { &[] } else { bytes });
        let directives = Directives { syntax: None, escape: '\\', check: None, lines: 0 };
        let mut dockerfile = Self {
            source,
            directives,
            globals: Vec::new(),
            stages: Vec::new(),
            blank_continuations: Vec::new(),
        };
        let result = match too_large {
            true => {
                let message = format!("the file is larger than {} MiB", SIZE_LIMIT >> 20);
                Err(Fault::new(Kind::TooLarge, Position { line: 1, column: 1 }, message))
            }
            false => dockerfile.read(),
        };
        let error = result.err().map(|fault| fault.of(&dockerfile.source));
        Parsed { dockerfile, error }
    }

    /// Reads the instruction that an image's configuration keeps under `OnBuild`.
    ///
    /// # Errors
    /// It is none, or more than one.
    pub fn trigger(expression: &str) -> std::result::Result<Instruction, Error> {
        let source = Source::new("ONBUILD", expression.as_bytes());
        trigger(&source).map_err(|fault| fault.of(&source))
    }

    /// An error of something in this file.
    pub fn error(&self, fault: Fault) -> Error {
        fault.of(&self.source)
    }

    fn read(&mut self) -> Result<()> {
        // The text is out of the way while what it says is put down beside it.
        let source = std::mem::take(&mut self.source);
        let result = self.read_all(&source);
        self.source = source;
        result
    }

    fn read_all(&mut self, source: &Source) -> Result<()> {
        self.directives = Directives::read(source)?;
        let mut lines = Lines::new(source, self.directives.escape, self.directives.lines);
        let mut read = 0;
        while let Some(line) = lines.next()? {
            read += 1;
            if read > INSTRUCTION_LIMIT {
                let message = format!("there are more than {INSTRUCTION_LIMIT} instructions");
                return Err(Fault::new(Kind::TooLarge, line.span.start, message));
            }
            let item = parse::item(&line, &mut lines, self.directives.escape)?;
            if line.has_blank {
                self.blank_continuations.push(line.span.last_line);
            }
            self.take(item)?;
        }
        let message = match read {
            0 => "the file has no instructions",
            _ if self.stages.is_empty() => "the file has no `FROM`",
            _ => return Ok(()),
        };
        Err(Fault::new(Kind::Syntax, Position { line: source.len().max(1), column: 1 }, message))
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match (item, self.stages.last_mut()) {
            (Item::Stage(stage), _) => self.stages.push(*stage),
            (Item::Instruction(instruction), Some(stage)) => stage.instructions.push(*instruction),
            (Item::Instruction(instruction), None) => {
                if !matches!(instruction.command, Command::Arg(_)) {
                    let message = format!("`{}` stands before the first `FROM`", instruction.keyword);
                    let fault = Fault::new(Kind::Stage, instruction.span.start, message);
                    return Err(fault.across(&instruction.keyword).hint("only `ARG` may stand there"));
                }
                self.globals.push(*instruction);
            }
        }
        Ok(())
    }
}

fn trigger(source: &Source) -> Result<Instruction> {
    let start = Position { line: 1, column: 1 };
    let mut lines = Lines::new(source, '\\', 0);
    let Some(line) = lines.next()? else {
        return Err(Fault::new(Kind::Syntax, start, "the trigger says nothing"));
    };
    let item = parse::item(&line, &mut lines, '\\')?;
    if let Some(line) = lines.next()? {
        return Err(Fault::new(Kind::Syntax, line.span.start, "a trigger is one instruction"));
    }
    match item {
        Item::Instruction(instruction) => Ok(*instruction),
        Item::Stage(_) => Err(Fault::new(Kind::Syntax, start, "`FROM` cannot be a trigger")),
    }
}

#[cfg(test)]
mod tests;
