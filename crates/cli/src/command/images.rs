//! `holm images`: the list of images.

use std::collections::BTreeSet;

use holm_engine::images::{Store, Summary};
use holm_spec::{Digest, Reference, Timestamp};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row};
use crate::resolve::filter::{Filters, glob};
use crate::size;

const FIELDS: [Field; 8] = [
    Field { name: "CreatedAt", heading: "CREATED AT" },
    Field { name: "CreatedSince", heading: "CREATED" },
    Field { name: "Digest", heading: "DIGEST" },
    Field { name: "ID", heading: "IMAGE ID" },
    Field { name: "Platform", heading: "PLATFORM" },
    Field { name: "Repository", heading: "REPOSITORY" },
    Field { name: "Size", heading: "SIZE" },
    Field { name: "Tag", heading: "TAG" },
];
const COLUMNS: [&str; 5] = ["Repository", "Tag", "ID", "CreatedSince", "Size"];
const COLUMNS_WITH_DIGEST: [&str; 6] = ["Repository", "Tag", "Digest", "ID", "CreatedSince", "Size"];
const FILTERS: [&str; 6] = ["before", "dangling", "label", "reference", "since", "until"];
const NONE: &str = "<none>";

/// List images
#[derive(Debug, clap::Parser)]
#[command(
    override_usage = "holm images [OPTIONS] [REPOSITORY[:TAG]]",
    after_help = "Filters: before=IMAGE, dangling=true|false, label=KEY[=VALUE], reference=PATTERN, since=IMAGE,
until=TIME.

Examples:
  holm images
  holm images debian                             all tags of one repository
  holm images --filter reference='my/*:1.*'
  holm images -q --filter dangling=true          ids of images without a name
  holm images --format '{{.Repository}}:{{.Tag}} {{.Size}}'"
)]
pub struct Args {
    /// Show all; every image is shown anyway
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show what fits a condition
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
    /// Only this repository, or this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    repository: Option<String>,
}

/// Lists images.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let mut filters =
        Filters::parse(&args.filter, &FILTERS, &[]).map_err(|reason| CommandError::flag("filter", reason))?;
    if let Some(repository) = &args.repository {
        filters.add("reference", repository);
    }
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.or_nothing(Context::engine_with_repaired_images)?;
    let now = context.now();
    let selection = Selection::resolve(engine.images(), &filters, now)?;
    let mut summaries = engine.images().list()?;
    summaries.retain(|summary| selection.fits(summary, &filters));
    // As Docker: a template that names digests shows them.
    let digests = args.digests || args.format.as_deref().is_some_and(|format| format.contains(".Digest"));
    let view = View { shorten: !args.no_trunc, digests, now };
    let text = match args.quiet {
        true => ids(&summaries, &filters, &view),
        false => {
            let rows: Vec<Row> =
                summaries.iter().flat_map(|summary| rows(summary, &filters, &view)).collect();
            let columns: &[&str] = if args.digests { &COLUMNS_WITH_DIGEST } else { &COLUMNS };
            listing::render(&format, &FIELDS, columns, &rows)?
        }
    };
    context.printer.data(text)?;
    Ok(0)
}

fn ids(summaries: &[Summary], filters: &Filters, view: &View) -> String {
    let line = |summary: &Summary| (view.id(&summary.id) + "\n").repeat(rows(summary, filters, view).len());
    summaries.iter().map(line).collect()
}

/// Filters whose values had to be looked up or checked.
struct Selection {
    dangling: Option<bool>,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Selection {
    fn resolve(store: &Store, filters: &Filters, now: Timestamp) -> Result<Self, CommandError> {
        let wrong = |reason| CommandError::flag("filter", reason);
        let created = |name: &String| -> Result<Timestamp, CommandError> {
            let image = store.resolve(name)?;
            Ok(image.config.created().as_deref().and_then(|text| text.parse().ok()).unwrap_or_default())
        };
        let boolean = |text: &String| {
            crate::dispatch::boolean(text).map_err(|reason| wrong(format!("dangling={text}: {reason}")))
        };
        let until = |text: &String| duration::parse_time(text, now).map_err(wrong);
        Ok(Self {
            dangling: filters.values("dangling").first().map(boolean).transpose()?,
            before: filters.values("before").first().map(created).transpose()?,
            since: filters.values("since").first().map(created).transpose()?,
            until: filters.values("until").first().map(until).transpose()?,
        })
    }

    fn fits(&self, summary: &Summary, filters: &Filters) -> bool {
        let created = summary.created.unwrap_or_default();
        self.dangling.is_none_or(|dangling| dangling == summary.names.is_empty())
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self.until.is_none_or(|until| created < until)
            && filters.labels(&summary.labels)
            && (filters.values("reference").is_empty() || !named(summary, filters).is_empty())
    }
}

/// Names of an image that `reference` filters let through.
fn named<'a>(summary: &'a Summary, filters: &Filters) -> Vec<&'a holm_engine::images::Name> {
    let fits = |reference: &Reference| filters.any("reference", |pattern| is_like(reference, pattern));
    summary.names.iter().filter(|name| fits(&name.reference)).collect()
}

