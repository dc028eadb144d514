//! `holm doctor`: what this host can do.

use std::fmt::Write as _;

use holm_engine::doctor::{Check, Need, State, examine, verdict};
use serde_json::{Value, json};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing;
use crate::table;
use crate::template::Template;

/// Exit code of a host that cannot run containers.
const UNFIT: u8 = 1;

/// Find out what this host can do, and what helps where it cannot
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Everything is tried, and nothing is left. The exit code is 1 if something is missing that
containers need, whatever virtual machines lack.

Examples:
  holm doctor
  holm doctor --format json
  holm doctor --format '{{range .Checks}}{{.Name}}: {{.State}} {{end}}'"
)]
pub struct Args {
    /// table, json, or a template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Examines the host, and prints what was found.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let form = match args.format.as_deref() {
        None | Some("" | "table" | "json") => None,
        Some(text) => Some(Template::parse(text).map_err(listing::unusable)?),
    };
    let checks = examine(&context.place.layout);
    let text = match (form, args.format.as_deref()) {
        (Some(template), _) => template.render(&document(&checks)).map_err(listing::unusable)? + "\n",
        (None, Some("json")) => document(&checks).to_string() + "\n",
        (None, _) => report(&checks),
    };
    context.printer.data(text)?;
    Ok(if verdict(&checks, Need::Containers) == State::Missing { UNFIT } else { 0 })
}

fn document(checks: &[Check]) -> Value {
    json!({
        "Containers": verdict(checks, Need::Containers),
        "Settings": verdict(checks, Need::Settings),
        "Machines": verdict(checks, Need::Machines),
        "Checks": checks,
    })
}

fn word(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Limited => "limited",
        State::Missing => "missing",
    }
}

/// A table of everything, then each gap with what helps, then how well it goes together.
fn report(checks: &[Check]) -> String {
    let mut rows = vec![["CHECK", "STATE", "FOUND"].map(String::from).to_vec()];
    rows.extend(
        checks.iter().map(|check| vec![check.name.into(), word(check.state).into(), check.found.clone()]),
    );
    let mut text = table::render(&rows);
    for check in checks.iter().filter(|check| check.state != State::Ok) {
        let _ = write!(text, "\n{} {}: {}\n", check.name, word(check.state), check.means);
        if !check.hint.is_empty() {
            let _ = writeln!(text, "  hint: {}", check.hint);
        }
    }
    let of = |need| word(verdict(checks, need));
    let (containers, settings, machines) = (of(Need::Containers), of(Need::Settings), of(Need::Machines));
    let _ = write!(
        text,
        "\nContainers: {containers}, their settings: {settings}, virtual machines: {machines}\n"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_explained_below_the_table() {
        let check = |name, state, need, found: &str, means: &str, hint: &str| Check {
            name,
            state,
            need,
            found: found.to_owned(),
            means: means.to_owned(),
            hint: hint.to_owned(),
        };
        let checks = [
            check("kernel", State::Ok, Need::Containers, "Linux 6.18", "", ""),
            check(
                "nftables",
                State::Limited,
                Need::Settings,
                "No such file",
                "no networks",
                "modprobe nf_tables",
            ),
            check("emulators", State::Missing, Need::Machines, "none", "no machine can run", ""),
        ];
        insta::assert_snapshot!(report(&checks), @r"
        CHECK       STATE     FOUND
        kernel      ok        Linux 6.18
        nftables    limited   No such file
        emulators   missing   none

        nftables limited: no networks
          hint: modprobe nf_tables

        emulators missing: no machine can run

        Containers: ok, their settings: limited, virtual machines: missing
        ");
        let document = document(&checks);
        assert_eq!((&document["Containers"], &document["Machines"]), (&json!("ok"), &json!("missing")));
        assert_eq!(document["Checks"][1]["Hint"], "modprobe nf_tables");
    }
}
