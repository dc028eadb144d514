//! Watching over keepers: one that is killed is missed at once, not only by the next command.
//!
//! A keeper's process is found by its socket, whose other end the kernel names (unix(7), `SO_PEERCRED`), and watched by a
//! pidfd; new sandboxes are seen by inotify.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use holm_spec::layout::{SOCKET_NAME, SandboxPaths};
use holm_sys::file::ensure_directory;
use holm_sys::lock::{Lock, Mode};
use holm_sys::process::read_signal;
use holm_sys::socket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::{Engine, Error, Kind, Result};

/// Until a sandbox without a keeper is looked at again, half of the first time and at most.
const SOON: Duration = Duration::from_millis(25);
const LATER: Duration = Duration::from_secs(60);

/// The keepers of one installation.
#[derive(Debug)]
pub struct Supervisor<'e> {
    engine: &'e Engine,
    watch: OwnedFd,
    /// Sandboxes and the processes of their keepers.
    keepers: BTreeMap<OsString, OwnedFd>,
    /// How long it waits for those that are missing.
    pause: Duration,
    _lock: Lock,
}

impl Engine {
    /// Begins to watch over the keepers. One process does at a time.
    ///
    /// # Errors
    /// [`Kind::Locked`] if one does; the sandboxes cannot be watched.
    pub fn supervisor(&self) -> Result<Supervisor<'_>> {
        let directory = self.layout.sandboxes();
        let failed = |error: std::io::Error| Error::io(format!("watch `{}`", directory.display()), error);
        let lock = Lock::try_acquire(&self.layout.service_lock(), Mode::Exclusive)?;
        let lock =
            lock.ok_or_else(|| Error::new(Kind::Locked, "watch over the workloads: another process does"))?;
        ensure_directory(&directory, 0o700).map_err(failed)?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let watch = watch.map_err(|errno| failed(errno.into()))?;
        let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        inotify::add_watch(&watch, &directory, flags).map_err(|errno| failed(errno.into()))?;
        Ok(Supervisor { engine: self, watch, keepers: BTreeMap::new(), pause: SOON, _lock: lock })
    }
}

impl Supervisor<'_> {
    /// Waits until something is to be put right, and does that; what it was. Nothing when one of `signals`
    /// ([`crate::signals`]) tells to end.
    ///
    /// # Errors
    /// What waiting and repairing report.
    pub fn next_repair(&mut self, signals: BorrowedFd<'_>) -> Result<Option<Vec<String>>> {
        loop {
            // One that was just started does not listen yet, and nothing tells when it does.
            let complete = self.find_keepers()?;
            self.pause = if complete { SOON } else { (self.pause * 2).min(LATER) };
            let patience = (!complete).then(|| Timespec::try_from(self.pause).ok()).flatten();
            let mut ready = vec![
                PollFd::from_borrowed_fd(signals, PollFlags::IN),
                PollFd::new(&self.watch, PollFlags::IN),
            ];
            ready.extend(self.keepers.values().map(|keeper| PollFd::new(keeper, PollFlags::IN)));
            match poll(&mut ready, patience.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::io("wait for keepers", errno)),
            }
            if !ready[0].revents().is_empty() && read_signal(signals).is_some() {
                return Ok(None);
            }
            let ended = patience.is_some() || ready[2..].iter().any(|keeper| !keeper.revents().is_empty());
            drop(ready);
            let mut told = [0; 4096];
            while rustix::io::read(&self.watch, &mut told).is_ok_and(|length| length > 0) {}
            if ended {
                let repaired = self.engine.repair()?;
                if !repaired.is_empty() {
                    return Ok(Some(repaired));
                }
            }
        }
    }

    /// Finds the keepers of sandboxes that are new, and forgets those that have ended; whether every sandbox has one.
    fn find_keepers(&mut self) -> Result<bool> {
        let has_ended = |keeper: &OwnedFd| {
            let now = Timespec::default();
            poll(&mut [PollFd::new(keeper, PollFlags::IN)], Some(&now)) != Ok(0)
        };
        self.keepers.retain(|_, keeper| !has_ended(keeper));
        let mut complete = true;
        let directory = self.engine.layout.sandboxes();
        let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
        for entry in std::fs::read_dir(&directory).map_err(failed)?.flatten() {
            let name = entry.file_name();
            if self.keepers.contains_key(&name) || name.to_string_lossy().starts_with('.') {
                continue;
            }
            match keeper_of(&SandboxPaths { dir: entry.path() }) {
                Some(keeper) => drop(self.keepers.insert(name, keeper)),
                None => complete = false,
            }
        }
        Ok(complete)
    }
}

/// The process that listens in a sandbox; nothing where none does, or does not yet: it is its lock that counts then.
fn keeper_of(paths: &SandboxPaths) -> Option<OwnedFd> {
    let connection = socket::connect_packets(&paths.dir, SOCKET_NAME).ok()?;
    let pid = socket::peer_pid(connection.as_fd()).ok()?;
    pidfd_open(rustix::process::Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}
