//! `holm system df`: what takes room on the disk.

mod verbose;

use holm_engine::DiskUsage;
use holm_spec::workload::Status;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing::{self, Field, Format, Row};
use crate::size;

const FIELDS: [Field; 5] = [
    Field { name: "Active", heading: "ACTIVE" },
    Field { name: "Reclaimable", heading: "RECLAIMABLE" },
    Field { name: "Size", heading: "SIZE" },
    Field { name: "TotalCount", heading: "TOTAL" },
    Field { name: "Type", heading: "TYPE" },
];
const COLUMNS: [&str; 5] = ["Type", "TotalCount", "Active", "Size", "Reclaimable"];

/// Show what takes room on the disk
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "Blocks that are allocated count, as with du: files with several names once, and what images
share once. Compressed layers are a cache for pulls and pushes. Other is what belongs to none of them:
directories, names, downloads that have not ended.

Examples:
  holm system df
  holm system df -v                                   each image, workload, kernel and layer
  holm system df --format json
  holm system df --format '{{.Type}}: {{.Size}}'
  holm system df -v --format '{{range .Images}}{{.Repository}} {{.UniqueSize}}{{\"\\n\"}}{{end}}'"
)]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show each object
    #[arg(short, long)]
    verbose: bool,
}

/// Shows the sums, or each object.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let form = match args.verbose {
        true => Form::Objects(verbose::Form::parse(args.format.as_deref())?),
        false => Form::Sums(Format::parse(args.format.as_deref())?),
    };
    let engine = context.or_nothing(Context::engine_with_repaired_images)?;
    let usage = engine.disk_usage()?;
    let text = match form {
        Form::Sums(format) => listing::render(&format, &FIELDS, &COLUMNS, &rows(&usage))?,
        Form::Objects(form) => form.render(&usage, context.now())?,
    };
    context.printer.data(text)?;
    Ok(0)
}

enum Form {
    Sums(Format),
    Objects(verbose::Form),
}

/// A row each sort of thing.
fn rows(usage: &DiskUsage) -> Vec<Row> {
    let store = &usage.store;
    let images = store.together(&store.images);
    let kernels = store.together(&store.kernels);
    let used = |objects: &[holm_engine::images::ObjectUsage], used: &std::collections::BTreeSet<_>| {
        objects.iter().filter(|object| used.contains(&object.id)).count()
    };
    let runs = |workload: &&holm_engine::WorkloadUsage| workload.workload.state.status == Status::Running;
    let stopped: u64 = usage.workloads.iter().filter(|it| !runs(it)).map(|it| it.size).sum();
    let unused = usage.volumes.iter().filter(|volume| volume.users == 0).map(|volume| volume.size).sum();
    let compressed = store.compressed_size();
    vec![
        row("Images", store.images.len(), used(&store.images, &usage.used_images), images)
            .with(usage.reclaimable(&store.images, &usage.used_images), images),
        row(
            "Containers",
            usage.workloads.len(),
            usage.workloads.iter().filter(runs).count(),
            usage.workloads_size(),
        )
        .with(stopped, usage.workloads_size()),
        row(
            "Local Volumes",
            usage.volumes.len(),
            usage.volumes.iter().filter(|volume| volume.users > 0).count(),
            usage.volumes_size(),
        )
        .with(unused, usage.volumes_size()),
        row("Kernels", store.kernels.len(), used(&store.kernels, &usage.used_kernels), kernels)
            .with(usage.reclaimable(&store.kernels, &usage.used_kernels), kernels),
        row("Artifacts", store.artifacts.len(), 0, store.together(&store.artifacts))
            .with(0, store.together(&store.artifacts)),
        row("Compressed layers", store.compressed.len(), 0, compressed).with(compressed, compressed),
        row("Other", 0, 0, usage.other).with(0, usage.other),
    ]
}

/// A row that lacks what can be had back.
struct Partial(Vec<(&'static str, String)>);

fn row(name: &str, total: usize, active: usize, bytes: u64) -> Partial {
    Partial(vec![
        ("Active", active.to_string()),
        ("Size", size::decimal(bytes)),
        ("TotalCount", total.to_string()),
        ("Type", name.to_owned()),
    ])
}

impl Partial {
    /// What can be had back: bytes, and their share of all.
    fn with(mut self, bytes: u64, all: u64) -> Row {
        let share =
            (bytes * 100).checked_div(all).map(|percent| format!(" ({percent}%)")).unwrap_or_default();
        self.0.push(("Reclaimable", size::decimal(bytes) + &share));
        Row::new(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table() {
        let rows = [
            row("Images", 3, 1, 170_432_000).with(17_000_000, 170_432_000),
            row("Compressed layers", 0, 0, 0).with(0, 0),
        ];
        let text = listing::render(&Format::Table, &FIELDS, &COLUMNS, &rows).expect("a table");
        insta::assert_snapshot!(text, @r"
        TYPE                TOTAL     ACTIVE    SIZE      RECLAIMABLE
        Images              3         1         170MB     17MB (9%)
        Compressed layers   0         0         0B        0B
        ");
    }
}
