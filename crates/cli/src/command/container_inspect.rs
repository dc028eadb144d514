//! `holm container inspect`: workloads as documents.

use crate::command::inspect::{self, Wanted};
use crate::command_error::CommandError;
use crate::context::Context;

/// Show workloads as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm container inspect web
  holm container inspect -f '{{.State.Status}} {{.State.ExitCode}}' web")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Workloads, by name or id
    #[arg(required = true, value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Shows workloads.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    inspect::show(context, &args.workloads, args.format.as_deref(), Wanted::Workload)
}
