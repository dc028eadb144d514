//! Which rules count: `# check=skip=NAME,…;experimental=NAME,…;error=true`, at the beginning of the file, or above an
//! instruction for that one alone.

use std::collections::BTreeSet;

use super::rule::Rule;

/// Names of rules, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Names {
    all: bool,
    names: BTreeSet<String>,
}

/// Which rules count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    skip: Names,
    experimental: Names,
    /// Whether a build fails that has warnings.
    pub error: bool,
}

impl Names {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Self { all: true, names: BTreeSet::new() },
            names => {
                Self { all: false, names: names.split(',').map(|name| name.trim().to_owned()).collect() }
            }
        }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.contains(rule.name())
    }
}

impl Settings {
    /// Reads what follows `check=`.
    ///
    /// # Errors
    /// An option that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Self::default();
        for option in text.split(';').filter(|_| !text.trim().is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            match name.trim() {
                "skip" => settings.skip = Names::parse(value),
                "experimental" => settings.experimental = Names::parse(value),
                "error" => settings.error = boolean(value.trim())?,
                _ => {
                    return Err(format!(
                        "`{}` is no option of check: these are skip, experimental, error",
                        option.trim()
                    ));
                }
            }
        }
        Ok(settings)
    }

    /// Whether a rule counts, also for an instruction with these comments above.
    pub(super) fn counts(&self, rule: Rule, comments: &[String]) -> bool {
        let above = comments.iter().find_map(|comment| crate::dockerfile::check_of(comment));
        let above = above.and_then(|text| Self::parse(text).ok()).unwrap_or_default();
        match rule.is_experimental() {
            true => self.experimental.has(rule) || above.experimental.has(rule),
            false => !(self.skip.has(rule) || above.skip.has(rule)),
        }
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "1" => Ok(true),
        "false" | "f" | "0" => Ok(false),
        _ => Err(format!("`error` of check is true or false, not `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let settings = Settings::parse("skip=UndefinedVar, FromAsCasing;error=true").expect("settings");
        assert!(settings.error && !settings.counts(Rule::UndefinedVar, &[]));
        assert!(settings.counts(Rule::StageNameCasing, &[]) && !settings.counts(Rule::FromAsCasing, &[]));
        assert!(!settings.counts(Rule::InvalidDefinitionDescription, &[]));
        let all = Settings::parse("skip=all;experimental=all").expect("settings");
        assert!(!all.counts(Rule::UndefinedVar, &[]) && all.counts(Rule::InvalidDefinitionDescription, &[]));
        assert_eq!(Settings::parse(""), Ok(Settings::default()));
    }

    #[test]
    fn a_comment_counts_for_what_is_below() {
        let comments = ["check=skip=UndefinedVar".to_owned()];
        assert!(!Settings::default().counts(Rule::UndefinedVar, &comments));
        assert!(Settings::default().counts(Rule::FromAsCasing, &comments));
    }

    #[test]
    fn what_is_no_option() {
        for text in ["skp=all", "error=maybe", "skip=all;x", ";"] {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}
