//! `holm artifact inspect`: artifacts as documents.

use holm_engine::images::Store;
use serde_json::{Value, json};

use crate::command::inspect::show_each;
use crate::command_error::CommandError;
use crate::context::Context;

/// Show artifacts as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm artifact inspect localhost:5000/model:1
  holm artifact inspect -f '{{range .Files}}{{.Name}} {{.Size}}{{\"\\n\"}}{{end}}' localhost:5000/model:1")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Artifacts, by name, id or digest
    #[arg(required = true, value_name = "ARTIFACT")]
    artifacts: Vec<String>,
}

/// Shows artifacts.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    let store = engine.images();
    show_each(context, &args.artifacts, args.format.as_deref(), |name| document(store, name))
}

fn document(store: &Store, name: &str) -> Result<Value, CommandError> {
    let artifact = store.artifact(name)?;
    let row = store.artifacts()?.into_iter().find(|row| row.artifact.id == artifact.id);
    let names = row.iter().flat_map(|row| &row.names).map(|name| name.reference.familiar());
    let files = artifact.files()?.into_iter().map(|file| {
        json!({"Name": file.name, "MediaType": file.media_type, "Digest": file.digest, "Size": file.size})
    });
    Ok(json!({
        "Id": artifact.id,
        "Digest": artifact.digest,
        "Names": names.collect::<Vec<_>>(),
        "Type": artifact.artifact_type(),
        "Annotations": artifact.manifest.annotations().clone().unwrap_or_default(),
        "Subject": artifact.manifest.subject().as_ref().map(|subject| subject.digest().to_string()),
        "Files": files.collect::<Vec<_>>(),
        "Size": artifact.size(),
    }))
}
