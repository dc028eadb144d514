//! Where what is built goes: `--output`, `--push`, `--load`, as buildx has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_engine::images::compression::Compression;
use holm_engine::registry::copy::SaveForm;
use holm_spec::Reference;

use super::make;
use crate::archive_output::Output as Archive;
use crate::command::push;
use crate::command_error::CommandError;
use crate::resolve::mount::fields;

/// Flags that say where what is built goes.
#[derive(Debug, Default, clap::Args)]
pub struct OutputArguments {
    /// Where what is built goes in place of the store: type=image|registry|oci|docker|tar|local|cacheonly with dest=, name=,
    /// push=, compression=, tar=; or a directory, or - for a tarball on standard output; may be repeated
    #[arg(short, long, value_name = "type=TYPE[,NAME=VALUE]|DIRECTORY|-")]
    output: Vec<String>,
    /// The same as --output type=registry: push all names of the image
    #[arg(long)]
    push: bool,
    /// The same as --output type=docker: the image goes into the store, where it goes without flags, too
    #[arg(long)]
    load: bool,
    /// Annotation of the image's manifest; may be repeated
    #[arg(long, value_name = "[manifest:]NAME=VALUE")]
    annotation: Vec<String>,
}

/// Where something goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// The store.
    Store,
    /// The registries of all names.
    Registry { compression: Option<Compression> },
    /// A file, a directory or standard output, as an image.
    Image { form: SaveForm, path: Option<PathBuf>, compression: Option<Compression> },
    /// The files as an archive.
    Tar(Archive),
    /// The files in a directory.
    Directory(PathBuf),
    /// Nowhere: only the steps stay.
    Nowhere,
}

/// All that is asked for.
#[derive(Debug)]
pub(super) struct Outputs {
    pub destinations: Vec<Destination>,
    /// Names of the image: those of `--tag` and those of outputs.
    pub names: Vec<Reference>,
    /// Annotations that outputs ask for.
    pub annotations: BTreeMap<String, String>,
}

impl Outputs {
    /// Reads what a user wrote.
    ///
    /// # Errors
    /// What is wrong with it, by the flag's name; standard output is a terminal, or asked for twice.
    pub fn parse(arguments: &OutputArguments, tags: &[String]) -> Result<Self, CommandError> {
        let mut outputs =
            Self { destinations: Vec::new(), names: make::names("tag", tags)?, annotations: BTreeMap::new() };
        for text in &arguments.output {
            let wanted = Wanted::parse(text).map_err(|why| CommandError::flag("output", why))?;
            outputs.add(wanted)?;
        }
        if arguments.push {
            outputs.destinations.push(Destination::Registry { compression: None });
        }
        if arguments.load || outputs.destinations.is_empty() {
            outputs.destinations.push(Destination::Store);
        }
        for text in &arguments.annotation {
            let (name, value) = annotation(text)?;
            outputs.annotations.insert(name, value);
        }
        outputs.check()?;
        Ok(outputs)
    }

    fn add(&mut self, mut wanted: Wanted) -> Result<(), CommandError> {
        self.names.extend(make::names("output", &wanted.names())?);
        self.annotations.extend(wanted.annotations());
        let destination = wanted.destination()?;
        wanted.check_rest()?;
        self.destinations.push(destination);
        Ok(())
    }

    fn check(&self) -> Result<(), CommandError> {
        if self.names.is_empty() && self.destinations.iter().any(Destination::is_registry) {
            return Err(CommandError::usage("there is no name that says where to push to")
                .hint("give one with -t REGISTRY/NAME[:TAG]"));
        }
        match self.destinations.iter().filter(|destination| destination.is_stdout()).count() {
            0 | 1 => Ok(()),
            _ => Err(CommandError::flag("output", "only one thing can go to standard output")),
        }
    }

    /// Whether an image is made, and not only its files.
    pub fn want_image(&self) -> bool {
        !self.destinations.iter().all(Destination::is_of_files)
    }

    /// Whether the image gets its names in the store.
    pub fn want_names(&self) -> bool {
        let is_named = |destination: &Destination| {
            matches!(destination, Destination::Store | Destination::Registry { .. })
        };
        self.destinations.iter().any(is_named)
    }

    /// Whether standard output is somebody's already.
    pub fn take_stdout(&self) -> bool {
        self.destinations.iter().any(Destination::is_stdout)
    }
}

impl Destination {
    fn is_registry(&self) -> bool {
        matches!(self, Self::Registry { .. })
    }

    fn is_of_files(&self) -> bool {
        matches!(self, Self::Tar(_) | Self::Directory(_) | Self::Nowhere)
    }

    fn is_stdout(&self) -> bool {
        match self {
            Self::Tar(archive) => archive.is_stdout(),
            Self::Image { path, .. } => path.is_none(),
            _ => false,
        }
    }
}

