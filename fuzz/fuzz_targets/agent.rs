//! The channel between a machine and the agent in its guest: whatever the other side sends, finding frames and reading
//! messages ends, holds no more than a frame, and does not panic; what is understood is the same again.
//!
//! The first byte says how long the pieces are in which the rest arrives.
#![no_main]

use holm_spec::agent::frame::{Content, Decoder, FRAME_LIMIT, OPENING, put_data, put_message};
use holm_spec::agent::{Command, Report};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|input: &[u8]| {
    let Some((&length, bytes)) = input.split_first() else { return };
    let mut decoder = Decoder::default();
    for piece in bytes.chunks(usize::from(length) + 1) {
        decoder.push(piece);
        while let Some(content) = decoder.next_frame() {
            look(content);
        }
    }
    // Whatever it was, the next frame is found.
    decoder.push(OPENING);
    while let Some(content) = decoder.next_frame() {
        look(content);
    }
    let mut frame = Vec::new();
    put_data(&mut frame, holm_spec::keeper::Stream::Stdin, 7, bytes.get(..1000).unwrap_or(bytes));
    decoder.push(&frame);
    assert_eq!(decoder.next_frame().is_some(), !bytes.is_empty());
    // Few bytes make a frame with a right checksum: the message by itself, too.
    message::<Command>(bytes);
    message::<Report>(bytes);
});

fn look(content: Content<'_>) {
    match content {
        Content::Message(text) => {
            message::<Command>(text);
            message::<Report>(text);
        }
        Content::Data(_, _, data) => assert!(data.len() <= FRAME_LIMIT),
    }
}

fn message<M: DeserializeOwned + Serialize>(text: &[u8]) {
    let Ok(message) = serde_json::from_slice::<M>(text) else { return };
    let mut frame = Vec::new();
    if !put_message(&mut frame, &message) {
        return;
    }
    let mut decoder = Decoder::default();
    decoder.push(&frame);
    let Some(Content::Message(again)) = decoder.next_frame() else { panic!("a message is a frame") };
    let again: M = serde_json::from_slice(again).expect("it was just written");
    assert_eq!(
        serde_json::to_value(&again).expect("plain data"),
        serde_json::to_value(&message).expect("plain data")
    );
}
