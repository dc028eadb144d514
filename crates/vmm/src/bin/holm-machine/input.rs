//! Standard streams of this process: they become those of a process in the guest.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::keeper::WindowSize;
use holm_sys::Errno;
use holm_vmm::{Error, Result};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};

/// Standard input, output and error.
#[derive(Debug)]
pub struct Streams {
    /// Absent if nothing is to be read.
    pub stdin: Option<OwnedFd>,
    /// Standard output, or the terminal.
    pub stdout: OwnedFd,
    /// Absent with a terminal.
    pub stderr: Option<OwnedFd>,
}

impl Streams {
    /// Copies of this process's streams; a terminal only carries bytes from now on.
    pub fn take(wants_stdin: bool, tty: bool) -> Result<Self> {
        let failed = |errno: Errno| Error::caused("take the standard streams", errno);
        let copy = |stream: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(stream, 3).map_err(failed);
        let (stdin, stdout, stderr) = (copy(stdin())?, copy(stdout())?, copy(stderr())?);
        if tty {
            make_raw(stdin.as_fd()).map_err(failed)?;
        }
        Ok(Self { stdin: wants_stdin.then_some(stdin), stdout, stderr: (!tty).then_some(stderr) })
    }
}

/// Makes reads and writes return at once.
pub fn set_nonblocking(stream: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    fcntl_setfl(stream, fcntl_getfl(stream)? | OFlags::NONBLOCK)
}

/// The guest's terminal does what terminals do; this one only carries bytes.
fn make_raw(terminal: BorrowedFd<'_>) -> std::result::Result<(), Errno> {
    let mut attributes = tcgetattr(terminal)?;
    attributes.make_raw();
    tcsetattr(terminal, OptionalActions::Now, &attributes)
}

/// The size of a terminal.
pub fn window(terminal: BorrowedFd<'_>) -> Option<WindowSize> {
    let size = tcgetwinsize(terminal).ok()?;
    Some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}
