//! `RUN`.

use holm_store::BuiltLayer;
use serde_json::{Value, json};

use super::context::{CONTEXT, Files};
use super::key::{Ingredients, Key};
use super::runner::{MountSource, Ran, RunStep, StepMount};
use super::stage::Stage;
use super::state::State;
use super::{diff_ids, fault};
use crate::dockerfile::{Mount, MountKind, Network, Program, Run, Security, Word, path};
use crate::error::Result;
use crate::expanded::Expander;
use crate::source::Position;
use crate::variables::PROXIES;

impl Stage<'_> {
    pub(super) fn run_command(
        &mut self,
        state: &mut State,
        run: &Run,
        title: &str,
        position: Position,
    ) -> Result<()> {
        if let Some(device) = run.devices.first() {
            return Err(fault(position, format!("`RUN --device={}` is not there yet", device.name)));
        }
        // Whoever wrote the Dockerfile must not decide that it gets the host.
        if run.security == Security::Insecure && !self.shared.request.insecure {
            return Err(fault(
                position,
                "`RUN --security=insecure` was not allowed: it has all rights of the host",
            )
            .hint("say `--allow security.insecure` in the command to allow it"));
        }
        if run.network == Network::Host && !self.shared.request.allows_host_network() {
            return Err(fault(position, "`RUN --network=host` was not allowed")
                .hint("say `--network host` or `--allow network.host` in the command to allow it"));
        }
        let mut expander = Expander::new(&state.variables);
        let mounts = run.resolved_mounts(&mut expander)?;
        let mut step = RunStep {
            layers: state.layers.clone(),
            words: Vec::new(),
            environment: state.environment(),
            user: state.config.user.clone(),
            directory: state.config.working_dir.clone(),
            network: if run.network == Network::Default { self.shared.request.network } else { run.network },
            created: self.shared.request.created,
            anew: self.anew(),
            latest: self.shared.latest(),
            insecure: run.security == Security::Insecure,
            mounts: Vec::new(),
            secrets: Vec::new(),
            platform: Some(state.platform.clone()),
        };
        let mut ingredients = Vec::new();
        match run.program() {
            Program::Exec(words) if words.is_empty() => return Err(fault(position, "`RUN` has no command")),
            Program::Exec(words) => step.words = words,
            Program::Shell(text) => step.words = state.config.in_shell(&text),
            Program::Script { name, text } => {
                let target = format!("{SCRIPTS}/{name}");
                step.words = vec![target.clone()];
                ingredients.push(json!([target, text]));
                step.mounts.push(StepMount { target, source: MountSource::Script(text), read_only: true });
            }
        }
        for (mount, flag) in mounts.iter().zip(&run.mounts) {
            let from = mount.from.clone().map(|text| Word { text, position: flag.text.position });
            if mount.kind == MountKind::Secret {
                self.secret(mount, &mut step, position)?;
                ingredients.push(format!("{mount:?}").into());
                continue;
            }
            let (mount, ingredient) = self.mount(state, (mount, from.as_ref()), position)?;
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
            platform: &state.platform.to_string(),
            hosts: &self.shared.request.hosts,
            mounts: ingredients,
        };
        let key = Key::new(Some(&state.key), &what, self.shared.latest());
        // What leads to the network makes no difference to what is done.
        step.environment.extend(self.proxies(state));
        step.environment.extend(agent_variable(&step));
        let below = diff_ids(&state.layers);
        let made = self.step(state, key, &below, title, &mut |build, key| {
            let (shared, number) = (build.shared, build.step);
            match shared.runner.run(&step, key, &mut |bytes| shared.progress.output(number, bytes))? {
                Ran::Layer(layer) => Ok(*layer),
                Ran::Failed(code) => Err(format!("the command ended with exit code {code}")),
            }
        });
        made.map_err(|reason| fault(position, reason))
    }

    fn proxies(&self, state: &State) -> Vec<(String, String)> {
        let is_proxy = |name: &str| PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
        let given = self.shared.request.given.arguments.iter();
        let unset = given.filter(|(name, _)| is_proxy(name) && state.variables.get(name).is_none());
        unset.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// A mount, none for one that need not be there; and what it is in a key.
    fn mount(
        &mut self,
        state: &State,
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
                let target = target.ok_or_else(wanted)?;
                let content = from.map(|from| self.mounted(mount, Some(from), position)).transpose()?;
                let content = content.map(|(layers, path, _)| (layers, path));
                let source = MountSource::Cache {
                    id: mount.id.clone().unwrap_or_else(|| target.clone()),
                    sharing: mount.sharing.unwrap_or_default(),
                    mode: mount.mode.unwrap_or(0o755),
                    owner,
                    content,
                };
                (one(target, source), shown.into())
            }
            MountKind::Bind => self.bind((mount, from), target.ok_or_else(wanted)?, position)?,
            MountKind::Ssh => (self.agent(mount, target, owner, position)?, shown.into()),
            MountKind::Secret => (None, Value::Null),
        })
    }

    /// A secret as a file, as a variable, or as both.
    fn secret(&self, mount: &Mount, step: &mut RunStep, position: Position) -> Result<()> {
        let id = mount.id.as_deref().or(mount.source.as_deref()).unwrap_or_default();
        let Some(secret) = self.shared.request.secrets.get(id) else {
            return match mount.required {
                true => Err(fault(position, format!("secret `{id}` is not given"))
                    .hint(format!("give it with --secret id={id},src=FILE"))),
                false => Ok(()),
            };
        };
        if let Some(variable) = &mount.variable {
            step.secrets.push((variable.clone(), secret.clone()));
        }
        if mount.variable.is_none() || mount.target.is_some() {
            let target =
                mount.target.as_deref().map(|target| path::working_directory(&step.directory, target));
            let owner = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0));
            let source =
                MountSource::Secret { secret: secret.clone(), mode: mount.mode.unwrap_or(0o400), owner };
            let target = target.unwrap_or_else(|| format!("/run/secrets/{id}"));
            step.mounts.push(StepMount { target, source, read_only: true });
        }
        Ok(())
    }

    /// A socket that leads to an agent of SSH keys.
    fn agent(
        &self,
        mount: &Mount,
        target: Option<String>,
        owner: (u32, u32),
        position: Position,
    ) -> Result<Option<StepMount>> {
        let id = mount.id.as_deref().unwrap_or("default");
        let Some(socket) = self.shared.request.agents.get(id) else {
            return match mount.required {
                true => Err(fault(position, format!("no agent of SSH keys is given as `{id}`"))
                    .hint(format!("give one with --ssh {id}, with $SSH_AUTH_SOCK, or --ssh {id}=SOCKET"))),
                false => Ok(None),
            };
        };
        let target = target.unwrap_or_else(|| format!("{AGENTS}/{id}"));
        let source = MountSource::Agent { socket: socket.clone(), mode: mount.mode.unwrap_or(0o600), owner };
        Ok(Some(StepMount { target, source, read_only: false }))
    }

    /// Where a mount finds its files: a path in layers, and what these are in a key.
    fn mounted(
        &mut self,
        mount: &Mount,
        from: Option<&Word>,
        position: Position,
    ) -> Result<(Vec<BuiltLayer>, String, Value)> {
        let path = path::source(mount.source.as_deref().unwrap_or("/"));
        Ok(match self.files_from(from, position)? {
            Files::Context(name) => {
                let (key, layer) = self.shared.context_layer(name.as_deref(), (&path, CONTEXT), position)?;
                (vec![layer], CONTEXT.to_owned(), json!([key]))
            }
            Files::Layers(layers) => {
                let known = json!(diff_ids(&layers));
                (layers, path, known)
            }
        })
    }

    fn bind(
        &mut self,
        (mount, from): (&Mount, Option<&Word>),
        target: String,
        position: Position,
    ) -> Result<(Option<StepMount>, Value)> {
        let (layers, path, known) = self.mounted(mount, from, position)?;
        let read_only = mount.read_only;
        let identity = json!([target, known, path, read_only]);
        Ok((Some(StepMount { target, source: MountSource::Layers(layers, path), read_only }), identity))
    }
}

/// Where programs of the Dockerfile's own are, as with BuildKit.
const SCRIPTS: &str = "/dev/pipes";
/// Where agents are that nobody says where to put.
const AGENTS: &str = "/run/holm/agents";

fn network_name(network: Network) -> &'static str {
    match network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    }
}

/// Where the first agent is, for a command that nobody told.
fn agent_variable(step: &RunStep) -> Option<(String, String)> {
    const NAME: &str = "SSH_AUTH_SOCK";
    let agent = step.mounts.iter().find(|mount| matches!(mount.source, MountSource::Agent { .. }))?;
    let is_set = step.environment.iter().any(|(name, _)| name == NAME);
    (!is_set).then(|| (NAME.to_owned(), agent.target.clone()))
}
