//! Messages on a stream: each behind its length in two bytes (RFC 1035 section 4.2.2).

/// Bytes of the length.
const PREFIX: usize = 2;

/// A message with its length. One that is too long for any has none, and is nothing.
pub fn write(message: &[u8]) -> Vec<u8> {
    let Ok(length) = u16::try_from(message.len()) else { return Vec::new() };
    [&length.to_be_bytes(), message].concat()
}

/// Takes the first message out of what came in, if all of it did.
pub fn take(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = received.split_first_chunk::<PREFIX>()?;
    let end = usize::from(u16::from_be_bytes(*length));
    let message = rest.get(..end)?.to_owned();
    received.drain(..PREFIX + end);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_in_any_parts() {
        let sent = [write(b"abc"), write(b""), write(b"d")].concat();
        let (mut received, mut messages) = (Vec::new(), Vec::new());
        for byte in sent {
            received.push(byte);
            messages.extend(take(&mut received));
        }
        assert_eq!(messages, [&b"abc"[..], b"", b"d"]);
        assert!(received.is_empty() && write(&[0; 1 << 16]).is_empty());
    }
}
