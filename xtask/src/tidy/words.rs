//! Words that must not be in the repository: paths of one machine, and host names of registries and mirrors.
//!
//! What is written down here works on any machine; where packages and images come from is that machine's own business.

use super::Report;
use super::tree::Text;

/// Absolute paths that exist on one machine only. A path that only ends like this (`<id>/work/`) is another thing.
const PATHS: &[&str] = &["/work/", "/root/"];

/// Hosts of package registries, image registries and mirrors.
const HOSTS: &[&str] = &[
    "archive.debian.org",
    "archive.ubuntu.com",
    "deb.debian.org",
    "files.pythonhosted.org",
    "gcr.io",
    "ghcr.io",
    "index.crates.io",
    "mcr.microsoft.com",
    "proxy.golang.org",
    "public.ecr.aws",
    "pypi.org",
    "quay.io",
    "registry-1.docker.io",
    "registry.k8s.io",
    "registry.npmjs.org",
    "security.debian.org",
    "snapshot.debian.org",
    "static.crates.io",
];

/// Files that may contain one of the words, each with the word and the reason. `*` stands for every word.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("xtask/src/tidy/words.rs", "*", "this list"),
    ("examples/node/Dockerfile", "/root/", "the home of root in images"),
    ("examples/spring/Dockerfile", "/root/", "the home of root in images"),
];

/// Looks for the words in every text.
pub fn check(texts: &[Text]) -> Report {
    let findings = texts.iter().flat_map(findings).collect();
    Report { name: "words", summary: format!("{} files", texts.len()), findings }
}

fn findings(text: &Text) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.content.lines().enumerate() {
        let words =
            PATHS.iter().chain(HOSTS).filter(|word| stands_in(word, line) && !is_excepted(&text.path, word));
        findings.extend(words.map(|word| format!("{}:{}: `{word}`", text.path, number + 1)));
    }
    findings
}

/// Whether `word` is in `line` as a path or host of its own: nothing before it continues it to the left.
fn stands_in(word: &str, line: &str) -> bool {
    let continues = |c: char| c.is_alphanumeric() || "._-~>}])*$@".contains(c);
    let mut places = line.match_indices(word).map(|(at, _)| line[..at].chars().next_back());
    places.any(|before| !before.is_some_and(continues))
}

fn is_excepted(path: &str, word: &str) -> bool {
    EXCEPTIONS.iter().any(|(file, except, _)| *file == path && (*except == "*" || *except == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, content: &str) -> Vec<String> {
        check(&[Text { path: path.to_owned(), content: content.to_owned() }]).findings
    }

    #[test]
    fn words_are_found_with_their_line() {
        let content = "fine\nsee /work/main\nFROM quay.io/a:1\n";
        assert_eq!(found("a.md", content), ["a.md:2: `/work/`", "a.md:3: `quay.io`"]);
        assert_eq!(found("a.rs", "Path::new(\"/root/.cargo\")"), ["a.rs:1: `/root/`"]);
    }

    #[test]
    fn words_inside_others_are_something_else() {
        let content =
            "<id>/work/x {id}/work/ snapshots/work/ ./work/ notquay.io my-ghcr.io /workload/ /rootfs/\n";
        assert!(found("a.md", content).is_empty());
    }

    #[test]
    fn the_list_itself_is_excepted() {
        assert!(found("xtask/src/tidy/words.rs", "/work/ quay.io").is_empty());
    }
}
