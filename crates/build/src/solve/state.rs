//! A stage as far as it is built, and what instructions change of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use holm_spec::platform::Platform;
use holm_spec::{Digest, Timestamp};
use holm_store::{BuiltLayer, Image, Store, chain};
use serde_json::{Value, json};

use super::config::{BaseDocument, ImageConfig};
use super::key::{Ingredients, Key};
use crate::dockerfile::{Command, CommandLine, port};
use crate::error::{Kind, Result};
use crate::platform;
use crate::variables::{Globals, Variables};

/// A stage as far as it is built.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub layers: Vec<BuiltLayer>,
    pub config: ImageConfig,
    pub history: Vec<Value>,
    pub variables: Variables,
    /// Values of `ARG`, which commands see.
    pub arguments: BTreeMap<String, String>,
    pub author: Option<String>,
    /// `CMD` was said in this stage: an `ENTRYPOINT` behind it leaves it alone.
    pub has_command: bool,
    /// What its commands are made for.
    pub platform: Platform,
    /// The variant of the processor, as the base has it.
    pub variant: Option<String>,
    /// The key of the last step that made a layer, or of the base.
    pub key: Digest,
    /// The keys of the steps that layers are of, with the numbers of these.
    pub keys: Vec<(usize, Digest)>,
    /// When the youngest part was made.
    pub created: Timestamp,
}

impl State {
    /// Nothing: `FROM scratch`.
    pub fn scratch(globals: &Arc<Globals>, platform: &platform::Platform) -> Self {
        Self {
            layers: Vec::new(),
            config: ImageConfig::default(),
            history: Vec::new(),
            variables: Variables::new(globals.clone(), []),
            arguments: BTreeMap::new(),
            author: None,
            has_command: false,
            platform: platform.without_variant(),
            variant: Some(platform.variant.clone()).filter(|variant| !variant.is_empty()),
            key: Key::new(None, &Ingredients::Base { layers: Vec::new() }, None).digest,
            keys: Vec::new(),
            created: Timestamp::NEVER,
        }
    }

    /// What an image says.
    ///
    /// # Errors
    /// Its configuration cannot be read.
    pub fn of_image(
        store: &Store,
        image: &Image,
        globals: &Arc<Globals>,
    ) -> std::result::Result<Self, String> {
        let content = store.blob(&image.id).map_err(|error| chain(&error))?;
        let document: BaseDocument = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
        let config = document.config.unwrap_or_default();
        let descriptors = image.manifest.layers().iter().cloned();
        let layers = image.diff_ids.iter().zip(descriptors);
        let layers = layers.map(|(diff_id, descriptor)| BuiltLayer {
            diff_id: *diff_id,
            descriptor,
            created: Timestamp::NEVER,
        });
        let created = document.created.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::NEVER);
        Ok(Self {
            layers: layers.collect(),
            variables: Variables::new(globals.clone(), config.variables()),
            config,
            history: whole_history(document.history, image.diff_ids.len()),
            arguments: BTreeMap::new(),
            author: document.author,
            has_command: false,
            platform: image.platform(),
            variant: document.variant,
            key: Key::new(None, &Ingredients::Base { layers: image.diff_ids.clone() }, None).digest,
            keys: Vec::new(),
            created,
        })
    }

    /// As what another stage begins with.
    pub fn as_base(&self) -> Self {
        let variables = Variables::of_stage(Arc::new(self.variables.clone()));
        let mut state = Self { variables, has_command: false, ..self.clone() };
        // The plan has it as instructions, and the configuration says it no more.
        state.config.on_build = None;
        state
    }

    /// The environment of commands: that of the image, and what `ARG` says besides.
    pub fn environment(&self) -> Vec<(String, String)> {
        let mut environment: Vec<_> = self.config.variables().collect();
        let is_set = |name: &String| self.config.variables().any(|(known, _)| known == *name);
        let arguments = self.arguments.iter().filter(|(name, _)| !is_set(name));
        environment.extend(arguments.map(|(name, value)| (name.clone(), value.clone())));
        environment
    }
}

/// A history that has an entry for each layer: some images have none.
fn whole_history(mut history: Vec<Value>, layers: usize) -> Vec<Value> {
    let is_empty = |entry: &&Value| entry["empty_layer"] == true;
    let told = history.len() - history.iter().filter(is_empty).count();
    let untold = layers.saturating_sub(told);
    history.splice(0..0, std::iter::repeat_n(json!({ "created_by": "unknown" }), untold));
    history
}

/// What changes the configuration alone.
pub(super) fn configure(state: &mut State, command: &Command) -> Result<()> {
    let config = &mut state.config;
    let nothing = serde_json::Map::new;
    match command {
        Command::Arg(arguments) => {
            for argument in arguments {
                if let (Some(value), _) = state.variables.declare(argument)? {
                    state.arguments.insert(argument.name.clone(), value);
                }
            }
        }
        Command::Env(pairs) => {
            for pair in pairs {
                config.set_variable(&pair.name.text, &pair.value.text);
                state.variables.set(&pair.name.text, &pair.value.text);
            }
        }
        Command::Label(pairs) => {
            let pairs = pairs.iter().map(|pair| (pair.name.text.clone(), pair.value.text.clone()));
            config.labels.extend(pairs);
        }
        Command::Expose(words) => {
            for word in words {
                let ports = port::parse(&word.text).map_err(|reason| word.fault(Kind::Value, reason))?;
                config.exposed_ports.extend(ports.names().map(|name| (name, nothing())));
            }
        }
        Command::Volume(words) => {
            config.volumes.extend(words.iter().map(|word| (word.text.clone(), nothing())));
        }
        Command::Cmd(line) => {
            config.cmd = Some(config.words(line));
            state.has_command = true;
        }
        Command::Entrypoint(line) => {
            config.entrypoint = Some(config.words(line)).filter(|words| !is_nothing(line, words));
            // Arguments of the base's entry point mean nothing to this one.
            if !state.has_command {
                config.cmd = None;
            }
        }
        Command::Healthcheck(check) => config.set_health(check),
        Command::Maintainer(name) => state.author = Some(name.clone()),
        Command::Onbuild(trigger) => {
            config.on_build.get_or_insert_default().push(trigger.expression.clone());
        }
        Command::Shell(words) => config.shell = Some(words.clone()),
        Command::StopSignal(word) => config.stop_signal = Some(word.text.clone()),
        Command::User(word) => config.user.clone_from(&word.text),
        Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_) => {}
    }
    Ok(())
}

fn is_nothing(line: &CommandLine, words: &[String]) -> bool {
    matches!(line, CommandLine::Exec(_)) && words.is_empty()
}
