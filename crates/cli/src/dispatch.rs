//! From the words of the command line to a command: the table of verbs, and one verb's parser at a time.
//!
//! Parsers take what Docker's take: flags may be repeated (the last wins), a boolean flag may have `=true` or `=false`, a
//! value may begin with a hyphen, and everything behind the first word of a command in a workload belongs to it.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Args as _, CommandFactory, FromArgMatches};

use crate::command;
use crate::command_error::{CommandError, HOLM_FAILED};
use crate::context::Context;
use crate::globals::{self, Globals, Leading};
use crate::printer::Printer;
use crate::unsupported;
use crate::usage;

/// A command.
pub struct Verb {
    /// How it is typed.
    pub name: &'static str,
    /// Exit code when Holm fails.
    pub failure: u8,
    /// Left out of lists.
    pub hidden: bool,
    /// Its parser.
    pub command: fn() -> clap::Command,
    /// Does it; the exit code.
    pub run: fn(&ArgMatches, &Context) -> Result<u8, CommandError>,
}

/// A word in front of verbs, as Docker groups them.
struct Group {
    name: &'static str,
    about: &'static str,
    /// Names in the group, and of the verbs that they mean.
    members: &'static [(&'static str, &'static str)],
}

macro_rules! verb {
    ($name:literal, $module:ident, $failure:expr) => {
        verb!($name, $module, $failure, false)
    };
    ($name:literal, $module:ident, $failure:expr, $hidden:literal) => {
        Verb {
            name: $name,
            failure: $failure,
            hidden: $hidden,
            command: command::$module::Args::command,
            run: |matches, context| {
                // The parser that made the matches is this type's own.
                let args = command::$module::Args::from_arg_matches(matches)
                    .map_err(|error| usage::error($name, &context.command, &error))?;
                command::$module::run(args, context)
            },
        }
    };
}

/// Every command, in the order of the help.
pub const VERBS: &[Verb] = &[
    verb!("run", run, HOLM_FAILED),
    verb!("exec", exec, HOLM_FAILED),
    verb!("ps", ps, 1),
    verb!("logs", logs, 1),
    verb!("create", create, HOLM_FAILED),
    verb!("start", start, 1),
    verb!("attach", attach, 1),
    verb!("stop", stop, 1),
    verb!("restart", restart, 1),
    verb!("kill", kill, 1),
    verb!("pause", pause, 1),
    verb!("unpause", unpause, 1),
    verb!("update", update, 1),
    verb!("wait", wait, 1),
    verb!("rm", rm, 1),
    verb!("top", top, 1),
    verb!("stats", stats, 1),
    verb!("metrics", metrics, 1),
    verb!("port", port, 1),
    verb!("events", events, 1),
    verb!("inspect", inspect, 1),
    verb!("cp", cp, 1),
    verb!("diff", diff, 1),
    verb!("export", export, 1),
    verb!("commit", commit, 1),
    verb!("compare", compare, 1),
    verb!("build", build, 1),
    verb!("import", import, HOLM_FAILED),
    verb!("pull", pull, 1),
    verb!("push", push, 1),
    verb!("copy", copy, 1),
    verb!("search", search, 1),
    verb!("login", login, 1),
    verb!("logout", logout, 1),
    verb!("images", images, 1),
    verb!("tag", tag, 1),
    verb!("history", history, 1),
    verb!("rmi", rmi, 1),
    verb!("version", version, 1),
    verb!("info", info, 1),
    verb!("doctor", doctor, 1),
    verb!("completion", completion, 1),
    verb!("container-inspect", container_inspect, 1, true),
    verb!("image-inspect", image_inspect, 1, true),
    verb!("kernel-import", kernel_import, HOLM_FAILED, true),
    verb!("kernel-ls", kernels, 1, true),
    verb!("kernel-inspect", kernel_inspect, 1, true),
    verb!("kernel-default", kernel_default, 1, true),
    verb!("kernel-rm", kernel_rm, 1, true),
    verb!("artifact-add", artifact_add, 1, true),
    verb!("artifact-ls", artifacts, 1, true),
    verb!("artifact-inspect", artifact_inspect, 1, true),
    verb!("artifact-extract", artifact_extract, 1, true),
    verb!("artifact-referrers", artifact_referrers, 1, true),
    verb!("artifact-rm", artifact_rm, 1, true),
    verb!("manifest-create", manifest_create, 1, true),
    verb!("manifest-inspect", manifest_inspect, 1, true),
    verb!("network-create", network_create, 1, true),
    verb!("network-ls", networks, 1, true),
    verb!("network-inspect", network_inspect, 1, true),
    verb!("network-rm", network_rm, 1, true),
    verb!("network-connect", network_connect, 1, true),
    verb!("network-disconnect", network_disconnect, 1, true),
    verb!("network-prune", network_prune, 1, true),
    verb!("service-install", service_install, 1, true),
    verb!("service-run", service_run, 1, true),
    verb!("service-uninstall", service_uninstall, 1, true),
    verb!("volume-create", volume_create, 1, true),
    verb!("volume-ls", volumes, 1, true),
    verb!("volume-inspect", volume_inspect, 1, true),
    verb!("volume-rm", volume_rm, 1, true),
    verb!("volume-prune", volume_prune, 1, true),
    verb!("volume-export", volume_export, 1, true),
    verb!("volume-import", volume_import, 1, true),
    verb!("container-prune", container_prune, 1, true),
    verb!("image-diff", image_diff, 1, true),
    verb!("image-mount", image_mount, 1, true),
    verb!("image-prune", image_prune, 1, true),
    verb!("image-tree", image_tree, 1, true),
    verb!("image-unmount", image_unmount, 1, true),
    verb!("system-check", system_check, 1, true),
    verb!("system-df", system_df, 1, true),
    verb!("system-prune", system_prune, 1, true),
    verb!("registry-serve", registry_serve, 1, true),
    verb!("reference", reference, 1, true),
];

