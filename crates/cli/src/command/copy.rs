//! `holm copy`: images and artifacts from one place to another, without keeping them here.

use holm_engine::registry::copy::{CopyRequest, Location, copy};
use holm_engine::registry::{Connections, TakeAll};
use serde_json::json;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::platform;
use crate::transfer::{Direction, Transfer};
use crate::transfer_arguments::TransferArguments;

/// Copy an image from one registry or file to another
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm copy [OPTIONS] SOURCE DESTINATION",
    after_help = "Places:
  REGISTRY/NAME[:TAG|@DIGEST]            a registry
  oci:DIRECTORY[:NAME]                   a directory laid out as the OCI image specification says
  oci-archive:FILE[:NAME]                the same as a tar archive
  docker-archive:FILE[:NAME[:TAG]]       what `docker save` writes and `docker load` reads
  dir:DIRECTORY                          a manifest, and files named by their digests, as skopeo writes them

Everything goes byte for byte, for all platforms unless one is named, and under the same digest; artifacts of any
kind as images. Nothing is kept here, and what is at the destination does not go again.

Examples:
  holm copy debian:bookworm registry.example/mirror/debian:bookworm
  holm copy --referrers registry.example/app:1 oci:bundle:1          with signatures and the like
  holm copy --platform linux/arm64 registry.example/app:1 docker-archive:app.tar
  holm copy docker-archive:app.tar localhost:5000/app:1"
)]
pub struct Args {
    #[command(flatten)]
    transfer: TransferArguments,
    /// Only what is made for this platform; all of them if absent
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// What is about it goes along: signatures, lists of contents
    #[arg(long)]
    referrers: bool,
    /// From where
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to
    #[arg(value_name = "DESTINATION")]
    destination: String,
}

/// Copies, and prints the digest.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let manner = args.transfer.manner()?;
    let connections = Connections::read()?;
    let platform = args.platform.as_deref().map(platform::parse).transpose();
    let platform = platform.map_err(|reason| CommandError::flag("platform", reason))?;
    let location = |text: &str| Location::parse(text, |name| connections.expand(name));
    let (from, to) = (location(&args.source)?, location(&args.destination)?);
    let request = CopyRequest {
        from: &from,
        to: &to,
        platform: platform.as_ref(),
        referrers: args.referrers,
        policy: &TakeAll,
    };
    let transfer = Transfer::new(Direction::Copy, manner, format!("Copying {from} to {to}"));
    let copied = copy(&connections, &request, &transfer)?;
    if copied.referrers > 0 {
        transfer.line(&format!("Referrers: {}", copied.referrers))?;
    }
    transfer.line(&format!("Digest: {}", copied.digest))?;
    let name = to.to_string();
    transfer.event(
        &json!({"name": name, "digest": copied.digest, "size": copied.size, "referrers": copied.referrers}),
    )?;
    if args.transfer.quiet {
        context.printer.line(copied.digest)?;
    }
    Ok(0)
}
