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

use holm_runtime::Result;

use crate::arguments::{Command, Global};

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
