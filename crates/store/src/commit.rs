//! Commit: a layer above those of an image becomes an image of its own.

use std::io::Read;

use holm_spec::image::{Config, HistoryBuilder};
use holm_spec::{Digest, Reference, Timestamp};

use crate::change::Change;
use crate::clock;
use crate::document::canonical;
use crate::error::{Error, Kind, Result};
use crate::image::Image;
use crate::import::{check_taggable, describe};
use crate::layer::{Ingested, LayerRecord};
use crate::store::Store;

/// What a commit makes of a layer.
#[derive(Debug)]
pub struct Commit<'a> {
    /// The image below.
    pub parent: &'a Image,
    /// The image's name; none for an image that is reached by its id.
    pub reference: Option<&'a Reference>,
    /// What runs in it, before the changes.
    pub config: Config,
    /// Changes to that, in order.
    pub changes: &'a [Change],
    /// The comment in its history.
    pub message: Option<&'a str>,
    /// Who made it.
    pub author: Option<&'a str>,
    /// What was run to make it, for its history.
    pub created_by: &'a str,
    /// When it says that it was made; by default `SOURCE_DATE_EPOCH`, else now.
    pub created: Option<Timestamp>,
}

impl Store {
    /// Puts a layer, a tar archive, above an image, and gives the id of the new one. On an error nothing is left.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn commit(&self, layer: impl Read + Send, request: &Commit<'_>) -> Result<Digest> {
        let below = request.parent.id;
        self.try_commit(layer, request).map_err(|error| error.about(format!("make an image above {below}")))
    }

    fn try_commit(&self, layer: impl Read + Send, request: &Commit<'_>) -> Result<Digest> {
        if let Some(reference) = request.reference {
            check_taggable(reference)?;
        }
        let mut config = request.config.clone();
        for change in request.changes {
            let applied = change.apply(&mut config);
            applied
                .map_err(|error| Error::because(Kind::Invalid, "change the image's configuration", error))?;
        }
        let created = request.created.map_or_else(clock::creation_time, Ok)?;
        let ingested = Ingested::convert(self, layer, &request.parent.diff_ids)?;
        let in_use = self.in_use()?;
        // While nobody held on to it, the image below may have been removed.
        self.layer_keys(&request.parent.diff_ids)?;
        let layer = ingested.publish(self, &in_use)?;
        let document = canonical(&configuration(request, config, created, &layer));
        let mut layers = request.parent.manifest.layers().clone();
        layers.push(describe(&layer));
        self.publish_image(&in_use, &document, layers, request.reference)
    }
}

/// The parent's configuration with a layer more (OCI image specification, "Image Configuration").
fn configuration(
    request: &Commit<'_>,
    config: Config,
    created: Timestamp,
    layer: &LayerRecord,
) -> holm_spec::image::ImageConfiguration {
    let created = created.to_string();
    let mut image = request.parent.config.clone();
    let mut root = image.rootfs().clone();
    let mut diff_ids = root.diff_ids().clone();
    diff_ids.push(layer.diff_id.to_string());
    root.set_diff_ids(diff_ids);
    let mut entry = HistoryBuilder::default().created(created.clone()).created_by(request.created_by);
    if let Some(message) = request.message {
        entry = entry.comment(message);
    }
    if let Some(author) = request.author {
        entry = entry.author(author);
    }
    let mut history = image.history().clone().unwrap_or_default();
    history.push(entry.build().expect("every required field is set"));
    image.set_created(Some(created));
    image.set_author(request.author.map(str::to_owned));
    image.set_config(Some(config));
    image.set_rootfs(root);
    image.set_history(Some(history));
    image
}
