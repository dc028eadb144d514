//! `holm logs`: what a workload printed.

use std::collections::BTreeMap;

use holm_engine::{LogOptions, LogReader, LogRecord};
use holm_spec::Timestamp;
use holm_spec::keeper::Stream;

use crate::command_error::CommandError;
use crate::context::Context;
use crate::duration;
use crate::printer::Printer;

/// Bytes that are gathered before they are written.
const GATHERED: usize = 64 * 1024;

/// Show what a workload printed
#[derive(Debug, clap::Parser)]
#[command(after_help = "Its standard output goes to standard output, its standard error to standard error.

Examples:
  holm logs web
  holm logs -f --tail 20 web                the last lines, and what comes
  holm logs --details web                   with the labels that --log-opt labels= has chosen
  holm logs -t --since 10m web              of the last ten minutes, with times
  holm logs --since 2024-01-31T12:00:00Z --until 2024-01-31T13:00:00Z web")]
pub struct Args {
    /// Write before each line the labels and variables that options of the log's driver name
    #[arg(long)]
    details: bool,
    /// Go on with what comes, until the workload ends
    #[arg(short, long)]
    follow: bool,
    /// Only what was printed since a time, or a duration such as 10m ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only what was printed before a time, or a duration ago
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Begin with this many last lines, or all
    #[arg(short = 'n', long, value_name = "NUMBER", default_value = "all")]
    tail: String,
    /// Write the time before each line
    #[arg(short, long)]
    timestamps: bool,
    /// Workload, by name or id
    #[arg(value_name = "WORKLOAD")]
    workload: String,
}

/// Shows output.
pub fn run(args: Args, context: &Context) -> Result<u8, CommandError> {
    let options = options(&args, context.now())?;
    let engine = context.or_nothing(Context::engine)?;
    let reader = engine.logs(&engine.find(&args.workload)?, options)?;
    let details = if args.details { details(reader.attributes()) } else { String::new() };
    let writer = LogWriter::new(args.timestamps, details, args.follow);
    copy(reader, writer, &context.printer)?;
    Ok(0)
}

fn options(args: &Args, now: Timestamp) -> Result<LogOptions, CommandError> {
    let time = |flag: &str, text: &Option<String>| {
        let parsed = text.as_deref().map(|text| duration::parse_time(text, now)).transpose();
        parsed.map_err(|reason| CommandError::flag(flag, reason))
    };
    Ok(LogOptions {
        follow: args.follow,
        tail: tail(&args.tail).map_err(|reason| CommandError::flag("tail", reason))?,
        since: time("since", &args.since)?,
        until: time("until", &args.until)?,
    })
}

/// Labels and variables as Docker shows them; with a blank behind them.
fn details(attributes: &BTreeMap<String, String>) -> String {
    let pairs: Vec<_> =
        attributes.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { pairs.join(",") + " " }
}

/// A text as a query of a URL has it.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A number of lines; `all` and negative numbers are no limit.
fn tail(text: &str) -> Result<Option<u64>, String> {
    match text {
        "all" | "" => Ok(None),
        text => match text.parse::<i64>() {
            Ok(lines) => Ok(u64::try_from(lines).ok()),
            Err(_) => Err(format!("`{text}` is no number of lines, and not `all`")),
        },
    }
}

fn copy(mut reader: LogReader, mut writer: LogWriter, printer: &Printer) -> Result<(), CommandError> {
    while let Some(record) = reader.next_record()? {
        if let Some((stream, bytes)) = writer.take(&record) {
            write(stream, &bytes, printer)?;
        }
    }
    let (stream, bytes) = writer.rest();
    write(stream, &bytes, printer)
}

fn write(stream: Stream, bytes: &[u8], printer: &Printer) -> Result<(), CommandError> {
    match stream {
        Stream::Stderr => printer.error_data(bytes),
        Stream::Stdin | Stream::Stdout => printer.data(bytes),
    }
}

