//! Archives of `docker save` before release 25, and those that Podman and skopeo write: an image without a manifest.
//!
//! ```text
//! manifest.json     [{"Config": path, "RepoTags": [name…], "Layers": [path…]}]
//! <path>            a configuration, or the tar of a layer, perhaps compressed
//! ```
//! The manifest that such an image gets here is made of what is in the archive, each time the same.

use std::collections::HashMap;
use std::io::{self, Read};

use holm_spec::image::Descriptor;
use holm_spec::{Digest, Reference};
use holm_store::compression::of_magic;
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::place::{Blob, Source, io_error, not_there};
use super::tree::Tree;
use crate::document::{MANIFEST, layer_type};
use crate::error::{Error, Kind, Result};

const FILE: &str = "manifest.json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const BUFFER: usize = 256 << 10;

/// An image of such an archive.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// An archive as where something comes from.
#[derive(Debug)]
pub struct DockerArchive {
    tree: Tree,
    manifest: Vec<u8>,
    /// Where in the archive the blobs are.
    paths: HashMap<Digest, String>,
}

impl DockerArchive {
    /// What `name` means in the archive; without one there must be one image. All of the image is read once.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it is no such archive, [`Kind::NotFound`] naming what there is; [`Kind::Io`].
    pub fn open(tree: Tree, name: Option<&str>) -> Result<Self> {
        let images: Vec<Described> = serde_json::from_slice(&tree.read(FILE)?)
            .map_err(|error| Error::because(Kind::Invalid, format!("read `{FILE}`"), error))?;
        let image = choose(&images, name)?;
        let mut archive = Self { tree, manifest: Vec::new(), paths: HashMap::new() };
        let config = archive.describe(&image.config, Some(CONFIG_TYPE))?;
        let layers =
            image.layers.iter().map(|path| archive.describe(path, None)).collect::<Result<Vec<_>>>()?;
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        archive.manifest = manifest.to_string().into_bytes();
        Ok(archive)
    }

    /// The descriptor of a file; of a layer, if its type is not given.
    fn describe(&mut self, path: &str, media_type: Option<&str>) -> Result<Value> {
        let failed = |error| io_error(format!("read `{path}`"), error);
        let mut part = self.tree.open(path)?;
        let size = part.size();
        let mut buffer = vec![0; BUFFER];
        let (mut hash, mut layer) = (Sha256::new(), None);
        loop {
            let length = part.read(&mut buffer).map_err(failed)?;
            if length == 0 {
                break;
            }
            layer = layer.or_else(|| Some(layer_type(of_magic(&buffer[..length]), false)));
            hash.update(&buffer[..length]);
        }
        let layer = layer.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        let digest = Digest::from_sha256(hash.finalize().into());
        self.paths.insert(digest, path.to_owned());
        Ok(json!({"mediaType": media_type.unwrap_or(&layer), "digest": digest, "size": size}))
    }
}

fn choose<'i>(images: &'i [Described], name: Option<&str>) -> Result<&'i Described> {
    let wanted = name.and_then(|name| name.parse::<Reference>().ok());
    let is_wanted =
        |image: &&Described| image.repo_tags.iter().flatten().any(|tag| tag.parse().ok() == wanted);
    let found = match (name, images) {
        (None, [only]) => Some(only),
        (None, _) => None,
        (Some(_), _) => images.iter().find(is_wanted).filter(|_| wanted.is_some()),
    };
    found.ok_or_else(|| {
        let known: Vec<&str> =
            images.iter().flat_map(|image| image.repo_tags.iter().flatten()).map(String::as_str).collect();
        not_there(name, images.len(), &known)
    })
}

impl Source for DockerArchive {
    fn top(&self) -> Result<Vec<u8>> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        Err(Error::new(Kind::NotFound, format!("there is no manifest {digest} in the archive")))
    }

    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>> {
        let missing =
            || Error::new(Kind::NotFound, format!("there is no blob {} in the archive", blob.digest));
        Ok(Box::new(self.tree.open(self.paths.get(&blob.digest).ok_or_else(missing)?)?))
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}
