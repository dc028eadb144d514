//! Raw words of the command line to typed values: pure, one module a kind of value.
//!
//! Every function takes text and says in one sentence what is wrong with it; the caller adds which flag it was for.

pub mod cpus;
pub mod environment;
pub mod filter;
pub mod image;
pub mod isolation;
pub mod label;
pub mod log;
pub mod memory;
pub mod mount;
pub mod network;
pub mod platform;
pub mod publish;
pub mod pull;
pub mod security;
pub mod streams;
pub mod tmpfs;
pub mod volume;

/// Lines of a file that say something: neither blank nor a comment, without the blanks before them.
pub fn meaningful_lines(content: &str) -> impl Iterator<Item = &str> {
    let content = content.strip_prefix('\u{feff}').unwrap_or(content);
    content.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
}
