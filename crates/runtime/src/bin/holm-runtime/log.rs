//! Errors: one line on standard error, and one in the file that the caller reads them from.
//!
//! containerd takes the last line of level `error` of the file, podman parses the whole file as one object: so
//! nothing else is ever written there.

use std::error::Error as _;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use holm_runtime::Error;
use holm_spec::Timestamp;
use serde_json::json;

use crate::talk;

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
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

    /// Tells of a failure and gives the exit code for it.
    pub fn failure(&self, error: &Error, code: u8) -> ExitCode {
        let text = in_one_line(error);
        talk::say(&format!("error: {text}\n"));
        if let Some(file) = &self.file {
            let line = self.line(&text);
            let opened = std::fs::File::options().append(true).create(true).open(file);
            if let Err(failure) = opened.and_then(|mut opened| opened.write_all(line.as_bytes())) {
                talk::say(&format!("error: write log `{}`: {failure}\n", file.display()));
            }
        }
        ExitCode::from(code)
    }

    fn line(&self, text: &str) -> String {
        let time = Timestamp::from_nanos(holm_sys::process::now() / 1_000_000_000 * 1_000_000_000);
        match self.format {
            Format::Json => {
                let line = json!({ "level": "error", "msg": text, "time": time.to_string() });
                format!("{line}\n")
            }
            Format::Text => format!("time=\"{time}\" level=error msg={}\n", json!(text)),
        }
    }
}

/// An error with its causes.
fn in_one_line(error: &Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
