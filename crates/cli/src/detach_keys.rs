//! The keys that leave a workload's terminal without ending it, and finding them in what is typed.
//!
//! Keys that could begin the sequence are held back until it is clear whether they do; then they are handed on.

/// `ctrl-p,ctrl-q`.
pub const DEFAULT: &str = "ctrl-p,ctrl-q";

/// Finds a sequence of keys in a stream of bytes.
#[derive(Debug)]
pub struct DetachKeys {
    keys: Vec<u8>,
    /// How many of the keys were typed last.
    matched: usize,
}

impl DetachKeys {
    /// Keys separated by commas: a character, or `ctrl-` with a letter or one of `@[\]^_`. An empty text is no sequence.
    ///
    /// # Errors
    /// A key of another form.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self { keys: Vec::new(), matched: 0 });
        }
        let keys = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        let keys = keys.ok_or_else(|| {
            format!("`{text}` is no key sequence: write characters or ctrl-<letter>, separated by commas")
        })?;
        Ok(Self { keys, matched: 0 })
    }

    /// Takes typed bytes and appends to `passed` what is for the workload. Says whether the sequence is complete;
    /// what was typed behind it is dropped.
    pub fn scan(&mut self, typed: &[u8], passed: &mut Vec<u8>) -> bool {
        for &byte in typed {
            if self.keys.is_empty() {
                passed.push(byte);
                continue;
            }
            self.step(byte, passed);
            if self.matched == self.keys.len() {
                self.matched = 0;
                return true;
            }
        }
        false
    }

    /// One byte: the longest end of what was held back, with it, that begins the sequence is held back now.
    fn step(&mut self, byte: u8, passed: &mut Vec<u8>) {
        let mut held = self.keys[..self.matched].to_vec();
        held.push(byte);
        let begins = |start: &usize| self.keys.starts_with(&held[*start..]);
        let start = (0..held.len()).find(begins).unwrap_or(held.len());
        passed.extend_from_slice(&held[..start]);
        self.matched = held.len() - start;
    }
}

fn key(text: &str) -> Option<u8> {
    if let [byte @ 0x20..0x7f] = text.as_bytes() {
        return Some(*byte);
    }
    match text.strip_prefix("ctrl-")?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(letter - b'a' + 1),
        [letter @ b'A'..=b'Z'] => Some(letter - b'A' + 1),
        b"@" => Some(0),
        [sign @ (b'[' | b'\\' | b']' | b'^' | b'_')] => Some(sign - b'[' + 27),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::parse(keys).expect("valid keys");
        let mut passed = Vec::new();
        let complete = pieces.iter().any(|piece| keys.scan(piece, &mut passed));
        (passed, complete)
    }

    #[test]
    fn every_way_to_write_a_key() {
        for (text, keys) in [
            ("ctrl-p,ctrl-q", vec![16, 17]),
            ("a,ctrl-@,~", vec![b'a', 0, b'~']),
            ("ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_", vec![27, 28, 29, 30, 31]),
            ("ctrl-A", vec![1]),
            ("", vec![]),
        ] {
            assert_eq!(DetachKeys::parse(text).map(|keys| keys.keys), Ok(keys), "{text}");
        }
        for text in ["ab", "ctrl-", "ctrl-1", "ctrl-ab", ",", "a,", "ä", "\n"] {
            assert!(DetachKeys::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_reads() {
        assert_eq!(typed(DEFAULT, &[b"ls\r\x10\x11more"]), (b"ls\r".to_vec(), true));
        assert_eq!(typed(DEFAULT, &[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(typed(DEFAULT, &[b"\x10", b"\x10", b"\x11"]), (b"\x10".to_vec(), true));
    }

    #[test]
    fn what_is_no_sequence_is_passed_on() {
        assert_eq!(typed(DEFAULT, &[b"\x10x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(typed("a,a,b", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(typed("a,b,a,c", &[b"ababac"]), (b"ab".to_vec(), true));
        assert_eq!(typed("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
