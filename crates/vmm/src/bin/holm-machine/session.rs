//! One process in the guest, as its streams are seen here.

use std::os::fd::OwnedFd;

use holm_spec::agent::WINDOW;
use holm_sys::Errno;

/// Who asked for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The keeper: the workload's first process.
    Keeper,
    /// A client of this number: another process.
    Client(usize),
}

/// A process's streams, and what is on its way.
#[derive(Debug)]
pub struct Session {
    /// Who is told of its life.
    pub owner: Owner,
    /// Where its input comes from, until that ends.
    pub stdin: Option<OwnedFd>,
    /// Where its outputs go.
    pub outputs: [Output; 2],
    /// Bytes of input that the guest may still be sent.
    pub room: u32,
    /// Exit code, and whether memory was short.
    pub end: Option<(i32, bool)>,
}

impl Session {
    /// A session with these streams.
    pub fn new(owner: Owner, stdin: Option<OwnedFd>, outputs: [Option<OwnedFd>; 2]) -> Self {
        Self { owner, stdin, outputs: outputs.map(Output::new), room: WINDOW, end: None }
    }

    /// Whether everything that the process wrote has been handed on.
    pub fn is_flushed(&self) -> bool {
        self.outputs.iter().all(|output| output.pending.is_empty())
    }
}

/// One output: what its reader does not take at once waits, at most a window of it.
#[derive(Debug)]
pub struct Output {
    /// The stream, until its reader is gone.
    pub stream: Option<OwnedFd>,
    pending: Vec<u8>,
}

impl Output {
    fn new(stream: Option<OwnedFd>) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// Whether bytes wait for the reader.
    pub fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Takes bytes; how many were handed on, these or earlier ones. `None` if the guest went beyond its window.
    pub fn put(&mut self, bytes: &[u8]) -> Option<u32> {
        if self.pending.len() + bytes.len() > WINDOW as usize {
            return None;
        }
        self.pending.extend_from_slice(bytes);
        Some(self.flush())
    }

    /// Hands on what the reader takes; how many bytes that were. A reader that is gone takes everything.
    pub fn flush(&mut self) -> u32 {
        let mut taken = 0;
        while taken < self.pending.len() {
            let Some(stream) = &self.stream else {
                taken = self.pending.len();
                break;
            };
            match rustix::io::write(stream, &self.pending[taken..]) {
                Ok(count) => taken += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.stream = None,
            }
        }
        self.pending.drain(..taken);
        u32::try_from(taken).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    #[test]
    fn output_waits_for_its_reader_and_never_more_than_a_window() {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK).expect("pipe");
        let mut output = Output::new(Some(write));
        let window = WINDOW as usize;
        let mut handed_on = output.put(&vec![1; window]).expect("within") as usize;
        handed_on += output.put(&vec![2; handed_on]).expect("as much again") as usize;
        assert!(output.is_behind());
        assert_eq!(output.put(&vec![3; window]), None);
        let mut buffer = vec![0; window];
        assert!(rustix::io::read(&read, &mut buffer).expect("read") > 0);
        handed_on += output.flush() as usize;
        assert!(handed_on > window);
        output.put(&[4]).expect("within");
        drop(read);
        output.flush();
        assert!(!output.is_behind() && output.stream.is_none(), "a reader that is gone takes everything");
    }
}
