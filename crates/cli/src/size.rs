//! Numbers of bytes: as people read them (`117MB`, `1.9GiB`), and as they write them (`64m`, `1.5g`).

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// In powers of 1000 with three significant digits: image sizes.
pub fn decimal(bytes: u64) -> String {
    shown(bytes, 1000.0, &DECIMAL, 3)
}

/// In powers of 1024 with four significant digits: memory.
pub fn binary(bytes: u64) -> String {
    shown(bytes, 1024.0, &BINARY, 4)
}

fn shown(bytes: u64, base: f64, units: &[&str], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut value = bytes as f64;
    let mut units = units.iter();
    let mut unit = units.next().unwrap_or(&"");
    // What would round up to the base is one of the next unit: 1MB, not 1000kB.
    while significant(value, digits).parse::<f64>().is_ok_and(|rounded| rounded >= base) {
        let Some(next) = units.next() else { break };
        value /= base;
        unit = next;
    }
    format!("{}{unit}", significant(value, digits))
}

/// A number with so many significant digits, without trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    let whole_digits = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", digits.saturating_sub(whole_digits));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

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
    fn sizes_as_read() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_234_567, "1.23MB"),
            (117_400_000, "117MB"),
            (999_999, "1MB"),
            (1_500_000_000, "1.5GB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(decimal(bytes), text, "{bytes}");
        }
        assert_eq!(binary(2_095_943_680), "1.952GiB");
        assert_eq!(binary(1 << 30), "1GiB");
        assert_eq!(binary(1023), "1023B");
    }

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
