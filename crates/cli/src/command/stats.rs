//! `holm stats`: what workloads use, again and again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use holm_engine::{Chosen, Engine, Sample, Used};
use holm_spec::Id;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::listing::{self, Field, Format, Row};
use crate::{several, size, terminal};

/// Time between the first two looks, whose difference is the first share of a processor. A tick of the kernel's
/// accounting is 4 ms at most, so the figure is good to some hundredths.
const FIRST: Duration = Duration::from_millis(200);
/// Time between two tables.
const INTERVAL: Duration = Duration::from_secs(1);
/// What Docker shows in place of a figure that is not known.
const UNKNOWN: &str = "--";

const FIELDS: [Field; 9] = [
    Field { name: "BlockIO", heading: "BLOCK I/O" },
    Field { name: "CPUPerc", heading: "CPU %" },
    Field { name: "Container", heading: "CONTAINER" },
    Field { name: "ID", heading: "CONTAINER ID" },
    Field { name: "MemPerc", heading: "MEM %" },
    Field { name: "MemUsage", heading: "MEM USAGE / LIMIT" },
    Field { name: "Name", heading: "NAME" },
    Field { name: "NetIO", heading: "NET I/O" },
    Field { name: "PIDs", heading: "PIDS" },
];
const COLUMNS: [&str; 8] = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];

/// Show what workloads use, every second
#[derive(Debug, clap::Parser)]
#[command(
    after_help = "CPU % is of one processor, over the time since the table before; for the first one, over 0.2 seconds. Figures of a
virtual machine come from inside the guest. -- is what is not known: of a paused machine, of one that does not answer
within a second, and of what no control group counts; for memory that nothing counts (no controller of it in the
workload's group, as without --memory on most hosts) the anonymous memory of the processes is shown.

Examples:
  holm stats                               all that run, until ctrl-c
  holm stats --no-stream web db            two of them, once
  holm stats --no-stream --format '{{.Name}} {{.MemPerc}}'
  holm stats -a --no-stream --format json  one object a line"
)]
pub struct Args {
    /// Show all, not only what runs
    #[arg(short, long)]
    all: bool,
    /// table, json, a template, or table and a template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print one table and end
    #[arg(long)]
    no_stream: bool,
    /// Do not shorten anything
    #[arg(long)]
    no_trunc: bool,
    /// Workloads, by name or id [default: all that run]
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
}

/// Shows figures.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let format = Format::parse(args.format.as_deref())?;
    let engine = context.or_nothing(Context::repaired_engine)?;
    let (chosen, typed) = choose(&engine, &args, context)?;
    let named = matches!(chosen, Chosen::Named(_));
    let mut watch = engine.watch(chosen);
    let mut samples = watch.look()?;
    if !samples.is_empty() {
        std::thread::sleep(FIRST);
        samples = watch.look()?;
    }
    let mut screen = Screen::new(terminal::is_output_screen() && !args.no_stream);
    loop {
        let next = Instant::now() + INTERVAL;
        let rows: Vec<Row> = samples.iter().map(|sample| row(sample, &typed, !args.no_trunc)).collect();
        let text = listing::render(&format, &FIELDS, &COLUMNS, &rows)?;
        context.printer.data(screen.draw(text))?;
        if args.no_stream || (named && samples.is_empty()) {
            return Ok(0);
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        samples = watch.look()?;
    }
}

/// Which workloads, and what was typed for each.
fn choose(
    engine: &Engine,
    args: &Args,
    context: &Context,
) -> Result<(Chosen, BTreeMap<Id, String>), CommandError> {
    if args.workloads.is_empty() {
        return Ok((if args.all { Chosen::All } else { Chosen::Running }, BTreeMap::new()));
    }
    let (mut ids, mut typed) = (Vec::new(), BTreeMap::new());
    let code = several::each(context, &args.workloads, |name| {
        let id = engine.find(name)?;
        if typed.insert(id, name.to_owned()).is_none() {
            ids.push(id);
        }
        Ok(())
    })?;
    match code {
        0 => Ok((Chosen::Named(ids), typed)),
        code => Err(CommandError::told(code)),
    }
}

