//! `--cache-from` and `--cache-to`: what steps have made, from and for other machines.

use holm_build::solve::Built;
use holm_engine::Engine;
use holm_engine::images::compression::Compression;
use holm_engine::registry::Connections;
use holm_engine::registry::copy::{BuildCache, CacheExport, Location, export_cache};

use crate::command::push;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::mount::fields;
use crate::transfer::{Direction, Manner, Transfer};

/// What a cache in a directory is called there, as with buildx.
const LOCAL_TAG: &str = "latest";

/// Flags for caches.
#[derive(Debug, Default, clap::Args)]
pub struct CacheArguments {
    /// Take steps that are made already from type=registry,ref=NAME or type=local,src=DIRECTORY; may be repeated
    #[arg(long, value_name = "NAME|type=TYPE[,NAME=VALUE]")]
    cache_from: Vec<String>,
    /// Put steps to type=registry,ref=NAME, type=local,dest=DIRECTORY or, with the image, type=inline; mode=max for those of
    /// all stages; may be repeated
    #[arg(long, value_name = "NAME|type=TYPE[,NAME=VALUE]")]
    cache_to: Vec<String>,
}

/// Caches as they were asked for.
#[derive(Debug, Default)]
pub(super) struct Caches {
    from: Vec<Location>,
    to: Vec<Export>,
    /// The image's manifest says which steps its layers are of.
    pub inline: bool,
}

#[derive(Debug)]
struct Export {
    to: Location,
    all: bool,
    compression: Option<Compression>,
    forgiven: bool,
}

impl Caches {
    /// Reads what a user wrote; `expand` makes a whole name of a short one.
    ///
    /// # Errors
    /// What is wrong with it, by the flag's name.
    pub fn parse(arguments: &CacheArguments, expand: &dyn Fn(&str) -> String) -> Result<Self, CommandError> {
        let mut caches = Self::default();
        for text in &arguments.cache_from {
            let mut wanted = Wanted::parse("cache-from", text)?;
            let from = wanted.location("src", expand)?;
            wanted.check_rest()?;
            caches.from.push(from);
        }
        for text in &arguments.cache_to {
            let mut wanted = Wanted::parse("cache-to", text)?;
            if wanted.kind == "inline" {
                wanted.check_rest()?;
                caches.inline = true;
                continue;
            }
            let export = wanted.export(expand)?;
            wanted.check_rest()?;
            caches.to.push(export);
        }
        Ok(caches)
    }

    /// Reads which steps there are. A cache that cannot be read is told, and the build goes on without it: before the first
    /// build there is none.
    pub fn open(&self, connections: &Connections, context: &Context) -> Vec<BuildCache> {
        let open = |from: &Location| match BuildCache::open(connections, from) {
            Ok(cache) => Some(cache),
            Err(error) => {
                let error = CommandError::from(error);
                context.printer.warning(error.message().unwrap_or_default());
                None
            }
        };
        self.from.iter().filter_map(open).collect()
    }

    /// Writes the caches.
    ///
    /// # Errors
    /// One cannot be written, unless `ignore-error=true` was said of it; then that is told.
    pub fn write(
        &self,
        (engine, built): (&Engine, &Built),
        connections: &Connections,
        manner: Manner,
        context: &Context,
    ) -> Result<(), CommandError> {
        for Export { to, all, compression, forgiven } in &self.to {
            let keys = if *all { &built.all_keys } else { &built.keys };
            let request = CacheExport { keys, to, compression: *compression };
            let transfer = Transfer::new(Direction::Copy, manner, format!("Writing the cache {to}"));
            match export_cache(engine.images(), connections, &request, &transfer).map_err(CommandError::from)
            {
                Err(error) if *forgiven => context.printer.warning(error.message().unwrap_or_default()),
                written => drop(written?),
            }
        }
        Ok(())
    }
}

/// One flag: its type and its attributes.
struct Wanted {
    flag: &'static str,
    kind: String,
    attributes: Vec<(String, String)>,
}

impl Wanted {
    fn parse(flag: &'static str, text: &str) -> Result<Self, CommandError> {
        let refused = |why: String| CommandError::flag(flag, why);
        let fields = fields(text).map_err(refused)?;
        if let [name] = &fields[..]
            && !name.contains('=')
        {
            let attributes = vec![("ref".to_owned(), name.clone())];
            return Ok(Self { flag, kind: "registry".to_owned(), attributes });
        }
        let mut wanted = Self { flag, kind: String::new(), attributes: Vec::new() };
        for field in fields {
            let pair =
                field.split_once('=').ok_or_else(|| refused(format!("`{field}` is not NAME=VALUE")))?;
            match pair {
                ("type", kind) => wanted.kind = kind.to_owned(),
                (name, value) => wanted.attributes.push((name.to_owned(), value.to_owned())),
            }
        }
        match wanted.kind.as_str() {
            "registry" | "local" => Ok(wanted),
            "inline" if flag == "cache-to" => Ok(wanted),
            "" => Err(refused(format!("`{text}` has no type"))),
            kind @ ("gha" | "s3" | "azblob") => {
                Err(CommandError::unsupported(&format!("--{flag} type={kind}"), "more places for caches"))
            }
            kind => Err(refused(format!("`{kind}` is no type"))),
        }
    }