/// `[TYPE:]NAME=VALUE`. There is one manifest and no index, so nothing else can have any.
fn annotation(text: &str) -> Result<(String, String), CommandError> {
    let wrong = |why: &str| CommandError::flag("annotation", format!("`{text}` {why}"));
    let (name, value) = text.split_once('=').ok_or_else(|| wrong("is not NAME=VALUE"))?;
    let is_type =
        |prefix: &str| prefix.bytes().all(|byte| byte.is_ascii_lowercase() || b",-".contains(&byte));
    let name = match name.split_once(':').filter(|(prefix, _)| is_type(prefix)) {
        None | Some(("manifest", _)) => name.trim_start_matches("manifest:"),
        Some((kind @ ("index" | "index-descriptor" | "manifest-descriptor"), _)) => {
            return Err(CommandError::unsupported(
                &format!("--annotation {kind}:"),
                "images for several platforms",
            ));
        }
        Some(_) => return Err(wrong("begins with a type that is none: only `manifest:` can stand there")),
    };
    match name.is_empty() || value.is_empty() {
        true => Err(wrong("has no name or no value")),
        false => Ok((name.to_owned(), value.to_owned())),
    }
}

/// One `--output`: its type and its attributes.
#[derive(Debug, Default)]
struct Wanted {
    kind: String,
    attributes: BTreeMap<String, String>,
}

impl Wanted {
    fn parse(text: &str) -> Result<Self, String> {
        let of = |kind: &str, path: &str| Self {
            kind: kind.to_owned(),
            attributes: BTreeMap::from([("dest".to_owned(), path.to_owned())]),
        };
        let fields = fields(text)?;
        if let [only] = &fields[..]
            && !only.starts_with("type=")
        {
            return Ok(if only == "-" { of("tar", "-") } else { of("local", only) });
        }
        let mut wanted = Self::default();
        for field in fields {
            let (name, value) = field.split_once('=').ok_or(format!("`{field}` is not NAME=VALUE"))?;
            match name.to_lowercase().as_str() {
                "type" => wanted.kind = value.to_owned(),
                name => drop(wanted.attributes.insert(name.to_owned(), value.to_owned())),
            }
        }
        match wanted.kind.is_empty() {
            true => Err(format!("`{text}` has no type")),
            false => Ok(wanted),
        }
    }

    fn refuse(&self, why: impl std::fmt::Display) -> CommandError {
        CommandError::flag("output", format!("type={}: {why}", self.kind))
    }

    fn destination(&mut self) -> Result<Destination, CommandError> {
        Ok(match self.kind.as_str() {
            "image" => match self.flag("push")? {
                true => self.registry()?,
                false => Destination::Store,
            },
            "registry" => self.registry()?,
            "docker" if !self.attributes.contains_key("dest") => Destination::Store,
            "oci" | "docker" => self.image()?,
            "tar" => Destination::Tar(Archive::of(self.file())?),
            "local" => match self.file() {
                Some(path) => Destination::Directory(path),
                None => return Err(self.refuse("`dest` is missing: the directory")),
            },
            "cacheonly" => Destination::Nowhere,
            "disk" => return Err(CommandError::unsupported("--output type=disk", "images that boot")),
            kind => {
                return Err(CommandError::flag("output", format!("`{kind}` is no type"))
                    .hint("the types are image, registry, oci, docker, tar, local and cacheonly"));
            }
        })
    }

    fn registry(&mut self) -> Result<Destination, CommandError> {
        Ok(Destination::Registry { compression: self.compression()? })
    }

    fn image(&mut self) -> Result<Destination, CommandError> {
        let is_archive = !self.attributes.contains_key("tar") || self.flag("tar")?;
        let form = match (self.kind.as_str(), is_archive) {
            ("oci", true) => SaveForm::OciArchive,
            ("oci", false) => SaveForm::OciDirectory,
            (_, true) => SaveForm::DockerArchive,
            (_, false) => return Err(self.refuse("`tar=false` is there for type=oci alone")),
        };
        let (path, compression) = (self.file(), self.compression()?);
        if path.is_none() && form == SaveForm::OciDirectory {
            return Err(self.refuse("`dest` is missing: the directory"));
        }
        if path.is_none() {
            // Said before anything is built.
            Archive::of(None)?;
        }
        Ok(Destination::Image { form, path, compression })
    }

    /// Where to; none for standard output.
    fn file(&mut self) -> Option<PathBuf> {
        let path = self.attributes.remove("dest")?;
        (!matches!(path.as_str(), "" | "-")).then(|| path.into())
    }

    fn flag(&mut self, name: &str) -> Result<bool, CommandError> {
        match self.attributes.remove(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(other) => Err(self.refuse(format!("`{name}` is true or false, not `{other}`"))),
        }
    }

    fn compression(&mut self) -> Result<Option<Compression>, CommandError> {
        let name = self.attributes.remove("compression");
        name.map(|name| push::compression(&name).map_err(|why| self.refuse(why))).transpose()
    }

    fn is_image(&self) -> bool {
        matches!(self.kind.as_str(), "image" | "registry" | "oci" | "docker")
    }

