//! `--env` and `--env-file`: changes to the environment of a process.

use holm_engine::EnvChange;

use super::meaningful_lines;

/// One `--env`: `NAME=value`, or `NAME` for the caller's own value; a variable that the caller lacks is removed.
///
/// # Errors
/// A text without a name.
pub fn parse(text: &str, own: impl Fn(&str) -> Option<String>) -> Result<EnvChange, String> {
    match text.split_once('=') {
        Some(("", _)) => Err(format!("`{text}` has no variable name")),
        Some((name, value)) => Ok(EnvChange::Set(name.to_owned(), value.to_owned())),
        None if text.is_empty() => Err("a variable has a name".into()),
        None => Ok(own(text).map_or_else(
            || EnvChange::Unset(text.to_owned()),
            |value| EnvChange::Set(text.to_owned(), value),
        )),
    }
}

/// The lines of an `--env-file`: as above, but a variable that the caller lacks is left as it is; `#` begins a comment.
///
/// # Errors
/// The first line with a wrong name.
pub fn parse_file(content: &str, own: impl Fn(&str) -> Option<String>) -> Result<Vec<EnvChange>, String> {
    let mut changes = Vec::new();
    for line in meaningful_lines(content) {
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.contains(char::is_whitespace) {
            return Err(format!("variable `{name}` contains blanks"));
        }
        match parse(line, &own)? {
            EnvChange::Unset(_) => {}
            change => changes.push(change),
        }
    }
    Ok(changes)
}

/// Changes as `NAME=value`, for a process whose environment is made of the workload's; removals are left out.
pub fn assignments(changes: Vec<EnvChange>) -> Vec<String> {
    let assignment = |change| match change {
        EnvChange::Set(name, value) => Some(format!("{name}={value}")),
        EnvChange::Unset(_) => None,
    };
    changes.into_iter().filter_map(assignment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(name: &str) -> Option<String> {
        (name == "HERE").then(|| "mine".to_owned())
    }

    fn set(name: &str, value: &str) -> EnvChange {
        EnvChange::Set(name.to_owned(), value.to_owned())
    }

    #[test]
    fn changes() {
        assert_eq!(parse("A=1=2", own), Ok(set("A", "1=2")));
        assert_eq!(parse("A=", own), Ok(set("A", "")));
        assert_eq!(parse("HERE", own), Ok(set("HERE", "mine")));
        assert_eq!(parse("THERE", own), Ok(EnvChange::Unset("THERE".into())));
        assert!(parse("=x", own).is_err());
        assert!(parse("", own).is_err());
    }

    #[test]
    fn files() {
        let content = "\u{feff}# comment\n\n  A=1 # kept\r\nB= spaced \nHERE\nTHERE\n";
        let changes = parse_file(content, own);
        assert_eq!(changes, Ok(vec![set("A", "1 # kept"), set("B", " spaced "), set("HERE", "mine")]));
        assert_eq!(parse_file("A B=1", own), Err("variable `A B` contains blanks".into()));
        assert!(parse_file("=1", own).is_err());
        assert_eq!(assignments(vec![set("A", "1"), EnvChange::Unset("B".into())]), ["A=1"]);
    }
}
