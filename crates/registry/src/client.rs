//! Requests to one registry: who asks is said when it is wanted, patience where that helps, and what answers mean.
//!
//! ```text
//! request --> 401 with a challenge --> Basic, or a token from the server that it names --> the same request again
//!         --> 429, 5xx, a broken connection --> a pause, twice as long each time        --> the same request again
//! ```

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use holm_store::DOCUMENT_LIMIT;
use serde_json::Value;
use ureq::http::{HeaderMap, Method, Request, Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, ResponseExt as _, SendBody};

use crate::challenge::{self, Challenge};
use crate::configuration::{Configuration, Credentials};
use crate::endpoint;
use crate::error::{Error, Kind, Result};
use crate::registries::{Registries, Rules};

/// How often a request is made at most.
pub const ATTEMPTS: u32 = 4;
/// How long is waited before the second attempt.
pub const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a registry may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(15);
/// How long a connection may stand still.
const STALL: Duration = Duration::from_secs(60);
/// How much is read of an answer that says what failed, or of a token.
const ANSWER_LIMIT: u64 = 256 << 10;
/// Words of a list that are asked for at a time.
const A_PAGE: u32 = 1000;
/// Pages of a list that are read at most.
pub const PAGES: usize = 1000;
/// Media type of blobs on their way.
const OCTETS: &str = "application/octet-stream";
/// Where systems keep the certificates that they trust; where there are none, Mozilla's are built in.
const SYSTEM_CERTIFICATES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What a request brings.
#[derive(Clone, Copy)]
pub enum Payload<'a> {
    /// Nothing.
    None,
    /// A document, and what it is.
    Document(&'a [u8], &'a str),
    /// So many bytes of what is opened anew for each attempt.
    Bytes(&'a Open<'a>, u64),
}

/// Opens what is to be sent, from its first byte on.
pub type Open<'a> = dyn Fn() -> Result<Box<dyn Read + 'a>> + 'a;

/// A request.
pub struct Call<'a> {
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
    /// What goes along.
    pub payload: Payload<'a>,
    /// How often it is made at most; [`ATTEMPTS`] as a rule.
    pub attempts: u32,
}

