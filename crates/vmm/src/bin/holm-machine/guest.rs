//! The channel to the guest's agent: frames both ways, none of them waited for.

use std::os::fd::BorrowedFd;

use holm_spec::agent::frame::{Content, Decoder, OPENING, put_data, put_message};
use holm_spec::agent::{Command, Report};
use holm_spec::keeper::Stream;
use holm_sys::Errno;
use holm_vmm::{Error, Result};

/// Most bytes that wait for the guest. Data has its windows, and a guest that takes nothing gets no more commands.
const QUEUE_LIMIT: usize = 4 << 20;
/// Bytes that are read in one go.
const CHUNK: usize = 64 * 1024;

/// What the agent sent.
#[derive(Debug, PartialEq)]
pub enum Word {
    /// A message.
    Report(Box<Report>),
    /// Output of a session.
    Output(u32, Stream, Vec<u8>),
    /// What this program does not understand.
    Nonsense(String),
}

/// Both directions of the channel.
#[derive(Debug)]
pub struct Guest {
    decoder: Decoder,
    queue: Vec<u8>,
}

impl Guest {
    /// A channel that begins with its opening.
    pub fn new() -> Self {
        Self { decoder: Decoder::default(), queue: OPENING.to_vec() }
    }

    /// Queues a command.
    ///
    /// # Errors
    /// It is too long, or the guest has taken nothing for long.
    pub fn command(&mut self, command: &Command) -> Result<()> {
        if self.queue.len() > QUEUE_LIMIT {
            return Err(Error::new("the guest takes no more commands"));
        }
        if put_message(&mut self.queue, command) {
            return Ok(());
        }
        Err(Error::new(
            "tell the guest what to run: arguments, environment and profile are too long together",
        ))
    }

    /// Queues input of a session.
    pub fn input(&mut self, session: u32, bytes: &[u8]) {
        put_data(&mut self.queue, Stream::Stdin, session, bytes);
    }

    /// Whether bytes wait for the guest.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends what the channel takes; false if it is closed.
    pub fn flush(&mut self, channel: BorrowedFd<'_>) -> bool {
        let mut sent = 0;
        let mut open = true;
        while sent < self.queue.len() {
            match rustix::io::write(channel, &self.queue[sent..]) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    open = false;
                    break;
                }
            }
        }
        self.queue.drain(..sent);
        open
    }

    /// Reads a part of what is there; false if the channel is closed.
    pub fn read(&mut self, channel: BorrowedFd<'_>) -> bool {
        let mut buffer = [0; CHUNK];
        match rustix::io::read(channel, &mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.decoder.push(&buffer[..length]);
                true
            }
            Err(errno) => matches!(errno, Errno::AGAIN | Errno::INTR),
        }
    }

    /// The next word that is whole.
    pub fn next_word(&mut self) -> Option<Word> {
        Some(match self.decoder.next_frame()? {
            Content::Data(Stream::Stdin, session, _) => Word::Nonsense(format!("input of session {session}")),
            Content::Data(stream, session, data) => Word::Output(session, stream, data.to_vec()),
            Content::Message(text) => match serde_json::from_slice(text) {
                Ok(report) => Word::Report(Box::new(report)),
                Err(error) => Word::Nonsense(error.to_string()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let mut guest = Guest::new();
        let mut bytes = OPENING.to_vec();
        put_data(&mut bytes, Stream::Stdout, 3, b"out");
        put_data(&mut bytes, Stream::Stdin, 3, b"in");
        put_message(&mut bytes, &Report::Taken { session: 3, bytes: 2 });
        put_message(&mut bytes, &serde_json::json!({"report": "unheard-of"}));
        guest.decoder.push(&bytes);
        assert_eq!(guest.next_word(), Some(Word::Output(3, Stream::Stdout, b"out".to_vec())));
        assert!(matches!(guest.next_word(), Some(Word::Nonsense(_))));
        let taken = Report::Taken { session: 3, bytes: 2 };
        assert_eq!(guest.next_word(), Some(Word::Report(Box::new(taken))));
        assert!(matches!(guest.next_word(), Some(Word::Nonsense(_))));
        assert_eq!(guest.next_word(), None);
    }
}
