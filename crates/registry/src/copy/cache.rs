//! Caches of builds in registries and image layouts: what steps have made, found by their keys
//! ([0023](../../../../docs/design/0023-build-caches.md)).
//!
//! ```text
//! manifest     config: application/vnd.holm.buildcache.config.v1+json, layers: each a layer of steps, as of an image
//! config       {"version":1, "diff_ids": [as the layers], "steps": [{"key", "layer": which one, "created"}]}
//! inline       an image, whose manifest has the steps in the annotation dev.holm.buildcache
//! ```
//! What is read is somebody else's: every document and layer is what its digest says, and a step that names no layer spoils the
//! cache. That a layer is what its key promises, nobody can check: who may write a cache decides what is built of it.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read};

use holm_spec::image::{Descriptor, ImageManifest};
use holm_spec::{Digest, Timestamp};
use holm_store::compression::Compression;
use holm_store::{BuiltLayer, CachedStep, INLINE_CACHE, Store, StoredStep};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::layout::{LayoutDirectory, Names};
use super::place::{Blob, Destination, Source, Verified, configuration, io_error, manifest_for_host};
use super::remote::Target;
use super::stored::packed_blob;
use super::{Copied, Copy, Location, source};
use crate::connections::Connections;
use crate::document::{self, Layer, MANIFEST};
use crate::error::{Error, Kind, Result};
use crate::packed::Form;
use crate::parallel::{AT_A_TIME, in_parallel};
use crate::policy::TakeAll;
use crate::pull::Observer;

const ARTIFACT_TYPE: &str = "application/vnd.holm.buildcache.v1";
const CONFIG_TYPE: &str = "application/vnd.holm.buildcache.config.v1+json";
const VERSION: u32 = 1;

/// The configuration of a cache.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    diff_ids: Vec<Digest>,
    steps: Vec<CachedStep>,
}

/// A cache that steps are looked for in.
pub struct BuildCache {
    source: Box<dyn Source>,
    name: String,
    layers: Vec<Layer>,
    steps: HashMap<Digest, (usize, Timestamp)>,
}

impl std::fmt::Debug for BuildCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildCache").field("name", &self.name).field("steps", &self.steps.len()).finish()
    }
}

impl BuildCache {
    /// Reads which steps the cache at a place holds; no layer is fetched.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is none; [`Kind::Invalid`] for one that contradicts itself; as [`super::copy`].
    pub fn open(connections: &Connections, from: &Location) -> Result<Self> {
        let opened = source(connections, from).and_then(|source| Self::read(source, from.to_string()));
        opened.map_err(|error| error.about(format!("read the cache `{from}`")))
    }

    fn read(source: Box<dyn Source>, name: String) -> Result<Self> {
        let manifest = manifest_for_host(&*source)?;
        let config = configuration(&*source, manifest.config())?;
        let (layers, steps) = match manifest.config().media_type().to_string().as_str() {
            CONFIG_TYPE => contents(&manifest, &config)?,
            _ => inline(&manifest, &config)?,
        };
        if let Some(step) = steps.iter().find(|step| step.layer >= layers.len()) {
            let text = format!("the step {} names layer {} of {}", step.key, step.layer, layers.len());
            return Err(Error::new(Kind::Invalid, text));
        }
        let steps = steps.into_iter().map(|step| (step.key, (step.layer, step.created))).collect();
        Ok(Self { source, name, layers, steps })
    }

    /// Puts the layer of a step, above these, into the store; `None` if it is not in the cache.
    ///
    /// # Errors
    /// It cannot be fetched, or is not what it should be.
    pub fn fetch(&self, store: &Store, key: &Digest, below: &[Digest]) -> Result<Option<BuiltLayer>> {
        let Some((number, created)) = self.steps.get(key) else { return Ok(None) };
        let layer = &self.layers[*number];
        let fetched = match store.adopt_step(key, &layer.diff_id, below, *created)? {
            Some(there) => Ok(there),
            None => self.receive(store, key, layer, below, *created),
        };
        fetched.map(Some).map_err(|error| error.about(format!("use a step of the cache `{}`", self.name)))
    }

