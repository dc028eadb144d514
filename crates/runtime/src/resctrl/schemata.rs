//! The file `schemata` of a class: a line a resource, `name:cache=value;cache=value`.

/// Whether a file `schemata` says what a line asks for: of each cache or memory that the line names, the same value. The
/// kernel writes masks without zeros in front and caches in its own order. It rounds bandwidths up: those that it
/// would round do not agree.
pub(super) fn agrees(schemata: &str, line: &str) -> bool {
    let Some((name, values)) = line.split_once(':') else { return false };
    let there = schemata.lines().filter_map(|line| line.split_once(':'));
    let Some((_, is)) = there.into_iter().find(|(other, _)| other.trim() == name.trim()) else {
        return false;
    };
    let is = parse_values(name, is);
    let asked = parse_values(name, values);
    is.is_some_and(|is| asked.is_some_and(|asked| asked.iter().all(|pair| is.contains(pair))))
}

/// Pairs of a cache's number and its value: caches have masks in hexadecimal, bandwidths are decimal.
fn parse_values(name: &str, text: &str) -> Option<Vec<(u32, u64)>> {
    let base = if name.trim().starts_with('L') { 16 } else { 10 };
    let number = |text: &str| {
        let digits = text.trim();
        let digits = if base == 16 { digits.strip_prefix("0x").unwrap_or(digits) } else { digits };
        u64::from_str_radix(digits, base).ok()
    };
    let pair = |text: &str| {
        let (cache, value) = text.split_once('=')?;
        Some((cache.trim().parse().ok()?, number(value)?))
    };
    text.split(';').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "    MB:0=100;1=20\n    L3:0=00f0;1=7ff\n    L2:0=ff\n";

    #[test]
    fn values_are_compared_and_not_their_spelling() {
        for line in
            ["L3:0=f0", "L3:1=7ff;0=0xF0", "L3:0=f0;1=7FF", "L3: 0 = f0 ;", "MB:0=100;1=20", "MB:1=20"]
        {
            assert!(agrees(FILE, line), "{line}");
        }
        for line in ["L3:0=f", "L3:2=f0", "L3CODE:0=f0", "MB:0=0x64", "MB:0=64", "L3", "L3:0", "L3:0=x", ""] {
            assert!(!agrees(FILE, line), "{line}");
        }
        assert!(!agrees("", "L3:0=f0"));
        assert!(!agrees("L3:0=what", "L3:0=f0"));
    }
}
