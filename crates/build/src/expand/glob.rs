//! Globs behind `${NAME#`, `%` and `/`: `*`, `?`, and `\` before a character that is meant itself.
//!
//! A match is looked for as a depth-first search over (place in the glob, place in the value) that enters no pair twice:
//! whether the rest matches from a pair does not depend on how one came there. So a search costs glob times value.

/// A part of a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    One(char),
    /// `?`: any one but a line break.
    Any,
    /// `*`: any number of any but a line break.
    Many,
}

/// A glob that can be looked for.
pub(super) struct Glob {
    parts: Vec<Part>,
    /// Whether `*` takes as much as it can.
    longest: bool,
}

impl Glob {
    /// Reads a glob.
    ///
    /// # Errors
    /// `\` before a character that needs none.
    pub(super) fn new(text: &str, longest: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '*' => Part::Many,
                '?' => Part::Any,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Part::One(c),
                    Some(c) => return Err(format!("`\\{c}` means nothing in the pattern `{text}`")),
                    None => return Err(format!("nothing follows the last `\\` of the pattern `{text}`")),
                },
                c => Part::One(c),
            });
        }
        Ok(Self { parts, longest })
    }

    /// What looking for it in `value` costs, in bytes of memory.
    pub(super) fn cost(&self, value: &str) -> usize {
        value.len().saturating_mul(5).saturating_add(value.len().saturating_mul(self.parts.len()) / 8)
    }

    /// `value` without the beginning that matches.
    pub(super) fn without_start(&self, value: &str) -> String {
        let value: Vec<char> = value.chars().collect();
        let end = Search::new(self, &value).end_from(0).unwrap_or(0);
        value[end..].iter().collect()
    }

    /// `value` without the end that matches: the same, seen from behind.
    pub(super) fn without_end(&self, value: &str) -> String {
        let glob = Self { parts: self.parts.iter().rev().copied().collect(), longest: self.longest };
        let value: Vec<char> = value.chars().rev().collect();
        let end = Search::new(&glob, &value).end_from(0).unwrap_or(0);
        value[end..].iter().rev().collect()
    }

    /// `value` with the first match replaced, or every one; `take` is asked before the text grows.
    pub(super) fn replace(
        &self,
        value: &str,
        replacement: &str,
        every: bool,
        take: &mut dyn FnMut(usize) -> Result<(), String>,
    ) -> Result<String, String> {
        let value: Vec<char> = value.chars().collect();
        let mut search = Search::new(self, &value);
        let mut replaced = String::new();
        let (mut at, mut copied) = (0, 0);
        let mut last_end = None;
        while at <= value.len() {
            // An empty match right behind another one is none.
            let end = search.end_from(at).filter(|end| *end > at || last_end != Some(at));
            let Some(end) = end else {
                at += 1;
                continue;
            };
            take(replacement.len())?;
            replaced.extend(&value[copied..at]);
            replaced.push_str(replacement);
            (copied, last_end) = (end, Some(end));
            at = end.max(at + usize::from(end == at));
            if !every {
                break;
            }
        }
        replaced.extend(value.get(copied..).unwrap_or_default());
        Ok(replaced)
    }
}

/// Pairs that lead nowhere, over all searches in one value.
struct Search<'a> {
    glob: &'a Glob,
    value: &'a [char],
    seen: Vec<u64>,
}

impl<'a> Search<'a> {
    fn new(glob: &'a Glob, value: &'a [char]) -> Self {
        let pairs = (glob.parts.len() + 1) * (value.len() + 1);
        Self { glob, value, seen: vec![0; pairs.div_ceil(64)] }
    }

    /// Where the match that begins at `start` ends.
    fn end_from(&mut self, start: usize) -> Option<usize> {
        let mut open = vec![(0, start)];
        let mut path = Vec::new();
        while let Some((part, at)) = open.pop() {
            if !self.enter(part, at) {
                continue;
            }
            path.push((part, at));
            match self.glob.parts.get(part) {
                None => {
                    self.leave(&path);
                    return Some(at);
                }
                Some(Part::One(c)) => {
                    open.extend((self.value.get(at) == Some(c)).then_some((part + 1, at + 1)))
                }
                Some(Part::Any) => open.extend(self.takes(at).then_some((part + 1, at + 1))),
                // What is pushed last is tried first.
                Some(Part::Many) => {
                    let more = self.takes(at).then_some((part, at + 1));
                    let enough = Some((part + 1, at));
                    let (second, first) = if self.glob.longest { (enough, more) } else { (more, enough) };
                    open.extend(second.into_iter().chain(first));
                }
            }
        }
        None
    }

    fn takes(&self, at: usize) -> bool {
        self.value.get(at).is_some_and(|c| *c != '\n')
    }

    /// Marks a pair; false if it was marked.
    fn enter(&mut self, part: usize, at: usize) -> bool {
        let (word, bit) = self.place(part, at);
        let Some(word) = self.seen.get_mut(word) else { return false };
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// A search that succeeded tells nothing of the pairs that it entered: they may lead somewhere.
    fn leave(&mut self, path: &[(usize, usize)]) {
        for (part, at) in path {
            let (word, bit) = self.place(*part, *at);
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
    }

    fn place(&self, part: usize, at: usize) -> (usize, u64) {
        let pair = part * (self.value.len() + 1) + at;
        (pair / 64, 1 << (pair % 64))
    }
}
