//! `ADD` and `COPY`.

use super::{Flags, Statement, Takes};
use crate::dockerfile::heredoc::{Heredoc, heredoc};
use crate::dockerfile::instruction::{Add, Command, Copy, Transfer};
use crate::error::{Kind, Result};

pub(super) fn add(mut statement: Statement<'_>) -> Result<Command> {
    let flags = statement.flags(&[
        ("chown", Takes::Value),
        ("chmod", Takes::Value),
        ("link", Takes::Bool),
        ("keep-git-dir", Takes::Bool),
        ("checksum", Takes::Value),
        ("unpack", Takes::Bool),
        ("exclude", Takes::Values),
    ])?;
    Ok(Command::Add(Add {
        files: transfer(statement, &flags)?,
        keep_git_dir: flags.switch("keep-git-dir"),
        checksum: flags.value("checksum"),
        unpack: flags.switch("unpack"),
    }))
}

pub(super) fn copy(mut statement: Statement<'_>) -> Result<Command> {
    let flags = statement.flags(&[
        ("chown", Takes::Value),
        ("from", Takes::Value),
        ("chmod", Takes::Value),
        ("link", Takes::Bool),
        ("exclude", Takes::Values),
        ("parents", Takes::Bool),
    ])?;
    Ok(Command::Copy(Copy {
        files: transfer(statement, &flags)?,
        from: flags.value("from"),
        parents: flags.switch("parents").unwrap_or_default(),
    }))
}

fn transfer(statement: Statement<'_>, flags: &Flags) -> Result<Transfer> {
    let mut words = statement.list()?;
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        let message = format!("`{}` needs at least one source and a destination", statement.name());
        statement.fault(Kind::Syntax, message)
    })?;
    if heredoc(&destination.text).is_some() {
        return Err(destination.fault(Kind::Syntax, "a heredoc cannot be the destination"));
    }
    let (mut sources, mut inline) = (Vec::new(), Vec::new());
    for word in words {
        match content(&word.text, &statement.heredocs) {
            Some(heredoc) => inline.push(heredoc),
            None => sources.push(word),
        }
    }
    if inline.len() < statement.heredocs.len() {
        let fault = statement.fault(Kind::Syntax, "this line opens a heredoc whose name has space in it");
        return Err(fault.hint("write `<<NAME`, without space"));
    }
    Ok(Transfer {
        sources,
        inline,
        destination,
        owner: flags.value("chown"),
        mode: flags.value("chmod"),
        link: flags.switch("link").unwrap_or_default(),
        exclude: flags.values("exclude").into_iter().map(|word| word.text).collect(),
    })
}

/// The heredoc that a word stands for: of several with one name the last.
fn content(word: &str, heredocs: &[Heredoc]) -> Option<Heredoc> {
    let opened = heredoc(word)?;
    heredocs.iter().rfind(|heredoc| heredoc.name == opened.name).cloned()
}
