//! The only place that prints: data to standard output, talk to standard error.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::OnceLock;

use holm_sys::rustix::io::write;
use holm_sys::rustix::stdio::{stderr, stdout};

/// Writes data to standard output. A reader that went away is no error worth a word.
pub fn print(text: &str) {
    put(stdout(), text);
}

/// Says something that is no data.
pub fn say(text: &str) {
    put(stderr(), text);
}

fn put(stream: std::os::fd::BorrowedFd<'_>, text: &str) {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match write(stream, rest) {
            Ok(length) => rest = &rest[length..],
            Err(holm_sys::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// File that debugging goes to in place of standard error.
static DEBUG_FILE: OnceLock<PathBuf> = OnceLock::new();

/// Debugging goes to this file from now on.
pub fn debug_to(file: PathBuf) {
    // The command line is read once.
    let _ = DEBUG_FILE.set(file);
}

/// Says what is done, for who looks for a fault.
pub fn debug(text: &str) {
    let time = holm_spec::Timestamp::from_nanos(holm_sys::process::now());
    let line = format!("time=\"{time}\" level=debug msg={}\n", serde_json::json!(text));
    let Some(file) = DEBUG_FILE.get() else { return say(&line) };
    let opened = std::fs::File::options().append(true).create(true).open(file);
    // Whether the file can be written is told when an error has to go there.
    let _ = opened.and_then(|mut opened| opened.write_all(line.as_bytes()));
}

/// Warns of what was left out.
pub fn warn(text: &str) {
    say(&format!("warning: {text}\n"));
}
