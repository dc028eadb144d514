//! `--label` and `--label-file`: key and value of a label.

use super::meaningful_lines;

/// One label, `KEY=value` or `KEY` for an empty value.
///
/// # Errors
/// A text without a key.
pub fn parse(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.is_empty() {
        return Err(format!("`{text}` has no key"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// The lines of a `--label-file`; `#` begins a comment.
///
/// # Errors
/// The first line with a wrong key.
pub fn parse_file(content: &str) -> Result<Vec<(String, String)>, String> {
    let checked = |line: &str| match parse(line)? {
        (key, _) if key.contains(char::is_whitespace) => Err(format!("label `{key}` contains blanks")),
        label => Ok(label),
    };
    meaningful_lines(content).map(checked).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(parse("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(parse("a"), Ok(("a".into(), String::new())));
        assert!(parse("=b").is_err());
        assert!(parse("").is_err());
        assert_eq!(parse_file("# x\na=1\n\n b\n").map(|labels| labels.len()), Ok(2));
        assert!(parse_file("a b=1").is_err());
    }
}
