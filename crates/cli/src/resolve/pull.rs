//! `--pull`: when an image comes from its registry before a workload is made of it.

/// When.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pull {
    /// When it is not here.
    #[default]
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Docker's words.
pub fn parse(text: &str) -> Result<Pull, String> {
    match text {
        "missing" => Ok(Pull::Missing),
        "always" => Ok(Pull::Always),
        "never" => Ok(Pull::Never),
        _ => Err(format!("`{text}` is none of missing, always and never")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_dockers() {
        assert_eq!(parse("missing"), Ok(Pull::Missing));
        assert_eq!(parse("always"), Ok(Pull::Always));
        assert_eq!(parse("never"), Ok(Pull::Never));
        assert!(parse("").is_err() && parse("Always").is_err());
    }
}
