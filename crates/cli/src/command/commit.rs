//! `holm commit`: an image from what a workload changed.

use holm_engine::CommitRequest;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;

/// Make an image from what a workload changed
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm commit [OPTIONS] WORKLOAD [REPOSITORY[:TAG]]",
    after_help = "The image is the workload's own with a layer more; its command, environment, user and labels are
the workload's. Prints the image's id. Instructions as in `holm import`.

Examples:
  holm commit web my/web:patched
  holm commit -m 'add curl' -c 'CMD [\"curl\", \"--version\"]' web tools"
)]
pub struct Args {
    /// Who made it
    #[arg(short, long, value_name = "TEXT")]
    author: Option<String>,
    /// Change the image's configuration; may be repeated
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// Stop a container meanwhile, so that no file is caught half written
    #[arg(short, long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = crate::dispatch::boolean)]
    pause: bool,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// Makes the image, and prints its id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let changes = image::changes(&args.change)?;
    let reference = args.reference.as_deref().map(image::reference).transpose()?;
    let engine = context.engine_with_repaired_images()?;
    let id = engine.find(&args.workload)?;
    let request = CommitRequest {
        reference: reference.as_ref(),
        changes: &changes,
        message: args.message.as_deref(),
        author: args.author.as_deref(),
        pause: args.pause,
    };
    let image = engine.commit(&id, &request)?;
    context.keep_to_size(&engine, &image);
    context.printer.line(image)?;
    Ok(0)
}
