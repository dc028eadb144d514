//! Tables of patterns and paths, checked against moby's matcher; and a reference that says the same in another way.

use super::*;

fn ignore(text: &str) -> Ignore {
    Ignore::parse(".dockerignore", text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn single_patterns() {
    let matching = [
        ("**", "file"),
        ("**", "dir/file"),
        ("**/", "dir/file"),
        ("**/**", "dir/file"),
        ("dir/**", "dir/dir2/file"),
        ("**/dir", "dir"),
        ("**/dir", "dir/file"),
        ("**/dir2/*", "dir/dir2/file"),
        ("**/dir2/**", "dir/dir2/dir3/file"),
        ("**file", "dir/file"),
        ("**file", "dir/profile"),
        ("**/file*.txt*", "dir/dir/file.txt"),
        ("**/**/*.txt", "file.txt"),
        ("a**/*.txt", "a/dir/dir/file.txt"),
        ("a/*.txt**", "a/file.txt"),
        ("a/**/b", "a/b"),
        ("a/**/b", "a/x/y/b"),
        ("a**", "abc/d"),
        ("a[b-d]e", "ace"),
        ("a[^b-d]e", "aze"),
        ("a[^b]c", "a/c"),
        ("[\\]a]", "]"),
        ("[x\\-]", "-"),
        ("[a-ζ]*", "α"),
        ("a?b", "a☺b"),
        ("a\\*b", "a*b"),
        ("a\\\\", "a\\"),
        ("a(b)c.|$+{", "a(b)c.|$+{"),
        (".*", ".foo"),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f"),
        ("node_modules", "node_modules/a/b/c"),
        ("/docs/", "docs/x"),
        ("./docs/../src", "src"),
        ("  spaced  ", "spaced"),
        ("*x", "xxx"),
    ];
    for (pattern, path) in matching {
        assert!(ignore(pattern).excludes(path), "{pattern} {path}");
    }
    let others = [
        ("a/*.txt", "a/dir/file.txt"),
        ("a[b-d]e", "aae"),
        ("**/**/*.txt2", "dir/dir/file.txt"),
        ("abc/**", "abc"),
        ("**/.foo", "bar.foo"),
        ("**file*", "profile"),
        (".*", "foo"),
        ("a?b", "a/b"),
        ("a*b", "a/b"),
        ("*.txt", "dir/file.txt"),
        ("abc.def", "abcZdef"),
        ("../x", "x"),
        (".", "x"),
        ("/", "x"),
        ("# *", "x"),
        ("", "x"),
    ];
    for (pattern, path) in others {
        assert!(!ignore(pattern).excludes(path), "{pattern} {path}");
    }
}

#[test]
fn the_last_rule_that_matches_decides() {
    for (text, path, excluded) in [
        ("*\n!docs", "docs/a/b", false),
        ("docs\n!docs/README.md", "docs/README.md", false),
        ("docs\n!docs/README.md", "docs/other.md", true),
        ("!a\n*", "a", true),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("*.md\nREADME-secret.md\n!README*.md", "README-secret.md", false),
        ("**\n!util/docker/web", "util/docker/web/foo", false),
        ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", true),
        ("**\n!**/*.go", "a/b/c.go", false),
        // Not tried for `foo`, so not for what is in it.
        ("foo/bar\n!foo", "foo/bar/baz", true),
    ] {
        assert_eq!(ignore(text).excludes(path), excluded, "{text:?} {path}");
    }
}

#[test]
fn lines_of_a_file() {
    let text = "\u{feff}a\r\n\n# x\n #y\n! /b/./c \n/!d\n";
    let ignore = ignore(text);
    let rules: Vec<_> = ignore.rules.iter().map(|rule| (rule.text.as_str(), rule.exception)).collect();
    assert_eq!(rules, [("a", false), ("#y", false), ("b/c", true), ("d", true)]);
    assert!(ignore.has_exceptions() && !ignore.excludes_all() && Ignore::default().is_empty());
    assert_eq!(file_names("x/Dockerfile"), ["x/Dockerfile.dockerignore", ".dockerignore"]);
}

#[test]
fn wrong_patterns_are_told_with_their_line() {
    for (text, message) in [
        ("a\n!", ".dockerignore:2:1: `!` has no pattern\n   2 | !\n     | ^"),
        ("[", ".dockerignore:1:1: `[` is no pattern: `[` is not closed\n   1 | [\n     | ^"),
    ] {
        let error = Ignore::parse(".dockerignore", text.as_bytes()).expect_err(text);
        assert_eq!(error.to_string(), message);
    }
    for text in ["[^", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[b-a]", "\\", "[\\", "[a", "!/"] {
        assert!(Ignore::parse("f", text.as_bytes()).is_err(), "{text}");
    }
    let many = "a\n".repeat(PATTERN_LIMIT + 1);
    assert_eq!(Ignore::parse("f", many.as_bytes()).expect_err("too many").kind(), Kind::TooLarge);
    assert_eq!(
        Ignore::parse("f", &vec![b'#'; SIZE_LIMIT + 1]).expect_err("too large").kind(),
        Kind::TooLarge
    );
}

#[test]
fn a_walk_looks_only_where_something_may_be() {
    for (text, path, may_include) in [
        ("a", "a", false),
        ("a", "b", true),
        ("*\n!b/c", "a", false),
        ("*\n!b/c", "b", true),
        ("*\n!b/c", "b/d", false),
        ("*\n!b/c", "b/c", true),
        ("*\n!**/*.go", "a", true),
        ("*\n!src\nsrc/old", "src/old", false),
        ("*\n!s*/x", "tests", false),
        ("*\n!s*/x", "sources", true),
    ] {
        let ignore = ignore(text);
        let directory =
            path.split('/').fold(ignore.root(), |above, name| ignore.enter(&above, name.as_bytes()));
        assert_eq!(directory.may_include(), may_include, "{text:?} {path}");
    }
}

/// Every pattern that may be made of these, tried on every path, as moby describes it: patterns are turned into what they
/// match one after the other, by going back.
mod reference {
    /// Whether `pattern`, which has no set and no escape, matches all of `path`.
    pub fn matches(pattern: &[u8], path: &[u8]) -> bool {
        let plain = |text: &[u8]| !text.contains(&b'*') && !text.contains(&b'?');
        // `**name` at the very beginning.
        if let Some(rest) = pattern.strip_prefix(b"**")
            && plain(rest)
            && !rest.starts_with(b"/")
        {
            return path.ends_with(rest);
        }
        rest_matches(pattern, path)
    }

    fn rest_matches(pattern: &[u8], path: &[u8]) -> bool {
        if let Some(rest) = pattern.strip_prefix(b"**") {
            let rest = rest.strip_prefix(b"/").unwrap_or(rest);
            let behind_slash = |at: &usize| path[*at] == b'/' && rest_matches(rest, &path[at + 1..]);
            return rest.is_empty()
                || rest_matches(rest, path)
                || (0..path.len()).any(|at| behind_slash(&at));
        }
        match (pattern.first(), path.first()) {
            (None, None) => true,
            (Some(b'*'), _) => {
                let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
                (0..=end).any(|at| rest_matches(&pattern[1..], &path[at..]))
            }
            (Some(b'?'), Some(byte)) => *byte != b'/' && rest_matches(&pattern[1..], &path[1..]),
            (Some(one), Some(other)) => one == other && rest_matches(&pattern[1..], &path[1..]),
            _ => false,
        }
    }
}

/// All words of up to `length` of these pieces.
fn words(pieces: &[&str], length: usize) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut last = words.clone();
    for _ in 0..length {
        last =
            last.iter().flat_map(|word| pieces.iter().map(move |piece| format!("{word}{piece}"))).collect();
        words.extend(last.iter().cloned());
    }
    words
}

#[test]
fn patterns_match_what_the_reference_matches() {
    let paths: Vec<_> = words(&["a", "b", "/"], 5).into_iter().filter(|path| clean(path) == *path).collect();
    let paths: Vec<_> = paths.into_iter().filter(|path| !path.starts_with(['/', '.'])).collect();
    let mut compared = 0;
    for written in words(&["a", "/", "*", "?", "**"], 5) {
        let pattern = clean(&written);
        if pattern != written || pattern.starts_with('/') || pattern == "." {
            continue;
        }
        let compiled = Pattern::new(&pattern).expect("a pattern");
        for path in &paths {
            let mut states = compiled.start();
            compiled.follow(&mut states, path);
            let expected = reference::matches(pattern.as_bytes(), path.as_bytes());
            assert_eq!(compiled.accepts(&states), expected, "{pattern} {path}");
            compared += 1;
        }
    }
    assert!(compared > 100_000);
}

#[test]
fn what_a_walk_leaves_out_would_be_left_out() {
    let paths: Vec<_> = ["a", "b", "a/a", "a/b", "b/a", "a/a/b", "a/b/a", "b/a/b"].to_vec();
    for one in words(&["a", "*", "/b"], 3) {
        for other in words(&["a", "b", "**/", "*"], 3) {
            let text = format!("*\n!{one}x\n!a{one}\n{other}\n!{other}b\n");
            let Ok(ignore) = Ignore::parse("f", text.as_bytes()) else { continue };
            for path in &paths {
                let (above, _) = path.rsplit_once('/').unwrap_or(("", path));
                let names = above.split('/').filter(|name| !name.is_empty());
                let mut directory = ignore.root();
                for name in names {
                    directory = ignore.enter(&directory, name.as_bytes());
                    let skipped = !directory.may_include();
                    assert!(!skipped || ignore.excludes(path), "{text:?} {path}");
                }
            }
        }
    }
}
