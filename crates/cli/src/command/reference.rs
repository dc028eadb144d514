//! `holm internal reference`: the help of all commands as one Markdown page, `docs/cli/reference.md`.

use std::fmt::Write as _;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::dispatch::{VERBS, reference_text, tree, verb};

/// Verbs that are known by their group's name only.
const IN_GROUPS: [(&str, &str); 17] = [
    ("container-inspect", "holm container inspect"),
    ("container-prune", "holm container prune"),
    ("image-diff", "holm image diff"),
    ("image-inspect", "holm image inspect"),
    ("image-mount", "holm image mount"),
    ("image-prune", "holm image prune"),
    ("image-tree", "holm image tree"),
    ("image-unmount", "holm image unmount"),
    ("kernel-import", "holm kernel import"),
    ("kernel-ls", "holm kernel ls"),
    ("kernel-inspect", "holm kernel inspect"),
    ("kernel-default", "holm kernel default"),
    ("kernel-rm", "holm kernel rm"),
    ("system-check", "holm system check"),
    ("system-df", "holm system df"),
    ("system-prune", "holm system prune"),
    ("registry-serve", "holm registry serve"),
];

/// Print the reference of all commands as Markdown
#[derive(Debug, clap::Parser)]
pub struct Args {}

/// Prints the page.
pub fn run(_: Args, context: &Context) -> Result<u8, CommandError> {
    context.printer.data(page())?;
    Ok(0)
}

/// The whole page.
fn page() -> String {
    let mut page = String::from(
        "# Command line reference\n\nMade by `holm internal reference`; a test compares it with the program.\n\n\
         Exit codes: the process's own for `run`, `exec`, `start -a` and `attach`; 125 if Holm \
         failed in one of these, in `create` or in `import`, or the command line cannot be read; 126 if the command \
         cannot be executed; 127 if it is not there; 1 for other failures.\n",
    );
    section(&mut page, "holm", &tree().term_width(100).render_help().to_string());
    for verb in VERBS.iter().filter(|verb| !verb.hidden) {
        let shown = format!("holm {}", verb.name);
        section(&mut page, &shown, &reference_text(verb, &shown));
    }
    for (name, shown) in IN_GROUPS {
        if let Some(inspect) = verb(name) {
            section(&mut page, shown, &reference_text(inspect, shown));
        }
    }
    page
}

fn section(page: &mut String, name: &str, help: &str) {
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(page, "\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end());
}
