//! Options that every command has, before or behind its name, and where Holm's files lie.
//!
//! Roots come from flags, else from the environment, else from the configuration file, else they are the usual ones.
//! A run root belongs to the root beside it: what a weaker source says of the run root is not asked once a stronger one
//! has given the root. Without a run root of its own a root other than the usual has it in its directory `run`, so that
//! two installations never take each other's sandboxes for abandoned.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use holm_engine::LogRequest;
use holm_engine::images::{LayerForm, LayerLimits};
use holm_spec::layout::Layout;

use crate::command_error::CommandError;
use serde::Deserialize;
use serde::de::IntoDeserializer;

use crate::configuration::{self, Configuration, MountForm, NetworkSettings, StoreSettings};
use crate::size;

const ROOT: &str = "/var/lib/holm";
const RUN_ROOT: &str = "/run/holm";
const MAX_SIZE: &str = "HOLM_STORE_MAX_SIZE";
const MAX_LAYER_SIZE: &str = "HOLM_STORE_MAX_LAYER_SIZE";
const MAX_LAYER_ENTRIES: &str = "HOLM_STORE_MAX_LAYER_ENTRIES";
const NETWORK: &str = "HOLM_NETWORK";
/// As those have it who run CNI plugins.
const CNI_PATH: &str = "CNI_PATH";
const MOUNT: &str = "HOLM_STORE_MOUNT";

/// Where everything lies, and what the store is kept to.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where everything lies.
    pub layout: Layout,
    /// Bytes on the disk that the store is kept to.
    pub max_size: Option<u64>,
    /// What a layer may be at most.
    pub layers: LayerLimits,
    /// What layers are mounted from.
    pub form: LayerForm,
    /// The network of workloads that ask for none.
    pub network: Option<String>,
    /// Directories of CNI plugins; the usual ones if there are none.
    pub cni_path: Vec<PathBuf>,
    /// Who keeps the output of workloads that do not say it.
    pub log: LogRequest,
}

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Directory of images and workloads [env: HOLM_ROOT] [default: /var/lib/holm]
    #[arg(long, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Directory of what a boot ends [env: HOLM_RUN_ROOT] [default: /run/holm, or `run` in another root]
    #[arg(long, value_name = "DIR")]
    pub run_root: Option<PathBuf>,
    /// Say on standard error what is done: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", value_parser = log_level)]
    pub log_level: Option<LogLevel>,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may be wrong.
    Warn,
    /// What is done, one line a step.
    Info,
    /// For who looks for a mistake in Holm.
    Debug,
    /// Everything.
    Trace,
}

impl Globals {
    /// These, and where they say nothing, `earlier` ones.
    pub fn over(self, earlier: Self) -> Self {
        Self {
            root: self.root.or(earlier.root),
            run_root: self.run_root.or(earlier.run_root),
            log_level: self.log_level.or(earlier.log_level),
        }
    }

