//! Frames over any stream of bytes, found again after whatever went wrong before.
//!
//! ```text
//! frame    = stuffed(content, CRC-32 of content in 4 bytes, little endian), 0x00
//! content  = '{' ...                                   a message in JSON
//!          | stream (1 byte: 0, 1, 2), session (4 bytes, little endian), data
//! ```
//!
//! Stuffing takes every zero out of a frame (Cheshire and Baker, "Consistent Overhead Byte Stuffing", 1999): a zero
//! is the end of a frame and nothing else, so a reader that has lost its place has it again at the next one. Whoever
//! opens a channel sends a lone zero first, which ends what another one may have left half said. It costs a byte for
//! every 254.

use crate::keeper::Stream;

/// Longest content of a frame in bytes.
pub const FRAME_LIMIT: usize = 1 << 20;
/// Most bytes of data in a frame.
pub const DATA_LIMIT: usize = 32 * 1024;
/// What opens a channel.
pub const OPENING: &[u8] = &[END];

const END: u8 = 0;
const CHECKSUM: usize = 4;
/// Longest frame without its end: the content, its checksum, what stuffing adds.
const STUFFED_LIMIT: usize = FRAME_LIMIT + CHECKSUM + (FRAME_LIMIT + CHECKSUM) / 254 + 1;
/// Most bytes behind one count of the stuffing.
const RUN: usize = 254;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A message in JSON.
    Message(&'a [u8]),
    /// Bytes of a session's stream.
    Data(Stream, u32, &'a [u8]),
}

impl<'a> Content<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        match bytes.first()? {
            b'{' => Some(Self::Message(bytes)),
            &first => {
                let stream = Stream::from_byte(first)?;
                let (session, data) = bytes[1..].split_first_chunk()?;
                Some(Self::Data(stream, u32::from_le_bytes(*session), data))
            }
        }
    }
}

/// Appends a message to what is to be sent; false, with nothing appended, if it is longer than [`FRAME_LIMIT`].
pub fn put_message(out: &mut Vec<u8>, message: &impl serde::Serialize) -> bool {
    let content = serde_json::to_vec(message).expect("a message is plain data");
    if content.len() > FRAME_LIMIT {
        return false;
    }
    put(out, &[&content]);
    true
}

/// Appends bytes of a stream, in as many frames as they need.
pub fn put_data(out: &mut Vec<u8>, stream: Stream, session: u32, data: &[u8]) {
    for chunk in data.chunks(DATA_LIMIT) {
        put(out, &[&[stream as u8], &session.to_le_bytes(), chunk]);
    }
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let mut checksum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| checksum.update(part));
    let mut stuffer = Stuffer::new(out);
    parts.iter().for_each(|part| stuffer.put(part));
    stuffer.put(&checksum.finalize().to_le_bytes());
    stuffer.end();
}

/// Writes runs without a zero, each behind its length plus one; a run shorter than [`RUN`] stands for itself and a zero.
struct Stuffer<'a> {
    out: &'a mut Vec<u8>,
    /// Where the length of the present run goes.
    count: usize,
}

impl<'a> Stuffer<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        let count = out.len();
        out.push(0);
        Self { out, count }
    }

    fn put(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = RUN - (self.out.len() - self.count - 1);
            let within = &bytes[..bytes.len().min(room)];
            let run = within.iter().position(|&byte| byte == END).unwrap_or(within.len());
            self.out.extend_from_slice(&within[..run]);
            if run < within.len() {
                self.close();
                bytes = &bytes[run + 1..];
            } else {
                if run == room {
                    self.close();
                }
                bytes = &bytes[run..];
            }
        }
    }

    fn close(&mut self) {
        self.out[self.count] =
            u8::try_from(self.out.len() - self.count).expect("a run has at most 254 bytes");
        self.count = self.out.len();
        self.out.push(0);
    }

    fn end(mut self) {
        self.close();
        // The place for the next count is the frame's end.
        debug_assert_eq!(self.out.last(), Some(&END));
    }
}

/// Finds frames in a stream. Holds at most one frame and what was pushed last.
#[derive(Debug, Default)]
pub struct Decoder {
    pending: Vec<u8>,
    /// How much of `pending` was looked at for an end.
    searched: usize,
    content: Vec<u8>,
    /// What is pending is the rest of a frame that is too long.
    skipping: bool,
    damaged: u64,
}

