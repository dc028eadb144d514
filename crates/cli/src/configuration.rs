//! `/etc/holm/config.toml`: where Holm's files lie on this machine. A small part of TOML: comments, and `key = "value"`.
//!
//! ```toml
//! root = "/data/holm"        # images and workloads
//! run-root = "/run/holm"     # what is gone after a boot
//! ```

use std::path::PathBuf;

/// Where it is.
pub const PATH: &str = "/etc/holm/config.toml";

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// State that survives a boot.
    pub root: Option<PathBuf>,
    /// State that does not.
    pub run_root: Option<PathBuf>,
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
    let place = match key.trim() {
        "root" => &mut configuration.root,
        "run-root" => &mut configuration.run_root,
        unknown => return Err(format!("unknown key `{unknown}`: `root` and `run-root` are known")),
    };
    let value = PathBuf::from(string(rest.trim())?);
    if !value.is_absolute() {
        return Err(format!("`{}` must be an absolute path", key.trim()));
    }
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("`{}` is said twice", key.trim())),
    }
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
    fn both_keys() {
        let content = "# Holm\n\nroot = \"/data/ho\\\"lm\" # here\nrun-root='/run/h\\x'\n";
        let expected =
            Configuration { root: Some("/data/ho\"lm".into()), run_root: Some("/run/h\\x".into()) };
        assert_eq!(parse(content), Ok(expected));
        assert_eq!(parse(""), Ok(Configuration::default()));
    }

    #[test]
    fn anything_else_is_refused() {
        for (line, reason) in [
            ("root", "`key = \"value\"` expected"),
            ("roots = \"/a\"", "unknown key `roots`: `root` and `run-root` are known"),
            ("root = /a", "a string in quotes expected"),
            ("root = \"/a", "the string has no end"),
            ("root = \"a\"", "`root` must be an absolute path"),
            ("root = \"/a\" b", "unexpected `b`"),
            ("root = \"/\\n\"", "only \\\" and \\\\ are known in strings"),
            ("[section]", "`key = \"value\"` expected"),
        ] {
            assert_eq!(parse(&format!("\n{line}\n")), Err(format!("line 2: {reason}")));
        }
        assert_eq!(parse("root='/a'\nroot='/b'"), Err("line 2: `root` is said twice".into()));
    }
}
