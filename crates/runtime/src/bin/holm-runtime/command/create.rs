//! `holm-runtime create`: a container whose process is held before its program.

use holm_runtime::Result;

use crate::arguments::Global;
use crate::arguments::plain::Plain;
use crate::launch::{Mode, Options, launch};

/// Create a container
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  holm-runtime create --bundle /srv/box --pid-file /run/box.pid box")]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    pub id: String,
    #[command(flatten)]
    pub launch: Options,
}

impl Args {
    /// Reads what is plain.
    pub fn read(mut plain: Plain<'_>) -> Option<Self> {
        let launch = Options::read(&mut plain)?;
        let [id] = plain.others()?.try_into().ok()?;
        Some(Self { id, launch })
    }
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    launch(&args.id, &args.launch, Mode::Detach, global)?;
    // As in `exec`: nothing is taken apart.
    std::process::exit(0)
}
