//! The only place that prints: data to standard output, talk to standard error.

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

/// Says what is done, for who looks for a fault.
pub fn debug(text: &str) {
    let time = holm_spec::Timestamp::from_nanos(holm_sys::process::now());
    say(&format!("time=\"{time}\" level=debug msg={}\n", serde_json::json!(text)));
}

/// Warns of what was left out.
pub fn warn(text: &str) {
    say(&format!("warning: {text}\n"));
}
