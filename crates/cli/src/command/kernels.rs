//! `holm kernel ls`: the list of kernels.

use holm_engine::images::{KernelSummary, Name};
use holm_spec::{Digest, Timestamp};

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::listing::{self, Field, Format, Row};
use crate::size;

const FIELDS: [Field; 11] = [
    Field { name: "Default", heading: "DEFAULT" },
    Field { name: "Digest", heading: "DIGEST" },
    Field { name: "Format", heading: "FORMAT" },
    Field { name: "ID", heading: "KERNEL ID" },
    Field { name: "ImportedAt", heading: "IMPORTED AT" },
    Field { name: "ImportedSince", heading: "IMPORTED" },
    Field { name: "Name", heading: "NAME" },
    Field { name: "Origin", heading: "ORIGIN" },
    Field { name: "Platform", heading: "PLATFORM" },
    Field { name: "Release", heading: "RELEASE" },
    Field { name: "Size", heading: "SIZE" },
];
const COLUMNS: [&str; 7] = ["Name", "ID", "Default", "Release", "Platform", "ImportedSince", "Size"];
const NONE: &str = "<none>";

/// List kernels
#[derive(Debug, clap::Parser)]
#[command(after_help = "Examples:
  holm kernel ls
  holm kernel ls -q
  holm kernel ls --format '{{.Name}} {{.Release}} {{.Origin}}'")]
pub struct Args {
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Lists kernels.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.or_nothing(Context::engine_with_repaired_images)?;
    let kernels = engine.images().kernels()?;
    let view = View { shorten: !args.no_trunc, now: context.now() };
    let text = match args.quiet && matches!(format, Format::Table) {
        true => kernels.iter().map(|row| view.id(&row.kernel.id) + "\n").collect(),
        false => {
            let rows: Vec<Row> = kernels.iter().flat_map(|kernel| rows(kernel, &view)).collect();
            listing::render(&format, &FIELDS, &COLUMNS, &rows)?
        }
    };
    context.printer.data(text)?;
    Ok(0)
}

/// How a list is shown.
struct View {
    shorten: bool,
    now: Timestamp,
}

impl View {
    fn id(&self, digest: &Digest) -> String {
        if self.shorten { digest.short() } else { digest.to_string() }
    }
}

/// A row a name; one for a kernel without.
fn rows(summary: &KernelSummary, view: &View) -> Vec<Row> {
    let default = |name: Option<&Name>| {
        summary.default && name.map(|name| &name.reference) == summary.kernel.reference.as_ref()
    };
    if summary.names.is_empty() {
        return vec![row(summary, NONE.to_owned(), default(None), view)];
    }
    let names = summary.names.iter();
    names.map(|name| row(summary, name.reference.familiar(), default(Some(name)), view)).collect()
}

fn row(summary: &KernelSummary, name: String, default: bool, view: &View) -> Row {
    let kernel = &summary.kernel;
    let form = serde_json::to_value(kernel.config.format).ok();
    Row::new([
        ("Default", if default { "*" } else { "" }.to_owned()),
        ("Digest", kernel.digest.to_string()),
        ("Format", form.and_then(|form| form.as_str().map(String::from)).unwrap_or_default()),
        ("ID", view.id(&kernel.id)),
        ("ImportedAt", duration::date_and_time(summary.imported)),
        ("ImportedSince", duration::ago(view.now, summary.imported)),
        ("Name", name),
        ("Origin", kernel.config.origin.clone()),
        ("Platform", kernel.config.platform.to_string()),
        ("Release", kernel.config.release.clone()),
        ("Size", size::decimal(kernel.image_size + kernel.modules_size)),
    ])
}

#[cfg(test)]
mod tests {
    use holm_engine::images::Kernel;
    use holm_spec::Reference;
    use holm_spec::kernel::{self, KernelConfig};
    use holm_spec::platform::Platform;

    use super::*;

    fn summary(release: &str, names: &[&str]) -> KernelSummary {
        let digest = Digest::of(release.as_bytes());
        let names: Vec<Reference> = names.iter().map(|text| text.parse().expect("valid")).collect();
        let config = KernelConfig {
            version: kernel::VERSION,
            release: release.to_owned(),
            platform: Platform { os: "linux".to_owned(), architecture: "amd64".to_owned() },
            format: kernel::Format::BzImage,
            modules: Vec::new(),
            origin: format!("linux-image-{release} 1"),
        };
        let kernel = Kernel {
            id: digest,
            digest,
            reference: names.first().cloned(),
            config,
            image: "/image".into(),
            image_size: 8_000_000,
            modules: "/modules".into(),
            modules_size: 2_500_000,
        };
        let names = names.into_iter().map(|reference| Name { reference, digest }).collect();
        let imported = Timestamp::from_nanos(1_700_000_000_000_000_000);
        KernelSummary { kernel, names, imported, default: false }
    }

    #[test]
    fn a_row_a_name() {
        let view = View { shorten: true, now: Timestamp::from_nanos(1_700_007_200_000_000_000) };
        let mut first = summary("6.1.0-37-cloud-amd64", &["localhost/kernel:6.1.0-37-cloud-amd64", "mine:1"]);
        first.default = true;
        let rows: Vec<Row> =
            [first, summary("6.2", &[])].iter().flat_map(|kernel| rows(kernel, &view)).collect();
        let table = |format: &str| {
            let format = Format::parse(Some(format)).expect("valid");
            listing::render(&format, &FIELDS, &COLUMNS, &rows).expect("a table")
        };
        insta::assert_snapshot!(table("table"), @r"
        NAME                                    KERNEL ID      DEFAULT   RELEASE                PLATFORM      IMPORTED      SIZE
        localhost/kernel:6.1.0-37-cloud-amd64   a5599954e0a9   *         6.1.0-37-cloud-amd64   linux/amd64   2 hours ago   10.5MB
        mine:1                                  a5599954e0a9             6.1.0-37-cloud-amd64   linux/amd64   2 hours ago   10.5MB
        <none>                                  69dfc187e2e6             6.2                    linux/amd64   2 hours ago   10.5MB
        ");
        assert!(
            table("{{.Name}} {{.Format}} {{.Origin}}")
                .contains("mine:1 bzimage linux-image-6.1.0-37-cloud-amd64 1")
        );
    }
}
