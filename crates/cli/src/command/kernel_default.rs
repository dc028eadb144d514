//! `holm kernel default`: which kernel virtual machines get without `--kernel`.

use holm_spec::platform::Platform;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::platform;

/// Show or choose the kernel that virtual machines get without --kernel
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm kernel default [OPTIONS] [KERNEL]",
    after_help = "Without a choice it is the kernel that was imported last; each platform has its own.

Examples:
  holm kernel default                                        which one it is
  holm kernel default localhost/kernel:6.1.0-37-cloud-amd64
  holm kernel default --last                                 again the one that was imported last"
)]
pub struct Args {
    /// Take the one that was imported last, from now on
    #[arg(long, conflicts_with = "kernel")]
    last: bool,
    /// The platform that is asked for; this host's if absent
    #[arg(long, value_name = "OS/ARCH", conflicts_with = "kernel")]
    platform: Option<String>,
    /// Kernel, by name
    #[arg(value_name = "KERNEL")]
    kernel: Option<String>,
}

/// Prints the default's name, or chooses it.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let platform = args.platform.as_deref().map(platform::parse).transpose();
    let platform = platform.map_err(|reason| CommandError::flag("platform", reason))?;
    let platform = platform.unwrap_or_else(Platform::host);
    match args.kernel.as_deref() {
        Some(name) => drop(context.engine()?.images().set_default_kernel(name)?),
        None if args.last => context.engine()?.images().unset_default_kernel(&platform)?,
        None => {
            let engine = context.or_nothing(Context::engine)?;
            let kernel = engine.images().default_kernel(&platform)?;
            let name = kernel.reference.map_or_else(|| kernel.id.to_string(), |name| name.familiar());
            context.printer.line(name)?;
        }
    }
    Ok(0)
}