const GROUPS: &[Group] = &[
    Group {
        name: "image",
        about: "Images: the same commands under the names of Docker's group",
        members: &[
            ("build", "build"),
            ("import", "import"),
            ("pull", "pull"),
            ("push", "push"),
            ("ls", "images"),
            ("list", "images"),
            ("inspect", "image-inspect"),
            ("history", "history"),
            ("tag", "tag"),
            ("rm", "rmi"),
            ("remove", "rmi"),
            ("prune", "image-prune"),
            ("tree", "image-tree"),
            ("diff", "image-diff"),
            ("mount", "image-mount"),
            ("unmount", "image-unmount"),
        ],
    },
    Group {
        name: "container",
        about: "Workloads: the same commands under the names of Docker's group",
        members: &[
            ("attach", "attach"),
            ("commit", "commit"),
            ("cp", "cp"),
            ("create", "create"),
            ("diff", "diff"),
            ("exec", "exec"),
            ("export", "export"),
            ("inspect", "container-inspect"),
            ("kill", "kill"),
            ("logs", "logs"),
            ("ls", "ps"),
            ("list", "ps"),
            ("pause", "pause"),
            ("port", "port"),
            ("prune", "container-prune"),
            ("ps", "ps"),
            ("rm", "rm"),
            ("remove", "rm"),
            ("run", "run"),
            ("start", "start"),
            ("stats", "stats"),
            ("stop", "stop"),
            ("restart", "restart"),
            ("top", "top"),
            ("unpause", "unpause"),
            ("update", "update"),
            ("wait", "wait"),
        ],
    },
    Group {
        name: "network",
        about: "Networks of workloads",
        members: &[
            ("create", "network-create"),
            ("ls", "network-ls"),
            ("list", "network-ls"),
            ("inspect", "network-inspect"),
            ("connect", "network-connect"),
            ("disconnect", "network-disconnect"),
            ("rm", "network-rm"),
            ("remove", "network-rm"),
            ("prune", "network-prune"),
        ],
    },
    Group {
        name: "service",
        about: "Workloads after a boot, and when keepers are killed",
        members: &[
            ("install", "service-install"),
            ("run", "service-run"),
            ("uninstall", "service-uninstall"),
        ],
    },
    Group {
        name: "volume",
        about: "Data that outlives workloads",
        members: &[
            ("create", "volume-create"),
            ("ls", "volume-ls"),
            ("list", "volume-ls"),
            ("inspect", "volume-inspect"),
            ("rm", "volume-rm"),
            ("remove", "volume-rm"),
            ("prune", "volume-prune"),
            ("export", "volume-export"),
            ("import", "volume-import"),
        ],
    },
    Group {
        name: "kernel",
        about: "Kernels of virtual machines",
        members: &[
            ("import", "kernel-import"),
            ("ls", "kernel-ls"),
            ("list", "kernel-ls"),
            ("inspect", "kernel-inspect"),
            ("pull", "pull"),
            ("push", "push"),
            ("default", "kernel-default"),
            ("rm", "kernel-rm"),
            ("remove", "kernel-rm"),
        ],
    },
    Group {
        name: "artifact",
        about: "What a registry keeps beside images: signatures, lists of contents, files",
        members: &[
            ("add", "artifact-add"),
            ("ls", "artifact-ls"),
            ("list", "artifact-ls"),
            ("inspect", "artifact-inspect"),
            ("extract", "artifact-extract"),
            ("referrers", "artifact-referrers"),
            ("pull", "pull"),
            ("push", "push"),
            ("rm", "artifact-rm"),
            ("remove", "artifact-rm"),
        ],
    },
    Group {
        name: "manifest",
        about: "Images for several platforms under one name",
        members: &[
            ("create", "manifest-create"),
            ("inspect", "manifest-inspect"),
            ("push", "push"),
            ("rm", "rmi"),
        ],
    },
    Group {
        name: "system",
        about: "What takes room on the disk, and what can go",
        members: &[
            ("df", "system-df"),
            ("prune", "system-prune"),
            ("check", "system-check"),
            ("events", "events"),
            ("info", "info"),
        ],
    },
    Group { name: "registry", about: "A registry of one's own", members: &[("serve", "registry-serve")] },
    Group { name: "internal", about: "", members: &[("reference", "reference")] },
];

