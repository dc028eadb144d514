//! The command line: runc's, with its habits.

pub mod plain;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use holm_runtime::state::Containers;
use holm_runtime::{Error, Result};
use holm_sys::rustix::process::geteuid;

use crate::command::{self, Command};
use crate::log::{Format, Log};
use crate::talk;
use plain::Plain;

/// The OCI runtime of Holm, with runc's command line
#[derive(Debug, Parser)]
#[command(
    name = "holm-runtime",
    disable_version_flag = true,
    max_term_width = 100,
    arg_required_else_help = true,
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
    command: Option<Command>,
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
    log_format: String,
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
    /// Reads what is plain.
    pub fn read(mut plain: Plain<'_>) -> Option<Self> {
        let global = Self {
            debug: plain.switch("debug"),
            log: plain.path("log"),
            log_format: plain.text("log-format").unwrap_or_else(|| "text".to_owned()),
            root: plain.path("root"),
            systemd_cgroup: plain.switch("systemd-cgroup"),
            rootless: "auto".to_owned(),
            criu: None,
            version: false,
        };
        plain.others().map(|_| global)
    }

    /// Where errors go.
    pub fn log(&self) -> Result<Log> {
        let format = Format::named(&self.log_format)?;
        Ok(Log::new(self.log.clone(), format))
    }

    /// Whether `--root` was given.
    pub fn names_root(&self) -> bool {
        self.root.is_some()
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

/// Options that are there or not.
const SWITCHES: &[&str] = &[
    "all",
    "auto-dedup",
    "debug",
    "detach",
    "ext-unix-sk",
    "file-locks",
    "force",
    "ignore-paused",
    "keep",
    "lazy-pages",
    "leave-running",
    "link-remap",
    "no-new-keyring",
    "no-pivot",
    "no-subreaper",
    "pre-dump",
    "quiet",
    "rootless",
    "shell-job",
    "stats",
    "systemd-cgroup",
    "tcp-established",
    "tcp-skip-in-flight",
    "tty",
    "version",
];

/// Options with a value.
const VALUED: &[&str] = &[
    "additional-gids",
    "apparmor",
    "bundle",
    "cap",
    "cgroup",
    "console-socket",
    "cwd",
    "empty-ns",
    "env",
    "format",
    "image-path",
    "interval",
    "log",
    "log-format",
    "lsm-mount-context",
    "lsm-profile",
    "manage-cgroups-mode",
    "no-new-privs",
    "page-server",
    "parent-path",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
    "process",
    "process-label",
    "resources",
    "root",
    "status-fd",
    "user",
    "work-path",
];

/// Turns what Go's parser takes into what every parser takes: long options with one dash, and switches with a
/// value. What follows the id of `exec` and `ps` is none of this runtime's.
pub fn normalize(words: Vec<OsString>) -> Vec<OsString> {
    let is_foreign = |word: &OsString| word == "exec" || word == "ps";
    let end = words.iter().position(is_foreign).unwrap_or(words.len());
    let (own, rest) = words.split_at(end);
    own.iter().filter_map(normalize_word).chain(rest.iter().cloned()).collect()
}

/// `None` for a switch that is switched off.
fn normalize_word(word: &OsString) -> Option<OsString> {
    let Some(bare) = word.to_str().and_then(|text| text.strip_prefix('-')) else { return Some(word.clone()) };
    let bare = bare.strip_prefix('-').unwrap_or(bare);
    let (name, value) = bare.split_once('=').map_or((bare, None), |(name, value)| (name, Some(value)));
    match (SWITCHES.contains(&name), value) {
        // Of the commands one has a switch of this name, and the other options a value.
        (true, Some(_)) if name == "rootless" => Some(format!("--{bare}").into()),
        (true, Some("false" | "0" | "f" | "F" | "FALSE" | "False")) => None,
        (true, Some("true" | "1" | "t" | "T" | "TRUE" | "True") | None) => Some(format!("--{name}").into()),
        _ if VALUED.contains(&name) => Some(format!("--{bare}").into()),
        _ => Some(word.clone()),
    }
}

/// `--version`, in the form that callers read: name and version in the first line, `spec:` in another.
fn version() -> String {
    format!("holm-runtime version {}\nspec: {}\n", env!("CARGO_PKG_VERSION"), command::SPEC_VERSION)
}

impl Arguments {
    /// Reads the command line; `Err` is the exit code when there is nothing more to do.
    pub fn parse(words: Vec<OsString>) -> std::result::Result<(Global, Command), ExitCode> {
        let (global, command) = match Command::read(&words) {
            Some((global, command)) => (global, Some(command)),
            None => Self::read_with_all_commands(&words)?,
        };
        if global.version {
            talk::print(&version());
            return Err(ExitCode::SUCCESS);
        }
        let nothing_asked = || Error::invalid("no command was given; see --help");
        command
            .map(|command| (global, command))
            .ok_or_else(|| log_named_in(&words).failure(&nothing_asked(), 1))
    }

    /// Help, and everything that is wrong, needs the whole parser.
    fn read_with_all_commands(
        words: &[OsString],
    ) -> std::result::Result<(Global, Option<Command>), ExitCode> {
        let parsed = Self::try_parse_from(words).map_err(|error| refuse(&error, &log_named_in(words)))?;
        Ok((parsed.global, parsed.command))
    }
}

/// Help goes to standard output; what was wrong goes where all errors go, with the usage beside it.
fn refuse(error: &clap::Error, log: &Log) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let mut lines = text.lines();
    let mut first = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if let Some(name) = first.strip_prefix("unrecognized subcommand ") {
        first = format!("No help topic for {name}: it is no command");
    }
    let rest: Vec<&str> = lines.skip_while(|line| line.is_empty()).collect();
    talk::print(&format!("{}\n", rest.join("\n")));
    log.failure(&Error::invalid(first), 1)
}

