//! An image from what a workload changed.

use std::fs::File;

use holm_spec::files::LayerForm;
use holm_spec::image;
use holm_spec::workload::{Config, Isolation};
use holm_spec::{Digest, Id, Reference};
use holm_store::{Change, Commit, Image};
use holm_sys::lock::{Lock, Mode};

use super::copy::{connect, pipe};
use crate::{Engine, Kind, Result};

/// In the directory of a sandbox: held by whoever has paused it for as long as a commit takes.
const PAUSED_BY_COMMIT: &str = "commit.lock";

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
    /// Lets a workload go on whose commit was killed; whether that was so.
    pub(crate) fn end_abandoned_commit(&self, id: &Id) -> Result<bool> {
        let mark = self.layout.sandbox(id).dir.join(PAUSED_BY_COMMIT);
        if !mark.exists() {
            return Ok(false);
        }
        let Ok(Some(_held)) = Lock::try_acquire(&mark, Mode::Exclusive) else { return Ok(false) };
        if self.is_frozen(id) {
            self.unpause(id)?;
        }
        let _ = std::fs::remove_file(&mark);
        Ok(true)
    }

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
        connect(
            || files.layer(LayerForm::default(), output),
            || Ok(self.store.commit(File::from(input), &commit)?),
        )
    }
}

/// A workload that stands still until this is dropped; if this process is killed instead, until the next command.
struct Pause<'a> {
    engine: &'a Engine,
    id: &'a Id,
    _mark: Lock,
}

impl<'a> Pause<'a> {
    /// `None` if it has ended meanwhile: nothing of it writes any more.
    fn begin(engine: &'a Engine, id: &'a Id) -> Result<Option<Self>> {
        let mark = Lock::create_held(&engine.layout.sandbox(id).dir, PAUSED_BY_COMMIT)?;
        let error = match engine.pause(id) {
            Ok(()) => return Ok(Some(Self { engine, id, _mark: mark })),
            Err(error) => error,
        };
        // Somebody else may have paused it just now: nobody is to undo that for us.
        remove_mark(engine, id);
        if error.kind() == Kind::NotRunning { Ok(None) } else { Err(error) }
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.engine.unpause(self.id)
            && error.kind() != Kind::NotRunning
        {
            tracing::warn!("{error}");
        }
        remove_mark(self.engine, self.id);
    }
}

/// While the mark is held. It goes with the sandbox at the latest.
fn remove_mark(engine: &Engine, id: &Id) {
    let _ = std::fs::remove_file(engine.layout.sandbox(id).dir.join(PAUSED_BY_COMMIT));
}

/// What the workload runs, as the configuration of an image.
fn image_config(config: &Config, parent: &Image) -> image::Config {
    let own = parent.config.config().clone().unwrap_or_default();
    // Every workload gets these at its start.
    let hostname = config.oci.hostname().clone().unwrap_or_default();
    let given = [format!("HOSTNAME={hostname}"), "TERM=xterm".to_owned()];
    let is_own = |entry: &&String| {
        let in_image = own.env().iter().flatten().any(|of_image| of_image == *entry);
        in_image || !given.contains(entry)
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
