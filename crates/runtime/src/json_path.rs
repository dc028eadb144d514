//! Places in the text of a JSON document: the path of the one at which its reader gave up, from the line and the column
//! of the error, and where the value of a path lies.
//!
//! A reader that keeps the path while it reads pays for it with each value and is compiled a second time for each
//! type; an error is rare, and then the document is still there.

use std::fmt::Write;
use std::ops::Range;

/// Path of the innermost value that begins before the place and does not end before it, such as `mounts[2].options[1]`;
/// empty for the document itself. `line` counts from 1, `column` is the number of bytes of that line that were read.
///
/// Pure, and total: a document may be broken, and the place outside of it.
pub(crate) fn path_at(document: &[u8], line: usize, column: usize) -> String {
    let before = document.split_inclusive(|byte| *byte == b'\n').take(line.saturating_sub(1));
    let end = before.map(<[u8]>::len).sum::<usize>().saturating_add(column);
    let mut walk = Walk { rest: &document[..end.min(document.len())], open: Vec::new() };
    while walk.step() {}
    walk.path()
}

/// Where the value of the innermost of these fields, each in the one before it, lies in a document; `None` if there is
/// no object or list of that name. Names are looked for as they are written, without escapes.
///
/// Pure, and total; what is found is right if the document is valid and names no field twice.
pub(crate) fn value_of(document: &[u8], names: &[&str]) -> Option<Range<usize>> {
    let mut walk = Walk { rest: document, open: Vec::new() };
    let mut start = None;
    while walk.step() {
        let end = document.len() - walk.rest.len();
        start = match start {
            None if walk.open.len() == names.len() + 1 && walk.is_inside(names) => Some(end - 1),
            Some(start) if walk.open.len() == names.len() => return Some(start..end),
            other => other,
        };
    }
    None
}

/// An object or a list that has begun and not ended.
enum Open<'a> {
    /// The name of the field that is being read, as it is written; none before there is one.
    Object(Option<&'a [u8]>),
    /// The number of the item.
    List(usize),
}

struct Walk<'a> {
    rest: &'a [u8],
    open: Vec<Open<'a>>,
}

impl<'a> Walk<'a> {
    /// Takes one sign or one string; false at the end. What is in a number or in `true` needs no attention.
    fn step(&mut self) -> bool {
        let Some((&first, rest)) = self.rest.split_first() else { return false };
        self.rest = rest;
        match first {
            b'{' => self.open.push(Open::Object(None)),
            b'[' => self.open.push(Open::List(0)),
            b'}' | b']' => drop(self.open.pop()),
            b',' => match self.open.last_mut() {
                Some(Open::Object(name)) => *name = None,
                Some(Open::List(number)) => *number += 1,
                None => {}
            },
            b'"' => {
                let text = self.string();
                // The first string is the name, the next one its value.
                if let Some(Open::Object(name @ None)) = self.open.last_mut() {
                    *name = Some(text);
                }
            }
            _ => {}
        }
        true
    }

    /// Whether what is open are objects in which these fields are read, and what the last one holds.
    fn is_inside(&self, names: &[&str]) -> bool {
        let matches = |(open, name): (&Open<'_>, &&str)| matches!(open, Open::Object(Some(found)) if *found == name.as_bytes());
        self.open.iter().zip(names).all(matches)
    }

    /// What is between the quotation marks, of which the first is behind us.
    fn string(&mut self) -> &'a [u8] {
        let mut escaped = false;
        let ends = |byte: &u8| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        };
        let length = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest.get(1..).unwrap_or_default();
        text
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            let dot = if path.is_empty() { "" } else { "." };
            let _ = match open {
                Open::Object(Some(name)) => write!(path, "{dot}{}", String::from_utf8_lossy(name)),
                Open::Object(None) => Ok(()),
                Open::List(number) => write!(path, "[{number}]"),
            };
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors are of interest")]
    struct Outer {
        name: Option<String>,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only the errors are of interest")]
    struct Inner {
        number: u32,
        kind: Option<Kind>,
        words: Option<Vec<String>>,
    }

    #[derive(Debug, Deserialize)]
    enum Kind {
        One,
    }

