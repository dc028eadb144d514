//! Durations and points in time: as people read them ("2 minutes ago"), and as they write them ("1h30m").

use holm_spec::Timestamp;

const NANOS: i64 = 1_000_000_000;
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The present.
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since_epoch.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX));
    Timestamp::from_nanos(nanos)
}

/// A number of seconds in words, one unit, as Docker's lists show it.
pub fn in_words(seconds: i64) -> String {
    // Hours are rounded, everything else is cut.
    let hours = (seconds + HOUR / 2) / HOUR;
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / HOUR / 24 / 365),
    }
}

/// How long before `now` something happened, in words; nothing for what never happened.
pub fn elapsed(now: Timestamp, then: Timestamp) -> String {
    if then == Timestamp::NEVER {
        return String::new();
    }
    in_words(now.nanos().saturating_sub(then.nanos()) / NANOS)
}

/// `2 minutes ago`; nothing for what never happened.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    match elapsed(now, then).as_str() {
        "" => String::new(),
        words => format!("{words} ago"),
    }
}

/// `2006-01-02 15:04:05 +0000 UTC`, the form of `CreatedAt` columns; times are UTC.
pub fn date_and_time(time: Timestamp) -> String {
    let fixed = time.fixed_width();
    let part = |range: std::ops::Range<usize>| String::from_utf8_lossy(&fixed[range]).into_owned();
    if time == Timestamp::NEVER {
        return "0001-01-01 00:00:00 +0000 UTC".to_owned();
    }
    format!("{} {} +0000 UTC", part(0..10), part(11..19))
}

/// When a process started, as `ps` shows it: the time of day within a day, else month and day, else the year. UTC.
pub fn start_time(now: Timestamp, started: Timestamp) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    if started == Timestamp::NEVER {
        return "?".to_owned();
    }
    let text = String::from_utf8_lossy(&started.fixed_width()).into_owned();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or("").to_owned();
    if now.nanos().saturating_sub(started.nanos()) < DAY * NANOS {
        return part(11..16);
    }
    if now.fixed_width()[..4] != started.fixed_width()[..4] {
        return part(0..4);
    }
    let month = part(5..7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?));
    format!("{}{}", month.unwrap_or(&""), part(8..10))
}

/// Processor time as `ps` shows it: `HH:MM:SS`, with days before where there are any.
pub fn cpu_time(seconds: u64) -> String {
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        days => format!("{days}-{clock}"),
    }
}

/// Nanoseconds of a duration as Go writes it: numbers with units `h`, `m`, `s`, `ms`, `us`, `ns`, one after another.
pub fn parse(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        total = total.checked_add(scaled(number, unit_nanos(unit)?)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

fn unit_nanos(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" => 1_000,
        "ms" => 1_000_000,
        "s" => NANOS,
        "m" => MINUTE * NANOS,
        "h" => HOUR * NANOS,
        _ => return None,
    })
}

/// A decimal number times a unit, cut to whole nanoseconds.
fn scaled(number: &str, unit: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    let mut place = unit;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(place.checked_mul(i64::from(digit.checked_sub(b'0')?))?)?;
    }
    Some(nanos)
}

/// A span of time as Go writes it, in nanoseconds; not negative.
///
/// # Errors
/// A text of another form.
pub fn parse_span(text: &str) -> Result<u64, String> {
    let nanos = if text == "0" { Some(0) } else { parse(text) };
    nanos
        .and_then(|nanos| u64::try_from(nanos).ok())
        .ok_or_else(|| format!("`{text}` is no time: write 30s, 1m30s or 500ms"))
}

/// A point in time as `--since` and `--until` take it: RFC 3339 (also without zone, time or seconds, then UTC), seconds since
/// the Unix epoch, or a duration before `now`.
///
/// # Errors
/// A text that is none of these.
pub fn parse_time(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let before = |nanos: i64| now.nanos().checked_sub(nanos).map(Timestamp::from_nanos);
    let backwards = text.strip_prefix('-').unwrap_or(text);
    parse(backwards)
        .and_then(before)
        .or_else(|| scaled(text, NANOS).map(Timestamp::from_nanos))
        .or_else(|| parse_date(text))
        .ok_or_else(|| {
            format!("`{text}` is no time: write 2024-01-31T12:00:00Z, seconds since 1970, or a duration such as 10m")
        })
}

fn parse_date(text: &str) -> Option<Timestamp> {
    let forms = ["", "Z", ":00Z", "T00:00:00Z"];
    forms.iter().find_map(|ending| format!("{text}{ending}").parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_words() {
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86_400, "13 days"),
            (14 * 86_400, "2 weeks"),
            (59 * 86_400, "8 weeks"),
            (60 * 86_400, "2 months"),
            (729 * 86_400, "24 months"),
            (731 * 86_400, "2 years"),
        ] {
            assert_eq!(in_words(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn moments_in_words() {
        let at = |seconds: i64| Timestamp::from_nanos(seconds * NANOS);
        assert_eq!(ago(at(200), at(80)), "2 minutes ago");
        assert_eq!(ago(at(200), Timestamp::NEVER), "");
        assert_eq!(date_and_time(at(1_700_000_000)), "2023-11-14 22:13:20 +0000 UTC");
        assert_eq!(start_time(at(1_700_000_100), at(1_700_000_000)), "22:13");
        assert_eq!(start_time(at(1_700_100_000), at(1_700_000_000)), "Nov14");
        assert_eq!(start_time(at(1_800_000_000), at(1_700_000_000)), "2023");
        assert_eq!(cpu_time(3_725), "01:02:05");
        assert_eq!(cpu_time(90_061), "1-01:01:01");
    }

    #[test]
    fn durations_as_written() {
        for (text, nanos) in [
            ("10m", 600 * NANOS),
            ("1h30m", 5400 * NANOS),
            ("1.5h", 5400 * NANOS),
            ("300ms", 300_000_000),
            (".5s", 500_000_000),
            ("1us2ns", 1_002),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
        for text in ["", "5", "m", "1x", "1..5s", ".s", "99999999999999h", "1h-2m", "ä"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn times_as_written() {
        let now = Timestamp::from_nanos(1_700_000_600 * NANOS);
        for (text, shown) in [
            ("10m", "2023-11-14T22:13:20Z"),
            ("1700000000", "2023-11-14T22:13:20Z"),
            ("1700000000.25", "2023-11-14T22:13:20.25Z"),
            ("2024-01-31", "2024-01-31T00:00:00Z"),
            ("2024-01-31T12:34", "2024-01-31T12:34:00Z"),
            ("2024-01-31T12:34:56", "2024-01-31T12:34:56Z"),
            ("2024-01-31T12:34:56+01:00", "2024-01-31T11:34:56Z"),
        ] {
            assert_eq!(parse_time(text, now).map(|time| time.to_string()).as_deref(), Ok(shown), "{text}");
        }
        for text in ["", "yesterday", "2024", "10 m", "2024-13-01"] {
            // A bare number is seconds since the epoch.
            let parsed = parse_time(text, now);
            assert_eq!(parsed.is_ok(), text == "2024", "{text}: {parsed:?}");
        }
    }
}
