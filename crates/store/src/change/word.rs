//! Words of a Dockerfile: where they end, and what their quotes, backslashes and variables mean.
//!
//! ```text
//! 'text'     as it is
//! "text"     variables are replaced; \ protects " $ \ and stays before anything else
//! \c         c
//! $name      ${name}         the value, or nothing
//! ${name:-word} ${name-word} word where the variable is empty or not set, not set
//! ${name:+word} ${name+word} word where the variable is not empty, set
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Longest value in bytes: Linux gives no program a longer variable. Without a limit each `A=$A$A` doubles it.
const VALUE_LIMIT: usize = 128 << 10;
/// Deepest nesting of `${a:-${b:-...}}`.
const DEPTH_LIMIT: usize = 16;

/// Splits at white space outside quotes. Quotes and backslashes stay for [`expand`].
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let (mut start, mut quote, mut escaped) = (None, None, false);
    for (at, character) in text.char_indices() {
        if quote.is_none() && !escaped && character.is_whitespace() {
            words.extend(start.take().and_then(|start| text.get(start..at)));
            continue;
        }
        start.get_or_insert(at);
        (quote, escaped) = match (quote, character) {
            _ if escaped => (quote, false),
            (Some('\''), '\\') => (quote, false),
            (_, '\\') => (quote, true),
            (Some(open), close) if open == close => (None, false),
            (None, '\'' | '"') => (Some(character), false),
            _ => (quote, false),
        };
    }
    words.extend(start.and_then(|start| text.get(start..)));
    words
}

/// Takes quotes and backslashes away and puts values in for variables.
///
/// # Errors
/// A quote or a brace without its end, or an unknown form of `${...}`, as a reason for people.
pub(super) fn expand(word: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    Expansion { characters: word.chars().peekable(), variables, depth: 0 }.until(None)
}

struct Expansion<'a> {
    characters: Peekable<Chars<'a>>,
    variables: &'a BTreeMap<String, String>,
    depth: usize,
}

impl Expansion<'_> {
    /// Expands up to `end`, which is taken, or to the end of the word.
    fn until(&mut self, end: Option<char>) -> Result<String, String> {
        let mut result = String::new();
        while let Some(character) = self.characters.next() {
            match character {
                _ if Some(character) == end => return Ok(result),
                '\'' => self.single_quoted(&mut result)?,
                '"' => self.double_quoted(&mut result)?,
                '\\' => result.extend(self.characters.next()),
                '$' => self.variable(&mut result)?,
                _ => result.push(character),
            }
        }
        match end {
            Some(end) => Err(format!("`{end}` is missing")),
            None => Ok(result),
        }
    }

    fn single_quoted(&mut self, result: &mut String) -> Result<(), String> {
        loop {
            match self.characters.next() {
                Some('\'') => return Ok(()),
                Some(character) => result.push(character),
                None => return Err("a single quote has no end".to_owned()),
            }
        }
    }

    fn double_quoted(&mut self, result: &mut String) -> Result<(), String> {
        loop {
            match self.characters.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(result)?,
                Some('\\') => match self.characters.next_if(|next| matches!(next, '"' | '$' | '\\')) {
                    Some(protected) => result.push(protected),
                    None => result.push('\\'),
                },
                Some(character) => result.push(character),
                None => return Err("a double quote has no end".to_owned()),
            }
        }
    }

    /// What stands behind a `$`, which is itself where no name follows.
    fn variable(&mut self, result: &mut String) -> Result<(), String> {
        if self.characters.next_if_eq(&'{').is_some() {
            let value = self.braced()?;
            return append(result, &value);
        }
        let name = self.name();
        if name.is_empty() {
            result.push('$');
        }
        append(result, self.value(&name))
    }

    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("`${` is not followed by a name".to_owned());
        }
        let or_empty = self.characters.next_if_eq(&':').is_some();
        let present = self.variables.get(&name).is_some_and(|value| !(or_empty && value.is_empty()));
        match self.characters.next() {
            Some('}') if !or_empty => Ok(self.value(&name).to_owned()),
            Some('-') => {
                self.alternative().map(|word| if present { self.value(&name).to_owned() } else { word })
            }
            Some('+') => self.alternative().map(|word| if present { word } else { String::new() }),
            _ => Err(format!("`${{{name}` is followed by none of `}}`, `:-`, `-`, `:+`, `+`")),
        }
    }

    fn alternative(&mut self) -> Result<String, String> {
        if self.depth == DEPTH_LIMIT {
            return Err("variables are nested too deep".to_owned());
        }
        self.depth += 1;
        let word = self.until(Some('}'));
        self.depth -= 1;
        word
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(character) = self.characters.next_if(|&next| {
            next == '_' || next.is_ascii_alphabetic() || (next.is_ascii_digit() && !name.is_empty())
        }) {
            name.push(character);
        }
        name
    }

    fn value(&self, name: &str) -> &str {
        self.variables.get(name).map_or("", String::as_str)
    }
}

fn append(result: &mut String, value: &str) -> Result<(), String> {
    if result.len() + value.len() > VALUE_LIMIT {
        return Err(format!("with its variables the value is longer than {VALUE_LIMIT} bytes"));
    }
    result.push_str(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(word: &str) -> Result<String, String> {
        let variables = [("A", "a"), ("EMPTY", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        expand(word, &variables.into())
    }

    #[test]
    fn words_end_at_unquoted_white_space() {
        assert_eq!(
            split(r#"a=1  b='x y' c="x \" y" d=x\ y "#),
            ["a=1", "b='x y'", r#"c="x \" y""#, r"d=x\ y"]
        );
        assert_eq!(split(r"a='\' b"), [r"a='\'", "b"]);
        assert_eq!(split("  "), Vec::<&str>::new());
    }

    #[test]
    fn quotes_backslashes_and_variables() {
        for (word, meaning) in [
            ("plain", "plain"),
            (r#"'$A'"$A"$A"#, "$Aaa"),
            (r#""\$A \" \x""#, r#"$A " \x"#),
            (r"\$A\ b\", "$A b"),
            ("$", "$"),
            ("$1-$NONE-", "$1--"),
            ("${A}b$A_", "ab"),
            ("${NONE:-x}${EMPTY:-y}${EMPTY-z}${NONE-z}", "xyz"),
            ("${A:-x}${A:+x}${NONE:+x}${EMPTY+e}", "axe"),
            ("${NONE:-${A:+'deep er'}}", "deep er"),
        ] {
            assert_eq!(expanded(word).as_deref(), Ok(meaning), "{word}");
        }
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let deep = "${N:-".repeat(1000);
        for word in ["'", "\"", "${", "${A", "${A:", "${A:}", "${A:=x}", "${A/x}", "${1}", "${N:-x", &deep] {
            assert!(expanded(word).is_err(), "{word}");
        }
    }

    #[test]
    fn values_do_not_grow_without_end() {
        let variables = BTreeMap::from([("A".to_owned(), "a".repeat(VALUE_LIMIT / 2))]);
        assert!(expand("$A$A", &variables).is_ok());
        for word in ["$A${A}$A", r#""$A$A$A""#, "${N:-$A$A$A}"] {
            assert!(expand(word, &variables).is_err(), "{word}");
        }
    }
}
