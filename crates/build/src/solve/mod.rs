//! From a Dockerfile to an image: the stages that are needed beside each other, each one instruction after the other.
//!
//! ```text
//! FROM                     the layers and the configuration of an image, a stage, or nothing
//! RUN, COPY, ADD, WORKDIR  a layer each, found by its key or made
//! anything else            changes the configuration
//! ```
//! # Keys
//! The key of a step is the digest of what goes into it: the key of the step below it, and what the instruction says when it
//! is expanded. Of files of the context their content, permissions and names count, times do not. So a change of the configuration alone
//! makes nothing anew, unless a command could see it (its environment, user, directory, shell). `COPY --link` has nothing of
//! what is below in its key.
//!
//! A layer says when it was made, and the image is as old as its youngest layer: what is made of the same steps has the same id.

mod config;
mod context;
mod copy;
mod key;
mod progress;
mod reasons;
mod remote;
mod run;
mod runner;
mod scan;
mod schedule;
mod stage;
mod state;
mod transfer;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use holm_spec::{Digest, Reference, Timestamp};
use holm_store::{BuiltLayer, CachedStep, INLINE_CACHE, Store, chain};
use serde_json::json;

pub use config::ImageConfig;
pub use context::{Directory, Named};
pub use progress::{Ended, Progress};
pub use runner::{Downloaded, MountSource, Ran, RunStep, Secret, StepMount, StepRunner};
pub use tree::Root;

use crate::dockerfile::{Dockerfile, Network};
use crate::error::{Error, Fault, Kind, Result};
use crate::source::Position;
use crate::variables::Given;
use context::Opened;
use schedule::{Shared, lock};
use state::State;

/// What is to be built.
#[derive(Debug)]
pub struct Request<'a> {
    /// From what.
    pub dockerfile: &'a Dockerfile,
    /// What the caller says.
    pub given: Given,
    /// The directory that `COPY` and `ADD` take files from.
    pub context: Option<Directory>,
    /// What names mean that are those of no image and no stage, by [`crate::stages::context_name`].
    pub contexts: BTreeMap<String, Named>,
    /// Make every step anew.
    pub no_cache: bool,
    /// Stages whose steps are made anew in any case, by their numbers.
    pub anew: BTreeSet<usize>,
    /// Names that commands know, as texts.
    pub hosts: Vec<String>,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its manifest says which steps its layers are of.
    pub inline_cache: bool,
    /// Only its files are wanted: none is made.
    pub only_files: bool,
    /// What `RUN` reaches that does not say.
    pub network: Network,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub names: Vec<Reference>,
    /// Secrets, by their ids.
    pub secrets: BTreeMap<String, Secret>,
    /// Sockets of agents of SSH keys, by their ids.
    pub agents: BTreeMap<String, PathBuf>,
    /// `RUN --network=host` is allowed.
    pub host_network: bool,
    /// `RUN --security=insecure` is allowed.
    pub insecure: bool,
    /// When what is made says that it was made.
    pub created: Timestamp,
    /// No file is younger than `created`.
    pub clamp: bool,
    /// Where it is remembered what the files of contexts hold.
    pub scans: PathBuf,
    /// Where it is remembered what the steps of this Dockerfile were made of.
    pub reasons: PathBuf,
}

/// What came out.
#[derive(Debug)]
pub struct Built {
    /// The image's id; none if only its files are wanted.
    pub id: Option<Digest>,
    /// Its layers, by their diff-ids, lowest first.
    pub layers: Vec<Digest>,
    /// The keys of the steps that its layers are of.
    pub keys: Vec<Digest>,
    /// The keys of all steps, in every stage.
    pub all_keys: Vec<Digest>,
    /// Steps that were made, and steps that were there.
    pub steps: (usize, usize),
}

/// Builds an image.
///
/// # Errors
/// What is wrong with the Dockerfile; a step that fails, with its line.
pub fn build(
    request: &Request<'_>,
    store: &Store,
    runner: &dyn StepRunner,
    progress: &dyn Progress,
) -> std::result::Result<Built, Error> {
    solve(request, store, runner, progress).map_err(|fault| request.dockerfile.error(fault))
}

fn solve(
    request: &Request<'_>,
    store: &Store,
    runner: &dyn StepRunner,
    progress: &dyn Progress,
) -> Result<Built> {
    let shared = Shared::new(request, store, runner, progress)?;
    let target = shared.run();
    std::mem::take(&mut *lock(&shared.contexts)).into_values().for_each(Opened::keep);
    lock(&shared.reasons).keep();
    let target = target?;
    let position = request.dockerfile.stages[shared.plan.target].span.start;
    if target.layers.is_empty() {
        return Err(fault(position, "the image has no files: no instruction makes any"));
    }
    let id = match request.only_files {
        true => None,
        false => Some(request.assemble(store, &target).map_err(|reason| fault(position, reason))?),
    };
    let keys = target.keys.iter().map(|(_, key)| *key).collect();
    let (all_keys, steps) = shared.done();
    Ok(Built { id, layers: diff_ids(&target.layers), keys, all_keys, steps })
}

fn fault(position: Position, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Step, position, message)
}

impl Request<'_> {
    /// Makes the image of what the target came to.
    fn assemble(&self, store: &Store, target: &State) -> std::result::Result<Digest, String> {
        let mut config = target.config.clone();
        config.labels.extend(self.labels.clone());
        let mut document = json!({
            "created": self.time_of(target).to_string(),
            "architecture": target.platform.architecture,
            "os": target.platform.os,
            "config": config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids(&target.layers) },
            "history": target.history,
        });
        if let Some(variant) = &target.variant {
            document["variant"] = variant.clone().into();
        }
        if let Some(author) = &target.author {
            document["author"] = author.clone().into();
        }
        let mut annotations = self.annotations.clone();
        if self.inline_cache {
            annotations.insert(INLINE_CACHE.to_owned(), inline_cache(&target.layers, &target.keys));
        }
        let assembled = store.assemble(&target.layers, &document, &self.names, &annotations);
        assembled.map_err(|error| chain(&error))
    }
}

/// Which steps layers are of, as the image's manifest says it.
fn inline_cache(layers: &[BuiltLayer], keys: &[(usize, Digest)]) -> String {
    let step = |(layer, key): &(usize, Digest)| {
        let created = layers[*layer].created;
        CachedStep { key: *key, layer: *layer, created }
    };
    let steps: Vec<CachedStep> = keys.iter().map(step).collect();
    serde_json::to_string(&steps).expect("plain data")
}

fn diff_ids(layers: &[BuiltLayer]) -> Vec<Digest> {
    layers.iter().map(|layer| layer.diff_id).collect()
}