    fn receive(
        &self,
        store: &Store,
        key: &Digest,
        layer: &Layer,
        below: &[Digest],
        created: Timestamp,
    ) -> Result<BuiltLayer> {
        let Layer { digest, size, .. } = *layer;
        // First to a file: the store takes what was hashed already.
        let aside = store.ingest_directory()?;
        let path = aside.path().join("layer");
        let failed = |error| io_error(format!("fetch layer {digest}"), error);
        let blob = Blob { digest, size };
        let mut input = Verified::new(self.source.blob(&blob)?, blob, &|_| ())?;
        let mut file = File::create_new(&path).map_err(failed)?;
        io::copy(&mut input, &mut file).map_err(failed)?;
        let file = File::open(&path).map_err(failed)?;
        store
            .receive_step(key, file, &layer.expected(below), created)
            .map_err(|error| Error::store(format!("use layer {digest}"), error))
    }
}

fn contents(manifest: &ImageManifest, config: &[u8]) -> Result<(Vec<Layer>, Vec<CachedStep>)> {
    let contents: Contents = serde_json::from_slice(config)
        .map_err(|error| Error::because(Kind::Invalid, "read its configuration", error))?;
    if contents.version != VERSION {
        return Err(Error::new(Kind::Invalid, format!("it has the unknown version {}", contents.version)));
    }
    if contents.diff_ids.len() != manifest.layers().len() {
        return Err(Error::new(Kind::Invalid, "its manifest and its configuration have not as many layers"));
    }
    let layer = |(told, diff_id): (&Descriptor, &Digest)| {
        let unknown = || Error::new(Kind::Invalid, format!("`{}` is no kind of layer", told.media_type()));
        let compression = document::compression_of(told).ok_or_else(unknown)?;
        Ok(Layer { digest: document::digest_of(told)?, size: told.size(), compression, diff_id: *diff_id })
    };
    let layers = manifest.layers().iter().zip(&contents.diff_ids).map(layer).collect::<Result<_>>()?;
    Ok((layers, contents.steps))
}

fn inline(manifest: &ImageManifest, config: &[u8]) -> Result<(Vec<Layer>, Vec<CachedStep>)> {
    let none = || Error::new(Kind::NotFound, "it is neither a cache of a build nor an image with one in it");
    let text = manifest.annotations().as_ref().and_then(|all| all.get(INLINE_CACHE)).ok_or_else(none)?;
    let steps = serde_json::from_str(text).map_err(|error| {
        Error::because(Kind::Invalid, format!("read its annotation {INLINE_CACHE}"), error)
    })?;
    Ok((document::layers(manifest, &document::parse_configuration(config)?)?, steps))
}

/// A cache that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct CacheExport<'a> {
    /// The keys of its steps; those that are not there are left out.
    pub keys: &'a [Digest],
    /// Where to: a registry, or an image layout.
    pub to: &'a Location,
    /// How layers are packed, if that is said.
    pub compression: Option<Compression>,
}

/// Writes a cache. `observer` hears of blobs by their digests.
///
/// # Errors
/// By what went wrong; all name the place, where the name has not changed then.
pub fn export_cache(
    store: &Store,
    connections: &Connections,
    request: &CacheExport<'_>,
    observer: &dyn Observer,
) -> Result<Copied> {
    let exported = Made::of(store, request).and_then(|source| {
        let destination: Box<dyn Destination> = match request.to {
            Location::Registry(reference) => Box::new(Target::new(connections, reference, &source)?),
            Location::Layout(path, name) => {
                Box::new(LayoutDirectory::open(path, Names::short(name.as_deref()))?)
            }
            _ => return Err(Error::new(Kind::Invalid, "a cache goes to a registry or a directory")),
        };
        let (source, destination, seen) = (&source, &*destination, std::sync::Mutex::default());
        let (platform, referrers, policy) = (None, false, &TakeAll);
        Copy { source, destination, platform, referrers, policy, observer, seen }.run()
    });
    exported.map_err(|error| error.about(format!("write the cache `{}`", request.to)))
}

