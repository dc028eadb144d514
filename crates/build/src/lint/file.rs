//! Rules of the file as it is written, and of `FROM`.

use std::collections::{BTreeMap, BTreeSet};

use super::Findings;
use super::rule::Rule;
use crate::dockerfile::{Command, Dockerfile, Instruction, Stage};
use crate::error::Result;
use crate::nearest::nearest;
use crate::platform::Platform;
use crate::source::{Position, Span};
use crate::variables::{Given, Globals};

/// Rules of single lines, which count also where the file goes wrong below.
pub(super) fn as_written(findings: &mut Findings, dockerfile: &Dockerfile) {
    for line in &dockerfile.blank_continuations {
        let span = Span { start: Position { line: *line, column: 1 }, last_line: *line };
        findings.note(
            Rule::NoEmptyContinuation,
            span,
            &[],
            "a blank line stands in this instruction".to_owned(),
        );
    }
    for instruction in &dockerfile.globals {
        instruction_as_written(findings, instruction);
    }
    for stage in &dockerfile.stages {
        stage_as_written(findings, stage);
        for instruction in &stage.instructions {
            instruction_as_written(findings, instruction);
        }
    }
}

fn instruction_as_written(findings: &mut Findings, instruction: &Instruction) {
    let Instruction { span, comments, .. } = instruction;
    match &instruction.command {
        Command::Maintainer(_) => {
            let detail = "use `LABEL org.opencontainers.image.authors=…` instead of `MAINTAINER`".to_owned();
            findings.note(Rule::MaintainerDeprecated, *span, comments, detail);
        }
        Command::Arg(arguments) => {
            let names: Vec<_> = arguments.iter().map(|argument| argument.name.as_str()).collect();
            description(findings, "ARG", &names, *span, comments);
        }
        _ => {}
    }
}

fn stage_as_written(findings: &mut Findings, stage: &Stage) {
    let Some(name) = &stage.name else { return };
    let (span, comments) = (stage.span, &stage.comments);
    let written = &name.written.text;
    if *written != name.name {
        findings.note(
            Rule::StageNameCasing,
            span,
            comments,
            format!("write the stage `{written}` as `{}`", name.name),
        );
    }
    let (from, keyword) = (&stage.keyword, &name.keyword);
    let differs = match casing(from) {
        Some(Casing::Lower) => casing(keyword) != Some(Casing::Lower),
        Some(Casing::Upper) => casing(keyword) != Some(Casing::Upper),
        None => false,
    };
    if differs {
        findings.note(
            Rule::FromAsCasing,
            span,
            comments,
            format!("`{keyword}` is not written as `{from}` is"),
        );
    }
    description(findings, "FROM", &[&name.name], span, comments);
}

