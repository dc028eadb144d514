//! `holm volume create`: makes a volume.

use holm_engine::volume::NewVolume;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::{label, volume};
use crate::workload_arguments::each;

/// Make a volume
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "A volume outlives the workloads that mount it, in containers and in virtual machines. `run -v NAME:DIR`
makes one that is not there.

Examples:
  holm volume create data
  holm volume create --label app=shop data
  holm volume create -o size=10G data                                    holds 10 GiB at most
  holm volume create -o type=none -o o=bind -o device=/srv/data data     a directory that is there
  holm volume create -o type=tmpfs -o o=size=64m,mode=1770 scratch       in memory, while somebody uses it
  holm volume create -o type=ext4 -o device=/dev/sdb1 data               a file system of a device
  holm volume create -o type=nfs -o device=HOST:/srv -o o=vers=4.2 data  a directory of a server"
)]
pub struct Args {
    /// What keeps it: local
    #[arg(short, long, value_name = "DRIVER", default_value = "local", hide_default_value = true)]
    driver: String,
    /// Option of the driver
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// Label of the volume
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Name of the volume; a random one if absent
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Makes it, and prints its name.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    if args.driver != "local" {
        let reason = format!("there is no driver `{}` of volumes: local is there", args.driver);
        return Err(CommandError::flag("driver", reason));
    }
    let name = args.name.as_deref().map(volume::volume_name).transpose().map_err(CommandError::usage)?;
    let asked = NewVolume {
        options: each("opt", &args.opt, option)?.into_iter().collect(),
        labels: each("label", &args.label, label::parse)?.into_iter().collect(),
        ..NewVolume::named(name)
    };
    let made = context.repaired_engine()?.create_volume(&asked)?;
    context.printer.data(format!("{}\n", made.name))?;
    Ok(0)
}

fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` has no value"))?;
    Ok((key.to_owned(), value.to_owned()))
}
