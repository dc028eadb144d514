//! Rules of instructions: a walk over the stages with the variables that there are, as a build has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::rule::Rule;
use super::{Base, Findings, Surroundings};
use crate::dockerfile::{
    Argument, Command, CommandLine, Dockerfile, Instruction, Pair, Transfer, Word, path, port, valid,
};
use crate::error::Result;
use crate::expanded::Expander;
use crate::ignore::Ignore;
use crate::nearest::nearest;
use crate::source::Span;
use crate::stages::{Origin, Plan, Planned};
use crate::variables::{Globals, Variables};

/// What every stage has, whatever its base image says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is known of a stage besides its variables, and goes on to the stages that are made from it.
#[derive(Clone, Copy)]
struct Facts {
    /// Whether all variables are known: the base image is.
    all_variables: bool,
    has_workdir: bool,
    has_shell: bool,
}

/// A stage behind its last instruction.
type Finished = (Arc<Variables>, Facts);

/// A stage, at an instruction.
struct Walk<'a> {
    findings: &'a mut Findings,
    ignore: Option<&'a Ignore>,
    variables: Variables,
    facts: Facts,
    /// Where the last ones were, of which only the last counts.
    cmd: Option<Span>,
    entrypoint: Option<Span>,
    healthcheck: Option<Span>,
}

/// Walks over all stages; with a target, over those that it needs.
pub(super) fn all(
    findings: &mut Findings,
    dockerfile: &Dockerfile,
    plan: Plan,
    globals: Globals,
    surroundings: &Surroundings<'_>,
) -> Result<()> {
    let globals = Arc::new(globals);
    let only_needed = surroundings.given.stage.is_some();
    let mut finished: Vec<Option<Finished>> = Vec::new();
    for ((stage, planned), needed) in dockerfile.stages.iter().zip(&plan.stages).zip(&plan.needed) {
        if only_needed && !needed {
            finished.push(None);
            continue;
        }
        let base = match planned.base {
            Origin::Stage(number) => finished.get(number).and_then(Option::as_ref),
            _ => None,
        };
        let (variables, facts) = match base {
            Some((variables, facts)) => (Variables::of_stage(variables.clone()), *facts),
            None => image(planned, &globals, surroundings),
        };
        let ignore = surroundings.ignore.filter(|ignore| !ignore.has_exceptions());
        let (cmd, entrypoint, healthcheck) = (None, None, None);
        let mut walk = Walk { findings, ignore, variables, facts, cmd, entrypoint, healthcheck };
        for instruction in planned.triggers.iter().chain(&stage.instructions) {
            walk.instruction(instruction)?;
        }
        finished.push(Some((Arc::new(walk.variables), walk.facts)));
    }
    Ok(())
}

/// The beginning of a stage that is made from an image, or from nothing.
fn image(planned: &Planned, globals: &Arc<Globals>, surroundings: &Surroundings<'_>) -> (Variables, Facts) {
    let platform = planned.platform.as_ref().unwrap_or(&surroundings.given.target);
    let base = match &planned.base {
        Origin::Scratch => Some(Base::default()),
        Origin::Image(name) => (surroundings.base)(name, platform),
        Origin::Stage(_) | Origin::Context(_) => None,
    };
    let all_variables = base.is_some();
    let base = base.unwrap_or_default();
    let path = ("PATH".to_owned(), DEFAULT_PATH.to_owned());
    let variables = Variables::new(globals.clone(), std::iter::once(path).chain(base.environment));
    (variables, Facts { all_variables, has_workdir: false, has_shell: base.has_shell })
}

