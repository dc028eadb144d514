//! Replacing the process image, with everything allocated beforehand.
#![expect(unsafe_code, reason = "execve takes arrays of pointers")]

use std::ffi::{CStr, CString, NulError};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::Errno;

use crate::process::last_errno;

/// A null-terminated array of C strings, as `execve` takes for arguments and environment.
#[derive(Debug)]
pub struct StringArray {
    strings: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

impl StringArray {
    /// Copies the strings; one that holds a NUL byte is an error.
    pub fn new<S: AsRef<[u8]>>(strings: impl IntoIterator<Item = S>) -> Result<Self, NulError> {
        let strings: Vec<CString> =
            strings.into_iter().map(|string| CString::new(string.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self::from_c_strings(strings))
    }

    /// Takes the strings.
    pub fn from_c_strings(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { strings, pointers }
    }

    /// The strings.
    pub fn strings(&self) -> &[CString] {
        &self.strings
    }
}

/// Starts a command whose process runs `prepare` just before it executes.
///
/// `prepare` must do nothing but what may be called in a child: it allocates nothing and takes no lock.
pub fn spawn_with(command: &mut Command, prepare: fn()) -> io::Result<Child> {
    let prepare = move || {
        prepare();
        Ok(())
    };
    // SAFETY: the caller promises that `prepare` is fit for a child between fork and exec.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Starts a command whose process enters namespaces of the process behind `target`, and a directory there, before
/// it executes.
pub fn spawn_inside(
    command: &mut Command,
    target: BorrowedFd<'_>,
    namespaces: rustix::thread::ThreadNameSpaceType,
    directory: CString,
) -> io::Result<Child> {
    let target = target.as_raw_fd();
    let prepare = move || {
        // SAFETY: the descriptor is open in the child, a copy of this process, and the caller keeps it so.
        let target = unsafe { BorrowedFd::borrow_raw(target) };
        rustix::thread::move_into_thread_name_spaces(target, namespaces)?;
        Ok(rustix::process::chdir(directory.as_c_str())?)
    };
    // SAFETY: two system calls are all that runs between fork and exec.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Replaces the process image; returns only if that failed. May be called in a child.
pub fn execute(path: &CStr, arguments: &StringArray, environment: &StringArray) -> Errno {
    // SAFETY: both arrays end with a null pointer and their strings live as long as they do.
    unsafe { libc::execve(path.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr()) };
    last_errno()
}

/// Replaces the process image with the file behind a descriptor; returns only if that failed.
/// May be called in a child.
pub fn execute_descriptor(file: BorrowedFd<'_>, arguments: &StringArray, environment: &StringArray) -> Errno {
    // SAFETY: as for `execute`; an empty path with AT_EMPTY_PATH names the descriptor.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.pointers.as_ptr(),
            environment.pointers.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}
