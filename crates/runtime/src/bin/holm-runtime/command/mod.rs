//! One file a command; its `Args` are its help.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use std::ffi::OsString;

use clap::{Args as _, FromArgMatches as _};
use holm_runtime::Result;

use crate::arguments::{Global, plain};

/// Declares the commands, each with the module that holds its options and has its name.
macro_rules! commands {
    ($($command:ident: $module:ident,)*) => {
        /// The commands.
        #[derive(Debug, clap::Subcommand)]
        pub enum Command {
            $($command($module::Args),)*
        }

        impl Command {
            /// All names, as [`Command::name`] gives them.
            const NAMES: &[&str] = &[$(stringify!($module)),*];

            /// As it is written on the command line.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$command(_) => stringify!($module),)*
                }
            }

            /// Reads a command line that names this command, with nothing else in the parser than the options in
            /// front of commands and its own. `None` for all that is not plainly right, also where the word is the
            /// value of an option: who reads it again with the whole parser knows more, and has words for it.
            fn read_as(name: &str, words: &[OsString]) -> Option<(Global, Self)> {
                $(if name == stringify!($module) {
                    let own = $module::Args::augment_args(clap::Command::new(stringify!($module)));
                    let all = Global::augment_args(clap::Command::new("holm-runtime").disable_version_flag(true));
                    let mut matches = all.subcommand(own).try_get_matches_from(words).ok()?;
                    let (_, mut own) = matches.remove_subcommand()?;
                    let command = Self::$command($module::Args::from_arg_matches_mut(&mut own).ok()?);
                    return Some((Global::from_arg_matches_mut(&mut matches).ok()?, command));
                })*
                None
            }
        }
    };
}

commands! {
    Checkpoint: checkpoint,
    Create: create,
    Delete: delete,
    Events: events,
    Exec: exec,
    Features: features,
    Kill: kill,
    List: list,
    Pause: pause,
    Ps: ps,
    Restore: restore,
    Resume: resume,
    Run: run,
    Spec: spec,
    Start: start,
    State: state,
    Update: update,
}

impl Command {
    /// Reads a command line without the parsers of the other commands, which would be most of the work; `None` where
    /// all of them are needed.
    pub fn read(words: &[OsString]) -> Option<(Global, Self)> {
        if let Some(read) = Self::read_plain(words) {
            return Some(read);
        }
        // Whether it is the command, or the value of an option, shows when it is read.
        let mut names = words.iter().skip(1).filter_map(|word| word.to_str());
        let name = names.find(|word| Self::NAMES.contains(word))?;
        Self::read_as(name, words)
    }

    /// Those that engines call for each container and each health check need no parser if they are plain.
    fn read_plain(words: &[OsString]) -> Option<(Global, Self)> {
        let (global, name, own) = plain::read(words)?;
        let command = match name {
            "create" => create::Args::read(own).map(Self::Create),
            "exec" => exec::Args::read(own).map(Self::Exec),
            "run" => run::Args::read(own).map(Self::Run),
            _ => None,
        };
        Some((Global::read(global)?, command?))
    }

    /// The exit code of a failure of the runtime.
    pub fn failure_code(&self) -> u8 {
        if matches!(self, Self::Exec(_)) { 255 } else { 1 }
    }
}

/// Version of the runtime specification that this runtime follows.
pub const SPEC_VERSION: &str = "1.3.0";

/// Runs a command; the exit code.
pub fn run(command: Command, global: &Global) -> Result<u8> {
    match command {
        Command::Checkpoint(args) => checkpoint::run(&args, global),
        Command::Create(args) => create::run(&args, global),
        Command::Delete(args) => delete::run(&args, global),
        Command::Events(args) => events::run(&args, global),
        Command::Exec(args) => exec::run(&args, global),
        Command::Features(args) => features::run(&args),
        Command::Kill(args) => kill::run(&args, global),
        Command::List(args) => list::run(&args, global),
        Command::Pause(args) => pause::run(&args, global),
        Command::Ps(args) => ps::run(&args, global),
        Command::Restore(args) => restore::run(&args, global),
        Command::Resume(args) => resume::run(&args, global),
        Command::Run(args) => run::run(&args, global),
        Command::Spec(args) => spec::run(&args),
        Command::Start(args) => start::run(&args, global),
        Command::State(args) => state::run(&args, global),
        Command::Update(args) => update::run(&args, global),
    }
}
