//! `COPY` and `WORKDIR`, and what `ADD` has in common with `COPY`.

use std::os::fd::AsFd;

use holm_spec::Digest;
use holm_store::{BuiltLayer, chain};
use serde_json::{Value, json};

use super::context::Files;
use super::key::{Ingredients, Key, described};
use super::schedule::Shared;
use super::stage::Stage;
use super::state::State;
use super::transfer::Transfer;
use super::tree::{Root, Source, Tree, Wanted};
use super::{diff_ids, fault};
use crate::dockerfile::mode::Mode;
use crate::dockerfile::{Copy, Transfer as Instruction, path};
use crate::error::{Kind, Result};
use crate::ignore::Ignore;
use crate::source::Position;

/// A transfer as an instruction has it.
pub(super) struct Order<'a> {
    pub files: &'a Instruction,
    /// What of its sources makes a difference, and what that is the digest of.
    pub identity: (Value, Value),
    /// Without `--chown`, owners are those that the files have.
    pub keeps_owners: bool,
    pub title: &'a str,
    pub position: Position,
}

/// Gets the files of a transfer when its layer is to be made.
pub(super) type Gather<'m> =
    dyn FnMut(&mut Stage<'_>, &Ignore) -> std::result::Result<Vec<Source>, String> + 'm;

impl Stage<'_> {
    pub(super) fn copy(
        &mut self,
        state: &mut State,
        copy: &Copy,
        title: &str,
        position: Position,
    ) -> Result<()> {
        let (files, parents) = (&copy.files, copy.parents);
        let sources: Vec<&str> = files.sources.iter().map(|word| word.text.as_str()).collect();
        let layers = match self.files_from(copy.from.as_ref(), position)? {
            Files::Layers(layers) => layers,
            Files::Context(name) => {
                let exclude = Ignore::of_patterns(&files.exclude)?;
                let wanted = Wanted { sources: &sources, parents, exclude: &exclude };
                // Files whose content stands in the Dockerfile need no context.
                let mut gathered = match sources.is_empty() {
                    true => Vec::new(),
                    false => self.shared.of_context(name.as_deref(), &wanted, position)?,
                };
                let identity = described(&gathered);
                let order = Order { files, identity, keeps_owners: false, title, position };
                return self.transfer(state, order, &mut |_, _| Ok(std::mem::take(&mut gathered)));
            }
        };
        let identity = json!({ "layers": diff_ids(&layers), "paths": sources, "parents": parents });
        let identity = (identity, Value::Null);
        let order = Order { files, identity, keeps_owners: true, title, position };
        self.transfer(state, order, &mut |build, exclude| {
            let tree = Tree::new(build.shared.runner.root(&layers)?, Ignore::default());
            tree.gather(&Wanted { sources: &sources, parents, exclude }, None)
        })
    }

    pub(super) fn transfer(
        &mut self,
        state: &mut State,
        order: Order<'_>,
        gather: &mut Gather<'_>,
    ) -> Result<()> {
        let Order { files, identity: (sources, described), .. } = order;
        let texts: Vec<_> = files.inline.iter().map(|text| (text.name.clone(), text.text())).collect();
        let destination = path::destination(&state.config.working_dir, &files.destination.text);
        let what = Ingredients::Transfer {
            destination: &destination,
            owner: files.owner.as_ref().map(|word| word.text.as_str()),
            mode: files.mode.as_ref().map(|word| word.text.as_str()),
            sources,
            texts: &texts,
            exclude: &files.exclude,
        };
        let mut key = Key::new((!files.link).then_some(&state.key), &what, self.shared.latest());
        key.files = described;
        let exclude = Ignore::of_patterns(&files.exclude)?;
        let mode = files
            .mode
            .as_ref()
            .map(|word| Mode::parse(&word.text).map_err(|reason| word.fault(Kind::Value, reason)));
        let mut mode = mode.transpose()?;
        let layers = if files.link { Vec::new() } else { state.layers.clone() };
        let owner = files.owner.as_ref().map(|word| word.text.clone());
        let made = self.step(state, key, &diff_ids(&layers), order.title, &mut |build, key| {
            let root = build.shared.root(&layers)?;
            let sources = gather(build, &exclude)?;
            let owner =
                owner.as_ref().map(|owner| build.shared.runner.owner(root_of(&root), owner)).transpose()?;
            let about = Transfer {
                keeps_owners: order.keeps_owners,
                sources,
                texts: texts.clone(),
                owner,
                mode: mode.take(),
                ..build.shared.transfer_to(destination.clone())
            };
            let below = root.as_ref().map(|root| root.as_fd());
            build.shared.pack(key, &layers, build.anew(), &mut |output| about.write(below, output))
        });
        made.map_err(|reason| fault(order.position, reason))
    }

    /// Whether a layer was made.
    pub(super) fn working_directory(
        &mut self,
        state: &mut State,
        text: &str,
        title: &str,
        position: Position,
    ) -> Result<bool> {
        let directory = path::working_directory(&state.config.working_dir, text);
        state.config.working_dir.clone_from(&directory);
        let what = Ingredients::Directory { path: &directory, user: &state.config.user };
        let key = Key::new(Some(&state.key), &what, self.shared.latest());
        let (layers, user) = (state.layers.clone(), state.config.user.clone());
        let made = self.step(state, key, &diff_ids(&layers), title, &mut |build, key| {
            let root = build.shared.root(&layers)?;
            let owner = match user.is_empty() {
                true => (0, 0),
                false => build.shared.runner.owner(root_of(&root), &user)?,
            };
            let about =
                Transfer { owner: Some(owner), latest: None, ..build.shared.transfer_to(directory.clone()) };
            let below = root.as_ref().map(|root| root.as_fd());
            build.shared.pack(key, &layers, build.anew(), &mut |output| about.write_directory(below, output))
        });
        made.map_err(|reason| fault(position, reason))?;
        Ok(true)
    }
}

