//! `holm kernel inspect`: kernels as documents.

use holm_engine::images::{Kernel, KernelSummary, Store};
use serde_json::{Value, json};

use crate::command::inspect::show_each;
use crate::command_error::CommandError;
use crate::context::Context;

/// Show kernels as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Without a name it is the default.

Examples:
  holm kernel inspect
  holm kernel inspect -f '{{.Release}} {{join .Modules \" \"}}' localhost/kernel:6.1.0-37-cloud-amd64")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Kernels, by name, id or digest
    #[arg(value_name = "KERNEL")]
    kernels: Vec<String>,
}

/// Shows kernels.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    let store = engine.images();
    let names = match args.kernels.as_slice() {
        [] => vec![store.kernel(None)?.id.to_string()],
        names => names.to_vec(),
    };
    show_each(context, &names, args.format.as_deref(), |name| document(store, name))
}

fn document(store: &Store, name: &str) -> Result<Value, CommandError> {
    let kernel = store.kernel(Some(name))?;
    let row = store.kernels()?.into_iter().find(|row| row.kernel.id == kernel.id);
    Ok(of_kernel(&kernel, row.as_ref()))
}

fn of_kernel(kernel: &Kernel, row: Option<&KernelSummary>) -> Value {
    let names: Vec<String> =
        row.into_iter().flat_map(|row| &row.names).map(|name| name.reference.familiar()).collect();
    json!({
        "Id": kernel.id,
        "Digest": kernel.digest,
        "Names": names,
        "Default": row.is_some_and(|row| row.default),
        "Imported": row.map(|row| row.imported),
        "Release": kernel.config.release,
        "Os": kernel.config.platform.os,
        "Architecture": kernel.config.platform.architecture,
        "Format": kernel.config.format,
        "Origin": kernel.config.origin,
        "Modules": kernel.config.modules,
        "Image": { "Path": kernel.image, "Size": kernel.image_size },
        "ModulesArchive": { "Path": kernel.modules, "Size": kernel.modules_size },
    })
}