fn row(sample: &Sample, typed: &BTreeMap<Id, String>, shorten: bool) -> Row {
    let id = if shorten { sample.id.short() } else { sample.id.to_string() };
    let used = sample.used.as_ref();
    let shown = |show: fn(&Used) -> String| used.map_or_else(|| UNKNOWN.to_owned(), show);
    Row::new([
        ("BlockIO", shown(|used| used.blocks.map_or_else(|| UNKNOWN.to_owned(), both_ways))),
        ("CPUPerc", shown(|used| used.cpu.map_or_else(|| UNKNOWN.to_owned(), percentage))),
        ("Container", typed.get(&sample.id).cloned().unwrap_or_else(|| sample.id.short())),
        ("ID", id),
        ("MemPerc", shown(|used| percentage(share(used.memory, used.memory_limit)))),
        ("MemUsage", used.map_or_else(|| format!("{UNKNOWN} / {UNKNOWN}"), memory)),
        ("Name", sample.name.clone()),
        ("NetIO", shown(|used| both_ways(used.network))),
        ("PIDs", shown(|used| used.pids.to_string())),
    ])
}

fn memory(used: &Used) -> String {
    format!("{} / {}", size::binary(used.memory), size::binary(used.memory_limit))
}

fn both_ways((one, other): (u64, u64)) -> String {
    format!("{} / {}", size::decimal(one), size::decimal(other))
}

fn percentage(value: f64) -> String {
    format!("{value:.2}%")
}

/// Of a limit that is not known nothing is a share.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// Where tables go: on a terminal each over the one before, elsewhere one after the other.
struct Screen {
    is_terminal: bool,
    is_clear: bool,
}

impl Screen {
    fn new(is_terminal: bool) -> Self {
        Self { is_terminal, is_clear: false }
    }

    /// The text with what makes it appear in place: without a moment in which nothing is there, it would flicker.
    fn draw(&mut self, text: String) -> String {
        const CLEAR: &str = "\x1b[2J";
        const HOME: &str = "\x1b[H";
        const REST_OF_LINE: &str = "\x1b[K";
        const REST_OF_SCREEN: &str = "\x1b[J";
        if !self.is_terminal {
            return text;
        }
        let clear = if std::mem::replace(&mut self.is_clear, true) { "" } else { CLEAR };
        let lines = text.replace('\n', &format!("{REST_OF_LINE}\n"));
        format!("{clear}{HOME}{lines}{REST_OF_SCREEN}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(number: u8, name: &str, used: Option<Used>) -> Sample {
        Sample { id: Id::from_bytes([number; 32]), name: name.to_owned(), used }
    }

    fn samples() -> [Sample; 4] {
        let used = Used {
            cpu_nanos: None,
            cpu: Some(123.456),
            memory: 12 << 20,
            memory_limit: 64 << 20,
            network: (1_234_567, 999),
            blocks: Some((8192, 0)),
            pids: 7,
        };
        let uncounted = Used { cpu: None, blocks: None, memory_limit: 0, ..used };
        let nothing = Used { cpu: Some(0.0), blocks: Some((0, 0)), ..Used::default() };
        [
            sample(1, "web", Some(used)),
            sample(2, "fresh", Some(uncounted)),
            sample(3, "ended", Some(nothing)),
            sample(4, "silent", None),
        ]
    }

    #[test]
    fn the_table_is_dockers() {
        let rows = samples().map(|sample| row(&sample, &BTreeMap::new(), true));
        let text = listing::render(&Format::Table, &FIELDS, &COLUMNS, &rows).expect("a table");
        insta::assert_snapshot!(text, @r"
        CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O         BLOCK I/O     PIDS
        010101010101   web       123.46%   12MiB / 64MiB       18.75%    1.23MB / 999B   8.19kB / 0B   7
        020202020202   fresh     --        12MiB / 0B          0.00%     1.23MB / 999B   --            7
        030303030303   ended     0.00%     0B / 0B             0.00%     0B / 0B         0B / 0B       0
        040404040404   silent    --        -- / --             --        --              --            --
        ");
    }

    #[test]
    fn json_has_dockers_fields() {
        let [web, ..] = samples();
        let typed = BTreeMap::from([(web.id, "we".to_owned())]);
        let text = listing::render(&Format::Json, &FIELDS, &COLUMNS, &[row(&web, &typed, true)]);
        insta::assert_snapshot!(text.expect("a line"), @r#"{"BlockIO":"8.19kB / 0B","CPUPerc":"123.46%","Container":"we","ID":"010101010101","MemPerc":"18.75%","MemUsage":"12MiB / 64MiB","Name":"web","NetIO":"1.23MB / 999B","PIDs":"7"}"#);
    }

    #[test]
    fn only_a_terminal_is_drawn_on() {
        let mut plain = Screen::new(false);
        assert_eq!(plain.draw("a\nb\n".to_owned()), "a\nb\n");
        let mut screen = Screen::new(true);
        assert_eq!(screen.draw("a\n".to_owned()), "\x1b[2J\x1b[Ha\x1b[K\n\x1b[J");
        assert_eq!(screen.draw("b\n".to_owned()), "\x1b[Hb\x1b[K\n\x1b[J");
    }
}
