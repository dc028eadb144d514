//! A client of a few lines: one connection, requests as the test writes them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Its number.
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// What came behind them.
    pub body: Vec<u8>,
}

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
    authorization: Option<String>,
}

impl Client {
    /// Connects to `HOST:PORT`.
    ///
    /// # Panics
    /// Nobody listens there.
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server listens");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
        Self { stream: BufReader::new(stream), authorization: None }
    }

    /// With this header from now on.
    pub fn authorized(mut self, authorization: &str) -> Self {
        self.authorization = Some(authorization.to_owned());
        self
    }

    /// `GET`, as [`Client::ask`].
    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], b"")
    }

    /// `PUT`, as [`Client::ask`].
    pub fn put(&mut self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        self.ask("PUT", path, &[("Content-Type", content_type)], body)
    }

    /// `DELETE`, as [`Client::ask`].
    pub fn delete(&mut self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], b"")
    }

    /// `POST` of nothing, as [`Client::ask`].
    pub fn post(&mut self, path: &str) -> Answer {
        self.ask("POST", path, &[], b"")
    }

    /// A request with a body of known length, and its answer.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.try_ask(method, path, headers, body).expect("an answer")
    }

    /// Sends a request and reads its answer, as it is or none.
    ///
    /// # Errors
    /// The connection ended or the answer is none of HTTP's.
    pub fn try_ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: registry\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(authorization) = &self.authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        self.write(head.as_bytes())?;
        self.write(b"\r\n")?;
        self.write(body)?;
        self.read(method == "HEAD")
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// Reads an answer; one to HEAD has no body.
    pub fn read(&mut self, head_only: bool) -> std::io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(format!("no answer: {line:?}")))?;
        let mut headers = BTreeMap::new();
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; if head_only || status == 204 || status == 304 { 0 } else { length }];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, headers, body })
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Begins an upload; where it goes on.
    pub fn begin(&mut self, repository: &str) -> String {
        let answer = self.post(&format!("/v2/{repository}/blobs/uploads/"));
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.header("location").to_owned()
    }

    /// Pushes a blob in one request; its digest.
    pub fn push(&mut self, repository: &str, content: &[u8]) -> String {
        let digest = holm_spec::Digest::of(content).to_string();
        let answer =
            self.ask("POST", &format!("/v2/{repository}/blobs/uploads/?digest={digest}"), &[], content);
        assert_eq!(answer.status, 201, "{answer:?}");
        digest
    }

    /// Pushes an image without layers under a tag; the digest of its manifest.
    pub fn push_image(&mut self, repository: &str, tag: &str, configuration: &[u8]) -> String {
        let config = self.push(repository, configuration);
        let manifest = image(&config, configuration.len());
        let answer = self.put(&format!("/v2/{repository}/manifests/{tag}"), IMAGE, &manifest);
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.header("docker-content-digest").to_owned()
    }
}

/// The media type of an image's manifest.
pub const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// The manifest of an image without layers.
pub fn image(config: &str, size: usize) -> Vec<u8> {
    let config = serde_json::json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size});
    serde_json::json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []})
        .to_string()
        .into_bytes()
}

impl Answer {
    /// A header that must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no header `{name}`: {self:?}"))
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON document")
    }

    /// Demands a status and, for errors, a code of the specification.
    #[track_caller]
    pub fn is(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{} {:?}", String::from_utf8_lossy(&self.body), self.headers);
        if !code.is_empty() {
            assert_eq!(self.json()["errors"][0]["code"], code);
        }
    }
}
