//! `--filter KEY=VALUE` of lists: keys with all the values that were given for each.

use std::collections::BTreeMap;

/// Filters by key. Values of one key are alternatives, keys must all hold; for labels every value must.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Parses filters of which `known` are supported and `planned` are not yet.
    ///
    /// # Errors
    /// A filter without `=`, or of another key, by name.
    pub fn parse<Word: AsRef<str>>(words: &[Word], known: &[&str], planned: &[&str]) -> Result<Self, String> {
        let mut filters = BTreeMap::<String, Vec<String>>::new();
        for word in words {
            let word = word.as_ref();
            let (key, value) =
                word.split_once('=').ok_or_else(|| format!("`{word}` is no filter: write KEY=VALUE"))?;
            let key = key.trim().to_ascii_lowercase();
            if planned.contains(&key.as_str()) {
                return Err(format!("filter `{key}` is not supported yet"));
            }
            if !known.contains(&key.as_str()) {
                return Err(format!("unknown filter `{key}`: {} are known", known.join(", ")));
            }
            filters.entry(key).or_default().push(value.trim().to_owned());
        }
        Ok(Self(filters))
    }

    /// Adds a value.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_owned()).or_default().push(value.to_owned());
    }

    /// The values of a key.
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether a key has no values, or one that fits.
    pub fn any(&self, key: &str, fits: impl Fn(&str) -> bool) -> bool {
        let values = self.values(key);
        values.is_empty() || values.iter().any(|value| fits(value))
    }

    /// Whether every `label` filter fits: a key that is there, or `KEY=VALUE` that is.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label").iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|given| given == value),
            None => labels.contains_key(wanted),
        })
    }
}

/// A `name` filter: a part of the name, which `^` and `$` bind to an end.
#[derive(Debug)]
pub struct NamePattern {
    text: String,
    from_start: bool,
    to_end: bool,
}

impl NamePattern {
    /// Parses a pattern; a slash in front stands for the start, since Docker's names begin with one inside.
    ///
    /// # Errors
    /// Other signs of regular expressions.
    pub fn parse(pattern: &str) -> Result<Self, String> {
        let rest = pattern.strip_prefix('^').unwrap_or(pattern);
        let text = rest.strip_prefix('/').unwrap_or(rest);
        let from_start = text.len() < pattern.len();
        let to_end = text.ends_with('$');
        let text = text.strip_suffix('$').unwrap_or(text);
        if text.contains(['*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '\\', '^', '$']) {
            return Err(format!("name=`{pattern}`: regular expressions are not supported, only `^` and `$`"));
        }
        Ok(Self { text: text.to_owned(), from_start, to_end })
    }

    /// Whether a name is like it.
    pub fn fits(&self, name: &str) -> bool {
        let text = self.text.as_str();
        match (self.from_start, self.to_end) {
            (true, true) => name == text,
            (true, false) => name.starts_with(text),
            (false, true) => name.ends_with(text),
            (false, false) => name.contains(text),
        }
    }
}

/// Whether a text fits a pattern of `*`, `?` and plain characters, as `reference` filters have it; `*` stops at `/`.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where to go on after the last `*` when a plain character does not fit: one character further each time.
    let (mut p, mut t, mut retry) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some('?') if text[t] != '/' => (p, t) = (p + 1, t + 1),
            Some(c) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match retry {
                Some((after, from)) if text[from] != '/' => {
                    retry = Some((after, from + 1));
                    (p, t) = (after, from + 1);
                }
                _ => return false,
            },
        }
    }
    pattern[p.min(pattern.len())..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_kept_by_key() {
        let filters = Filters::parse(&["label=a", "label=b=1", "Name=x"], &["label", "name"], &["health"])
            .expect("valid");
        assert_eq!(filters.values("label"), ["a", "b=1"]);
        assert!(filters.any("name", |value| value == "x"));
        assert!(filters.any("id", |_| false));
        let labels =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(filters.labels(&labels(&[("a", ""), ("b", "1")])));
        assert!(!filters.labels(&labels(&[("a", ""), ("b", "2")])));
        for (word, reason) in
            [("x", "is no filter"), ("health=x", "not supported yet"), ("z=1", "unknown filter")]
        {
            let error = Filters::parse(&[word], &["label"], &["health"]).expect_err(word);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn names() {
        let fits = |pattern: &str, name: &str| NamePattern::parse(pattern).expect("valid").fits(name);
        assert!(fits("eb", "web"));
        assert!(fits("^web$", "web") && fits("^/web$", "web") && fits("/web", "web"));
        assert!(!fits("^eb", "web") && !fits("^web$", "web1"));
        assert!(fits("b$", "web"));
        assert!(NamePattern::parse("w.*b").is_err());
    }

    #[test]
    fn globs() {
        for (pattern, text) in [
            ("debian", "debian"),
            ("deb*", "debian"),
            ("*:12", "debian:12"),
            ("a/*", "a/b"),
            ("d?bian*", "debian:12"),
        ] {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("deb", "debian"), ("*", "a/b"), ("a?b", "a/b"), ("x*", "debian")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }
}
