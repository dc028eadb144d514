//! Instructions that only change the image's configuration, and `ARG`.

use super::Statement;
use crate::dockerfile::instruction::{Argument, Command, CommandLine, Pair, Trigger};
use crate::dockerfile::line::Part;
use crate::dockerfile::words::{Parts, Word, cut_quoted, first_and_rest};
use crate::error::{Kind, Result};

pub(super) fn arg(mut statement: Statement<'_>) -> Result<Command> {
    statement.text()?;
    let words = cut_quoted(statement.parts.arguments, statement.escape);
    if words.is_empty() {
        return Err(statement.fault(Kind::Syntax, "`ARG` needs a name"));
    }
    Ok(Command::Arg(words.into_iter().map(|word| argument(&statement, word)).collect::<Result<_>>()?))
}

fn argument(statement: &Statement<'_>, word: Part<'_>) -> Result<Argument> {
    let Some(at) = word.text.find('=') else {
        return Ok(Argument { name: word.text.to_owned(), default: None });
    };
    let pair = split_pair(statement, word, at)?;
    Ok(Argument { name: pair.name.text, default: Some(pair.value) })
}

pub(super) fn env(statement: Statement<'_>) -> Result<Command> {
    pairs(statement).map(Command::Env)
}

pub(super) fn label(statement: Statement<'_>) -> Result<Command> {
    pairs(statement).map(Command::Label)
}

/// `name=value …`, or in the old form one name and the rest of the line.
fn pairs(mut statement: Statement<'_>) -> Result<Vec<Pair>> {
    statement.text()?;
    let words = cut_quoted(statement.parts.arguments, statement.escape);
    if words.first().is_none_or(|word| !word.text.contains('=')) {
        return old_pair(&statement).map(|pair| vec![pair]);
    }
    let pair = |word: Part<'_>| match word.text.find('=') {
        Some(at) => split_pair(&statement, word, at),
        None => {
            let word = statement.line.word(word);
            let fault = word.fault(Kind::Syntax, format!("`{}` has no `=`", word.text));
            Err(fault.hint("write name=value, and a value with space in double quotes"))
        }
    };
    words.into_iter().map(pair).collect()
}

fn old_pair(statement: &Statement<'_>) -> Result<Pair> {
    let (name, value) = first_and_rest(statement.parts.arguments);
    let Some(value) = value else {
        let fault = statement.fault_of_arguments(Kind::Syntax, format!("`{}` has no value", name.text));
        return Err(fault.hint(format!("write `{} {}=value`", statement.name(), name.text)));
    };
    Ok(Pair { name: statement.line.word(name), value: statement.line.word(value), old_form: true })
}

fn split_pair(statement: &Statement<'_>, word: Part<'_>, at: usize) -> Result<Pair> {
    if at == 0 {
        return Err(statement.line.word(word).fault(Kind::Syntax, "a name is missing in front of `=`"));
    }
    let (name, value) = word.split_at(at);
    let (_, value) = value.split_at(1);
    Ok(Pair { name: statement.line.word(name), value: statement.line.word(value), old_form: false })
}

pub(super) fn cmd(mut statement: Statement<'_>) -> Result<Command> {
    statement.flags(&[])?;
    statement.command_line().map(Command::Cmd)
}

pub(super) fn entrypoint(mut statement: Statement<'_>) -> Result<Command> {
    statement.flags(&[])?;
    statement.command_line().map(Command::Entrypoint)
}

pub(super) fn shell(mut statement: Statement<'_>) -> Result<Command> {
    statement.flags(&[])?;
    match statement.command_line()? {
        CommandLine::Exec(words) if !words.is_empty() => Ok(Command::Shell(words)),
        _ => {
            let fault = statement.fault(Kind::Syntax, "`SHELL` needs a JSON array of at least one string");
            Err(fault.hint("for example `SHELL [\"/bin/bash\", \"-c\"]`"))
        }
    }
}

pub(super) fn expose(mut statement: Statement<'_>) -> Result<Command> {
    statement.text()?;
    // Never a JSON array: it has no form of its own.
    let mut ports = statement.line.words(&crate::dockerfile::words::cut(statement.parts.arguments));
    ports.sort_by(|one, other| one.text.cmp(&other.text));
    Ok(Command::Expose(ports))
}

pub(super) fn volume(mut statement: Statement<'_>) -> Result<Command> {
    statement.text()?;
    let mut volumes = statement.list()?;
    for volume in &mut volumes {
        volume.text = volume.text.trim().to_owned();
    }
    if volumes.is_empty() || volumes.iter().any(|volume| volume.text.is_empty()) {
        return Err(statement.fault(Kind::Syntax, "`VOLUME` needs the path of a directory"));
    }
    Ok(Command::Volume(volumes))
}

pub(super) fn maintainer(mut statement: Statement<'_>) -> Result<Command> {
    statement.text().map(|word| Command::Maintainer(word.text))
}

pub(super) fn stop_signal(mut statement: Statement<'_>) -> Result<Command> {
    statement.text().map(Command::StopSignal)
}

pub(super) fn user(mut statement: Statement<'_>) -> Result<Command> {
    statement.text().map(Command::User)
}

pub(super) fn workdir(mut statement: Statement<'_>) -> Result<Command> {
    statement.text().map(Command::Workdir)
}

/// The instruction itself is read where an image is made from this one; only what no instruction could be is refused here.
pub(super) fn onbuild(mut statement: Statement<'_>) -> Result<Command> {
    let Word { text, position } = statement.text()?;
    let parts = Parts::of(statement.line, statement.parts.arguments, statement.escape);
    let keyword = parts.keyword.text.to_ascii_uppercase();
    let inner = Statement { line: statement.line, parts, heredocs: Vec::new(), escape: statement.escape };
    match keyword.as_str() {
        "ONBUILD" | "MAINTAINER" | "FROM" => {
            let word = Word { text: keyword.clone(), position };
            return Err(word.fault(Kind::Syntax, format!("`{keyword}` cannot follow `ONBUILD`")));
        }
        "ENV" | "LABEL" => drop(pairs(inner)?),
        "ADD" | "CMD" | "COPY" | "ENTRYPOINT" | "RUN" | "SHELL" | "VOLUME" => drop(inner.json()?),
        _ => {}
    }
    let bodies = statement.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
    Ok(Command::Onbuild(Trigger { expression: text + &bodies.collect::<String>() }))
}
