//! `--log-driver` and `--log-opt`: who keeps a workload's output.

use std::collections::BTreeMap;

use holm_engine::LogRequest;
use holm_spec::log::Driver;

/// A driver.
///
/// # Errors
/// There is none of this name, or Holm does not have it.
pub fn parse_driver(text: &str) -> Result<Driver, String> {
    text.parse()
}

/// An option, `NAME=VALUE`.
///
/// # Errors
/// A text of another form.
pub fn parse_option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no NAME=VALUE")),
    }
}

/// What is asked for, over what this host does where nobody says it: its options are for its driver alone.
pub fn over_default(
    driver: Option<Driver>,
    options: BTreeMap<String, String>,
    default: &LogRequest,
) -> LogRequest {
    let driver = driver.unwrap_or(default.driver);
    let mut all = if driver == default.driver { default.options.clone() } else { BTreeMap::new() };
    all.extend(options);
    LogRequest { driver, options: all }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn options() {
        assert_eq!(parse_option("tag=a=b"), Ok(("tag".to_owned(), "a=b".to_owned())));
        assert!(parse_option("tag").is_err() && parse_option("=x").is_err());
    }

    #[test]
    fn options_of_the_host_are_for_its_driver() {
        let default =
            LogRequest { driver: Driver::JsonFile, options: map(&[("max-size", "1m"), ("max-file", "2")]) };
        let asked = over_default(None, map(&[("max-size", "2m")]), &default);
        assert_eq!(asked.options, map(&[("max-file", "2"), ("max-size", "2m")]));
        assert_eq!(over_default(Some(Driver::None), BTreeMap::new(), &default).options, map(&[]));
    }
}
