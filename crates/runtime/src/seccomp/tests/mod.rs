//! Proof that programs mean what filters say.
//!
//! [`interpreter`] runs a program as the kernel would, [`oracle`] answers straight from the filter and
//! shares no code with the compiler; [`equivalence`] compares the two call by call.

mod cache;
mod default_profile;
mod equivalence;
mod interpreter;
mod meaning;
mod oracle;
mod profile;
mod random;
mod size;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::{Architecture, Environment, KernelVersion, capability};

/// SHA-256 in hexadecimal.
pub(super) fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
        text
    })
}

/// An environment on a current kernel.
fn environment(architecture: Architecture, capabilities: &[&str]) -> Environment {
    let bits = capabilities.iter().map(|name| capability(name).expect("a capability's name"));
    let capabilities = bits.fold(0, |all, bit| all | bit);
    Environment { capabilities, architecture, kernel: KernelVersion { kernel: 6, major: 12 } }
}

/// What Docker gives a container by default.
const DOCKER_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
