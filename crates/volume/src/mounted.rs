//! Volumes that are file systems: mounted once for all who use them, while somebody does.
//!
//! The mount lies below the run root (`spec::layout`), not where other volumes have their data: removing a volume walks
//! through that, and must not meet what is somebody else's. Who uses it holds a share (`holm_sys::shared_mount`), and the last
//! one out unmounts, as with the layers of images. What a killed user leaves, a repair unmounts.
//!
//! A workload that lost its keeper has its volumes without a share, until another keeper takes it over. To unmount a tmpfs then
//! would part it from all who come later, so a mount stays while there is the run directory of a sandbox that has the volume:
//! for the last one out if nobody holds its lock, for a repair in any case.

use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;

use holm_spec::Id;
use holm_spec::layout::{SandboxPaths, SharedPaths};
use holm_spec::volume::Volume;
use holm_sys::fail_point;
use holm_sys::file::ensure_directory;
use holm_sys::lock::{Lock, Mode};
use holm_sys::mount;
use holm_sys::shared_mount::SharedMount;

use crate::Volumes;
use crate::error::{Error, Kind, Result};
use crate::options::{Asked, FileSystem};
use crate::volumes::{DIRECTORY_MODE, names_in};

/// A use of a volume's mount. Dropping it gives up the use, and unmounts if it was the last.
#[derive(Debug)]
pub struct Share {
    mount: Option<SharedMount>,
    volumes: Volumes,
    name: String,
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(mount) = self.mount.take() else { return };
        mount.give_up_unless(|| self.volumes.is_in_sandbox(&self.name, lost_its_keeper));
    }
}

impl Volumes {
    /// Takes a share of a volume's mount, if it is a file system; it is mounted if nobody has.
    ///
    /// # Errors
    /// It cannot be mounted: what the kernel says. [`Kind::Locked`] if another process does not get done with that.
    pub fn share(&self, volume: &Volume) -> Result<Option<Share>> {
        if !volume.is_file_system() {
            return Ok(None);
        }
        let about = || format!("mount volume `{}`", volume.name);
        let asked = Asked::parse(&volume.options)
            .map_err(|why| Error::new(Kind::Invalid, format!("{}: {why}", about())))?;
        let Asked::FileSystem(asked) = asked else { return Ok(None) };
        let paths = self.layout.volume_mount(&volume.name);
        ensure_directory(&paths.dir, DIRECTORY_MODE).map_err(|error| Error::io(about(), error))?;
        let what = format!("volume `{}`", volume.name);
        let share = SharedMount::acquire_made(&what, &paths.lock(), &paths.root(), &|| make(&asked));
        let share = share.map_err(Error::of_mount)?;
        fail_point::reached("file-system-mounted");
        Ok(Some(self.share_of(&volume.name, share)))
    }

    /// Takes a share of the mount of the volume of that name again, for a workload that has it already; none if it is not mounted.
    pub fn share_again(&self, name: &str) -> Option<Share> {
        let paths = self.layout.volume_mount(name);
        let mount = paths.dir.exists().then(|| SharedMount::rejoin(&paths.lock(), &paths.root())).flatten();
        mount.map(|mount| self.share_of(name, mount))
    }

    fn share_of(&self, name: &str, mount: SharedMount) -> Share {
        Share { mount: Some(mount), volumes: Self::new(&self.layout), name: name.to_owned() }
    }

    /// Whether there is the run directory of a sandbox that has a volume, and is as asked.
    fn is_in_sandbox(&self, name: &str, is_meant: fn(&SandboxPaths) -> bool) -> bool {
        let names = names_in(&self.layout.sandboxes()).unwrap_or_default();
        let mut ids = names.iter().filter_map(|name| name.parse::<Id>().ok());
        // One that does not tell may have any.
        ids.any(|id| is_meant(&self.layout.sandbox(&id)) && self.has(&id, name).unwrap_or(true))
    }

    /// Unmounts file systems that nobody uses, as a crash leaves them; how many. Waits for no server.
    pub(crate) fn reclaim(&self) -> Result<usize> {
        let names = names_in(&self.layout.volume_mounts())?;
        let reclaimed = names.iter().filter(|name| {
            let paths = self.layout.volume_mount(name);
            let is_unmounted = !matches!(mount::is_mount_point(&paths.root()), Ok(true));
            if is_unmounted || self.is_in_sandbox(name, |_| true) {
                return false;
            }
            matches!(SharedMount::reclaim(&paths.lock(), &paths.root()), Ok(true))
        });
        Ok(reclaimed.count())
    }

    /// Unmounts a volume that is to go; whether it is not mounted any more. Somebody may be reading it into an archive.
    pub(crate) fn unmount(&self, name: &str) -> bool {
        let paths = self.layout.volume_mount(name);
        if paths.dir.exists() {
            let _ = SharedMount::reclaim(&paths.lock(), &paths.root());
        }
        !matches!(mount::is_mount_point(&paths.root()), Ok(true))
    }

    /// Forgets where a volume was mounted that is gone.
    pub(crate) fn forget_mount(&self, name: &str) {
        let paths = self.layout.volume_mount(name);
        if paths.dir.exists() {
            remove_place(&paths);
        }
    }
}

/// Whether nobody holds the lock of a sandbox that is there.
fn lost_its_keeper(sandbox: &SandboxPaths) -> bool {
    let lock = sandbox.dir.join("lock");
    lock.exists() && matches!(Lock::try_acquire(&lock, Mode::Shared), Ok(Some(_)))
}

/// Only directories that are empty: what is mounted stays.
fn remove_place(paths: &SharedPaths) {
    let Ok(Some(_held)) = Lock::try_acquire(&paths.lock(), Mode::Exclusive) else { return };
    if std::fs::remove_dir(paths.root()).is_ok() {
        let _ = std::fs::remove_file(paths.lock());
        let _ = std::fs::remove_dir(&paths.dir);
    }
}

fn make(asked: &FileSystem) -> io::Result<OwnedFd> {
    let address = asked.server.as_deref().map(resolve).transpose()?.map(|address| address.to_string());
    let mut options: Vec<(&str, Option<&str>)> =
        asked.options.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
    options.extend(address.iter().map(|address| ("addr", Some(address.as_str()))));
    let made = holm_sys::file_system::mount(&asked.kind, &options, asked.attributes)?;
    fail_point::reached("file-system-made");
    Ok(made)
}

/// The kernel wants a server's address.
fn resolve(host: &str) -> io::Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let failed = |why: &dyn std::fmt::Display| {
        io::Error::other(format!(
            "find the address of `{host}`: {why}; addr=ADDRESS says it without a question"
        ))
    };
    let mut found = (host, 0).to_socket_addrs().map_err(|error| failed(&error))?;
    found.next().map(|address| address.ip()).ok_or_else(|| failed(&"it has none"))
}
