//! Seccomp: from a profile to a program that the kernel takes, without libseccomp.
//!
//! ```text
//! default_profile ───────────────┐
//! profile (Docker's JSON) ─ OCI ─┴─> filter ──> plan ──> compile ──> Program ──> holm_sys::seccomp::install
//!                          document            (numbers,  (BPF)        │ ▲
//!                                               answers)               cache
//! ```
//! Everything up to the [`Program`] happens before the container's first process exists and may allocate;
//! installing it does not, so the child does it between `clone` and `exec`. It needs `no_new_privs` or
//! `CAP_SYS_ADMIN` at that moment.
//!
//! Policy is libseccomp's and runc's (see [`filter`]), so documents written for them mean the same here.
//!
//! Invariant: the program answers every call of every architecture exactly as the filter says. The tests
//! run programs in an interpreter and compare them with a direct evaluation, for default, Docker-format
//! and random filters, and ask the kernel itself.

mod architecture;
mod assembler;
pub mod cache;
mod compile;
pub mod default_profile;
mod environment;
mod error;
pub mod filter;
mod multiplex;
mod oci;
mod plan;
mod profile;
mod syscalls;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use architecture::Architecture;
pub use compile::{Program, compile};
pub use environment::{Environment, KernelVersion, capability};
pub use error::{Error, Kind};
pub use filter::Filter;
pub use profile::Profile;
pub use syscalls::Syscall;

/// The program of Holm's default profile for a container whose bounding set is `capabilities` (bit n is
/// capability n), on this machine; from `cache` if there is one that has it, else kept there.
///
/// # Errors
/// [`Kind::Kernel`] if the kernel's release is not a version. A cache that cannot be written is no error:
/// the next start compiles again.
pub fn default_program(capabilities: u64, cache: Option<&Path>) -> Result<Program, Error> {
    let environment = Environment::here(capabilities)?;
    let make = || compile(&default_profile::filter(&environment), environment.architecture);
    let Some(directory) = cache else { return make() };
    let key = cache::Key::of_default_profile(&environment);
    if let Some(program) = cache::load(directory, &key) {
        return Ok(program);
    }
    let program = make()?;
    // The program is good without a cache, and a start must not fail for want of one.
    let _ = cache::store(directory, &key, &program);
    Ok(program)
}
