//! `holm image unmount`: the end of `holm image mount`.

use crate::command_error::CommandError;
use crate::context::Context;
use crate::several;

/// Unmount images
#[derive(Debug, clap::Parser)]
#[command(after_help = "Whoever has a file of it open keeps that.

Examples:
  holm image unmount debian:12
  holm image unmount /mnt")]
pub struct Args {
    /// Images, or the directories that they are mounted on
    #[arg(required = true, value_name = "IMAGE|DIRECTORY")]
    mounts: Vec<String>,
}

/// Unmounts each.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    several::each(context, &args.mounts, |text| {
        let mount = engine.unmount_image(text).map_err(|error| {
            CommandError::from(error).hint("`holm image mount` lists the images that are mounted, and where")
        })?;
        context.printer.line(mount.target.display())
    })
}
