//! What the guest has recorded: for each step its output, its errors, its exit code and its time.
//!
//! ```text
//! @step NAME
//! oA LINE OF OUTPUT
//! eA LINE OF ERRORS
//! @end CODE BEGIN END        seconds since the start of the guest's kernel
//! @over                      after the last step
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// How one step ended.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    name: String,
    code: Option<i32>,
    out: Vec<String>,
    err: Vec<String>,
    /// When it began and ended, in seconds since the start of the guest's kernel.
    pub time: (f64, f64),
}

impl Answer {
    /// The step's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Standard output without the last line break.
    pub fn out(&self) -> String {
        self.out.join("\n")
    }

    /// Standard error without the last line break.
    pub fn err(&self) -> String {
        self.err.join("\n")
    }

    /// Demands an exit code.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(self.code == Some(code), "exit code {:?}, expected {code}: {self}", self.code);
        self
    }

    /// Demands success and this output.
    #[track_caller]
    pub fn says(&self, out: &str) {
        self.expect_code(0);
        assert!(self.out() == out, "expected {out:?}: {self}");
    }

    /// Demands success and returns standard output.
    #[track_caller]
    pub fn ok(&self) -> String {
        self.expect_code(0).out()
    }

    /// Demands these lines of errors, by a part of each.
    #[track_caller]
    pub fn errs(&self, parts: &[&str]) {
        let err = self.err();
        let lines: Vec<_> = err.lines().collect();
        let same =
            lines.len() == parts.len() && lines.iter().zip(parts).all(|(line, part)| line.contains(part));
        assert!(same, "expected {parts:#?}: {self}");
    }

    /// Demands this exit code and an error that contains this text.
    #[track_caller]
    pub fn fails(&self, code: i32, text: &str) {
        self.expect_code(code);
        assert!(self.err().contains(text), "no {text:?}: {self}");
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, out, err, .. } = self;
        write!(formatter, "step `{name}`\n--- stdout\n{}\n--- stderr\n{}", out.join("\n"), err.join("\n"))
    }
}

/// The answers of one boot.
pub struct Record {
    answers: BTreeMap<String, Answer>,
    /// Whether the last step was reached.
    pub complete: bool,
}

impl Record {
    /// Reads what the guest wrote; a record that breaks off is read as far as it goes.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut record = Self { answers: BTreeMap::new(), complete: false };
        let mut current = Answer::default();
        for line in text.split('\n') {
            let mut letters = line.chars();
            match letters.next() {
                Some('o') => current.out.push(letters.as_str().to_owned()),
                Some('e') => current.err.push(letters.as_str().to_owned()),
                Some('@') => record.mark(letters.as_str(), &mut current),
                _ => {}
            }
        }
        record
    }

    fn mark(&mut self, mark: &str, current: &mut Answer) {
        let words: Vec<_> = mark.split(' ').collect();
        match words.as_slice() {
            ["step", ..] => {
                *current = Answer { name: mark.trim_start_matches("step ").to_owned(), ..Answer::default() };
            }
            ["end", code, begin, end] => {
                let seconds = |text: &str| text.parse().unwrap_or(f64::NAN);
                current.code = code.parse().ok();
                current.time = (seconds(begin), seconds(end));
                self.answers.insert(current.name.clone(), std::mem::take(current));
            }
            ["over"] => self.complete = true,
            _ => {}
        }
    }

    /// The answer to a step.
    #[track_caller]
    pub fn answer(&self, name: &str) -> &Answer {
        self.answers.get(name).unwrap_or_else(|| panic!("the guest did not get to `{name}`"))
    }

    /// All answers, in the order of their names.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.answers.values()
    }
}
