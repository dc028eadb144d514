//! What is doubtful in a Dockerfile: the rules of `docker build --check`, by BuildKit's names.
//!
//! | file | holds |
//! |---|---|
//! | `rule` | the rules |
//! | `settings` | which of them count |
//! | `file` | rules of the file as a whole, of stages and their names |
//! | `stage` | rules of instructions, with the variables that there are |
//!
//! A base image's own settings are needed for some rules, and only who has a store knows them: [`Surroundings::base`].
//! Where nobody knows a base image, `UndefinedVar` is not asked of what is made from it: the variable may be its.

mod file;
mod rule;
mod settings;
mod stage;

use std::collections::BTreeSet;

pub use rule::Rule;
pub use settings::Settings;

use crate::dockerfile::{Dockerfile, Parsed};
use crate::error::{Error, Fault, Kind, Result};
use crate::ignore::Ignore;
use crate::platform::Platform;
use crate::source::{Source, Span};
use crate::stages::Plan;
use crate::variables::{Given, Globals};

/// More warnings than these nobody reads.
pub const WARNING_LIMIT: usize = 1_000;

/// Something doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The rule.
    pub rule: Rule,
    /// What is doubtful here.
    pub detail: String,
    /// The first line.
    pub first_line: u32,
    /// The last line.
    pub last_line: u32,
}

/// What a base image brings.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// Its variables.
    pub environment: Vec<(String, String)>,
    /// Whether it has a shell of its own (`SHELL`).
    pub has_shell: bool,
}

/// What a check knows besides the Dockerfile.
pub struct Surroundings<'a> {
    /// What the caller says.
    pub given: Given,
    /// Names that stand for other things (`--build-context`).
    pub contexts: BTreeSet<String>,
    /// Which rules count, instead of what the Dockerfile says.
    pub settings: Option<Settings>,
    /// What of the context is left out, if that is known.
    pub ignore: Option<&'a Ignore>,
    /// A base image, if it is known.
    pub base: &'a dyn Fn(&str, &Platform) -> Option<Base>,
}

/// What a check found.
#[derive(Debug)]
pub struct Report {
    /// The Dockerfile.
    pub source: Source,
    /// What is doubtful, by lines.
    pub warnings: Vec<Warning>,
    /// What is wrong. Behind it nothing was checked.
    pub error: Option<Error>,
    /// Whether a build must not go on with these warnings (`# check=error=true`).
    pub fatal: bool,
}

/// Checks a Dockerfile.
pub fn check(parsed: Parsed, surroundings: &Surroundings<'_>) -> Report {
    let Parsed { dockerfile, error } = parsed;
    let mut findings = Findings { settings: Settings::default(), warnings: Vec::new() };
    let result = findings.check(&dockerfile, error.is_none(), surroundings);
    let mut warnings = findings.warnings;
    warnings.sort_by_key(|warning| (warning.first_line, warning.rule));
    let fatal = findings.settings.error && !warnings.is_empty();
    let error = result.err().map(|fault| dockerfile.error(fault)).or(error);
    Report { source: dockerfile.source, warnings, error, fatal }
}

/// Warnings that count.
struct Findings {
    settings: Settings,
    warnings: Vec<Warning>,
}

impl Findings {
    fn check(&mut self, dockerfile: &Dockerfile, whole: bool, surroundings: &Surroundings<'_>) -> Result<()> {
        self.settings = settings(dockerfile, surroundings)?;
        file::as_written(self, dockerfile);
        if !whole {
            return Ok(());
        }
        file::as_a_whole(self, dockerfile, &surroundings.given);
        let globals = Globals::new(dockerfile, &surroundings.given)?;
        for stage in &dockerfile.stages {
            file::base(self, stage, &globals)?;
        }
        let target = surroundings.given.stage.as_deref();
        let plan = Plan::new(dockerfile, &globals, target, &surroundings.contexts)?;
        if target.is_none() {
            plan.check_order(dockerfile)?;
        }
        stage::all(self, dockerfile, plan, globals, surroundings)
    }

    /// Notes something, if the rule counts for an instruction with these comments.
    fn note(&mut self, rule: Rule, span: Span, comments: &[String], detail: String) {
        if self.warnings.len() < WARNING_LIMIT && self.settings.counts(rule, comments) {
            let (first_line, last_line) = (span.start.line, span.last_line);
            self.warnings.push(Warning { rule, detail, first_line, last_line });
        }
    }

    /// Whether it is worth the time to look for names that may be meant: somebody who has so many warnings has other sorrows.
    fn may_suggest(&self) -> bool {
        self.warnings.len() < 50
    }
}

fn settings(dockerfile: &Dockerfile, surroundings: &Surroundings<'_>) -> Result<Settings> {
    match (&surroundings.settings, &dockerfile.directives.check) {
        (Some(settings), _) => Ok(settings.clone()),
        (None, Some((text, position))) => {
            Settings::parse(text).map_err(|reason| Fault::new(Kind::Value, *position, reason))
        }
        (None, None) => Ok(Settings::default()),
    }
}

#[cfg(test)]
mod tests;
