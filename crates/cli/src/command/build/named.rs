//! `--build-context NAME=SOURCE`: what a name means.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;

use holm_build::ignore::Ignore;
use holm_build::remote::{Remote, without_credentials};
use holm_build::solve::{Directory, Named};
use holm_build::stages::context_name;
use holm_engine::registry::copy::import;
use holm_engine::{Arrived, Engine, Unpacked};

use super::input::ignore_of;
use crate::command_error::CommandError;
use crate::resolve::image;

const FLAG: &str = "build-context";

/// The names that are given, as they are looked for.
pub(super) fn names(texts: &[String]) -> Result<BTreeSet<String>, CommandError> {
    texts.iter().map(|text| pair(text).map(|(name, _)| name)).collect()
}

/// What they mean, and what must be kept for as long.
pub(super) fn open(
    texts: &[String],
    engine: &Engine,
) -> Result<(BTreeMap<String, Named>, Vec<Unpacked>), CommandError> {
    let (mut contexts, mut kept) = (BTreeMap::new(), Vec::new());
    for text in texts {
        let (name, source) = pair(text)?;
        contexts.insert(name, named(source, engine, &mut kept)?);
    }
    Ok((contexts, kept))
}

fn pair(text: &str) -> Result<(String, &str), CommandError> {
    match text.split_once('=') {
        Some((name, source)) if !name.is_empty() && !source.is_empty() => Ok((context_name(name), source)),
        _ => Err(CommandError::flag(FLAG, format!("`{text}` is not NAME=SOURCE"))),
    }
}

fn named(source: &str, engine: &Engine, kept: &mut Vec<Unpacked>) -> Result<Named, CommandError> {
    match source.split_once(':') {
        Some(("docker-image", name)) => {
            let name = name.strip_prefix("//").unwrap_or(name);
            image::reference(name).map_err(|error| error.during(&format!("--{FLAG}")))?;
            return Ok(Named::Image(name.to_owned()));
        }
        Some(("oci-layout", place)) => {
            let (directory, name) = layout(place.strip_prefix("//").unwrap_or(place));
            return Ok(Named::Image(import(engine.images(), Path::new(directory), name)?.to_string()));
        }
        Some(("target", _)) => {
            return Err(CommandError::unsupported("--build-context NAME=target:STAGE", "building images"));
        }
        _ => {}
    }
    let remote = Remote::parse(source).map_err(|reason| CommandError::flag(FLAG, reason))?;
    let unpacked = match remote {
        None => {
            let path = std::fs::canonicalize(source)
                .map_err(|error| CommandError::system(&format!("find the context `{source}`"), error))?;
            if !path.is_dir() {
                return Err(CommandError::flag(FLAG, format!("`{source}` is no directory")));
            }
            let ignore = ignore_of(&path)?;
            return Ok(Named::Files(Directory { path, ignore, passing: false }));
        }
        Some(Remote::Repository(repository)) => engine.git_context(&repository)?,
        Some(Remote::Url(url)) => archive(&url, engine)?,
    };
    let directory = Directory { path: unpacked.path().to_owned(), ignore: Ignore::default(), passing: true };
    kept.push(unpacked);
    Ok(Named::Files(directory))
}

/// `DIRECTORY[:TAG|@DIGEST]`.
fn layout(place: &str) -> (&str, Option<&str>) {
    match place.rsplit_once('@').or_else(|| place.rsplit_once(':')) {
        Some((directory, name)) if !name.contains('/') => (directory, Some(name)),
        _ => (place, None),
    }
}

/// The files of an archive of the web.
fn archive(url: &str, engine: &Engine) -> Result<Unpacked, CommandError> {
    let name = format!("`{}`", without_credentials(url));
    let file = File::open(engine.download(url, None)?.path)
        .map_err(|error| CommandError::system(&format!("open what {name} has"), error))?;
    match Arrived::of(&name, file)? {
        Arrived::Archive(mut archive) => Ok(engine.unpack_context(&name, &mut archive)?),
        Arrived::Text(_) => Err(CommandError::flag(FLAG, format!("{name} is no tar archive"))),
    }
}

#[cfg(test)]
mod tests {
    use super::layout;

    #[test]
    fn layouts_have_a_tag_or_a_digest_or_nothing() {
        for (place, expected) in [
            ("a/b", ("a/b", None)),
            ("/a:1.0", ("/a", Some("1.0"))),
            ("a@sha256:00", ("a", Some("sha256:00"))),
            ("a:b/c", ("a:b/c", None)),
        ] {
            assert_eq!(layout(place), expected, "{place}");
        }
    }
}