    #[test]
    fn values_are_found_by_the_names_of_their_fields() {
        let of = |document: &'static str, names: &[&str]| {
            value_of(document.as_bytes(), names).map(|range| &document[range])
        };
        let document =
            r#"{"b":"a","x":{"a":{"b":1}},"a":{"c":["a",{"b":[]}],"b" : [1,{"b":"]"},"]\"]"],"d":2}}"#;
        assert_eq!(of(document, &["a", "b"]), Some(r#"[1,{"b":"]"},"]\"]"]"#));
        assert_eq!(of(document, &["x"]), Some(r#"{"a":{"b":1}}"#));
        assert_eq!(of(document, &["a", "d"]), None);
        assert_eq!(of(document, &["c"]), None);
        assert_eq!(of(r#"[{"a":{}}]"#, &["a"]), None);
        for end in 0..document.len() {
            value_of(&document.as_bytes()[..end], &["a", "b"]);
        }
    }

    /// Where serde_json gives up, with every kind of value before it.
    fn of(document: &str) -> String {
        let error = serde_json::from_slice::<Outer>(document.as_bytes()).expect_err(document);
        path_at(document.as_bytes(), error.line(), error.column())
    }

    #[test]
    fn values_of_a_wrong_type() {
        for wrong in ["5", "-1.5e3", "true", "[1]", "{}", "{ \"a\": [{}] }", "[ ]"] {
            assert_eq!(of(&format!(r#"{{"name": {wrong}}}"#)), "name", "{wrong}");
            assert_eq!(of(&format!("{{\n\"x\": [{{\"a\":\"]}}\"}}],\n \"name\":\n\t{wrong}\n}}")), "name");
        }
        for wrong in ["\"1\"", "\"\\\"\\\\\"", "-1", "null", "1.5", "[1]", "{}"] {
            let document =
                format!(r#"{{"inner":[{{"number":1}}, {{"x":"\"{{[","number": {wrong} , "y":0}}]}}"#);
            assert_eq!(of(&document), "inner[1].number", "{wrong}");
        }
        assert_eq!(of(r#"{"inner":[{"number":1,"words":["a","b",null]}]}"#), "inner[0].words[2]");
        assert_eq!(of(r#"{"inner":[{"number":1,"words":["a", {"b":1}]}]}"#), "inner[0].words[1]");
        assert_eq!(of(r#"{"inner":[{"number":1,"kind":"Two"}]}"#), "inner[0].kind");
        assert_eq!(of(r#"{"inner":"x"}"#), "inner");
        assert_eq!(of("\"x\""), "");
    }

    #[test]
    fn fields_that_are_missing_or_there_twice() {
        assert_eq!(of(r#"{"inner":[{"number":1},{"kind":"One"}]}"#), "inner[1]");
        assert_eq!(of(r#"{"name":"a" , "name" : "b"}"#), "name");
    }

    #[test]
    fn broken_documents() {
        assert_eq!(of(""), "");
        assert_eq!(of("{"), "");
        assert_eq!(of("{}x"), "");
        assert_eq!(of(r#"{"inner":[{"number":1,]}"#), "inner[0]");
        assert_eq!(of(r#"{"name":"a"#), "name");
        assert_eq!(path_at(b"{\"a\":[1", 7, usize::MAX), "a[0]");
    }

    /// The path of every value of a document is found from the place where it ends.
    #[test]
    fn every_value_of_a_document_is_found() {
        let text = r#"{"a":[1,{"b":null,"c":["x\"y",[]]},{}],"d":{"e":false}}"#;
        let document: Value = serde_json::from_str(text).expect("valid");
        let places: Vec<String> =
            (0..=text.len()).map(|column| path_at(text.as_bytes(), 1, column)).collect();
        assert_eq!(document["a"][1]["c"][0], "x\"y");
        for path in ["a[0]", "a[1]", "a[1].b", "a[1].c", "a[1].c[0]", "a[1].c[1]", "a[2]", "d", "d.e", ""] {
            assert!(places.iter().any(|found| found == path), "{path}: {places:?}");
        }
    }
}
