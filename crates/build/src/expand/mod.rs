//! Variables in words: `$NAME`, `${NAME}` and what may follow the name, quotes, and the escape character.
//!
//! | written | means |
//! |---|---|
//! | `${V:-word}`, `${V-word}` | `word` if `V` is empty or not set; if it is not set |
//! | `${V:+word}`, `${V+word}` | `word` if `V` is set and not empty; if it is set |
//! | `${V:?word}`, `${V?word}` | an error that says `word` if `V` is empty or not set; if it is not set |
//! | `${V#glob}`, `${V##glob}` | without the shortest, the longest beginning that matches |
//! | `${V%glob}`, `${V%%glob}` | without the shortest, the longest end that matches |
//! | `${V/glob/word}`, `${V//glob/word}` | the first match, every match replaced |
//!
//! `word` and `glob` may have variables themselves. `*` and `?` of a glob match no line break; a glob has no brackets.
//! Positional and special parameters (`$1`, `$@`) are names like others, which nobody sets.
//!
//! What a value says is never looked at again. But `${A}${A}` on enough lines makes any text as long as one likes, so
//! whatever is expanded is taken off a [`Budget`].

mod glob;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How much text may still come out of one Dockerfile's variables, in bytes.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// What is enough for any Dockerfile that somebody wrote.
    pub const FULL: usize = 64 << 20;

    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Takes what something cost that cannot fail itself: the next text does.
    pub(crate) fn spend(&self, bytes: usize) {
        let _ = self.take(bytes);
    }

    fn take(&self, bytes: usize) -> Result<(), String> {
        let before = self.0.fetch_update(Relaxed, Relaxed, |rest| Some(rest.saturating_sub(bytes)));
        match before {
            Ok(rest) if rest < bytes => {
                Err(format!("the variables make more text than {} MiB", Self::FULL >> 20))
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// They hold a word together and go.
    Remove,
    /// They hold a word together and stay.
    Keep,
    /// They are characters like others.
    Ignore,
}

/// How a text is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Takes the meaning of the next character away.
    pub escape: char,
    /// What becomes of quotes.
    pub quotes: Quotes,
    /// Escape characters stay.
    pub keep_escapes: bool,
    /// What names an unset variable stays as it is.
    pub keep_unset: bool,
}

/// The rules of an argument of an instruction.
pub(crate) fn word_rules(escape: char) -> Rules {
    Rules { escape, quotes: Quotes::Remove, keep_escapes: false, keep_unset: false }
}

/// The rules of a heredoc's content.
pub(crate) const CONTENT_RULES: Rules =
    Rules { escape: '\\', quotes: Quotes::Ignore, keep_escapes: false, keep_unset: false };

/// What came of a text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text.
    pub text: String,
    /// The same cut into words at what was space outside of quotes.
    pub words: Vec<String>,
    /// Variables that were asked for and had a value.
    pub used: BTreeSet<String>,
    /// Variables that were asked for and had none.
    pub unset: BTreeSet<String>,
}

/// Expands `text`; `value` knows the variables.
///
/// # Errors
/// What is wrong, in a sentence.
pub(crate) fn expand<'v>(
    text: &str,
    rules: Rules,
    value: &dyn Fn(&str) -> Option<&'v str>,
    budget: &Budget,
) -> Result<Expansion, String> {
    budget.take(text.len())?;
    let mut reader = Reader { rest: text, rules, value, budget, depth: 0, done: Expansion::default() };
    let mut output = Output::default();
    reader.read(None, rules.keep_escapes, &mut output)?;
    output.end_word();
    Ok(Expansion { text: output.text, words: output.words, ..reader.done })
}

/// What was written so far, whole and in words.
#[derive(Default)]
struct Output {
    text: String,
    words: Vec<String>,
    word: String,
}

impl Output {
    /// Something unquoted: its space ends words.
    fn open(&mut self, text: &str) {
        self.text.push_str(text);
        for c in text.chars() {
            if c.is_whitespace() { self.end_word() } else { self.word.push(c) }
        }
    }

    /// Something quoted or escaped.
    fn closed(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.push_str(text);
    }

    fn closed_char(&mut self, c: char) {
        self.closed(c.encode_utf8(&mut [0; 4]));
    }