    fn refuse(&self, why: impl std::fmt::Display) -> CommandError {
        CommandError::flag(self.flag, format!("type={}: {why}", self.kind))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.attributes.iter().position(|(known, _)| known == name)?;
        Some(self.attributes.remove(place).1)
    }

    /// Where it is; `path` is what a directory is called here.
    fn location(&mut self, path: &str, expand: &dyn Fn(&str) -> String) -> Result<Location, CommandError> {
        if self.kind == "local" {
            let tag = self.take("tag").unwrap_or_else(|| LOCAL_TAG.to_owned());
            let directory = self.take(path).filter(|directory| !directory.is_empty());
            let directory =
                directory.ok_or_else(|| self.refuse(format!("`{path}` is missing: the directory")))?;
            return Ok(Location::Layout(directory.into(), Some(tag)));
        }
        let name = self.take("ref").ok_or_else(|| self.refuse("`ref` is missing: the name"))?;
        let reference = crate::resolve::image::reference(&expand(&name))?;
        Ok(Location::Registry(reference))
    }

    fn export(&mut self, expand: &dyn Fn(&str) -> String) -> Result<Export, CommandError> {
        let all = match self.take("mode").as_deref() {
            None | Some("min") => false,
            Some("max") => true,
            Some(other) => return Err(self.refuse(format!("`mode` is min or max, not `{other}`"))),
        };
        let compression = self.take("compression");
        let compression = compression.map(|name| push::compression(&name)).transpose();
        let forgiven = match self.take("ignore-error").as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(other) => return Err(self.refuse(format!("`ignore-error` is true or false, not `{other}`"))),
        };
        let compression = compression.map_err(|why| self.refuse(why))?;
        Ok(Export { to: self.location("dest", expand)?, all, compression, forgiven })
    }

    /// What is left says what is done anyway, or means nothing.
    fn check_rest(&self) -> Result<(), CommandError> {
        let is_so_anyway = |(name, value): &&(String, String)| {
            matches!(name.as_str(), "oci-mediatypes" | "image-manifest") && value == "true"
        };
        match self.attributes.iter().find(|attribute| !is_so_anyway(attribute)) {
            Some((name, value)) => Err(self.refuse(format!("`{name}={value}` means nothing here"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches(from: &[&str], to: &[&str]) -> Result<Caches, String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let arguments = CacheArguments { cache_from: owned(from), cache_to: owned(to) };
        let parsed = Caches::parse(&arguments, &str::to_owned);
        parsed.map_err(|error| error.message().unwrap_or_default().to_owned())
    }

    #[test]
    fn places_and_modes() {
        let found = caches(
            &["r.example/cache", "type=local,src=dir,tag=x"],
            &["type=registry,ref=r.example/cache:1,mode=max", "type=local,dest=dir", "type=inline"],
        );
        let found = found.expect("caches");
        let shown = |location: &Location| location.to_string();
        assert_eq!(found.from.iter().map(shown).collect::<Vec<_>>(), ["r.example/cache:latest", "oci:dir:x"]);
        let to: Vec<_> = found.to.iter().map(|export| (shown(&export.to), export.all)).collect();
        assert_eq!(to, [("r.example/cache:1".to_owned(), true), ("oci:dir:latest".to_owned(), false)]);
        assert!(found.inline);
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (to, why) in [
            ("type=gha", "--cache-to type=gha is not supported yet"),
            ("type=local", "--cache-to: type=local: `dest` is missing: the directory"),
            ("type=registry,mode=some,ref=a", "--cache-to: type=registry: `mode` is min or max, not `some`"),
            ("type=registry,ref=a,x=y", "--cache-to: type=registry: `x=y` means nothing here"),
            ("type=nonsense", "--cache-to: `nonsense` is no type"),
            ("ref=a", "--cache-to: `ref=a` has no type"),
        ] {
            assert_eq!(caches(&[], &[to]).expect_err(why), why);
        }
        assert_eq!(caches(&["type=inline"], &[]).expect_err("from"), "--cache-from: `inline` is no type");
    }
}