const ABOUT: &str = "Isolated places to run: as light as a container, or as strong as a virtual machine";

/// The verb of that name.
pub fn verb(name: &str) -> Option<&'static Verb> {
    VERBS.iter().find(|verb| verb.name == name)
}

/// Does what the words say; the exit code.
pub fn run(words: &[OsString]) -> u8 {
    let printer = Printer;
    let leading = match globals::leading(words) {
        Ok(leading) => leading,
        Err(error) => {
            printer.error("holm", &error);
            return error.code(HOLM_FAILED);
        }
    };
    let rest = words.get(leading.words..).unwrap_or_default();
    let (shown, failure, result) = match choose(&leading, rest) {
        Choice::Verb { verb, shown, words } => {
            let result = invoke(verb, &shown, words, leading.globals);
            (shown, verb.failure, result)
        }
        Choice::Text { shown, text } => (shown, 1, printer.data(text).map(|()| 0)),
        Choice::Mistake { shown, error } => (shown, 1, Err(error)),
    };
    result.unwrap_or_else(|error| {
        printer.error(&shown, &error);
        error.code(failure)
    })
}

/// What the words ask for.
enum Choice<'a> {
    Verb { verb: &'static Verb, shown: String, words: &'a [OsString] },
    Text { shown: String, text: String },
    Mistake { shown: String, error: CommandError },
}

fn choose<'a>(leading: &Leading, words: &'a [OsString]) -> Choice<'a> {
    let holm = || "holm".to_owned();
    if leading.version {
        return Choice::Text { shown: holm(), text: format!("Holm version {}\n", command::version::VERSION) };
    }
    let Some((first, rest)) = words.split_first() else {
        return Choice::Text { shown: holm(), text: tree().render_help().to_string() };
    };
    let first = first.to_string_lossy();
    if leading.help || first == "help" {
        let words = if leading.help { words } else { rest };
        return help(words);
    }
    if let Some(verb) = verb(&first).filter(|verb| !verb.hidden) {
        return Choice::Verb { verb, shown: format!("holm {first}"), words: rest };
    }
    match GROUPS.iter().find(|group| group.name == first) {
        Some(group) => choose_in(group, rest),
        None => Choice::Mistake { shown: holm(), error: unknown("holm", &[OsString::from(&*first)], tree()) },
    }
}

