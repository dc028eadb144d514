//! What can be wrong with an instruction only when its variables are expanded.

use super::instruction::{Add, Command, Copy, Transfer};
use super::mode::Mode;
use super::port;
use super::words::Word;
use crate::error::{Kind, Result};

impl Command {
    /// Checks an instruction whose variables are expanded.
    ///
    /// # Errors
    /// A mode, a signal, a port or a source that is none.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Add(add) => check_add(add),
            Self::Copy(copy) => check_copy(copy),
            Self::Expose(ports) => ports.iter().try_for_each(check_port),
            Self::StopSignal(signal) => check_signal(signal),
            Self::Volume(volumes) => volumes.iter().try_for_each(|path| check_path(path, "VOLUME")),
            _ => Ok(()),
        }
    }
}

/// Whether a source is downloaded: only `ADD` does that.
pub fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Whether a source is a repository of git's: by its scheme, as `user@host:path`, or a URL whose path ends in `.git`.
pub fn is_repository(source: &str) -> bool {
    let path = source.split(['#', '?']).next().unwrap_or_default();
    let by_scheme = source.starts_with("git://") || source.starts_with("ssh://");
    by_scheme || is_remote_path(path) || (is_url(source) && path.ends_with(".git"))
}

/// `user@host:path`, as ssh and scp have it.
fn is_remote_path(text: &str) -> bool {
    let Some((user, (host, _))) =
        text.split_once('@').and_then(|(user, rest)| Some((user, rest.split_once(':')?)))
    else {
        return false;
    };
    let is_made_of = |text: &str, others: &[u8]| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || others.contains(&byte))
    };
    is_made_of(user, b"-_") && is_made_of(host, b"-.")
}

fn check_files(files: &Transfer) -> Result<()> {
    if let Some(owner) = files.owner.as_ref().filter(|owner| files.link && !is_numeric(&owner.text)) {
        let fault = owner.fault(Kind::Value, "with `--link`, `--chown` takes numbers only");
        return Err(
            fault.hint("names are those of the files below, on which a layer of its own must not depend")
        );
    }
    let Some(mode) = &files.mode else { return Ok(()) };
    Mode::parse(&mode.text)
        .map(|_| ())
        .map_err(|reason| mode.fault(Kind::Value, format!("--chmod: {reason}")))
}

/// `uid` or `uid:gid`.
fn is_numeric(owner: &str) -> bool {
    let (user, group) = owner.split_once(':').unwrap_or((owner, "0"));
    [user, group].iter().all(|id| id.parse::<u32>().is_ok())
}

fn check_add(add: &Add) -> Result<()> {
    check_files(&add.files)?;
    let Some(checksum) = &add.checksum else { return Ok(()) };
    match add.files.sources.as_slice() {
        [source] if is_url(&source.text) || is_repository(&source.text) => Ok(()),
        _ => Err(checksum.fault(Kind::Value, "`--checksum` needs one source, a URL or a repository")),
    }
}

fn check_copy(copy: &Copy) -> Result<()> {
    check_files(&copy.files)?;
    for source in &copy.files.sources {
        if is_url(&source.text) || is_repository(&source.text) {
            let fault = source.fault(Kind::Value, format!("`COPY` does not download `{}`", source.text));
            return Err(fault.hint("`ADD` does"));
        }
    }
    Ok(())
}

fn check_port(word: &Word) -> Result<()> {
    port::parse(&word.text).map(|_| ()).map_err(|reason| word.fault(Kind::Value, reason))
}

fn check_signal(word: &Word) -> Result<()> {
    match holm_spec::signal::parse(&word.text) {
        Some(_) => Ok(()),
        None => Err(word.fault(Kind::Value, format!("there is no signal `{}`", word.text))),
    }
}

fn check_path(word: &Word, keyword: &str) -> Result<()> {
    match word.text.as_str() {
        "" => Err(word.fault(Kind::Value, format!("a path of `{keyword}` is empty"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use crate::dockerfile::Dockerfile;

    fn check(instruction: &str) -> Result<(), String> {
        let text = format!("FROM scratch\n{instruction}\n");
        let dockerfile = Dockerfile::parse("Dockerfile", text.as_bytes()).expect("a Dockerfile");
        dockerfile.stages[0].instructions[0].command.check().map_err(|fault| fault.to_string())
    }

    #[test]
    fn values_are_checked() {
        for instruction in [
            "COPY --chmod=u=rwX,go=rX a b",
            "ADD --checksum=sha256:1 https://example.com/a b",
            "ADD --checksum=1 https://example.com/a.git#main b",
            "ADD git@example.com:a/b.git c",
            "COPY git@a b",
            "COPY --link --chown=1:2 a b",
            "COPY --chown=user:group a b",
            "STOPSIGNAL SIGRTMIN+3",
            "EXPOSE 80 90-91/udp",
        ] {
            assert_eq!(check(instruction), Ok(()), "{instruction}");
        }
        for (instruction, message) in [
            ("COPY --chmod=999 a b", "--chmod: `999` is no octal mode from 0 to 7777"),
            ("COPY https://example.com/a b", "`COPY` does not download `https://example.com/a`"),
            ("ADD --checksum=1 a b", "`--checksum` needs one source, a URL or a repository"),
            (
                "ADD --checksum=1 https://a/b https://a/c d",
                "`--checksum` needs one source, a URL or a repository",
            ),
            ("COPY git@example.com:a b", "`COPY` does not download `git@example.com:a`"),
            ("COPY --link --chown=user a b", "with `--link`, `--chown` takes numbers only"),
            ("STOPSIGNAL TREM", "there is no signal `TREM`"),
            ("EXPOSE http", "`http` is no port from 0 to 65535, and no range of these"),
        ] {
            assert_eq!(check(instruction).expect_err(instruction), message);
        }
    }
}