/// The comment right above tells what something is for.
fn description(findings: &mut Findings, keyword: &str, names: &[&str], span: Span, comments: &[String]) {
    let first_word = comments.last().and_then(|comment| comment.split(' ').next());
    if first_word.is_some_and(|word| !names.contains(&word)) && !names.is_empty() {
        let name = if let [name] = names { name } else { "name" };
        let detail = format!("the comment above `{keyword}` should be `# {name} what it is for`");
        findings.note(Rule::InvalidDefinitionDescription, span, comments, detail);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Casing {
    Lower,
    Upper,
}

fn casing(keyword: &str) -> Option<Casing> {
    if keyword == keyword.to_lowercase() {
        return Some(Casing::Lower);
    }
    (keyword == keyword.to_uppercase()).then_some(Casing::Upper)
}

/// Rules that look at several lines.
pub(super) fn as_a_whole(findings: &mut Findings, dockerfile: &Dockerfile, given: &Given) {
    stage_names(findings, &dockerfile.stages);
    keyword_casing(findings, &dockerfile.stages);
    defaults_of_from(findings, dockerfile, given);
}

fn stage_names(findings: &mut Findings, stages: &[Stage]) {
    let mut seen = BTreeSet::new();
    for stage in stages {
        let Some(name) = stage.name.as_ref().map(|name| name.name.as_str()) else { continue };
        if ["scratch", "context"].contains(&name) {
            let detail = format!("the name `{name}` has a meaning of its own");
            findings.note(Rule::ReservedStageName, stage.span, &[], detail);
        }
        if !seen.insert(name) {
            let detail = format!("another stage above has the name `{name}`");
            findings.note(Rule::DuplicateStageName, stage.span, &[], detail);
        }
    }
}

/// Keywords should be written as most of them are.
fn keyword_casing(findings: &mut Findings, stages: &[Stage]) {
    let keywords = || {
        stages.iter().flat_map(|stage| {
            let inner = stage.instructions.iter().map(|instruction| (&instruction.keyword, instruction.span));
            std::iter::once((&stage.keyword, stage.span)).chain(inner)
        })
    };
    let count = |wanted| keywords().filter(|(keyword, _)| casing(keyword) == Some(wanted)).count();
    let (usual, words) = match count(Casing::Lower) > count(Casing::Upper) {
        true => (Casing::Lower, "in small letters"),
        false => (Casing::Upper, "in capitals"),
    };
    for (keyword, span) in keywords() {
        if casing(keyword) != Some(usual) {
            let detail = format!("write `{keyword}` {words}, as most instructions are");
            findings.note(Rule::ConsistentInstructionCasing, span, &[], detail);
        }
    }
}

/// What `FROM` names if the caller sets nothing.
fn defaults_of_from(findings: &mut Findings, dockerfile: &Dockerfile, given: &Given) {
    let given = Given { arguments: BTreeMap::new(), ..given.clone() };
    // What cannot be expanded at all is an error, and told as one.
    let Ok(globals) = Globals::new(dockerfile, &given) else { return };
    for stage in &dockerfile.stages {
        let Ok(expansion) = globals.expand(&stage.base) else { return };
        if expansion.text.parse::<holm_spec::Reference>().is_err() {
            let detail = format!("`{}` is no image if no argument is given", stage.base.text);
            findings.note(Rule::InvalidDefaultArgInFrom, stage.span, &[], detail);
        }
    }
}

/// Rules of the words of one `FROM`.
pub(super) fn base(findings: &mut Findings, stage: &Stage, globals: &Globals) -> Result<()> {
    let expansion = globals.expand(&stage.base)?;
    undefined_in_from(findings, stage, &expansion.unset, globals);
    let Some(word) = &stage.platform else { return Ok(()) };
    let expansion = globals.expand(word)?;
    undefined_in_from(findings, stage, &expansion.unset, globals);
    let (span, comments) = (stage.span, &stage.comments);
    let target = globals.get(TARGET_PLATFORM).unwrap_or_default();
    let only_target = expansion.used.len() == 1 && expansion.used.contains(TARGET_PLATFORM);
    if only_target && expansion.unset.is_empty() && expansion.text == target {
        let detail = format!("`--platform={}` is what FROM takes anyway", word.text);
        findings.note(Rule::RedundantTargetPlatform, span, comments, detail);
    }
    if expansion.used.is_empty() && expansion.unset.is_empty() && !is_named_so(stage, &expansion.text) {
        let detail = format!("`--platform={}` is a constant", expansion.text);
        findings.note(Rule::FromPlatformFlagConstDisallowed, span, comments, detail);
    }
    Ok(())
}

const TARGET_PLATFORM: &str = "TARGETPLATFORM";

/// A stage that is called by its platform means it. What is no platform is an error, and told as one.
fn is_named_so(stage: &Stage, platform: &str) -> bool {
    let Ok(platform) = Platform::parse(platform) else { return true };
    let name = stage.name.as_ref().map_or("", |name| name.name.as_str());
    name.contains(&platform.os) || name.contains(&platform.architecture)
}

fn undefined_in_from(findings: &mut Findings, stage: &Stage, unset: &BTreeSet<String>, globals: &Globals) {
    for name in unset {
        if globals.knows(name) {
            continue;
        }
        let near = if findings.may_suggest() { nearest(name, globals.names()) } else { None };
        let meant = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        let detail = format!("no `ARG` above the first `FROM` declares `{name}`{meant}");
        findings.note(Rule::UndefinedArgInFrom, stage.span, &stage.comments, detail);
    }
}