impl Decoder {
    /// Takes bytes as they come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Frames that were thrown away, being damaged or too long.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<Content<'_>> {
        loop {
            let Some(end) = self.find_end() else {
                self.drop_overlong();
                return None;
            };
            let whole = self.take_frame(end);
            if whole {
                break;
            }
        }
        Content::parse(&self.content)
    }

    fn find_end(&mut self) -> Option<usize> {
        let found = self.pending[self.searched..].iter().position(|&byte| byte == END);
        let end = found.map(|at| self.searched + at);
        self.searched = end.unwrap_or(self.pending.len());
        end
    }

    /// Takes what stands before an end; whether it is a frame.
    fn take_frame(&mut self, end: usize) -> bool {
        let fits = !self.skipping && end <= STUFFED_LIMIT;
        let whole = fits && end > 0 && self.restore(end);
        if end > 0 && !whole {
            self.damaged += 1;
        }
        self.pending.drain(..=end);
        (self.searched, self.skipping) = (0, false);
        whole
    }

    fn drop_overlong(&mut self) {
        if self.pending.len() > STUFFED_LIMIT || self.skipping {
            self.pending.clear();
            (self.searched, self.skipping) = (0, true);
        }
    }

    /// Undoes the stuffing and checks the checksum and the form.
    fn restore(&mut self, end: usize) -> bool {
        let content = &mut self.content;
        content.clear();
        let mut stuffed = &self.pending[..end];
        while let Some((&count, rest)) = stuffed.split_first() {
            let run = usize::from(count) - 1;
            if run > rest.len() {
                return false;
            }
            content.extend_from_slice(&rest[..run]);
            stuffed = &rest[run..];
            if run < RUN && !stuffed.is_empty() {
                content.push(END);
            }
        }
        let Some((body, checksum)) = content.split_last_chunk::<CHECKSUM>() else { return false };
        let right = crc32fast::hash(body) == u32::from_le_bytes(*checksum);
        let length = body.len();
        content.truncate(length);
        right && length <= FRAME_LIMIT && Content::parse(content).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(decoder: &mut Decoder) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(content) = decoder.next_frame() {
            frames.push(match content {
                Content::Message(text) => text.to_vec(),
                Content::Data(stream, session, data) => {
                    [&[stream as u8], &session.to_le_bytes()[..], data].concat()
                }
            });
        }
        frames
    }

    fn data(length: usize, seed: u8) -> Vec<u8> {
        (0..length)
            .map(|at| ((at * 7 + usize::from(seed)) % 256) as u8 & if at % 3 == 0 { 0 } else { 255 })
            .collect()
    }

    #[test]
    fn what_is_put_comes_out_whatever_it_is_and_however_it_is_cut() {
        for length in [0, 1, 2, 248, 249, 250, 253, 254, 255, 256, 508, 600, DATA_LIMIT] {
            for content in [vec![0; length], vec![1; length], data(length, 3)] {
                let mut out = Vec::new();
                put(&mut out, &[&[1], &7u32.to_le_bytes(), &content]);
                assert_eq!(out.iter().filter(|&&byte| byte == 0).count(), 1, "one end, at the end");
                let mut decoder = Decoder::default();
                for piece in out.chunks(100) {
                    assert!(decoder.next_frame().is_none());
                    decoder.push(piece);
                }
                assert_eq!(decoder.next_frame(), Some(Content::Data(Stream::Stdout, 7, &content[..])));
                assert_eq!(decoder.next_frame(), None);
            }
        }
    }

    #[test]
    fn long_data_goes_in_several_frames() {
        let mut out = Vec::new();
        let long = data(2 * DATA_LIMIT + 5, 1);
        put_data(&mut out, Stream::Stderr, 9, &long);
        let mut decoder = Decoder::default();
        decoder.push(&out);
        let all = frames(&mut decoder);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [DATA_LIMIT + 5, DATA_LIMIT + 5, 5 + 5]);
        assert_eq!(all.iter().flat_map(|frame| frame[5..].to_vec()).collect::<Vec<_>>(), long);
    }

    #[test]
    fn a_reader_finds_its_place_after_half_a_frame_and_after_noise() {
        let (mut whole, mut half) = (Vec::new(), Vec::new());
        assert!(put_message(&mut whole, &serde_json::json!({"a": 1})));
        put_data(&mut half, Stream::Stdout, 1, &[5; 1000]);
        half.truncate(600);
        for noise in [half, vec![255; 3000], vec![1, 1, 1], b"{\"a\":1}".to_vec()] {
            let mut decoder = Decoder::default();
            decoder.push(&noise);
            decoder.push(OPENING);
            decoder.push(&whole);
            assert_eq!(frames(&mut decoder), [b"{\"a\":1}".to_vec()]);
            assert_eq!(decoder.damaged(), 1);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_is_seen() {
        let mut out = Vec::new();
        put_data(&mut out, Stream::Stdout, 3, b"some output");
        let mut again = Vec::new();
        put_data(&mut again, Stream::Stdout, 4, b"more");
        for at in 0..out.len() - 1 {
            for bit in 0..8 {
                let mut damaged = out.clone();
                damaged[at] ^= 1 << bit;
                let mut decoder = Decoder::default();
                decoder.push(&damaged);
                decoder.push(&again);
                assert_eq!(frames(&mut decoder), [b"\x01\x04\0\0\0more".to_vec()], "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_without_an_end_takes_no_memory_without_bound() {
        let mut decoder = Decoder::default();
        for _ in 0..64 {
            decoder.push(&[1; 64 * 1024]);
            assert!(decoder.next_frame().is_none());
            assert!(decoder.pending.len() <= STUFFED_LIMIT + 64 * 1024);
        }
        decoder.push(OPENING);
        let mut whole = Vec::new();
        put_message(&mut whole, &serde_json::json!({}));
        decoder.push(&whole);
        assert_eq!(frames(&mut decoder), [b"{}".to_vec()]);
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let mut out = Vec::new();
        assert!(!put_message(&mut out, &"x".repeat(FRAME_LIMIT)));
        assert!(out.is_empty());
    }
}
