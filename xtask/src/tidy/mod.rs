//! `cargo xtask tidy`: what compilers and clippy do not check about the shape of this repository.
//!
//! Every check is a pure function from text to a [`Report`]; this file reads the texts and prints the reports.
//! Budgets, tables and lists of exceptions stand at the head of the module that checks them, each in one place.

mod arrows;
mod dependencies;
mod documentation;
mod source;
mod tail;
mod tree;
mod unsafe_code;
mod words;

use anyhow::{Result, bail};

use crate::Verb;
use crate::arguments::Arguments;
use crate::metadata::Metadata;
use crate::narrate;
use crate::workspace::Workspace;

/// The verb.
pub const VERB: Verb = Verb {
    name: "tidy",
    usage: "",
    summary: "Check the shape of the source: arrows, docs, sizes, dependencies, words, unsafe",
    help: "  arrows          crates depend only on what DESIGN section 10 allows\n  \
           module docs     every source file opens with `//!`\n  \
           size            no file over 800 lines, no function over 100\n  \
           dependencies    crates from outside, against a budget for each binary\n  \
           build scripts   only crates that are known to need one have one\n  \
           words           no paths of one machine, no host names of registries\n  \
           unsafe          only in `crates/sys` and in named modules\n",
    run,
};

/// What one check found.
pub struct Report {
    /// The check.
    pub name: &'static str,
    /// The figures, in a few words.
    pub summary: String,
    /// What is wrong, each with its place.
    pub findings: Vec<String>,
}

fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    arguments.finish()?;
    check(workspace)
}

/// Runs every check and prints what each found.
///
/// # Errors
/// A check found something, or a text cannot be read.
pub fn check(workspace: &Workspace) -> Result<()> {
    let reports = reports(workspace)?;
    let rows: Vec<_> = reports.iter().map(Report::row).collect();
    let findings: Vec<_> = reports.into_iter().flat_map(|report| report.findings).collect();
    for finding in &findings {
        println!("{finding}");
    }
    narrate::table(&rows);
    match findings.len() {
        0 => Ok(()),
        1 => bail!("one finding"),
        many => bail!("{many} findings"),
    }
}

fn reports(workspace: &Workspace) -> Result<Vec<Report>> {
    let texts = tree::texts(&workspace.root)?;
    let sources = tree::sources(&texts);
    let metadata = Metadata::read(workspace)?;
    Ok(vec![
        arrows::check(&metadata),
        documentation::check(&sources),
        tail::check(&sources),
        dependencies::check_number(&metadata),
        dependencies::check_build_scripts(&metadata),
        words::check(&texts),
        unsafe_code::check(&sources),
    ])
}

impl Report {
    fn row(&self) -> Vec<String> {
        let outcome = if self.findings.is_empty() { "ok" } else { "FAILED" };
        vec![self.name.to_owned(), outcome.to_owned(), self.summary.clone()]
    }
}
