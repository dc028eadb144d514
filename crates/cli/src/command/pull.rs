//! `holm pull`: an image from a registry.

use holm_engine::images::Store;
use holm_engine::registry::{self, Client, Configuration, Observer, PullRequest, Pulled, Step};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference};
use indicatif::ProgressBar;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::progress;
use crate::resolve::{image, platform};

/// Fetch an image from a registry
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm pull [OPTIONS] NAME[:TAG|@DIGEST]",
    after_help = "A name without a registry is one of docker.io. Credentials are those of Docker's config.json (in
$DOCKER_CONFIG, or ~/.docker). A registry on this machine may speak plain HTTP. Layers that are there
are not fetched again.

Examples:
  holm pull debian:bookworm-slim
  holm pull --platform linux/arm64 registry.example/team/app:2
  holm pull -q localhost:5000/app"
)]
pub struct Args {
    /// What the image is to be made for; this host if absent
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// Print the name only
    #[arg(short, long)]
    quiet: bool,
    /// Name of the image
    #[arg(value_name = "NAME")]
    name: String,
}

/// Pulls, and prints what became of it as Docker does.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let reference = image::reference(&args.name)?;
    let platform = args.platform.as_deref().map(platform::parse).transpose();
    let platform = platform.map_err(|reason| CommandError::flag("platform", reason))?;
    let engine = context.engine_with_repaired_images()?;
    let printer = &context.printer;
    if !args.quiet {
        let wanted = reference.digest().map(|digest| digest.to_string());
        let wanted = wanted.as_deref().or(reference.tag()).unwrap_or_default();
        printer.line(format!("{wanted}: Pulling from {}", reference.path()))?;
    }
    let lines = |line: &str| match args.quiet {
        true => Ok(()),
        false => printer.line(line),
    };
    let pulled = pull(engine.images(), &reference, platform.as_ref(), args.quiet, &lines)?;
    lines(&format!("Digest: {}", pulled.digest))?;
    let familiar = reference.familiar();
    lines(&match pulled.newer {
        true => format!("Status: Downloaded newer image for {familiar}"),
        false => format!("Status: Image is up to date for {familiar}"),
    })?;
    printer.line(reference)?;
    Ok(0)
}

/// Prints a line.
type Lines<'a> = &'a (dyn Fn(&str) -> Result<(), CommandError> + Sync);

/// Pulls, with a line of `lines` for what happens to a layer, and a bar on a terminal unless it is `quiet`.
///
/// # Errors
/// Those of [`registry::pull`].
pub fn pull(
    store: &Store,
    reference: &Reference,
    platform: Option<&Platform>,
    quiet: bool,
    lines: Lines<'_>,
) -> Result<Pulled, CommandError> {
    let client = Client::new(reference.domain(), &Configuration::read()?)?;
    let progress = Progress { bar: progress::bytes(Some(0), quiet), lines };
    let pulled = registry::pull(store, &client, &PullRequest { reference, platform }, &progress);
    progress.bar.finish_and_clear();
    Ok(pulled?)
}

/// Shows how far a pull is: lines as Docker's, and one bar for all layers together.
struct Progress<'a> {
    bar: ProgressBar,
    lines: Lines<'a>,
}

impl Observer for Progress<'_> {
    fn layer(&self, layer: &Digest, step: Step) {
        let said = match step {
            Step::Exists => "Already exists",
            Step::Begins { size } => {
                self.bar.inc_length(size);
                "Pulling fs layer"
            }
            Step::Fetched { bytes, size, new } => {
                self.bar.inc(new);
                if bytes < size {
                    return;
                }
                "Download complete"
            }
            Step::Complete => "Pull complete",
        };
        // That nobody reads is noticed when all is done.
        self.bar.suspend(|| drop((self.lines)(&format!("{}: {said}", layer.short()))));
    }
}
