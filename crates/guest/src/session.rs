//! A process that the machine has given a number, with the windows of its streams.

use std::os::fd::OwnedFd;

use holm_runtime::watched::Watched;
use holm_spec::Id;
use holm_spec::agent::WINDOW;
use holm_spec::keeper::Stream;
use holm_sys::Errno;

/// Bytes of output that are read in one go.
pub const CHUNK: usize = 16 * 1024;
const WINDOW_BYTES: usize = WINDOW as usize;

/// One session.
#[derive(Debug)]
pub struct Session {
    /// The workload that it is in.
    pub workload: Id,
    /// Its process.
    pub process: Watched,
    outputs: [Output; 2],
    /// Bytes of input that the machine sent and was not told to be taken.
    ahead: usize,
    end: Option<End>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Exit code, 128 + n for signal n.
    pub code: i32,
    /// A process of the workload was killed for lack of memory.
    pub oom_killed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Output {
    /// There may be something to read.
    ready: bool,
    /// Bytes that were sent and are not acknowledged.
    unacknowledged: usize,
    /// Once the process ended: what is still to be read of what it wrote.
    left: Option<u64>,
}

impl Output {
    fn room(&self) -> usize {
        let left = self.left.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        WINDOW_BYTES.saturating_sub(self.unacknowledged).min(CHUNK).min(left)
    }
}

/// The place of an output stream in a process's streams.
const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

impl Session {
    /// A session of a process that has just been started.
    pub fn new(workload: Id, process: Watched) -> Self {
        Self { workload, process, outputs: Default::default(), ahead: 0, end: None }
    }

    /// Its output has something to be read.
    pub fn note_output(&mut self, which: usize) {
        if let Some(output) = self.outputs.get_mut(which) {
            output.ready = true;
        }
    }

    /// Whether some output can be read and sent.
    pub fn is_busy(&self) -> bool {
        (0..2).any(|which| self.can_read(which))
    }

    fn can_read(&self, which: usize) -> bool {
        let output = &self.outputs[which];
        output.ready && output.room() > 0 && self.process.streams.outputs[which].is_some()
    }

    /// Reads what an output holds, as far as its window goes; `send` gets it. An output that has come to its end is
    /// given back, to be forgotten.
    pub fn read_output(
        &mut self,
        which: usize,
        buffer: &mut [u8],
        send: &mut dyn FnMut(Stream, &[u8]),
    ) -> Option<OwnedFd> {
        if !self.can_read(which) {
            return None;
        }
        let output = &mut self.outputs[which];
        let room = output.room().min(buffer.len());
        let source = self.process.streams.outputs[which].as_ref()?;
        match rustix::io::read(source, &mut buffer[..room]) {
            Ok(length) if length > 0 => {
                output.unacknowledged += length;
                output.left = output.left.map(|left| left.saturating_sub(length as u64));
                send(STREAMS[which], &buffer[..length]);
                None
            }
            Err(Errno::INTR) => None,
            Err(Errno::AGAIN) => {
                output.ready = false;
                output.left = output.left.map(|_| 0);
                None
            }
            // The end of a pipe, or of a terminal (`EIO`).
            Ok(_) | Err(_) => self.process.streams.outputs[which].take(),
        }
    }

    /// The machine has taken bytes of an output.
    pub fn acknowledge(&mut self, stream: Stream, bytes: u32) {
        if let Some(which) = STREAMS.iter().position(|known| *known == stream) {
            let output = &mut self.outputs[which];
            output.unacknowledged = output.unacknowledged.saturating_sub(bytes as usize);
        }
    }

    /// Gives input to the process; false if the machine has gone beyond its window.
    #[must_use]
    pub fn feed(&mut self, bytes: &[u8]) -> bool {
        let ahead = self.ahead + bytes.len();
        // Of an earlier machine as much may be left.
        if ahead > WINDOW_BYTES || self.process.backlog.len() + bytes.len() > 2 * WINDOW_BYTES {
            return false;
        }
        self.ahead = ahead;
        // Nobody knows what would follow the end.
        if !self.process.close_after_backlog {
            self.process.feed(bytes);
        }
        true
    }

    /// How many bytes of input were taken, once that is worth a message.
    pub fn taken(&mut self) -> Option<u32> {
        let taken = self.ahead.saturating_sub(self.process.backlog.len());
        if taken < WINDOW_BYTES / 2 {
            return None;
        }
        self.ahead -= taken;
        u32::try_from(taken).ok()
    }

    /// Another machine listens: its windows are open, but for what still waits to be sent.
    pub fn open_windows(&mut self, waiting: &dyn Fn(Stream) -> usize) {
        self.ahead = 0;
        for (output, stream) in self.outputs.iter_mut().zip(STREAMS) {
            output.unacknowledged = waiting(stream);
        }
    }

