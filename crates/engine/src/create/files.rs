//! Files that every workload gets of its own: `/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`.

use std::fs::{File, Permissions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holm_network::etc;
use holm_spec::layout::Layout;
use holm_spec::workload::{NetworkMode, Resolver};
use holm_sys::file::Durability;

use super::resolve::Resolved;
use crate::request::CreateRequest;
use crate::{Error, Result};

/// A file of the host to mount in the workload.
pub(super) struct EtcFile {
    /// Where it will lie once the workload is published.
    pub source: PathBuf,
    /// Where the workload sees it.
    pub target: &'static str,
}

/// Writes the files into `staged`, the directory that will be called `published`. Whoever is in another one's network has
/// the files of that one.
pub(super) fn write(
    layout: &Layout,
    staged: &Path,
    published: &Path,
    request: &CreateRequest,
    resolved: &Resolved,
    durability: Durability,
) -> Result<Vec<EtcFile>> {
    let hostname = &resolved.hostname;
    let contents = [
        ("hostname", "/etc/hostname", format!("{hostname}\n")),
        ("hosts", "/etc/hosts", hosts(request, resolved)),
        ("resolv.conf", "/etc/resolv.conf", resolv_conf(request, resolved)),
    ];
    let mut files = Vec::with_capacity(contents.len());
    for (name, target, content) in contents {
        let path = staged.join(name);
        write_file(&path, &content, durability)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))?;
        let directory = match resolved.network.mode {
            NetworkMode::Container(other) => layout.workload(&other).dir,
            _ => published.to_owned(),
        };
        files.push(EtcFile { source: directory.join(name), target });
    }
    Ok(files)
}

/// Of a workload with networks the addresses come when it starts.
fn hosts(request: &CreateRequest, resolved: &Resolved) -> String {
    match resolved.network.mode {
        NetworkMode::Host => {
            let mut text = read_host("/etc/hosts");
            for entry in &request.extra_hosts {
                let own = IpAddr::from(Ipv4Addr::LOCALHOST);
                text.push_str(&format!("{}\t{}\n", entry.address.unwrap_or(own), entry.name));
            }
            text
        }
        _ => etc::hosts(&resolved.hostname, &request.extra_hosts, &[]),
    }
}

fn resolv_conf(request: &CreateRequest, resolved: &Resolved) -> String {
    let host = || read_host("/etc/resolv.conf");
    match resolved.network.mode {
        // Written when it starts.
        NetworkMode::Networks => String::new(),
        _ if request.resolver == Resolver::default() => host(),
        _ => etc::hosts_resolv_conf(&host(), &request.resolver),
    }
}

fn write_file(path: &Path, content: &str, durability: Durability) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(content.as_bytes())?;
    if durability == Durability::Durable { file.sync_data() } else { Ok(()) }
}

/// A host without the file has nothing to tell.
fn read_host(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