    /// Where everything lies, and what the store is kept to.
    ///
    /// # Errors
    /// The configuration file cannot be read, or the current directory is gone and a path is relative.
    pub fn place(&self) -> Result<Place, CommandError> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let size = |name| {
            let value = variable(name).map(|value| size::parse(&value.to_string_lossy())).transpose();
            value.map_err(|reason| CommandError::usage(format!("{name}: {reason}")))
        };
        let number = |name| {
            let value = variable(name).map(|value| value.to_string_lossy().parse()).transpose();
            value.map_err(|_| CommandError::usage(format!("{name}: a number is expected")))
        };
        let store = StoreSettings {
            max_size: size(MAX_SIZE)?,
            max_layer_size: size(MAX_LAYER_SIZE)?,
            max_layer_entries: number(MAX_LAYER_ENTRIES)?,
            mount: variable(MOUNT).map(|value| mount_form(&value.to_string_lossy())).transpose()?,
        };
        let directories =
            |value: OsString| std::env::split_paths(&value).filter(|path| path.is_absolute()).collect();
        let network = NetworkSettings {
            default: variable(NETWORK).map(|value| value.to_string_lossy().into_owned()),
            cni_path: variable(CNI_PATH).map(directories),
        };
        let environment = Configuration {
            root: path("HOLM_ROOT"),
            run_root: path("HOLM_RUN_ROOT"),
            store,
            network,
            ..Configuration::default()
        };
        let flags = Configuration {
            root: self.root.clone(),
            run_root: self.run_root.clone(),
            ..Configuration::default()
        };
        let sources = [flags, environment, read_configuration()?];
        let max_size = max_size_of(&sources);
        let layers = LayerLimits {
            size: sources.iter().find_map(|source| source.store.max_layer_size),
            entries: sources.iter().find_map(|source| source.store.max_layer_entries),
        };
        let form = sources.iter().find_map(|source| source.store.mount).map(LayerForm::from);
        let network = sources.iter().find_map(|source| source.network.default.clone());
        let cni_path = sources.iter().find_map(|source| source.network.cni_path.clone()).unwrap_or_default();
        let log = sources[2].log.clone();
        let log = LogRequest { driver: log.driver, options: log.options };
        let decided = decide(sources);
        let layout = Layout::new(absolute(&decided.root)?, absolute(&decided.run)?);
        Ok(Place { layout, max_size, layers, form: form.unwrap_or_default(), network, cni_path, log })
    }

    /// Begins to log if asked to.
    pub fn start_logging(&self) {
        let Some(level) = self.log_level else { return };
        let level = match level {
            LogLevel::Error => tracing::Level::ERROR,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        };
        tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(std::io::stderr)
            .with_ansi(crate::terminal::is_error_terminal() && std::env::var_os("NO_COLOR").is_none())
            .init();
    }
}

/// The roots by sources, strongest first.
fn decide(sources: [Configuration; 3]) -> Layout {
    let giver = sources.iter().position(|source| source.root.is_some());
    let asked = &sources[..giver.map_or(sources.len(), |giver| giver + 1)];
    let run_root = asked.iter().find_map(|source| source.run_root.clone());
    let root = giver.and_then(|giver| sources[giver].root.clone()).unwrap_or_else(|| ROOT.into());
    let usual = if root == Path::new(ROOT) { RUN_ROOT.into() } else { root.join("run") };
    Layout::new(root, run_root.unwrap_or(usual))
}

/// The environment's word is for this one command; the file's is for the file's root.
fn max_size_of(sources: &[Configuration; 3]) -> Option<u64> {
    let [flags, environment, file] = sources;
    let other_root = flags.root.is_some() || environment.root.is_some();
    environment.store.max_size.or(file.store.max_size.filter(|_| !other_root))
}

fn mount_form(value: &str) -> Result<MountForm, CommandError> {
    MountForm::deserialize(value.into_deserializer())
        .map_err(|error: serde::de::value::Error| CommandError::usage(format!("{MOUNT}: {error}")))
}

fn read_configuration() -> Result<Configuration, CommandError> {
    match std::fs::read_to_string(configuration::PATH) {
        Ok(content) => configuration::parse(&content)
            .map_err(|reason| CommandError::usage(format!("{}: {reason}", configuration::PATH))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Configuration::default()),
        Err(error) => Err(CommandError::system(&format!("read `{}`", configuration::PATH), error)),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path)
        .map_err(|error| CommandError::system(&format!("make `{}` an absolute path", path.display()), error))
}

/// What stands before the command's name.
#[derive(Debug, Default)]
pub struct Leading {
    /// Options of every command.
    pub globals: Globals,
    /// `--help` or `-h`.
    pub help: bool,
    /// `--version` or `-v`.
    pub version: bool,
    /// How many words these were.
    pub words: usize,
}

