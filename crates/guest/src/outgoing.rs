//! What waits to be sent to the machine.
//!
//! A frame is sent whole, also to another machine than the one that got its beginning. What only the machine that asked
//! can make sense of is dropped when another one says hello; what processes wrote and how they ended is not.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use holm_spec::Id;
use holm_spec::agent::Report;
use holm_spec::agent::frame::{OPENING, put_data, put_message};
use holm_spec::keeper::Stream;

/// Bytes that may wait before no more is read: of the machine's commands, and of what processes write.
pub const LIMIT: usize = 512 * 1024;
/// Longest text of an error in bytes.
const MESSAGE_LIMIT: usize = 4096;

/// What a frame is, for the next machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// The answer to a request, or what a window needs.
    Answer,
    /// The beginning of a session.
    Session,
    /// The end of a session, and the workload that it was of.
    End(u32, Id),
    /// Bytes of a session's stream.
    Data(u32, Stream, usize),
}

#[derive(Debug)]
struct Frame {
    meaning: Meaning,
    bytes: Vec<u8>,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Outgoing {
    frames: VecDeque<Frame>,
    /// How much of the first frame is sent.
    sent: usize,
    /// Bytes of all frames.
    bytes: usize,
}

impl Outgoing {
    /// Whether so much waits that no more should come.
    pub fn is_full(&self) -> bool {
        self.bytes >= LIMIT
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The machine's answer to a request, or room in a window.
    pub fn answer(&mut self, mut report: Report) {
        shorten(&mut report);
        let mut bytes = Vec::new();
        while !put_message(&mut bytes, &report) {
            match &mut report {
                Report::Processes { processes, .. } if !processes.is_empty() => {
                    processes.truncate(processes.len() / 2);
                }
                // Nothing else is that long once it was shortened.
                _ => return,
            }
        }
        self.push(Meaning::Answer, bytes);
    }

    /// A session began, or could not.
    pub fn session(&mut self, mut report: Report) {
        shorten(&mut report);
        self.message(Meaning::Session, &report);
    }

    /// A session of a workload ended.
    pub fn end(&mut self, session: u32, workload: Id, code: i32, oom_killed: bool) {
        self.message(Meaning::End(session, workload), &Report::Exited { session, code, oom_killed });
    }

    /// What a process wrote.
    pub fn data(&mut self, session: u32, stream: Stream, data: &[u8]) {
        let mut bytes = Vec::with_capacity(data.len() + data.len() / 128 + 32);
        put_data(&mut bytes, stream, session, data);
        self.push(Meaning::Data(session, stream, data.len()), bytes);
    }

    /// Another machine listens: says `welcome` first, and drops what it does not know of. `sessions` are those that
    /// run; those whose end waits here are added.
    pub fn greet(
        &mut self,
        mut sessions: BTreeMap<u32, Id>,
        welcome: impl FnOnce(BTreeMap<u32, Id>) -> Report,
    ) {
        self.frames.retain(|frame| frame.meaning != Meaning::Answer);
        for frame in &self.frames {
            if let Meaning::End(session, workload) = frame.meaning {
                sessions.insert(session, workload);
            }
        }
        let mut bytes = OPENING.to_vec();
        put_message(&mut bytes, &welcome(sessions));
        self.frames.push_front(Frame { meaning: Meaning::Answer, bytes });
        self.sent = 0;
        self.bytes = self.frames.iter().map(|frame| frame.bytes.len()).sum();
    }

    /// Bytes of a stream that wait here.
    pub fn waiting(&self, session: u32, stream: Stream) -> usize {
        let of_stream = |frame: &Frame| match frame.meaning {
            Meaning::Data(of, which, length) if (of, which) == (session, stream) => length,
            _ => 0,
        };
        self.frames.iter().map(of_stream).sum()
    }

    /// What goes next.
    pub fn next(&self) -> Option<&[u8]> {
        self.frames.front().map(|frame| &frame.bytes[self.sent..])
    }

    /// So many bytes of [`Outgoing::next`] are sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        let Some(first) = self.frames.front().map(|frame| frame.bytes.len()) else { return };
        if self.sent >= first {
            self.frames.pop_front();
            self.bytes -= first;
            self.sent = 0;
        }
    }

