//! What makes the key of a step.

use holm_spec::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use super::tree::{Entry, Source};

/// What goes into a key besides what is below.
#[derive(Serialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub(super) enum Ingredients<'a> {
    Base {
        layers: Vec<Digest>,
    },
    Run {
        words: &'a [String],
        environment: &'a [(String, String)],
        user: &'a str,
        directory: &'a str,
        network: &'a str,
        insecure: bool,
        mounts: Vec<Value>,
    },
    Transfer {
        destination: &'a str,
        owner: Option<&'a str>,
        mode: Option<&'a str>,
        unpacks: bool,
        sources: Value,
        texts: &'a [(String, String)],
        exclude: &'a [String],
    },
    Directory {
        path: &'a str,
        user: &'a str,
    },
}

/// The key of a step above the one with the key `below`, if what is below makes a difference.
pub(super) fn key(below: Option<&Digest>, ingredients: &Ingredients<'_>) -> Digest {
    let below = below.map(ToString::to_string);
    Digest::of(&serde_json::to_vec(&json!({ "below": below, "what": ingredients })).expect("plain data"))
}

/// What of sources makes a difference: names, kinds, permissions and content; not times, and not owners.
pub(super) fn described(sources: &[Source]) -> Value {
    let entry = |entry: &Entry| {
        let digest = entry.digest.map(|digest| Digest::from_sha256(digest).to_string());
        json!([
            String::from_utf8_lossy(&entry.path),
            entry.stat.st_mode,
            String::from_utf8_lossy(&entry.link),
            digest
        ])
    };
    let source = |source: &Source| {
        json!([String::from_utf8_lossy(&source.name), source.entries.iter().map(entry).collect::<Vec<_>>()])
    };
    let text = Value::from(sources.iter().map(source).collect::<Vec<_>>()).to_string();
    Digest::of(text.as_bytes()).to_string().into()
}