    fn end_word(&mut self) {
        if !self.word.is_empty() {
            self.words.push(std::mem::take(&mut self.word));
        }
    }
}

/// `${a:-${b:-…}}` may go this deep.
const DEPTH: usize = 64;

struct Reader<'a, 'v> {
    rest: &'a str,
    rules: Rules,
    value: &'a dyn Fn(&str) -> Option<&'v str>,
    budget: &'a Budget,
    depth: usize,
    done: Expansion,
}

impl<'a, 'v> Reader<'a, 'v> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next();
        self.rest = chars.as_str();
        c
    }

    /// Reads up to `stop`, which is read, too; to the end without one.
    fn read(&mut self, stop: Option<char>, keep_escapes: bool, output: &mut Output) -> Result<(), String> {
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == stop => return Ok(()),
                '\'' if self.rules.quotes != Quotes::Ignore => self.single_quoted(output)?,
                '"' if self.rules.quotes != Quotes::Ignore => self.double_quoted(keep_escapes, output)?,
                '$' => {
                    let text = self.variable()?;
                    output.open(&text);
                }
                '<' => self.less_than(output),
                c if c == self.rules.escape => self.escaped(c, keep_escapes, output),
                c => output.open(c.encode_utf8(&mut [0; 4])),
            }
        }
        match stop {
            Some(stop) => Err(format!("`{stop}` is missing behind `${{`")),
            None => Ok(()),
        }
    }

    /// What follows an escape character is nothing but itself; at the end there is nothing to escape.
    fn escaped(&mut self, escape: char, keep: bool, output: &mut Output) {
        if keep {
            output.closed_char(escape);
        }
        if let Some(c) = self.next() {
            output.closed_char(c);
        }
    }

    /// The space behind `<<` belongs to the heredoc's name.
    fn less_than(&mut self, output: &mut Output) {
        output.closed("<");
        if self.peek() == Some('<') {
            self.next();
            let behind = self.rest.trim_start_matches(['\t', '\r', ' ']);
            output.closed("<");
            output.closed(&self.rest[..self.rest.len() - behind.len()]);
            self.rest = behind;
        }
    }

    fn single_quoted(&mut self, output: &mut Output) -> Result<(), String> {
        let (quoted, rest) = self.rest.split_once('\'').ok_or("a single quote is not closed")?;
        self.rest = rest;
        self.quote('\'', output);
        output.closed(quoted);
        self.quote('\'', output);
        Ok(())
    }

    fn double_quoted(&mut self, keep_escapes: bool, output: &mut Output) -> Result<(), String> {
        self.quote('"', output);
        loop {
            match self.next().ok_or("a double quote is not closed")? {
                '"' => break,
                '$' => {
                    let text = self.variable()?;
                    output.closed(&text);
                }
                c if c == self.rules.escape => self.escaped_in_quotes(c, keep_escapes, output),
                c => output.closed_char(c),
            }
        }
        self.quote('"', output);
        Ok(())
    }

    /// Only `"`, `$` and the escape character can be escaped; before anything else it stays.
    fn escaped_in_quotes(&mut self, escape: char, keep: bool, output: &mut Output) {
        if keep {
            output.closed_char(escape);
        }
        match self.peek() {
            None => {}
            Some(c) if c == '"' || c == '$' || c == escape => {
                self.next();
                output.closed_char(c);
            }
            Some(_) => output.closed_char(escape),
        }
    }

    fn quote(&self, quote: char, output: &mut Output) {
        if self.rules.quotes == Quotes::Keep {
            output.closed_char(quote);
        }
    }

    /// What follows `$`.
    fn variable(&mut self) -> Result<String, String> {
        if self.peek() == Some('{') {
            self.next();
            self.depth += 1;
            if self.depth > DEPTH {
                return Err(format!("`${{` is nested deeper than {DEPTH}"));
            }
            let text = self.braced()?;
            self.depth -= 1;
            return Ok(text);
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.lookup(name)? {
            Some(value) => Ok(value.to_owned()),
            None if self.rules.keep_unset => Ok(format!("${name}")),
            None => Ok(String::new()),
        }
    }

    /// A name: digits, one special character, or letters, digits and underscores.
    fn name(&mut self) -> &'a str {
        let rest = self.rest;
        let length = match rest.chars().next() {
            Some(c) if c.is_numeric() => length_while(rest, char::is_numeric),
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => length_while(rest, |c| c == '_' || c.is_alphanumeric()),
        };
        let (name, rest) = rest.split_at(length);
        self.rest = rest;
        name
    }

    fn lookup(&mut self, name: &str) -> Result<Option<&'v str>, String> {
        let value = (self.value)(name);
        self.budget.take(value.map_or(0, str::len))?;
        let names = if value.is_some() { &mut self.done.used } else { &mut self.done.unset };
        if !names.contains(name) {
            names.insert(name.to_owned());
        }
        Ok(value)
    }

    /// What follows `${`.
    fn braced(&mut self) -> Result<String, String> {
        if matches!(self.peek(), Some('{' | '}' | ':')) {
            return Err("`${` must be followed by the name of a variable".to_owned());
        }
        let name = self.name().to_owned();
        match self.next() {
            None => Err(format!("`}}` is missing behind `${{{name}`")),
            Some('}') => Ok(match self.lookup(&name)? {
                Some(value) => value.to_owned(),
                None if self.rules.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            Some(':') => match self.next() {
                Some(operator @ ('-' | '+' | '?')) => self.chosen(&name, operator, true),
                operator => Err(unknown_operator(&name, ":", operator)),
            },
            Some(operator @ ('-' | '+' | '?')) => self.chosen(&name, operator, false),
            Some(end @ ('#' | '%')) => self.trimmed(&name, end),
            Some('/') => self.replaced(&name),
            operator => Err(unknown_operator(&name, "", operator)),
        }
    }

    /// The text up to `stop`, expanded.
    fn operand(&mut self, stop: char, keep_escapes: bool) -> Result<String, String> {
        let mut output = Output::default();
        self.read(Some(stop), keep_escapes, &mut output)?;
        Ok(output.text)
    }

    /// `-`, `+` and `?`, which choose between the value and a word.
    fn chosen(&mut self, name: &str, operator: char, empty_is_unset: bool) -> Result<String, String> {
        let word = self.operand('}', false)?;
        let value = self.lookup(name)?;
        if value.is_none() && self.rules.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{operator}{word}}}"));
        }
        let there = value.filter(|value| !(empty_is_unset && value.is_empty()));
        match (operator, there) {
            ('-', None) | ('+', Some(_)) => Ok(word),
            ('-' | '?', Some(value)) => Ok(value.to_owned()),
            ('?', None) if word.is_empty() && value.is_some() => {
                Err(format!("{name}: is not allowed to be empty"))
            }
            ('?', None) if word.is_empty() => Err(format!("{name}: is not allowed to be unset")),
            ('?', None) => Err(format!("{name}: {word}")),
            _ => Ok(String::new()),
        }
    }

    /// `#` and `%`, doubled for the longest match.
    fn trimmed(&mut self, name: &str, end: char) -> Result<String, String> {
        let word = self.operand('}', true)?;
        let value = self.lookup(name)?;
        if value.is_none() && self.rules.keep_unset {
            return Ok(format!("${{{name}{end}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (pattern, longest) = match word.strip_prefix(end) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let glob = glob::Glob::new(pattern, longest)?;
        self.budget.take(glob.cost(value))?;
        Ok(if end == '#' { glob.without_start(value) } else { glob.without_end(value) })
    }

    /// `/`, doubled for every match.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let every = self.peek() == Some('/');
        if every {
            self.next();
        }
        let pattern = self.operand('/', true)?;
        let replacement = self.operand('}', true)?;
        let value = self.lookup(name)?;
        if value.is_none() && self.rules.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let value = value.unwrap_or_default();
        let glob = glob::Glob::new(&pattern, true)?;
        self.budget.take(glob.cost(value))?;
        glob.replace(value, &replacement, every, &mut |bytes| self.budget.take(bytes))
    }
}

fn length_while(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

fn unknown_operator(name: &str, colon: &str, operator: Option<char>) -> String {
    match operator {
        Some(operator) => format!("`{colon}{operator}` means nothing behind `${{{name}`"),
        None => format!("`}}` is missing behind `${{{name}{colon}`"),
    }
}

#[cfg(test)]
mod tests;
