//! Running commands: an error always names the command, and what it said last.

use std::io::ErrorKind;
use std::process::{Command, ExitStatus, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs `command` with this program's input and output.
///
/// # Errors
/// It cannot be started, or it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| not_started(command))?;
    if !status.success() {
        bail!("`{}` failed with {status}", line(command));
    }
    Ok(())
}

/// Runs `command` and returns what it wrote to its standard output, which must be UTF-8.
///
/// # Errors
/// It cannot be started, or it fails; the error then carries the last line of its standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = collect(command)?;
    if !output.status.success() {
        bail!("`{}` failed with {}{}", line(command), output.status, last_line(&output.stderr));
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote what is not UTF-8", line(command)))
}

/// Runs `command` without input; its exit status is for the caller to judge.
///
/// # Errors
/// It cannot be started.
pub fn collect(command: &mut Command) -> Result<Output> {
    command.stdin(Stdio::null()).output().with_context(|| not_started(command))
}

/// Whether `program` answers to `--version`.
pub fn exists(program: &str) -> bool {
    let answer = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    !matches!(answer, Err(error) if error.kind() == ErrorKind::NotFound)
}

/// The exit code as a shell gives it: 128 and the signal's number for a process that a signal ended.
pub fn shell_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// The command as typed in a shell, program without its folder, long lines cut.
pub fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quoted(&argument.to_string_lossy()));
    }
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// `word` in single quotes where a shell needs them.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The last line of a standard error, ready to follow a message; empty if nothing was said.
pub fn last_line(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map(|line| format!(": {}", line.trim())).unwrap_or_default()
}

fn not_started(command: &Command) -> String {
    format!("starting `{}`", line(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_its_last_words() {
        let error =
            capture(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"])).unwrap_err().to_string();
        assert_eq!(error, "`sh -c 'echo no luck >&2; exit 3'` failed with exit status: 3: no luck");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("holm-no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "starting `holm-no-such-program`");
        assert!(!exists("holm-no-such-program") && exists("sh"));
    }

    #[test]
    fn a_signal_counts_as_a_shell_counts_it() {
        let status = Command::new("sh").args(["-c", "kill -9 $$"]).status().unwrap();
        assert_eq!(shell_code(status), 137);
    }

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        assert_eq!(quoted("--memory=256m"), "--memory=256m");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
