//! Paths in images, as far as they can be said without looking: what `WORKDIR` and destinations mean.

/// The working directory that `WORKDIR path` means where `current` is the one so far; empty for none.
pub fn working_directory(current: &str, path: &str) -> String {
    match path {
        _ if path.starts_with('/') => path.to_owned(),
        "" if current.is_empty() => "/".to_owned(),
        "" => current.to_owned(),
        _ => clean(&format!("/{current}/{path}")),
    }
}

/// Where `COPY … path` goes. A slash, or `/.`, at the end stays: it says that this is a directory.
pub fn destination(working_directory: &str, path: &str) -> String {
    let path = if path.is_empty() || path == "." { "./" } else { path };
    let mut whole = match path.starts_with('/') {
        true => path.to_owned(),
        false => clean(&format!("/{working_directory}/{path}")),
    };
    if path.ends_with('/') && !whole.ends_with('/') {
        whole.push('/');
    } else if path.ends_with("/.") && !whole.ends_with("/.") {
        whole.push_str(if whole == "/" { "." } else { "/." });
    }
    whole
}

/// The path of a source below the root of the context, a stage or an image: `..` leads nowhere above it.
pub fn source(path: &str) -> String {
    clean(&format!("/{path}"))
}

/// The shortest path of the same meaning, where nothing is a link (`filepath.Clean` of Go).
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("a//b/./c/", "a/b/c"),
            ("a/../..", ".."),
            ("../../a", "../../a"),
            ("/../a/..", "/"),
            ("./", "."),
        ] {
            assert_eq!(clean(path), expected, "{path}");
        }
    }

    #[test]
    fn working_directories_build_on_each_other() {
        for (current, path, expected) in [
            ("", "app", "/app"),
            ("/a", "b/../c/", "/a/c"),
            ("/a", "/b/", "/b/"),
            ("/a", "../..", "/"),
            ("", "", "/"),
        ] {
            assert_eq!(working_directory(current, path), expected, "{path}");
        }
    }

    #[test]
    fn destinations_keep_what_says_that_they_are_directories() {
        for (path, expected) in [
            ("x", "/w/x"),
            ("x/", "/w/x/"),
            (".", "/w/"),
            ("", "/w/"),
            ("/x/", "/x/"),
            ("x/.", "/w/x/."),
            ("../..", "/"),
        ] {
            assert_eq!(destination("/w", path), expected, "{path}");
        }
        assert_eq!((source("../../etc"), source("./a/")), ("/etc".to_owned(), "/a".to_owned()));
    }
}
