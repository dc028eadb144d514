//! One connection: requests in, replies and output out, never waiting for a slow reader.
//!
//! What the socket does not take at once is queued. A stream is not read while one of its clients has
//! a queue, so a queue holds little more than what one read and one exit can add.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use holm_spec::keeper::{Reply, STDIN_WINDOW, Stream, Streams};
use holm_sys::Errno;
use holm_sys::socket::try_send_packet;

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub socket: OwnedFd,
    /// The process that its session is about.
    pub process: Option<usize>,
    /// What the session carries.
    pub streams: Streams,
    /// Close once the queue is empty.
    pub closing: bool,
    /// Bytes of input that it sent and was not told to be taken.
    pub ahead: usize,
    queue: VecDeque<Vec<u8>>,
}

impl Client {
    /// A client that has not asked for anything yet.
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            process: None,
            streams: Streams::NONE,
            closing: false,
            ahead: 0,
            queue: VecDeque::new(),
        }
    }

    /// Whether packets wait for the socket.
    pub fn is_behind(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Sends a reply.
    ///
    /// # Errors
    /// The client is gone.
    pub fn reply(&mut self, reply: &Reply) -> Result<(), Errno> {
        let packet = serde_json::to_vec(reply).expect("a reply is plain data");
        self.send(&packet, &[])
    }

    /// Sends output if the session carries that stream.
    pub fn output(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), Errno> {
        let wanted = if stream == Stream::Stderr { self.streams.stderr } else { self.streams.stdout };
        if !wanted {
            return Ok(());
        }
        self.send(&[stream as u8], bytes)
    }

    /// Tells that all its input was taken, once that is worth a packet.
    pub fn tell_taken(&mut self) -> Result<(), Errno> {
        if self.ahead < STDIN_WINDOW / 2 {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.ahead);
        self.reply(&Reply::Taken { bytes })
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> Result<(), Errno> {
        if self.queue.is_empty() {
            match try_send_packet(std::os::fd::AsFd::as_fd(&self.socket), head, body) {
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        self.queue.push_back([head, body].concat());
        Ok(())
    }

    /// Sends what waits, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), Errno> {
        while let Some(packet) = self.queue.front() {
            match try_send_packet(std::os::fd::AsFd::as_fd(&self.socket), packet, &[]) {
                Ok(()) => drop(self.queue.pop_front()),
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}
