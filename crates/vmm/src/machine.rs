//! What every back end implements.
//!
//! ```text
//! create --> created --boot--> running --pause--> paused --resume--> running
//! restore --------------------------------------> paused --snapshot--> paused
//!               |                 |                  |
//!               +---------------- stop --------------+----> gone        (so does the end of the value)
//!                                 | the guest powers off, resets, or the back end dies
//!                                 +----> ended, told by an `Event`
//! ```
//!
//! A machine that is restored from a snapshot is another one with the same past: the one that the snapshot is of may go
//! on, and both may be there at once, with a copy of the scratch disk each. Nobody has told the guest. Whoever restored
//! it resumes it and says `Hello` to the agent, which brings time and a seed of its own and gets all that was not sent
//! (`holm_spec::agent`). What was in the channel at the time of the snapshot went to the first machine: its owner reads
//! all of it between pause and snapshot.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use holm_spec::machine::{Accelerator, Facts};
use holm_spec::network::HardwareAddress;
use holm_spec::platform::Platform;

use crate::Result;
use crate::disk::Layers;

/// A machine to make.
#[derive(Debug)]
pub struct Description {
    /// What executes the guest's instructions.
    pub accelerator: Accelerator,
    /// What the guest's processor is.
    pub platform: Platform,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
    /// The kernel.
    pub kernel: PathBuf,
    /// The guest's first root.
    pub initrd: PathBuf,
    /// Words for the kernel beside those that every guest gets.
    pub command_line: String,
    /// The read-only disk with the layers.
    pub layers: Option<Layers>,
    /// The disk for what workloads write.
    pub scratch: Option<OwnedFd>,
    /// A socket to what serves directories of the host by vhost-user.
    pub shares: Option<OwnedFd>,
    /// Network devices.
    pub taps: Vec<Tap>,
}

/// A network device.
#[derive(Debug)]
pub struct Tap {
    /// The host's end, a TAP device whose frames have a `struct virtio_net_hdr` in front.
    pub descriptor: OwnedFd,
    /// Hardware address of the guest's end.
    pub hardware: HardwareAddress,
    /// Largest packet in bytes, if not the kernel's own.
    pub mtu: Option<u32>,
}

/// Something happened to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest powered itself off.
    PoweredOff,
    /// The guest reset itself, which is what a kernel that panicked does.
    Reset,
    /// Whoever listens at the agent's channel in the guest has come (true) or gone.
    Agent(bool),
    /// What runs the machine has died; what it said last.
    Died(String),
}

/// Figures of a machine, from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Memory that the guest has been left with, in bytes.
    pub memory: u64,
}

/// A machine. It ends with this value.
pub trait Machine {
    /// Lets the guest's processors run for the first time.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn boot(&mut self) -> Result<()>;

    /// Stops the guest's processors.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn pause(&mut self) -> Result<()>;

    /// Lets the guest's processors go on.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn resume(&mut self) -> Result<()>;

    /// Writes the machine's memory and devices into `file`, a regular one that can be read and written
    /// ([`crate::snapshot`]). The machine has to be paused, stays so, and can be resumed.
    ///
    /// # Errors
    /// The machine runs, was not booted, has had one tried since it was paused, or shares directories of the host; the file takes no more; the machine is gone.
    /// What is in the file then is no snapshot.
    fn snapshot(&mut self, file: BorrowedFd<'_>) -> Result<()>;

    /// Asks the guest to leave itself with `bytes` of memory and give the rest back to the host.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn set_memory(&mut self, bytes: u64) -> Result<()>;

    /// Figures of the machine.
    ///
    /// # Errors
    /// The machine is gone or does not answer.
    fn metrics(&mut self) -> Result<Metrics>;

    /// Ends the machine at once, as pulling the plug does.
    ///
    /// # Errors
    /// It cannot be ended.
    fn stop(&mut self) -> Result<()>;

    /// The stream to and from the guest's agent, non-blocking.
    fn channel(&self) -> BorrowedFd<'_>;

    /// What the guest's kernel prints, non-blocking. Somebody has to read it.
    fn console(&self) -> BorrowedFd<'_>;

    /// Readable when there may be an event.
    fn events(&self) -> BorrowedFd<'_>;

    /// The next event that is there.
    fn next_event(&mut self) -> Option<Event>;

    /// What the machine is.
    fn facts(&self) -> Facts;
}
