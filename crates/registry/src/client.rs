//! Requests to one registry: who asks is said when it is wanted, patience where that helps, and what answers mean.
//!
//! ```text
//! request --> 401 with a challenge --> Basic, or a token from the server that it names --> the same request again
//!         --> 429, 5xx, a broken connection --> a pause, twice as long each time        --> the same request again
//! ```

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use crate::challenge::{self, Challenge};
use crate::configuration::{Configuration, Credentials};
use crate::endpoint;
use crate::error::{Error, Kind, Result};

/// How often a request is made at most.
pub const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(15);
/// How long a connection may stand still.
const STALL: Duration = Duration::from_secs(60);
/// How much is read of an answer that says what failed, or of a token.
const ANSWER_LIMIT: u64 = 256 << 10;
/// Where systems keep the certificates that they trust; where there are none, Mozilla's are built in.
const SYSTEM_CERTIFICATES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// A request.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `HEAD` and so on.
    pub method: Method,
    /// Below `/v2/`, or a whole address.
    pub target: String,
    /// Headers beside `Authorization`.
    pub headers: Vec<(&'static str, String)>,
    /// What rights it takes, as token servers name them: `repository:library/debian:pull`; several by spaces.
    pub scope: String,
    /// What is being done, for errors: `look for the image` and the like.
    pub doing: String,
}

impl Call {
    /// A `GET` that takes `scope`.
    pub fn get(target: String, scope: &str, doing: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            target,
            headers: Vec::new(),
            scope: scope.to_owned(),
            doing: doing.into(),
        }
    }
}

/// Speaks to one registry.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    domain: String,
    /// Scheme and host.
    base: String,
    credentials: Option<Credentials>,
    /// What `Authorization` says, by scope.
    authorized: Mutex<HashMap<String, String>>,
}

impl Client {
    /// A client of the registry `domain`, with the credentials that Docker's configuration has for it.
    ///
    /// # Errors
    /// [`Kind::Configuration`].
    pub fn new(domain: &str, configuration: &Configuration) -> Result<Self> {
        Ok(Self::with(domain, configuration.credentials(domain)?))
    }

    /// A client with these credentials.
    pub fn with(domain: &str, credentials: Option<Credentials>) -> Self {
        let host = endpoint::host(domain);
        let loopback = endpoint::is_loopback(&host);
        let agent = agent(loopback);
        let scheme = if loopback && !speaks_tls(&agent, &host) { "http" } else { "https" };
        let base = format!("{scheme}://{host}");
        Self { agent, domain: domain.to_owned(), base, credentials, authorized: Mutex::default() }
    }

    /// The registry's name.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Asks whether the registry knows us.
    ///
    /// # Errors
    /// [`Kind::Denied`] where it does not; otherwise as [`Client::send`].
    pub fn check(&self) -> Result<()> {
        self.send(&Call::get(String::new(), "", "log in")).map(drop)
    }

    /// Makes a request without a body; gives an answer of 2xx.
    ///
    /// # Errors
    /// By what the registry answers; all name it.
    pub fn send(&self, call: &Call) -> Result<Response<Body>> {
        self.try_send(call).map_err(|error| error.about(format!("{} at {}", call.doing, self.domain)))
    }

    fn try_send(&self, call: &Call) -> Result<Response<Body>> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let last = attempt == ATTEMPTS;
            let error = match self.send_authorized(call) {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => {
                    let wished = wished_pause(answer.headers());
                    pause = pause.max(wished.unwrap_or_default()).min(LONGEST_PAUSE);
                    failure(answer)
                }
                Err(error) => error,
            };
            if last || !matches!(error.kind(), Kind::Busy | Kind::Server | Kind::Broken) {
                return Err(error);
            }
            tracing::info!("{}: {error}; again in {pause:?}", call.doing);
            sleep(pause);
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    /// Makes a request, and once more after the registry has said what it wants to know.
    fn send_authorized(&self, call: &Call) -> Result<Response<Body>> {
        let answer = self.send_once(call)?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let value = self.authorize(answer.headers(), &call.scope)?;
        self.authorizations().insert(call.scope.clone(), value);
        self.send_once(call)
    }

