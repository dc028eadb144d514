//! Byte ranges: of what is read (RFC 9110, section 14) and of what is uploaded (the distribution specification's own form).

/// What a `Range` header asks of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// All of it: there is no such header, or one that may be ignored.
    Whole,
    /// The bytes from `start` up to and including `end`.
    Part {
        /// The first byte.
        start: u64,
        /// The last byte.
        end: u64,
    },
    /// Nothing that is there.
    Nothing,
}

/// What `header` asks of `size` bytes. Several ranges at once, other units and nonsense are ignored, as the RFC allows;
/// one range that ends before it begins is taken for one of nothing.
pub fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(range) = header.and_then(|header| header.trim().strip_prefix("bytes=")) else {
        return Asked::Whole;
    };
    let Some((start, end)) = range.trim().split_once('-').filter(|_| !range.contains(',')) else {
        return Asked::Whole;
    };
    let last = size.saturating_sub(1);
    match (number(start), number(end)) {
        (Some(start), Some(end)) if start > end || start >= size => Asked::Nothing,
        (Some(start), Some(end)) => Asked::Part { start, end: end.min(last) },
        (Some(start), None) if end.is_empty() && start < size => Asked::Part { start, end: last },
        (Some(_), None) if end.is_empty() => Asked::Nothing,
        (None, Some(length)) if start.is_empty() && (length == 0 || size == 0) => Asked::Nothing,
        (None, Some(length)) if start.is_empty() => {
            Asked::Part { start: size.saturating_sub(length), end: last }
        }
        _ => Asked::Whole,
    }
}

/// The first and last byte of a chunk, from `Content-Range: 0-99`, or `bytes 0-99/*` as others write it.
pub fn of_chunk(header: &str) -> Option<(u64, u64)> {
    let range = header.trim().strip_prefix("bytes").map_or(header, str::trim_start);
    let range = range.split_once('/').map_or(range, |(range, _)| range);
    let (start, end) = range.trim().split_once('-')?;
    let (start, end) = (number(start)?, number(end)?);
    (start <= end).then_some((start, end))
}

fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_served_and_others_are_ignored() {
        let part = |start, end| Asked::Part { start, end };
        for (header, answer) in [
            ("bytes=0-99", part(0, 99)),
            ("bytes=900-5000", part(900, 999)),
            ("bytes=5-", part(5, 999)),
            ("bytes=-10", part(990, 999)),
            ("bytes=-5000", part(0, 999)),
            ("bytes=1000-", Asked::Nothing),
            ("bytes=1000-1001", Asked::Nothing),
            ("bytes=500-0", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=0-1", Asked::Whole),
            ("bytes=0-99999999999999999999999", Asked::Whole),
        ] {
            assert_eq!(asked(Some(header), 1000), answer, "{header}");
        }
        assert_eq!(asked(None, 1000), Asked::Whole);
        assert_eq!(asked(Some("bytes=0-"), 0), Asked::Nothing);
        assert_eq!(asked(Some("bytes=-1"), 0), Asked::Nothing);
    }

    #[test]
    fn chunks_have_two_ends() {
        assert_eq!(of_chunk("0-99"), Some((0, 99)));
        assert_eq!(of_chunk("bytes 5-9/*"), Some((5, 9)));
        for text in ["", "-", "5", "9-5", "a-b", "5-", "-5", "1-2-3"] {
            assert_eq!(of_chunk(text), None, "{text}");
        }
    }
}
