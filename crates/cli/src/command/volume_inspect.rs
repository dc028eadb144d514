//! `holm volume inspect`: volumes as documents in Docker's form.

use holm_engine::Engine;
use serde_json::{Value, json};

use crate::command::inspect::show_each;
use crate::command_error::CommandError;
use crate::context::Context;

/// Show volumes as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm volume inspect data
  holm volume inspect -f '{{.Mountpoint}}' data
  holm volume inspect -f '{{range .Holm.Workloads}}{{.Name}} {{end}}' data")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

/// Shows volumes.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    show_each(context, &args.volumes, args.format.as_deref(), |name| document(&engine, name))
}

/// A volume with the workloads that have it.
///
/// # Errors
/// There is none of that name; what reading reports.
pub fn document(engine: &Engine, name: &str) -> Result<Value, CommandError> {
    let volumes = engine.volumes();
    let volume = volumes.find(name).map_err(holm_engine::Error::from)?;
    let in_use = volumes.in_use().map_err(holm_engine::Error::from)?;
    let workloads: Vec<Value> =
        in_use.of(&volume.name).map(|(id, name)| json!({ "Id": id, "Name": name })).collect();
    let held = volumes.held(&volume).map_err(holm_engine::Error::from)?;
    Ok(json!({
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": volume.labels,
        "Mountpoint": volumes.source(&volume),
        "Name": volume.name,
        "Options": volume.options,
        "Scope": "local",
        "Holm": {
            "Anonymous": volume.anonymous,
            "Workloads": workloads,
            "Size": volume.quota.map(|quota| quota.bytes),
            "Used": held,
        },
    }))
}
