//! Records of a log file, in the forms that `holm_spec::log` tells.

use std::borrow::Cow;

use holm_spec::Timestamp;
use holm_spec::keeper::Stream;
use holm_spec::log::Driver;
use serde::Deserialize;

/// The form of a file's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// `time stream F|P bytes`, as Kubernetes' CRI has it.
    Cri,
    /// An object of JSON, as Docker has it.
    Json,
}

/// One piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// When it was read.
    pub time: Timestamp,
    /// Stdout or stderr.
    pub stream: Stream,
    /// The record ends its line: `bytes` then ends with `\n`.
    pub full: bool,
    /// The output, with its newline if `full`.
    pub bytes: Vec<u8>,
}

/// What Docker writes; other keys may come along.
#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

impl LogForm {
    /// The form that a driver writes.
    pub fn of(driver: Driver) -> Self {
        match driver {
            Driver::JsonFile => Self::Json,
            Driver::Local | Driver::Journald | Driver::None => Self::Cri,
        }
    }

    /// Reads a line of a file, without its end; `None` if it is no record.
    pub fn parse(self, line: &[u8]) -> Option<LogRecord> {
        match self {
            Self::Cri => parse_cri(line),
            Self::Json => parse_json(line),
        }
    }

    /// Whether a line of a file is a record that ends a line of output.
    pub(super) fn ends_a_line(self, line: &[u8]) -> bool {
        match self {
            Self::Cri => line.split(|byte| *byte == b' ').nth(2) == Some(b"F"),
            Self::Json => parse_json(line).is_some_and(|record| record.full),
        }
    }
}

fn stream(name: &[u8]) -> Option<Stream> {
    match name {
        b"stdout" => Some(Stream::Stdout),
        b"stderr" => Some(Stream::Stderr),
        _ => None,
    }
}

fn parse_cri(line: &[u8]) -> Option<LogRecord> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let stream = stream(parts.next()?)?;
    let full = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let mut bytes = parts.next()?.to_vec();
    if full {
        bytes.push(b'\n');
    }
    Some(LogRecord { time, stream, full, bytes })
}

fn parse_json(line: &[u8]) -> Option<LogRecord> {
    let record: Json = serde_json::from_slice(line).ok()?;
    let bytes = record.log.into_owned().into_bytes();
    Some(LogRecord {
        time: record.time.parse().ok()?,
        stream: stream(record.stream.as_bytes())?,
        full: bytes.ends_with(b"\n"),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_none() {
        for line in ["", "x", "1970-01-01T00:00:00Z stdout X y", "1970-01-01T00:00:00Z other F y"] {
            assert_eq!(LogForm::Cri.parse(line.as_bytes()), None, "{line}");
        }
        for line in
            ["", "{", "[]", r#"{"log":"x","stream":"stdin","time":"1970-01-01T00:00:00Z"}"#, "{\"log\":\"\"}"]
        {
            assert_eq!(LogForm::Json.parse(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn dockers_records() {
        let line = r#"{"log":"a\u003c\u0009\ud83d\ude00\n","stream":"stderr","attrs":{"a":"b"},"time":"1970-01-01T00:00:01.5Z"}"#;
        let record = LogForm::Json.parse(line.as_bytes()).expect("a record");
        assert_eq!((record.time.nanos(), record.stream, record.full), (1_500_000_000, Stream::Stderr, true));
        assert_eq!(String::from_utf8_lossy(&record.bytes), "a<\t😀\n");
        let part = br#"{"log":"a","stream":"stdout","time":"1970-01-01T00:00:00Z"}"#;
        assert!(LogForm::Json.parse(part).is_some_and(|record| !record.full));
    }
}
