//! `cargo xtask <verb>`: everything that is done to this repository, from its first build to its benchmarks.
//!
//! One module a verb; each declares a [`Verb`] and the table [`VERBS`] lists them. What verbs share lies below them:
//! [`workspace`] (where things are), [`process`] (running commands), [`packages`] (Debian packages, by purpose),
//! [`base`] and [`mirror`] (Debian itself), [`narrate`] (what people see) and [`leak`] (what a run left on the machine).
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a task runner talks to a person on a terminal"
)]

mod arguments;
mod base;
mod bench;
mod build;
mod clean;
mod demo;
mod elf;
mod guest_disk;
mod install;
mod leak;
mod metadata;
mod mirror;
mod narrate;
mod packages;
mod process;
mod test;
mod tidy;
mod totals;
mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::arguments::Arguments;
use crate::workspace::Workspace;

/// One thing that `cargo xtask` can do.
pub struct Verb {
    /// What is typed.
    pub name: &'static str,
    /// The rest of the usage line.
    pub usage: &'static str,
    /// One line for the list of verbs.
    pub summary: &'static str,
    /// The full help text, below the usage line.
    pub help: &'static str,
    /// Does it.
    pub run: fn(&Workspace, Arguments) -> Result<()>,
}

const VERBS: &[&Verb] =
    &[&demo::VERB, &build::VERB, &test::VERB, &tidy::VERB, &bench::VERB, &install::VERB, &clean::VERB];

fn main() -> ExitCode {
    match dispatch(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: Vec<String>) -> Result<()> {
    let Some((first, rest)) = words.split_first() else {
        print!("{}", overview());
        bail!("no verb given");
    };
    if matches!(first.as_str(), "-h" | "--help" | "help") {
        return help(rest.first());
    }
    let verb = find(first)?;
    if rest.iter().take_while(|word| *word != "--").any(|word| word == "-h" || word == "--help") {
        return help(Some(first));
    }
    (verb.run)(&Workspace::locate()?, Arguments::new(rest.to_vec()))
}

fn find(name: &str) -> Result<&'static Verb> {
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        let known: Vec<_> = VERBS.iter().map(|verb| verb.name).collect();
        bail!("no verb `{name}`\nhint: the verbs are {}", known.join(", "));
    };
    Ok(verb)
}

fn help(name: Option<&String>) -> Result<()> {
    match name {
        None => print!("{}", overview()),
        Some(name) => {
            let verb = find(name)?;
            print!("{}.\n\nUsage: cargo xtask {}{}\n\n{}", verb.summary, verb.name, verb.usage, verb.help);
        }
    }
    Ok(())
}

fn overview() -> String {
    let mut text = String::from("Tasks of the Holm repository.\n\nUsage: cargo xtask VERB [ARGUMENTS]\n\n");
    for verb in VERBS {
        text.push_str(&format!("  {:<9} {}\n", verb.name, verb.summary));
    }
    text.push_str("\n`cargo xtask VERB --help` says more. Start with `cargo xtask demo`.\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_names_every_verb() {
        let text = overview();
        for verb in VERBS {
            assert!(text.contains(&format!("  {:<9} {}\n", verb.name, verb.summary)), "{}", verb.name);
            assert!(verb.help.ends_with('\n') && !verb.summary.ends_with('.'), "{}", verb.name);
        }
    }

    #[test]
    fn an_unknown_verb_is_named_with_those_that_exist() {
        let error = dispatch(vec!["tset".into()]).expect_err("there is no such verb").to_string();
        assert!(error.contains("`tset`") && error.contains("test"), "{error}");
    }
}
