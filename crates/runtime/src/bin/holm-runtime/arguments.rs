//! The command line: runc's, with its habits.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use holm_runtime::state::Containers;
use holm_runtime::{Error, Result};
use holm_sys::rustix::process::geteuid;

use crate::command;
use crate::log::{Format, Log};
use crate::talk;

/// The OCI runtime of Holm, with runc's command line
#[derive(Debug, Parser)]
#[command(
    name = "holm-runtime",
    disable_version_flag = true,
    max_term_width = 100,
    subcommand_required = true,
    after_help = "Examples:
  holm-runtime spec                           write a config.json to begin with
  holm-runtime run -b BUNDLE box              run a container and wait for it
  holm-runtime create -b BUNDLE box           make it, and hold its process
  holm-runtime start box
  holm-runtime exec box ps
  podman --runtime /path/to/holm-runtime run IMAGE"
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options before the command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// Say more about what is done
    #[arg(long)]
    pub debug: bool,
    /// File that errors are written to beside standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Format of the log: text or json
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Directory of the containers' state
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Let systemd manage the control groups; cgroupsPath is slice:prefix:name
    #[arg(long)]
    pub systemd_cgroup: bool,
    /// Whether to do without root's rights: true, false or auto
    #[arg(long, value_name = "CHOICE", default_value = "auto", hide = true)]
    rootless: String,
    /// Ignored; other runtimes once took it
    #[arg(long, value_name = "PATH", hide = true)]
    criu: Option<String>,
    /// Print the version
    #[arg(short = 'v', long)]
    version: bool,
}

impl Global {
    /// Where errors go.
    pub fn log(&self) -> Result<Log> {
        Ok(Log::new(self.log.clone(), self.log_format))
    }

    /// The containers below `--root`.
    pub fn containers(&self) -> Result<Containers> {
        let root = match &self.root {
            Some(root) => std::path::absolute(root)
                .map_err(|error| Error::system(format!("find `{}`", root.display()), error))?,
            None => default_root(),
        };
        if root.as_os_str() == "/" {
            return Err(Error::invalid("Option --root argument should not be set to /"));
        }
        Ok(Containers::new(root))
    }
}

fn default_root() -> PathBuf {
    if geteuid().is_root() {
        return PathBuf::from("/run/holm-runtime");
    }
    let run = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(
        || std::env::temp_dir().join(format!("holm-runtime-{}", geteuid().as_raw())),
        PathBuf::from,
    );
    run.join("holm-runtime")
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Checkpoint(command::checkpoint::Args),
    Create(command::create::Args),
    Delete(command::delete::Args),
    Events(command::events::Args),
    Exec(command::exec::Args),
    Features(command::features::Args),
    Kill(command::kill::Args),
    List(command::list::Args),
    Pause(command::pause::Args),
    Ps(command::ps::Args),
    Restore(command::restore::Args),
    Resume(command::resume::Args),
    Run(command::run::Args),
    Spec(command::spec::Args),
    Start(command::start::Args),
    State(command::state::Args),
    Update(command::update::Args),
}

impl Command {
    /// The exit code of a failure of the runtime.
    pub fn failure_code(&self) -> u8 {
        if matches!(self, Self::Exec(_)) { 255 } else { 1 }
    }
}

/// Options that callers write with one dash, as Go programs may.
const ONE_DASH: &[&str] =
    &["no-subreaper", "no-pivot", "no-new-keyring", "bundle", "pid-file", "root", "log"];

/// Turns what only Go's parser takes into what every parser takes.
pub fn normalize(words: Vec<OsString>) -> Vec<OsString> {
    let is_exec = |word: &OsString| word == "exec" || word == "ps";
    let end = words.iter().position(is_exec).unwrap_or(words.len());
    let mut words = words;
    for word in words.iter_mut().take(end).skip(1) {
        let known = word.to_str().and_then(|text| text.strip_prefix('-')).filter(|name| {
            let name = name.split('=').next().unwrap_or_default();
            ONE_DASH.contains(&name)
        });
        if let Some(name) = known {
            *word = format!("--{name}").into();
        }
    }
    words
}

/// What is printed instead of running a command.
pub enum Answer {
    Version,
    Clap(Box<clap::Error>),
}

impl Answer {
    pub fn print(self) -> ExitCode {
        match self {
            Self::Version => {
                talk::print(&version());
                ExitCode::SUCCESS
            }
            Self::Clap(error) => {
                let _ = error.print();
                ExitCode::from(u8::from(error.use_stderr()))
            }
        }
    }
}

/// `--version`, in the form that callers read: name and version in the first line, `spec:` in another.
fn version() -> String {
    format!("holm-runtime version {}\nspec: {}\n", env!("CARGO_PKG_VERSION"), command::SPEC_VERSION)
}

impl Arguments {
    /// Reads the command line.
    pub fn parse(words: Vec<OsString>) -> std::result::Result<Self, Answer> {
        let asks_version =
            words.iter().skip(1).take_while(|word| word.to_str().is_some_and(|text| text.starts_with('-')));
        if asks_version.into_iter().any(|word| word == "-v" || word == "--version") {
            return Err(Answer::Version);
        }
        Self::try_parse_from(words).map_err(|error| Answer::Clap(Box::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Arguments {
        let words = normalize(words.iter().map(OsString::from).collect());
        Arguments::parse(words).unwrap_or_else(|_| panic!("{words:?}", words = "refused"))
    }

    #[test]
    fn options_may_follow_the_id() {
        let parsed = parse(&["r", "--root", "/x", "create", "box", "--bundle", "/b", "-no-pivot"]);
        let Command::Create(create) = parsed.command else { panic!("create") };
        assert_eq!((create.id.as_str(), create.launch.no_pivot), ("box", true));
    }

    #[test]
    fn what_follows_the_id_of_exec_is_the_command() {
        let parsed = parse(&["r", "exec", "-t", "box", "ls", "-l", "--", "--tty"]);
        let Command::Exec(exec) = parsed.command else { panic!("exec") };
        assert_eq!(exec.id_and_command, ["box", "ls", "-l", "--", "--tty"]);
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
