//! The stages of a build beside each other.
//!
//! Every stage that is needed has a thread. One that begins with another waits for that; one that takes files of another waits where
//! it takes them, and not before. A stage refers to stages above it alone, so that nobody waits in a circle. The first fault ends all.
//!
//! What is being made by one stage is waited for by others that need the same, and made once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use holm_spec::Digest;
use holm_store::{BuiltLayer, Store};

use super::context::Opened;
use super::reasons::Reasons;
use super::stage::Stage;
use super::state::State;
use super::{Ended, Progress, Request, StepRunner, fault};
use crate::error::{Fault, Result};
use crate::platform::Platform;
use crate::source::Position;
use crate::stages::{Origin, Plan};
use crate::variables::Globals;

/// Fewest steps that are made at a time; there are as many as processors if those are more. Most wait for a network or a disk.
const FEWEST_AT_A_TIME: usize = 4;

/// What the stages of a build have in common.
pub(super) struct Shared<'a> {
    pub request: &'a Request<'a>,
    pub store: &'a Store,
    pub runner: &'a dyn StepRunner,
    pub progress: &'a dyn Progress,
    pub plan: Plan,
    pub globals: Arc<Globals>,
    /// Contexts that somebody has taken files of, by their names; the context itself has none.
    pub contexts: Mutex<BTreeMap<String, Opened>>,
    pub reasons: Mutex<Reasons>,
    /// What stages begin with that begin with an image.
    bases: BTreeMap<usize, State>,
    stages: Watched<Stages>,
    steps: Watched<Steps>,
    at_a_time: usize,
}

/// How far the stages are.
#[derive(Default)]
struct Stages {
    ended: BTreeMap<usize, Arc<State>>,
    /// Why the build fails.
    fault: Option<Fault>,
}

/// How far the steps are.
#[derive(Default)]
struct Steps {
    /// Keys of steps that somebody looks for or makes.
    busy: BTreeSet<Digest>,
    /// How many are being made.
    making: usize,
    /// What this build has made.
    made: BTreeMap<Digest, BuiltLayer>,
    cached: usize,
    /// Keys of all that are there.
    all: Vec<Digest>,
}

impl<'a> Shared<'a> {
    /// Gets the images that stages begin with, and with them what they want done.
    pub fn new(
        request: &'a Request<'a>,
        store: &'a Store,
        runner: &'a dyn StepRunner,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let globals = Arc::new(Globals::new(request.dockerfile, &request.given)?);
        let plan = Plan::new(
            request.dockerfile,
            &globals,
            request.given.stage.as_deref(),
            &request.context_names(),
        )?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut shared = Self {
            request,
            store,
            runner,
            progress,
            plan,
            globals,
            contexts: Mutex::default(),
            reasons: Mutex::new(Reasons::open(request.reasons.clone())),
            bases: BTreeMap::new(),
            stages: Watched::default(),
            steps: Watched::default(),
            at_a_time: processors.max(FEWEST_AT_A_TIME),
        };
        shared.get_bases()?;
        Ok(shared)
    }

    /// What an image wants done may need further stages.
    fn get_bases(&mut self) -> Result<()> {
        while let Some(number) = self.next_base() {
            let position = self.request.dockerfile.stages[number].base.position;
            let mut state = match &self.plan.stages[number].base {
                Origin::Image(name) => self.base_of_image(name, number, position)?,
                Origin::Context(name) => self.base_of_context(name, number, position)?,
                Origin::Scratch | Origin::Stage(_) => unreachable!("they are no bases from elsewhere"),
            };
            // It is done now, and the configuration says it no more.
            let expressions = state.config.on_build.take().unwrap_or_default();
            let contexts = self.request.context_names();
            self.plan.add_triggers(self.request.dockerfile, &contexts, number, &expressions)?;
            self.bases.insert(number, state);
        }
        Ok(())
    }

    /// A stage that is needed and begins with something from elsewhere that is not there yet.
    fn next_base(&self) -> Option<usize> {
        let is_wanted = |number: &usize| {
            let from_elsewhere =
                matches!(self.plan.stages[*number].base, Origin::Image(_) | Origin::Context(_));
            from_elsewhere && self.plan.needed[*number] && !self.bases.contains_key(number)
        };
        (0..self.plan.stages.len()).find(is_wanted)
    }

    /// What a stage is made for, if what it begins with does not say.
    pub fn platform(&self, number: usize) -> &Platform {
        self.plan.stages[number].platform.as_ref().unwrap_or(&self.request.given.target)
    }

    /// The image that a stage begins with.
    pub fn base_of_image(&self, name: &str, number: usize, position: Position) -> Result<State> {
        let started = Instant::now();
        let step = self.progress.begin(&format!("[from] {name}"));
        let image = self.runner.image(name, &self.platform(number).without_variant());
        let ended = if image.is_ok() { Ended::Cached } else { Ended::Failed };
        self.progress.ended(step, ended, started.elapsed());
        let state = image.and_then(|image| State::of_image(self.store, &image, &self.globals));
        state.map_err(|reason| fault(position, reason))
    }

