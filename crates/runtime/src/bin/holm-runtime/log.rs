//! Errors: one line on standard error, and one in the file that the caller reads them from.
//!
//! containerd takes the last line of level `error` of the file, podman parses the whole file as one object: so
//! nothing else is written there unless `--debug` asks for it.

use std::error::Error as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use holm_runtime::{Error, Result};
use holm_spec::Timestamp;
use holm_sys::Errno;
use holm_sys::rustix::stdio::stderr;
use holm_sys::rustix::termios::isatty;
use serde_json::json;

use crate::talk;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Format {
    /// The format of that name.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid(format!("invalid log-format: {name}"))),
        }
    }
}

/// Where errors go beside standard error.
#[derive(Clone, Debug, Default)]
pub struct Log {
    file: Option<PathBuf>,
    format: Format,
}

impl Log {
    pub fn new(file: Option<PathBuf>, format: Format) -> Self {
        Self { file: file.filter(|file| !file.as_os_str().is_empty()), format }
    }

    /// The file, if there is one.
    pub fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Tells of a failure and gives the exit code for it. Where there is no file its line goes to standard error,
    /// or plain words if a person reads there.
    pub fn failure(&self, error: &Error, code: u8) -> ExitCode {
        let text = in_one_line(error);
        match &self.file {
            Some(file) => {
                talk::say(&format!("{text}\n"));
                let opened = std::fs::File::options().append(true).create(true).open(file);
                if let Err(failure) =
                    opened.and_then(|mut opened| opened.write_all(self.error_line(&text).as_bytes()))
                {
                    talk::say(&format!("error: write log `{}`: {failure}\n", file.display()));
                }
            }
            None if isatty(stderr()) => talk::say(&format!("error: {text}\n")),
            None => talk::say(&self.error_line(&text)),
        }
        ExitCode::from(code)
    }

    /// A line of a level, in this log's format; `time` in nanoseconds since 1970.
    pub fn line(&self, level: &str, time: i64, text: &str) -> String {
        let time = Timestamp::from_nanos(time);
        match self.format {
            Format::Json => {
                let line = json!({ "level": level, "msg": text, "time": time.to_string() });
                format!("{line}\n")
            }
            Format::Text => format!("time=\"{time}\" level={level} msg={}\n", json!(text)),
        }
    }

    fn error_line(&self, text: &str) -> String {
        let seconds = holm_sys::process::now() / 1_000_000_000;
        self.line("error", seconds * 1_000_000_000, text)
    }
}

/// An error with its causes. Those of the kernel are in the words of Go's library: callers look for them.
pub fn in_one_line(error: &Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let number = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
        line.push_str(": ");
        line.push_str(&number.map_or_else(|| cause.to_string(), kernel_words));
        source = cause.source();
    }
    line
}

/// What Go says for an error number: the C library's words with a small first letter. musl has other words for some.
fn kernel_words(number: i32) -> String {
    let own = match holm_sys::error_number(number) {
        Some(Errno::LOOP) => "too many levels of symbolic links",
        Some(Errno::BUSY) => "device or resource busy",
        Some(Errno::IO) => "input/output error",
        Some(Errno::NOMEM) => "cannot allocate memory",
        Some(Errno::OPNOTSUPP) => "operation not supported",
        Some(Errno::NODEV) => "no such device",
        Some(Errno::NXIO) => "no such device or address",
        _ => "",
    };
    if !own.is_empty() {
        return own.to_owned();
    }
    let text = std::io::Error::from_raw_os_error(number).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_gos_words() {
        let error = Error::system("open `x`", std::io::Error::from_raw_os_error(2));
        assert_eq!(in_one_line(&error), "open `x`: no such file or directory");
        assert_eq!(kernel_words(40), "too many levels of symbolic links");
    }
}
