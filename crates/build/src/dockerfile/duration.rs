//! Durations as Go writes them: `1h30m`, `1.5s`, `100ms`.

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Nanoseconds of a duration that is not negative.
///
/// # Errors
/// A text of another form, or more than Go can count: about 292 years.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is no duration: write numbers with h, m, s, ms, us or ns, such as 1m30s");
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    if let Some(positive) = text.strip_prefix('-') {
        return match parse(positive) {
            Ok(0) => Ok(0),
            Ok(_) => Err(format!("`{text}` is less than nothing")),
            Err(_) => Err(bad()),
        };
    }
    if unsigned == "0" {
        return Ok(0);
    }
    sum(unsigned).filter(|nanos| i64::try_from(*nanos).is_ok()).ok_or_else(bad)
}

/// The sum of one or more numbers with units.
fn sum(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0u64;
    while !rest.is_empty() || total == 0 && rest.len() == text.len() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len()));
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        total = total.checked_add(scaled(number, *scale)?)?;
        rest = behind;
    }
    Some(total)
}

/// `1.5` of a unit, cut to whole nanoseconds.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    // Digits beyond the fifteenth are less than a nanosecond of every unit.
    let fraction = fraction.get(..fraction.len().min(15))?;
    let part = match fraction.parse::<u64>() {
        Ok(digits) => {
            u128::from(digits) * u128::from(scale) / 10u128.pow(u32::try_from(fraction.len()).ok()?)
        }
        Err(_) => 0,
    };
    whole.checked_mul(scale)?.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_go_reads_them() {
        for (text, nanos) in [
            ("0", 0),
            ("+5s", 5_000_000_000),
            ("-0s", 0),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1us2µs3μs", 6_000),
            ("50ns", 50),
            ("0.3333333333333333333h", 1_199_999_999_999),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration() {
        for text in [
            "",
            "5",
            "s",
            ".s",
            "1.2.3s",
            "1x",
            "1s ",
            " 1s",
            "-1s",
            "9999999h",
            "1d",
            "0x1s",
            "99999999999999999999s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
