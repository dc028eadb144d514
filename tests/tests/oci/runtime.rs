//! The runtime under test, and what another one than Holm's is known to lack.

use std::path::PathBuf;
use std::sync::LazyLock;

use holm_tests::binaries;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("HOLM_OCI_RUNTIME").map_or_else(|| binaries().join("holm-runtime"), PathBuf::from)
});

/// The program.
pub fn program() -> &'static PathBuf {
    &PROGRAM
}

/// Something that runc 1.1 of Debian 12 does not do, or does otherwise. Holm's runtime has all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {}

impl Feature {
    const fn reason(self) -> &'static str {
        match self {}
    }
}

/// Whether the runtime under test is known to lack this: a test returns then, and says why.
pub fn lacks(feature: Feature) -> bool {
    let reference = program().file_name().is_some_and(|name| name == "runc");
    if reference {
        println!("left out for runc 1.1: {}", feature.reason());
    }
    reference
}
