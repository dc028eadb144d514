//! `holm history`: the steps that made an image.

use holm_engine::images::{HistoryRow, Name};
use holm_spec::Timestamp;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row, ellipsis};
use crate::size;

const FIELDS: [Field; 7] = [
    Field { name: "Comment", heading: "COMMENT" },
    Field { name: "CreatedAt", heading: "CREATED AT" },
    Field { name: "CreatedBy", heading: "CREATED BY" },
    Field { name: "CreatedSince", heading: "CREATED" },
    Field { name: "ID", heading: "IMAGE" },
    Field { name: "Size", heading: "SIZE" },
    Field { name: "Tags", heading: "TAGS" },
];
const COLUMNS: [&str; 5] = ["ID", "CreatedSince", "CreatedBy", "Size", "Comment"];
const COLUMNS_EXACT: [&str; 5] = ["ID", "CreatedAt", "CreatedBy", "Size", "Comment"];

/// Show the steps that made an image, newest first
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm history debian
  holm history --no-trunc --format '{{.CreatedBy}}' app")]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Sizes and times for people
    #[arg(short = 'H', long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set,
        num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = crate::dispatch::boolean)]
    human: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Image, by name, id or digest
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Shows history.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = match args.quiet {
        true => Format::parse(Some("{{.ID}}"))?,
        false => Format::parse(args.format.as_deref())?,
    };
    let engine = context.or_nothing(Context::engine)?;
    let steps = engine.images().history(&engine.images().resolve(&args.image)?)?;
    let view = View { shorten: !args.no_trunc, human: args.human, now: context.now() };
    let rows: Vec<Row> = steps.iter().map(|step| row(step, &view)).collect();
    let columns = if args.human { &COLUMNS } else { &COLUMNS_EXACT };
    context.printer.data(listing::render(&format, &FIELDS, columns, &rows)?)?;
    Ok(0)
}

struct View {
    shorten: bool,
    human: bool,
    now: Timestamp,
}

fn row(step: &HistoryRow, view: &View) -> Row {
    let id = step.id.map(|id| if view.shorten { id.short() } else { id.to_string() });
    let created = step.created.unwrap_or_default();
    let created_by = step.created_by.replace('\t', " ");
    let tags: Vec<String> = step.names.iter().map(tag).collect();
    let since = match duration::ago(view.now, created).as_str() {
        "" => "N/A".to_owned(),
        ago => ago.to_owned(),
    };
    Row::new([
        ("Comment", step.comment.clone()),
        ("CreatedAt", created.to_string()),
        ("CreatedBy", if view.shorten { ellipsis(&created_by, 45) } else { created_by }),
        ("CreatedSince", since),
        ("ID", id.unwrap_or_else(|| "<missing>".to_owned())),
        ("Size", if view.human { size::decimal(step.size) } else { step.size.to_string() }),
        ("Tags", tags.join(",")),
    ])
}

fn tag(name: &Name) -> String {
    name.reference.familiar()
}

#[cfg(test)]
mod tests {
    use holm_spec::Digest;

    use super::*;

    #[test]
    fn the_table() {
        let step = |id, created_by: &str, size| HistoryRow {
            id,
            created: Some(Timestamp::from_nanos(1_700_000_000_000_000_000)),
            created_by: created_by.to_owned(),
            size,
            comment: "Imported from -".to_owned(),
            names: Vec::new(),
        };
        let steps = [
            step(Some(Digest::of(b"config")), "", 170_432_000),
            step(None, "/bin/sh -c #(nop) ADD file:0123456789abcdef in /", 0),
        ];
        let view = View { shorten: true, human: true, now: Timestamp::from_nanos(1_700_000_090_000_000_000) };
        let rows: Vec<Row> = steps.iter().map(|step| row(step, &view)).collect();
        let text = listing::render(&Format::Table, &FIELDS, &COLUMNS, &rows).expect("a table");
        insta::assert_snapshot!(text, @r"
        IMAGE          CREATED              CREATED BY                                      SIZE      COMMENT
        b79606fb3afe   About a minute ago                                                   170MB     Imported from -
        <missing>      About a minute ago   /bin/sh -c #(nop) ADD file:0123456789abcdef …   0B        Imported from -
        ");
    }
}
