//! The time, as files and image configurations record it.

use std::time::{SystemTime, UNIX_EPOCH};

use holm_spec::Timestamp;

use crate::error::{Error, Kind, Result};

const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The time of day.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// The time that a new image says it was made at: `SOURCE_DATE_EPOCH`, in seconds, where it is set
/// (reproducible-builds.org), else now.
///
/// # Errors
/// [`Kind::Invalid`] where it is set to something else.
pub fn creation_time() -> Result<Timestamp> {
    match std::env::var_os(VARIABLE) {
        None => Ok(now()),
        Some(value) => value.to_str().and_then(of_seconds).ok_or_else(|| {
            let text = format!("{VARIABLE} is `{}`, not a number of seconds since 1970", value.display());
            Error::new(Kind::Invalid, text)
        }),
    }
}

fn of_seconds(text: &str) -> Option<Timestamp> {
    text.parse::<u32>().ok().map(|seconds| Timestamp::from_nanos(i64::from(seconds) * 1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_since_1970() {
        assert_eq!(
            of_seconds("1700000000").map(|time| time.to_string()).as_deref(),
            Some("2023-11-14T22:13:20Z")
        );
        for text in ["", "-1", "now", "1.5", "99999999999"] {
            assert_eq!(of_seconds(text), None, "{text}");
        }
    }
}
