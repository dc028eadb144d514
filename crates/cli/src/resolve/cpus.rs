//! `--cpus 1.5`: processor time in billionths of a processor.

/// Least that is given: the kernel's quota is at least 1 ms of a period of 100 ms.
const LEAST: u64 = 10_000_000;

/// Parses a number of processors; 0 is no limit.
///
/// # Errors
/// Another form, more than nine decimals, or less than 0.01.
pub fn parse(text: &str) -> Result<Option<u64>, String> {
    let nanos =
        parse_nanos(text).ok_or_else(|| format!("`{text}` is no number of processors, such as 0.5 or 2"))?;
    match nanos {
        0 => Ok(None),
        nanos if nanos < LEAST => Err(format!("`{text}` is less than 0.01 processors")),
        nanos => Ok(Some(nanos)),
    }
}

fn parse_nanos(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !digits(whole) || !digits(fraction) || fraction.len() > 9
    {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: u64 = format!("{fraction:0<9}").parse().ok()?;
    let nanos = whole.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    (nanos <= i64::MAX.unsigned_abs()).then_some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_processors() {
        for (text, nanos) in [
            ("1", Some(1_000_000_000)),
            ("0.5", Some(500_000_000)),
            (".25", Some(250_000_000)),
            ("2.", Some(2_000_000_000)),
            ("0", None),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
        for text in ["", ".", "-1", "1e3", "x", "0.001", "1.0000000001", "99999999999"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
