//! The workload's terminal: made in its own devpts, so that its name is right inside.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use holm_spec::keeper::WindowSize;
use holm_sys::rustix::fs::{OFlags, ResolveFlags, Uid, fchown};
use holm_sys::rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use holm_sys::rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};
use holm_sys::{in_root, mount, socket};

use super::mounts::check_device;
use crate::process::NewTerminal;
use crate::step::{At, Failure, Step, TERMINAL};

/// Opens a new terminal in the devpts below `root`, sends the master to the parent and gives the
/// slave, which belongs to `owner` so that the program may open it again.
pub(super) fn open(
    root: BorrowedFd<'_>,
    new: NewTerminal,
    owner: u32,
    sync: BorrowedFd<'_>,
) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let handle =
        in_root::open(root, c"/dev/pts/ptmx", OFlags::PATH, ResolveFlags::empty()).at(Step::OpenTerminal)?;
    check_device(handle.as_fd(), 5, 2).at(Step::OpenTerminal)?;
    let master =
        in_root::open(root, c"/dev/pts/ptmx", flags, ResolveFlags::empty()).at(Step::OpenTerminal)?;
    check_device(master.as_fd(), 5, 2).at(Step::OpenTerminal)?;
    unlockpt(&master).at(Step::OpenTerminal)?;
    if let Some(WindowSize { rows, columns }) = new.window {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).at(Step::OpenTerminal)?;
    }
    let peer = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, peer).at(Step::OpenTerminal)?;
    fchown(&slave, Some(Uid::from_raw(owner)), None).at(Step::OpenTerminal)?;
    if new.plain_output {
        let mut modes = tcgetattr(&slave).at(Step::OpenTerminal)?;
        modes.output_modes.remove(OutputModes::ONLCR);
        tcsetattr(&slave, OptionalActions::Now, &modes).at(Step::OpenTerminal)?;
    }
    socket::send_descriptor(sync, TERMINAL, master.as_fd()).at(Step::SendTerminal)?;
    Ok(slave)
}

/// Puts the terminal on `/dev/console`, which was made for it.
pub(super) fn mount_console(root: BorrowedFd<'_>, slave: BorrowedFd<'_>) -> Result<(), Failure> {
    let target = match in_root::open(root, c"/dev/console", OFlags::PATH, ResolveFlags::NO_SYMLINKS) {
        // Without a `/dev` of ours there is no place for it.
        Err(holm_sys::Errno::NOENT) => return Ok(()),
        other => other.at(Step::Console)?,
    };
    let tree = mount::clone_tree(slave, c"", false).at(Step::Console)?;
    mount::attach(tree.as_fd(), target.as_fd()).at(Step::Console)
}
