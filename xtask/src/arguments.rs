//! The words after a verb: flags are taken out by name, and whatever nobody took is an error.

use anyhow::{Result, bail};

/// The words after the verb that nobody has taken yet.
pub struct Arguments {
    words: Vec<String>,
    /// Words after `--`, handed on as they are.
    trailing: Vec<String>,
}

impl Arguments {
    /// Splits `words` at the first `--`.
    pub fn new(mut words: Vec<String>) -> Self {
        let trailing = match words.iter().position(|word| word == "--") {
            Some(at) => words.split_off(at).split_off(1),
            None => Vec::new(),
        };
        Self { words, trailing }
    }

    /// Takes the flag `name`; says whether it was there.
    pub fn flag(&mut self, name: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != name);
        self.words.len() < before
    }

    /// Takes `name VALUE` or `name=VALUE`.
    ///
    /// # Errors
    /// The flag is there without a value.
    pub fn value(&mut self, name: &str) -> Result<Option<String>> {
        let prefix = format!("{name}=");
        if let Some(at) = self.words.iter().position(|word| word.starts_with(&prefix)) {
            return Ok(Some(self.words.remove(at).split_off(prefix.len())));
        }
        let Some(at) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        if at + 1 >= self.words.len() {
            bail!("`{name}` needs a value");
        }
        self.words.remove(at);
        Ok(Some(self.words.remove(at)))
    }

    /// Takes the next word that is not a flag.
    pub fn positional(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with('-'))?;
        Some(self.words.remove(at))
    }

    /// Takes everything: this verb hands its arguments on.
    pub fn rest(self) -> Vec<String> {
        self.words.into_iter().chain(self.trailing).collect()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A word is left that nobody took.
    pub fn finish(self) -> Result<()> {
        match self.rest().first() {
            None => Ok(()),
            Some(word) => bail!("unexpected argument `{word}`\nhint: `--help` lists the arguments"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &str) -> Arguments {
        Arguments::new(words.split_whitespace().map(String::from).collect())
    }

    #[test]
    fn flags_values_and_words_are_taken_in_any_order() {
        let mut given = arguments("store --slow --profile profiling");
        assert_eq!(given.value("--profile").unwrap().as_deref(), Some("profiling"));
        assert!(given.flag("--slow"));
        assert!(!given.flag("--slow"));
        assert_eq!(given.positional().as_deref(), Some("store"));
        given.finish().unwrap();
    }

    #[test]
    fn a_value_may_follow_an_equals_sign() {
        let mut given = arguments("--profile=dev");
        assert_eq!(given.value("--profile").unwrap().as_deref(), Some("dev"));
        given.finish().unwrap();
    }

    #[test]
    fn what_nobody_takes_is_refused_by_name() {
        assert!(arguments("--nope").finish().unwrap_err().to_string().contains("`--nope`"));
        assert!(arguments("--profile").value("--profile").is_err());
    }

    #[test]
    fn words_after_two_dashes_are_handed_on() {
        let mut given = arguments("a -- --slow b");
        assert!(!given.flag("--slow"));
        assert_eq!(given.rest(), ["a", "--slow", "b"]);
    }
}
