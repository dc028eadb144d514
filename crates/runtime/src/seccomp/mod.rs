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

use std::borrow::Cow;
use std::path::Path;

use crate::json_path::value_of;

pub use architecture::Architecture;
pub use cache::DocumentDigest;
pub use compile::{Program, compile};
pub use environment::{Environment, KernelVersion, capability};
pub use error::{Error, Kind};
pub use filter::Filter;
pub use profile::Profile;
pub use syscalls::Syscall;

/// What a container's configuration says of system calls.
#[derive(Clone, Debug)]
pub struct ContainerFilter {
    /// The program.
    pub program: Program,
    /// The agent that it asks.
    pub listener: Option<filter::Listener>,
    /// What it was compiled from, for whoever needs it again.
    pub document: DocumentDigest,
}

/// What is known of a configuration's filter before the configuration is read.
#[derive(Clone, Debug)]
pub struct Foreknown {
    document: DocumentDigest,
    program: Option<Program>,
}

impl From<DocumentDigest> for Foreknown {
    fn from(document: DocumentDigest) -> Self {
        Self { document, program: None }
    }
}

impl Foreknown {
    /// Looks into the text of a configuration. If `cache` has the program of its filter, the rules are taken out of the
    /// text: they are most of it, and nobody needs them. `digest` is that of the filter's document, if it was
    /// computed before.
    pub fn take(text: &mut Cow<'_, [u8]>, digest: Option<DocumentDigest>, cache: &Path) -> Option<Self> {
        let filter = value_of(text, &["linux", "seccomp"])?;
        let document = digest.unwrap_or_else(|| DocumentDigest::of_text(&text[filter.clone()]));
        let program = cache::load(cache, &cache::Key::of_oci(&document));
        if program.is_some()
            && let Some(rules) = value_of(&text[filter.clone()], &["syscalls"])
        {
            let start = filter.start + rules.start;
            text.to_mut().drain(start + 1..filter.start + rules.end - 1);
        }
        Some(Self { document, program })
    }
}

/// The filter of an OCI configuration; `None` if it has none. From `cache` if there is one that has it, else kept
/// there.
///
/// # Errors
/// A document that makes no sense, or a program that is too large.
pub fn container_filter(
    spec: &holm_spec::runtime::Spec,
    known: Option<Foreknown>,
    cache: &Path,
) -> crate::Result<Option<ContainerFilter>> {
    let document = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref());
    let Some(document) = document else { return Ok(None) };
    let Foreknown { document: digest, program } =
        known.unwrap_or_else(|| DocumentDigest::of(document).into());
    let key = cache::Key::of_oci(&digest);
    // What is in the cache made sense when it was compiled, and nothing that it was made from has changed.
    let program = match program.or_else(|| cache::load(cache, &key)) {
        Some(program) => program,
        None => compile_and_keep(document, cache, &key).map_err(|error| {
            crate::Error::caused(crate::Kind::Invalid, "compile the filter", error).at_field("linux.seccomp")
        })?,
    };
    Ok(Some(ContainerFilter { program, listener: oci::listener(document), document: digest }))
}

fn compile_and_keep(
    document: &holm_spec::runtime::LinuxSeccomp,
    directory: &Path,
    key: &cache::Key,
) -> Result<Program, Error> {
    let program = compile(&Filter::from_oci(document, Architecture::NATIVE)?, Architecture::NATIVE)?;
    // The program is good without a cache, and a start must not fail for want of one.
    let _ =
        holm_sys::file::ensure_directory(directory, 0o700).map(|()| cache::store(directory, key, &program));
    Ok(program)
}

/// Names of all architectures that documents may list, sorted.
pub fn architecture_names() -> Vec<String> {
    let mut names: Vec<String> = Architecture::ALL.iter().map(|one| one.to_oci().to_string()).collect();
    names.sort();
    names
}

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
