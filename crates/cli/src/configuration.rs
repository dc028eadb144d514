//! `/etc/holm/config.toml`: where Holm's files lie on this machine, and how many. A small part of TOML: comments, and
//! `key = "value"`.
//!
//! ```toml
//! root = "/data/holm"        # images and workloads
//! run-root = "/run/holm"     # what is gone after a boot
//! store.max_size = "50GB"    # of images, kernels and compressed layers together
//! store.max_layer_size = "1TB"           # a layer that unpacks to more is refused
//! store.max_layer_entries = "4000000"    # as one with more files and directories
//! ```

use std::path::PathBuf;

use crate::size;

/// Where it is.
pub const PATH: &str = "/etc/holm/config.toml";

const KEYS: [&str; 5] =
    ["root", "run-root", "store.max_size", "store.max_layer_size", "store.max_layer_entries"];

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// State that survives a boot.
    pub root: Option<PathBuf>,
    /// State that does not.
    pub run_root: Option<PathBuf>,
    /// Bytes on the disk that the store is kept to.
    pub max_size: Option<u64>,
    /// Bytes that a layer unpacks to at most.
    pub max_layer_size: Option<u64>,
    /// Files and directories that a layer has at most.
    pub max_layer_entries: Option<u64>,
}

/// Parses the file's content.
///
/// # Errors
/// The first line that is not understood, with its number; an unknown key is one.
pub fn parse(content: &str) -> Result<Configuration, String> {
    let mut configuration = Configuration::default();
    for (number, line) in content.lines().enumerate() {
        set(&mut configuration, line.trim()).map_err(|reason| format!("line {}: {reason}", number + 1))?;
    }
    Ok(configuration)
}

fn set(configuration: &mut Configuration, line: &str) -> Result<(), String> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (key, rest) = line.split_once('=').ok_or("`key = \"value\"` expected")?;
    let (key, value) = (key.trim(), string(rest.trim()));
    let is_new = match key {
        "root" => configuration.root.replace(path(key, value?)?).is_none(),
        "run-root" => configuration.run_root.replace(path(key, value?)?).is_none(),
        "store.max_size" => configuration.max_size.replace(size::parse(&value?)?).is_none(),
        "store.max_layer_size" => configuration.max_layer_size.replace(size::parse(&value?)?).is_none(),
        "store.max_layer_entries" => configuration.max_layer_entries.replace(number(&value?)?).is_none(),
        unknown => return Err(format!("unknown key `{unknown}`: {} are known", KEYS.join(", "))),
    };
    if is_new { Ok(()) } else { Err(format!("`{key}` is said twice")) }
}

fn number(value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("`{value}` is no number"))
}

fn path(key: &str, value: String) -> Result<PathBuf, String> {
    let value = PathBuf::from(value);
    if value.is_absolute() { Ok(value) } else { Err(format!("`{key}` must be an absolute path")) }
}

/// A string in double quotes, with `\"` and `\\`, or in single quotes, where nothing is escaped; a comment may follow.
fn string(text: &str) -> Result<String, String> {
    let mut chars = text.chars();
    let quote =
        chars.next().filter(|quote| matches!(quote, '"' | '\'')).ok_or("a string in quotes expected")?;
    let mut value = String::new();
    loop {
        match chars.next().ok_or("the string has no end")? {
            c if c == quote => break,
            '\\' if quote == '"' => match chars.next() {
                Some(c @ ('"' | '\\')) => value.push(c),
                _ => return Err("only \\\" and \\\\ are known in strings".to_owned()),
            },
            c => value.push(c),
        }
    }
    let rest = chars.as_str().trim();
    if rest.is_empty() || rest.starts_with('#') { Ok(value) } else { Err(format!("unexpected `{rest}`")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key() {
        let content = "# Holm\n\nroot = \"/data/ho\\\"lm\" # here\nrun-root='/run/h\\x'\nstore.max_size = \"1.5g\"\nstore.max_layer_size = \"1k\"\nstore.max_layer_entries = \"7\"\n";
        let expected = Configuration {
            root: Some("/data/ho\"lm".into()),
            run_root: Some("/run/h\\x".into()),
            max_size: Some(3 << 29),
            max_layer_size: Some(1024),
            max_layer_entries: Some(7),
        };
        assert_eq!(parse(content), Ok(expected));
        assert_eq!(parse(""), Ok(Configuration::default()));
    }

    #[test]
    fn anything_else_is_refused() {
        for (line, reason) in [
            ("root", "`key = \"value\"` expected"),
            (
                "roots = \"/a\"",
                "unknown key `roots`: root, run-root, store.max_size, store.max_layer_size, store.max_layer_entries are known",
            ),
            ("root = /a", "a string in quotes expected"),
            ("root = \"/a", "the string has no end"),
            ("root = \"a\"", "`root` must be an absolute path"),
            ("root = \"/a\" b", "unexpected `b`"),
            ("root = \"/\\n\"", "only \\\" and \\\\ are known in strings"),
            (
                "store.max_size = \"a lot\"",
                "`a lot` is no size: write bytes or a number with b, k, m, g, t or p",
            ),
            ("[section]", "`key = \"value\"` expected"),
        ] {
            assert_eq!(parse(&format!("\n{line}\n")), Err(format!("line 2: {reason}")));
        }
        assert_eq!(parse("root='/a'\nroot='/b'"), Err("line 2: `root` is said twice".into()));
    }
}
