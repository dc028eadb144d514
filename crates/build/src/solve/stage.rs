//! One stage: one instruction after the other.

use std::collections::BTreeSet;
use std::time::Instant;

use holm_spec::{Digest, Timestamp};
use holm_store::{BuiltLayer, chain};
use serde_json::json;

use super::key::Key;
use super::schedule::{Alone, Shared, lock};
use super::state::{State, configure};
use super::{Ended, fault};
use crate::dockerfile::{Command, Instruction, Network};
use crate::error::Result;
use crate::expanded::Expander;

/// A stage that is being built.
pub(super) struct Stage<'a> {
    pub shared: &'a Shared<'a>,
    pub number: usize,
    /// What progress calls the step that is being made.
    pub step: usize,
}

/// What a layer is made by.
pub(super) type Make<'m> = dyn FnMut(&mut Stage<'_>, &Digest) -> std::result::Result<BuiltLayer, String> + 'm;

impl<'a> Stage<'a> {
    pub fn new(shared: &'a Shared<'a>, number: usize) -> Self {
        Self { shared, number, step: 0 }
    }

    /// Builds it.
    pub fn build(&mut self) -> Result<State> {
        let stage = &self.shared.request.dockerfile.stages[self.number];
        let planned = &self.shared.plan.stages[self.number];
        let mut state = self.shared.base(self.number, stage.base.position)?;
        state.config.ensure_path();
        let path = state.config.variables().find(|(name, _)| name == "PATH");
        path.iter().for_each(|(name, value)| state.variables.set(name, value));
        let number = self.number;
        let name = stage.name.as_ref().map_or_else(|| format!("stage-{number}"), |name| name.name.clone());
        let own = if planned.replaced { [].as_slice() } else { &stage.instructions };
        let all: Vec<&Instruction> = planned.triggers.iter().chain(own).collect();
        let total = all.len();
        for (index, instruction) in all.into_iter().enumerate() {
            let title = format!("[{name} {}/{total}] {}", index + 1, instruction.original);
            self.instruction(&mut state, instruction, &title)?;
        }
        Ok(state)
    }

    fn instruction(&mut self, state: &mut State, instruction: &Instruction, title: &str) -> Result<()> {
        let position = instruction.span.start;
        self.shared.check_going_on().map_err(|reason| fault(position, reason))?;
        let mut expander = Expander::new(&state.variables);
        let command = instruction.command.expanded(&mut expander)?;
        command.check()?;
        let makes_layer = match &command {
            Command::Run(run) => self.run_command(state, run, title, position).map(|()| true),
            Command::Copy(copy) => self.copy(state, copy, title, position).map(|()| true),
            Command::Add(add) => self.add(state, add, title, position).map(|()| true),
            Command::Workdir(word) => self.working_directory(state, &word.text, title, position),
            other => configure(state, other).map(|()| false),
        }?;
        let mut entry = json!({
            "created": self.shared.request.time_of(state).to_string(),
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
    pub fn step(
        &mut self,
        state: &mut State,
        key: Key,
        below: &[Digest],
        title: &str,
        make: &mut Make<'_>,
    ) -> std::result::Result<(), String> {
        let (shared, digest, started) = (self.shared, key.digest, Instant::now());
        self.step = shared.progress.begin(title);
        let alone = shared.alone(digest);
        let layer = match self.find(&alone, &digest, below) {
            Ok(Some(layer)) => Ok((layer, Ended::Cached)),
            Ok(None) => {
                self.explain(title, key);
                alone.make(|| make(self, &digest)).map(|layer| (layer, Ended::Made))
            }
            Err(reason) => Err(reason),
        };
        let ended = match &layer {
            Ok((_, ended)) => *ended,
            Err(_) if shared.check_going_on().is_err() => Ended::Stopped,
            Err(_) => Ended::Failed,
        };
        shared.progress.ended(self.step, ended, started.elapsed());
        let (layer, _) = layer?;
        state.keys.push((state.layers.len(), digest));
        state.created = state.created.max(layer.created);
        state.layers.push(layer);
        state.key = digest;
        Ok(())
    }

    fn find(
        &self,
        alone: &Alone<'_>,
        key: &Digest,
        below: &[Digest],
    ) -> std::result::Result<Option<BuiltLayer>, String> {
        let mut found = alone.made();
        if found.is_none() && !self.anew() {
            found = self.shared.store.step(key, below).map_err(|error| chain(&error))?;
            found = found.or_else(|| self.shared.runner.cached(key, below));
        }
        if found.is_some() {
            alone.count_cached();
        }
        Ok(found)
    }

    /// Whether the steps of this stage are made even if they are there.
    pub fn anew(&self) -> bool {
        self.shared.request.no_cache || self.shared.request.anew.contains(&self.number)
    }

    /// Says why a step is made, and remembers what it is made of.
    fn explain(&self, title: &str, key: Key) {
        let mut reasons = lock(&self.shared.reasons);
        let why = reasons.of(title, &key);
        reasons.remember(title, key);
        drop(reasons);
        let why = if self.anew() { vec!["nothing cached is to be used".to_owned()] } else { why };
        self.shared.progress.missed(self.step, &why);
    }
}

impl super::Request<'_> {
    pub(super) fn context_names(&self) -> BTreeSet<String> {
        self.contexts.keys().cloned().collect()
    }

    /// Whether a command may reach what the host does.
    pub(super) fn allows_host_network(&self) -> bool {
        self.host_network || self.network == Network::Host
    }

    /// When what there is was made.
    pub(super) fn time_of(&self, state: &State) -> Timestamp {
        match state.created {
            _ if self.clamp => self.created,
            Timestamp::NEVER => self.created,
            made => made,
        }
    }
}
