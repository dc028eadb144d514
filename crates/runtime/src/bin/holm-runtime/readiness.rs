//! Readiness of a container's program (sd_notify(3)), handed on to whoever waits for it at `$NOTIFY_SOCKET`.
//!
//! ```text
//! create   <container>/notify/ is mounted on /run/notify, and the program is told of a socket in it
//! start    makes the socket, and waits until READY=1 comes or the process ends
//! run      makes it, and waits for it beside the process; with --detach as start
//! ```
//! What a container sends is trusted in nothing: of its messages a line that says READY=1 goes on, once, in words of
//! this process's own. Descriptors that come along are closed by the kernel.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use holm_runtime::state::{Claim, Container};
use holm_runtime::{Error, Result};
use holm_spec::runtime::{MountBuilder, Spec};
use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
use holm_sys::rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};
use holm_sys::rustix::pipe::{PipeFlags, pipe_with};
use holm_sys::rustix::process::umask;
use holm_sys::{Errno, socket};

use crate::talk;

/// The variable that names the socket, outside and inside.
const VARIABLE: &str = "NOTIFY_SOCKET";
/// Where the container finds the directory of its socket.
const PLACE: &str = "/run/notify";
const NAME: &str = "notify.sock";
/// Longest message that is looked at, in bytes; systemd's own limit is the same.
const MESSAGE_LIMIT: usize = 4096;
/// How many messages are taken before anything else is looked at: more than a socket holds, and an end.
const AT_ONCE: usize = 1024;
/// How long the receiver outside may take for a message.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Gives a container that is being made a place for its socket, if anybody waits for its readiness.
pub fn prepare(spec: &mut Spec, claim: &Claim) -> Result<()> {
    if asked().is_none() {
        return Ok(());
    }
    let directory = claim.make_notify()?;
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    let mount = MountBuilder::default().destination(PLACE).source(directory).typ("bind").options(options);
    let mount = mount.build().map_err(|error| Error::invalid(error.to_string()))?;
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    mounts.push(mount);
    spec.set_mounts(Some(mounts));
    if let Some(process) = spec.process_mut() {
        let mut environment = process.env().clone().unwrap_or_default();
        environment.retain(|entry| entry.split('=').next() != Some(VARIABLE));
        environment.push(format!("{VARIABLE}={PLACE}/{NAME}"));
        process.set_env(Some(environment));
    }
    Ok(())
}

fn asked() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}

/// The container's socket, and who is told.
pub struct Readiness {
    socket: UnixDatagram,
    host: OsString,
    has_told: bool,
}

impl Readiness {
    /// Makes the socket of a container that is about to start; `None` if nobody waits, or nobody did when it was
    /// created.
    pub fn listen(container: &Container) -> Result<Option<Self>> {
        let Some(host) = asked() else { return Ok(None) };
        let path = container.notify();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = match open(&path, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => {
                other.map_err(|errno| Error::system(format!("open directory `{}`", path.display()), errno))?
            }
        };
        let socket = bind(&directory)
            .map_err(|error| Error::system(format!("make socket `{}`", path.join(NAME).display()), error))?;
        Ok(Some(Self { socket, host, has_told: false }))
    }

