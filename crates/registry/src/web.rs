//! Files of the web, for whoever builds images: the certificates, proxies and the patience are those for registries.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::thread::sleep;

use holm_spec::{Digest, Timestamp};
use sha2::{Digest as _, Sha256};
use ureq::http::{HeaderMap, Request, Response, StatusCode};
use ureq::{Agent, Body, SendBody};

use crate::client::{ATTEMPTS, FIRST_PAUSE, agent, failure, transport};
use crate::endpoint;
use crate::error::{Error, Kind, Result};
use crate::registries::Rules;

/// Largest file that is taken.
const SIZE_LIMIT: u64 = 64 << 30;
const BUFFER: usize = 256 << 10;

/// By what a server knows again which version of a file somebody has (RFC 9110 section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub modified: Option<String>,
}

impl Validators {
    fn of(headers: &HeaderMap) -> Self {
        Self { etag: header(headers, "etag"), modified: header(headers, "last-modified") }
    }

    /// When the file changed, in seconds since 1970.
    pub fn time(&self) -> Option<i64> {
        http_date(self.modified.as_deref()?)
    }
}

/// A file that was fetched.
#[derive(Clone, Debug)]
pub struct WebFile {
    /// Digest of its content.
    pub digest: Digest,
    /// What its server knows it by.
    pub validators: Validators,
    /// `Content-Disposition`.
    pub disposition: Option<String>,
}

/// Fetches the file at a URL into `output`, from its first byte on; nothing if it is still the one that is `known`.
/// Errors and the log call it `shown`: the URL may have a password.
///
/// # Errors
/// By what the server answers, also after some patience; [`Kind::Io`] where it cannot be written.
pub fn fetch(url: &str, shown: &str, known: &Validators, output: &mut File) -> Result<Option<WebFile>> {
    let about = |error: Error| error.about(format!("fetch `{shown}`"));
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let agent = agent(endpoint::is_loopback(host), &Rules::default()).map_err(about)?;
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let error = match fetch_once(&agent, url, known, output) {
            Err(error) if attempt < ATTEMPTS => error,
            ended => return ended.map_err(about),
        };
        if !matches!(error.kind(), Kind::Busy | Kind::Server | Kind::Broken) {
            return Err(about(error));
        }
        tracing::info!("fetch `{shown}`: {error}; again in {pause:?}");
        sleep(pause);
        pause *= 2;
    }
    unreachable!("the last attempt returns")
}

fn fetch_once(agent: &Agent, url: &str, known: &Validators, output: &mut File) -> Result<Option<WebFile>> {
    let mut request = Request::builder().method("GET").uri(url);
    let conditions = [("If-None-Match", &known.etag), ("If-Modified-Since", &known.modified)];
    for (name, value) in conditions {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    let request = request.body(SendBody::none());
    let request = request.map_err(|error| Error::because(Kind::Invalid, "it is no URL", error))?;
    let answer = agent.run(request).map_err(transport)?;
    match answer.status() {
        StatusCode::NOT_MODIFIED if *known != Validators::default() => Ok(None),
        StatusCode::OK => {
            let (validators, headers) = (Validators::of(answer.headers()), answer.headers());
            let disposition = header(headers, "content-disposition");
            Ok(Some(WebFile { digest: keep(answer, output)?, validators, disposition }))
        }
        _ => Err(failure(answer)),
    }
}

/// Writes the body of an answer, all of it or an error.
fn keep(answer: Response<Body>, output: &mut File) -> Result<Digest> {
    let promised = header(answer.headers(), "content-length").and_then(|text| text.parse::<u64>().ok());
    let unwritten = |error: io::Error| Error::because(Kind::Io, "keep what was fetched", error);
    output.set_len(0).and_then(|()| output.rewind()).map_err(unwritten)?;
    let mut body = answer.into_body().into_reader();
    let (mut hasher, mut buffer, mut length) = (Sha256::new(), vec![0; BUFFER], 0_u64);
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::because(Kind::Broken, "the connection broke", error)),
        };
        length += count as u64;
        if length > SIZE_LIMIT {
            return Err(Error::new(Kind::Invalid, format!("it is larger than {SIZE_LIMIT} bytes")));
        }
        hasher.update(&buffer[..count]);
        output.write_all(&buffer[..count]).map_err(unwritten)?;
    }
    match promised.filter(|promised| *promised != length) {
        Some(promised) => {
            Err(Error::new(Kind::Broken, format!("it ends after {length} of {promised} bytes")))
        }
        None => Ok(Digest::from_sha256(hasher.finalize().into())),
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7; the older forms mean nothing here).
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, date) = text.split_once(", ")?;
    let words: Vec<&str> = date.split(' ').collect();
    let [day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = 1 + MONTHS.iter().position(|name| name == month)?;
    let time: Timestamp = format!("{year}-{month:02}-{day}T{time}Z").parse().ok()?;
    Some(time.nanos().div_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in [
            "",
            "Sun, 06 Nov 1994 08:49:37",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 40 Foo 1994 08:49:37 GMT",
        ] {
            assert_eq!(http_date(text), None, "{text}");
        }
    }
}
