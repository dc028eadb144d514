//! Where the Dockerfile and the files of the context come from.
//!
//! ```text
//! PATH               a directory
//! URL                a repository, the archive of a directory, or a Dockerfile alone
//! -                  standard input: the archive of a directory, or a Dockerfile alone
//! -f FILE            of a directory: a file of the host; otherwise one of what came
//! -f URL, -f -       a Dockerfile from elsewhere than the context
//! ```
//! What came from elsewhere is not believed: its links lead to nothing but itself.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use holm_build::dockerfile;
use holm_build::ignore::{self, Ignore};
use holm_build::remote::{Remote, without_credentials};
use holm_build::solve::Directory;
use holm_engine::{Arrived, Engine, Unpacked};

use super::Args;
use crate::command_error::CommandError;
use crate::context::Context;

/// What standard input is called.
const STDIN: &str = "standard input";
/// What a Dockerfile is called that nobody names.
const USUAL: &str = "Dockerfile";

/// What is built or checked.
pub(super) struct Input {
    /// The Dockerfile's name as it is shown.
    pub name: String,
    /// All of it, or enough to see that it is too large.
    pub dockerfile: Vec<u8>,
    /// The ignore file, if there is one.
    pub ignore: Option<Ignore>,
    /// The files of the context.
    pub files: Files,
}

/// Files of a context.
pub(super) enum Files {
    /// There are none.
    None,
    /// Those in a directory of the host.
    Host(PathBuf),
    /// Those that came from elsewhere.
    Unpacked(Unpacked),
}

/// What PATH is.
enum Arrival {
    Files(Files),
    /// A Dockerfile alone, and its name.
    Dockerfile(String, Vec<u8>),
}

impl Input {
    pub fn read(args: &Args, context: &Context) -> Result<Self, CommandError> {
        if args.path == "-" && args.file.as_deref() == Some("-") {
            let message = "standard input cannot be the Dockerfile and the context at once";
            return Err(CommandError::usage(message).hint("give one of them as a file or directory"));
        }
        let files = match arrival(&args.path, context)? {
            Arrival::Files(files) => files,
            Arrival::Dockerfile(name, dockerfile) => {
                return Ok(Self { name, dockerfile, ignore: None, files: Files::None });
            }
        };
        let (name, dockerfile) = dockerfile(args.file.as_deref(), &files, context)?;
        let ignore = files.ignore(args.file.as_deref(), &name)?;
        Ok(Self { name, dockerfile, ignore, files })
    }
}

fn arrival(path: &str, context: &Context) -> Result<Arrival, CommandError> {
    if path == "-" {
        return arrived("-", STDIN, io::stdin(), &|| context.engine());
    }
    match Remote::parse(path).map_err(CommandError::usage)? {
        None => Ok(Arrival::Files(Files::Host(PathBuf::from(path)))),
        Some(Remote::Repository(repository)) => {
            Ok(Arrival::Files(Files::Unpacked(context.engine()?.git_context(&repository)?)))
        }
        Some(Remote::Url(url)) => {
            let engine = context.engine()?;
            let file = File::open(engine.download(&url, None)?.path);
            let shown = without_credentials(&url);
            let file =
                file.map_err(|error| CommandError::system(&format!("open what `{shown}` has"), error))?;
            arrived(&shown, &format!("`{shown}`"), file, &|| context.engine())
        }
    }
}

/// What comes as one stream.
fn arrived(
    name: &str,
    shown: &str,
    input: impl Read + 'static,
    engine: &dyn Fn() -> Result<Engine, CommandError>,
) -> Result<Arrival, CommandError> {
    Ok(match Arrived::of(shown, input)? {
        Arrived::Text(text) => Arrival::Dockerfile(name.to_owned(), text),
        Arrived::Archive(mut archive) => {
            Arrival::Files(Files::Unpacked(engine()?.unpack_context(shown, &mut archive)?))
        }
    })
}

/// The Dockerfile, and its name.
fn dockerfile(
    file: Option<&str>,
    files: &Files,
    context: &Context,
) -> Result<(String, Vec<u8>), CommandError> {
    let (name, opened): (String, io::Result<Box<dyn Read>>) = match file {
        Some("-") => ("-".to_owned(), Ok(Box::new(io::stdin()))),
        Some(url) if dockerfile::valid::is_url(url) => {
            let path = context.engine()?.download(url, None)?.path;
            (without_credentials(url), File::open(path).map(|file| Box::new(file) as Box<dyn Read>))
        }
        file => {
            let (name, opened) = files.open_dockerfile(file);
            (name, opened.map(|file| Box::new(file) as Box<dyn Read>))
        }
    };
    let content = opened.and_then(|opened| bounded(opened, dockerfile::SIZE_LIMIT));
    let content = content.map_err(|error| CommandError::system(&format!("read `{name}`"), error))?;
    Ok((name, content))
}

impl Files {
    /// The context that a build has of them.
    pub fn directory(&self, ignore: Ignore) -> Result<Option<Directory>, CommandError> {
        Ok(match self {
            Self::None => None,
            Self::Host(path) => {
                let path = std::fs::canonicalize(path)
                    .map_err(|error| CommandError::system("find the context", error))?;
                Some(Directory { path, ignore, passing: false })
            }
            Self::Unpacked(files) => Some(Directory { path: files.path().to_owned(), ignore, passing: true }),
        })
    }

    /// A Dockerfile of the host is named from where the caller is, one that came from where it came to.
    fn open_dockerfile(&self, file: Option<&str>) -> (String, io::Result<File>) {
        let named = match (self, file) {
            (Self::Host(directory), None) => directory.join(USUAL).to_string_lossy().into_owned(),
            (_, file) => file.unwrap_or(USUAL).to_owned(),
        };
        let opened = match self {
            Self::Unpacked(files) => files.open(&named),
            _ => File::open(&named),
        };
        (dockerfile::path::clean(&named), opened)
    }

    /// The ignore file that counts for a Dockerfile of that name.
    fn ignore(&self, file: Option<&str>, name: &str) -> Result<Option<Ignore>, CommandError> {
        let [beside, usual] = ignore::file_names(name);
        let is_here = !file.is_some_and(|file| file == "-" || dockerfile::valid::is_url(file));
        let usual = match self {
            Self::Host(directory) => directory.join(usual).to_string_lossy().into_owned(),
            _ => usual,
        };
        for file in is_here.then_some(beside).into_iter().chain([usual]) {
            let opened = match self {
                Self::Unpacked(files) => files.open(&file),
                _ => File::open(&file),
            };
            if let Some(ignore) = read_ignore(&file, opened)? {
                return Ok(Some(ignore));
            }
        }
        Ok(None)
    }
}

/// The ignore file of a directory, if it has one.
pub(super) fn ignore_of(directory: &Path) -> Result<Ignore, CommandError> {
    let file = directory.join(".dockerignore");
    Ok(read_ignore(&file.to_string_lossy(), File::open(&file))?.unwrap_or_default())
}

fn read_ignore(file: &str, opened: io::Result<File>) -> Result<Option<Ignore>, CommandError> {
    let name = dockerfile::path::clean(file);
    match opened.and_then(|open| bounded(open, ignore::SIZE_LIMIT)) {
        Ok(bytes) => Ok(Some(Ignore::parse(&name, &bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CommandError::system(&format!("read `{name}`"), error)),
    }
}

/// All of a file, and of one that is larger than `limit` enough to see that it is.
fn bounded(reader: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