impl Shared<'_> {
    /// Of nothing, as root, with the times of this build.
    pub(super) fn transfer_to(&self, destination: String) -> Transfer {
        Transfer {
            sources: Vec::new(),
            texts: Vec::new(),
            destination,
            owner: None,
            keeps_owners: false,
            mode: None,
            now: self.seconds(),
            latest: self.latest(),
        }
    }

    fn root(&self, layers: &[BuiltLayer]) -> std::result::Result<Option<Root>, String> {
        if layers.is_empty() { Ok(None) } else { self.runner.root(layers).map(Some) }
    }

    /// With `SOURCE_DATE_EPOCH` nothing is younger than that.
    pub(super) fn latest(&self) -> Option<i64> {
        self.request.clamp.then(|| self.seconds())
    }

    pub(super) fn seconds(&self) -> i64 {
        self.request.created.nanos().div_euclid(1_000_000_000)
    }

    /// Makes a layer of an archive while it is being written; also if it is there, if that is wanted.
    pub(super) fn pack(
        &self,
        key: &Digest,
        below: &[BuiltLayer],
        anew: bool,
        write: &mut dyn FnMut(&mut dyn std::io::Write) -> std::result::Result<(), String>,
    ) -> std::result::Result<BuiltLayer, String> {
        let (reader, writer) = std::io::pipe().map_err(|error| format!("make a pipe: {error}"))?;
        let (store, below, created) = (self.store, diff_ids(below), self.request.created);
        std::thread::scope(|scope| {
            let made = scope.spawn(move || store.make_step(key, reader, &below, created, anew));
            let mut output = std::io::BufWriter::with_capacity(256 << 10, writer);
            let wrote = write(&mut output).and_then(|()| {
                std::io::Write::flush(&mut output).map_err(|error| format!("write the layer: {error}"))
            });
            // An archive that broke off is none, and no layer comes of it.
            drop(output);
            let made = made.join().map_err(|_| "the layer could not be made".to_owned())?;
            match (wrote, made) {
                (Ok(()), made) => made.map_err(|error| chain(&error)),
                // What the store says is why nothing more could be written.
                (Err(reason), Err(error)) if reason.starts_with("write the layer") => Err(chain(&error)),
                (Err(reason), _) => Err(reason),
            }
        })
    }
}

/// A root as it is asked for names.
fn root_of(root: &Option<Root>) -> Option<&dyn AsFd> {
    root.as_ref().map(|root| &**root as &dyn AsFd)
}
