//! The only place that prints: data to standard output, talk to standard error.
//!
//! Writes go straight to the descriptors, so that large output costs no copy and no line is looked for. A reader that
//! went away is no error worth a word. Colour is for terminals, unless `NO_COLOR` is set, and never carries the meaning.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::command_error::CommandError;

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Writes to the standard streams.
#[derive(Debug, Default)]
pub struct Printer;

impl Printer {
    /// Writes data to standard output.
    ///
    /// # Errors
    /// The output cannot be written; a reader that went away is told by [`CommandError::output_closed`].
    pub fn data(&self, bytes: impl AsRef<[u8]>) -> Result<(), CommandError> {
        write_all(rustix::stdio::stdout(), bytes.as_ref())
            .map_err(|errno| CommandError::output("standard output", errno))
    }

    /// Writes a line to standard output.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub fn line(&self, text: impl std::fmt::Display) -> Result<(), CommandError> {
        self.data(format!("{text}\n"))
    }

    /// Writes bytes to standard error as they are: a workload's own.
    ///
    /// # Errors
    /// As [`Printer::data`].
    pub fn error_data(&self, bytes: &[u8]) -> Result<(), CommandError> {
        write_all(rustix::stdio::stderr(), bytes)
            .map_err(|errno| CommandError::output("standard error", errno))
    }

    /// Says something that the user should know and that is no failure.
    pub fn warning(&self, text: &str) {
        self.talk(&format!("{} {}\n", painted("WARNING:", YELLOW), printable(text)));
    }

    /// Says what was done beside what was asked.
    pub fn note(&self, text: &str) {
        self.talk(&format!("holm: {}\n", printable(text)));
    }

    /// Says what failed, why, and what may help.
    pub fn error(&self, command: &str, error: &CommandError) {
        let Some(message) = error.message() else { return };
        let mut text = format!("{} {}\n", painted(&format!("{command}:"), RED), printable(message));
        if let Some(excerpt) = error.excerpt() {
            text.push_str(excerpt);
            text.push('\n');
        }
        for hint in error.hints() {
            text.push_str(&format!("{} {}\n", painted("hint:", CYAN), printable(hint)));
        }
        self.talk(&text);
    }

    /// Nobody is left to hear that standard error cannot be written.
    fn talk(&self, text: &str) {
        let _ = write_all(rustix::stdio::stderr(), text.as_bytes());
    }
}

/// Writes everything; waits where the descriptor is non-blocking.
///
/// # Errors
/// Of write(2): `EPIPE` if nobody reads.
pub fn write_all(descriptor: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(descriptor, bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_writable(descriptor)?,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn wait_writable(descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    match poll(&mut [PollFd::from_borrowed_fd(descriptor.as_fd(), PollFlags::OUT)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn painted(text: &str, colour: &str) -> String {
    let unwanted = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if !rustix::termios::isatty(rustix::stdio::stderr()) || unwanted() || dumb() {
        return text.to_owned();
    }
    format!("{colour}{text}{PLAIN}")
}

/// Without control characters: names in messages come from images and command lines.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(printable("a\x1b[31mb\nc"), "a\u{fffd}[31mb\u{fffd}c");
    }

    #[test]
    fn a_slow_reader_is_waited_for() {
        let (reader, writer) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK | rustix::pipe::PipeFlags::CLOEXEC)
                .expect("pipe");
        let data = vec![7_u8; 1 << 20];
        let read = std::thread::scope(|scope| {
            let counter = scope.spawn(|| {
                let mut total = 0;
                let mut buffer = [0; 4096];
                while total < data.len() {
                    match rustix::io::read(&reader, &mut buffer) {
                        Ok(length) => total += length,
                        Err(Errno::AGAIN) => std::thread::yield_now(),
                        Err(errno) => panic!("{errno}"),
                    }
                }
                total
            });
            write_all(writer.as_fd(), &data).expect("write");
            counter.join().expect("reader")
        });
        assert_eq!(read, data.len());
        drop(reader);
        assert_eq!(write_all(writer.as_fd(), b"x"), Err(Errno::PIPE));
    }
}
