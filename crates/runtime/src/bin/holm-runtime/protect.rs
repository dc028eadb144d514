//! Running from a copy of the own program that nobody can write to (CVE-2019-5736).
//!
//! A container's first process, and one that joins a container, is for a while a copy of this process, and whoever
//! is inside may open its program through `/proc`. Through a read-only mount of its own that program is of no use to
//! an attacker. `state`, `kill`, `delete` and the like start nothing inside and need none of this.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use holm_runtime::{Error, Result};
use holm_sys::Errno;
use holm_sys::exec::{StringArray, execute_descriptor};
use holm_sys::mount::clone_read_only;
use holm_sys::rustix::fs::{
    MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, fcntl_get_seals, memfd_create,
    open, statvfs,
};

const OWN_PROGRAM: &str = "/proc/self/exe";
/// Commands that start a process in a container.
const STARTERS: [&str; 4] = ["create", "run", "exec", "restore"];

/// Whether this command line starts a process in a container, and this process could be written to through it.
pub fn is_needed(words: &[OsString]) -> bool {
    let starts = words.iter().skip(1).any(|word| STARTERS.iter().any(|starter| word == starter));
    starts && !is_protected()
}

/// Whether the own program lies on a read-only mount, or in memory that is sealed.
fn is_protected() -> bool {
    let read_only = statvfs(OWN_PROGRAM).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
    read_only
        || open(OWN_PROGRAM, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|program| fcntl_get_seals(&program))
            .is_ok_and(|seals| seals.contains(SealFlags::WRITE))
}

/// Executes the own program again, from a copy; comes back only with an error.
pub fn run_from_read_only_copy() -> Result<()> {
    let failed = |errno| Error::system("make a read-only copy of the runtime's own program", errno);
    let program = match clone_read_only(c"/proc/self/exe") {
        // Without rights to mount, memory will do.
        Err(Errno::PERM | Errno::NOSYS) => sealed_memory().map_err(failed)?,
        other => other.map_err(failed)?,
    };
    let words = std::env::args_os().map(OsString::into_vec);
    let environment =
        std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    let no_nul = "arguments and environment of a process hold no NUL byte";
    let (words, environment) =
        (StringArray::new(words).expect(no_nul), StringArray::new(environment).expect(no_nul));
    Err(failed(execute_descriptor(program.as_fd(), &words, &environment)))
}

fn sealed_memory() -> std::result::Result<OwnedFd, Errno> {
    let memory = memfd_create("holm-runtime", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let copy = || -> std::io::Result<()> {
        let mut from = std::fs::File::open(OWN_PROGRAM)?;
        let mut to = std::fs::File::from(memory.try_clone()?);
        std::io::copy(&mut from, &mut to).map(drop)
    };
    copy().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}
