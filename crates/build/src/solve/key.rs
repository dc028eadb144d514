//! What makes the key of a step.

use holm_spec::Digest;
use holm_spec::digest::encode_hex;
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
        platform: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        hosts: &'a [String],
        mounts: Vec<Value>,
    },
    Transfer {
        destination: &'a str,
        owner: Option<&'a str>,
        mode: Option<&'a str>,
        sources: Value,
        texts: &'a [(String, String)],
        exclude: &'a [String],
    },
    Directory {
        path: &'a str,
        user: &'a str,
    },
}

/// What a step is known by, and what it is made of.
#[derive(Debug)]
pub(super) struct Key {
    /// What its layer is found by.
    pub digest: Digest,
    /// What went into that: `below`, `what`, `latest`.
    pub parts: Value,
    /// What `sources` of a transfer is the digest of, if it is one.
    pub files: Value,
}

impl Key {
    /// The key of a step above the one with the key `below`, if what is below makes a difference, in which nothing is younger
    /// than `latest`.
    pub fn new(below: Option<&Digest>, ingredients: &Ingredients<'_>, latest: Option<i64>) -> Self {
        let below = below.map(ToString::to_string);
        let parts = json!({ "below": below, "what": ingredients, "latest": latest });
        let digest = Digest::of(&serde_json::to_vec(&parts).expect("plain data"));
        Self { digest, parts, files: Value::Null }
    }
}

/// What of sources makes a difference: names, kinds, permissions, content, and whether it is unpacked; not times, and not owners. Its
/// digest, and itself.
pub(super) fn described(sources: &[Source]) -> (Value, Value) {
    let entry = |entry: &Entry| {
        let digest = entry.digest.map(|digest| Digest::from_sha256(digest).to_string());
        json!([text(&entry.path), entry.stat.st_mode, entry.stat.st_rdev, text(&entry.link), digest])
    };
    let source = |source: &Source| {
        let entries = source.entries.iter().map(entry).collect::<Vec<_>>();
        json!([text(&source.name), source.unpacks, entries])
    };
    let all = Value::from(sources.iter().map(source).collect::<Vec<_>>());
    (Digest::of(all.to_string().as_bytes()).to_string().into(), all)
}

/// Bytes as text, so that different ones stay different.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => format!("t{text}"),
        Err(_) => format!("x{}", encode_hex(bytes)),
    }
}
