//! Builds images from Dockerfiles. What a Dockerfile and an ignore file say is found out without I/O: who builds hands the bytes
//! in. Only `solve` looks at files and makes layers.
//!
//! | module | owns |
//! |---|---|
//! | `dockerfile` | from text to stages of instructions, each with its place in the file |
//! | `expand` | variables, quotes and escapes in one text |
//! | `variables` | which variables there are: `ARG` of the file and of a stage, `ENV`, platforms |
//! | `expanded` | an instruction with its variables expanded |
//! | `stages` | what each stage is made from, and which ones a target needs |
//! | `ignore` | `.dockerignore`: what of the context is left out |
//! | `lint` | the rules of `docker build --check` |
//! | `remote` | files of the web and repositories, as they are named |
//! | `solve` | from stages to an image: steps, their keys, what they make |
//! | `platform` | `linux/arm64/v8`, as `FROM --platform` has it |
//!
//! What somebody reads here was written by somebody else: every size has a limit, and no input costs more than its length
//! times a constant, or the [`expand::Budget`].

pub mod dockerfile;
mod error;
pub mod expand;
mod expanded;
pub mod ignore;
pub mod lint;
mod nearest;
pub mod platform;
pub mod remote;
pub mod solve;
mod source;
pub mod stages;
pub mod variables;

pub use dockerfile::Dockerfile;
pub use error::{Error, Fault, Kind, Result};
pub use expanded::Expander;
pub use source::{Position, Source, Span, shown};