    /// Builds all stages that are needed; the target as it is then.
    pub fn run(&self) -> Result<Arc<State>> {
        let target = self.plan.target;
        std::thread::scope(|scope| {
            for number in (0..target).filter(|number| self.plan.needed[*number]) {
                let begun = std::thread::Builder::new().spawn_scoped(scope, move || self.stage(number));
                if let Err(error) = begun {
                    let position = self.request.dockerfile.stages[number].span.start;
                    let fault = fault(position, format!("begin the stage: {error}"));
                    self.stages.change(|stages| _ = stages.fault.get_or_insert(fault));
                }
            }
            self.stage(target);
        });
        let mut stages = self.stages.lock();
        match stages.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(stages.ended.remove(&target).expect("the target is built")),
        }
    }

    fn stage(&self, number: usize) {
        let position = self.request.dockerfile.stages[number].span.start;
        let mut ending = Ending { shared: self, number, result: Err(fault(position, "it broke off")) };
        ending.result = Stage::new(self, number).build();
    }

    /// What a stage begins with, as soon as it is there.
    pub fn base(&self, number: usize, position: Position) -> Result<State> {
        match &self.plan.stages[number].base {
            Origin::Scratch => Ok(State::scratch(&self.globals, self.platform(number))),
            Origin::Stage(base) => Ok(self.ended(*base, position)?.as_base()),
            Origin::Image(_) | Origin::Context(_) => Ok(self.bases[&number].clone()),
        }
    }

    /// A stage as it ended, as soon as it has.
    pub fn ended(&self, number: usize, position: Position) -> Result<Arc<State>> {
        let stages = self.stages.wait(|stages| stages.fault.is_some() || stages.ended.contains_key(&number));
        self.stopped(&stages).map_err(|reason| fault(position, reason))?;
        Ok(stages.ended[&number].clone())
    }

    /// Whether the build goes on.
    pub fn check_going_on(&self) -> std::result::Result<(), String> {
        self.stopped(&self.stages.lock())
    }

    fn stopped(&self, stages: &Stages) -> std::result::Result<(), String> {
        match &stages.fault {
            // Nobody hears this: what is told is the first fault.
            Some(_) => Err("another stage failed".to_owned()),
            None => Ok(()),
        }
    }

    /// Nobody else makes what has this key until it is dropped.
    pub fn alone(&self, key: Digest) -> Alone<'_> {
        let mut steps = self.steps.wait(|steps| !steps.busy.contains(&key));
        steps.busy.insert(key);
        Alone { shared: self, key }
    }

    /// The keys of all steps; how many were made, and how many were there.
    pub fn done(&self) -> (Vec<Digest>, (usize, usize)) {
        let mut steps = self.steps.lock();
        (std::mem::take(&mut steps.all), (steps.made.len(), steps.cached))
    }
}

/// A step that no other stage looks for or makes meanwhile.
pub(super) struct Alone<'a> {
    shared: &'a Shared<'a>,
    key: Digest,
}

impl Alone<'_> {
    /// What this build has made for that key.
    pub fn made(&self) -> Option<BuiltLayer> {
        self.shared.steps.lock().made.get(&self.key).cloned()
    }

    /// It need not be made.
    pub fn count_cached(&self) {
        let mut steps = self.shared.steps.lock();
        steps.cached += 1;
        steps.all.push(self.key);
    }

    /// Makes it, when it is its turn.
    pub fn make(
        &self,
        make: impl FnOnce() -> std::result::Result<BuiltLayer, String>,
    ) -> std::result::Result<BuiltLayer, String> {
        let steps = &self.shared.steps;
        steps.wait(|steps| steps.making < self.shared.at_a_time).making += 1;
        let _turn = Turn(self.shared);
        self.shared.check_going_on()?;
        let layer = make()?;
        let mut steps = steps.lock();
        steps.made.insert(self.key, layer.clone());
        steps.all.push(self.key);
        Ok(layer)
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.shared.steps.change(|steps| steps.busy.remove(&self.key));
    }
}

struct Turn<'a>(&'a Shared<'a>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.steps.change(|steps| steps.making -= 1);
    }
}

/// Says how a stage ended, also if its thread panics: others wait for it.
struct Ending<'a> {
    shared: &'a Shared<'a>,
    number: usize,
    result: Result<State>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let position = self.shared.request.dockerfile.stages[self.number].span.start;
        let result = std::mem::replace(&mut self.result, Err(fault(position, String::new())));
        let failed = result.is_err();
        self.shared.stages.change(|stages| match result {
            Ok(state) => _ = stages.ended.insert(self.number, Arc::new(state)),
            Err(fault) => _ = stages.fault.get_or_insert(fault),
        });
        if failed {
            self.shared.runner.stop();
        }
    }
}

/// Something that threads change, and wait for.
#[derive(Default)]
struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.value)
    }

    fn wait(&self, until: impl Fn(&T) -> bool) -> MutexGuard<'_, T> {
        let waiting = self.changed.wait_while(self.lock(), |value| !until(value));
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

/// What is behind a lock is whole between any two statements here, also if somebody panicked.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
