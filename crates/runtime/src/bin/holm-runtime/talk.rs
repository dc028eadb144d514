//! The only place that prints: data to standard output, talk to standard error.

use std::io::Write as _;
use std::sync::OnceLock;

use holm_sys::rustix::io::write;
use holm_sys::rustix::stdio::{stderr, stdout};

use crate::log::Log;

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

/// Log that debugging goes to; standard error if it has no file.
static DEBUG: OnceLock<Log> = OnceLock::new();

/// Debugging is asked for, and goes there.
pub fn debug_to(log: Log) {
    // The command line is read once.
    let _ = DEBUG.set(log);
}

/// Says what is done, for who looks for a fault; nothing unless that was asked for.
pub fn debug(text: &str) {
    let Some(log) = DEBUG.get() else { return };
    let line = log.line("debug", holm_sys::process::now(), text);
    let Some(file) = log.file() else { return say(&line) };
    let opened = std::fs::File::options().append(true).create(true).open(file);
    // Whether the file can be written is told when an error has to go there.
    let _ = opened.and_then(|mut opened| opened.write_all(line.as_bytes()));
}

/// Warns of what was left out.
pub fn warn(text: &str) {
    say(&format!("warning: {text}\n"));
}
