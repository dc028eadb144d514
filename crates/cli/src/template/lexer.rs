//! Template text to tokens: literal text, and what stands between `{{` and `}}`.

use super::Fault;

/// One token with the byte where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub at: usize,
    /// Nothing separates it from the token before: `.A.B` is one path, `.A .B` are two.
    pub glued: bool,
    pub kind: Kind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Text outside of actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.` alone.
    Dot,
    /// `.Name`
    Field(String),
    /// `$` or `$name`, without the dollar sign.
    Variable(String),
    /// A word: a keyword or a function.
    Word(String),
    /// A string or character literal.
    String(String),
    /// A number literal as written.
    Number(String),
    /// `|`
    Pipe,
    /// `(`
    LeftParenthesis,
    /// `)`
    RightParenthesis,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// All tokens of a template; with `escapes`, `\t`, `\n` and `\\` outside of actions are what they mean in Go.
pub fn tokens(source: &str, escapes: bool) -> Result<Vec<Token>, Fault> {
    let mut lexer = Lexer { source, escapes, at: 0, tokens: Vec::new() };
    let mut trim = false;
    while let Some(open) = lexer.rest().find("{{") {
        let trim_before = opens_trimming(lexer.rest().get(open + 2..).unwrap_or(""));
        lexer.text(open, trim, trim_before);
        trim = lexer.action(trim_before)?;
    }
    let rest = lexer.rest().len();
    lexer.text(rest, trim, false);
    Ok(lexer.tokens)
}

/// `{{- ` trims the text before; `{{-3}}` is a number.
fn opens_trimming(inside: &str) -> bool {
    inside.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace()))
}

struct Lexer<'a> {
    source: &'a str,
    escapes: bool,
    at: usize,
    tokens: Vec<Token>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or("")
    }

    fn push(&mut self, length: usize, glued: bool, kind: Kind) {
        self.tokens.push(Token { at: self.at, glued, kind });
        self.at += length;
    }

    fn text(&mut self, length: usize, trim_start: bool, trim_end: bool) {
        let mut text = &self.rest()[..length];
        if trim_start {
            text = text.trim_start();
        }
        if trim_end {
            text = text.trim_end();
        }
        match text {
            "" => self.at += length,
            text if self.escapes => self.push(length, false, Kind::Text(unescape_text(text))),
            text => self.push(length, false, Kind::Text(text.to_owned())),
        }
    }

    /// Reads one action; says whether it trims the text behind it.
    fn action(&mut self, trims_before: bool) -> Result<bool, Fault> {
        let opened = self.at;
        self.push(2, false, Kind::Open);
        self.at += usize::from(trims_before);
        if let Some(trims) = self.comment(opened)? {
            self.tokens.pop();
            return Ok(trims);
        }
        loop {
            let blank = self.skip_blanks();
            let rest = self.rest();
            if rest.is_empty() {
                return Err(Fault::new(opened, "unclosed action"));
            }
            if let Some(trims) = closing(rest, blank) {
                self.at += usize::from(trims);
                self.push(2, false, Kind::Close);
                return Ok(trims);
            }
            self.token(!blank)?;
        }
    }

    /// Skips `/* ... */` where the action is one.
    fn comment(&mut self, opened: usize) -> Result<Option<bool>, Fault> {
        let rest = self.rest();
        let inside = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(body) = inside.strip_prefix("/*") else { return Ok(None) };
        let end = body.find("*/").ok_or_else(|| Fault::new(opened, "unclosed comment"))?;
        self.at += rest.len() - body.len() + end + 2;
        let blank = self.skip_blanks();
        let trims = closing(self.rest(), blank)
            .ok_or_else(|| Fault::new(self.at, "a comment ends before closing delimiter"))?;
        self.at += 2 + usize::from(trims);
        Ok(Some(trims))
    }

    fn skip_blanks(&mut self) -> bool {
        let rest = self.rest();
        let blanks = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).len();
        self.at += blanks;
        blanks > 0
    }

    fn token(&mut self, glued: bool) -> Result<(), Fault> {
        let rest = self.rest();
        let first = rest.chars().next().unwrap_or_default();
        match first {
            '|' => self.push(1, glued, Kind::Pipe),
            '(' => self.push(1, glued, Kind::LeftParenthesis),
            ')' => self.push(1, glued, Kind::RightParenthesis),
            ',' => self.push(1, glued, Kind::Comma),
            '=' => self.push(1, glued, Kind::Assign),
            ':' if rest.starts_with(":=") => self.push(2, glued, Kind::Declare),
            '.' => self.field(glued)?,
            '$' => {
                let name = word(&rest[1..]);
                self.push(1 + name.len(), glued, Kind::Variable(name.to_owned()));
            }
            '"' | '\'' => self.quoted(glued)?,
            '`' => self.raw_string(glued)?,
            '-' | '+' | '0'..='9' => self.number(glued)?,
            c if is_word_start(c) => {
                let name = word(rest);
                self.push(name.len(), glued, Kind::Word(name.to_owned()));
            }
            c => return Err(Fault::new(self.at, format!("unexpected `{c}`"))),
        }
        Ok(())
    }

    fn field(&mut self, glued: bool) -> Result<(), Fault> {
        let rest = &self.rest()[1..];
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return self.number(glued);
        }
        match word(rest) {
            "" => self.push(1, glued, Kind::Dot),
            name => self.push(1 + name.len(), glued, Kind::Field(name.to_owned())),
        }
        Ok(())
    }

    fn number(&mut self, glued: bool) -> Result<(), Fault> {
        let rest = self.rest();
        let digits = |c: char| !(c.is_ascii_alphanumeric() || c == '.');
        let length = rest.get(1..).and_then(|rest| rest.find(digits)).map_or(rest.len(), |end| end + 1);
        let text = &rest[..length];
        if text.parse::<f64>().is_err() {
            return Err(Fault::new(self.at, format!("`{text}` is not a number")));
        }
        self.push(length, glued, Kind::Number(text.to_owned()));
        Ok(())
    }

    fn raw_string(&mut self, glued: bool) -> Result<(), Fault> {
        let body = &self.rest()[1..];
        let end = body.find('`').ok_or_else(|| Fault::new(self.at, "unterminated raw string"))?;
        self.push(end + 2, glued, Kind::String(body[..end].to_owned()));
        Ok(())
    }

    fn quoted(&mut self, glued: bool) -> Result<(), Fault> {
        let mut chars = self.rest().char_indices();
        let (_, quote) = chars.next().unwrap_or_default();
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.push(at + c.len_utf8(), glued, Kind::String(text));
                    return Ok(());
                }
                '\n' => break,
                '\\' => text.push(unescape(chars.next().map(|(_, c)| c)).ok_or_else(|| {
                    Fault::new(self.at + at, "unknown escape: \\n, \\t, \\r, \\\\, \\\" and \\' are known")
                })?),
                c => text.push(c),
            }
        }
        Err(Fault::new(self.at, "unterminated string"))
    }
}

/// Whether an action ends here, and whether it trims.
fn closing(rest: &str, blank: bool) -> Option<bool> {
    if rest.starts_with("}}") {
        return Some(false);
    }
    (blank && rest.starts_with("-}}")).then_some(true)
}

fn is_word_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

fn unescape(escaped: Option<char>) -> Option<char> {
    match escaped? {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        c @ ('\\' | '"' | '\'') => Some(c),
        _ => None,
    }
}

/// A shell hands `\t` over as two characters; any other backslash is one.
fn unescape_text(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let meant = match (c, chars.peek()) {
            ('\\', Some('t')) => Some('\t'),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('\\')) => Some('\\'),
            _ => None,
        };
        if meant.is_some() {
            chars.next();
        }
        result.push(meant.unwrap_or(c));
    }
    result
}
