//! What a check of a Dockerfile found, as text for people and as Docker's JSON for programs.

use std::fmt::Write as _;

use holm_build::lint::{Report, Warning};
use holm_build::{Source, shown};
use serde_json::{Value, json};

/// Lines that are shown above and below.
const AROUND: u32 = 2;
/// Most lines of one warning that are shown.
const LONGEST: u32 = 10;

/// A paragraph for each warning, with its lines, and how many they are.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        paragraph(&mut text, warning, &report.source);
    }
    match (report.warnings.len(), &report.error) {
        // The error says enough.
        (0, Some(_)) => {}
        (0, None) => text.push_str("no warnings\n"),
        (1, _) => text.push_str("1 warning\n"),
        (many, _) => _ = writeln!(text, "{many} warnings"),
    }
    text
}

fn paragraph(text: &mut String, warning: &Warning, source: &Source) {
    let rule = warning.rule;
    let detail = shown(&warning.detail);
    _ = writeln!(text, "WARNING: {}: {detail}\n{}", rule.name(), rule.description());
    _ = writeln!(text, "{}:{}", source.name(), warning.first_line);
    let last = warning.last_line.min(warning.first_line.saturating_add(LONGEST - 1));
    let first_shown = warning.first_line.saturating_sub(AROUND).max(1);
    for line in first_shown..=last.saturating_add(AROUND).min(source.len()) {
        let mark = if (warning.first_line..=last).contains(&line) { ">>>" } else { "   " };
        let row = format!("{line:4} | {mark} {}", shown(source.line(line)));
        _ = writeln!(text, "{}", row.trim_end());
    }
    text.push('\n');
}

/// The result of Docker's `--call check,format=json`, without URLs.
pub fn json(report: &Report) -> String {
    let warning = |warning: &Warning| {
        json!({
            "ruleName": warning.rule.name(),
            "description": warning.rule.description(),
            "detail": warning.detail,
            "location": location(warning.first_line, warning.last_line),
        })
    };
    let mut document = json!({
        "warnings": report.warnings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{ "filename": report.source.name(), "language": "Dockerfile" }],
    });
    if let Some(error) = &report.error {
        let line = error.position().line;
        document["buildError"] = json!({ "message": error.summary(), "location": location(line, line) });
    }
    format!("{document}\n")
}

fn location(first: u32, last: u32) -> Value {
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}
