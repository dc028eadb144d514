//! `cargo xtask install`: the Debian packages and Rust components for every other verb, beforehand.

use anyhow::Result;

use crate::arguments::Arguments;
use crate::packages::{self, Purpose};
use crate::workspace::Workspace;
use crate::{Verb, build};

/// The verb.
pub const VERB: Verb = Verb {
    name: "install",
    usage: "",
    summary: "Install the Debian packages and the Rust target that the other verbs need",
    help: "The other verbs do this themselves, each for its own needs; this does it for all of them at once,\n\
           for machines that lose their network afterwards. `xtask/src/packages.rs` names the packages.\n",
    run,
};

fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    arguments.finish()?;
    packages::require(&Purpose::ALL)?;
    let target = build::Target::choose(workspace)?;
    println!("all packages are there; binaries are built for {}", target.triple());
    Ok(())
}
