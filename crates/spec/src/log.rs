//! Logs of workloads: who keeps the output, in which form, and what the files are called.
//!
//! ```text
//! workloads/<id>/log/0.log               drivers `local` and `journald`: a record a line, as Kubernetes' CRI has it
//!   2026-01-02T03:04:05.000000006Z stdout F a whole line
//!   2026-01-02T03:04:05.000000007Z stderr P the beginning of a line, continued by the next record
//!
//! workloads/<id>/log/<id>-json.log       driver `json-file`: an object a line, as Docker has it
//!   {"log":"a whole line\n","stream":"stdout","time":"2026-01-02T03:04:05.000000006Z"}
//!   {"log":"the beginning of a line","stream":"stderr","attrs":{"a":"b"},"time":"2026-01-02T03:04:05.000000007Z"}
//! ```
//!
//! A file that has grown to its limit is renamed to `….1`, what was `….1` to `….2`, and so on. One that is compressed has
//! `.gz` behind its number, and in the comment of its gzip header the inode number that the file had before: whoever was
//! reading that file knows by it where to go on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where systemd's journal takes messages (systemd.io/JOURNAL_NATIVE_PROTOCOL).
pub const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Drivers of Docker's that send a log away.
const OTHERS: [&str; 8] =
    ["awslogs", "etwlogs", "fluentd", "gcplogs", "gelf", "logentries", "splunk", "syslog"];

/// Who keeps a workload's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// Files in the form of Kubernetes' CRI.
    #[default]
    Local,
    /// Files in Docker's form.
    JsonFile,
    /// systemd's journal, with a copy as [`Driver::Local`] keeps it.
    Journald,
    /// Nobody.
    None,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "local",
            Self::JsonFile => "json-file",
            Self::Journald => "journald",
            Self::None => "none",
        })
    }
}

impl FromStr for Driver {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            "json-file" => Ok(Self::JsonFile),
            "journald" => Ok(Self::Journald),
            "none" => Ok(Self::None),
            _ if OTHERS.contains(&text) => {
                Err(format!("log driver `{text}` is not supported: local, json-file, journald or none"))
            }
            _ => Err(format!("unknown log driver `{text}`: local, json-file, journald or none")),
        }
    }
}

/// Logging of one workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// Who keeps the output.
    pub driver: Driver,
    /// The options as they were asked.
    pub options: BTreeMap<String, String>,
    /// The files on this host, if there are any.
    pub files: Option<Files>,
    /// What the driver calls the workload.
    pub tag: String,
    /// Labels and variables of the workload that its records carry.
    pub attributes: BTreeMap<String, String>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            driver: Driver::Local,
            options: BTreeMap::new(),
            files: Some(Files::LOCAL),
            tag: String::new(),
            attributes: BTreeMap::new(),
        }
    }
}

/// How much of a log is kept in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Bytes at which a file is full; none for never.
    pub max_size: Option<u64>,
    /// Files that are kept, the one that grows too; at least 1.
    pub max_files: u32,
    /// Compress those that do not grow any more.
    pub compress: bool,
}

impl Files {
    /// What Docker's driver `local` does where nothing is said.
    pub const LOCAL: Self = Self { max_size: Some(20 << 20), max_files: 5, compress: true };
    /// What Docker's driver `json-file` does where nothing is said.
    pub const JSON: Self = Self { max_size: None, max_files: 1, compress: false };
    /// More files of one log would be more than a reader may have open.
    pub const MOST: u32 = 500;
}

/// The name of the file that was full so many times ago, from 1.
pub fn rotated(path: &Path, number: u32) -> PathBuf {
    with_end(path, &format!(".{number}"))
}

/// The name of a file when it is compressed.
pub fn compressed(path: &Path) -> PathBuf {
    with_end(path, ".gz")
}

/// The name of a file that is being made and will be renamed to `path`.
pub fn unfinished(path: &Path) -> PathBuf {
    with_end(path, ".new")
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_have_dockers_names() {
        for driver in [Driver::Local, Driver::JsonFile, Driver::Journald, Driver::None] {
            assert_eq!(driver.to_string().parse(), Ok(driver));
            assert_eq!(serde_json::to_value(driver).expect("plain data"), driver.to_string());
        }
        assert!("gelf".parse::<Driver>().is_err_and(|reason| reason.contains("`gelf` is not supported")));
        assert!("paper".parse::<Driver>().is_err_and(|reason| reason.contains("unknown log driver `paper`")));
    }

    #[test]
    fn names_of_files() {
        let path = Path::new("/log/0.log");
        assert_eq!(rotated(path, 3), Path::new("/log/0.log.3"));
        assert_eq!(compressed(&rotated(path, 3)), Path::new("/log/0.log.3.gz"));
    }
}
