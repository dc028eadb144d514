//! Replacing the process image, with everything allocated beforehand.
#![expect(unsafe_code, reason = "execve takes arrays of pointers")]

use std::ffi::{CStr, CString, NulError};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::thread::ThreadNameSpaceType;

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

/// Where a command runs inside a container.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Namespaces of the container's first process to enter.
    pub namespaces: ThreadNameSpaceType,
    /// One of them is a user namespace, whose root the command becomes.
    pub becomes_root: bool,
    /// A directory there.
    pub directory: CString,
}

/// Starts a command whose process is born in namespaces of the process behind `target`. The child that the caller
/// waits for stays outside and ends as that one does; if it is killed, that one is killed, too.
pub fn spawn_inside(command: &mut Command, target: BorrowedFd<'_>, inside: Inside) -> io::Result<Child> {
    let target = target.as_raw_fd();
    let prepare = move || {
        // SAFETY: the descriptor is open in the child, a copy of this process, and the caller keeps it so.
        let target = unsafe { BorrowedFd::borrow_raw(target) };
        rustix::thread::move_into_thread_name_spaces(target, inside.namespaces)?;
        if inside.becomes_root {
            crate::process::become_root(false)?;
        }
        be_born_inside()?;
        Ok(rustix::process::chdir(inside.directory.as_c_str())?)
    };
    // SAFETY: nothing but system calls runs between fork and exec, and the fork in there is of a lone thread.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// A namespace of process ids is for children only. Comes back in the child; this process ends as the child does.
fn be_born_inside() -> Result<(), Errno> {
    // SAFETY: the process has one thread, and what runs in the child until it executes are system calls.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)),
        child => end_as(child),
    }
}

fn end_as(child: libc::pid_t) -> ! {
    // The caller learns by the end of a descriptor that the command was executed.
    let _ = crate::process::close_all_but(&[]);
    let mut status = 0;
    // SAFETY: `status` is valid for writing; the calls end this process as its child ended.
    unsafe {
        while libc::waitpid(child, &raw mut status, 0) == -1 && last_errno() == Errno::INTR {}
        if libc::WIFSIGNALED(status) {
            libc::signal(libc::WTERMSIG(status), libc::SIG_DFL);
            libc::kill(libc::getpid(), libc::WTERMSIG(status));
        }
        libc::_exit(libc::WEXITSTATUS(status))
    }
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
    // SAFETY: as for `execute`.
    unsafe { execute_at(file, arguments, environment.pointers.as_ptr()) }
}

/// As [`execute_descriptor`], with the environment as it is, which is not copied.
pub fn execute_in_own_environment(file: BorrowedFd<'_>, arguments: &StringArray) -> Errno {
    unsafe extern "C" {
        static environ: *const *const libc::c_char;
    }
    // SAFETY: the C library keeps `environ` an array that ends with a null pointer; nobody changes it meanwhile.
    unsafe { execute_at(file, arguments, environ) }
}

/// # Safety
/// `environment` is an array of C strings that ends with a null pointer.
unsafe fn execute_at(
    file: BorrowedFd<'_>,
    arguments: &StringArray,
    environment: *const *const libc::c_char,
) -> Errno {
    let (file, arguments) = (file.as_raw_fd(), arguments.pointers.as_ptr());
    // SAFETY: both arrays end with a null pointer; an empty path with AT_EMPTY_PATH names the descriptor.
    unsafe {
        libc::syscall(libc::SYS_execveat, file, c"".as_ptr(), arguments, environment, libc::AT_EMPTY_PATH)
    };
    last_errno()
}
