//! Heredocs: `<<NAME` in `RUN`, `COPY` and `ADD`, and the lines below up to one that says `NAME`.

use super::line::Line;
use crate::expand::{Budget, Quotes, Rules, expand};
use crate::source::Position;

/// A text that stands in the Dockerfile itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// What ends it; of `COPY` the name of the file as well.
    pub name: String,
    /// The descriptor in front of `<<`, for the shell.
    pub descriptor: Option<u32>,
    /// Whether variables in it mean something: no part of the name was in quotes.
    pub expand: bool,
    /// `<<-`: tabs at the beginning of lines do not count.
    pub strip_tabs: bool,
    /// The lines, as they are.
    pub content: String,
    /// Where `<<` is.
    pub position: Position,
}

impl Heredoc {
    /// The lines, without tabs in front where these do not count.
    pub fn text(&self) -> String {
        if !self.strip_tabs {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

/// The rules by which a line is searched. The escape character is always a backslash here.
fn rules(quotes: Quotes, keep_escapes: bool) -> Rules {
    Rules { escape: '\\', quotes, keep_escapes, keep_unset: true }
}

fn words(text: &str, quotes: Quotes, keep_escapes: bool) -> Option<Vec<String>> {
    let budget = Budget::new(Budget::FULL);
    expand(text, rules(quotes, keep_escapes), &|_| None, &budget).ok().map(|expansion| expansion.words)
}

/// The heredocs that a line opens, without content. A line whose quotes do not match opens none.
pub(super) fn opened(line: &Line) -> Vec<Heredoc> {
    let found = if line.text.contains("<<") { words(&line.text, Quotes::Keep, true) } else { None };
    let mut heredocs: Vec<_> = found.unwrap_or_default().iter().filter_map(|word| heredoc(word)).collect();
    let places = line.text.match_indices("<<").map(|(at, _)| line.position(at));
    for (heredoc, place) in heredocs.iter_mut().zip(places) {
        heredoc.position = place;
    }
    heredocs
}

/// The heredoc that a word opens: `[descriptor]<<[-] name`.
pub(super) fn heredoc(word: &str) -> Option<Heredoc> {
    let (descriptor, name) = word.split_once("<<")?;
    if !descriptor.bytes().all(|byte| byte.is_ascii_digit()) || name.contains('<') {
        return None;
    }
    let (strip_tabs, name) = match name.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let name = name.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
    // What was in quotes has fewer of them when they are taken away.
    let (bare, kept) = (only(words(name, Quotes::Remove, false)?)?, only(words(name, Quotes::Keep, false)?)?);
    Some(Heredoc {
        expand: quotes(&bare) == quotes(&kept),
        name: bare,
        descriptor: descriptor.parse().ok(),
        strip_tabs,
        content: String::new(),
        position: Position::default(),
    })
}

fn only(words: Vec<String>) -> Option<String> {
    <[String; 1]>::try_from(words).ok().map(|[word]| word)
}

fn quotes(text: &str) -> usize {
    text.matches(['\'', '"']).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, whether variables are expanded, whether tabs go.
    fn seen(word: &str) -> Option<(String, bool, bool)> {
        heredoc(word).map(|heredoc| (heredoc.name, heredoc.expand, heredoc.strip_tabs))
    }

    #[test]
    fn words_that_open_heredocs() {
        let cases = [
            ("<<EOF", "EOF", true, false),
            ("<<-EOF", "EOF", true, true),
            ("<< EOF", "EOF", true, false),
            ("<<- EOF", "EOF", true, true),
            ("<<'EOF'", "EOF", false, false),
            ("<<\"EOF\"", "EOF", false, false),
            ("<<EO\"F\"", "EOF", false, false),
            ("<<eo\\'f", "eo'f", true, false),
            ("<<'e'o\\'f", "eo'f", false, false),
            ("<<'one two'", "one two", false, false),
            ("<<$EOF", "$EOF", true, false),
            ("3<<file.txt", "file.txt", true, false),
        ];
        for (word, name, expand, strip_tabs) in cases {
            assert_eq!(seen(word), Some((name.to_owned(), expand, strip_tabs)), "{word}");
        }
        for word in ["", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh", "a<<EOF", "<<'EOF", "<<EOF\""] {
            assert_eq!(seen(word), None, "{word}");
        }
        assert_eq!(heredoc("4<<EOF").and_then(|heredoc| heredoc.descriptor), Some(4));
    }

    #[test]
    fn lines_that_open_heredocs() {
        let cases: [(&str, &[&str]); 8] = [
            ("RUN <<A <<B", &["A", "B"]),
            ("RUN <<- EOF", &[]),
            ("RUN << -EOF", &["-EOF"]),
            ("RUN <<A cat > x", &["A"]),
            ("RUN '<<A'", &[]),
            ("RUN \"<<A\"", &[]),
            ("RUN it's <<A", &[]),
            ("RUN a<<A", &[]),
        ];
        for (text, expected) in cases {
            let mut line = Line::default();
            line.text = text.to_owned();
            let names: Vec<_> = opened(&line).into_iter().map(|heredoc| heredoc.name).collect();
            assert_eq!(names, expected, "{text}");
        }
    }

    #[test]
    fn tabs_in_front_go_where_they_do_not_count() {
        let mut heredoc = heredoc("<<-A").expect("a heredoc");
        heredoc.content = "\t\ta\n b\tc\n".to_owned();
        assert_eq!(heredoc.text(), "a\n b\tc\n");
        heredoc.strip_tabs = false;
        assert_eq!(heredoc.text(), heredoc.content);
    }
}
