//! Command lines that cannot be read: clap's findings in Holm's form, and flags that are not there yet by name.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use holm_spec::spelling::distance;

use crate::command_error::CommandError;
use crate::unsupported;

/// What is wrong with the words of `verb`, which people type as `shown` (`holm image rm`).
///
/// Docker's exit codes: 125 for a flag or a value, the command's own for missing or superfluous words.
pub fn error(verb: &str, shown: &str, error: &clap::Error) -> CommandError {
    let argument = text(error, ContextKind::InvalidArg);
    if error.kind() == ErrorKind::UnknownArgument
        && let Some((flag, area)) = unsupported::area(verb, &argument)
    {
        return match area {
            unsupported::WINDOWS => {
                CommandError::usage(format!("--{flag} is for {area}, which holm does not run"))
            }
            area => CommandError::unsupported(&format!("--{flag}"), area),
        };
    }
    let mut told = match error.kind() {
        ErrorKind::MissingRequiredArgument => CommandError::new(missing(error)),
        ErrorKind::UnknownArgument if !argument.starts_with('-') => {
            CommandError::new(format!("unexpected argument `{argument}`"))
        }
        ErrorKind::UnknownArgument => CommandError::usage(format!("unknown flag `{argument}`")),
        ErrorKind::InvalidSubcommand => {
            CommandError::new(format!("unknown command `{}`", text(error, ContextKind::InvalidSubcommand)))
        }
        _ => CommandError::usage(first_sentence(error)),
    };
    for (kind, value) in error.context() {
        let similar = match kind {
            ContextKind::SuggestedArg => {
                words(value).into_iter().filter(|flag| is_near(flag, &argument)).collect()
            }
            ContextKind::SuggestedSubcommand | ContextKind::SuggestedValue => words(value),
            _ => Vec::new(),
        };
        if !similar.is_empty() {
            told = told.hint(format!("did you mean `{}`?", similar.join("` or `")));
        }
    }
    told.hint(format!("`{shown} --help` shows usage and examples"))
}

/// Whether few letters are wrong: at most a third, but one at least. Clap also guesses `--root` for `--foo`.
fn is_near(flag: &str, typed: &str) -> bool {
    let bare = |flag: &str| -> Vec<char> {
        let name = flag.split(['=', ' ']).next().unwrap_or_default();
        name.trim_start_matches('-').chars().collect()
    };
    let (flag, typed) = (bare(flag), bare(typed));
    distance(&flag, &typed) <= (typed.len() / 3).max(1)
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(|value| words(value).join(", ")).unwrap_or_default()
}

/// `IMAGE is missing`, `SOURCE and TARGET are missing`.
fn missing(error: &clap::Error) -> String {
    let missing = error.get(ContextKind::InvalidArg).map(words).unwrap_or_default();
    // `<IMAGE> [COMMAND]...`: the first word is what is missing.
    let names = missing.iter().filter_map(|name| name.split(['<', '>']).find(|part| !part.is_empty()));
    let names: Vec<_> = names.collect();
    format!("{} {} missing", names.join(" and "), if names.len() > 1 { "are" } else { "is" })
}

fn words(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(texts) => texts.clone(),
        ContextValue::StyledStr(text) => vec![text.to_string()],
        ContextValue::StyledStrs(texts) => texts.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// Clap's own sentence: `error: invalid value ...` with a paragraph on usage behind it.
fn first_sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines = first.strip_prefix("error: ").unwrap_or(first).lines().map(str::trim);
    lines.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_flags_are_suggested() {
        for (flag, typed, near) in [
            ("--volume", "--volme", true),
            ("--volume", "--volmue=x", true),
            ("--root", "--foo", false),
            ("--rm", "--mr", false),
            ("--name", "--nam", true),
            ("--env", "--", false),
        ] {
            assert_eq!(is_near(flag, typed), near, "{flag} {typed}");
        }
    }
}
