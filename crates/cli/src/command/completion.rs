//! `holm completion`: a script that completes command lines.

use clap::ValueEnum;
use clap_complete::{Shell, generate};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::dispatch;

/// Print a script that lets a shell complete command lines
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  source <(holm completion bash)                                   for this shell
  holm completion zsh > ~/.zfunc/_holm                             for every zsh, with ~/.zfunc in fpath
  holm completion fish > ~/.config/fish/completions/holm.fish")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Scripted,
}

/// Shells that are scripted for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Scripted {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let shell = match args.shell {
        Scripted::Bash => Shell::Bash,
        Scripted::Zsh => Shell::Zsh,
        Scripted::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut dispatch::tree(), "holm", &mut script);
    context.printer.data(script)?;
    Ok(0)
}