    fn names(&mut self) -> Vec<String> {
        let names = if self.is_image() { self.attributes.remove("name") } else { None };
        names.into_iter().flat_map(|names| names.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
    }

    /// `annotation.NAME=VALUE`.
    fn annotations(&mut self) -> BTreeMap<String, String> {
        if !self.is_image() {
            return BTreeMap::new();
        }
        let (told, rest) = std::mem::take(&mut self.attributes)
            .into_iter()
            .partition::<BTreeMap<_, _>, _>(|(name, _)| name.starts_with("annotation."));
        self.attributes = rest;
        told.into_iter().map(|(name, value)| (name["annotation.".len()..].to_owned(), value)).collect()
    }

    /// What is left says what is done anyway, or means nothing.
    fn check_rest(&self) -> Result<(), CommandError> {
        let is_so_anyway = |name: &str, value: &str| match name {
            "oci-mediatypes" | "store" | "unpack" => self.is_image() && value == "true",
            "platform-split" => !self.is_image() && value == "false",
            "mode" => self.kind == "local" && value == "copy",
            _ => false,
        };
        match self.attributes.iter().find(|(name, value)| !is_so_anyway(name, value)) {
            Some((name, value)) => Err(self.refuse(format!("`{name}={value}` means nothing here"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(texts: &[&str]) -> Result<Outputs, String> {
        let output = texts.iter().map(|text| (*text).to_owned()).collect();
        let arguments = OutputArguments { output, ..OutputArguments::default() };
        let parsed = Outputs::parse(&arguments, &["app".to_owned()]);
        parsed.map_err(|error| error.message().unwrap_or_default().to_owned())
    }

    fn parsed(text: &str) -> Outputs {
        outputs(&[text]).expect(text)
    }

    #[test]
    fn types_and_short_forms() {
        use Destination::{Directory, Image, Nowhere, Registry, Store, Tar};
        assert!(
            matches!(&parsed("out").destinations[..], [Directory(path)] if path == &PathBuf::from("out"))
        );
        assert!(matches!(&parsed("type=local,dest=a=b").destinations[..], [Directory(_)]));
        assert!(matches!(&parsed("type=tar,dest=x.tar").destinations[..], [Tar(_)]));
        assert!(matches!(&parsed("type=image").destinations[..], [Store]));
        assert!(matches!(&parsed("type=docker").destinations[..], [Store]));
        assert!(matches!(&parsed("type=image,push=true").destinations[..], [Registry { .. }]));
        assert!(matches!(
            &parsed("type=registry,compression=zstd").destinations[..],
            [Registry { compression: Some(Compression::Zstd) }]
        ));
        assert!(matches!(&parsed("type=cacheonly").destinations[..], [Nowhere]));
        for (text, expected) in [
            ("type=oci,dest=x", SaveForm::OciArchive),
            ("type=oci,dest=x,tar=false", SaveForm::OciDirectory),
            ("type=docker,dest=x", SaveForm::DockerArchive),
        ] {
            assert!(matches!(&parsed(text).destinations[..], [Image { form, .. }] if *form == expected));
        }
        let named = parsed(r#"type=oci,dest=x,"name=a:1,b",annotation.k=v"#);
        let names: Vec<String> = named.names.iter().map(Reference::familiar).collect();
        assert_eq!(names, ["app:latest", "a:1", "b:latest"]);
        assert_eq!(named.annotations, BTreeMap::from([("k".to_owned(), "v".to_owned())]));
        assert!(!parsed("out").want_image() && !parsed("type=oci,dest=x").want_names());
    }

    #[test]
    fn annotations_are_those_of_the_manifest() {
        for text in ["a.b=c=d", "manifest:a.b=c=d"] {
            assert_eq!(annotation(text).ok(), Some(("a.b".to_owned(), "c=d".to_owned())));
        }
        for (text, why) in [
            ("index:a=b", "--annotation index: is not supported yet"),
            ("manifest-descriptor:a=b", "--annotation manifest-descriptor: is not supported yet"),
            (
                "other:a=b",
                "--annotation: `other:a=b` begins with a type that is none: only `manifest:` can stand there",
            ),
            ("a", "--annotation: `a` is not NAME=VALUE"),
            ("manifest:=x", "--annotation: `manifest:=x` has no name or no value"),
        ] {
            assert_eq!(annotation(text).expect_err(text).message(), Some(why));
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (texts, why) in [
            (&["type=disk,dest=x"][..], "--output type=disk is not supported yet"),
            (&["type=local"], "--output: type=local: `dest` is missing: the directory"),
            (&["type=oci,dest=x,tar=maybe"], "--output: type=oci: `tar` is true or false, not `maybe`"),
            (&["type=nonsense"], "--output: `nonsense` is no type"),
            (&["dest=x,name=y"], "--output: `dest=x,name=y` has no type"),
            (&["type=local,dest=x,name=y"], "--output: type=local: `name=y` means nothing here"),
            (
                &["type=tar,dest=x,compression=gzip"],
                "--output: type=tar: `compression=gzip` means nothing here",
            ),
            (&["type=image,store=false"], "--output: type=image: `store=false` means nothing here"),
        ] {
            assert_eq!(outputs(texts).expect_err(why), why);
        }
    }
}
