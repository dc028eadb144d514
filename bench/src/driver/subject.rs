//! What is measured: holm, and what it is measured beside.
//!
//! Each gives [`Launch`](super::process::Launch)es and releases what it made when it is dropped.

mod cpio;
mod floor;
mod holm;
mod image;
mod machine;
mod oci;
mod plain;
mod podman;
pub mod registry;
pub mod server;

pub use floor::{Floor, Held as HeldFloor};
pub use holm::Holm;
pub use image::TestImage;
pub use machine::{Bare as BareMachine, LEFT_OUT as LEFT_OUT_OF_A_MACHINE};
pub use oci::{
    Held, OURS, OciFloor, OciRuntimes, Program, RUNTIMES, Runtime, Setting, View, crun_can_use_v2,
};
pub use plain::{Bare, Unshare};
pub use podman::Podman;
