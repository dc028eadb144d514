//! An image from what a workload changed.

use std::fs::File;

use holm_spec::image;
use holm_spec::workload::{Config, Isolation};
use holm_spec::{Digest, Id, Reference};
use holm_store::{Change, Commit, Image};

use super::copy::{connect, pipe};
use crate::{Engine, Kind, Result};

/// Variables that a workload gets at its start and that are no part of its image.
const OWN_VARIABLES: [&str; 3] = ["HOSTNAME", "TERM", "HOME"];

/// What is to be made of a workload.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitRequest<'a> {
    /// The image's name.
    pub reference: Option<&'a Reference>,
    /// Changes to its configuration, in order.
    pub changes: &'a [Change],
    /// The comment in its history.
    pub message: Option<&'a str>,
    /// Who made it.
    pub author: Option<&'a str>,
    /// Stop a running container meanwhile. A virtual machine goes on: its agent has to read the files.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of what a workload changed, above its own image; the new image's id.
    ///
    /// # Errors
    /// As [`super::Files::layer`]; [`crate::Kind::NoSuchImage`] if the workload's own is damaged.
    pub fn commit(&self, id: &Id, request: &CommitRequest<'_>) -> Result<Digest> {
        let files = self.files(id)?;
        let config = files.config();
        let parent = self.store.resolve(&config.image.id.to_string())?;
        let created_by = config.settings.entrypoint.iter().chain(&config.settings.command);
        let created_by = created_by.map(String::as_str).collect::<Vec<_>>().join(" ");
        let commit = Commit {
            parent: &parent,
            reference: request.reference,
            config: image_config(config, &parent),
            changes: request.changes,
            message: request.message,
            author: request.author,
            created_by: &created_by,
            created: None,
        };
        let running = self.workload(id)?;
        let pause = request.pause && running.state.pid != 0 && !running.paused;
        let _paused =
            if pause && config.isolation == Isolation::Container { Pause::begin(self, id)? } else { None };
        let (output, input) = pipe()?;
        connect(|| files.layer(output), || Ok(self.store.commit(File::from(input), &commit)?))
    }
}

/// A workload that stands still until this is dropped.
struct Pause<'a> {
    engine: &'a Engine,
    id: &'a Id,
}

impl<'a> Pause<'a> {
    /// `None` if it has ended meanwhile: nothing of it writes any more.
    fn begin(engine: &'a Engine, id: &'a Id) -> Result<Option<Self>> {
        match engine.pause(id) {
            Ok(()) => Ok(Some(Self { engine, id })),
            Err(error) if error.kind() == Kind::NotRunning => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        let _ = self.engine.unpause(self.id);
    }
}

/// What the workload runs, as the configuration of an image.
fn image_config(config: &Config, parent: &Image) -> image::Config {
    let own = parent.config.config().clone().unwrap_or_default();
    let is_own = |entry: &&String| {
        let name = entry.split('=').next().unwrap_or_default();
        let in_image = own.env().iter().flatten().any(|of_image| of_image == *entry);
        in_image || !OWN_VARIABLES.contains(&name)
    };
    let process = config.oci.process().as_ref();
    let env = process.and_then(|process| process.env().clone()).unwrap_or_default();
    let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
    let mut image = own.clone();
    image.set_env(Some(env.iter().filter(is_own).cloned().collect()));
    image.set_entrypoint(some(&config.settings.entrypoint));
    image.set_cmd(some(&config.settings.command));
    image.set_user((!config.user.is_empty()).then(|| config.user.clone()));
    image.set_working_dir(process.map(|process| process.cwd().to_string_lossy().into_owned()));
    image.set_labels((!config.labels.is_empty()).then(|| config.labels.clone().into_iter().collect()));
    image
}
