//! Properties of a unit: those that limits are, so that systemd does not undo them when it reloads, and those that
//! annotations ask for. Pure.

use std::collections::HashMap;

use crate::error::{Error, Result};
use holm_sys::dbus::Value;

/// Annotations that are properties begin with it; the value is one of GVariant's text format.
const ANNOTATION: &str = "org.systemd.property.";
/// What the kernel calls `max`.
const INFINITY: u64 = u64::MAX;
/// systemd counts processor time in steps of a percent: of a second, in microseconds.
const PERCENT: u64 = 10_000;
/// Highest number of a processor or a memory node that is read.
const PLACE_LIMIT: usize = 8191;

/// Properties by their names.
pub(crate) type Properties = Vec<(String, Value)>;

/// The properties that a setting of a control group is (systemd.resource-control(5)); none where systemd has no such
/// thing. It writes rounded values, and the exact ones are written behind it.
pub(crate) fn of_setting(file: &str, value: &str) -> Properties {
    let number = |name: &str| match value {
        "max" | "-1" => one(name, Value::U64(INFINITY)),
        value => value.parse().map_or_else(|_| Vec::new(), |number| one(name, Value::U64(number))),
    };
    match file {
        "memory.max" => number("MemoryMax"),
        "memory.high" => number("MemoryHigh"),
        "memory.low" => number("MemoryLow"),
        "memory.min" => number("MemoryMin"),
        "memory.swap.max" => number("MemorySwapMax"),
        "memory.limit_in_bytes" => number("MemoryLimit"),
        "pids.max" => number("TasksMax"),
        "cpu.weight" => number("CPUWeight"),
        "cpu.idle" if value == "1" => one("CPUWeight", Value::U64(0)),
        "cpu.shares" => number("CPUShares"),
        "io.weight" => number("IOWeight"),
        "blkio.weight" => number("BlockIOWeight"),
        "cpu.max" => processor_time(value),
        "cpuset.cpus" => places("AllowedCPUs", value),
        "cpuset.mems" => places("AllowedMemoryNodes", value),
        _ => Vec::new(),
    }
}

fn one(name: &str, value: Value) -> Properties {
    vec![(name.to_owned(), value)]
}

/// `<quota> <period>` in microseconds.
fn processor_time(value: &str) -> Properties {
    let (quota, period) = value.split_once(' ').unwrap_or((value, "100000"));
    if quota == "*" {
        return period
            .parse()
            .map_or_else(|_| Vec::new(), |period| one("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    let Some(period) = period.parse::<u64>().ok().filter(|period| *period > 0) else { return Vec::new() };
    let a_second = match quota.parse::<u64>() {
        Ok(quota) => (quota.saturating_mul(1_000_000) / period).next_multiple_of(PERCENT),
        Err(_) => INFINITY,
    };
    vec![
        ("CPUQuotaPeriodUSec".to_owned(), Value::U64(period)),
        ("CPUQuotaPerSecUSec".to_owned(), Value::U64(a_second)),
    ]
}

/// A list such as `0-2,5` as a set of bits.
fn places(name: &str, list: &str) -> Properties {
    let mut bits = Vec::new();
    for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
            return Vec::new();
        };
        if last > PLACE_LIMIT {
            return Vec::new();
        }
        for place in first..=last {
            if bits.len() <= place / 8 {
                bits.resize(place / 8 + 1, 0_u8);
            }
            bits[place / 8] |= 1 << (place % 8);
        }
    }
    if bits.is_empty() { Vec::new() } else { one(name, Value::Bytes(bits)) }
}

/// The properties that annotations ask for, sorted. One that ends in `Sec` is a time in seconds; systemd's own name
/// for it ends in `USec` and counts microseconds.
///
/// # Errors
/// What is no name of a property or no value.
pub(crate) fn of_annotations(annotations: Option<&HashMap<String, String>>) -> Result<Properties> {
    let mut properties = Vec::new();
    for (key, text) in annotations.into_iter().flatten() {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let at = |error: Error| error.at_field(format!("annotations[\"{}\"]", key.escape_debug()));
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(at(Error::invalid("it is no name of a property")));
        }
        let value = parse(text).ok_or_else(|| {
            at(Error::invalid(format!("`{}` is no value that a property can have", text.escape_debug())))
        })?;
        properties.push(in_microseconds(name, value).map_err(at)?);
    }
    properties.sort_by(|(first, _), (second, _)| first.cmp(second));
    Ok(properties)
}

