//! Where files come from: the context, what the caller gives names (`--build-context`), stages, images.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holm_spec::Digest;
use holm_store::{BuiltLayer, chain};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use super::key::{Ingredients, Key, described};
use super::scan::{self, Scan};
use super::schedule::{Shared, lock};
use super::stage::Stage;
use super::state::State;
use super::transfer::Transfer;
use super::tree::{Source, Tree, Wanted};
use super::{diff_ids, fault};
use crate::dockerfile::Word;
use crate::error::Result;
use crate::ignore::Ignore;
use crate::source::Position;
use crate::stages::Origin;

/// What a layer with a path of a context calls it.
pub(super) const CONTEXT: &str = "/context";

/// A directory that files are taken from.
#[derive(Debug)]
pub struct Directory {
    /// Where it is, without links.
    pub path: PathBuf,
    /// What of it is left out.
    pub ignore: Ignore,
    /// It is there for this build alone: what its files hold is not remembered.
    pub passing: bool,
}

/// What the caller's name means.
#[derive(Debug)]
pub enum Named {
    /// Files.
    Files(Directory),
    /// An image, by its name.
    Image(String),
}

/// What an instruction takes files from.
pub(super) enum Files {
    /// The context, or that of a name.
    Context(Option<String>),
    /// A stage or an image.
    Layers(Vec<BuiltLayer>),
}

/// A context that was looked at.
pub(super) struct Opened {
    tree: Arc<Tree>,
    scan: Scan,
}

impl Opened {
    fn new(directory: &Directory, scans: &Path) -> std::io::Result<Self> {
        let root = Box::new(open(&directory.path)?);
        let memory = (!directory.passing).then(|| scan::path_of(scans, &directory.path));
        Ok(Self { tree: Tree::new(root, directory.ignore.clone()), scan: Scan::open(memory) })
    }

    /// Remembers for the next build what the files hold.
    pub fn keep(self) {
        self.scan.keep();
    }
}

impl Stage<'_> {
    /// What `from` means.
    pub(super) fn files_from(&mut self, from: Option<&Word>, position: Position) -> Result<Files> {
        let shared = self.shared;
        let Some(from) = from else { return Ok(Files::Context(None)) };
        let used = shared.plan.stages[self.number].uses.iter().find(|used| used.place == *from);
        Ok(match used.expect("what a stage uses was planned").origin.clone() {
            Origin::Stage(number) => Files::Layers(shared.ended(number, position)?.layers.clone()),
            Origin::Scratch => Files::Layers(Vec::new()),
            Origin::Image(name) => Files::Layers(self.image_layers(&name, position)?),
            Origin::Context(name) => match shared.named(&name) {
                Named::Files(_) => Files::Context(Some(name)),
                Named::Image(image) => Files::Layers(self.image_layers(image, position)?),
            },
        })
    }

    /// The layers of an image for what this stage is made for.
    fn image_layers(&self, name: &str, position: Position) -> Result<Vec<BuiltLayer>> {
        let shared = self.shared;
        let image = shared.runner.image(name, &shared.platform(self.number).without_variant());
        let state = image.and_then(|image| State::of_image(shared.store, &image, &shared.globals));
        Ok(state.map_err(|reason| fault(position, reason))?.layers)
    }
}

impl<'a> Shared<'a> {
    fn named(&self, name: &str) -> &'a Named {
        self.request.contexts.get(name).expect("only names that were given are contexts")
    }

    /// What is wanted of the context, or of that of a name.
    pub(super) fn of_context(
        &self,
        name: Option<&str>,
        wanted: &Wanted<'_>,
        position: Position,
    ) -> Result<Vec<Source>> {
        let directory = match name.map(|name| self.named(name)) {
            None => self.request.context.as_ref(),
            Some(Named::Files(directory)) => Some(directory),
            Some(Named::Image(_)) => None,
        };
        let Some(directory) = directory else {
            return Err(fault(position, "there is no build context to take files from")
                .hint("give a directory as the last argument of the command"));
        };
        let key = name.unwrap_or_default();
        let mut contexts = lock(&self.contexts);
        if !contexts.contains_key(key) {
            let path = directory.path.display();
            let opened = Opened::new(directory, &self.request.scans);
            let opened = opened.map_err(|error| fault(position, format!("open `{path}`: {error}")))?;
            contexts.insert(key.to_owned(), opened);
        }
        let opened = contexts.get_mut(key).expect("it was just opened");
        opened.tree.gather(wanted, Some(&mut opened.scan)).map_err(|reason| fault(position, reason))
    }

    /// A path of a context as a layer of its own, in which it is called `called`: what a command sees is what was looked at,
    /// whatever becomes of the context meanwhile. Before it, what it is known by: its times are those of this machine's files, and so
    /// is its digest.
    pub(super) fn context_layer(
        &self,
        name: Option<&str>,
        (path, called): (&str, &str),
        position: Position,
    ) -> Result<(Digest, BuiltLayer)> {
        let exclude = Ignore::default();
        let wanted = Wanted { sources: &[path], parents: false, exclude: &exclude };
        let sources = self.of_context(name, &wanted, position)?;
        let destination = match sources.first().is_some_and(Source::is_directory) {
            true => format!("{called}/"),
            false => called.to_owned(),
        };
        let what = Ingredients::Transfer {
            destination: &destination,
            owner: None,
            mode: None,
            sources: described(&sources).0,
            texts: &[],
            exclude: &[],
        };
        let key = Key::new(None, &what, self.latest()).digest;
        let failed = |reason| fault(position, reason);
        if let Some(layer) = self.store.step(&key, &[]).map_err(|error| failed(chain(&error)))? {
            return Ok((key, layer));
        }
        let about = Transfer { sources, ..self.transfer_to(destination) };
        let layer = self.pack(&key, &[], self.request.no_cache, &mut |output| about.write(None, output));
        Ok((key, layer.map_err(failed)?))
    }

    /// A stage that begins with what a name means: an image, or files and no configuration.
    pub(super) fn base_of_context(&self, name: &str, number: usize, position: Position) -> Result<State> {
        if let Named::Image(image) = self.named(name) {
            return self.base_of_image(image, number, position);
        }
        let (_, layer) = self.context_layer(Some(name), ("/", ""), position)?;
        let created = layer.created;
        let layers = vec![layer];
        let what = Ingredients::Base { layers: diff_ids(&layers) };
        let history = vec![json!({ "created": created.to_string(), "created_by": format!("FROM {name}") })];
        let key = Key::new(None, &what, None).digest;
        let nothing = State::scratch(&self.globals, self.platform(number));
        Ok(State { layers, history, created, key, ..nothing })
    }
}

fn open(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}
