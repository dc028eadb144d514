//! Numbers of bytes: as people read them (`117MB`, `1.9GiB`), and as they write them (`64m`, `1.5g`).

pub use holm_spec::size::parse;

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
}