    fn send_once(&self, call: &Call) -> Result<Response<Body>> {
        let url = match call.target.contains("://") {
            true => call.target.clone(),
            false => format!("{}/v2/{}", self.base, call.target),
        };
        let mut request = Request::builder().method(call.method.clone()).uri(&url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        if let Some(value) = self.authorizations().get(&call.scope) {
            request = request.header("Authorization", value);
        }
        let request = request
            .body(SendBody::none())
            .map_err(|error| Error::because(Kind::Invalid, format!("ask for `{url}`"), error))?;
        self.agent.run(request).map_err(transport)
    }

    /// What `Authorization` is to say after a 401 with these headers.
    fn authorize(&self, headers: &HeaderMap, scope: &str) -> Result<String> {
        let texts = headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = texts.flat_map(challenge::parse).collect();
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer { realm, service } => Some((realm, service)),
            Challenge::Basic => None,
        });
        if let Some((realm, service)) = bearer {
            return self.token(realm, service.as_deref(), scope);
        }
        if !challenges.contains(&Challenge::Basic) {
            return Err(Error::new(Kind::Denied, "it wants to know who asks, in a way that is not known"));
        }
        let denied = || Error::new(Kind::Denied, "it wants a user name and a password");
        let credentials = self.credentials.as_ref().ok_or_else(denied)?;
        if !endpoint::is_private(&self.base) {
            return Err(Error::new(Kind::Denied, "credentials are sent over TLS only"));
        }
        Ok(credentials.basic())
    }

    /// A token from the server at `realm` (distribution project, "Token Authentication Specification").
    fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String> {
        let about = |error: Error| error.about(format!("get a token from `{realm}`"));
        if self.credentials.is_some() && !endpoint::is_private(realm) {
            return Err(about(Error::new(Kind::Denied, "credentials are sent over TLS only")));
        }
        let service = service.map(|service| ("service", service));
        let scopes = scope.split(' ').filter(|scope| !scope.is_empty()).map(|scope| ("scope", scope));
        let parameters = service.into_iter().chain(scopes);
        let answer = match self.credentials.as_ref().and_then(|known| known.identity_token.as_deref()) {
            Some(token) => {
                let grant =
                    [("grant_type", "refresh_token"), ("client_id", "holm"), ("refresh_token", token)];
                self.agent.post(realm).send_form(grant.into_iter().chain(parameters))
            }
            None => {
                let mut request = self.agent.get(realm).query_pairs(parameters);
                if let Some(credentials) = &self.credentials {
                    request = request.header("Authorization", credentials.basic());
                }
                request.call()
            }
        };
        let answer = answer.map_err(transport).map_err(about)?;
        match answer.status().is_success() {
            true => read_token(answer).map_err(about),
            false => Err(about(failure(answer))),
        }
    }

    /// A thread that panicked left nothing half done here.
    fn authorizations(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.authorized.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the body of an answer of at most `limit` bytes.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is larger, [`Kind::Broken`].
    pub fn read(&self, answer: Response<Body>, limit: u64) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        let mut reader = answer.into_body().into_reader().take(limit + 1);
        reader
            .read_to_end(&mut content)
            .map_err(|error| Error::because(Kind::Broken, format!("read from {}", self.domain), error))?;
        if content.len() as u64 > limit {
            let text = format!("what {} sent is larger than {limit} bytes", self.domain);
            return Err(Error::new(Kind::Invalid, text));
        }
        Ok(content)
    }
}

