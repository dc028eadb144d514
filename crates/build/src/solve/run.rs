//! `RUN`.

use holm_store::BuiltLayer;
use serde_json::{Value, json};

use super::key::{Ingredients, described, key};
use super::runner::{MountSource, Ran, RunStep, StepMount};
use super::state::State;
use super::transfer::Transfer;
use super::tree::Source;
use super::{Build, diff_ids, fault};
use crate::dockerfile::{Mount, MountKind, Network, Program, Run, Security, Word, path};
use crate::error::Result;
use crate::expanded::Expander;
use crate::ignore::Ignore;
use crate::source::Position;
use crate::stages::Plan;
use crate::variables::PROXIES;

impl Build<'_> {
    pub(super) fn run_command(
        &mut self,
        state: &mut State,
        plan: &Plan,
        run: &Run,
        title: &str,
        position: Position,
    ) -> Result<()> {
        if let Some(device) = run.devices.first() {
            return Err(fault(position, format!("`RUN --device={}` is not there yet", device.name)));
        }
        // Whoever wrote the Dockerfile must not decide that it gets the host.
        if run.security == Security::Insecure {
            return Err(fault(
                position,
                "`RUN --security=insecure` has all rights of the host, and `--allow` is not there yet",
            ));
        }
        if run.network == Network::Host && self.request.network != Network::Host {
            return Err(fault(position, "`RUN --network=host` was not allowed")
                .hint("say `--network host` in the command to allow it"));
        }
        let mut expander = Expander::new(&state.variables);
        let mounts = run.resolved_mounts(&mut expander)?;
        let mut step = RunStep {
            layers: state.layers.clone(),
            words: words(state, run, position)?,
            environment: state.environment(),
            user: state.config.user.clone(),
            directory: state.config.working_dir.clone(),
            network: if run.network == Network::Default { self.request.network } else { run.network },
            created: self.request.created,
            anew: self.anew(),
            latest: self.latest(),
            insecure: run.security == Security::Insecure,
            mounts: Vec::new(),
        };
        let mut ingredients = Vec::new();
        for (mount, flag) in mounts.iter().zip(&run.mounts) {
            let from = mount.from.clone().map(|text| Word { text, position: flag.text.position });
            let (mount, ingredient) = self.mount(state, plan, (mount, from.as_ref()), position)?;
            step.mounts.extend(mount);
            ingredients.push(ingredient);
        }
        let what = Ingredients::Run {
            words: &step.words,
            environment: &step.environment,
            user: &step.user,
            directory: &step.directory,
            network: network_name(step.network),
            insecure: step.insecure,
            hosts: &self.request.hosts,
            mounts: ingredients,
        };
        let key = key(Some(&state.key), &what, self.latest());
        // What leads to the network makes no difference to what is done.
        step.environment.extend(self.proxies(state));
        let below = diff_ids(&state.layers);
        let made = self.step(state, key, &below, title, &mut |build, key| {
            let progress = &mut build.progress;
            match build.runner.run(&step, key, &mut |bytes| progress.output(bytes))? {
                Ran::Layer(layer) => Ok(*layer),
                Ran::Failed(code) => Err(format!("the command ended with exit code {code}")),
            }
        });
        made.map_err(|reason| fault(position, reason))
    }

    fn proxies(&self, state: &State) -> Vec<(String, String)> {
        let is_proxy = |name: &str| PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
        let given = self.request.given.arguments.iter();
        let unset = given.filter(|(name, _)| is_proxy(name) && state.variables.get(name).is_none());
        unset.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A mount, none for one that need not be there; and what it is in a key.
    fn mount(
        &mut self,
        state: &State,
        plan: &Plan,
        (mount, from): (&Mount, Option<&Word>),
        position: Position,
    ) -> Result<(Option<StepMount>, Value)> {
        let below = |target: &str| path::working_directory(&state.config.working_dir, target);
        let target = mount.target.as_deref().map(below);
        let wanted = || fault(position, "a mount needs `target`");
        let owner = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
        let read_only = mount.read_only;
        let one = |target: String, source| Some(StepMount { target, source, read_only });
        let shown = format!("{mount:?}");
        Ok(match mount.kind {
            MountKind::Tmpfs => {
                (one(target.ok_or_else(wanted)?, MountSource::Memory(mount.size)), shown.into())
            }
            MountKind::Cache => {
                if mount.from.is_some() {
                    return Err(fault(position, "a cache that begins with files (`from`) is not there yet"));
                }
                let target = target.ok_or_else(wanted)?;
                let source = MountSource::Cache {
                    id: mount.id.clone().unwrap_or_else(|| target.clone()),
                    sharing: mount.sharing.unwrap_or_default(),
                    mode: mount.mode.unwrap_or(0o755),
                    owner,
                };
                (one(target, source), shown.into())
            }
            MountKind::Secret => (self.secret(mount, target, owner, position)?, shown.into()),
            MountKind::Bind => self.bind(plan, (mount, from), target.ok_or_else(wanted)?, position)?,
            MountKind::Ssh => return Err(fault(position, "`RUN --mount=type=ssh` is not there yet")),
        })
    }

    /// A secret as a file, or as a variable.
    fn secret(
        &self,
        mount: &Mount,
        target: Option<String>,
        owner: (u32, u32),
        position: Position,
    ) -> Result<Option<StepMount>> {
        let id = mount.id.as_deref().or(mount.source.as_deref()).unwrap_or_default();
        let Some(path) = self.request.secrets.get(id) else {
            return match mount.required {
                true => Err(fault(position, format!("secret `{id}` is not given"))
                    .hint(format!("give it with --secret id={id},src=FILE"))),
                false => Ok(None),
            };
        };
        if mount.variable.is_some() {
            return Err(fault(position, "a secret in a variable (`env`) is not there yet")
                .hint("leave out `env` and read the file /run/secrets/ID"));
        }
        let source = MountSource::Secret { path: path.clone(), mode: mount.mode.unwrap_or(0o400), owner };
        let target = target.unwrap_or_else(|| format!("/run/secrets/{id}"));
        Ok(Some(StepMount { target, source, read_only: true }))
    }

    /// A path of the context as a layer of its own: what a command sees is what was looked at, whatever becomes of the context
    /// meanwhile.
    fn context_layer(&mut self, path: &str, position: Position) -> Result<BuiltLayer> {
        let sources = self.of_context(&[path], &Ignore::default(), position)?;
        let destination = match sources.first().is_some_and(Source::is_directory) {
            true => format!("/{CONTEXT}/"),
            false => format!("/{CONTEXT}"),
        };
        let what = Ingredients::Transfer {
            destination: &destination,
            owner: None,
            mode: None,
            unpacks: false,
            sources: described(&sources),
            texts: &[],
            exclude: &[],
        };
        let key = key(None, &what, self.latest());
        let failed = |reason| fault(position, reason);
        self.keys.push(key);
        if let Some(layer) = self.find(&key, &[]).map_err(failed)? {
            return Ok(layer);
        }
        let about = Transfer { tree: self.context.as_ref(), sources, ..self.transfer_to(destination) };
        self.pack(&key, &[], &mut |output| about.write(None, output)).map_err(failed)
    }

    fn bind(
        &mut self,
        plan: &Plan,
        (mount, from): (&Mount, Option<&Word>),
        target: String,
        position: Position,
    ) -> Result<(Option<StepMount>, Value)> {
        let path = path::source(mount.source.as_deref().unwrap_or("/"));
        if !mount.read_only {
            return Err(fault(position, "a bind mount that can be written (`rw`) is not there yet"));
        }
        let step = |source| Some(StepMount { target: target.clone(), source, read_only: true });
        let Some(from) = from else {
            let layer = self.context_layer(&path, position)?;
            let identity = json!([target, layer.diff_id]);
            return Ok((step(MountSource::Layers(vec![layer], format!("/{CONTEXT}"))), identity));
        };
        let layers = self.layers_of(plan, from, position)?;
        let identity = json!([target, diff_ids(&layers), path]);
        Ok((step(MountSource::Layers(layers, path)), identity))
    }
}

/// What a layer with a path of the context calls it.
const CONTEXT: &str = "context";

fn network_name(network: Network) -> &'static str {
    match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
}

/// What `RUN` executes.
fn words(state: &State, run: &Run, position: Position) -> Result<Vec<String>> {
    match run.program() {
        Program::Exec(words) if words.is_empty() => Err(fault(position, "`RUN` has no command")),
        Program::Exec(words) => Ok(words),
        Program::Shell(text) => Ok(state.config.in_shell(&text)),
        Program::Script { name, .. } => Err(fault(
            position,
            format!("`RUN <<{name}` with an interpreter of its own (`#!`) is not there yet"),
        )),
    }
}
