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
pub enum Feature {
    /// A root of `/` is refused.
    RootIsGuarded,
    /// `features`.
    Features,
    /// `spec` grants what is needed and nothing that is inherited.
    LeanSpec,
    /// `kill --all` goes to every process.
    KillAllIsIgnored,
    /// `list` with a root that is not there fails.
    MissingRootIsAnError,
    /// `kill KILL` thaws what is paused.
    KillThaws,
}

impl Feature {
    const fn reason(self) -> &'static str {
        match self {
            Self::RootIsGuarded => "the check came with 1.2",
            Self::Features => "1.1 of Debian hides it and knows an older list",
            Self::LeanSpec => "1.1 writes inheritable and ambient sets",
            Self::KillAllIsIgnored => "`kill --all` signals every process; since 1.2 the flag is obsolete",
            Self::MissingRootIsAnError => "`list` takes a given root that is not there for the default one",
            Self::KillThaws => {
                "with cgroup v1 a killed container stays frozen until it is resumed; fixed in 1.2"
            }
        }
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
