//! How a new workload's health is found out: what the image says, and what is asked over it.

use holm_spec::life::HealthCheck;
use holm_store::ImageHealth;

use crate::request::HealthRequest;
use crate::{Error, Kind, Result};

/// A check may not come faster, in nanoseconds, as with Docker.
const SHORTEST: u64 = 1_000_000;

/// The checks; `None` for none.
pub(super) fn resolve(request: &HealthRequest, image: Option<&ImageHealth>) -> Result<Option<HealthCheck>> {
    let of_image = image.cloned().unwrap_or_default();
    let test = match (&request.test, request.none) {
        (_, true) => return Ok(None),
        (Some(line), false) => vec!["CMD-SHELL".to_owned(), line.clone()],
        (None, false) => of_image.test,
    };
    match test.first().map(String::as_str) {
        None | Some("NONE") => return Ok(None),
        Some("CMD" | "CMD-SHELL") if test.len() > 1 => {}
        Some(other) => {
            let text = format!(
                "the health check `{other}` of the image: CMD and CMD-SHELL with a command are known"
            );
            return Err(Error::new(Kind::InvalidRequest, text));
        }
    }
    let (interval, timeout, retries, start_interval) = HealthCheck::DEFAULTS;
    let time = |name: &str, asked: Option<u64>, image: u64, default: u64| match asked.unwrap_or(image) {
        0 => Ok(default),
        time if time < SHORTEST => {
            Err(Error::new(Kind::InvalidRequest, format!("--health-{name}: at least 1ms")))
        }
        time => Ok(time),
    };
    Ok(Some(HealthCheck {
        test,
        interval: time("interval", request.interval, of_image.interval, interval)?,
        timeout: time("timeout", request.timeout, of_image.timeout, timeout)?,
        retries: match request.retries.unwrap_or(of_image.retries) {
            0 => retries,
            asked => asked,
        },
        start_period: time("start-period", request.start_period, of_image.start_period, 0)?,
        start_interval: time(
            "start-interval",
            request.start_interval,
            of_image.start_interval,
            start_interval,
        )?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> ImageHealth {
        let test = test.iter().map(|&word| word.to_owned()).collect();
        ImageHealth { test, interval: 7_000_000_000, retries: 9, ..ImageHealth::default() }
    }

    #[test]
    fn the_request_goes_over_the_image() {
        let request = HealthRequest { retries: Some(2), ..HealthRequest::default() };
        let check = resolve(&request, Some(&image(&["CMD", "curl", "-f", "x"]))).unwrap().unwrap();
        assert_eq!((check.arguments().len(), check.interval, check.retries), (3, 7_000_000_000, 2));
        assert_eq!((check.timeout, check.start_period), (HealthCheck::DEFAULTS.1, 0));
        let request = HealthRequest { test: Some("true".into()), ..HealthRequest::default() };
        let check = resolve(&request, Some(&image(&["NONE"]))).unwrap().unwrap();
        assert_eq!((check.test[1].as_str(), check.retries), ("true", 9));
    }

    #[test]
    fn there_may_be_none() {
        let nothing = HealthRequest::default();
        assert_eq!(resolve(&nothing, None).unwrap(), None);
        assert_eq!(resolve(&nothing, Some(&image(&["NONE"]))).unwrap(), None);
        let none = HealthRequest { none: true, ..HealthRequest::default() };
        assert_eq!(resolve(&none, Some(&image(&["CMD", "x"]))).unwrap(), None);
        for test in [&["RUN", "x"][..], &["CMD"]] {
            assert!(resolve(&nothing, Some(&image(test))).is_err(), "{test:?}");
        }
    }
}
