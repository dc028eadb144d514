//! Answers of the network stack: they hold names and attributes that others chose.
#![no_main]

use holm_sys::netlink::read;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let mut answers = Vec::new();
    let _ = read(datagram, 1, &mut answers);
    for answer in &answers {
        let _: [u8; 16] = answer.header();
        for kind in 0..8 {
            let content = answer.attribute(16, kind);
            assert!(content.is_none_or(|content| content.len() < datagram.len()));
        }
    }
});
