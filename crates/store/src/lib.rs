//! The image store: blobs, EROFS layers, snapshots, references, garbage collection.
//!
//! ```text
//! <root>/
//!   blobs/sha256/<hex>            manifests, indexes, configurations, and layers as received
//!   layers/<key>.v1.erofs         a layer as it is mounted
//!   layers/<key>.v1.tarmeta.zst   with the image's data it gives the layer's tar back bit for bit
//!   layers/<key>.v1.json          LayerRecord
//!   layers/<key>.v1.dir/          the layer's files, where the kernel cannot mount the image (see `unpacked`)
//!   refs/<name>                   what a name stands for (see `refs`)
//!   steps/<key>                   what steps of builds have made (see `step`)
//!   kernels.json                  which kernels guests get without being asked (see `kernel`)
//!   snapshots/<workload>/{upper,work}
//!   downloads/<hex>               a blob that comes from a registry, not whole yet (see `download`)
//!   ingest/<random>/              where content is before it has its name; lock: its writer lives
//!   locks/store                   shared: somebody is about to refer to content; exclusive: removal
//!   locks/refs                    exclusive: a name is being changed; taken after locks/store
//! <run>/layers/<key>[.lock]       shared mounts of layers, made by the runtime's side
//! ```
//!
//! # Order of writes
//! An import writes in this order, and each step is on the disk before the next begins:
//!
//! 1. the layer's three files, in an ingest directory, each synced once;
//! 2. their final names by rename, the image's own last, and one sync of `layers`;
//! 3. the configuration, then the manifest, each: temporary file, sync, rename, sync of `blobs`;
//! 4. the reference, likewise.
//!
//! Steps 2 to 4 happen under the shared store lock. So whatever a name reaches is complete; what a
//! crash leaves before step 4 is reached by nothing and goes with the next [`Exclusive::repair`]; and
//! importing the same archive again finds or replaces each part. A layer that is there already is
//! replaced by what was just made: its data may be damaged, and only reading all of it would tell.
//!
//! A removal goes the other way, under the exclusive lock: names, sync of `refs`, documents, layers. A
//! crash leaves garbage, never a name whose content is gone.
//!
//! A name that moves first leaves a durable mark of what it stood for, so that at every moment the old
//! image has a name or a mark.
//!
//! Kernels of virtual machines and other artifacts are kept likewise, without step 1 and 2 (see [`kernel`], `artifact`).
//!
//! # Trust
//! Documents are hashed whenever they are read. Layers are verified when they are written; afterwards
//! only their presence is checked, since hashing them would cost more than the start of a workload.

mod artifact;
mod blob;
mod change;
mod check;
mod clock;
mod collect;
mod commit;
pub mod compression;
pub mod convert;
mod defaults;
mod document;
mod download;
pub mod erofs;
mod error;
mod image;
mod import;
mod ingest;
pub mod kernel;
mod layer;
mod listing;
mod pack;
mod paths;
mod prune;
mod publication;
mod receive;
mod refs;
mod remove;
mod repair;
mod snapshot;
mod step;
mod store;
pub mod tarmeta;
mod unpacked;
mod usage;

pub use artifact::{Artifact, ArtifactFile, ArtifactSummary, ImportArtifact};
pub use blob::DOCUMENT_LIMIT;
pub use change::{Change, ChangeError};
pub use check::{Aside, CheckObserver, Checked, Finding, Object, Owner};
pub use clock::creation_time;
pub use collect::{ImageUser, is_image_config};
pub use commit::Commit;
pub use defaults::{CONFIG as CONFIG_DEFAULTS, over_defaults};
pub use document::ImageHealth;
pub use download::{Begun, Download, Turn};
pub use error::{Error, Kind, Result, chain};
pub use image::{Image, Name};
pub use import::Import;
pub use ingest::Ingest;
pub use kernel::{ImportKernel, ImportedKernel, Kernel, KernelSummary};
pub use layer::{LayerRecord, Received};
pub use listing::{HistoryRow, Summary};
pub use prune::{Limit, Pruned};
pub use publication::{Publication, PublishedManifest, StoredDocument, StoredLayer};
pub use receive::{ExpectedLayer, ReceivedImage};
pub use remove::Removed;
pub use step::{BuiltLayer, CachedStep, INLINE_CACHE, OldSteps, StoredStep};
pub use store::{Exclusive, InUse, LayerLimits, Store};
pub use unpacked::LayerForm;
pub use usage::{CompressedUsage, ObjectUsage, StoreUsage};
