//! Docker's `config.json`, and Podman's `auth.json`: who we are at which registry.
//!
//! ```text
//! {"auths": {"registry.example": {"auth": base64("user:password"), "identitytoken": "…"}},
//!  "credsStore": "helper", "credHelpers": {"registry.example": "helper"}}
//! ```
//! Whatever else stands in the file belongs to others and is kept. Docker's own registry has the key
//! `https://index.docker.io/v1/`, and keys of old have a scheme and a path. Credentials may lie with a helper, the
//! program `docker-credential-<helper>`, which is then given new ones, too. What Docker's file does not know is looked up
//! in `$REGISTRY_AUTH_FILE`, `$XDG_RUNTIME_DIR/containers/auth.json` and `~/.config/containers/auth.json`
//! (containers-auth.json(5)), which are never written.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holm_sys::file::{Durability, ensure_directory, read_limited, replace};
use serde_json::{Map, Value, json};

use crate::endpoint::DOCKER;
use crate::error::{Error, Kind, Result};

const DOCKER_KEY: &str = "https://index.docker.io/v1/";
const LIMIT: u64 = 1 << 20;

/// Who we are at a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: String,
    /// Password; empty beside an identity token.
    pub password: String,
    /// What stands for the password at the token server (OAuth 2 refresh token).
    pub identity_token: Option<String>,
}

impl Credentials {
    /// The value of `Authorization` (RFC 7617).
    pub(crate) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// The files.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Docker's, which is written.
    own: AuthFile,
    /// Podman's, in the order in which they are asked.
    others: Vec<AuthFile>,
}

/// One of them.
#[derive(Clone, Debug)]
struct AuthFile {
    path: PathBuf,
    content: Map<String, Value>,
}

