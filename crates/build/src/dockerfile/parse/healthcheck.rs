//! `HEALTHCHECK`.

use super::{Flags, Statement, Takes};
use crate::dockerfile::duration;
use crate::dockerfile::instruction::{Command, CommandLine, Healthcheck, HealthcheckOptions};
use crate::error::{Kind, Result};

/// Shorter times than a millisecond are mistakes.
const SHORTEST: u64 = 1_000_000;

pub(super) fn healthcheck(mut statement: Statement<'_>) -> Result<Command> {
    let flags = statement.flags(&[
        ("interval", Takes::Value),
        ("timeout", Takes::Value),
        ("start-period", Takes::Value),
        ("start-interval", Takes::Value),
        ("retries", Takes::Value),
    ])?;
    let arguments = statement.parts.arguments;
    let (kind, rest) =
        arguments.split_at(arguments.text.find(char::is_whitespace).unwrap_or(arguments.text.len()));
    statement.parts.arguments = rest.trimmed();
    let check = match kind.text.to_ascii_uppercase().as_str() {
        "NONE" => none(&statement)?,
        "CMD" => Healthcheck::Command { line: line(&statement)?, options: options(&flags)? },
        "" => {
            let fault = statement.fault(Kind::Syntax, "`HEALTHCHECK` needs an argument");
            return Err(fault.hint("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`"));
        }
        _ => {
            let word = statement.line.word(kind);
            let fault = word.fault(Kind::Syntax, format!("`HEALTHCHECK {}` means nothing", kind.text));
            return Err(fault.hint("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`"));
        }
    };
    Ok(Command::Healthcheck(check))
}

fn none(statement: &Statement<'_>) -> Result<Healthcheck> {
    match statement.parts.arguments.text {
        "" => Ok(Healthcheck::None),
        _ => Err(statement.fault_of_arguments(Kind::Syntax, "nothing can follow `HEALTHCHECK NONE`")),
    }
}

fn line(statement: &Statement<'_>) -> Result<CommandLine> {
    let line = statement.command_line()?;
    let empty = match &line {
        CommandLine::Exec(words) => words.is_empty(),
        CommandLine::Shell(text) => text.is_empty(),
    };
    if empty {
        return Err(statement.fault(Kind::Syntax, "a command is missing behind `HEALTHCHECK CMD`"));
    }
    Ok(line)
}

fn options(flags: &Flags) -> Result<HealthcheckOptions> {
    Ok(HealthcheckOptions {
        interval: time(flags, "interval")?,
        timeout: time(flags, "timeout")?,
        start_period: time(flags, "start-period")?,
        start_interval: time(flags, "start-interval")?,
        retries: retries(flags)?,
    })
}

fn time(flags: &Flags, name: &str) -> Result<u64> {
    let Some(word) = flags.value(name) else { return Ok(0) };
    let nanos = duration::parse(&word.text)
        .map_err(|reason| word.fault(Kind::Value, format!("--{name}: {reason}")))?;
    if nanos != 0 && nanos < SHORTEST {
        return Err(
            word.fault(Kind::Value, format!("--{name}: `{}` is shorter than a millisecond", word.text))
        );
    }
    Ok(nanos)
}

fn retries(flags: &Flags) -> Result<u32> {
    let Some(word) = flags.value("retries") else { return Ok(0) };
    let number = word.text.parse::<i32>().ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| word.fault(Kind::Value, format!("--retries: `{}` is no number of times", word.text)))
}
