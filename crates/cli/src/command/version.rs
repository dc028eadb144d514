//! `holm version`: which Holm this is.

use std::fmt::Write as _;

use holm_spec::keeper::PROTOCOL;
use holm_spec::platform::Platform;
use holm_spec::workload;
use serde_json::{Value, json};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing;
use crate::template::Template;

/// Version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Show which Holm this is
#[derive(Debug, clap::Parser)]
#[command(after_help = "Client and server are one program: no daemon has to run.

Examples:
  holm version
  holm version -f '{{.Server.Version}}'
  holm version -f json")]
pub struct Args {
    /// A template, or json
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints versions.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let document = document();
    let text = match args.format.as_deref() {
        None | Some("" | "table") => table(&document),
        Some("json") => format!("{document}\n"),
        Some(text) => {
            let template = Template::parse(text).map_err(listing::unusable)?;
            template.render(&document).map_err(listing::unusable)? + "\n"
        }
    };
    context.printer.data(text)?;
    Ok(0)
}

/// Docker's two parts, which are the same program here.
fn document() -> Value {
    let host = Platform::host();
    let part = json!({
        "Version": VERSION,
        "KeeperProtocol": PROTOCOL,
        "StateVersion": workload::VERSION,
        "Os": host.os,
        "Arch": host.architecture,
    });
    json!({ "Client": part, "Server": part })
}

fn table(document: &Value) -> String {
    let part = &document["Client"];
    let text =
        |name: &str| part.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
    let mut table = String::from("Holm:\n");
    for (title, value) in [
        ("Version:", text("Version")),
        ("Keeper protocol:", text("KeeperProtocol")),
        ("State version:", text("StateVersion")),
        ("OS/Arch:", format!("{}/{}", text("Os"), text("Arch"))),
    ] {
        let _ = writeln!(table, " {title:<18}{value}");
    }
    table
}
