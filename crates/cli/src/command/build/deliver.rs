//! What was built goes where it is wanted, and what came out is written down.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use holm_build::solve::Built;
use holm_engine::Engine;
use holm_engine::images::Image;
use holm_engine::images::compression::Compression;
use holm_engine::registry::Connections;
use holm_engine::registry::copy::{SaveForm, SaveRequest, save};
use holm_spec::{Digest, Reference};
use serde_json::{Value, json};

use super::outputs::{Destination, Outputs};
use crate::archive_output::Output;
use crate::command::push::Push;
use crate::command_error::CommandError;
use crate::transfer::{Direction, Manner, Transfer};

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A manifest as it is somewhere.
#[derive(Clone, Copy, Debug)]
struct Manifest {
    digest: Digest,
    size: u64,
}

/// What was built, and how its way is shown.
pub(super) struct Delivery<'a> {
    pub engine: &'a Engine,
    pub built: &'a Built,
    pub outputs: &'a Outputs,
    pub manner: Manner,
}

impl Delivery<'_> {
    /// Brings it everywhere; gives what `--metadata-file` tells of it.
    ///
    /// # Errors
    /// What does not arrive; what did before stays there.
    pub fn run(&self) -> Result<Value, CommandError> {
        let image = self.built.id.map(|id| self.engine.images().resolve(&id.to_string())).transpose()?;
        // Layers are packed for others, and the manifest names them so: where it goes says what it is called.
        let mut manifest = image.as_ref().map(|image| self.of_store(image)).transpose()?;
        for destination in &self.outputs.destinations {
            match (destination, &image) {
                (Destination::Tar(archive), _) => {
                    archive.write(|output| Ok(self.engine.export_layers(&self.built.layers, output)?))?;
                }
                (Destination::Directory(path), _) => {
                    self.engine.unpack_layers(&self.built.layers, path)?;
                }
                (Destination::Image { form, path, compression }, Some(image)) => {
                    let request = self.request(image, *form, *compression, path.as_deref());
                    manifest = Some(self.save(&request, path.is_none())?);
                }
                (Destination::Registry { compression }, Some(_)) => {
                    manifest = self.push(*compression)?.or(manifest);
                }
                _ => {}
            }
        }
        Ok(metadata(image.as_ref(), manifest, &self.outputs.names))
    }

    fn of_store(&self, image: &Image) -> Result<Manifest, CommandError> {
        let size = self.engine.images().blob(&image.manifest_digest)?.len() as u64;
        Ok(Manifest { digest: image.manifest_digest, size })
    }

    fn request<'r>(
        &'r self,
        image: &'r Image,
        form: SaveForm,
        compression: Option<Compression>,
        path: Option<&'r Path>,
    ) -> SaveRequest<'r> {
        let path = path.unwrap_or(Path::new("-"));
        SaveRequest { image, names: &self.outputs.names, form, path, compression }
    }

    fn save(&self, request: &SaveRequest<'_>, to_stdout: bool) -> Result<Manifest, CommandError> {
        let store = self.engine.images();
        let transfer =
            Transfer::new(Direction::Copy, self.manner, format!("Writing `{}`", request.path.display()));
        let saved = match to_stdout {
            false => save(store, request, &transfer)?,
            true => {
                // Nothing of it is written unless all of it can be.
                let aside = store.ingest_directory()?;
                let path = aside.path().join("archive");
                let saved = save(store, &SaveRequest { path: &path, ..*request }, &transfer)?;
                Output::of(None)?.write(|output| send(&path, output))?;
                saved
            }
        };
        Ok(Manifest { digest: saved.digest, size: saved.size })
    }

    fn push(&self, compression: Option<Compression>) -> Result<Option<Manifest>, CommandError> {
        let connections = Connections::read()?;
        let push = Push { engine: self.engine, compression, manner: self.manner };
        let mut manifest = None;
        for name in &self.outputs.names {
            let pushed = push.one(&connections.client(name.domain())?, name)?;
            manifest = Some(Manifest { digest: pushed.digest, size: pushed.size });
        }
        Ok(manifest)
    }
}

fn send(path: &Path, output: OwnedFd) -> Result<(), CommandError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::output_closed(),
        _ => CommandError::system("write to standard output", error),
    };
    let mut archive = File::open(path).map_err(failed)?;
    io::copy(&mut archive, &mut File::from(output)).map(drop).map_err(failed)
}

/// What buildx calls what came out.
fn metadata(image: Option<&Image>, manifest: Option<Manifest>, names: &[Reference]) -> Value {
    let mut told = json!({});
    if let Some((image, Manifest { digest, size })) = image.zip(manifest) {
        told["containerimage.config.digest"] = image.id.to_string().into();
        told["containerimage.digest"] = digest.to_string().into();
        told["containerimage.descriptor"] = json!({
            "mediaType": MANIFEST_TYPE,
            "digest": digest,
            "size": size,
            "platform": { "architecture": image.config.architecture(), "os": image.config.os() },
        });
    }
    if image.is_some() && !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        told["image.name"] = names.join(",").into();
    }
    told
}
