//! From a Dockerfile to an image: each stage that is needed, one instruction after the other.
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
mod copy;
mod key;
mod progress;
mod run;
mod runner;
mod scan;
mod state;
mod transfer;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use holm_spec::{Digest, Reference, Timestamp};
use holm_store::{BuiltLayer, CachedStep, INLINE_CACHE, Image, Store, chain};
use serde_json::json;

pub use config::ImageConfig;
pub use progress::Progress;
pub use runner::{MountSource, Ran, RunStep, StepMount, StepRunner};

use crate::dockerfile::{Command, Dockerfile, Instruction, Network};
use crate::error::{Error, Fault, Kind, Result};
use crate::expanded::Expander;
use crate::ignore::Ignore;
use crate::platform::Platform;
use crate::source::Position;
use crate::stages::{Origin, Plan};
use crate::variables::{Given, Globals, Variables};
use scan::Scan;
use state::{State, configure};
use tree::Tree;

/// What is to be built.
#[derive(Debug)]
pub struct Request<'a> {
    /// From what.
    pub dockerfile: &'a Dockerfile,
    /// What the caller says.
    pub given: Given,
    /// The directory that `COPY` and `ADD` take files from.
    pub context: Option<&'a Path>,
    /// What of it is left out.
    pub ignore: Ignore,
    /// Make every step anew.
    pub no_cache: bool,
    /// Stages whose steps are made anew in any case, by their numbers.
    pub anew: BTreeSet<usize>,
    /// What `RUN` reaches that does not say.
    pub network: Network,
    /// Names that commands know, as texts.
    pub hosts: Vec<String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub names: Vec<Reference>,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its manifest says which steps its layers are of.
    pub inline_cache: bool,
    /// Only its files are wanted: none is made.
    pub only_files: bool,
    /// Secrets, by their ids.
    pub secrets: BTreeMap<String, PathBuf>,
    /// When what is made says that it was made.
    pub created: Timestamp,
    /// No file is younger than `created`.
    pub clamp: bool,
    /// Where it is remembered what the files of contexts hold.
    pub scans: PathBuf,
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
    progress: &mut dyn Progress,
) -> std::result::Result<Built, Error> {
    let mut build = Build::new(request, store, runner, progress);
    let built = build.run();
    if let Some(scan) = build.scan.take() {
        scan.keep();
    }
    built.map_err(|fault| request.dockerfile.error(fault))
}

struct Build<'a> {
    request: &'a Request<'a>,
    store: &'a Store,
    runner: &'a dyn StepRunner,
    progress: &'a mut dyn Progress,
    context: Option<Tree>,
    scan: Option<Scan>,
    stages: BTreeMap<usize, State>,
    /// The number of the stage that is being built.
    current: usize,
    /// Of all steps.
    keys: Vec<Digest>,
    steps: (usize, usize),
}

/// What a layer is made by.
type Make<'m> = dyn FnMut(&mut Build<'_>, &Digest) -> std::result::Result<BuiltLayer, String> + 'm;

fn fault(position: Position, message: impl Into<String>) -> Fault {
    Fault::new(Kind::Step, position, message)
}

impl<'a> Build<'a> {
    fn new(
        request: &'a Request<'a>,
        store: &'a Store,
        runner: &'a dyn StepRunner,
        progress: &'a mut dyn Progress,
    ) -> Self {
        let stages = BTreeMap::new();
        Self {
            request,
            store,
            runner,
            progress,
            context: None,
            scan: None,
            stages,
            current: 0,
            keys: Vec::new(),
            steps: (0, 0),
        }
    }

