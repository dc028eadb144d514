//! Numbers of bytes as people write them: `64m`, `1.5g`.

/// Bytes of a size with an optional unit `b`, `k`, `m`, `g`, `t`, `p` (powers of 1024; `kb` and `kib` mean the same).
///
/// # Errors
/// A text of another form, or more than 2^63 bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    parse_size(text)
        .ok_or_else(|| format!("`{text}` is no size: write bytes or a number with b, k, m, g, t or p"))
}

fn parse_size(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let scale: u64 = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit.is_empty() || unit == "b" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        "p" => 1 << 50,
        _ => return None,
    };
    let known_ending = matches!(unit.get(1..), None | Some("" | "b" | "ib" | "i"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !known_ending || whole.is_empty() || fraction.contains('.') || number.ends_with('.') {
        return None;
    }
    let bytes = whole.parse::<u64>().ok()?.checked_mul(scale)?.checked_add(fraction_of(fraction, scale)?)?;
    (bytes <= i64::MAX.unsigned_abs()).then_some(bytes)
}

/// `0.<digits>` of `scale`, cut to whole bytes; digits beyond the twelfth are too small to count.
fn fraction_of(digits: &str, scale: u64) -> Option<u64> {
    let digits = digits.get(..digits.len().min(12))?;
    if digits.is_empty() {
        return Some(0);
    }
    let numerator = digits.parse::<u64>().ok()?;
    let denominator = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    u64::try_from(u128::from(numerator) * u128::from(scale) / denominator).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_written() {
        for (text, bytes) in [
            ("0", 0),
            ("64m", 64 << 20),
            ("64M", 64 << 20),
            ("64mb", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 m", 64 << 20),
            ("1.5g", 3 << 29),
            ("0.5k", 512),
            ("123", 123),
            ("123b", 123),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "1.",
            ".5m",
            "1.5.5m",
            "64x",
            "64mm",
            "64ibm",
            "99999999999999p",
            "1e3",
            "64mbb",
            "i",
            "1bb",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
