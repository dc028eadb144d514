//! One pattern: what Go's `filepath.Match` has, and `**`.
//!
//! | written | matches |
//! |---|---|
//! | `?`, `*` | one character, any number of characters, none of them a slash |
//! | `[a-z]`, `[^a-z]` | one character of a set, or not of it (then also a slash, as in moby) |
//! | `\c` | `c` |
//! | `**/` | any directories, or none |
//! | `**` at the end | anything |
//! | `**name` | whatever ends with `name`, if nothing else is special |
//!
//! A pattern is a row of steps, and a set of [`States`] says in front of which steps it may be. A character moves the whole
//! set on, so a name costs at most its length times that of the pattern.

/// One step of a pattern.
#[derive(Clone, Debug)]
enum Step {
    One(char),
    /// `?`
    Any,
    /// `*`
    Many,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `**/`: goes on behind the next step, too, without any directory.
    Directories,
    /// In a directory of `**/`, up to a slash.
    InDirectories,
    /// `**`
    Everything,
}

/// A pattern that can be followed along a path.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    steps: Vec<Step>,
}

/// In front of which steps a pattern may be: one bit each. Bit `steps.len()` is the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct States(Vec<u64>);

impl States {
    /// Whether the pattern may still match something.
    pub(super) fn is_alive(&self) -> bool {
        self.0.iter().any(|word| *word != 0)
    }

    fn has(&self, state: usize) -> bool {
        self.0.get(state / 64).is_some_and(|word| word & (1 << (state % 64)) != 0)
    }

    fn add(&mut self, state: usize) {
        if let Some(word) = self.0.get_mut(state / 64) {
            *word |= 1 << (state % 64);
        }
    }

    /// The states, ascending.
    fn each(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let next = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            let rests = std::iter::successors(Some(*word).filter(|word| *word != 0), next);
            rests.map(move |rest| index * 64 + rest.trailing_zeros() as usize)
        })
    }
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        let mut steps = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let behind = &rest[c.len_utf8()..];
            rest = match c {
                '*' if behind.starts_with('*') => stars(&mut steps, &behind[1..]),
                '[' => set(&mut steps, behind)?,
                '\\' => {
                    let escaped = behind.chars().next().ok_or("nothing follows the last `\\`")?;
                    steps.push(Step::One(escaped));
                    &behind[escaped.len_utf8()..]
                }
                _ => {
                    steps.push(match c {
                        '*' => Step::Many,
                        '?' => Step::Any,
                        c => Step::One(c),
                    });
                    behind
                }
            };
        }
        Ok(Self { steps })
    }

    /// In front of everything.
    pub(super) fn start(&self) -> States {
        let mut states = self.none();
        self.reach(&mut states, 0);
        states
    }

    fn none(&self) -> States {
        States(vec![0; self.steps.len() / 64 + 1])
    }

    /// Whether what was followed so far is a match.
    pub(super) fn accepts(&self, states: &States) -> bool {
        states.has(self.steps.len())
    }

    /// Follows the characters of `text`.
    pub(super) fn follow(&self, states: &mut States, text: &str) {
        let mut next = self.none();
        for c in text.chars() {
            if !states.is_alive() {
                return;
            }
            next.0.fill(0);
            for state in states.each() {
                self.advance(&mut next, state, c);
            }
            std::mem::swap(states, &mut next);
        }
    }

    fn advance(&self, next: &mut States, state: usize, c: char) {
        match self.steps.get(state) {
            Some(Step::One(one)) if *one == c => self.reach(next, state + 1),
            Some(Step::Any) if c != '/' => self.reach(next, state + 1),
            Some(Step::Many) if c != '/' => self.reach(next, state),
            Some(Step::Set { negated, ranges }) if is_in(ranges, c) != *negated => {
                self.reach(next, state + 1)
            }
            Some(Step::InDirectories) => {
                next.add(state);
                if c == '/' {
                    self.reach(next, state + 1);
                }
            }
            Some(Step::Everything) => self.reach(next, state),
            _ => {}
        }
    }

    /// Adds a state and those that follow from it without a character.
    fn reach(&self, states: &mut States, from: usize) {
        let mut state = from;
        while !states.has(state) {
            states.add(state);
            state = match self.steps.get(state) {
                Some(Step::Many | Step::Everything) => state + 1,
                Some(Step::Directories) => {
                    states.add(state + 1);
                    state + 2
                }
                _ => return,
            };
        }
    }
}

fn is_in(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|(low, high)| (*low..=*high).contains(&c))
}

/// `**`, and what follows it.
fn stars<'a>(steps: &mut Vec<Step>, rest: &'a str) -> &'a str {
    let behind = rest.strip_prefix('/').unwrap_or(rest);
    let first = steps.is_empty();
    let plain = !behind.contains(['*', '?', '[', ']', '\\']);
    // At the very beginning, with nothing but a name behind, `**` without a slash is the end of a name as well.
    if behind.is_empty() || (first && plain && rest.len() == behind.len()) {
        steps.push(Step::Everything);
    } else {
        steps.extend([Step::Directories, Step::InDirectories]);
    }
    behind
}

/// What follows `[`, up to `]`.
fn set<'a>(steps: &mut Vec<Step>, text: &'a str) -> Result<&'a str, &'static str> {
    const OPEN: &str = "`[` is not closed";
    let (negated, mut rest) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if let Some(behind) = rest.strip_prefix(']').filter(|_| !ranges.is_empty()) {
            steps.push(Step::Set { negated, ranges });
            return Ok(behind);
        }
        let (low, behind) = member(rest)?;
        let (high, behind) = match behind.strip_prefix('-') {
            Some(behind) => member(behind)?,
            None => (low, behind),
        };
        if low > high {
            return Err("a range in `[…]` ends before it begins");
        }
        if behind.is_empty() {
            return Err(OPEN);
        }
        ranges.push((low, high));
        rest = behind;
    }
}

/// One character of a set, which may be escaped.
fn member(text: &str) -> Result<(char, &str), &'static str> {
    let (text, escaped) = match text.strip_prefix('\\') {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    match text.chars().next() {
        None => Err("`[` is not closed"),
        Some('-' | ']') if !escaped => {
            Err("`-` and `]` in `[…]` must be escaped where they are meant themselves")
        }
        Some(c) => Ok((c, &text[c.len_utf8()..])),
    }
}
