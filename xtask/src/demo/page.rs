//! One page over loopback: the smallest HTTP client that serves the purpose (RFC 9112).

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a server may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A port of loopback that nobody listens on at this moment.
///
/// # Errors
/// There is none.
pub fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr().context("looking for a free port")?.port())
}

/// Fetches `path` from a server that may still be starting.
///
/// # Errors
/// It does not answer with 200 in time; the error is that of the last attempt.
pub fn fetch(port: u16, path: &str) -> Result<String> {
    let start = Instant::now();
    loop {
        match attempt(port, path) {
            Ok(body) => return Ok(body),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error).with_context(|| format!("fetching `{path}` from port {port}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn attempt(port: u16, path: &str) -> Result<String> {
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let mut stream = TcpStream::connect_timeout(&address.into(), TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // In one piece: a server that reads once and closes would otherwise reset the connection.
    stream.write_all(
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    body(&response)
}

fn body(response: &str) -> Result<String> {
    let Some((head, body)) = response.split_once("\r\n\r\n") else {
        bail!("an answer without an end of its head")
    };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("the server answered `{status}`");
    }
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_fetched_from_a_server_that_answers() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nhello\n").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        assert_eq!(fetch(port, "/health").unwrap(), "hello\n");
        assert!(server.join().unwrap().starts_with("GET /health HTTP/1.0\r\n"));
    }

    #[test]
    fn only_200_is_a_page() {
        assert!(body("HTTP/1.1 404 NOT FOUND\r\n\r\n").unwrap_err().to_string().contains("404"));
        assert!(body("HTTP/1.1 200 OK\r\n").is_err());
    }
}