    /// The process ended; what it wrote is still to be sent, but not what one that it left behind goes on writing.
    pub fn finish(&mut self, end: End) {
        self.end = Some(end);
        self.process.backlog = Vec::new();
        for which in 0..2 {
            self.outputs[which].left = Some(self.process.streams.held_output(which));
            self.outputs[which].ready = true;
        }
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// How it ended, once all its output is sent.
    pub fn end(&self) -> Option<End> {
        let is_read = |which: usize| {
            self.process.streams.outputs[which].is_none() || self.outputs[which].left == Some(0)
        };
        self.end.filter(|_| is_read(0) && is_read(1))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use holm_runtime::streams::{Streams, pipes};

    use super::*;

    /// A session of a process that does nothing, with pipes whose other ends come with it.
    fn session(stdin: bool) -> (Session, holm_runtime::streams::ProcessEnds) {
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().expect("it is there");
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it ran");
        child.wait().expect("it ends");
        let (streams, ends): (Streams, _) = pipes(stdin).expect("pipes");
        let process = Watched::adopted(pid.as_raw_nonzero().get(), pidfd, 0, streams);
        (Session::new(Id::from_bytes([1; 32]), process), ends)
    }

    fn read_all(session: &mut Session) -> usize {
        let (mut total, mut buffer) = (0, vec![0; CHUNK]);
        while session.is_busy() {
            for which in 0..2 {
                session.read_output(which, &mut buffer, &mut |_, bytes| total += bytes.len());
            }
        }
        total
    }

    #[test]
    fn output_is_read_as_far_as_its_window_goes_and_all_of_it_comes() {
        let (mut session, ends) = session(false);
        let [_, stdout, _] = ends.descriptors();
        rustix::pipe::fcntl_setpipe_size(stdout, 256 * 1024).expect("a pipe may be larger");
        assert_eq!(rustix::io::write(stdout, &[7; 150_000]), Ok(150_000));
        session.note_output(0);
        assert_eq!(read_all(&mut session), WINDOW_BYTES);
        session.finish(End { code: 3, oom_killed: false });
        assert_eq!(session.end(), None, "there is more");
        session.acknowledge(Stream::Stdout, 1000);
        assert_eq!(read_all(&mut session), 1000);
        session.acknowledge(Stream::Stdout, u32::MAX);
        assert_eq!(read_all(&mut session), WINDOW_BYTES);
        session.acknowledge(Stream::Stdout, WINDOW);
        // What comes from one that was left behind is not waited for.
        assert_eq!(rustix::io::write(stdout, &[8; 50_000]), Ok(50_000));
        assert_eq!(read_all(&mut session), 150_000 - 2 * WINDOW_BYTES - 1000);
        assert_eq!(session.end(), Some(End { code: 3, oom_killed: false }));
    }

    #[test]
    fn input_beyond_the_window_is_refused_and_what_was_taken_is_told() {
        let (mut session, ends) = session(true);
        let [stdin, ..] = ends.descriptors();
        assert!(session.feed(&[1; 40_000]));
        assert_eq!(session.taken(), Some(40_000), "the pipe has it");
        assert!(session.feed(&[1; WINDOW_BYTES]));
        assert_eq!(session.taken(), None, "most waits");
        assert!(!session.feed(&[1; 1]), "the window is closed");
        let mut read = 0;
        while read < 40_000 + WINDOW_BYTES {
            read += rustix::io::read(stdin, &mut [0; 8192]).expect("it is there");
            session.process.feed_backlog();
        }
        assert_eq!(session.taken(), Some(WINDOW));
        assert!(session.feed(&[1; 1]));
    }

    #[test]
    fn input_of_a_process_without_one_is_taken_at_once() {
        let (mut session, _ends) = session(false);
        assert!(session.feed(&[1; WINDOW_BYTES]));
        assert_eq!(session.taken(), Some(WINDOW));
    }

    #[test]
    fn another_machine_has_windows_of_its_own() {
        let (mut session, ends) = session(true);
        assert!(session.feed(&[1; WINDOW_BYTES]) && session.feed(&[]));
        let [_, stdout, _] = ends.descriptors();
        assert_eq!(rustix::io::write(stdout, &[7; 60_000]), Ok(60_000));
        session.note_output(0);
        assert_eq!(read_all(&mut session), 60_000);
        session.open_windows(&|stream| if stream == Stream::Stdout { 10_000 } else { 0 });
        assert_eq!(session.outputs[0].unacknowledged, 10_000);
        for _ in 0..2 {
            assert!(session.feed(&[1; WINDOW_BYTES]), "the pipe has the first");
            session.open_windows(&|_| 0);
        }
        assert!(!session.feed(&[1; WINDOW_BYTES]), "memory has a bound whatever machines say");
    }
}
