//! Files that every workload gets of its own: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holm_spec::workload::NetworkMode;
use holm_sys::file::Durability;

use crate::{Error, Result};

/// A file of the host to mount in the workload.
pub(super) struct EtcFile {
    /// Where it will lie once the workload is published.
    pub source: PathBuf,
    /// Where the workload sees it.
    pub target: &'static str,
}

/// Writes the files into `staged`, the directory that will be called `published`.
pub(super) fn write(
    staged: &Path,
    published: &Path,
    network: NetworkMode,
    hostname: &str,
    durability: Durability,
) -> Result<Vec<EtcFile>> {
    let contents = [
        ("hostname", "/etc/hostname", format!("{hostname}\n")),
        ("hosts", "/etc/hosts", hosts(network, hostname)),
        ("resolv.conf", "/etc/resolv.conf", read_host("/etc/resolv.conf")),
    ];
    let mut files = Vec::with_capacity(contents.len());
    for (name, target, content) in contents {
        let path = staged.join(name);
        write_file(&path, &content, durability)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))?;
        files.push(EtcFile { source: published.join(name), target });
    }
    Ok(files)
}

fn write_file(path: &Path, content: &str, durability: Durability) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(content.as_bytes())?;
    if durability == Durability::Durable { file.sync_data() } else { Ok(()) }
}

fn hosts(network: NetworkMode, hostname: &str) -> String {
    match network {
        NetworkMode::Host => read_host("/etc/hosts"),
        NetworkMode::None => {
            format!("127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
        }
    }
}

/// A host without the file has nothing to tell.
fn read_host(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
