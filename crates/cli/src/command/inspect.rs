//! `holm inspect`: workloads, images, networks and volumes as documents.

use holm_engine::{Engine, Kind, images};
use serde_json::Value;

use crate::command::{network_inspect, volume_inspect};
use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing;
use crate::several;
use crate::template::Template;

/// Show workloads, images, networks and volumes as JSON documents
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm inspect web
  holm inspect -f '{{.State.Status}} {{.State.ExitCode}}' web
  holm inspect -f '{{range .Mounts}}{{.Source}} {{end}}' web
  holm inspect -f '{{json .Config.Env}}' --type image debian")]
pub struct Args {
    /// A template for each document, or json for one line a document
    #[arg(short, long, value_name = "TEMPLATE")]
    format: Option<String>,
    /// Only objects of this type: workload (or container), image, network, volume
    #[arg(long, value_name = "TYPE")]
    r#type: Option<String>,
    /// Names or ids
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Which objects a name may be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Workloads, then images, networks and volumes.
    Any,
    /// Workloads only.
    Workload,
    /// Images only.
    Image,
    /// Networks only.
    Network,
    /// Volumes only.
    Volume,
}

/// Shows what the names stand for.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let wanted = match args.r#type.as_deref() {
        None | Some("") => Wanted::Any,
        Some("workload" | "container") => Wanted::Workload,
        Some("image") => Wanted::Image,
        Some("network") => Wanted::Network,
        Some("volume") => Wanted::Volume,
        Some(other) => {
            let reason = format!("`{other}` is no type: workload, image, network and volume are");
            return Err(CommandError::flag("type", reason));
        }
    };
    show(context, &args.names, args.format.as_deref(), wanted)
}

/// Prints the documents of `names`: an array, or what the format makes of each. What is not there is told.
///
/// # Errors
/// The format is none, or asks for what is not there; the output is closed.
pub fn show(
    context: &Context,
    names: &[String],
    format: Option<&str>,
    wanted: Wanted,
) -> Result<u8, CommandError> {
    let engine = context.or_nothing(Context::engine)?;
    show_each(context, names, format, |name| document(&engine, name, wanted))
}

/// As [`show`], for objects of any kind.
///
/// # Errors
/// As [`show`].
pub fn show_each(
    context: &Context,
    names: &[String],
    format: Option<&str>,
    document: impl Fn(&str) -> Result<Value, CommandError>,
) -> Result<u8, CommandError> {
    let form = Form::parse(format)?;
    let mut shown = Vec::new();
    let code = several::each(context, names, |name| {
        shown.push(form.one(&document(name)?)?);
        Ok(())
    })?;
    context.printer.data(form.all(&shown))?;
    Ok(code)
}

fn document(engine: &Engine, name: &str, wanted: Wanted) -> Result<Value, CommandError> {
    match wanted {
        Wanted::Image => return image(engine, name).map_err(CommandError::from),
        Wanted::Network => return network_inspect::document(engine, name),
        Wanted::Volume => return volume_inspect::document(engine, name),
        Wanted::Any | Wanted::Workload => {}
    }
    let missing = match engine.find(name) {
        Ok(id) => return Ok(engine.inspect_document(&engine.workload(&id)?)),
        Err(error) => error,
    };
    if wanted == Wanted::Workload || missing.kind() != Kind::NoSuchWorkload {
        return Err(missing.into());
    }
    match image(engine, name) {
        Err(error) if error.kind() == images::Kind::NotFound => {}
        found => return found.map_err(CommandError::from),
    }
    let others = network_inspect::document(engine, name).or_else(|_| volume_inspect::document(engine, name));
    others.map_err(|_| {
        CommandError::new(format!("there is no workload, image, network or volume `{name}`"))
            .hint("`holm ps -a`, `images`, `network ls` and `volume ls` list what there is")
    })
}

fn image(engine: &Engine, name: &str) -> images::Result<Value> {
    engine.images().inspect(&engine.images().resolve(name)?)
}

/// How documents are printed.
enum Form {
    Array,
    Json,
    Lines(Template),
}

impl Form {
    fn parse(format: Option<&str>) -> Result<Self, CommandError> {
        match format {
            None | Some("") => Ok(Self::Array),
            Some("json") => Ok(Self::Json),
            Some(text) => Template::parse(text).map(Self::Lines).map_err(listing::unusable),
        }
    }

    fn one(&self, document: &Value) -> Result<String, CommandError> {
        match self {
            Self::Array => Ok(indented(document)),
            Self::Json => Ok(document.to_string()),
            Self::Lines(template) => template.render(document).map_err(listing::unusable),
        }
    }

    fn all(&self, documents: &[String]) -> String {
        match self {
            Self::Array if documents.is_empty() => "[]\n".to_owned(),
            Self::Array => format!("[\n{}\n]\n", documents.join(",\n")),
            Self::Json | Self::Lines(_) => documents.iter().map(|document| format!("{document}\n")).collect(),
        }
    }
}

/// A document with Docker's indentation, one level inside an array.
fn indented(document: &Value) -> String {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(document, &mut serializer).expect("a JSON value is plain data");
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(format: Option<&str>, documents: &[Value]) -> String {
        let form = Form::parse(format).expect("valid");
        let documents: Vec<String> =
            documents.iter().map(|document| form.one(document).expect("shown")).collect();
        form.all(&documents)
    }

    #[test]
    fn documents_in_every_form() {
        let documents = [json!({"Id": "a", "State": {"Pid": 1}}), json!({"Id": "b", "State": {}})];
        insta::assert_snapshot!(shown(None, &documents), @r#"
        [
            {
                "Id": "a",
                "State": {
                    "Pid": 1
                }
            },
            {
                "Id": "b",
                "State": {}
            }
        ]
        "#);
        assert_eq!(
            shown(Some("json"), &documents),
            "{\"Id\":\"a\",\"State\":{\"Pid\":1}}\n{\"Id\":\"b\",\"State\":{}}\n"
        );
        assert_eq!(shown(Some("{{.Id}}"), &documents), "a\nb\n");
        assert_eq!(shown(None, &[]), "[]\n");
    }
}
