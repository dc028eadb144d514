//! Why a step is made: what it is made of that was different when it was made the last time.
//!
//! One file for each Dockerfile, JSON: `{"[stage 2/7] RUN": {"parts": …, "files": …}}`, by the place of the step and its instruction.
//! What cannot be read says nothing; that it cannot be written costs reasons and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holm_sys::file::{Durability, ensure_directory, read_limited, replace};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::key::Key;

/// Largest file that is read or written.
const LIMIT: u64 = 16 << 20;
/// Most names of one kind that are told.
const TOLD: usize = 5;

/// What steps were made of.
#[derive(Debug)]
pub(super) struct Reasons {
    path: PathBuf,
    /// Read when a step has to be made: a build of which nothing changed does not ask.
    steps: Option<BTreeMap<String, Made>>,
}

/// What one was made of.
#[derive(Debug, Deserialize, Serialize)]
struct Made {
    parts: Value,
    files: Value,
}

impl Reasons {
    /// What is known of a Dockerfile.
    pub fn open(path: PathBuf) -> Self {
        Self { path, steps: None }
    }

    /// Why the layer of a step is not there.
    pub fn of(&mut self, title: &str, key: &Key) -> Vec<String> {
        let Some(made) = self.steps().get(place(title)) else {
            return vec!["it was not made before".to_owned()];
        };
        let mut reasons = differences(&made.parts, &key.parts);
        reasons.extend(file_differences(&made.files, &key.files));
        if reasons.is_empty() {
            reasons.push("it is the same as before, and its layer is not there any more".to_owned());
        }
        reasons
    }

    /// It is made of this.
    pub fn remember(&mut self, title: &str, key: Key) {
        self.steps().insert(place(title).to_owned(), Made { parts: key.parts, files: key.files });
    }

    fn steps(&mut self) -> &mut BTreeMap<String, Made> {
        self.steps.get_or_insert_with(|| {
            let bytes = read_limited(&self.path, LIMIT).unwrap_or_default();
            serde_json::from_slice(&bytes).unwrap_or_default()
        })
    }

    /// Writes it down for the next build.
    pub fn keep(&self) {
        let Some(steps) = &self.steps else { return };
        let text = serde_json::to_vec(steps).expect("plain data");
        if text.len() as u64 > LIMIT {
            return;
        }
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let _ = ensure_directory(directory, 0o700)
            .and_then(|()| replace(&self.path, &text, Durability::Volatile));
    }
}

/// `[stage 2/7] RUN`: the same step, also when its words are others.
fn place(title: &str) -> &str {
    let end = title.find("] ").map_or(0, |end| end + 2);
    let word = title[end..].find(|character: char| !character.is_ascii_alphabetic());
    &title[..word.map_or(title.len(), |length| end + length)]
}

fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut reasons = Vec::new();
    if old["below"] != new["below"] {
        reasons.push("what it lies on is different".to_owned());
    }
    if old["latest"] != new["latest"] {
        reasons.push("the time that nothing is younger than is different".to_owned());
    }
    let (Some(old), Some(new)) = (old["what"].as_object(), new["what"].as_object()) else { return reasons };
    // In the order of their names, whatever order a map keeps.
    for (name, value) in new.iter().collect::<BTreeMap<_, _>>() {
        if old.get(name) == Some(value) {
            continue;
        }
        let told = match name.as_str() {
            "environment" => environment(old.get(name).unwrap_or(&Value::Null), value),
            "words" => "the command is different".to_owned(),
            "texts" => "the text in the Dockerfile is different".to_owned(),
            "sources" if value.is_object() => "what it takes files from is different".to_owned(),
            // Its files say more.
            "sources" => continue,
            "owner" | "mode" | "user" | "directory" | "network" | "destination" => {
                format!("the {name} is different: `{}`", value.as_str().unwrap_or_default())
            }
            "mounts" => "what is mounted is different".to_owned(),
            other => format!("`{other}` is different"),
        };
        reasons.push(told);
    }
    reasons
}

/// Names alone: a value may be none of a reader's business.
fn environment(old: &Value, new: &Value) -> String {
    let pairs = |value: &Value| -> BTreeMap<String, Value> {
        let pairs = value.as_array().into_iter().flatten();
        pairs.map(|pair| (pair[0].as_str().unwrap_or_default().to_owned(), pair[1].clone())).collect()
    };
    let told = compare(&pairs(old), &pairs(new));
    match told.is_empty() {
        true => "the order of the environment is different".to_owned(),
        false => format!("in the environment {}", told.join("; ")),
    }
}

