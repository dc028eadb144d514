//! A Rust file as the checks see it: its text, and its code with everything that is not code blanked out.
//!
//! This is not a parser. It knows comments (nested), strings (plain, byte, C, raw), character literals and lifetimes,
//! which is what it takes to count braces and find words of the language without being fooled.

/// A Rust file.
pub struct Source {
    /// From the root of the repository.
    pub path: String,
    /// The file as it is.
    pub text: String,
    /// The same lines, with comments and the insides of literals as spaces.
    pub code: String,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`, from 1.
    pub first: usize,
    /// The line of the closing brace.
    pub last: usize,
}

impl Source {
    /// Blanks what is not code.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned(), code: Blanker::blank(text) }
    }

    /// The functions with a body, in the order in which they start; one inside another counts for both.
    pub fn functions(&self) -> Vec<Function> {
        let words = words(&self.code);
        let named = words.windows(2).filter(|pair| pair[0].text == "fn" && pair[1].is_name());
        named.filter_map(|pair| self.function(pair[0].at, pair[1].text)).collect()
    }

    /// The lines, from 1, on which `word` stands in code.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let found = words(&self.code).into_iter().filter(|found| found.text == word);
        found.map(|found| self.line(found.at)).collect()
    }

    /// The function whose `fn` stands at `start`, unless it is a declaration without a body.
    fn function(&self, start: usize, name: &str) -> Option<Function> {
        let open = self.after_signature(start)?;
        if self.code.as_bytes()[open] == b';' {
            return None;
        }
        let close = open + matching_brace(&self.code[open..])?;
        Some(Function { name: name.to_owned(), first: self.line(start), last: self.line(close) })
    }

    /// Where the `{` or `;` after a signature is: the first outside of parentheses and brackets (`[u8; 4]`).
    fn after_signature(&self, start: usize) -> Option<usize> {
        let mut depth = 0usize;
        for (at, c) in self.code[start..].char_indices() {
            match c {
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                '{' | ';' if depth == 0 => return Some(start + at),
                _ => {}
            }
        }
        None
    }

    fn line(&self, at: usize) -> usize {
        1 + self.code[..at].matches('\n').count()
    }
}

/// A word of code.
struct Word<'a> {
    at: usize,
    text: &'a str,
}

impl Word<'_> {
    fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphabetic())
    }
}

/// Identifiers, keywords and numbers. `fn` in a type (`fn(u8)`) is told apart by the word that follows: see `gap`.
fn words(code: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut gap_is_space = true;
    for (at, c) in code.char_indices().chain([(code.len(), ' ')]) {
        let inside = c == '_' || c.is_alphanumeric();
        match (inside, start) {
            (true, None) => {
                // Anything but space between two words keeps them from being a pair.
                if !gap_is_space {
                    words.push(Word { at, text: "" });
                }
                start = Some(at);
            }
            (false, Some(from)) => {
                words.push(Word { at: from, text: &code[from..at] });
                start = None;
                gap_is_space = c.is_whitespace();
            }
            (false, None) => gap_is_space &= c.is_whitespace(),
            (true, Some(_)) => {}
        }
    }
    words
}

/// Where the brace that opens `code` is closed.
fn matching_brace(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Walks over a text and writes spaces for what is not code.
struct Blanker<'a> {
    rest: &'a str,
    before: Option<char>,
    code: String,
}

impl<'a> Blanker<'a> {
    fn blank(text: &'a str) -> String {
        let mut blanker = Self { rest: text, before: None, code: String::with_capacity(text.len()) };
        while let Some(first) = blanker.rest.chars().next() {
            match blanker.literal_length(first) {
                Some(length) => blanker.skip(length),
                None => blanker.keep(first),
            }
        }
        blanker.code
    }

    /// The length of the comment or literal that starts here, if one does.
    fn literal_length(&self, first: char) -> Option<usize> {
        let rest = self.rest;
        match first {
            '/' if rest.starts_with("//") => Some(rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => Some(comment_length(rest)),
            '"' => Some(string_length(rest)),
            '\'' => character_length(rest),
            'r' | 'b' | 'c' if !self.is_inside_word() => prefixed_length(rest),
            _ => None,
        }
    }

    fn is_inside_word(&self) -> bool {
        self.before.is_some_and(|c| c == '_' || c.is_alphanumeric())
    }

    fn skip(&mut self, length: usize) {
        let (skipped, rest) = self.rest.split_at(length);
        self.code.extend(skipped.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        self.rest = rest;
        self.before = None;
    }

    fn keep(&mut self, first: char) {
        self.code.push(first);
        self.rest = &self.rest[first.len_utf8()..];
        self.before = Some(first);
    }
}

/// The length of a block comment; they nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// The length of a string with escapes, from its opening quote.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a character literal; `None` for a lifetime or a label.
fn character_length(text: &str) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        // The character after the backslash may be the quote itself.
        let close = text.get(3..)?.find('\'')?;
        return Some(3 + close + 1);
    }
    let (at, next) = characters.next()?;
    (next == '\'').then_some(at + 1)
}

/// The length of a literal with a prefix: `b'…'`, `b"…"`, `c"…"`, `r"…"`, `br#"…"#`, `cr#"…"#`.
fn prefixed_length(text: &str) -> Option<usize> {
    let prefix = text.find(|c| !matches!(c, 'r' | 'b' | 'c')).filter(|length| *length <= 2)?;
    let (letters, rest) = text.split_at(prefix);
    if letters.ends_with('r') {
        return raw_length(rest).map(|length| prefix + length);
    }
    match rest.chars().next()? {
        '"' => Some(prefix + string_length(rest)),
        '\'' if letters == "b" => character_length(rest).map(|length| prefix + length),
        _ => None,
    }
}

/// The length of a raw string after its `r`; `None` for a raw identifier.
fn raw_length(text: &str) -> Option<usize> {
    let hashes = text.find(|c| c != '#')?;
    if !text[hashes..].starts_with('"') {
        return None;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let inside = &text[hashes + 1..];
    Some(inside.find(&end).map_or(text.len(), |at| hashes + 1 + at + end.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_file_with_everything_that_could_fool_it() {
        let source = Source::new("tricky", include_str!("golden/tricky.rs.txt"));
        let expected = include_str!("golden/tricky.functions.txt");
        let found: Vec<_> =
            source.functions().iter().map(|f| format!("{} {}-{}\n", f.name, f.first, f.last)).collect();
        assert_eq!(found.concat(), expected);
        assert_eq!(source.lines_with("unsafe"), [68]);
        assert_eq!(source.code.lines().count(), source.text.lines().count());
    }

    #[test]
    fn literals_are_blanked_and_lifetimes_are_not() {
        let blank = |text: &str| Blanker::blank(text);
        assert_eq!(blank("a '{' b"), "a     b");
        assert_eq!(blank(r"a '\'' b"), "a      b");
        assert_eq!(blank(r#"a b"\"}" b"#), "a        b");
        assert_eq!(blank("x: &'a str, 'b: loop"), "x: &'a str, 'b: loop");
        assert_eq!(blank("r#type for_r#x"), "r#type for_r#x");
    }

    #[test]
    fn text_that_ends_too_early_is_no_panic() {
        for text in
            ["\"", "'", "'\\", "r#\"", "/*", "b'", "fn", "fn x", "fn x(", "fn x() {", "br##\"a\"#", "é'é"]
        {
            let source = Source::new("broken", text);
            assert!(source.functions().is_empty(), "{text}");
        }
    }
}
