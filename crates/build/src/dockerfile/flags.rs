//! Flags of instructions, checked against those that the instruction has.

use super::words::{Flag, Word};
use crate::error::{Fault, Kind, Result};
use crate::nearest::nearest;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `true` or `false`.
    Bool,
    /// A value, once.
    Value,
    /// A value, as often as one likes.
    Values,
}

/// Flags that are there, with values where they must have some.
pub(super) struct Flags {
    given: Vec<(&'static str, Option<bool>, Word)>,
}

impl Flags {
    /// Checks flags against `known`.
    ///
    /// # Errors
    /// A flag that is not known, given twice, or without the value that it takes.
    pub fn check(written: Vec<Flag>, known: &[(&'static str, Takes)]) -> Result<Self> {
        let mut flags = Self { given: Vec::new() };
        for flag in written {
            flags.take(&flag, known)?;
        }
        Ok(flags)
    }

    fn take(&mut self, flag: &Flag, known: &[(&'static str, Takes)]) -> Result<()> {
        let (dashed, value) = match flag.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.text.as_str(), None),
        };
        let fault = |kind, message: String| Fault::new(kind, flag.position, message).across(dashed);
        let name = dashed.strip_prefix("--").unwrap_or(dashed);
        let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
            let near = nearest(name, known.iter().map(|(known, _)| *known)).map(|near| format!("--{near}"));
            return Err(fault(Kind::UnknownFlag, format!("unknown flag `{dashed}`")).meant(near));
        };
        if *takes != Takes::Values && self.given.iter().any(|(given, ..)| given == name) {
            return Err(fault(Kind::Syntax, format!("`{dashed}` is given twice")));
        }
        let switch = match (takes, value) {
            (Takes::Bool, value) => Some(boolean(value).ok_or_else(|| {
                fault(
                    Kind::Value,
                    format!("`{dashed}` is true or false, not `{}`", value.unwrap_or_default()),
                )
            })?),
            (_, None) => return Err(fault(Kind::Syntax, format!("`{dashed}` needs a value: `{dashed}=…`"))),
            _ => None,
        };
        let word = Word { text: value.unwrap_or_default().to_owned(), position: flag.position };
        self.given.push((name, switch, word));
        Ok(())
    }

    /// A switch, if it is given.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.given.iter().find(|(given, ..)| *given == name).and_then(|(_, switch, _)| *switch)
    }

    /// A value, if it is given and not empty: an empty one is what there is without the flag.
    pub fn value(&self, name: &str) -> Option<Word> {
        self.values(name).into_iter().find(|word| !word.text.is_empty())
    }

    /// The values of a flag that can be given several times.
    pub fn values(&self, name: &str) -> Vec<Word> {
        self.given.iter().filter(|(given, ..)| *given == name).map(|(.., word)| word.clone()).collect()
    }
}

fn boolean(value: Option<&str>) -> Option<bool> {
    match value.map(str::to_ascii_lowercase).as_deref() {
        None | Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, Takes)] =
        &[("from", Takes::Value), ("link", Takes::Bool), ("exclude", Takes::Values)];

    fn check(texts: &[&str]) -> Result<Flags> {
        let flag = |text: &&str| Flag { text: (*text).to_owned(), position: Default::default() };
        Flags::check(texts.iter().map(flag).collect(), KNOWN)
    }

    #[test]
    fn flags_have_their_values() {
        let flags = check(&["--from=a=b", "--link", "--exclude=x", "--exclude=y"]).expect("flags");
        assert_eq!(flags.value("from").map(|word| word.text).as_deref(), Some("a=b"));
        assert_eq!((flags.switch("link"), flags.switch("parents")), (Some(true), None));
        assert_eq!(flags.values("exclude").len(), 2);
        assert_eq!(check(&["--link=False"]).expect("flags").switch("link"), Some(false));
    }

    #[test]
    fn wrong_flags_are_refused() {
        for (texts, message) in [
            (["--form=a"].as_slice(), "unknown flag `--form`"),
            (&["--from"], "`--from` needs a value: `--from=…`"),
            (&["--from=a", "--from=b"], "`--from` is given twice"),
            (&["--link", "--link"], "`--link` is given twice"),
            (&["--link="], "`--link` is true or false, not ``"),
            (&["--link=yes"], "`--link` is true or false, not `yes`"),
        ] {
            assert_eq!(check(texts).err().expect("a fault").to_string(), message);
        }
    }
}