fn in_microseconds(name: &str, value: Value) -> Result<(String, Value)> {
    let Some(stem) = name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) else {
        return Ok((name.to_owned(), value));
    };
    let seconds = match value {
        Value::I32(number) => u64::try_from(number).ok(),
        Value::U32(number) => Some(number.into()),
        Value::I64(number) => u64::try_from(number).ok(),
        Value::U64(number) => Some(number),
        _ => None,
    };
    let time = seconds.and_then(|seconds| seconds.checked_mul(1_000_000));
    let time = time.ok_or_else(|| Error::invalid("it is no time in seconds"))?;
    Ok((format!("{stem}USec"), Value::U64(time)))
}

/// Reads a value in GVariant's text format: `true`, `5`, `uint64 5`, `'text'`, `['one', 'two']`, `@as []`.
fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Some((kind, number)) = text.split_once(' ') {
        let number = number.trim();
        match kind {
            "int32" => return number.parse().ok().map(Value::I32),
            "uint32" => return number.parse().ok().map(Value::U32),
            "int64" => return number.parse().ok().map(Value::I64),
            "uint64" => return number.parse().ok().map(Value::U64),
            "@as" => return parse(number),
            _ => {}
        }
    }
    match text {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ if text.starts_with('[') => strings(text),
        _ if text.starts_with(['\'', '"']) => {
            let (string, rest) = quoted(text)?;
            rest.is_empty().then_some(Value::String(string))
        }
        _ => text.parse().ok().map(Value::I32),
    }
}

fn strings(text: &str) -> Option<Value> {
    let mut rest = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut strings = Vec::new();
    while !rest.is_empty() {
        let (string, after) = quoted(rest)?;
        strings.push(string);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(Value::Strings(strings))
}

/// A string in quotes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let mut string = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => string.push(letters.next()?.1),
            letter if letter == quote => return Some((string, &text[at + 1..])),
            '\0' => return None,
            letter => string.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Properties> {
        let annotations =
            pairs.iter().map(|(key, value)| (format!("{ANNOTATION}{key}"), (*value).to_owned()));
        of_annotations(Some(&annotations.collect()))
    }

    #[test]
    fn limits_become_properties() {
        let property = |file, value| {
            let text = |(name, value): &(String, Value)| format!("{name}={value:?}");
            of_setting(file, value).iter().map(text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(property("memory.max", "64"), "MemoryMax=U64(64)");
        assert_eq!(property("pids.max", "max"), format!("TasksMax=U64({INFINITY})"));
        assert_eq!(
            property("cpu.max", "25500 100000"),
            "CPUQuotaPeriodUSec=U64(100000) CPUQuotaPerSecUSec=U64(260000)"
        );
        assert!(property("cpu.max", "max 100000").ends_with(&format!("USec=U64({INFINITY})")));
        assert_eq!(property("cpuset.cpus", "0-2,9"), "AllowedCPUs=Bytes([7, 2])");
        assert_eq!(property("cpu.idle", "1"), "CPUWeight=U64(0)");
        for nothing in [("cpu.max", "1 0"), ("cpuset.cpus", "0-99999999"), ("hugetlb.2MB.max", "1")] {
            assert_eq!(property(nothing.0, nothing.1), "");
        }
    }

    #[test]
    fn annotations_are_values_in_words() {
        let value = |text| asked(&[("Anything", text)]).map(|mut list| list.remove(0).1);
        for (text, expected) in [
            ("true", Value::Bool(true)),
            ("-5", Value::I32(-5)),
            ("uint64 5", Value::U64(5)),
            ("'a \\'b'", Value::String("a 'b".into())),
            ("['a.service', \"b\"]", Value::Strings(vec!["a.service".into(), "b".into()])),
            ("@as []", Value::Strings(Vec::new())),
        ] {
            assert_eq!(value(text).expect(text), expected);
        }
        for wrong in ["", "'", "'a' b", "['a' 'b']", "[5]", "uint32 -1", "word"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_in_seconds() {
        assert_eq!(
            asked(&[("TimeoutStopSec", "2")]).expect("valid"),
            one("TimeoutStopUSec", Value::U64(2_000_000))
        );
        assert_eq!(
            asked(&[("TimeoutStopUSec", "uint64 2")]).expect("valid"),
            one("TimeoutStopUSec", Value::U64(2))
        );
        assert!(asked(&[("TimeoutStopSec", "'2'")]).is_err());
        assert!(asked(&[("Bad-Name", "1")]).is_err());
    }
}
