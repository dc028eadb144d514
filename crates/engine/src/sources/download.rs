//! Files of the web: kept by their content, and asked for again only as far as it takes to know that they are the same.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_build::remote::{disposition_name, file_name, without_credentials};
use holm_registry::web::{self, Validators};
use holm_spec::Digest;
use holm_sys::file::{Draft, Durability, ensure_directory, read_limited, replace};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{Engine, Error, Kind, Result};

const VERSION: u32 = 1;
/// Largest record.
const RECORD_LIMIT: u64 = 64 << 10;
/// What a file is called whose URL and server do not say.
const UNNAMED: &str = "download";

/// A file of the web that is here.
#[derive(Clone, Debug)]
pub struct Download {
    /// Where it is.
    pub path: PathBuf,
    /// Digest of its content.
    pub digest: Digest,
    /// The name that it is given: one that leads nowhere.
    pub name: String,
    /// When its server says that it changed, in seconds since 1970.
    pub modified: Option<i64>,
    /// Nothing was fetched.
    pub cached: bool,
}

impl Download {
    /// The directory that it is in, and its name there.
    pub(crate) fn place(&self) -> Result<(OwnedFd, String)> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, rustix::fs::Mode::empty())
            .map_err(|errno| Error::io(format!("open `{}`", directory.display()), errno))?;
        Ok((opened, self.digest.hex().to_string()))
    }
}

/// What is known of a URL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Record {
    version: u32,
    /// Without credentials; the name of the record is that of the whole.
    url: String,
    digest: Digest,
    etag: Option<String>,
    last_modified: Option<String>,
    disposition: Option<String>,
}

impl Record {
    fn validators(&self) -> Validators {
        Validators { etag: self.etag.clone(), modified: self.last_modified.clone() }
    }
}

impl Engine {
    /// The file at a URL. With a checksum it is that or none, and one that is here is not asked for again.
    ///
    /// # Errors
    /// It cannot be fetched, or has another checksum.
    pub fn download(&self, url: &str, checksum: Option<&Digest>) -> Result<Download> {
        let directory = self.builds().join("downloads");
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        let place = directory.join(format!("{}.json", Digest::of(url.as_bytes()).hex()));
        let known = read_record(&place, &without_credentials(url))
            .filter(|known| directory.join(known.digest.hex()).is_file());
        match known {
            Some(known) if checksum == Some(&known.digest) => Ok(downloaded(&directory, &known, true)),
            known => fetch(&directory, &place, url, (known, checksum)),
        }
    }
}

fn fetch(
    directory: &Path,
    place: &Path,
    url: &str,
    (known, checksum): (Option<Record>, Option<&Digest>),
) -> Result<Download> {
    // A file that must be another one than that which is known is wanted whatever the server thinks of it.
    let known = known.filter(|_| checksum.is_none());
    let validators = known.as_ref().map(Record::validators).unwrap_or_default();
    let shown = without_credentials(url);
    let failed = |error| Error::io(format!("keep `{shown}`"), error);
    let mut draft = Draft::begin(place).map_err(failed)?;
    let fetched = web::fetch(url, &shown, &validators, draft.file());
    let file = match (fetched.map_err(|error| Error::wrapping(Kind::Failed, error))?, known) {
        (None, Some(known)) => return Ok(downloaded(directory, &known, true)),
        (None, None) => return Err(Error::new(Kind::Failed, format!("`{shown}`: nothing was sent"))),
        (Some(file), _) => file,
    };
    if let Some(checksum) = checksum.filter(|checksum| **checksum != file.digest) {
        let message = format!("`{shown}` has the digest {}, and not {checksum}", file.digest);
        return Err(Error::new(Kind::Corrupt, message));
    }
    let record = Record {
        version: VERSION,
        url: shown.clone(),
        digest: file.digest,
        etag: file.validators.etag,
        last_modified: file.validators.modified,
        disposition: file.disposition,
    };
    draft.finish(&directory.join(record.digest.hex())).map_err(failed)?;
    let text = serde_json::to_vec(&record).expect("plain data");
    replace(place, &text, Durability::Volatile).map_err(failed)?;
    Ok(downloaded(directory, &record, false))
}

/// A record that cannot be read, or is of another URL, is none.
fn read_record(path: &Path, url: &str) -> Option<Record> {
    let record: Record = serde_json::from_slice(&read_limited(path, RECORD_LIMIT).ok()?).ok()?;
    Some(record).filter(|record| record.version == VERSION && record.url == url)
}

fn downloaded(directory: &Path, record: &Record, cached: bool) -> Download {
    let said = || record.disposition.as_deref().and_then(disposition_name);
    Download {
        path: directory.join(record.digest.hex()),
        digest: record.digest,
        name: file_name(&record.url).or_else(said).unwrap_or_else(|| UNNAMED.to_owned()),
        modified: record.validators().time(),
        cached,
    }
}