    /// Waits until the program is ready or its process has ended, and hands that on: `pid` is the service then, and this
    /// process will be gone.
    pub fn wait(mut self, pidfd: BorrowedFd<'_>, pid: i32) -> Result<()> {
        loop {
            let mut ready =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::system("wait for the container's readiness", errno)),
            }
            let has_ended = !ready[1].revents().is_empty();
            self.take(pid, Receiver::barrier);
            if self.has_told || has_ended {
                return Ok(());
            }
        }
    }

    /// Takes what has come; the service is this process, which stays and keeps the socket, so that nothing the program
    /// says later fails.
    pub fn hand_on(&mut self) {
        self.take(std::process::id().cast_signed(), |_| Ok(()));
    }

    fn take(&mut self, pid: i32, then: impl Fn(&Receiver) -> io::Result<()>) {
        let mut message = [0; MESSAGE_LIMIT + 1];
        for _ in 0..AT_ONCE {
            let Ok(length) = self.socket.recv(&mut message) else { return };
            if !self.has_told && says_ready(&message[..length]) {
                self.has_told = true;
                self.tell(pid, &then);
            }
        }
    }

    /// A service works without anybody who hears of it, so a failure is told and no more.
    fn tell(&self, pid: i32, then: impl Fn(&Receiver) -> io::Result<()>) {
        let told = Receiver::connect(&self.host)
            .and_then(|receiver| receiver.send(pid).and_then(|()| then(&receiver)));
        if let Err(error) = told {
            let host = self.host.to_string_lossy();
            talk::warn(&format!("the readiness of the container was not told to `{host}`: {error}"));
        }
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The program may be any user, so everybody may write. No mode is changed by name afterwards: whoever has rights enough
/// inside could have put a link there.
fn bind(directory: &OwnedFd) -> io::Result<UnixDatagram> {
    // One that was killed may have left it.
    let _ = unlinkat(directory, NAME, AtFlags::empty());
    let before = umask(Mode::empty());
    // Through the descriptor, since an address holds 108 bytes.
    let socket = UnixDatagram::bind(format!("/proc/self/fd/{}/{NAME}", directory.as_raw_fd()));
    umask(before);
    let socket = socket?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether a message has that line. One that is longer than it may be says nothing.
fn says_ready(message: &[u8]) -> bool {
    message.len() <= MESSAGE_LIMIT && message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// Whoever waits outside.
struct Receiver(UnixDatagram);

impl Receiver {
    fn connect(host: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(host)?)?;
        socket.set_write_timeout(Some(Duration::from_secs(PATIENCE.tv_sec.unsigned_abs())))?;
        Ok(Self(socket))
    }

    /// One message, so that nobody sees a service that is ready with another process.
    fn send(&self, pid: i32) -> io::Result<()> {
        self.0.send(format!("READY=1\nMAINPID={pid}\n").as_bytes()).map(drop)
    }

    /// Waits until all was read (sd_notify_barrier(3)): of a sender that is gone systemd cannot tell which service it
    /// belonged to. A receiver that knows no barriers is not waited for without end.
    fn barrier(&self) -> io::Result<()> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        socket::send_descriptor(self.0.as_fd(), b"BARRIER=1", theirs.as_fd())?;
        drop(theirs);
        poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&PATIENCE))?;
        Ok(())
    }
}

/// A path, or a name that no directory holds (unix(7)) after an `@`.
fn address(host: &OsStr) -> io::Result<SocketAddr> {
    match host.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(Path::new(host)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no address of a socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_line_says_it() {
        for message in ["READY=1", "READY=1\n", "STATUS=up\nREADY=1", "READY=1\nMAINPID=1\n"] {
            assert!(says_ready(message.as_bytes()), "{message}");
        }
        for message in ["", "READY=0", "READY=10", "XREADY=1", "READY=1 ", "STATUS=READY=1", "READY=1\0"] {
            assert!(!says_ready(message.as_bytes()), "{message}");
        }
        let long = [b"READY=1\n".as_slice(), &[b'x'; MESSAGE_LIMIT]].concat();
        assert!(!says_ready(&long));
    }

    #[test]
    fn addresses_are_paths_or_abstract() {
        let path = address(OsStr::new("/run/systemd/notify")).expect("a path");
        assert_eq!(path.as_pathname(), Some(Path::new("/run/systemd/notify")));
        let name = address(OsStr::new("@org/notify")).expect("a name");
        assert_eq!(name.as_abstract_name(), Some(b"org/notify".as_slice()));
        for other in ["", "notify", "vsock:2:1"] {
            assert!(address(OsStr::new(other)).is_err(), "{other}");
        }
        assert!(address(OsStr::new(&format!("/{}", "x".repeat(200)))).is_err());
    }
}