impl Configuration {
    /// Reads `config.json` in `$DOCKER_CONFIG`, else in `~/.docker`, and Podman's files; empty where there are none.
    ///
    /// # Errors
    /// [`Kind::Configuration`] naming the file.
    pub fn read() -> Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME").unwrap_or_else(|| PathBuf::from("/root"));
        let directory = variable("DOCKER_CONFIG").unwrap_or_else(|| home.join(".docker"));
        let own = AuthFile::read_at(directory.join("config.json"))?;
        let below = |directory: PathBuf| directory.join("containers/auth.json");
        let others = [
            variable("REGISTRY_AUTH_FILE"),
            variable("XDG_RUNTIME_DIR").map(below),
            Some(below(home.join(".config"))),
        ];
        let others = others.into_iter().flatten().map(AuthFile::read_at).collect::<Result<_>>()?;
        Ok(Self { own, others })
    }

    /// Where what is written lies.
    pub fn path(&self) -> &Path {
        &self.own.path
    }

    /// Who we are at the registry `domain`.
    ///
    /// # Errors
    /// [`Kind::Configuration`] where a credential helper fails, or what is written cannot be read.
    pub fn credentials(&self, domain: &str) -> Result<Option<Credentials>> {
        for file in [&self.own].into_iter().chain(&self.others) {
            if let Some(found) = file.credentials(domain)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Writes down who we are at the registry `domain`, with 0600 for a mode, or gives it to the credential helper.
    ///
    /// # Errors
    /// [`Kind::Configuration`] naming the file or the helper.
    pub fn log_in(&mut self, domain: &str, credentials: &Credentials) -> Result<()> {
        self.own.log_in(domain, credentials)
    }

    /// Forgets who we are at the registry `domain`; says whether anything was known.
    ///
    /// # Errors
    /// As [`Configuration::log_in`].
    pub fn log_out(&mut self, domain: &str) -> Result<bool> {
        self.own.log_out(domain)
    }

    /// Whether a credential helper keeps what is known of the registry `domain`.
    pub fn has_helper(&self, domain: &str) -> bool {
        self.own.helper(domain).is_some()
    }

    /// The user name that is known for the registry `domain`, without a question to a helper.
    pub fn user(&self, domain: &str) -> Option<String> {
        let entry = self.own.entry(domain)?;
        parse_entry(entry).ok().flatten().map(|known| known.user)
    }
}

impl AuthFile {
    fn read_at(path: PathBuf) -> Result<Self> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| {
            Error::because(Kind::Configuration, format!("read `{}`", path.display()), error)
        };
        let text = match read_limited(&path, LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => b"{}".to_vec(),
            Err(error) => return Err(failed(error.into())),
        };
        let content = serde_json::from_slice(&text).map_err(|error| failed(error.into()))?;
        Ok(Self { path, content })
    }

    fn credentials(&self, domain: &str) -> Result<Option<Credentials>> {
        if let Some(helper) = self.helper(domain)
            && let Some(found) = known_to_helper(helper, key_of(domain))?
        {
            return Ok(Some(found));
        }
        let Some(entry) = self.entry(domain) else { return Ok(None) };
        parse_entry(entry).map_err(|reason| {
            let text = format!("read the credentials for {domain} in `{}`: {reason}", self.path.display());
            Error::new(Kind::Configuration, text)
        })
    }

    fn entry(&self, domain: &str) -> Option<&Value> {
        let auths = self.content.get("auths")?.as_object()?;
        auths
            .get(key_of(domain))
            .or_else(|| auths.iter().find(|(key, _)| domain_of(key) == domain).map(|(_, entry)| entry))
    }

    fn helper(&self, domain: &str) -> Option<&str> {
        let own = self.content.get("credHelpers").and_then(|helpers| helpers.get(domain));
        own.or_else(|| self.content.get("credsStore"))?.as_str().filter(|helper| !helper.is_empty())
    }

    fn log_in(&mut self, domain: &str, credentials: &Credentials) -> Result<()> {
        let entry = match self.helper(domain) {
            Some(helper) => {
                let said = json!({"ServerURL": key_of(domain), "Username": credentials.user,
                    "Secret": credentials.password});
                ask_helper(helper, "store", &said.to_string())?;
                json!({})
            }
            None => {
                let auth = STANDARD.encode(format!("{}:{}", credentials.user, credentials.password));
                json!({ "auth": auth })
            }
        };
        let auths = self.content.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        auths[key_of(domain)] = entry;
        self.write()
    }

    fn log_out(&mut self, domain: &str) -> Result<bool> {
        if let Some(helper) = self.helper(domain) {
            ask_helper(helper, "erase", key_of(domain))?;
        }
        let Some(auths) = self.content.get_mut("auths").and_then(Value::as_object_mut) else {
            return Ok(false);
        };
        let before = auths.len();
        auths.retain(|key, _| domain_of(key) != domain);
        if auths.len() == before {
            return Ok(false);
        }
        self.write().map(|()| true)
    }

    fn write(&self) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(&self.content).expect("a JSON value is plain data");
        text.push(b'\n');
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        ensure_directory(directory, 0o700)
            .and_then(|()| replace(&self.path, &text, Durability::Durable))
            .map_err(|error| {
                Error::because(Kind::Configuration, format!("write `{}`", self.path.display()), error)
            })
    }
}

fn key_of(domain: &str) -> &str {
    if domain == DOCKER { DOCKER_KEY } else { domain }
}

/// The registry that a key of `auths` means.
fn domain_of(key: &str) -> &str {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    match key.split('/').next().unwrap_or_default() {
        // Docker's own has several names.
        domain if domain.ends_with(".docker.io") => DOCKER,
        domain => domain,
    }
}

fn parse_entry(entry: &Value) -> Result<Option<Credentials>, &'static str> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).filter(|value| !value.is_empty());
    let (user, password) = match text("auth") {
        Some(encoded) => decode(encoded)?,
        None => {
            (text("username").unwrap_or_default().to_owned(), text("password").unwrap_or_default().to_owned())
        }
    };
    let identity_token = text("identitytoken").map(str::to_owned);
    // An empty entry says that a helper has it.
    let known = !user.is_empty() || identity_token.is_some();
    Ok(known.then_some(Credentials { user, password, identity_token }))
}

fn decode(encoded: &str) -> Result<(String, String), &'static str> {
    let decoded = STANDARD.decode(encoded).map_err(|_| "`auth` is not base64")?;
    let decoded = String::from_utf8(decoded).map_err(|_| "`auth` is not text")?;
    let (user, password) = decoded.split_once(':').ok_or("`auth` is not user:password")?;
    Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

