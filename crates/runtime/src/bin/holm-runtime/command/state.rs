//! `holm-runtime state`: a container's state as JSON (OCI runtime specification, "State").

use std::collections::BTreeMap;
use std::path::Path;

use holm_runtime::Result;
use holm_runtime::state::{Container, Status};
use serde_json::{Value, json};

use super::SPEC_VERSION;
use crate::arguments::Global;
use crate::talk;

/// Print the state of a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let container = global.containers()?.get(&args.id)?;
    let state = full(&container, "");
    talk::print(&escape(&format!("{state:#}")));
    Ok(0)
}

/// All that is told of a container, in the order of other runtimes.
pub fn full(container: &Container, owner: &str) -> Value {
    let record = &container.record;
    let status = container.status();
    let pid = if status == Status::Stopped { 0 } else { record.pid };
    let mut state = json!({
        "ociVersion": SPEC_VERSION,
        "id": record.id,
        "pid": pid,
        "status": status.name(),
        "bundle": record.bundle,
        "rootfs": record.root,
        "created": record.created.to_string(),
    });
    if !record.annotations.is_empty() {
        state["annotations"] = json!(record.annotations);
    }
    state["owner"] = json!(owner);
    state
}

/// The state that hooks and agents read.
pub fn document<'a>(
    id: &str,
    status: &str,
    pid: Option<i32>,
    bundle: &Path,
    annotations: Option<impl IntoIterator<Item = (&'a String, &'a String)>>,
) -> Vec<u8> {
    let mut state = json!({ "ociVersion": SPEC_VERSION, "id": id, "status": status });
    if let Some(pid) = pid {
        state["pid"] = json!(pid);
    }
    state["bundle"] = json!(bundle);
    let annotations: BTreeMap<_, _> = annotations.into_iter().flatten().collect();
    if !annotations.is_empty() {
        state["annotations"] = json!(annotations);
    }
    state.to_string().into_bytes()
}

/// As Go's encoder writes strings, for readers that compare bytes.
pub fn escape(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}
