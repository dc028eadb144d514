//! Command lines as engines write them: long options, each once, and nothing that is wrong. To read one takes
//! a few microseconds; to build the parser that reads all others takes a tenth of a short command.
//!
//! Whatever is not plain gives `None`, so that the whole parser reads it and has the words for it. What is plain means
//! the same to both, which the tests of [`super`] see to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use super::{SWITCHES, VALUED};

/// Options and what stands between them, in front of a command or behind it.
#[derive(Debug, Default)]
pub struct Plain<'a> {
    options: Vec<(&'a str, Option<&'a str>)>,
    others: Vec<&'a str>,
}

/// Takes a command line apart: what is in front of the command, its name, and what is behind it.
pub fn read(words: &[OsString]) -> Option<(Plain<'_>, &str, Plain<'_>)> {
    let mut words = words.iter().skip(1).map(|word| word.to_str());
    let mut global = Plain::default();
    while global.others.is_empty() {
        global.take(words.next()??, &mut words)?;
    }
    let name = global.others.pop()?;
    let mut own = Plain::default();
    while let Some(word) = words.next() {
        own.take(word?, &mut words)?;
        if name == "exec" && !own.others.is_empty() {
            own.others.extend(words.by_ref().collect::<Option<Vec<_>>>()?);
        }
    }
    Some((global, name, own))
}

impl<'a> Plain<'a> {
    fn take(&mut self, word: &'a str, rest: &mut impl Iterator<Item = Option<&'a str>>) -> Option<()> {
        let Some(option) = word.strip_prefix("--") else {
            self.others.push(Some(word).filter(|word| !word.starts_with('-'))?);
            return Some(());
        };
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        let value = match (SWITCHES.contains(&name), value) {
            (true, None) => None,
            (false, None) if VALUED.contains(&name) => Some(rest.next()??),
            (false, Some(_)) if VALUED.contains(&name) => value,
            _ => return None,
        };
        let odd = |value: &str| value.is_empty() || value.starts_with('-');
        if value.is_some_and(odd) {
            return None;
        }
        self.options.push((name, value));
        Some(())
    }

    /// Whether there is that switch.
    pub fn switch(&mut self, name: &str) -> bool {
        self.remove(name).is_some()
    }

    /// The value of an option, if it is there.
    pub fn value(&mut self, name: &str) -> Option<&'a str> {
        self.remove(name)?
    }

    /// As a path.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// As a number, or what it is by default.
    pub fn number<T: FromStr>(&mut self, name: &str, default: T) -> Option<T> {
        self.value(name).map_or(Some(default), |text| text.parse().ok())
    }

    /// As text.
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }

    /// Values of an option that may be there more than once.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        std::iter::from_fn(|| self.text(name)).collect()
    }

    fn remove(&mut self, name: &str) -> Option<Option<&'a str>> {
        let index = self.options.iter().position(|(option, _)| *option == name)?;
        Some(self.options.remove(index).1)
    }

    /// What is no option, when all options have been taken: one that is left nobody knows, or it is there twice.
    pub fn others(self) -> Option<Vec<String>> {
        self.options.is_empty().then(|| self.others.into_iter().map(str::to_owned).collect())
    }
}
