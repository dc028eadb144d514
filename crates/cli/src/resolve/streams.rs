//! `--attach STDIN|STDOUT|STDERR`: which streams a client carries.

use holm_spec::keeper::Streams;

/// The streams that were named, in any case.
///
/// # Errors
/// Another word.
pub fn parse<Word: AsRef<str>>(words: &[Word]) -> Result<Streams, String> {
    let mut streams = Streams::NONE;
    for word in words {
        match word.as_ref().to_ascii_lowercase().as_str() {
            "stdin" => streams.stdin = true,
            "stdout" => streams.stdout = true,
            "stderr" => streams.stderr = true,
            _ => return Err(format!("`{}` is no stream: STDIN, STDOUT and STDERR are", word.as_ref())),
        }
    }
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams() {
        assert_eq!(parse::<&str>(&[]), Ok(Streams::NONE));
        assert_eq!(parse(&["STDOUT", "stderr"]), Ok(Streams { stdin: false, stdout: true, stderr: true }));
        assert!(parse(&["out"]).is_err());
    }
}
