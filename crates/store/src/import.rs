//! Import: a root file system's tar archive becomes an image without a parent.

use std::io::Read;

use holm_spec::image::{
    Config, Descriptor, History, HistoryBuilder, ImageConfiguration, ImageConfigurationBuilder,
    ImageManifest, ImageManifestBuilder, MediaType, RootFs, RootFsBuilder,
};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference, Timestamp};
use holm_sys::fail_point;

use crate::change::Change;
use crate::clock;
use crate::document::{canonical, descriptor};
use crate::error::{Error, Kind, Result};
use crate::layer::{Ingested, LayerRecord};
use crate::store::{InUse, Store};

const DEFAULT_MESSAGE: &str = "Imported from -";

/// What an import makes of an archive.
#[derive(Clone, Debug, Default)]
pub struct Import<'a> {
    /// The image's name; none for an image that is reached by its id.
    pub reference: Option<&'a Reference>,
    /// Changes to its configuration, in order.
    pub changes: &'a [Change],
    /// The comment in its history; `Imported from -` by default.
    pub message: Option<&'a str>,
    /// What it is made for; this machine by default.
    pub platform: Option<Platform>,
    /// When it says that it was made; by default `SOURCE_DATE_EPOCH`, else now.
    pub created: Option<Timestamp>,
}

impl Store {
    /// Imports a tar archive, plain or compressed, and gives the image id.
    ///
    /// The same archive, request and time give the same id. On an error nothing is left.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where the archive, a change or the reference is bad; [`Kind::NoSpace`],
    /// [`Kind::ReadOnly`], [`Kind::Denied`], [`Kind::Locked`], [`Kind::Io`].
    pub fn import(&self, archive: impl Read + Send, request: &Import<'_>) -> Result<Digest> {
        let name =
            request.reference.map_or_else(|| "an image".to_owned(), |name| format!("`{}`", name.familiar()));
        self.try_import(archive, request).map_err(|error| error.about(format!("import {name}")))
    }

    fn try_import(&self, archive: impl Read + Send, request: &Import<'_>) -> Result<Digest> {
        if let Some(reference) = request.reference {
            check_taggable(reference)?;
        }
        let config = configure(request.changes)?;
        let created = request.created.map_or_else(clock::creation_time, Ok)?;
        let ingested = Ingested::convert(self, archive, &[])?;
        let in_use = self.in_use()?;
        let layer = ingested.publish(self, &in_use)?;
        let config = canonical(&configuration(request, config, created, &layer));
        let layers = vec![describe(&layer)];
        self.publish_image(&in_use, &config, layers, request.reference)
    }

    /// Publishes an image of a configuration and layers.
    pub(crate) fn publish_image(
        &self,
        in_use: &InUse,
        config: &[u8],
        layers: Vec<Descriptor>,
        reference: Option<&Reference>,
    ) -> Result<Digest> {
        self.publish_documents(in_use, config, &manifest(config, layers), reference)
    }

    /// Writes the documents, then the name that makes them reachable.
    pub(crate) fn publish_documents(
        &self,
        in_use: &InUse,
        config: &[u8],
        manifest: &ImageManifest,
        reference: Option<&Reference>,
    ) -> Result<Digest> {
        let id = self.put_blob(in_use, config)?;
        let manifest = self.put_blob(in_use, &canonical(manifest))?;
        fail_point::reached("import-blobs-written");
        match reference {
            Some(reference) => self.set_reference(in_use, reference, &manifest)?,
            None => self.set_mark(&manifest)?,
        }
        fail_point::reached("import-ref-written");
        Ok(id)
    }

    /// Gives the image or kernel that `source` names another name, which leaves what it stood for.
    ///
    /// # Errors
    /// Those of [`Store::resolve`]; [`Kind::Invalid`] for a target with a digest.
    pub fn tag(&self, source: &str, target: &Reference) -> Result<()> {
        check_taggable(target)?;
        let in_use = self.in_use()?;
        let digest = match self.resolve(source) {
            Ok(image) => image.digest,
            Err(error) if matches!(error.kind(), Kind::WrongSort | Kind::NotFound) => {
                self.kernel(Some(source)).map_err(|_| error)?.digest
            }
            Err(error) => return Err(error),
        };
        self.set_reference(&in_use, target, &digest)
    }
}

pub(crate) fn check_taggable(reference: &Reference) -> Result<()> {
    match reference.digest() {
        Some(_) => {
            let text = format!("`{reference}` has a digest: only a name and a tag can be given to an image");
            Err(Error::new(Kind::Invalid, text))
        }
        None => Ok(()),
    }
}

fn configure(changes: &[Change]) -> Result<Config> {
    let mut config = Config::default();
    for change in changes {
        let applied = change.apply(&mut config);
        applied.map_err(|error| Error::because(Kind::Invalid, "change the image's configuration", error))?;
    }
    Ok(config)
}

/// The configuration of an image of one layer (OCI image specification, "Image Configuration").
fn configuration(
    request: &Import<'_>,
    config: Config,
    created: Timestamp,
    layer: &LayerRecord,
) -> ImageConfiguration {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let created = created.to_string();
    ImageConfigurationBuilder::default()
        .created(created.clone())
        .architecture(platform.architecture.as_str())
        .os(platform.os.as_str())
        .config(config)
        .rootfs(root_fs(layer))
        .history(vec![history(created, request.message.unwrap_or(DEFAULT_MESSAGE))])
        .build()
        .expect("every required field is set")
}

fn root_fs(layer: &LayerRecord) -> RootFs {
    RootFsBuilder::default()
        .typ("layers")
        .diff_ids(vec![layer.diff_id.to_string()])
        .build()
        .expect("every required field is set")
}

fn history(created: String, comment: &str) -> History {
    HistoryBuilder::default().created(created).comment(comment).build().expect("every required field is set")
}

/// A layer as a manifest has it. It has no compressed form until it is pushed, so it is described as the tar that its
/// files give back.
pub(crate) fn describe(layer: &LayerRecord) -> Descriptor {
    descriptor(MediaType::ImageLayer, layer.tar_size, &layer.diff_id)
}

/// The manifest of an image of this configuration.
pub(crate) fn manifest(config: &[u8], layers: Vec<Descriptor>) -> ImageManifest {
    let (id, size) = (Digest::of(config), config.len() as u64);
    ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .config(descriptor(MediaType::ImageConfig, size, &id))
        .layers(layers)
        .build()
        .expect("every required field is set")
}
