//! A client that costs little: one connection, one buffer, nothing parsed but the length.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

struct Answer {
    status: u16,
    length: usize,
    location: String,
}

impl Client {
    /// Connects.
    pub fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connecting to `{address}`"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), buffer: vec![0; 256 * 1024] })
    }

    /// Fetches a blob and forgets it.
    pub fn fetch(&mut self, repository: &str, digest: &str) -> Result<()> {
        let answer = self.ask("GET", &format!("/v2/{repository}/blobs/{digest}"), 0, |_| Ok(()))?;
        if answer.status != 200 {
            bail!("`{digest}` is answered with {}", answer.status);
        }
        Ok(())
    }

    /// Pushes a blob; its digest.
    pub fn push(&mut self, repository: &str, blob: &[u8]) -> Result<String> {
        self.push_repeated(repository, blob, 1)
    }

    /// Pushes `piece`, `times` times over, as one blob; its digest.
    pub fn push_repeated(&mut self, repository: &str, piece: &[u8], times: usize) -> Result<String> {
        let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), 0, |_| Ok(()))?;
        let mut hasher = Sha256::new();
        (0..times).for_each(|_| hasher.update(piece));
        let hex: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let path = begun.location.find("/v2/").map_or("", |at| &begun.location[at..]).to_owned();
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest=sha256:{hex}");
        let write = |stream: &mut TcpStream| (0..times).try_for_each(|_| stream.write_all(piece));
        let answer = self.ask("PUT", &path, piece.len() * times, write)?;
        if answer.status != 201 {
            bail!("a push is answered with {}", answer.status);
        }
        Ok(format!("sha256:{hex}"))
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        length: usize,
        body: impl FnOnce(&mut TcpStream) -> std::io::Result<()>,
    ) -> Result<Answer> {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: registry\r\nContent-Length: {length}\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        body(self.stream.get_mut())?;
        let answer = self.read_head()?;
        let mut left = answer.length;
        while left > 0 {
            let size = left.min(self.buffer.len());
            let read = self.stream.read(&mut self.buffer[..size])?;
            if read == 0 {
                bail!("the answer to `{method} {path}` ends too early");
            }
            left -= read;
        }
        Ok(answer)
    }

    fn read_head(&mut self) -> Result<Answer> {
        let mut answer = Answer { status: 0, length: 0, location: String::new() };
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("the server closed the connection");
            }
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(answer);
            }
            match line.split_once(": ") {
                None => answer.status = line.split(' ').nth(1).unwrap_or_default().parse()?,
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    answer.length = value.parse()?;
                }
                Some((name, value)) if name.eq_ignore_ascii_case("location") => {
                    answer.location = value.to_owned()
                }
                Some(_) => {}
            }
        }
    }
}
