//! `holm diff`: what a workload changed.

use holm_spec::files::Change;

use crate::command_error::CommandError;
use crate::context::Context;

/// Show what a workload changed of its image's files
#[derive(Debug, clap::Parser)]
#[command(after_help = "A line for each path: A added, C changed, D deleted.

Examples:
  holm diff web")]
pub struct Args {
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
}

/// Lists the changes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.repaired_engine()?;
    let files = engine.files(&engine.find(&args.workload)?)?;
    for change in files.changes()? {
        context.printer.data(line(&change))?;
    }
    Ok(0)
}

/// A change as people see it.
pub fn line(change: &Change) -> String {
    let path: String = change.path.chars().map(shown).collect();
    format!("{} {path}\n", change.kind.letter())
}

/// A character of a name, which may not end the line nor tell the terminal anything.
fn shown(character: char) -> String {
    if character.is_control() { character.escape_default().to_string() } else { character.to_string() }
}
