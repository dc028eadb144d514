//! Every source file opens with `//!`: what the module owns, its layout, its state machine.

use super::Report;
use super::source::Source;

/// Checks that the first line of every file is module documentation.
pub fn check(sources: &[Source]) -> Report {
    let bare = sources.iter().filter(|source| !is_documented(&source.text));
    let findings = bare.map(|source| format!("{}:1: opens without `//!`", source.path)).collect();
    Report { name: "module docs", summary: format!("{} files", sources.len()), findings }
}

fn is_documented(text: &str) -> bool {
    let words = text.lines().next().and_then(|first| first.strip_prefix("//!"));
    words.is_some_and(|words| !words.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_first_line_that_says_something_counts() {
        let sources = [
            Source::new("a.rs", "//! Owns the blobs.\nfn a() {}\n"),
            Source::new("b.rs", "use std::fs;\n//! Too late.\n"),
            Source::new("c.rs", "//!\n"),
            Source::new("d.rs", ""),
        ];
        let places: Vec<_> = check(&sources).findings.iter().map(|finding| finding[..4].to_owned()).collect();
        assert_eq!(places, ["b.rs", "c.rs", "d.rs"]);
    }
}
