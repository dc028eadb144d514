//! Volumes: directories of data with names, which outlive the workloads that mount them.
//!
//! ```text
//! <root>/volumes/<name>/volume.json     what was asked (spec::volume::Volume); written once
//! <root>/volumes/<name>/_data/          what it holds
//! <root>/volumes/.work/new-<random>/    being made; renamed to its name when it is whole
//! <root>/volumes/.work/old-<random>/    being removed; renamed from its name first
//! <root>/volumes/.work/with-<workload>  names of the volumes that go when the workload goes, one a line
//! ```
//!
//! Whoever is about to refer to a volume holds the volumes' lock shared until it does, and whoever removes one holds it
//! alone: so none goes that a workload is being made with. What is filled at the first use (from the files of the image,
//! from an archive) is filled beside, and moved in when it is whole: see [`Volumes::fill`].
//!
//! How much a volume may hold is a limit of the file system's, of the project that its directory belongs to: see `quota.rs`.
//!
//! A crash leaves what [`Volumes::repair`] finishes: a directory in `.work`, or a list of volumes of a workload that is gone.

mod error;
mod fill;
mod mounted;
mod options;
mod quota;
mod remove;
mod volumes;

pub use error::{Error, Kind, Result};
pub use mounted::Share;
pub use remove::InUse;
pub use volumes::{DATA_MODE, NewVolume, Volumes};
