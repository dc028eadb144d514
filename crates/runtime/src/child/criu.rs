//! CRIU's process, from `clone` to its program: into the container's control groups, and, where it restores, into a
//! mount namespace of its own in which the container's root is a mount. Nothing of that is left when it has ended.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_sys::exec::{StringArray, execute};
use holm_sys::rustix::fs::{CWD, Mode, OFlags, openat};
use holm_sys::rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use holm_sys::{interface, process, socket};

use super::{enter_groups, mounts, report};
use crate::rootfs::RootPlan;
use crate::step::{At, Failure, SOCKET, Step};

/// A detached mount, and a directory of the host to attach it on.
#[derive(Debug)]
pub(crate) struct Tree {
    pub tree: OwnedFd,
    pub place: CString,
}

/// Everything that CRIU's process needs.
#[derive(Debug)]
pub(crate) struct Criu<'a> {
    pub program: &'a CStr,
    pub arguments: &'a StringArray,
    pub environment: &'a StringArray,
    /// Its standard streams.
    pub streams: [BorrowedFd<'a>; 3],
    /// Its number is that of the socket on which it is told what to do.
    pub socket: BorrowedFd<'a>,
    /// Directories, opened again at the same numbers: CRIU mounts in them, which it can in its own namespace only.
    pub directories: &'a [(BorrowedFd<'a>, CString)],
    /// Other descriptors that it gets.
    pub handed: &'a [OwnedFd],
    /// Entrances of the v1 groups.
    pub groups: &'a [OwnedFd],
    /// What is mounted in its own mount namespace, if it has one.
    pub trees: &'a [Tree],
    pub sync: BorrowedFd<'a>,
    /// Descriptors that the steps need, ascending.
    pub kept: &'a [i32],
}

impl Criu<'_> {
    /// Runs in the child.
    pub fn run(&self) -> i32 {
        report(self.sync, self.steps())
    }

    fn steps(&self) -> Result<std::convert::Infallible, Failure> {
        process::close_all_but(self.kept).at(Step::CloseDescriptors)?;
        process::reset_signals();
        enter_groups(self.groups)?;
        if !self.trees.is_empty() {
            mounts::part_from_host()?;
        }
        for Tree { tree, place } in self.trees {
            mounts::attach_at(tree.as_fd(), place)?;
        }
        for (number, stream) in (0..).zip(self.streams) {
            process::place_descriptor(stream, number).at(Step::Stdio)?;
        }
        for descriptor in self.handed {
            process::keep_over_exec(descriptor).at(Step::Stdio)?;
        }
        self.open_directories()?;
        self.open_socket()?;
        Err(execute(self.program, self.arguments, self.environment)).at(Step::Execute)
    }
}

impl Criu<'_> {
    fn open_directories(&self) -> Result<(), Failure> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        for (place, path) in self.directories {
            let directory = openat(CWD, path.as_c_str(), flags, Mode::empty()).at(Step::OpenDirectory)?;
            process::place_descriptor(directory.as_fd(), place.as_raw_fd()).at(Step::OpenDirectory)?;
        }
        Ok(())
    }

    /// CRIU looks for descriptors in whoever made its socket: so it is this process, which has the directories.
    fn open_socket(&self) -> Result<(), Failure> {
        let (theirs, ours) = socket::packet_pair().at(Step::SendSocket)?;
        process::place_descriptor(ours.as_fd(), self.socket.as_raw_fd()).at(Step::SendSocket)?;
        socket::send_descriptor(self.sync, SOCKET, theirs.as_fd()).at(Step::SendSocket)
    }
}

/// A process that mounts everything as the container's first one would and ends: what is left are the mount points
/// that the root did not have. CRIU mounts on what is there and makes none.
#[derive(Debug)]
pub(crate) struct Rehearsal<'a> {
    pub root: &'a RootPlan,
    pub sync: BorrowedFd<'a>,
    /// Descriptors that the steps need, ascending.
    pub kept: &'a [i32],
}

impl Rehearsal<'_> {
    /// Runs in the child.
    pub fn run(&self) -> i32 {
        match self.steps() {
            Ok(()) => 0,
            Err(failure) => report(self.sync, Err(failure)),
        }
    }

    fn steps(&self) -> Result<(), Failure> {
        process::close_all_but(self.kept).at(Step::CloseDescriptors)?;
        process::reset_signals();
        let root = self.root.root.as_fd();
        mounts::part_from_host()?;
        mounts::attach_at(root, &self.root.place)?;
        mounts::make_all(self.root, root, None)?;
        mounts::make_devices(self.root, root)
    }
}

/// Sets the loopback interface up in the network of another process; an exit code. Runs in the child.
pub(crate) fn set_loopback_up(target: BorrowedFd<'_>) -> i32 {
    let entered = move_into_thread_name_spaces(target, ThreadNameSpaceType::NETWORK);
    i32::from(entered.and_then(|()| interface::set_loopback_up()).is_err())
}
