//! Running from a copy of the own program that nobody can write to (CVE-2019-5736).
//!
//! A container's first process, and one that joins a container, is for a while a copy of this process, and whoever
//! is inside may open its program through `/proc`. Through a read-only mount of its own that program is of no use to
//! an attacker. `state`, `kill`, `delete` and the like start nothing inside and need none of this.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use holm_runtime::{Error, Result};
use holm_sys::Errno;
use holm_sys::exec::{StringArray, execute_in_own_environment};
use holm_sys::mount::clone_read_only;
use holm_sys::rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, fstatvfs,
    memfd_create, open,
};

const OWN_PROGRAM: &str = "/proc/self/exe";
/// Commands that start a process in a container.
const STARTERS: [&str; 4] = ["create", "run", "exec", "restore"];

/// Sees to it that a process which starts something in a container cannot be written to through it: executes the own
/// program again, from a copy, unless this is one.
pub fn ensure(words: &[OsString]) -> Result<()> {
    let starts = words.iter().skip(1).any(|word| STARTERS.iter().any(|starter| word == starter));
    if starts { protect().map_err(failed) } else { Ok(()) }
}

fn failed(errno: Errno) -> Error {
    Error::system("make a read-only copy of the runtime's own program", errno)
}

fn protect() -> std::result::Result<(), Errno> {
    // Found once: the first look at a process in `/proc` is one of the dearer calls of a command.
    let own = open(OWN_PROGRAM, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if is_protected(own.as_fd()) {
        return Ok(());
    }
    let program = match clone_read_only(own.as_fd(), c"") {
        // Without rights to mount, memory will do.
        Err(Errno::PERM | Errno::NOSYS) => sealed_memory(own)?,
        other => other?,
    };
    let words = std::env::args_os().map(OsString::into_vec);
    let words = StringArray::new(words).expect("arguments of a process hold no NUL byte");
    Err(execute_in_own_environment(program.as_fd(), &words))
}

/// Whether a program lies on a read-only mount, or in memory that is sealed.
fn is_protected(program: BorrowedFd<'_>) -> bool {
    let read_only = fstatvfs(program).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    read_only || fcntl_get_seals(program).is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

fn sealed_memory(own: OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    let memory = memfd_create("holm-runtime", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let copy = || -> std::io::Result<()> {
        let mut to = std::fs::File::from(memory.try_clone()?);
        std::io::copy(&mut std::fs::File::from(own), &mut to).map(drop)
    };
    copy().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}
