//! `holm-bench`: holm beside its floors and its peers, in one run on the same work.
//!
//! ```text
//! arguments -> Machine (scratch directory, test image, holm, floor, podman) -> benches -> Report -> printer
//! ```
//!
//! Every figure is a comparison inside one run (DESIGN section 11): goals are printed beside the figures and
//! never asserted. The program ends with 1 only when something could not run. It is the subreaper of all that
//! it starts, so that it can wait for what a command leaves behind and add its CPU time.
//!
//! | module | holds |
//! |---|---|
//! | `arguments` | the command line |
//! | `driver::process` | starting one command, timing it, waiting for its orphans |
//! | `driver::pairing` | runs by turns, minimum, median, maximum |
//! | `driver::report` | figures, goals, tables and JSON |
//! | `driver::subject` | holm, the floor, podman, OCI runtimes, unshare, a bare process, the test image |
//! | `driver::host` | what `/proc` and `/sys` say: memory, mounts, groups |
//! | `driver::benches` | one file for each bench that [`arguments::Bench`] names |

mod arguments;
mod driver;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    match driver::drive(&Arguments::parse()) {
        Ok(complete) => ExitCode::from(u8::from(!complete)),
        Err(error) => {
            // Nobody is left to tell if stderr is closed.
            drop(writeln!(io::stderr(), "holm-bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