impl Call<'_> {
    /// A request without a payload that takes `scope`.
    pub fn new(method: Method, target: String, scope: &str, doing: impl Into<String>) -> Self {
        Self {
            method,
            target,
            headers: Vec::new(),
            scope: scope.to_owned(),
            doing: doing.into(),
            payload: Payload::None,
            attempts: ATTEMPTS,
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
    /// Credentials may be sent in the open.
    insecure: bool,
    /// It is on this host.
    local: bool,
    /// What `Authorization` says, by scope.
    authorized: Mutex<HashMap<String, String>>,
}

impl Client {
    /// A client of the registry `domain`, with the credentials that Docker's configuration has for it.
    ///
    /// # Errors
    /// [`Kind::Configuration`]; [`Kind::Blocked`].
    pub fn new(domain: &str, configuration: &Configuration, registries: &Registries) -> Result<Self> {
        Self::with(domain, configuration.credentials(domain)?, &registries.rules(domain))
    }

    /// A client with these credentials.
    ///
    /// # Errors
    /// [`Kind::Blocked`]; [`Kind::Configuration`] where the file of certificates cannot be used.
    pub fn with(domain: &str, credentials: Option<Credentials>, rules: &Rules) -> Result<Self> {
        if rules.blocked {
            let text = format!("the registry {domain} is not to be asked, as registries.toml says");
            return Err(Error::new(Kind::Blocked, text));
        }
        let host = endpoint::host(domain);
        let loopback = endpoint::is_loopback(&host);
        let agent = agent(loopback, rules)?;
        let may_be_plain = loopback || rules.insecure;
        let scheme = if may_be_plain && !speaks_tls(&agent, &host) { "http" } else { "https" };
        let base = format!("{scheme}://{host}");
        let insecure = rules.insecure;
        Ok(Self {
            agent,
            domain: domain.to_owned(),
            base,
            credentials,
            insecure,
            local: loopback,
            authorized: Mutex::default(),
        })
    }

    /// The registry's name.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether the registry is on this host.
    pub fn is_local(&self) -> bool {
        self.local
    }

    /// Asks whether the registry knows us.
    ///
    /// # Errors
    /// [`Kind::Denied`] where it does not; otherwise as [`Client::send`].
    pub fn check(&self) -> Result<()> {
        self.send(&Call::new(Method::GET, String::new(), "", "log in")).map(drop)
    }

    /// The repositories of the registry, as it orders them (OCI distribution specification, "Endpoints" has none; this is
    /// the distribution project's `_catalog`).
    ///
    /// # Errors
    /// [`Kind::Denied`], [`Kind::NotFound`] where the registry shows none; otherwise as [`Client::send`].
    pub fn catalog(&self) -> Result<Vec<String>> {
        #[derive(serde::Deserialize)]
        struct Page {
            repositories: Option<Vec<String>>,
        }
        self.pages("_catalog", "registry:catalog:*", "ask for the catalogue", |content| {
            serde_json::from_slice(content).map(|page: Page| page.repositories)
        })
    }

    /// A list that comes in pages, each begun behind the last word of the one before.
    pub(crate) fn pages(
        &self,
        target: &str,
        scope: &str,
        doing: &str,
        words: impl Fn(&[u8]) -> serde_json::Result<Option<Vec<String>>>,
    ) -> Result<Vec<String>> {
        let (mut all, mut last) = (Vec::new(), String::new());
        for _ in 0..PAGES {
            let target = match last.as_str() {
                "" => format!("{target}?n={A_PAGE}"),
                last => format!("{target}?n={A_PAGE}&last={last}"),
            };
            let (headers, content) =
                self.fetch(&Call::new(Method::GET, target, scope, doing), DOCUMENT_LIMIT)?;
            let more = headers.contains_key("link");
            let page = words(&content)
                .map_err(|error| Error::because(Kind::Invalid, format!("{doing}: read the answer"), error))?;
            let page = page.unwrap_or_default();
            match page.last() {
                Some(word) if *word != last => last.clone_from(word),
                _ => return Ok(all),
            }
            all.extend(page);
            if !more {
                return Ok(all);
            }
        }
        Err(Error::new(Kind::Invalid, format!("{doing}: the list of {} has no end", self.domain)))
    }

    /// Makes a request; gives an answer of 2xx.
    ///
    /// # Errors
    /// By what the registry answers; all name it.
    pub fn send(&self, call: &Call<'_>) -> Result<Response<Body>> {
        self.try_send(call).map_err(|error| error.about(format!("{} at {}", call.doing, self.domain)))
    }

    fn try_send(&self, call: &Call<'_>) -> Result<Response<Body>> {
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let last = attempt >= call.attempts;
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
    fn send_authorized(&self, call: &Call<'_>) -> Result<Response<Body>> {
        let answer = self.send_once(call)?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        // Whoever else was asked, by a redirect or by what a registry named, gets to know nothing of us.
        if !self.is_ours(&self.url(&call.target)) || !self.is_ours(&answer.get_uri().to_string()) {
            let text =
                format!("{} wants to know who asks", answer.get_uri().host().unwrap_or("another host"));
            return Err(Error::new(Kind::Denied, text));
        }
        let value = self.authorize(answer.headers(), &call.scope)?;
        self.authorizations().insert(call.scope.clone(), value);
        self.send_once(call)
    }

    fn send_once(&self, call: &Call<'_>) -> Result<Response<Body>> {
        let url = self.url(&call.target);
        let mut request = Request::builder().method(call.method.clone()).uri(&url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        // Where a registry sends us elsewhere, who we are stays here.
        let known = self.authorizations().get(&call.scope).cloned();
        if let Some(value) = known.filter(|_| self.is_ours(&url)) {
            request = request.header("Authorization", value);
        }
        let invalid = |error| Error::because(Kind::Invalid, format!("ask for `{url}`"), error);
        let answer = match call.payload {
            Payload::None => self.agent.run(request.body(SendBody::none()).map_err(invalid)?),
            Payload::Document(content, media_type) => {
                self.agent.run(request.header("Content-Type", media_type).body(content).map_err(invalid)?)
            }
            Payload::Bytes(open, size) => {
                let mut reader = open()?;
                let request =
                    request.header("Content-Type", OCTETS).header("Content-Length", size.to_string());
                self.agent.run(request.body(SendBody::from_reader(&mut reader)).map_err(invalid)?)
            }
        };
        answer.map_err(transport)
    }

    /// A whole address, of what may be one or stand below `/v2/`.
    fn url(&self, target: &str) -> String {
        match target {
            whole if whole.contains("://") => whole.to_owned(),
            rooted if rooted.starts_with('/') => format!("{}{rooted}", self.base),
            target => format!("{}/v2/{target}", self.base),
        }
    }

    /// Whether an address is one of this registry.
    fn is_ours(&self, url: &str) -> bool {
        url.strip_prefix(&self.base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
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
        if !self.insecure && !endpoint::is_private(&self.base) {
            return Err(Error::new(Kind::Denied, "credentials are sent over TLS only"));
        }
        Ok(credentials.basic())
    }

    /// A token from the server at `realm` (distribution project, "Token Authentication Specification").
    fn token(&self, realm: &str, service: Option<&str>, scope: &str) -> Result<String> {
        let about = |error: Error| error.about(format!("get a token from `{realm}`"));
        if self.credentials.is_some() && !self.insecure && !endpoint::is_private(realm) {
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

    /// Makes a request and reads its answer of at most `limit` bytes; what breaks off is asked for again.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::read`].
    pub fn fetch(&self, call: &Call<'_>, limit: u64) -> Result<(HeaderMap, Vec<u8>)> {
        for attempt in 1.. {
            let answer = self.send(call)?;
            let headers = answer.headers().clone();
            match self.read(answer, limit) {
                Err(error) if attempt < call.attempts && error.kind() == Kind::Broken => {
                    tracing::info!("{}: {error}; again", call.doing);
                    sleep(FIRST_PAUSE * attempt);
                }
                read => return read.map(|content| (headers, content)),
            }
        }
        unreachable!("the last attempt returns")
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

pub(crate) fn agent(loopback: bool, rules: &Rules) -> Result<Agent> {
    let tls = TlsConfig::builder().root_certs(trusted(rules.ca.as_deref())?);
    let tls = tls.disable_verification(rules.insecure).build();
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
    Ok(builder.build().new_agent())
}

/// The certificates that the system trusts (`SSL_CERT_FILE` names another file), and those in `more`; without any,
/// Mozilla's.
fn trusted(more: Option<&Path>) -> Result<RootCerts> {
    let chosen = std::env::var("SSL_CERT_FILE").ok().filter(|path| !path.is_empty());
    let system = match &chosen {
        Some(path) => std::fs::read(path).ok(),
        None => SYSTEM_CERTIFICATES.iter().find_map(|path| std::fs::read(path).ok()),
    };
    let mut trusted: Vec<_> = system.iter().flat_map(|content| certificates(content)).collect();
    if let Some(path) = more {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::because(
                Kind::Configuration,
                format!("read the certificates in `{}`", path.display()),
                cause,
            )
        };
        let found = certificates(&std::fs::read(path).map_err(|error| failed(error.into()))?);
        if found.is_empty() {
            return Err(failed("there are none in it".into()));
        }
        trusted.extend(found);
    }
    Ok(if trusted.is_empty() { RootCerts::WebPki } else { RootCerts::new_with_certs(&trusted) })
}

fn certificates(content: &[u8]) -> Vec<Certificate<'static>> {
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    parse_pem(content).filter_map(certificate).collect()
}

/// Whether a registry on this machine speaks TLS, also with a certificate that is refused then. One that does not answer is
/// asked by plain HTTP for the error.
fn speaks_tls(agent: &Agent, host: &str) -> bool {
    agent.get(format!("https://{host}/v2/")).call().err().is_none_or(|error| shows_bad_certificate(&error))
}

fn shows_bad_certificate(error: &ureq::Error) -> bool {
    tls_failure(error).is_some_and(|text| text.contains("peer certificate"))
}

/// What failed in TLS. Where that is an error of reading, the library tells it from others by its text alone.
fn tls_failure(error: &ureq::Error) -> Option<String> {
    let text = error.to_string();
    let is_one = match error {
        ureq::Error::Io(_) => text.contains("peer certificate") || text.contains("corrupt message"),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        _ => false,
    };
    is_one.then_some(text)
}

pub(crate) fn transport(error: ureq::Error) -> Error {
    let error = match own_error(error) {
        Ok(own) => return own,
        Err(error) => error,
    };
    if let Some(text) = tls_failure(&error) {
        let context = match text.contains("corrupt message") {
            true => "it does not speak TLS",
            false => "its certificate is not to be trusted",
        };
        return Error::because(Kind::Untrusted, context, error);
    }
    let kind = match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => Kind::Unreachable,
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Kind::Unreachable,
        ureq::Error::Io(cause) => match cause.kind() {
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable => Kind::Unreachable,
            // The resolver has no number of an error of the system's.
            _ if cause.raw_os_error().is_none() && cause.to_string().contains("lookup address") => {
                Kind::Unreachable
            }
            _ => Kind::Broken,
        },
        ureq::Error::Protocol(_) | ureq::Error::Timeout(_) => Kind::Broken,
        _ => Kind::Invalid,
    };
    Error::because(
        kind,
        if kind == Kind::Unreachable { "nobody answers there" } else { "speak to it" },
        error,
    )
}

/// Why what was to be sent could not be read, if that is it.
fn own_error(error: ureq::Error) -> Result<Error, ureq::Error> {
    match error {
        ureq::Error::Io(cause) => cause.downcast().map_err(ureq::Error::Io),
        error => Err(error),
    }
}

/// What an answer that is none of 2xx means.
pub(crate) fn failure(answer: Response<Body>) -> Error {
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
    let token = text("token").or_else(|| text("access_token"));
    // It goes into a line of a request's head.
    let token =
        token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic())).ok_or_else(invalid)?;
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