/// Whether a reference is like a pattern for its repository, or for repository and tag.
fn is_like(reference: &Reference, pattern: &str) -> bool {
    let whole = format!("{}/{}", reference.domain(), reference.path());
    [reference.familiar_name(), reference.familiar(), whole, reference.to_string()]
        .iter()
        .any(|text| glob(pattern, text))
}

/// How a list is shown.
struct View {
    shorten: bool,
    digests: bool,
    now: Timestamp,
}

impl View {
    fn id(&self, digest: &Digest) -> String {
        if self.shorten { digest.short() } else { digest.to_string() }
    }
}

/// A row a name; one for an image without.
fn rows(summary: &Summary, filters: &Filters, view: &View) -> Vec<Row> {
    let names = named(summary, filters);
    if names.is_empty() {
        return vec![row(summary, (NONE.into(), NONE.into(), NONE.into()), view)];
    }
    let cells = |name: &&holm_engine::images::Name| {
        let tag = name.reference.tag().unwrap_or(NONE).to_owned();
        let digest = if view.digests { name.digest.to_string() } else { NONE.to_owned() };
        (name.reference.familiar_name(), tag, digest)
    };
    // Two names may differ in their digest alone, which is not shown.
    let cells: BTreeSet<_> = names.iter().map(cells).collect();
    cells.into_iter().map(|cells| row(summary, cells, view)).collect()
}

fn row(summary: &Summary, (repository, tag, digest): (String, String, String), view: &View) -> Row {
    let created = summary.created.unwrap_or_default();
    let since = match duration::ago(view.now, created).as_str() {
        "" => "N/A".to_owned(),
        ago => ago.to_owned(),
    };
    Row::new([
        ("CreatedAt", duration::date_and_time(created)),
        ("CreatedSince", since),
        ("Digest", digest),
        ("ID", view.id(&summary.id)),
        ("Platform", summary.platform.to_string()),
        ("Repository", repository),
        ("Size", size::decimal(summary.size)),
        ("Tag", tag),
    ])
}

#[cfg(test)]
mod tests {
    use holm_engine::images::Name;

    use super::*;

    fn summary(names: &[&str]) -> Summary {
        let name =
            |text: &&str| Name { reference: text.parse().expect("valid"), digest: Digest::of(b"manifest") };
        Summary {
            id: Digest::of(b"config"),
            names: names.iter().map(name).collect(),
            digests: vec![Digest::of(b"manifest")],
            created: Some(Timestamp::from_nanos(1_700_000_000_000_000_000)),
            size: 170_432_000,
            platform: holm_spec::platform::Platform { os: "linux".into(), architecture: "amd64".into() },
            labels: std::collections::BTreeMap::new(),
        }
    }

    fn table(summaries: &[Summary], pattern: Option<&str>, digests: bool) -> String {
        let mut filters = Filters::default();
        if let Some(pattern) = pattern {
            filters.add("reference", pattern);
        }
        let view = View { shorten: true, digests, now: Timestamp::from_nanos(1_700_007_200_000_000_000) };
        let rows: Vec<Row> = summaries.iter().flat_map(|summary| rows(summary, &filters, &view)).collect();
        let columns: &[&str] = if digests { &COLUMNS_WITH_DIGEST } else { &COLUMNS };
        listing::render(&Format::Table, &FIELDS, columns, &rows).expect("a table")
    }

    #[test]
    fn a_row_a_name() {
        let images = [summary(&["debian", "debian:12", "host.example/a/b:1"]), summary(&[])];
        insta::assert_snapshot!(table(&images, None, false), @r"
        REPOSITORY         TAG       IMAGE ID       CREATED       SIZE
        debian             12        b79606fb3afe   2 hours ago   170MB
        debian             latest    b79606fb3afe   2 hours ago   170MB
        host.example/a/b   1         b79606fb3afe   2 hours ago   170MB
        <none>             <none>    b79606fb3afe   2 hours ago   170MB
        ");
        assert_eq!(table(&images[..1], Some("debian"), false).lines().count(), 3);
        assert_eq!(table(&images[..1], Some("*:12"), false).lines().count(), 2);
        assert!(table(&images[..1], None, true).contains(&Digest::of(b"manifest").to_string()));
    }

    #[test]
    fn references_are_like_patterns() {
        let reference: Reference = "debian:12".parse().expect("valid");
        for pattern in ["debian", "deb*", "debian:12", "docker.io/library/debian", "*:12"] {
            assert!(is_like(&reference, pattern), "{pattern}");
        }
        for pattern in ["deb", "debian:11", "library/debian"] {
            assert!(!is_like(&reference, pattern), "{pattern}");
        }
    }
}
