//! `--network`: which network a sandbox has.

use holm_spec::workload::NetworkMode;

/// Parses a network; others than `none` and `host` are not there yet.
///
/// # Errors
/// Any other network, by name.
pub fn parse(text: &str) -> Result<NetworkMode, String> {
    match text {
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        "" => Err("a network has a name".into()),
        other => Err(format!("network `{other}` is not supported yet: `none` and `host` are")),
    }
}

/// The one network that all of them name; none named is none.
///
/// # Errors
/// As [`parse`], and several that differ.
pub fn parse_all(texts: &[String]) -> Result<NetworkMode, String> {
    let mut modes = texts.iter().map(|text| parse(text)).collect::<Result<Vec<_>, _>>()?;
    modes.dedup();
    match modes.as_slice() {
        [] => Ok(NetworkMode::default()),
        [mode] => Ok(*mode),
        _ => Err("a workload has one of `none` and `host`".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(parse("none"), Ok(NetworkMode::None));
        assert_eq!(parse("host"), Ok(NetworkMode::Host));
        for name in ["bridge", "container:x", "mine", ""] {
            assert!(parse(name).is_err(), "{name}");
        }
    }
}