/// Takes the options before the command's name.
///
/// # Errors
/// An unknown option, a missing or wrong value.
pub fn leading(words: &[OsString]) -> Result<Leading, CommandError> {
    let mut found = Leading::default();
    while let Some(word) = words.get(found.words).map(|word| word.to_string_lossy()) {
        if !word.starts_with('-') {
            break;
        }
        found.words += 1;
        let (name, attached) =
            word.split_once('=').map_or((&*word, None), |(name, value)| (name, Some(value)));
        match name {
            "--root" => found.globals.root = Some(found.value(words, name, attached)?.into()),
            "--run-root" => found.globals.run_root = Some(found.value(words, name, attached)?.into()),
            "--log-level" => {
                let value = found.value(words, name, attached)?;
                let level = log_level(&value.to_string_lossy());
                found.globals.log_level =
                    Some(level.map_err(|reason| CommandError::flag("log-level", reason))?);
            }
            "--help" | "-h" => found.help = true,
            "--version" | "-v" | "-V" => found.version = true,
            unknown => {
                let error = CommandError::usage(format!("unknown option `{unknown}` before the command"));
                return Err(error.hint("`holm --help` lists commands and options"));
            }
        }
    }
    Ok(found)
}

impl Leading {
    /// The value of an option: what stands behind its `=`, or the next word.
    fn value(
        &mut self,
        words: &[OsString],
        name: &str,
        attached: Option<&str>,
    ) -> Result<OsString, CommandError> {
        if let Some(value) = attached {
            return Ok(value.into());
        }
        let value =
            words.get(self.words).ok_or_else(|| CommandError::usage(format!("{name} needs a value")))?;
        self.words += 1;
        Ok(value.clone())
    }
}

fn log_level(text: &str) -> Result<LogLevel, String> {
    Ok(match text {
        "error" => LogLevel::Error,
        "warn" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return Err(format!("`{text}` is no level: error, warn, info, debug and trace are")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(root: Option<&str>, run_root: Option<&str>) -> Configuration {
        Configuration {
            root: root.map(PathBuf::from),
            run_root: run_root.map(PathBuf::from),
            ..Configuration::default()
        }
    }

    #[test]
    fn a_size_of_the_file_is_for_the_files_root() {
        let sized = |root, max_size| {
            let store = StoreSettings { max_size, ..StoreSettings::default() };
            Configuration { store, ..source(root, None) }
        };
        let none = || source(None, None);
        assert_eq!(max_size_of(&[none(), none(), sized(None, Some(1))]), Some(1));
        assert_eq!(max_size_of(&[none(), sized(None, Some(2)), sized(Some("/a"), Some(1))]), Some(2));
        assert_eq!(max_size_of(&[none(), sized(Some("/b"), None), sized(Some("/a"), Some(1))]), None);
        assert_eq!(max_size_of(&[source(Some("/b"), None), none(), sized(None, Some(1))]), None);
    }

    #[test]
    fn a_run_root_belongs_to_its_root() {
        let none = || source(None, None);
        for (sources, root, run) in [
            ([none(), none(), none()], ROOT, RUN_ROOT),
            ([source(Some("/a"), None), none(), none()], "/a", "/a/run"),
            ([source(Some("/a"), None), source(Some("/b"), Some("/r")), none()], "/a", "/a/run"),
            ([none(), source(Some("/b"), Some("/r")), source(Some("/c"), None)], "/b", "/r"),
            ([source(None, Some("/x")), source(Some("/b"), Some("/r")), none()], "/b", "/x"),
            ([none(), none(), source(Some("/c"), Some("/r"))], "/c", "/r"),
            ([none(), none(), source(None, Some("/r"))], ROOT, "/r"),
            ([source(Some(ROOT), None), none(), source(Some("/c"), Some("/r"))], ROOT, RUN_ROOT),
        ] {
            assert_eq!(decide(sources.clone()), Layout::new(root, run), "{sources:?}");
        }
    }

    #[test]
    fn options_before_the_command() {
        let words: Vec<OsString> =
            ["--root", "/a", "--log-level=debug", "run", "--root", "/b"].map(OsString::from).into();
        let found = leading(&words).expect("valid");
        assert_eq!(found.words, 3);
        assert_eq!(found.globals.root.as_deref(), Some(Path::new("/a")));
        assert_eq!(found.globals.log_level, Some(LogLevel::Debug));
        assert_eq!(leading(&["-v".into()]).map(|found| found.version).ok(), Some(true));
        for words in [vec!["--root"], vec!["--nope"], vec!["--log-level", "loud"]] {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            assert!(leading(&words).is_err(), "{words:?}");
        }
    }
}
