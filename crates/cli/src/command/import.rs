//! `holm import`: an image from the tarball of a root file system.

use std::fs::File;
use std::io::Read;

use holm_engine::images::Import;
use holm_spec::event::EventKind;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress;
use crate::resolve::{image, platform};
use crate::terminal;

/// Make an image from the tarball of a root file system
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm import [OPTIONS] TARBALL|- [REPOSITORY[:TAG]]",
    after_help = "The tarball may be plain, or compressed by gzip, zstd or xz. Prints the image's id. Instructions, as
in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR.

Examples:
  mmdebstrap bookworm root.tar && holm import root.tar debian:bookworm
  zcat root.tar.gz | holm import - base
  holm import -c 'CMD [\"python3\", \"app.py\"]' -c 'ENV LANG=C.UTF-8' root.tar.zst app"
)]
pub struct Args {
    /// Change the image's configuration; may be repeated
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// Comment in the image's history
    #[arg(short, long, value_name = "TEXT")]
    message: Option<String>,
    /// What the image is made for; this host if absent
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Tarball; - for standard input
    #[arg(value_name = "TARBALL")]
    tarball: String,
    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,
}

/// Imports, and prints the image's id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let changes = image::changes(&args.change)?;
    let reference = args.reference.as_deref().map(image::reference).transpose()?;
    let platform = args.platform.as_deref().map(platform::parse).transpose();
    let request = Import {
        reference: reference.as_ref(),
        changes: &changes,
        message: args.message.as_deref(),
        platform: platform.map_err(|reason| CommandError::flag("platform", reason))?,
        created: None,
    };
    let engine = context.engine_with_repaired_images()?;
    let archive = open(&args.tarball)?;
    let progress = progress::bytes(archive.length, args.quiet);
    let imported = engine.images().import(progress.wrap_read(archive.reader), &request);
    progress.finish_and_clear();
    let imported =
        imported.map_err(|error| CommandError::from(error).during(&format!("read `{}`", args.tarball)))?;
    engine.tell_of(
        EventKind::Image,
        "import",
        imported.to_string(),
        [("name", args.reference.unwrap_or_default())],
    );
    context.keep_to_size(&engine, &imported);
    context.printer.line(imported)?;
    Ok(0)
}

struct Archive {
    reader: Box<dyn Read + Send>,
    /// Bytes, where that is known.
    length: Option<u64>,
}

fn open(tarball: &str) -> Result<Archive, CommandError> {
    if tarball == "-" {
        if terminal::is_input_terminal() {
            let error = CommandError::new("standard input is a terminal, not a tarball");
            return Err(
                error.hint("write the tarball's name, or pipe it in: zcat root.tar.gz | holm import - NAME")
            );
        }
        return Ok(Archive { reader: Box::new(std::io::stdin()), length: None });
    }
    if tarball.starts_with("http://") || tarball.starts_with("https://") {
        return Err(CommandError::unsupported("importing from a URL", "registries"));
    }
    let failed = |error| CommandError::system(&format!("open `{tarball}`"), error);
    let file = File::open(tarball).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(CommandError::new(format!("`{tarball}` is a directory, not a tarball")));
    }
    Ok(Archive { reader: Box::new(file), length: metadata.is_file().then_some(metadata.len()) })
}
