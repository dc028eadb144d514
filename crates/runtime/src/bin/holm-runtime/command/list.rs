//! `holm-runtime list`: all containers of a root.

use holm_runtime::state::Container;
use holm_runtime::{Error, Result};
use serde_json::Value;

use super::state::{escape, full};
use crate::arguments::Global;
use crate::talk;

/// List the containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Format: table or json
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    format: String,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// How lists are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Json,
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "table" | "" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid("invalid format option")),
        }
    }
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let containers = global.containers()?;
    if global.names_root() {
        containers.check_root()?;
    }
    let mut found = Vec::new();
    for id in containers.ids()? {
        match containers.find(&id) {
            Ok(Some(container)) => found.push(container),
            Ok(None) => talk::warn(&format!("load container {id}: container does not exist")),
            Err(error) => talk::warn(&format!("load container {id}: {error}")),
        }
    }
    let text = match (args.quiet, Format::named(&args.format)?) {
        (true, _) => found.iter().map(|container| format!("{}\n", container.record.id)).collect(),
        (false, Format::Json) => json(&found),
        (false, Format::Table) => table(&found),
    };
    talk::print(&text);
    Ok(0)
}

fn json(containers: &[Container]) -> String {
    if containers.is_empty() {
        return "null\n".to_owned();
    }
    let all: Value = containers.iter().map(|container| full(container, &owner(container))).collect();
    format!("{}\n", escape(&all.to_string()))
}

fn table(containers: &[Container]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    for container in containers {
        let state = full(container, &owner(container));
        let text = |field: &str| state[field].as_str().unwrap_or_default().to_owned();
        let pid = state["pid"].to_string();
        rows.push([text("id"), pid, text("status"), text("bundle"), text("created"), text("owner")]);
    }
    aligned(&rows)
}

/// Columns at least twelve wide with three blanks behind the longest cell, but the last.
fn aligned(rows: &[[String; 6]]) -> String {
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&format!("{}\n", row[5]));
    }
    text
}

/// Name of the user who created it, or `#` and the number.
fn owner(container: &Container) -> String {
    let uid = container.owner();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()));
    entry.and_then(|line| line.split(':').next()).map_or_else(|| format!("#{uid}"), str::to_owned)
}