/// What a helper knows of a registry.
fn known_to_helper(helper: &str, key: &str) -> Result<Option<Credentials>> {
    let Some(said) = ask_helper(helper, "get", key)? else { return Ok(None) };
    let answer: Value = serde_json::from_str(&said).map_err(|error| {
        let text = format!("read what `docker-credential-{helper}` says of {key}");
        Error::because(Kind::Configuration, text, error)
    })?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (user, secret) = (text("Username"), text("Secret"));
    Ok(Some(match user.as_str() {
        "<token>" => {
            Credentials { user: String::new(), password: String::new(), identity_token: Some(secret) }
        }
        _ => Credentials { user, password: secret, identity_token: None },
    }))
}

/// Asks `docker-credential-<helper>`; `None` where it knows nothing.
fn ask_helper(helper: &str, verb: &str, input: &str) -> Result<Option<String>> {
    let program = format!("docker-credential-{helper}");
    let failed = |reason: &str| {
        Error::new(Kind::Configuration, format!("ask `{program}` to {verb} credentials: {reason}"))
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !helper.bytes().all(valid) {
        return Err(failed("that is no name of a helper"));
    }
    let output = run_helper(&program, verb, input).map_err(|error| failed(&error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.success() {
        true => Ok(Some(said.into_owned())),
        false if said.contains("not found") => Ok(None),
        false => Err(failed(said.trim())),
    }
}

fn run_helper(program: &str, verb: &str, said: &str) -> io::Result<std::process::Output> {
    let mut command = Command::new(program);
    command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read what it is asked says so by its exit code.
        let _ = input.write_all(said.as_bytes());
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn configuration(content: Value) -> AuthFile {
        let content = content.as_object().expect("an object").clone();
        AuthFile { path: PathBuf::from("config.json"), content }
    }

    fn known(user: &str, password: &str) -> Credentials {
        Credentials { user: user.to_owned(), password: password.to_owned(), identity_token: None }
    }

    #[test]
    fn credentials_are_found_as_docker_writes_them() {
        let encoded = STANDARD.encode("me:se:cret");
        let file = configuration(json!({"auths": {
            "https://index.docker.io/v1/": {"auth": encoded},
            "https://old.example/v1/": {"username": "old", "password": "one"},
            "registry.example:5000": {"auth": STANDARD.encode("x:\0"), "identitytoken": "token"},
            "empty.example": {},
            "bad.example": {"auth": "!"},
        }}));
        let found = |domain: &str| file.credentials(domain).expect("readable");
        assert_eq!(found("docker.io"), Some(known("me", "se:cret")));
        assert_eq!(found("old.example"), Some(known("old", "one")));
        let token = found("registry.example:5000").expect("known");
        assert_eq!((token.password.as_str(), token.identity_token.as_deref()), ("", Some("token")));
        assert_eq!((found("empty.example"), found("none.example")), (None, None));
        let error = file.credentials("bad.example").expect_err("no base64").to_string();
        assert!(error.contains("bad.example") && error.contains("base64"), "{error}");
        assert_eq!(known("a", "b").basic(), "Basic YTpi");
    }

    #[test]
    fn logging_in_and_out_keeps_what_belongs_to_others() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("docker/config.json");
        let mut file = AuthFile::read_at(path.clone()).expect("none yet");
        file.content.insert("psFormat".into(), json!("table"));
        file.log_in("docker.io", &known("me", "secret")).expect("write");
        file.log_in("a.example", &known("you", "x")).expect("write");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let mut file = AuthFile::read_at(path.clone()).expect("read");
        assert_eq!(file.credentials("docker.io").expect("read"), Some(known("me", "secret")));
        assert!(file.log_out("docker.io").expect("write") && !file.log_out("docker.io").expect("nothing"));
        let file = AuthFile::read_at(path).expect("read");
        assert_eq!(file.content["psFormat"], "table");
        assert_eq!(file.credentials("docker.io").expect("read"), None);
        assert_eq!(file.credentials("a.example").expect("read"), Some(known("you", "x")));
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("config.json");
        std::fs::write(&path, "[1").expect("write");
        let error = AuthFile::read_at(path.clone()).expect_err("damaged");
        assert!(error.kind() == Kind::Configuration && error.to_string().contains(&*path.to_string_lossy()));
    }
}