fn choose_in<'a>(group: &Group, words: &'a [OsString]) -> Choice<'a> {
    let shown = format!("holm {}", group.name);
    let first = words.first().map(|word| word.to_string_lossy());
    let member = group.members.iter().find(|(name, _)| first.as_deref() == Some(*name));
    match (first.as_deref(), member.and_then(|(_, verb)| self::verb(verb))) {
        (None | Some("--help" | "-h" | "help"), _) => {
            Choice::Text { text: group_tree(group).bin_name(&shown).render_help().to_string(), shown }
        }
        (Some(name), Some(verb)) => {
            Choice::Verb { verb, shown: format!("{shown} {name}"), words: words.get(1..).unwrap_or_default() }
        }
        (Some(name), None) => {
            let error = unknown(&shown, &[OsString::from(name)], group_tree(group));
            Choice::Mistake { shown, error }
        }
    }
}

fn help(words: &[OsString]) -> Choice<'_> {
    let Some(first) = words.first().map(|word| word.to_string_lossy()) else {
        return Choice::Text { shown: "holm".to_owned(), text: tree().render_help().to_string() };
    };
    let shown = format!("holm {first}");
    let group = || GROUPS.iter().find(|group| group.name == first);
    match (verb(&first).filter(|verb| !verb.hidden), group()) {
        (Some(verb), _) => Choice::Text { text: help_text(verb, &shown), shown },
        (None, Some(group)) => match choose_in(group, words.get(1..).unwrap_or_default()) {
            Choice::Verb { verb, shown, .. } => Choice::Text { text: help_text(verb, &shown), shown },
            choice => choice,
        },
        (None, None) => Choice::Mistake {
            shown: "holm".to_owned(),
            error: unknown("holm", &[OsString::from(&*first)], tree()),
        },
    }
}

/// A command that is none, or not yet; the parser of all of them knows which is like it.
fn unknown(shown: &str, words: &[OsString], tree: clap::Command) -> CommandError {
    let typed =
        words.iter().fold(shown.to_owned(), |typed, word| format!("{typed} {}", word.to_string_lossy()));
    match typed.strip_prefix("holm ").and_then(unsupported::command_area) {
        Some(unsupported::SWARM) => {
            return CommandError::usage(format!(
                "`{typed}` is for {}, which holm does not make",
                unsupported::SWARM
            ));
        }
        Some(area) => return CommandError::unsupported(&format!("`{typed}`"), area),
        None => {}
    }
    match tree.no_binary_name(true).try_get_matches_from(words) {
        Err(error) => usage::error("", shown, &error),
        Ok(_) => CommandError::new("that is no command"),
    }
}

fn invoke(
    verb: &'static Verb,
    shown: &str,
    words: &[OsString],
    earlier: Globals,
) -> Result<u8, CommandError> {
    let matches = match parser(verb, shown).try_get_matches_from(words) {
        Ok(matches) => matches,
        Err(error) if error.kind() == clap::error::ErrorKind::DisplayHelp => {
            return Printer.data(help_text(verb, shown)).map(|()| 0);
        }
        Err(error) => return Err(usage::error(verb.name, shown, &error)),
    };
    let globals = Globals::from_arg_matches(&matches)
        .map_err(|error| usage::error(verb.name, shown, &error))?
        .over(earlier);
    globals.start_logging();
    let context = Context { printer: Printer, command: shown.to_owned(), place: globals.place()? };
    (verb.run)(&matches, &context)
}

/// A verb's parser with Docker's ways.
fn parser(verb: &Verb, shown: &str) -> clap::Command {
    let command = with_globals((verb.command)());
    command.no_binary_name(true).bin_name(shown).args_override_self(true).mut_args(dockers_way)
}

fn dockers_way(argument: Arg) -> Arg {
    match argument.get_action() {
        ArgAction::SetTrue => argument
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .default_value("false")
            .value_parser(boolean),
        ArgAction::Set | ArgAction::Append if !argument.is_positional() => argument.allow_hyphen_values(true),
        _ => argument,
    }
}

/// What Go's `strconv.ParseBool` takes.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false expected".to_owned()),
    }
}

/// The help of a verb, as wide as the terminal, at most 100 characters.
pub fn help_text(verb: &Verb, shown: &str) -> String {
    documented(verb, verb.name).bin_name(shown).max_term_width(100).render_help().to_string()
}