/// A cache made of steps of the store.
struct Made<'a> {
    store: &'a Store,
    manifest: Vec<u8>,
    config: Vec<u8>,
}

impl<'a> Made<'a> {
    fn of(store: &'a Store, request: &CacheExport<'_>) -> Result<Self> {
        let mut layers: Vec<StoredStep> = Vec::new();
        let mut steps = Vec::new();
        // Two stages may have a step in common.
        for key in &request.keys.iter().copied().collect::<BTreeSet<_>>() {
            let Some(step) = store.stored_step(key)? else { continue };
            let known = layers.iter().position(|known| known.layer.diff_id == step.layer.diff_id);
            let layer = known.unwrap_or(layers.len());
            steps.push(CachedStep { key: *key, layer, created: step.created });
            if known.is_none() {
                layers.push(step);
            }
        }
        let here = |step: &StoredStep| Form::here(store, &step.descriptor, &step.layer, request.compression);
        let forms = in_parallel(&layers, AT_A_TIME, here)?;
        let diff_ids = layers.iter().map(|step| step.layer.diff_id).collect();
        let config = serde_json::to_vec(&Contents { version: VERSION, diff_ids, steps });
        let config = config.expect("a configuration is plain data");
        let layer = |form: &Form| {
            let media_type = document::layer_type(form.compression, false);
            json!({"mediaType": media_type, "digest": form.digest, "size": form.size})
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": Digest::of(&config), "size": config.len()},
            "layers": forms.iter().map(layer).collect::<Vec<_>>(),
        });
        Ok(Self { store, manifest: manifest.to_string().into_bytes(), config })
    }
}

impl Source for Made<'_> {
    fn top(&self) -> Result<Vec<u8>> {
        Ok(self.manifest.clone())
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        Err(Error::new(Kind::NotFound, format!("there is no manifest {digest} in the cache")))
    }

    fn blob(&self, blob: &Blob) -> Result<Box<dyn Read + '_>> {
        if blob.digest == Digest::of(&self.config) {
            return Ok(Box::new(self.config.as_slice()));
        }
        packed_blob(self.store, blob)
    }

    fn referrers(&self, _: &Digest) -> Result<Vec<Descriptor>> {
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(manifest: &serde_json::Value, config: &str) -> std::result::Result<(usize, usize), String> {
        let manifest: ImageManifest = serde_json::from_value(manifest.clone()).expect("a manifest");
        let read = contents(&manifest, config.as_bytes());
        read.map(|(layers, steps)| (layers.len(), steps.len())).map_err(|error| error.to_string())
    }

    #[test]
    fn caches_that_contradict_themselves_are_refused() {
        let digest = Digest::of(b"layer");
        let manifest = |media_type: &str| {
            json!({"schemaVersion": 2,
                "config": {"mediaType": CONFIG_TYPE, "digest": digest, "size": 1},
                "layers": [{"mediaType": media_type, "digest": digest, "size": 1}]})
        };
        let tar = manifest("application/vnd.oci.image.layer.v1.tar+gzip");
        let step = json!({"key": digest, "layer": 0, "created": Timestamp::default()});
        let whole = json!({"version": 1, "diff_ids": [digest], "steps": [step]});
        assert_eq!(read(&tar, &whole.to_string()), Ok((1, 1)));
        let with = |name: &str, value: serde_json::Value| {
            let mut changed = whole.clone();
            changed[name] = value;
            read(&tar, &changed.to_string())
        };
        assert!(with("version", 2.into()).is_err_and(|why| why.contains("version 2")));
        assert!(with("diff_ids", json!([])).is_err_and(|why| why.contains("as many layers")));
        assert!(with("more", json!(1)).is_err());
        assert!(with("steps", json!([{"key": digest, "layer": -1, "created": "x"}])).is_err());
        assert!(read(&manifest("text/plain"), &whole.to_string()).is_err_and(|why| why.contains("no kind")));
        assert!(read(&tar, "[").is_err());
    }
}
