//! `holm image mount`: the files of an image, read-only.

use std::path::PathBuf;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing::{self, Field, Format, Row};

const FIELDS: [Field; 4] = [
    Field { name: "CreatedAt", heading: "MOUNTED AT" },
    Field { name: "ID", heading: "IMAGE ID" },
    Field { name: "Image", heading: "IMAGE" },
    Field { name: "Mountpoint", heading: "MOUNTPOINT" },
];
const COLUMNS: [&str; 3] = ["Image", "ID", "Mountpoint"];

/// Mount an image read-only, or list the images that are mounted
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm image mount [OPTIONS] [IMAGE [DIRECTORY]]",
    after_help = "Prints the directory. An image that is mounted cannot be removed or pruned.

Examples:
  holm image mount debian:12                ls \"$(holm image mount debian:12)\"
  holm image mount debian:12 /mnt
  holm image mount                          what is mounted
  holm image unmount debian:12"
)]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Image, by name, id or digest
    #[arg(value_name = "IMAGE")]
    image: Option<String>,
    /// Directory that is there; one below the run root if absent
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

/// Mounts, or lists.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.or_nothing(Context::engine)?;
    if let Some(image) = &args.image {
        let mounted = engine.mount_image(image, args.directory.as_deref())?;
        context.printer.line(mounted.target.display())?;
        return Ok(0);
    }
    let row = |mount: &holm_engine::ImageMount| {
        Row::new([
            ("CreatedAt", mount.created.to_string()),
            ("ID", mount.image.short()),
            ("Image", mount.name.clone()),
            ("Mountpoint", mount.target.display().to_string()),
        ])
    };
    let rows: Vec<Row> = engine.image_mounts()?.iter().map(row).collect();
    context.printer.data(listing::render(&format, &FIELDS, &COLUMNS, &rows)?)?;
    Ok(0)
}
