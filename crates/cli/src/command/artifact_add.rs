//! `holm artifact add`: an artifact of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holm_engine::images::{ImportArtifact, Kind, Store};
use holm_spec::Digest;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;

/// Make an artifact of files
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm artifact add [OPTIONS] NAME [FILE...]",
    after_help = "Files keep their names, without directories. `holm push` sends it, `holm artifact extract` gives the files back. The
same files give the same artifact.

Examples:
  holm artifact add --type application/x.model localhost:5000/model:1 weights.bin
  holm artifact add --type application/spdx+json --subject app:1 localhost:5000/app:1.sbom app.spdx.json"
)]
pub struct Args {
    /// What is said of it
    #[arg(long, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// What the files are
    #[arg(long, value_name = "MEDIA_TYPE", default_value = "application/octet-stream")]
    file_type: String,
    /// The image or artifact that it is about
    #[arg(long, value_name = "IMAGE")]
    subject: Option<String>,
    /// What kind of artifact it is
    #[arg(long = "type", value_name = "MEDIA_TYPE", default_value = "application/vnd.unknown.artifact.v1")]
    artifact_type: String,
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Files
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Makes an artifact and prints its id.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let reference = image::reference(&args.name)?;
    for (flag, text) in [("type", &args.artifact_type), ("file-type", &args.file_type)] {
        check_media_type(text).map_err(|reason| CommandError::flag(flag, reason))?;
    }
    let annotations = args.annotation.iter().map(|text| annotation(text));
    let annotations = annotations.collect::<Result<BTreeMap<_, _>, _>>()?;
    let engine = context.engine_with_repaired_images()?;
    let store = engine.images();
    let subject = args.subject.as_deref().map(|name| meaning_of(store, name)).transpose()?;
    let subject = subject.map(|digest| store.subject(&digest)).transpose()?;
    let files: Vec<(&Path, &str)> =
        args.files.iter().map(|path| (path.as_path(), args.file_type.as_str())).collect();
    let id = store.import_artifact(&ImportArtifact {
        reference: &reference,
        artifact_type: &args.artifact_type,
        annotations: &annotations,
        subject: subject.as_ref(),
        files: &files,
    })?;
    context.printer.line(id)?;
    Ok(0)
}

/// A type and a subtype (RFC 6838 section 4.2).
fn check_media_type(text: &str) -> Result<(), String> {
    let is_name = |name: &str| {
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        first && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    match text.split_once('/') {
        Some((kind, name)) if is_name(kind) && is_name(name) => Ok(()),
        _ => Err(format!("`{text}` is no media type, as `text/plain` is one")),
    }
}

fn annotation(text: &str) -> Result<(String, String), CommandError> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(CommandError::flag("annotation", format!("`{text}` is not of the form KEY=VALUE"))),
    }
}

/// What the name of an image, else of an artifact, stands for.
fn meaning_of(store: &Store, name: &str) -> Result<Digest, CommandError> {
    match store.resolve(name) {
        Err(error) if error.kind() == Kind::WrongSort => Ok(store.artifact(name)?.digest),
        found => Ok(found?.digest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_have_two_parts() {
        for text in ["text/plain", "application/vnd.oci.image.layer.v1.tar+gzip", "a/b"] {
            assert_eq!(check_media_type(text), Ok(()));
        }
        for text in ["", "text", "text/", "/plain", "a/b/c", "a/b c", "a/b;c=d", "-a/b"] {
            assert!(check_media_type(text).is_err(), "{text}");
        }
    }
}