fn file_differences(old: &Value, new: &Value) -> Vec<String> {
    compare(&files(old), &files(new))
}

/// Each file by its path, with what is known of it.
fn files(sources: &Value) -> BTreeMap<String, Value> {
    let mut files = BTreeMap::new();
    for source in sources.as_array().into_iter().flatten() {
        for entry in source[2].as_array().into_iter().flatten() {
            let path = match (plain(&source[0]), plain(&entry[0])) {
                (source, "") => source.to_owned(),
                ("", below) => below.to_owned(),
                (source, below) => format!("{source}/{below}"),
            };
            files.insert(path, entry.clone());
        }
    }
    files
}

/// A name without the letter in front that says whether it is text.
fn plain(name: &Value) -> &str {
    name.as_str().and_then(|name| name.get(1..)).unwrap_or_default()
}

fn compare(old: &BTreeMap<String, Value>, new: &BTreeMap<String, Value>) -> Vec<String> {
    let changed = new.iter().filter(|(name, value)| old.get(*name).is_some_and(|old| old != *value));
    let fresh = new.keys().filter(|name| !old.contains_key(*name));
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    let told =
        [listed(changed.map(|(name, _)| name), "different"), listed(fresh, "new"), listed(gone, "gone")];
    told.into_iter().flatten().collect()
}

fn listed<'n>(names: impl Iterator<Item = &'n String>, what: &str) -> Option<String> {
    let names: Vec<&String> = names.collect();
    let mut told: Vec<String> = names.iter().take(TOLD).map(|name| format!("`{name}`")).collect();
    if names.len() > TOLD {
        told.push(format!("{} more", names.len() - TOLD));
    }
    let (last, others) = told.split_last()?;
    Some(match others.is_empty() {
        true => format!("{last} is {what}"),
        false => format!("{} and {last} are {what}", others.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::solve::key::Ingredients;

    fn run(word: &str, environment: &[(&str, &str)]) -> Key {
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let what = Ingredients::Run {
            words: &[word.to_owned()],
            environment: &environment,
            user: "",
            directory: "/",
            network: "default",
            hosts: &[],
            insecure: false,
            platform: "linux/amd64",
            mounts: Vec::new(),
        };
        Key::new(None, &what, None)
    }

    #[test]
    fn it_says_what_is_different() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("reasons/one");
        let mut reasons = Reasons::open(path.clone());
        let title = "[build 1/2] RUN make";
        let first = run("make", &[("A", "1"), ("B", "2")]);
        assert_eq!(reasons.of(title, &first), ["it was not made before"]);
        reasons.remember(title, first);
        reasons.keep();
        let mut reasons = Reasons::open(path);
        let same = run("make", &[("A", "1"), ("B", "2")]);
        assert_eq!(
            reasons.of("[build 1/2] RUN other", &same),
            ["it is the same as before, and its layer is not there any more"]
        );
        assert_eq!(
            reasons.of(title, &run("make all", &[("A", "2"), ("C", "2")])),
            ["in the environment `A` is different; `C` is new; `B` is gone", "the command is different"]
        );
        assert_eq!(reasons.of("[build 1/2] COPY . .", &same), ["it was not made before"]);
    }

    #[test]
    fn files_are_told_by_their_paths() {
        let listed = |files: &[(&str, &str)]| {
            let entries: Vec<_> =
                files.iter().map(|(path, digest)| json!([path, 0, 0, "t", digest])).collect();
            json!([["t", false, entries]])
        };
        let old = listed(&[("t", ""), ("ta", "1"), ("tb", "2")]);
        let new = listed(&[
            ("t", ""),
            ("ta", "2"),
            ("tc", "1"),
            ("td", "1"),
            ("te", "1"),
            ("tf", "1"),
            ("tg", "1"),
            ("th", "1"),
        ]);
        assert_eq!(
            file_differences(&old, &new),
            ["`a` is different", "`c`, `d`, `e`, `f`, `g` and 1 more are new", "`b` is gone"]
        );
    }
}
