//! The floor of pulling an image: layers in parallel, each fetched, hashed, inflated, hashed again and written once.
//!
//! It speaks just as much HTTP as a registry on this machine wants: one connection a request, a length in every answer.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

const BUFFER_BYTES: usize = 256 << 10;
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pulls `repository:tag` from the registry at `address` into flat files in `directory`, one a layer.
///
/// # Errors
/// The registry does not answer as it should; a digest is wrong; a file cannot be written.
pub fn pull(address: &str, repository: &str, tag: &str, directory: &Path) -> io::Result<()> {
    let mut content = Vec::new();
    get(address, &format!("/v2/{repository}/manifests/{tag}"))?.read_to_end(&mut content)?;
    let manifest: Value = serde_json::from_slice(&content)?;
    let config = text(&manifest["config"]["digest"])?;
    content.clear();
    get(address, &format!("/v2/{repository}/blobs/{config}"))?.read_to_end(&mut content)?;
    check(&config, Sha256::digest(&content).as_slice())?;
    let config: Value = serde_json::from_slice(&content)?;
    let layers = manifest["layers"].as_array().into_iter().flatten();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().into_iter().flatten();
    let pairs: Vec<(String, String)> = layers
        .zip(diff_ids)
        .map(|(layer, diff_id)| Ok((text(&layer["digest"])?, text(diff_id)?)))
        .collect::<io::Result<_>>()?;
    std::thread::scope(|scope| {
        let fetches: Vec<_> = pairs
            .iter()
            .enumerate()
            .map(|(number, pair)| {
                let path = directory.join(format!("layer{number}"));
                scope.spawn(move || layer(address, repository, pair, &path))
            })
            .collect();
        fetches.into_iter().try_for_each(|fetch| fetch.join().unwrap_or_else(|_| Err(wrong("a thread"))))
    })
}

fn layer(address: &str, repository: &str, pair: &(String, String), path: &Path) -> io::Result<()> {
    let (digest, diff_id) = pair;
    let body = get(address, &format!("/v2/{repository}/blobs/{digest}"))?;
    let mut packed = Hashed { inner: body, hash: Sha256::new() };
    let mut decoder = MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, &mut packed));
    let mut out = Hashed { inner: File::create(path)?, hash: Sha256::new() };
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = decoder.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        out.write_all(buffer.get(..length).unwrap_or_default())?;
    }
    drop(decoder);
    io::copy(&mut packed, &mut io::sink())?;
    check(digest, packed.hash.finalize().as_slice())?;
    check(diff_id, out.hash.finalize().as_slice())?;
    out.inner.sync_data()
}

/// The body of what the registry answers.
fn get(address: &str, path: &str) -> io::Result<io::Take<BufReader<TcpStream>>> {
    let stream = TcpStream::connect(address)?;
    let mut request = BufWriter::new(&stream);
    write!(
        request,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: {ACCEPT}\r\nConnection: close\r\n\r\n"
    )?;
    request.flush()?;
    drop(request);
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        return Err(wrong(&line));
    }
    let mut length = None;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let header = line.trim_end();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').unwrap_or((header, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    Ok(reader.take(length.ok_or_else(|| wrong("an answer without a length"))?))
}

/// Hashes what passes through it.
struct Hashed<T> {
    inner: T,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(buffer)?;
        self.hash.update(buffer.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn check(expected: &str, actual: &[u8]) -> io::Result<()> {
    let actual: String = actual.iter().map(|byte| format!("{byte:02x}")).collect();
    if expected == format!("sha256:{actual}") { Ok(()) } else { Err(wrong(expected)) }
}

fn text(value: &Value) -> io::Result<String> {
    value.as_str().map(str::to_owned).ok_or_else(|| wrong("a document"))
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not as it should be: {what}"))
}
