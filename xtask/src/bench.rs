//! `cargo xtask bench`: the benchmarks, run on the binaries that ship.

use std::process::Command;

use anyhow::Result;

use crate::arguments::Arguments;
use crate::packages::{self, Purpose};
use crate::workspace::Workspace;
use crate::{Verb, build, process};

/// The verb.
pub const VERB: Verb = Verb {
    name: "bench",
    usage: " [ARGUMENTS of holm-bench]",
    summary: "Measure Holm beside its floor and beside other engines",
    help: "Prints figures and goals; no result makes it fail. `cargo xtask bench -- --help` lists what can be\n\
           measured. Wall times mean something only on a machine that does nothing else.\n",
    run,
};

fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    packages::require(&[Purpose::Build, Purpose::Bench])?;
    let dist = build::distribution(workspace, "release")?;
    let driver = build::benchmarks(workspace)?.join("holm-bench");
    let mut command = Command::new(driver);
    command.current_dir(&workspace.root).args(arguments.rest());
    process::run(command.env("HOLM_BIN_DIR", dist))
}
