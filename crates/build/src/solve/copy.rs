//! `COPY`, `ADD` and `WORKDIR`.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use holm_spec::Digest;
use holm_store::{BuiltLayer, chain};
use rustix::fs::{Mode as OpenMode, OFlags};
use serde_json::{Value, json};

use super::key::{Ingredients, described, key};
use super::scan::{self, Scan};
use super::state::State;
use super::transfer::Transfer;
use super::tree::{Source, Tree};
use super::{Build, diff_ids, fault};
use crate::dockerfile::mode::Mode;
use crate::dockerfile::{Add, Copy, Transfer as Files, Word, path};
use crate::error::{Kind, Result};
use crate::ignore::Ignore;
use crate::source::Position;
use crate::stages::{Origin, Plan};
use crate::variables::Globals;

/// Gets the files of a transfer when its layer is to be made: where they are, if not in the context.
type Gather<'m> =
    dyn FnMut(&mut Build<'_>, &Ignore) -> std::result::Result<(Option<Tree>, Vec<Source>), String> + 'm;

impl Build<'_> {
    /// The layers of a stage or an image.
    pub(super) fn layers_of(
        &mut self,
        plan: &Plan,
        from: &Word,
        position: Position,
    ) -> Result<Vec<BuiltLayer>> {
        let used = plan.stages[self.current].uses.iter().find(|used| used.place == *from);
        match used.expect("what a stage uses was planned").origin.clone() {
            Origin::Stage(number) => Ok(self.stages.get(&number).expect("it is needed").layers.clone()),
            Origin::Scratch => Ok(Vec::new()),
            Origin::Context(name) => Err(fault(position, format!("context `{name}` is not there yet"))),
            Origin::Image(name) => {
                let globals = Rc::new(Globals::new(self.request.dockerfile, &self.request.given)?);
                let image = self.runner.image(&name).map_err(|reason| fault(position, reason))?;
                Ok(State::of_image(self.store, &image, &globals)
                    .map_err(|reason| fault(position, reason))?
                    .layers)
            }
        }
    }

    pub(super) fn of_context(
        &mut self,
        sources: &[&str],
        exclude: &Ignore,
        position: Position,
    ) -> Result<Vec<Source>> {
        let Some(directory) = self.request.context else {
            return Err(fault(position, "there is no build context to take files from")
                .hint("give a directory as the last argument of the command"));
        };
        if self.context.is_none() {
            let root = open_directory(directory);
            let root =
                root.map_err(|error| fault(position, format!("open `{}`: {error}", directory.display())))?;
            self.context = Some(Tree::new(root, self.request.ignore.clone()));
            self.scan = Some(Scan::open(scan::path_of(&self.request.scans, directory)));
        }
        let tree = self.context.as_ref().expect("it was just opened");
        tree.gather(sources, exclude, self.scan.as_mut()).map_err(|reason| fault(position, reason))
    }

    pub(super) fn copy(
        &mut self,
        state: &mut State,
        plan: &Plan,
        copy: &Copy,
        title: &str,
        position: Position,
    ) -> Result<()> {
        if copy.parents {
            return Err(fault(position, "`COPY --parents` is not there yet"));
        }
        let Some(from) = &copy.from else {
            return self.take_context(state, &copy.files, false, title, position);
        };
        let layers = self.layers_of(plan, from, position)?;
        let sources: Vec<&str> = copy.files.sources.iter().map(|word| word.text.as_str()).collect();
        let identity = json!({ "layers": diff_ids(&layers), "paths": sources });
        self.transfer(state, &copy.files, false, identity, title, position, &mut |build, exclude| {
            let root = build.runner.root(&layers)?;
            let root = root.as_fd().try_clone_to_owned().map_err(|error| error.to_string())?;
            let tree = Tree::new(root, Ignore::default());
            let gathered = tree.gather(&sources, exclude, None)?;
            Ok((Some(tree), gathered))
        })
    }

    pub(super) fn add(
        &mut self,
        state: &mut State,
        add: &Add,
        title: &str,
        position: Position,
    ) -> Result<()> {
        let remote = |word: &&Word| {
            let text = word.text.as_str();
            ["http://", "https://", "git@", "git://", "ssh://"].iter().any(|scheme| text.starts_with(scheme))
        };
        if let Some(word) = add.files.sources.iter().find(remote) {
            return Err(fault(position, format!("`ADD {}`: downloads are not there yet", word.text)));
        }
        self.take_context(state, &add.files, add.unpack != Some(false), title, position)
    }

    fn take_context(
        &mut self,
        state: &mut State,
        files: &Files,
        unpacks: bool,
        title: &str,
        position: Position,
    ) -> Result<()> {
        let exclude = Ignore::of_patterns(&files.exclude)?;
        let sources: Vec<&str> = files.sources.iter().map(|word| word.text.as_str()).collect();
        let gathered = match sources.is_empty() {
            true => Vec::new(),
            false => self.of_context(&sources, &exclude, position)?,
        };
        let identity = described(&gathered);
        let mut gathered = Some(gathered);
        self.transfer(state, files, unpacks, identity, title, position, &mut |_, _| {
            Ok((None, gathered.take().unwrap_or_default()))
        })
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "what a transfer is, where it stands, and where its files come from"
    )]
    fn transfer(
        &mut self,
        state: &mut State,
        files: &Files,
        unpacks: bool,
        identity: Value,
        title: &str,
        position: Position,
        gather: &mut Gather<'_>,
    ) -> Result<()> {
        let texts: Vec<_> = files.inline.iter().map(|text| (text.name.clone(), text.text())).collect();
        let destination = path::destination(&state.config.working_dir, &files.destination.text);
        let what = Ingredients::Transfer {
            destination: &destination,
            owner: files.owner.as_ref().map(|word| word.text.as_str()),
            mode: files.mode.as_ref().map(|word| word.text.as_str()),
            unpacks,
            sources: identity,
            texts: &texts,
            exclude: &files.exclude,
        };
        let key = key((!files.link).then_some(&state.key), &what, self.latest());
        let exclude = Ignore::of_patterns(&files.exclude)?;
        let mode = files
            .mode
            .as_ref()
            .map(|word| Mode::parse(&word.text).map_err(|reason| word.fault(Kind::Value, reason)));
        let mode = mode.transpose()?;
        let layers = if files.link { Vec::new() } else { state.layers.clone() };
        let owner = files.owner.as_ref().map(|word| word.text.clone());
        let mut mode = Some(mode);
        let made = self.step(state, key, &diff_ids(&layers), title, &mut |build, key| {
            let root = build.root(&layers)?;
            let (tree, sources) = gather(build, &exclude)?;
            let owner = owner.as_ref().map(|owner| build.runner.owner(root.as_deref(), owner)).transpose()?;
            let about = Transfer {
                keeps_owners: tree.is_some(),
                tree: tree.as_ref().or(build.context.as_ref()),
                sources,
                texts: texts.clone(),
                destination: destination.clone(),
                owner,
                mode: mode.take().flatten(),
                unpacks,
                now: build.seconds(),
                latest: build.latest(),
            };
            let below = root.as_ref().map(|root| root.as_fd());
            build.pack(key, &layers, &mut |output| about.write(below, output))
        });
        made.map_err(|reason| fault(position, reason))
    }

    /// Of nothing, as root, with the times of this build.
    pub(super) fn transfer_to(&self, destination: String) -> Transfer<'static> {
        Transfer {
            tree: None,
            sources: Vec::new(),
            texts: Vec::new(),
            destination,
            owner: None,
            keeps_owners: false,
            mode: None,
            unpacks: false,
            now: self.seconds(),
            latest: self.latest(),
        }
    }

    fn root(&self, layers: &[BuiltLayer]) -> std::result::Result<Option<Box<dyn AsFd>>, String> {
        if layers.is_empty() { Ok(None) } else { self.runner.root(layers).map(Some) }
    }

    /// With `SOURCE_DATE_EPOCH` nothing is younger than that.
    pub(super) fn latest(&self) -> Option<i64> {
        self.request.clamp.then(|| self.seconds())
    }

    fn seconds(&self) -> i64 {
        self.request.created.nanos().div_euclid(1_000_000_000)
    }

    /// Makes a layer of an archive while it is being written.
    pub(super) fn pack(
        &self,
        key: &Digest,
        below: &[BuiltLayer],
        write: &mut dyn FnMut(&mut dyn std::io::Write) -> std::result::Result<(), String>,
    ) -> std::result::Result<BuiltLayer, String> {
        let (reader, writer) = std::io::pipe().map_err(|error| format!("make a pipe: {error}"))?;
        let (store, below, created) = (self.store, diff_ids(below), self.request.created);
        let anew = self.anew();
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
        let key = key(Some(&state.key), &what, self.latest());
        let (layers, user) = (state.layers.clone(), state.config.user.clone());
        let made = self.step(state, key, &diff_ids(&layers), title, &mut |build, key| {
            let root = build.root(&layers)?;
            let owner = match user.is_empty() {
                true => (0, 0),
                false => build.runner.owner(root.as_deref(), &user)?,
            };
            let about = Transfer { owner: Some(owner), latest: None, ..build.transfer_to(directory.clone()) };
            let below = root.as_ref().map(|root| root.as_fd());
            build.pack(key, &layers, &mut |output| about.write_directory(below, output))
        });
        made.map_err(|reason| fault(position, reason))?;
        Ok(true)
    }
}

fn open_directory(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, OpenMode::empty())?)
}
