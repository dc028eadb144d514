//! Command lines that cannot be read: clap's findings in Holm's form, and flags that are not there yet by name.

use clap::error::{ContextKind, ContextValue, ErrorKind};

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
        ErrorKind::MissingRequiredArgument => CommandError::new(format!("{} is missing", missing(error))),
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
        if matches!(
            kind,
            ContextKind::SuggestedArg | ContextKind::SuggestedSubcommand | ContextKind::SuggestedValue
        ) {
            told = told.hint(format!("did you mean `{}`?", words(value).join("` or `")));
        }
    }
    told.hint(format!("`{shown} --help` shows usage and examples"))
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    error.get(kind).map(|value| words(value).join(", ")).unwrap_or_default()
}

fn missing(error: &clap::Error) -> String {
    let missing = error.get(ContextKind::InvalidArg).map(words).unwrap_or_default();
    // `<IMAGE> [COMMAND]...`: the first word is what is missing.
    let names = missing.iter().filter_map(|name| name.split(['<', '>']).find(|part| !part.is_empty()));
    names.collect::<Vec<_>>().join(" and ")
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
