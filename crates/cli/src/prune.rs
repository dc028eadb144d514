//! What the pruning commands have in common: the question, the filters, and what they say in the end.

use std::io::BufRead;

use holm_engine::images::Removed;
use holm_engine::{Engine, FitsLabels, PruneReport, PruneRequest};
use holm_spec::Timestamp;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::resolve::filter::Filters;
use crate::size;

const FILTERS: [&str; 3] = ["label", "label!", "until"];

/// Filters of pruning.
#[derive(Debug)]
pub struct Selection {
    /// Only what was made before.
    until: Option<Timestamp>,
    filters: Filters,
}

impl Selection {
    /// Parses `--filter`.
    ///
    /// # Errors
    /// A filter that is none.
    pub fn parse(words: &[String], now: Timestamp) -> Result<Self, CommandError> {
        let wrong = |reason| CommandError::flag("filter", reason);
        let filters = Filters::parse(words, &FILTERS, &[]).map_err(wrong)?;
        let until = filters.values("until").first().map(|text| duration::parse_time(text, now));
        Ok(Self { until: until.transpose().map_err(wrong)?, filters })
    }

    /// Removes of `what` only that which fits.
    ///
    /// # Errors
    /// Those of [`Engine::prune`].
    pub fn prune(&self, engine: &Engine, what: PruneRequest<'_>) -> Result<PruneReport, CommandError> {
        let fits = |labels: &_| self.fit(labels);
        let labels: Option<FitsLabels<'_>> = if self.has_labels() { Some(&fits) } else { None };
        Ok(engine.prune(&PruneRequest { until: self.until, labels, ..what })?)
    }

    /// Whether labels were asked for.
    fn has_labels(&self) -> bool {
        !self.filters.values("label").is_empty() || !self.filters.values("label!").is_empty()
    }

    /// Whether something with these labels, made then, is to go.
    pub fn fits(
        &self,
        created: Option<Timestamp>,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> bool {
        self.until.is_none_or(|until| created.unwrap_or_default() < until) && self.fit(labels)
    }

    /// Whether labels are as asked: all that must be there, none that may not.
    fn fit(&self, labels: &std::collections::BTreeMap<String, String>) -> bool {
        let has = |wanted: &String| {
            let mut one = Filters::default();
            one.add("label", wanted);
            one.labels(labels)
        };
        self.filters.labels(labels) && !self.filters.values("label!").iter().any(has)
    }
}

/// Asks on standard error, and reads the answer from standard input, as Docker does; a pipe may answer, too.
///
/// # Errors
/// The answer is not yes: nothing was done.
pub fn confirm(context: &Context, warning: &str) -> Result<(), CommandError> {
    let question = format!("WARNING! {warning}\nAre you sure you want to continue? [y/N] ");
    context.printer.error_data(question.as_bytes())?;
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim(), "y" | "Y") {
        return Ok(());
    }
    let name = context.command.strip_prefix("holm ").unwrap_or(&context.command);
    if !answer.ends_with('\n') {
        context.printer.error_data(b"\n")?;
    }
    Err(CommandError::new(format!("{name} was not confirmed, and nothing was done"))
        .hint("-f does it without asking"))
}

/// What went, as Docker tells it.
pub fn report(report: &PruneReport) -> String {
    let workloads = report.workloads.iter().map(|id| format!("{id}\n")).collect::<String>();
    let images = report.images.iter().map(line).collect::<String>();
    let compressed = report.compressed.iter().map(|digest| format!("{digest}\n")).collect::<String>();
    let steps = if report.steps > 0 { format!("{}\n", report.steps) } else { String::new() };
    let mut text = String::new();
    for (title, lines) in [
        ("Deleted Containers", workloads),
        ("Deleted Images", images),
        ("Deleted compressed layers", compressed),
        ("Deleted steps of builds", steps),
    ] {
        if !lines.is_empty() {
            text.push_str(&format!("{title}:\n{lines}\n"));
        }
    }
    text + &format!("Total reclaimed space: {}\n", size::decimal(report.bytes))
}

/// Which volumes went.
pub fn report_volumes(names: &[String]) -> String {
    let lines = names.iter().map(|name| format!("{name}\n")).collect::<String>();
    if lines.is_empty() { lines } else { format!("Deleted Volumes:\n{lines}\n") }
}

fn line(removed: &Removed) -> String {
    match removed {
        Removed::Untagged(reference) => format!("untagged: {}\n", reference.familiar()),
        Removed::Deleted(digest) => format!("deleted: {digest}\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn labels_that_may_not_be_there() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (words, fits) in [
            (vec!["label=a"], true),
            (vec!["label=a=2"], false),
            (vec!["label!=a"], false),
            (vec!["label!=a=2"], true),
            (vec!["label=a", "label!=b"], true),
        ] {
            let owned: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let selection = Selection::parse(&owned, Timestamp::from_nanos(0)).expect("valid");
            assert_eq!(selection.fits(None, &labels), fits, "{words:?}");
            assert!(selection.has_labels());
        }
        assert!(Selection::parse(&["dangling=true".to_owned()], Timestamp::from_nanos(0)).is_err());
    }
}