impl Walk<'_> {
    fn note(&mut self, rule: Rule, at: &Instruction, detail: String) {
        self.findings.note(rule, at.span, &at.comments, detail);
    }

    fn instruction(&mut self, at: &Instruction) -> Result<()> {
        let mut expander = Expander::new(&self.variables);
        let command = at.command.expanded(&mut expander)?;
        if let Command::Run(run) = &command {
            run.resolved_mounts(&mut expander)?;
        }
        // A variable that an `ARG` declares without a value is meant to be empty.
        let unset = expander.unset.into_iter().map(|(name, _)| name);
        let unset = unset.filter(|name| !self.variables.is_declared(name)).collect();
        self.undefined(at, &unset);
        command.check()?;
        self.effect(at, &command)
    }

    /// What an instruction does to those that follow, and what is doubtful in it.
    fn effect(&mut self, at: &Instruction, command: &Command) -> Result<()> {
        match command {
            Command::Arg(arguments) => self.arg(at, arguments)?,
            Command::Env(pairs) => self.env(at, pairs),
            Command::Label(pairs) => self.old_form(at, pairs),
            Command::Workdir(path) => self.workdir(at, path),
            Command::Shell(_) => self.facts.has_shell = true,
            Command::Cmd(line) => {
                let before = self.cmd.replace(at.span);
                self.only_last(at, before);
                self.shell_form(at, line);
            }
            Command::Entrypoint(line) => {
                let before = self.entrypoint.replace(at.span);
                self.only_last(at, before);
                self.shell_form(at, line);
            }
            Command::Healthcheck(_) => {
                let before = self.healthcheck.replace(at.span);
                self.only_last(at, before);
            }
            Command::Expose(ports) => ports.iter().for_each(|word| self.port(at, word)),
            Command::Copy(copy) if copy.from.is_none() => self.ignored(at, &copy.files),
            Command::Add(add) => self.ignored(at, &add.files),
            _ => {}
        }
        Ok(())
    }

    fn undefined(&mut self, at: &Instruction, unset: &BTreeSet<String>) {
        if !self.facts.all_variables {
            return;
        }
        for name in unset {
            let near = if self.findings.may_suggest() { nearest(name, self.variables.names()) } else { None };
            let meant = near.map(|near| format!(": did you mean `${near}`?")).unwrap_or_default();
            let detail = format!("nothing defines `${name}`{meant}");
            self.findings.note(Rule::UndefinedVar, at.span, &at.comments, detail);
        }
    }

    fn arg(&mut self, at: &Instruction, arguments: &[Argument]) -> Result<()> {
        for argument in arguments {
            self.secret(at, "ARG", &argument.name);
            let (_, unset) = self.variables.declare(argument)?;
            self.undefined(at, &unset);
        }
        Ok(())
    }

    fn env(&mut self, at: &Instruction, pairs: &[Pair]) {
        self.old_form(at, pairs);
        for pair in pairs {
            self.secret(at, "ENV", &pair.name.text);
            self.variables.set(&pair.name.text, &pair.value.text);
        }
    }

    fn old_form(&mut self, at: &Instruction, pairs: &[Pair]) {
        if let Some(pair) = pairs.iter().find(|pair| pair.old_form) {
            let detail = format!("write `{} {}=…`", at.keyword, pair.name.text);
            self.note(Rule::LegacyKeyValueFormat, at, detail);
        }
    }

    fn secret(&mut self, at: &Instruction, keyword: &str, name: &str) {
        if sounds_secret(name) {
            self.note(Rule::SecretsUsedInArgOrEnv, at, format!("`{keyword} {name}` sounds like a secret"));
        }
    }

    fn workdir(&mut self, at: &Instruction, path: &Word) {
        if !self.facts.has_workdir && !path.text.starts_with('/') {
            let detail = format!("`{}` is relative to whatever the base image says", path.text);
            self.note(Rule::WorkdirRelativePath, at, detail);
        }
        self.facts.has_workdir = true;
    }

    fn only_last(&mut self, at: &Instruction, before: Option<Span>) {
        if let Some(before) = before {
            let detail = format!("another {} below takes its place", at.keyword);
            self.findings.note(Rule::MultipleInstructionsDisallowed, before, &at.comments, detail);
        }
    }

    fn shell_form(&mut self, at: &Instruction, line: &CommandLine) {
        if matches!(line, CommandLine::Shell(_)) && !self.facts.has_shell {
            let detail = format!("write `{} [\"program\", \"argument\"]`", at.keyword);
            self.note(Rule::JsonArgsRecommended, at, detail);
        }
    }

    fn port(&mut self, at: &Instruction, word: &Word) {
        let Ok(ports) = port::parse(&word.text) else { return };
        if ports.protocol != ports.protocol.to_lowercase() {
            let detail = format!("write the protocol of `{}` in small letters", word.text);
            self.note(Rule::ExposeProtoCasing, at, detail);
        }
        if ports.has_host {
            let detail = format!("`{}` has an address or a port of the host", word.text);
            self.note(Rule::ExposeInvalidFormat, at, detail);
        }
    }

    /// Where an ignore file has exceptions, only a look at the context could tell: it is not given then.
    fn ignored(&mut self, at: &Instruction, files: &Transfer) {
        let Some(ignore) = self.ignore else { return };
        for source in &files.sources {
            if valid::is_url(&source.text) || valid::is_repository(&source.text) {
                continue;
            }
            let below_root = path::source(&source.text);
            let left_out = match below_root.strip_prefix('/') {
                None | Some("") => ignore.excludes_all(),
                Some(path) => ignore.excludes(path),
            };
            if left_out {
                let detail = format!("the ignore file leaves `{}` out", source.text);
                self.note(Rule::CopyIgnoredFile, at, detail);
            }
        }
    }
}

/// Whether a part of a name, between underscores, says that it is a secret, and none says the contrary.
fn sounds_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const PUBLIC: [&str; 3] = ["public", "file", "version"];
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| name.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&PUBLIC)
}
