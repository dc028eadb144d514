//! `.dockerignore`: what of a context is left out. The same patterns are those of `COPY --exclude`.
//!
//! ```text
//! # comment          only in the first column
//! node_modules       this and everything below, at the top only
//! **/*.log           at any depth
//! !keep.log          but not this one
//! ```
//! The last pattern that matches a path, or a directory that it is in, decides. So does moby's pattern matcher, with two
//! things that surprise: a pattern is only tried where it would change something, and one that was not tried for a
//! directory is not tried for it again when its files are looked at.
//!
//! A walk keeps a [`Directory`] for each level. It knows which patterns match it, and how far each of the others has come:
//! a name costs its own length, not that of its path, and of patterns that cannot match any more it costs nothing.
//! [`Directory::may_include`] tells whether a walk must look into a directory that is left out itself.

mod pattern;

use crate::dockerfile::path::clean;
use crate::error::{Error, Fault, Kind, Result};
use crate::source::{Position, Source};
use pattern::Pattern;

/// The largest ignore file, in bytes.
pub const SIZE_LIMIT: usize = 1 << 20;
/// Most patterns of one ignore file.
pub const PATTERN_LIMIT: usize = 10_000;

/// Names of ignore files for a Dockerfile of this name, the first that is there counts.
pub fn file_names(dockerfile: &str) -> [String; 2] {
    [format!("{dockerfile}.dockerignore"), ".dockerignore".to_owned()]
}

/// What is left out.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// Without `!`.
    text: String,
    /// `!`: not left out.
    exception: bool,
    pattern: Pattern,
}

/// A directory of a walk.
#[derive(Clone, Debug)]
pub struct Directory {
    excluded: bool,
    may_include: bool,
    levels: Vec<Level>,
}

/// What a directory means for one rule.
#[derive(Clone, Debug)]
struct Level {
    /// It matches the directory, so everything below.
    matched: bool,
    /// How far the pattern has come behind the directory's slash.
    states: pattern::States,
}

impl Ignore {
    /// Reads an ignore file that people call `name`.
    ///
    /// # Errors
    /// A pattern that is none, or a limit.
    pub fn parse(name: &str, bytes: &[u8]) -> std::result::Result<Self, Error> {
        let source = Source::new(name, bytes.get(..SIZE_LIMIT).unwrap_or(bytes));
        let result = match bytes.len() > SIZE_LIMIT {
            true => Err(too_large(1, format!("the file is larger than {} MiB", SIZE_LIMIT >> 20))),
            false => Self::read(&source),
        };
        result.map_err(|fault| fault.of(&source))
    }

    fn read(source: &Source) -> Result<Self> {
        let mut ignore = Self::default();
        for number in 1..=source.len() {
            let line = source.line(number);
            if !line.starts_with('#') {
                ignore.add(&below_root(line), number)?;
            }
        }
        Ok(ignore)
    }

