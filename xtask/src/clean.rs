//! `cargo xtask clean`: takes away what an interrupted demo left.

use anyhow::Result;

use crate::Verb;
use crate::arguments::Arguments;
use crate::demo;
use crate::workspace::Workspace;

/// The verb.
pub const VERB: Verb = Verb {
    name: "clean",
    usage: " [--cache]",
    summary: "Remove what an interrupted demo left: containers, images, mounts, files",
    help: "  --cache   also remove tarballs and kernel, which the next demo then gets anew\n\n\
           What cargo built stays: `cargo clean` removes it.\n",
    run,
};

fn run(workspace: &Workspace, mut arguments: Arguments) -> Result<()> {
    let cache = arguments.flag("--cache");
    arguments.finish()?;
    demo::clean(workspace, cache)
}