/// Records to bytes for a stream, gathered so that a record costs no system call.
struct LogWriter {
    timestamps: bool,
    /// What is written before each line.
    details: String,
    /// Nothing is gathered: a reader waits for each record.
    at_once: bool,
    stream: Stream,
    gathered: Vec<u8>,
    /// Whether standard output and standard error are at the beginning of a line.
    line_begins: [bool; 2],
}

impl LogWriter {
    fn new(timestamps: bool, details: String, at_once: bool) -> Self {
        let (stream, gathered) = (Stream::Stdout, Vec::new());
        Self { timestamps, details, at_once, stream, gathered, line_begins: [true, true] }
    }

    /// Takes a record; gives what is to be written now.
    fn take(&mut self, record: &LogRecord) -> Option<(Stream, Vec<u8>)> {
        let switched = (record.stream != self.stream && !self.gathered.is_empty()).then(|| self.rest());
        self.stream = record.stream;
        self.append(record);
        if switched.is_some() || !(self.at_once || self.gathered.len() >= GATHERED) {
            return switched;
        }
        Some(self.rest())
    }

    fn append(&mut self, record: &LogRecord) {
        let begins = &mut self.line_begins[usize::from(record.stream == Stream::Stderr)];
        if self.timestamps && *begins {
            self.gathered.extend_from_slice(&record.time.fixed_width());
            self.gathered.push(b' ');
        }
        if *begins {
            self.gathered.extend_from_slice(self.details.as_bytes());
        }
        *begins = record.full;
        self.gathered.extend_from_slice(&record.bytes);
    }

    /// What was gathered, for its stream.
    fn rest(&mut self) -> (Stream, Vec<u8>) {
        (self.stream, std::mem::take(&mut self.gathered))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stream: Stream, text: &str) -> LogRecord {
        LogRecord {
            time: Timestamp::from_nanos(1_700_000_000_000_000_000),
            stream,
            full: text.ends_with('\n'),
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn written(timestamps: bool, at_once: bool, records: &[LogRecord]) -> Vec<(Stream, String)> {
        let mut writer = LogWriter::new(timestamps, String::new(), at_once);
        let mut parts: Vec<_> = records.iter().filter_map(|record| writer.take(record)).collect();
        parts.push(writer.rest());
        parts
            .into_iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(stream, bytes)| (stream, String::from_utf8(bytes).expect("text")))
            .collect()
    }

    #[test]
    fn records_are_gathered_by_stream() {
        let records = [
            record(Stream::Stdout, "a\n"),
            record(Stream::Stdout, "b\n"),
            record(Stream::Stderr, "x\n"),
            record(Stream::Stdout, "c"),
        ];
        let parts = written(false, false, &records);
        let expected = [(Stream::Stdout, "a\nb\n"), (Stream::Stderr, "x\n"), (Stream::Stdout, "c")];
        assert_eq!(parts, expected.map(|(stream, text)| (stream, text.to_owned())));
        assert_eq!(written(false, true, &records[..2]).len(), 2);
    }

    #[test]
    fn a_time_stands_before_a_line_once() {
        let records =
            [record(Stream::Stdout, "a"), record(Stream::Stdout, "b\n"), record(Stream::Stdout, "c\n")];
        let time = "2023-11-14T22:13:20.000000000Z";
        assert_eq!(written(true, false, &records), [(Stream::Stdout, format!("{time} ab\n{time} c\n"))]);
    }

    #[test]
    fn details_are_shown_as_docker_shows_them() {
        let attributes =
            [("b", "x y"), ("a", "1=2,ü")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(details(&attributes.into()), "a=1%3D2%2C%C3%BC,b=x+y ");
        let mut writer = LogWriter::new(false, "a=b ".to_owned(), true);
        let record = record(Stream::Stdout, "one\n");
        assert_eq!(writer.take(&record), Some((Stream::Stdout, b"a=b one\n".to_vec())));
    }

    #[test]
    fn tails() {
        assert_eq!(tail("all"), Ok(None));
        assert_eq!(tail("10"), Ok(Some(10)));
        assert_eq!(tail("-1"), Ok(None));
        assert!(tail("ten").is_err());
    }
}
