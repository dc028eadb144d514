//! The texts of the repository: everything but what git and cargo keep, and what is not UTF-8.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::source::Source;

/// Folders that hold nothing of ours, wherever they are.
const NOT_OURS: &[&str] = &[".git", "target", "node_modules"];

/// A text file of the repository.
pub struct Text {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// All of it.
    pub content: String,
}

/// Reads every text file below `root`, sorted by path.
///
/// # Errors
/// A file or folder cannot be read.
pub fn texts(root: &Path) -> Result<Vec<Text>> {
    let mut texts = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("reading `{}`", folder.display()))? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                folders.push(entry.path());
            } else if kind.is_file() {
                texts.extend(text(root, entry.path())?);
            }
        }
    }
    texts.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(texts)
}

/// The Rust files among `texts`.
pub fn sources(texts: &[Text]) -> Vec<Source> {
    let rust = texts.iter().filter(|text| text.path.ends_with(".rs"));
    rust.map(|text| Source::new(&text.path, &text.content)).collect()
}

fn text(root: &Path, path: PathBuf) -> Result<Option<Text>> {
    let bytes = match fs::read(&path) {
        // Editors rename what they write: a file may be gone since the folder was read.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("reading `{}`", path.display()))?,
    };
    let path = path.strip_prefix(root).expect("the walk starts at the root").to_string_lossy().into_owned();
    Ok(String::from_utf8(bytes).ok().map(|content| Text { path, content }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_sorted_and_without_what_is_built() {
        let root = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        fs::create_dir_all(root.join("target/debug")).unwrap();
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("target/debug/x.rs"), "").unwrap();
        fs::write(root.join("b.rs"), "fn b() {}").unwrap();
        fs::write(root.join("a/z.md"), "z").unwrap();
        fs::write(root.join("a/binary"), b"\xff\xfe").unwrap();
        let texts = texts(&root).unwrap();
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(texts.iter().map(|text| text.path.as_str()).collect::<Vec<_>>(), ["a/z.md", "b.rs"]);
        assert_eq!(sources(&texts).len(), 1);
    }
}