    fn run(&mut self) -> Result<Built> {
        let dockerfile = self.request.dockerfile;
        let globals = Rc::new(Globals::new(dockerfile, &self.request.given)?);
        let contexts = BTreeSet::new();
        let mut plan = Plan::new(dockerfile, &globals, self.request.given.stage.as_deref(), &contexts)?;
        let end = plan.target + 1;
        self.stages_before(&mut plan, end, &globals)?;
        let position = dockerfile.stages[plan.target].span.start;
        let target = self.stages.remove(&plan.target).expect("the target is needed");
        let layers = diff_ids(&target.layers);
        if layers.is_empty() {
            return Err(fault(position, "the image has no files: no instruction makes any"));
        }
        let keys = target.keys.iter().map(|(_, key)| *key).collect();
        let id = match self.request.only_files {
            true => None,
            false => Some(self.assemble(target).map_err(|reason| fault(position, reason))?),
        };
        Ok(Built { id, layers, keys, all_keys: std::mem::take(&mut self.keys), steps: self.steps })
    }

    /// Builds the stages in front of `end` that are needed and not there yet.
    fn stages_before(&mut self, plan: &mut Plan, end: usize, globals: &Rc<Globals>) -> Result<()> {
        for number in 0..end {
            if plan.needed[number] && !self.stages.contains_key(&number) {
                let state = self.stage(plan, number, globals)?;
                self.stages.insert(number, state);
            }
        }
        Ok(())
    }

    /// Builds one stage.
    fn stage(&mut self, plan: &mut Plan, number: usize, globals: &Rc<Globals>) -> Result<State> {
        let dockerfile = self.request.dockerfile;
        let stage = &dockerfile.stages[number];
        if let Some(platform) = plan.stages[number].platform.as_ref().filter(|it| **it != Platform::host()) {
            let message =
                format!("`FROM --platform={platform}`: building for another machine is not there yet");
            return Err(fault(stage.span.start, message));
        }
        let mut state = self.base(&plan.stages[number].base, stage.base.position, globals)?;
        state.config.ensure_path();
        let path = state.config.variables().find(|(name, _)| name == "PATH");
        path.iter().for_each(|(name, value)| state.variables.set(name, value));
        // What the base wants done is done now, and its configuration says it no more.
        let expressions = state.config.on_build.take().unwrap_or_default();
        if matches!(plan.stages[number].base, Origin::Image(_)) {
            plan.add_triggers(dockerfile, &BTreeSet::new(), number, &expressions)?;
            self.stages_before(plan, number, globals)?;
        }
        self.current = number;
        let name = stage.name.as_ref().map_or_else(|| format!("stage-{number}"), |name| name.name.clone());
        let triggers = plan.stages[number].triggers.clone();
        let all: Vec<&Instruction> = triggers.iter().chain(&stage.instructions).collect();
        let total = all.len();
        for (index, instruction) in all.into_iter().enumerate() {
            let title = format!("[{name} {}/{total}] {}", index + 1, instruction.original);
            self.instruction(&mut state, plan, instruction, &title)?;
        }
        Ok(state)
    }

    /// What a stage begins with.
    fn base(&mut self, origin: &Origin, position: Position, globals: &Rc<Globals>) -> Result<State> {
        match origin {
            Origin::Scratch => Ok(State::scratch(globals)),
            Origin::Stage(number) => {
                let base = self.stages.get(number).expect("stages are built in their order").clone();
                let variables = Variables::of_stage(Rc::new(base.variables.clone()));
                Ok(State { variables, has_command: false, ..base })
            }
            Origin::Image(name) => {
                let started = Instant::now();
                self.progress.begin(&format!("[from] {name}"));
                let image = self.runner.image(name);
                let image = image.inspect_err(|_| self.progress.failed());
                let image = image.map_err(|reason| fault(position, reason))?;
                self.progress.done(true, started.elapsed());
                check_platform(&image).map_err(|reason| fault(position, reason))?;
                State::of_image(self.store, &image, globals).map_err(|reason| fault(position, reason))
            }
            Origin::Context(name) => {
                Err(fault(position, format!("`{name}`: a context as a base is not there yet")))
            }
        }
    }

