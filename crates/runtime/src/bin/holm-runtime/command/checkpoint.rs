//! `holm-runtime checkpoint`: a running container as files.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_runtime::cgroup::{self, Hierarchies};
use holm_runtime::checkpoint::{Dump, GroupMode, Settings, dump};
use holm_runtime::state::{Container, Status};
use holm_runtime::{Error, Kind, Result};
use holm_sys::process::adopt_descriptor;
use holm_sys::rustix::fs::{OFlags, fcntl_getfl};

use super::run::clean;
use crate::arguments::Global;

/// Write a running container to files, by CRIU
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The container ends unless it is to go on. Needs the program `criu`, 3.16 or later.\n\n\
                        Example:\n  holm-runtime checkpoint --image-path /srv/dump box"
)]
pub struct Args {
    /// Id of the container
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    common: Common,
    /// Directory of an earlier dump, relative to that of the files: what has not changed is left out
    #[arg(long, value_name = "DIR")]
    parent_path: Option<String>,
    /// The container goes on
    #[arg(long)]
    leave_running: bool,
    /// Leave out connections that are just being opened
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give removed files that are open a name again
    #[arg(long)]
    link_remap: bool,
    /// Descriptor that gets a byte of 0 when memory can be asked for
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    status_fd: Option<i32>,
    /// Process that takes the memory, as ADDRESS:PORT
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// Write memory alone, for a checkpoint that follows; the container goes on
    #[arg(long)]
    pre_dump: bool,
}

/// Options of `checkpoint` and `restore`.
#[derive(Debug, clap::Args)]
pub struct Common {
    /// Directory of CRIU's files
    #[arg(long, value_name = "DIR", default_value = "checkpoint")]
    image_path: PathBuf,
    /// Directory of CRIU's log
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Keep open TCP connections
    #[arg(long)]
    tcp_established: bool,
    /// Allow UNIX sockets that lead outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Allow a session whose leader is outside
    #[arg(long)]
    shell_job: bool,
    /// Bring memory only when it is used
    #[arg(long)]
    lazy_pages: bool,
    /// Keep locks of files
    #[arg(long)]
    file_locks: bool,
    /// What becomes of control groups: soft, full, strict or ignore
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    manage_cgroups_mode: String,
    /// Namespace whose settings are left out: network, which always is
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Remove from earlier dumps the memory that later ones hold
    #[arg(long)]
    auto_dedup: bool,
}

impl Common {
    /// Checks what was asked for.
    pub fn settings(&self) -> Result<Settings> {
        if let Some(kind) = self.empty_ns.iter().find(|kind| *kind != "network") {
            return Err(Error::invalid(format!("namespace \"{kind}\" is not supported")));
        }
        Ok(Settings {
            images: absolute(&self.image_path)?,
            work: self.work_path.as_deref().map(absolute).transpose()?,
            groups: GroupMode::named(&self.manage_cgroups_mode)?,
            tcp_established: self.tcp_established,
            external_sockets: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            lazy_pages: self.lazy_pages,
            auto_dedup: self.auto_dedup,
        })
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(|error| Error::system(format!("find `{}`", path.display()), error))
}

pub fn run(args: &Args, global: &Global) -> Result<u8> {
    let container = global.containers()?.get(&args.id)?;
    let status = container.status();
    if matches!(status, Status::Created | Status::Stopped) {
        let message = format!("Container cannot be checkpointed in {} state", status.name());
        return Err(Error::invalid(message));
    }
    check_readiness(&container)?;
    let settings = args.common.settings()?;
    make_images(&settings.images)?;
    check_parent(&settings.images, args.parent_path.as_deref())?;
    let record = &container.record;
    dump(Dump {
        settings: &settings,
        spec: &container.spec()?,
        pid: record.pid,
        root: &record.root,
        group: record.group.as_deref(),
        descriptors: &record.descriptors,
        parent: args.parent_path.as_deref(),
        leave_running: args.leave_running,
        memory_only: args.pre_dump,
        skip_in_flight: args.tcp_skip_in_flight,
        link_remap: args.link_remap,
        page_server: args.page_server.as_deref().map(page_server).transpose()?,
        status: args.status_fd.filter(|number| *number >= 0).map(status_descriptor).transpose()?,
    })?;
    if !args.leave_running && !args.pre_dump {
        bury(&container)?;
    }
    Ok(0)
}

/// The mount of its socket is no part of its configuration, so `restore` could not bring it back.
fn check_readiness(container: &Container) -> Result<()> {
    if !container.notify().exists() {
        return Ok(());
    }
    let message = "a container that was created with NOTIFY_SOCKET in the environment cannot be checkpointed: its mount \
                   on /run/notify cannot be restored (hint: create it without that variable)";
    Err(Error::new(Kind::Unsupported, message))
}

fn make_images(directory: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Error::system(format!("make directory `{}`", directory.display()), error))
}

fn check_parent(images: &Path, parent: Option<&str>) -> Result<()> {
    let Some(parent) = parent else { return Ok(()) };
    if Path::new(parent).is_absolute() {
        return Err(Error::invalid("--parent-path must be relative"));
    }
    let path = images.join(parent);
    let failed = |error| Error::system(format!("invalid --parent-path: stat {}", path.display()), error);
    let data = path.metadata().map_err(failed)?;
    if data.is_dir() { Ok(()) } else { Err(failed(std::io::ErrorKind::NotADirectory.into())) }
}

fn page_server(text: &str) -> Result<(&str, u16)> {
    let wrong = || Error::invalid("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = inner.unwrap_or(address);
    if address.is_empty() || port.is_empty() {
        return Err(wrong());
    }
    Ok((address, port.parse().map_err(|_| Error::invalid("Invalid port number"))?))
}

fn status_descriptor(number: i32) -> Result<OwnedFd> {
    let invalid = |errno| Error::system(format!("invalid --status-fd argument {number}"), errno);
    let descriptor = adopt_descriptor(number).map_err(invalid)?;
    if fcntl_getfl(&descriptor).map_err(invalid)?.intersects(OFlags::WRONLY | OFlags::RDWR) {
        return Ok(descriptor);
    }
    Err(Error::invalid(format!("invalid --status-fd argument {number}: not writable")))
}

/// CRIU has ended the processes; one that was frozen has yet to notice.
fn bury(container: &Container) -> Result<()> {
    let hierarchies = Hierarchies::detect()?;
    let group = container.record.group.as_deref();
    group.map_or(Ok(()), |group| cgroup::thaw(&hierarchies, group))?;
    clean(container);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_servers_have_an_address_and_a_port() {
        assert_eq!(page_server("10.0.0.1:27").expect("valid"), ("10.0.0.1", 27));
        assert_eq!(page_server("[::1]:27").expect("valid"), ("::1", 27));
        for wrong in ["", "host", "host:", ":1", "host:x", "host:65536"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }
}