    fn message(&mut self, meaning: Meaning, report: &Report) {
        let mut bytes = Vec::new();
        if put_message(&mut bytes, report) {
            self.push(meaning, bytes);
        }
    }

    fn push(&mut self, meaning: Meaning, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        self.frames.push_back(Frame { meaning, bytes });
    }
}

/// An error may name what the machine sent, and that may be long.
fn shorten(report: &mut Report) {
    if let Report::Refused { message, .. } | Report::Failed { message, .. } = report {
        message.truncate(message.floor_char_boundary(MESSAGE_LIMIT));
    }
}

#[cfg(test)]
mod tests {
    use holm_spec::agent::frame::{Content, Decoder};
    use holm_spec::agent::{PROCESSES_LIMIT, ProcessRow};
    use holm_spec::keeper::FailureKind;

    use super::*;

    fn id() -> Id {
        Id::from_bytes([7; 32])
    }

    fn welcome(sessions: BTreeMap<u32, Id>) -> Report {
        Report::Welcome { protocol: 1, release: "6.1".to_owned(), sessions }
    }

    /// All that is sent from now on, as a machine reads it.
    fn sent(outgoing: &mut Outgoing) -> Vec<String> {
        let mut decoder = Decoder::default();
        while let Some(next) = outgoing.next() {
            let piece = next[..next.len().min(100)].to_vec();
            decoder.push(&piece);
            outgoing.advance(piece.len());
        }
        let mut frames = Vec::new();
        while let Some(content) = decoder.next_frame() {
            frames.push(match content {
                Content::Message(text) => String::from_utf8_lossy(text).into_owned(),
                Content::Data(stream, session, data) => format!("{stream:?} {session} {}", data.len()),
            });
        }
        assert!(outgoing.is_empty() && outgoing.bytes == 0);
        frames
    }

    #[test]
    fn another_machine_hears_of_sessions_and_gets_whole_frames() {
        let mut outgoing = Outgoing::default();
        outgoing.data(3, Stream::Stdout, &[5; 1000]);
        outgoing.answer(Report::Done { request: 8 });
        outgoing.end(4, id(), 1, false);
        outgoing.advance(500);
        assert_eq!((outgoing.waiting(3, Stream::Stdout), outgoing.waiting(3, Stream::Stderr)), (1000, 0));
        outgoing.greet(BTreeMap::from([(3, id())]), welcome);
        let frames = sent(&mut outgoing);
        assert!(frames[0].contains(r#""welcome""#) && frames[0].contains(r#""3":"#), "{frames:?}");
        assert!(frames[0].contains(r#""4":"#), "its end waits: {frames:?}");
        assert_eq!(frames[1], "Stdout 3 1000");
        assert!(frames[2].contains(r#""exited""#), "{frames:?}");
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn a_report_that_is_too_long_is_shortened() {
        let mut outgoing = Outgoing::default();
        let long = "ä".repeat(1 << 20);
        outgoing.session(Report::Failed { session: 1, kind: FailureKind::Other, message: long });
        let row = ProcessRow {
            uid: 0,
            pid: 1,
            parent: 0,
            started: 0,
            cpu: 0,
            terminal: String::new(),
            command: "\u{1}".repeat(1000),
        };
        outgoing.answer(Report::Processes { request: 1, processes: vec![row; PROCESSES_LIMIT] });
        let frames = sent(&mut outgoing);
        assert!(frames[0].len() < 5000 && frames[0].contains("failed"));
        assert!(frames[1].len() > 100_000 && frames[1].contains("processes"));
    }

    #[test]
    fn it_says_when_it_is_full() {
        let mut outgoing = Outgoing::default();
        while !outgoing.is_full() {
            outgoing.data(1, Stream::Stderr, &[0; 16 * 1024]);
        }
        assert!(outgoing.bytes < LIMIT + 17 * 1024);
    }
}