fn agent(loopback: bool) -> Agent {
    let tls = TlsConfig::builder().root_certs(trusted()).build();
    let mut builder = Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("holm/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls)
        .timeout_connect(Some(CONNECT))
        .timeout_per_read(Some(STALL))
        .timeout_per_write(Some(STALL))
        .max_redirects(5);
    if loopback {
        // What listens on this machine is no business of a proxy.
        builder = builder.proxy(None);
    }
    builder.build().new_agent()
}

/// The certificates that the system trusts (`SSL_CERT_FILE` names another file), else Mozilla's.
fn trusted() -> RootCerts {
    let chosen = std::env::var("SSL_CERT_FILE").ok().filter(|path| !path.is_empty());
    let content = match &chosen {
        Some(path) => std::fs::read(path).ok(),
        None => SYSTEM_CERTIFICATES.iter().find_map(|path| std::fs::read(path).ok()),
    };
    let items = content.iter().flat_map(|content| parse_pem(content).collect::<Vec<_>>());
    let certificates: Vec<_> = items
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&certificates) }
}

/// Whether a registry on this machine speaks TLS. One that does not answer is asked by plain HTTP for the error.
fn speaks_tls(agent: &Agent, host: &str) -> bool {
    agent.get(format!("https://{host}/v2/")).call().is_ok()
}

fn transport(error: ureq::Error) -> Error {
    let kind = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Kind::Unreachable,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Kind::Unreachable,
        ureq::Error::Io(cause) => match cause.kind() {
            std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::HostUnreachable
            | std::io::ErrorKind::NetworkUnreachable => Kind::Unreachable,
            // The resolver has no number of an error of the system's.
            _ if cause.raw_os_error().is_none() && cause.to_string().contains("lookup address") => {
                Kind::Unreachable
            }
            _ => Kind::Broken,
        },
        ureq::Error::Protocol(_) | ureq::Error::Timeout(_) => Kind::Broken,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Kind::Unreachable,
        _ => Kind::Invalid,
    };
    Error::because(
        kind,
        if kind == Kind::Unreachable { "nobody answers there" } else { "speak to it" },
        error,
    )
}

/// What an answer that is none of 2xx means.
fn failure(answer: Response<Body>) -> Error {
    let status = answer.status();
    let kind = match status.as_u16() {
        401 | 403 => Kind::Denied,
        404 => Kind::NotFound,
        429 => Kind::Busy,
        500.. => Kind::Server,
        _ => Kind::Invalid,
    };
    let mut content = Vec::new();
    // What cannot be read explains nothing.
    let _ = answer.into_body().into_reader().take(ANSWER_LIMIT).read_to_end(&mut content);
    let said = explanation(&content).map(|said| format!(": {said}")).unwrap_or_default();
    Error::new(kind, format!("it answers {}{said}", status.as_u16()))
}

/// What a registry says of its failure (OCI distribution specification, "Error Codes").
fn explanation(content: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(content).ok()?;
    let error = answer.get("errors").and_then(|errors| errors.get(0)).unwrap_or(&answer);
    let text = |key: &str| error.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let said = text("message").or_else(|| text("details")).or_else(|| text("code"))?;
    Some(said.chars().take(200).collect())
}

fn read_token(answer: Response<Body>) -> Result<String> {
    let invalid = || Error::new(Kind::Server, "what it sent is no token");
    let content =
        answer.into_body().into_with_config().limit(ANSWER_LIMIT).read_to_vec().map_err(transport)?;
    let content: Value = serde_json::from_slice(&content).map_err(|_| invalid())?;
    let text = |key: &str| content.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let token = text("token").or_else(|| text("access_token")).ok_or_else(invalid)?;
    Ok(format!("Bearer {token}"))
}

/// What `Retry-After` asks for, in seconds (RFC 9110 section 10.2.3).
fn wished_pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_registries_say_of_failures() {
        let said = |text: &str| explanation(text.as_bytes());
        let both = r#"{"errors":[{"code":"DENIED","message":"access denied"}]}"#;
        assert_eq!(said(both).as_deref(), Some("access denied"));
        assert_eq!(said(r#"{"errors":[{"code":"DENIED","message":""}]}"#).as_deref(), Some("DENIED"));
        assert_eq!(said(r#"{"details":"bad password"}"#).as_deref(), Some("bad password"));
        for text in ["", "<html>", "{}", "[]", r#"{"errors":[]}"#, r#"{"errors":{"a":1}}"#] {
            assert_eq!(said(text), None, "{text}");
        }
    }
}