    fn instruction(
        &mut self,
        state: &mut State,
        plan: &Plan,
        instruction: &Instruction,
        title: &str,
    ) -> Result<()> {
        let position = instruction.span.start;
        let mut expander = Expander::new(&state.variables);
        let command = instruction.command.expanded(&mut expander)?;
        command.check()?;
        let makes_layer = match &command {
            Command::Run(run) => self.run_command(state, plan, run, title, position).map(|()| true),
            Command::Copy(copy) => self.copy(state, plan, copy, title, position).map(|()| true),
            Command::Add(add) => self.add(state, add, title, position).map(|()| true),
            Command::Workdir(word) => self.working_directory(state, &word.text, title, position),
            other => configure(state, other).map(|()| false),
        }?;
        let mut entry = json!({
            "created": self.time_of(state).to_string(),
            "created_by": instruction.original,
            "comment": "holm.dockerfile.v0",
        });
        if !makes_layer {
            entry["empty_layer"] = true.into();
        }
        state.history.push(entry);
        Ok(())
    }

    /// Finds a layer by its key, or makes it.
    fn step(
        &mut self,
        state: &mut State,
        key: Digest,
        below: &[Digest],
        title: &str,
        make: &mut Make<'_>,
    ) -> std::result::Result<(), String> {
        let started = Instant::now();
        self.progress.begin(title);
        let found = match self.anew() {
            true => None,
            false => self.find(&key, below)?,
        };
        let cached = found.is_some();
        let layer = match found {
            Some(layer) => layer,
            None => make(self, &key).inspect_err(|_| self.progress.failed())?,
        };
        self.progress.done(cached, started.elapsed());
        match cached {
            true => self.steps.1 += 1,
            false => self.steps.0 += 1,
        }
        self.keys.push(key);
        state.keys.push((state.layers.len(), key));
        state.created = state.created.max(layer.created);
        state.layers.push(layer);
        state.key = key;
        Ok(())
    }

    /// A layer by its key, from here or from elsewhere.
    fn find(&self, key: &Digest, below: &[Digest]) -> std::result::Result<Option<BuiltLayer>, String> {
        let here = self.store.step(key, below).map_err(|error| chain(&error))?;
        Ok(here.or_else(|| self.runner.cached(key, below)))
    }

    /// Whether the steps of this stage are made even if they are there.
    fn anew(&self) -> bool {
        self.request.no_cache || self.request.anew.contains(&self.current)
    }

    /// When what there is was made.
    fn time_of(&self, state: &State) -> Timestamp {
        match state.created {
            _ if self.request.clamp => self.request.created,
            Timestamp::NEVER => self.request.created,
            made => made,
        }
    }

    /// Makes the image of what the target came to.
    fn assemble(&self, mut target: State) -> std::result::Result<Digest, String> {
        target.config.labels.extend(self.request.labels.clone());
        let platform = &self.request.given.target;
        let mut document = json!({
            "created": self.time_of(&target).to_string(),
            "architecture": platform.architecture,
            "os": platform.os,
            "config": target.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids(&target.layers) },
            "history": target.history,
        });
        if let Some(variant) = &target.variant {
            document["variant"] = variant.clone().into();
        }
        if let Some(author) = target.author {
            document["author"] = author.into();
        }
        let mut annotations = self.request.annotations.clone();
        if self.request.inline_cache {
            annotations.insert(INLINE_CACHE.to_owned(), inline_cache(&target.layers, &target.keys));
        }
        let names = &self.request.names;
        let assembled = self.store.assemble(&target.layers, &document, names, &annotations);
        assembled.map_err(|error| chain(&error))
    }
}

fn check_platform(image: &Image) -> std::result::Result<(), String> {
    let (made_for, host) = (image.platform(), holm_spec::platform::Platform::host());
    if (&made_for.os, &made_for.architecture) == (&host.os, &host.architecture) {
        return Ok(());
    }
    Err(format!(
        "the image is made for {}/{}, and this is {}/{}",
        made_for.os, made_for.architecture, host.os, host.architecture
    ))
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