/// The log that a command line names, whatever else is wrong with it.
fn log_named_in(words: &[OsString]) -> Log {
    let value = |name: &str| {
        let with_equals = format!("{name}=");
        let joined = words.iter().find_map(|word| word.to_str()?.strip_prefix(&with_equals));
        let apart = || words.iter().position(|word| word == name).and_then(|at| words.get(at + 1)?.to_str());
        joined.or_else(apart).map(str::to_owned)
    };
    let format = value("--log-format").and_then(|name| Format::named(&name).ok()).unwrap_or_default();
    Log::new(value("--log").map(PathBuf::from), format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Command {
        let words = normalize(words.iter().map(OsString::from).collect());
        Arguments::parse(words).unwrap_or_else(|_| panic!("refused")).1
    }

    #[test]
    fn options_may_follow_the_id() {
        let words =
            ["r", "--root", "/x", "create", "box", "-bundle=/b", "-no-pivot", "--no-new-keyring=false"];
        let Command::Create(create) = parse(&words) else { panic!("create") };
        assert_eq!((create.id.as_str(), create.launch.bundle.to_str()), ("box", Some("/b")));
        assert!(create.launch.no_pivot && !create.launch.no_new_keyring);
    }

    #[test]
    fn what_follows_the_id_of_exec_is_the_command() {
        let Command::Exec(exec) = parse(&["r", "exec", "-t", "box", "ls", "-l", "--", "--tty"]) else {
            panic!("exec")
        };
        assert_eq!(exec.id_and_command, ["box", "ls", "-l", "--", "--tty"]);
    }

    /// What the parser of one command takes, that of all takes, and makes the same of it.
    #[test]
    fn one_command_is_read_as_all_are() {
        for line in [
            "r state box",
            "r --root /x --debug --log /l --log-format json state box",
            "r --root=list list --format json",
            "r run -b /b --pid-file p --preserve-fds 3 --detach box",
            "r exec -t -e A=1 --env B=2 --user 1:2 -g 3 box sh -c true",
            "r --root /x create --bundle /b --no-pivot --console-socket=/s --pid-file p --preserve-fds 2 box",
            "r --systemd-cgroup --log=/l create box --no-new-keyring --pidfd-socket s",
            "r --debug run --keep --no-subreaper --bundle=/b box",
            "r exec --tty --detach --process p --pid-file=/p --console-socket s --pidfd-socket=t box",
            "r exec --env A=1 --env B= --cap A --cap B --cgroup a --cgroup=b:c --additional-gids 3 box sh --tty -c",
            "r exec --cwd / --user 1:2 --process-label a --apparmor b --preserve-fds 1 --ignore-paused box true",
            "r exec --no-new-privs=false box true",
            "r exec box",
            "r update --memory 5m --cpu-shares 3 box",
            "r kill --all box 9",
            "r delete -f box",
            "r -v state box",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let alone = Command::read(&words).expect(line);
            let all = Arguments::try_parse_from(&words).expect(line);
            let all = (all.global, all.command.expect(line));
            assert_eq!(format!("{alone:?}"), format!("{all:?}"), "{line}");
        }
    }

    #[test]
    fn all_commands_are_read_where_one_is_not_enough() {
        for line in [
            "r",
            "r --root run list",
            "r help state",
            "r state --help",
            "r stat box",
            "r state",
            "r state --no box",
            "r create --bundle /a --bundle /b box",
            "r create --bundle",
            "r create --root /x box",
            "r create one two",
            "r create --tty box",
            "r create --preserve-fds x box",
            "r --version=1 create box",
            "r exec --additional-gids x box",
            "r exec",
        ] {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            assert!(Command::read(&words).is_none(), "{line}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
