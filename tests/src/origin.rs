//! A server of HTTP/1.1 inside the test, which answers as the test says: one request a connection, each on a thread.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::oci_image::{MANIFEST, OciImage};

/// What a client asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// With everything behind a question mark.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What came along.
    pub body: Vec<u8>,
}

impl Request {
    /// The value of a header, whose name is given in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first byte that is asked for.
    #[must_use]
    pub fn start(&self) -> usize {
        let range = self.header("range").and_then(|range| range.strip_prefix("bytes="));
        range.and_then(|range| range.split('-').next()?.parse().ok()).unwrap_or(0)
    }

    fn read(stream: &TcpStream) -> io::Result<Option<Self>> {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let Some((first, headers)) = lines.split_first() else { return Ok(None) };
        let mut words = first.split(' ').map(str::to_owned);
        let headers = headers.iter().filter_map(|line| line.split_once(':'));
        let mut request = Self {
            method: words.next().unwrap_or_default(),
            path: words.next().unwrap_or_default(),
            headers: headers
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect(),
            body: Vec::new(),
        };
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body.resize(length, 0);
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }
}

/// The server. It ends with the test's process.
pub struct Origin {
    /// Host and port.
    pub address: String,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Origin {
    /// Answers each request with what `answer` writes; its number among those for the same path counts from 0.
    ///
    /// # Panics
    /// Loopback has no port left.
    pub fn serve(
        answer: impl Fn(&Request, usize, &mut TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (answer, list) = (Arc::new(answer), heard.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (answer, list) = (answer.clone(), list.clone());
                std::thread::spawn(move || -> io::Result<()> {
                    let Some(request) = Request::read(&stream)? else { return Ok(()) };
                    let number = {
                        let mut list: std::sync::MutexGuard<'_, Vec<Request>> =
                            list.lock().expect("no panic");
                        list.push(request.clone());
                        list.iter().filter(|earlier| earlier.path == request.path).count() - 1
                    };
                    answer(&request, number, &mut stream)
                });
            }
        });
        Self { address, heard }
    }

    /// A registry that has an image under every name.
    #[must_use]
    pub fn of(image: OciImage) -> Self {
        Self::serve(move |request, _, stream| give(&image, request, stream))
    }

    /// What was asked for so far.
    ///
    /// # Panics
    /// Never: no thread panics while it writes that down.
    #[must_use]
    pub fn heard(&self) -> Vec<Request> {
        self.heard.lock().expect("no panic").clone()
    }

    /// With which bytes the requests for paths with this end began.
    #[must_use]
    pub fn starts(&self, end: &str) -> Vec<usize> {
        self.heard().iter().filter(|request| request.path.ends_with(end)).map(Request::start).collect()
    }
}

/// Writes an answer with these further lines of its head.
///
/// # Errors
/// The client has gone.
pub fn answer(stream: &mut TcpStream, status: &str, lines: &[&str], body: &[u8]) -> io::Result<()> {
    head(stream, status, lines, Some(body.len()))?;
    stream.write_all(body)
}

/// Writes the head of an answer; without a length its body goes to the end of the connection.
///
/// # Errors
/// The client has gone.
pub fn head(stream: &mut TcpStream, status: &str, lines: &[&str], length: Option<usize>) -> io::Result<()> {
    let length = length.map(|length| format!("Content-Length: {length}\r\n")).unwrap_or_default();
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    stream.write_all(format!("HTTP/1.1 {status}\r\n{length}Connection: close\r\n{lines}\r\n").as_bytes())
}

/// What a registry that has `image` under every name has at a path.
#[must_use]
pub fn content<'a>(image: &'a OciImage, path: &str) -> Option<&'a [u8]> {
    let (place, name) = path.rsplit_once('/')?;
    match place.ends_with("/manifests") {
        true => Some(&image.manifest),
        false => image.blobs.get(name).map(Vec::as_slice),
    }
}

/// Answers as a registry that has `image` under every name.
///
/// # Errors
/// The client has gone.
pub fn give(image: &OciImage, request: &Request, stream: &mut TcpStream) -> io::Result<()> {
    if request.path == "/v2/" {
        return answer(stream, "200 OK", &[], b"{}");
    }
    let Some(content) = content(image, &request.path) else {
        return answer(stream, "404 Not Found", &[], b"");
    };
    let kind = format!("Content-Type: {MANIFEST}");
    let lines: &[&str] = if request.path.contains("/manifests/") { &[&kind] } else { &[] };
    let start = request.start().min(content.len());
    if start == 0 {
        return answer(stream, "200 OK", lines, content);
    }
    let range = format!("Content-Range: bytes {start}-{}/{}", content.len() - 1, content.len());
    answer(stream, "206 Partial Content", &[&range], &content[start..])
}
