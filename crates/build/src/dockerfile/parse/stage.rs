//! `FROM`.

use super::{FROM, Statement, Takes};
use crate::dockerfile::words::cut;
use crate::dockerfile::{Stage, StageName, Word};
use crate::error::{Fault, Kind, Result};

pub(super) fn stage(mut statement: Statement<'_>) -> Result<Stage> {
    let words = statement.line.words(&cut(statement.parts.arguments));
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
            (base, Some(stage_name(&keyword.text, name)?))
        }
        _ => return Err(wrong_words(&statement, &words)),
    };
    let platform = statement.flags(&[("platform", Takes::Value)])?.value("platform");
    Ok(Stage {
        span: statement.line.span,
        keyword: statement.parts.keyword.text.to_owned(),
        original: statement.line.text.trim().to_owned(),
        comments: statement.line.comments.clone(),
        base: base.clone(),
        platform,
        name,
        instructions: Vec::new(),
    })
}

fn stage_name(keyword: &str, written: &Word) -> Result<StageName> {
    let name = written.text.to_lowercase();
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if !(name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(valid)) {
        let fault = written.fault(Kind::Value, format!("`{}` cannot be the name of a stage", written.text));
        return Err(fault.hint("it is letters, digits, `-`, `_` and `.`, and begins with a letter"));
    }
    Ok(StageName { name, written: written.clone(), keyword: keyword.to_owned() })
}

fn wrong_words(statement: &Statement<'_>, words: &[Word]) -> Fault {
    let fault = match words.get(1) {
        None => statement.fault(Kind::Syntax, format!("`{FROM}` needs the name of an image")),
        Some(second) => second.fault(Kind::Syntax, format!("`{}` means nothing here", second.text)),
    };
    fault.hint("write `FROM image` or `FROM image AS name`")
}