    /// The rules of patterns that stand in a list.
    ///
    /// # Errors
    /// A pattern that is none.
    pub fn of_patterns(patterns: &[String]) -> Result<Self> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.add(pattern, 1)?;
        }
        Ok(ignore)
    }

    /// Adds a pattern of a list.
    fn add(&mut self, text: &str, line: u32) -> Result<()> {
        let position = Position { line, column: 1 };
        let written = text.trim();
        if written.is_empty() {
            return Ok(());
        }
        if self.rules.len() == PATTERN_LIMIT {
            return Err(too_large(line, format!("there are more than {PATTERN_LIMIT} patterns")));
        }
        let text = clean(written);
        let (exception, text) = match text.strip_prefix('!') {
            Some("") => return Err(Fault::new(Kind::Syntax, position, "`!` has no pattern")),
            Some(rest) => (true, rest),
            None => (false, text.as_str()),
        };
        let pattern = Pattern::new(text).map_err(|reason| {
            Fault::new(Kind::Syntax, position, format!("`{written}` is no pattern: {reason}"))
        })?;
        self.rules.push(Rule { text: text.to_owned(), exception, pattern });
        Ok(())
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether some pattern begins with `!`.
    pub fn has_exceptions(&self) -> bool {
        self.rules.iter().any(|rule| rule.exception)
    }

    /// Whether everything at the top is left out by one pattern.
    pub fn excludes_all(&self) -> bool {
        self.rules.iter().any(|rule| !rule.exception && matches!(rule.text.as_str(), "*" | "**" | "**/*"))
    }

    /// The context itself, which is never left out.
    pub fn root(&self) -> Directory {
        let level = |rule: &Rule| Level { matched: false, states: rule.pattern.start() };
        Directory { excluded: false, may_include: true, levels: self.rules.iter().map(level).collect() }
    }

    /// Whether the file `name` in `directory` is left out.
    pub fn excludes_in(&self, directory: &Directory, name: &[u8]) -> bool {
        let name = String::from_utf8_lossy(name);
        let mut excluded = false;
        for (rule, level) in self.rules.iter().zip(&directory.levels) {
            if level.matched || (rule.exception == excluded && rule.matches(level, &name)) {
                excluded = !rule.exception;
            }
        }
        excluded
    }

    /// The directory `name` in `directory`.
    pub fn enter(&self, directory: &Directory, name: &[u8]) -> Directory {
        let name = String::from_utf8_lossy(name);
        let mut excluded = false;
        let mut levels = Vec::with_capacity(self.rules.len());
        for (rule, level) in self.rules.iter().zip(&directory.levels) {
            let mut states = level.states.clone();
            rule.pattern.follow(&mut states, &name);
            let tried = level.matched || rule.exception == excluded;
            let matched = tried && (level.matched || rule.pattern.accepts(&states));
            if matched {
                excluded = !rule.exception;
            }
            rule.pattern.follow(&mut states, "/");
            levels.push(Level { matched, states });
        }
        let may_include = !excluded || self.may_include(&levels);
        Directory { excluded, may_include, levels }
    }

    /// Whether an exception may match below, and no later rule leaves everything out again.
    fn may_include(&self, levels: &[Level]) -> bool {
        for (rule, level) in self.rules.iter().zip(levels).rev() {
            match rule.exception {
                true if level.matched || level.states.is_alive() => return true,
                false if level.matched => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether a path below the context is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let path = clean(path);
        let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let parts = above.split('/').filter(|part| !part.is_empty());
        let directory = parts.fold(self.root(), |above, part| self.enter(&above, part.as_bytes()));
        self.excludes_in(&directory, name.as_bytes())
    }
}

impl Rule {
    fn matches(&self, level: &Level, name: &str) -> bool {
        if !level.states.is_alive() {
            return false;
        }
        let mut states = level.states.clone();
        self.pattern.follow(&mut states, name);
        self.pattern.accepts(&states)
    }
}

impl Directory {
    /// Whether it is left out. What is below may still not be.
    pub fn is_excluded(&self) -> bool {
        self.excluded
    }

    /// Whether anything below may not be left out: a walk must look.
    pub fn may_include(&self) -> bool {
        self.may_include
    }
}

/// Whether a name matches a pattern (`filepath.Match` of Go).
///
/// # Errors
/// A text that is no pattern.
pub(crate) fn is_match(pattern: &str, name: &str) -> std::result::Result<bool, String> {
    let read = Pattern::new(pattern).map_err(|reason| format!("`{pattern}` is no pattern: {reason}"))?;
    let mut states = read.start();
    read.follow(&mut states, name);
    Ok(read.accepts(&states))
}

/// A line of a file as a pattern of a list: what begins with a slash is seen from the context, like everything.
fn below_root(line: &str) -> String {
    let line = line.trim();
    let (sign, path) = match line.strip_prefix('!') {
        Some(path) => ("!", path.trim()),
        None => ("", line),
    };
    if path.is_empty() {
        return sign.to_owned();
    }
    let path = clean(path);
    format!("{sign}{}", path.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&path))
}

fn too_large(line: u32, message: String) -> Fault {
    Fault::new(Kind::TooLarge, Position { line, column: 1 }, message)
}

#[cfg(test)]
mod tests;
