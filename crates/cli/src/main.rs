//! The `holm` command: Docker's verbs over the engine, in one process that is gone when its command is done.
//!
//! ```text
//! main --> dispatch (one command's parser) --> command/<verb>::run --> engine
//!                                                |        |
//!                                            resolve    session (stdio of a process), listing (tables, JSON, templates)
//! ```
//! Only [`printer`] prints and only [`command_error`] advises. A command's parser is built when that command was asked
//! for; all of them only for help, completion and the reference.

mod archive_output;
mod command;
mod command_error;
mod configuration;
mod context;
mod detach_keys;
mod dispatch;
mod drawing;
mod duration;
mod foreground;
mod globals;
mod listing;
mod printer;
mod progress;
mod prune;
mod resolve;
mod session;
mod several;
mod size;
mod supply;
mod table;
mod template;
mod terminal;
mod transfer;
mod transfer_arguments;
mod unsupported;
mod usage;
mod workload_arguments;

use std::process::ExitCode;

/// musl's allocator asks the kernel for every few blocks; this one keeps what it got.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    ExitCode::from(dispatch::run(&words))
}
