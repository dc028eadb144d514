//! What a Dockerfile says, instruction by instruction. Variables are not expanded yet: a [`Word`] is text that will be,
//! by `Command::expanded`, with the variables that the stage has there.

use super::heredoc::Heredoc;
use super::mount::MountFlag;
use super::words::Word;
use crate::source::Span;

/// An instruction of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its lines.
    pub span: Span,
    /// The first word, as it is written.
    pub keyword: String,
    /// The whole of it but heredocs, on one line.
    pub original: String,
    /// Comments above.
    pub comments: Vec<String>,
    /// What it says.
    pub command: Command,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Files from the context, URLs and repositories.
    Add(Add),
    /// Variables that the caller may set.
    Arg(Vec<Argument>),
    /// What a workload runs, or the arguments of its entry point.
    Cmd(CommandLine),
    /// Files from the context, a stage or an image.
    Copy(Copy),
    /// What a workload runs.
    Entrypoint(CommandLine),
    /// Variables of the image.
    Env(Vec<Pair>),
    /// Ports, as words that may become several (`port::parse`); in the order of their text.
    Expose(Vec<Word>),
    /// How a workload is asked whether it is well.
    Healthcheck(Healthcheck),
    /// Labels of the image.
    Label(Vec<Pair>),
    /// Who made it. Not expanded.
    Maintainer(String),
    /// An instruction for images made from this one.
    Onbuild(Trigger),
    /// A command that makes a layer.
    Run(Run),
    /// The shell of what follows.
    Shell(Vec<String>),
    /// The signal that stops a workload.
    StopSignal(Word),
    /// The user of what follows.
    User(Word),
    /// Directories for which workloads get volumes.
    Volume(Vec<Word>),
    /// The directory of what follows.
    Workdir(Word),
}

/// A command as words, or as text for a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// A JSON array: executed as it is.
    Exec(Vec<String>),
    /// Anything else: the last argument of the shell. Empty if nothing follows the keyword.
    Shell(String),
}

/// A variable with its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name. Not expanded.
    pub name: String,
    /// What it is if the caller does not say.
    pub default: Option<Word>,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The name.
    pub name: Word,
    /// The value.
    pub value: Word,
    /// Written without `=`: one pair, whose value is the rest of the line.
    pub old_form: bool,
}

/// What `COPY` and `ADD` have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Paths, and of `ADD` URLs, too.
    pub sources: Vec<Word>,
    /// Files whose content stands in the Dockerfile.
    pub inline: Vec<Heredoc>,
    /// Where to.
    pub destination: Word,
    /// `--chown`.
    pub owner: Option<Word>,
    /// `--chmod`: octal or symbolic (`mode::Mode`).
    pub mode: Option<Word>,
    /// `--link`: a layer of its own that depends on nothing below.
    pub link: bool,
    /// `--exclude`: patterns like those of an ignore file. Not expanded.
    pub exclude: Vec<String>,
}

/// `COPY`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    /// What to where.
    pub files: Transfer,
    /// `--from`: a stage, an image, a context. Not expanded.
    pub from: Option<Word>,
    /// `--parents`: with the directories above.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Add {
    /// What to where.
    pub files: Transfer,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--checksum` of the one URL or repository.
    pub checksum: Option<Word>,
    /// `--unpack`, if given; else archives of the context are, and downloads are not.
    pub unpack: Option<bool>,
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command.
    pub line: CommandLine,
    /// What it opens.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`.
    pub mounts: Vec<MountFlag>,
    /// `--network`.
    pub network: Network,
    /// `--security`.
    pub security: Security,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// What a command reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// The network of the build.
    #[default]
    Default,
    /// Nothing.
    None,
    /// What the host does.
    Host,
}

/// What a command may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Security {
    /// What a container may.
    #[default]
    Sandbox,
    /// Everything.
    Insecure,
}

/// A device of the Container Device Interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// For example `vendor.com/class=name`.
    pub name: String,
    /// Whether it must be there.
    pub required: bool,
}

/// `HEALTHCHECK`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `NONE`: not even that of the base image.
    None,
    /// `CMD`.
    Command {
        /// What is executed. Not expanded.
        line: CommandLine,
        /// When and how often.
        options: HealthcheckOptions,
    },
}

/// The flags of `HEALTHCHECK`, times in nanoseconds; 0 for what is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthcheckOptions {
    /// Between two checks.
    pub interval: u64,
    /// After which a check has failed.
    pub timeout: u64,
    /// At the beginning, in which failures do not count.
    pub start_period: u64,
    /// Between two checks at the beginning.
    pub start_interval: u64,
    /// Failures in a row after which a workload is not well.
    pub retries: u32,
}

/// `ONBUILD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// What the image's configuration keeps: the instruction with its heredocs. `Dockerfile::trigger` reads it.
    pub expression: String,
}

/// What `RUN` executes, with its heredocs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// These words.
    Exec(Vec<String>),
    /// The shell, with this text.
    Shell(String),
    /// A file of this name and text, which begins with `#!`.
    Script {
        /// The heredoc's name.
        name: String,
        /// The file.
        text: String,
    },
}

impl Run {
    /// What to execute. A heredoc that is all of the command is the command; others are the shell's.
    pub fn program(&self) -> Program {
        let text = match &self.line {
            CommandLine::Exec(words) => return Program::Exec(words.clone()),
            CommandLine::Shell(text) => text,
        };
        let Some(first) = self.heredocs.first() else { return Program::Shell(text.clone()) };
        if super::heredoc::heredoc(text).is_some() {
            let (name, text) = (first.name.clone(), first.text());
            return if text.starts_with("#!") {
                Program::Script { name, text }
            } else {
                Program::Shell(text)
            };
        }
        let bodies = self.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
        Program::Shell(text.clone() + &bodies.collect::<String>())
    }
}