/// The help of a verb for the reference, where options of every command stand once.
pub fn reference_text(verb: &Verb, shown: &str) -> String {
    (verb.command)().bin_name(shown).term_width(100).render_help().to_string()
}

/// A verb's command as help and completion show it.
fn documented(verb: &Verb, name: &'static str) -> clap::Command {
    with_globals((verb.command)()).name(name).display_name(name)
}

/// Adds options of every command, which come with words on themselves.
fn with_globals(command: clap::Command) -> clap::Command {
    let about = command.get_about().cloned();
    Globals::augment_args(command).about(about.unwrap_or_default())
}

fn group_tree(group: &Group) -> clap::Command {
    let mut verbs = Vec::new();
    // A second name of a verb works and is not shown.
    let mut first = |verb: &&'static str| {
        !verbs.contains(verb) && {
            verbs.push(verb);
            true
        }
    };
    let members = group.members.iter().filter(|(_, verb)| first(verb));
    let members: Vec<_> =
        members.filter_map(|(name, verb)| Some(documented(self::verb(verb)?, name))).collect();
    clap::Command::new(group.name)
        .about(group.about)
        .subcommands(members)
        .subcommand_required(true)
        .disable_help_subcommand(true)
}

/// Every command in one: for help, completion, and what an unknown word is like.
pub fn tree() -> clap::Command {
    let verbs = VERBS.iter().filter(|verb| !verb.hidden).map(|verb| documented(verb, verb.name));
    let groups = GROUPS.iter().filter(|group| !group.about.is_empty()).map(group_tree);
    let version =
        Arg::new("version").long("version").short('v').action(ArgAction::SetTrue).help("Print the version");
    with_globals(clap::Command::new("holm").about(ABOUT).arg(version))
        .override_usage("holm [OPTIONS] COMMAND")
        .subcommands(verbs)
        .subcommands(groups)
        .disable_help_subcommand(true)
        .after_help("`holm COMMAND --help` shows usage and examples of a command.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parser_is_sound() {
        for verb in VERBS {
            parser(verb, verb.name).debug_assert();
            documented(verb, verb.name).debug_assert();
        }
        tree().debug_assert();
        for group in GROUPS {
            for (_, name) in group.members {
                assert!(verb(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn help_knows_groups() {
        let text = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            match help(&words) {
                Choice::Text { text, .. } => Some(text),
                _ => None,
            }
        };
        assert!(text(&["image"]).is_some_and(|text| text.contains("holm image")));
        assert!(text(&["image", "ls"]).is_some_and(|text| text.contains("List images")));
        assert!(text(&["container", "run"]).is_some_and(|text| text.contains("holm run")));
        assert_eq!((text(&["image", "none"]), text(&["none"])), (None, None));
    }

    #[test]
    fn every_command_has_examples() {
        for verb in VERBS.iter().filter(|verb| !verb.hidden) {
            let command = (verb.command)();
            assert!(command.get_about().is_some(), "{}", verb.name);
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Examples:"), "{}", verb.name);
        }
    }

    fn run_matches(words: &[&str]) -> ArgMatches {
        let run = verb("run").expect("a verb");
        parser(run, "holm run").try_get_matches_from(words).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let matches = run_matches(&[
            "-it",
            "--rm=false",
            "--rm",
            "--name",
            "a",
            "--name=-b",
            "-e",
            "-x=1",
            "img",
            "-i",
            "--",
            "--rm",
        ]);
        for flag in ["interactive", "tty", "rm", "sig_proxy"] {
            assert_eq!(matches.get_one::<bool>(flag), Some(&true), "{flag}");
        }
        assert_eq!(matches.get_one::<bool>("init"), Some(&false));
        assert_eq!(matches.get_one::<String>("name").map(String::as_str), Some("-b"));
        let words: Vec<&String> = matches.get_many("image_and_command").expect("there").collect();
        assert_eq!(words, ["img", "-i", "--", "--rm"]);
        let matches = run_matches(&["--sig-proxy=false", "-ti=0", "--", "img"]);
        assert_eq!(matches.get_one::<bool>("sig_proxy"), Some(&false));
        assert_eq!(matches.get_one::<bool>("interactive"), Some(&false));
        assert_eq!(matches.get_one::<bool>("tty"), Some(&true));
    }
}
