//! What a record looks like: CRI's form and Docker's (`holm_spec::log`).

use std::collections::BTreeMap;

use holm_spec::Timestamp;
use holm_spec::keeper::Stream;

/// How the text of a line that has an end goes over into the next key.
const END: &[u8] = b"\\n\",\"stream\"";

/// The form of the records of one log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `time stream F|P bytes`: every byte is kept.
    Cri,
    /// Docker's object a line. Its text is Unicode: a byte that is part of no character becomes U+FFFD, as with Docker.
    Json {
        /// What each record says of the workload, `,"attrs":{…}`; empty for nothing.
        attributes: Vec<u8>,
    },
}

/// What the records of one read have in common; made once a read.
#[derive(Debug)]
pub(super) struct Head {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Form {
    /// Docker's form.
    pub fn json(attributes: &BTreeMap<String, String>) -> Self {
        let mut text = Vec::new();
        if !attributes.is_empty() {
            text.extend_from_slice(b",\"attrs\":");
            text.extend(serde_json::to_vec(attributes).expect("a map of texts is plain data"));
        }
        Self::Json { attributes: text }
    }

    /// What records of this time and stream have in common.
    pub fn head(&self, time: Timestamp, stream: Stream) -> Head {
        let name = if stream == Stream::Stderr { "stderr" } else { "stdout" };
        match self {
            Self::Cri => {
                let mut before = time.fixed_width().to_vec();
                before.extend_from_slice(format!(" {name} ").as_bytes());
                Head { before, after: b"\n".to_vec() }
            }
            Self::Json { attributes } => {
                let mut after = format!("\",\"stream\":\"{name}\"").into_bytes();
                after.extend_from_slice(attributes);
                after.extend_from_slice(format!(",\"time\":\"{time}\"}}\n").as_bytes());
                Head { before: b"{\"log\":\"".to_vec(), after }
            }
        }
    }

    /// How many lines end in these records.
    pub fn lines(&self, records: &[u8]) -> usize {
        let ends = |record: &&[u8]| match self {
            Self::Cri => record.split(|byte| *byte == b' ').nth(2) == Some(b"F"),
            // What stands between the quotes has none that is not escaped.
            Self::Json { .. } => record.windows(END.len()).any(|window| window == END),
        };
        records.split(|byte| *byte == b'\n').filter(ends).count()
    }

    /// Appends the record of a line, or of the beginning of one if it is not `full`.
    pub fn write(&self, records: &mut Vec<u8>, head: &Head, line: &[u8], full: bool) {
        records.reserve(head.before.len() + line.len() + head.after.len() + 2);
        records.extend_from_slice(&head.before);
        match (self, full) {
            (Self::Cri, true) => records.extend_from_slice(b"F "),
            (Self::Cri, false) => records.extend_from_slice(b"P "),
            (Self::Json { .. }, _) => {}
        }
        match self {
            Self::Cri => records.extend_from_slice(line),
            Self::Json { .. } => {
                write_json(records, line);
                records.extend_from_slice(if full { b"\\n" } else { b"" });
            }
        }
        records.extend_from_slice(&head.after);
    }
}

/// Text inside a string of JSON, escaped as Docker does it.
fn write_json(records: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        write_characters(records, chunk.valid());
        // Docker writes one for each byte.
        for _ in chunk.invalid() {
            records.extend_from_slice(b"\\ufffd");
        }
    }
}

fn write_characters(records: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut copied = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let length = match byte {
            b'"' | b'\\' | b'<' | b'>' | b'&' | 0..0x20 => 1,
            // U+2028 and U+2029 end a line of JavaScript.
            0xe2 if matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) => 3,
            _ => continue,
        };
        records.extend_from_slice(&bytes[copied..at]);
        write_escaped(records, &bytes[at..at + length]);
        copied = at + length;
    }
    records.extend_from_slice(&bytes[copied..]);
}

fn write_escaped(records: &mut Vec<u8>, character: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    match character {
        [byte @ (b'"' | b'\\')] => records.extend_from_slice(&[b'\\', *byte]),
        b"\n" => records.extend_from_slice(b"\\n"),
        b"\r" => records.extend_from_slice(b"\\r"),
        [byte] => {
            records.extend_from_slice(b"\\u00");
            records.push(DIGITS[usize::from(byte >> 4)]);
            records.push(DIGITS[usize::from(byte & 15)]);
        }
        [.., last] => {
            records.extend_from_slice(b"\\u202");
            records.push(DIGITS[usize::from(last & 15)]);
        }
        [] => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &Form, nanos: i64, stream: Stream, line: &[u8], full: bool) -> String {
        let mut records = Vec::new();
        form.write(&mut records, &form.head(Timestamp::from_nanos(nanos), stream), line, full);
        String::from_utf8(records).expect("text")
    }

    #[test]
    fn the_form_of_cri_keeps_every_byte() {
        let (form, mut records) = (Form::Cri, Vec::new());
        let head = form.head(Timestamp::from_nanos(1), Stream::Stdout);
        for (line, full) in [(&b"one"[..], true), (b"", true), (b"\xff\0", false)] {
            form.write(&mut records, &head, line, full);
        }
        let expected: &[u8] = b"1970-01-01T00:00:00.000000001Z stdout F one\n\
            1970-01-01T00:00:00.000000001Z stdout F \n\
            1970-01-01T00:00:00.000000001Z stdout P \xff\0\n";
        assert_eq!(records, expected);
    }

    #[test]
    fn lines_are_counted_by_their_ends() {
        for form in [Form::Cri, Form::json(&BTreeMap::new())] {
            let (mut records, head) = (Vec::new(), form.head(Timestamp::from_nanos(1), Stream::Stderr));
            for (line, full) in [(&b"one F"[..], true), (b"\\n\",\"stream\"", false), (b"", true)] {
                form.write(&mut records, &head, line, full);
            }
            assert_eq!(form.lines(&records), 2);
        }
    }

    #[test]
    fn the_form_of_docker() {
        let plain = Form::json(&BTreeMap::new());
        assert_eq!(
            written(&plain, 1_500_000_000, Stream::Stdout, "a\t<\"\\ü\u{2028}\r".as_bytes(), true),
            "{\"log\":\"a\\u0009\\u003c\\\"\\\\ü\\u2028\\r\\n\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n"
        );
        let labelled = Form::json(&[("a".to_owned(), "\"b\"".to_owned())].into());
        assert_eq!(
            written(&labelled, 0, Stream::Stderr, b"\xff\xe2\x80.", false),
            "{\"log\":\"\\ufffd\\ufffd\\ufffd.\",\"stream\":\"stderr\",\"attrs\":{\"a\":\"\\\"b\\\"\"},\
             \"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}
