//! What steps of builds have made: layers, found by a key that everything which went into them makes.
//!
//! ```text
//! steps/<hex of the key>              StepRecord; its time of modification is when it was used last
//! steps/<hex of the key>.<diff-id>    what a later record has replaced: a build may still be about to name its layer
//! ```
//! A record is a root: its layer stays until the record goes ([`Exclusive::prune_steps`]). One that is damaged, or whose layer is,
//! is as if it were not there, and the step is made again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use holm_spec::image::{Descriptor, ImageConfiguration, MediaType};
use holm_spec::{Digest, Reference, Timestamp};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, read_limited, replace};
use holm_sys::lock::{Lock, Mode};
use serde::{Deserialize, Serialize};

use crate::blob::{DOCUMENT_LIMIT, remove_file};
use crate::collect::{Content, ImageUser};
use crate::document::{canonical, descriptor};
use crate::error::{Error, Kind, Result};
use crate::import::{check_taggable, manifest};
use crate::layer::{Ingested, LayerRecord, chain_ids};
use crate::publication::StoredLayer;
use crate::receive::{self, ExpectedLayer};
use crate::store::{Exclusive, Store};

const VERSION: u32 = 1;
/// Held by whoever builds, so that no step goes that it has found.
const BUILDS: &str = "builds";
/// The lock of whoever replaces records.
const RECORDS: &str = "steps";

/// A layer of an image that is being built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltLayer {
    /// Digest of the uncompressed tar.
    pub diff_id: Digest,
    /// As a manifest has it.
    pub descriptor: Descriptor,
    /// When it was made; [`Timestamp::NEVER`] where only the image tells.
    pub created: Timestamp,
}

/// Annotation of an image's manifest with the steps that its layers are of: a list of [`CachedStep`]s.
pub const INLINE_CACHE: &str = "dev.holm.buildcache";

/// A step in a cache for other machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachedStep {
    /// Its key.
    pub key: Digest,
    /// Which layer of the cache it made, from 0.
    pub layer: usize,
    /// When.
    pub created: Timestamp,
}

/// A step that is here, with its layer.
#[derive(Clone, Debug)]
pub struct StoredStep {
    /// The layer.
    pub layer: StoredLayer,
    /// As a manifest has it.
    pub descriptor: Descriptor,
    /// When it was made.
    pub created: Timestamp,
}

/// The content of a file below `steps/`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StepRecord {
    version: u32,
    key: Digest,
    diff_id: Digest,
    tar_size: u64,
    /// The layers that it was made above, lowest first.
    below: Vec<Digest>,
    created: Timestamp,
}

impl StepRecord {
    fn layer(&self) -> BuiltLayer {
        BuiltLayer {
            diff_id: self.diff_id,
            descriptor: descriptor(MediaType::ImageLayer, self.tar_size, &self.diff_id),
            created: self.created,
        }
    }

    fn chain(&self) -> Vec<Digest> {
        [self.below.as_slice(), &[self.diff_id]].concat()
    }
}

impl Store {
    /// The layer of a step that was made before, above these.
    ///
    /// # Errors
    /// What reading reports, but for damage.
    pub fn step(&self, key: &Digest, below: &[Digest]) -> Result<Option<BuiltLayer>> {
        let Some(record) = self.read_step(&self.step_path(key))? else { return Ok(None) };
        let above = [below, &[record.diff_id]].concat();
        if record.key != *key || self.layer_keys(&above).is_err() {
            return Ok(None);
        }
        // Only the order in which they are pruned hangs on it.
        let _ = File::open(self.step_path(key)).and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(record.layer()))
    }

    /// Makes the layer of a step from a tar archive, above these. If another process has made it meanwhile, that one is taken,
    /// unless `anew`. On an error nothing is left.
    ///
    /// # Errors
    /// As [`Store::import`].
    pub fn make_step(
        &self,
        key: &Digest,
        archive: impl Read + Send,
        below: &[Digest],
        created: Timestamp,
        anew: bool,
    ) -> Result<BuiltLayer> {
        let ingested = Ingested::convert(self, archive, below)?;
        let in_use = self.in_use()?;
        // While nobody held on to them, the layers below may have been removed.
        self.layer_keys(below)?;
        if !anew && let Some(layer) = self.step(key, below)? {
            return Ok(layer);
        }
        let layer = ingested.publish(self, &in_use)?;
        self.record_step(key, &layer, below, created)
    }

    /// Takes the layer of a step from a cache, if it is what was expected. `input` is not hashed here again (see
    /// [`Store::receive_layer`]).
    ///
    /// # Errors
    /// As [`Store::receive_layer`].
    pub fn receive_step(
        &self,
        key: &Digest,
        input: impl Read + Send,
        expected: &ExpectedLayer<'_>,
        created: Timestamp,
    ) -> Result<BuiltLayer> {
        let ingested = Ingested::convert_known(self, input, expected.below, Some(&expected.digest))?;
        receive::check(&ingested.record, expected)?;
        let in_use = self.in_use()?;
        self.layer_keys(expected.below)?;
        let layer = ingested.publish(self, &in_use)?;
        self.record_step(key, &layer, expected.below, created)
    }

    /// Notes that a layer that is here, above these, is that of a step; `None` if it is not here.
    ///
    /// # Errors
    /// [`Kind::Io`], [`Kind::NoSpace`], [`Kind::ReadOnly`].
    pub fn adopt_step(
        &self,
        key: &Digest,
        diff_id: &Digest,
        below: &[Digest],
        created: Timestamp,
    ) -> Result<Option<BuiltLayer>> {
        let _in_use = self.in_use()?;
        let above = [below, &[*diff_id]].concat();
        if !self.holds_layers(&above)? {
            return Ok(None);
        }
        let layer = self.top_layer(&above)?;
        self.record_step(key, &self.layer_record(&layer.key)?, below, created).map(Some)
    }

    /// The step with this key, if it and its layer are here.
    ///
    /// # Errors
    /// What reading reports, but for damage.
    pub fn stored_step(&self, key: &Digest) -> Result<Option<StoredStep>> {
        let Some(record) = self.read_step(&self.step_path(key))? else { return Ok(None) };
        if record.key != *key || !self.holds_layers(&record.chain())? {
            return Ok(None);
        }
        let layer = self.top_layer(&record.chain())?;
        Ok(Some(StoredStep { layer, descriptor: record.layer().descriptor, created: record.created }))
    }

    /// The last one of these layers.
    fn top_layer(&self, diff_ids: &[Digest]) -> Result<StoredLayer> {
        let diff_id = *diff_ids.last().expect("a step has a layer");
        let key = *self.layer_keys(diff_ids)?.last().expect("as many as layers");
        Ok(StoredLayer { diff_id, key, packed: self.layer_record(&key)?.received })
    }

    /// Writes the record of a step. Whoever calls this keeps its layer from being removed.
    fn record_step(
        &self,
        key: &Digest,
        layer: &LayerRecord,
        below: &[Digest],
        created: Timestamp,
    ) -> Result<BuiltLayer> {
        // Who replaces a record knows the one that is there.
        let _replacing = Lock::acquire(&self.paths().locks().join(RECORDS), Mode::Exclusive)?;
        self.keep_replaced(key, &layer.diff_id)?;
        let record = StepRecord {
            version: VERSION,
            key: *key,
            diff_id: layer.diff_id,
            tar_size: layer.tar_size,
            below: below.to_vec(),
            created,
        };
        let path = self.step_path(key);
        let text = serde_json::to_vec(&record).expect("a record is plain data");
        ensure_directory(&self.paths().steps(), 0o700)
            .and_then(|()| replace(&path, &text, Durability::Durable))
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))?;
        fail_point::reached("build-step-recorded");
        Ok(record.layer())
    }

    /// The id of the image that [`Store::assemble`] makes of this configuration.
    pub fn image_id(config: &impl Serialize) -> Digest {
        Digest::of(&canonical(config))
    }

    /// Makes an image of layers and a configuration that lists them, under these names and with these annotations of its
    /// manifest; its id. Without a name it is reached by that.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a name with a digest, [`Kind::Corrupt`] if a layer is gone; as [`Store::import`].
    pub fn assemble(
        &self,
        layers: &[BuiltLayer],
        config: &impl Serialize,
        names: &[Reference],
        annotations: &BTreeMap<String, String>,
    ) -> Result<Digest> {
        names.iter().try_for_each(check_taggable)?;
        let in_use = self.in_use()?;
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id).collect();
        self.layer_keys(&diff_ids)?;
        let document = canonical(config);
        serde_json::from_slice::<ImageConfiguration>(&document)
            .map_err(|error| Error::because(Kind::Invalid, "make an image", error))?;
        let mut manifest = manifest(&document, layers.iter().map(|layer| layer.descriptor.clone()).collect());
        if !annotations.is_empty() {
            manifest.set_annotations(Some(annotations.clone().into_iter().collect()));
        }
        for name in names {
            self.publish_documents(&in_use, &document, &manifest, Some(name))?;
        }
        match names {
            [] => self.publish_documents(&in_use, &document, &manifest, None),
            _ => Ok(Digest::of(&document)),
        }
    }

    /// Lets nobody prune steps until this is dropped: a build has found some, and names their layers at its end only.
    ///
    /// # Errors
    /// [`Kind::Locked`].
    pub fn building(&self) -> Result<Lock> {
        Ok(Lock::acquire(&self.paths().locks().join(BUILDS), Mode::Shared)?)
    }

    /// Lets nobody build until this is dropped; nothing if somebody does.
    pub fn nobody_builds(&self) -> Option<Lock> {
        let lock = self.paths().locks().join(BUILDS);
        Lock::acquire_within(&lock, Mode::Exclusive, Duration::ZERO).ok()
    }

    /// Keeps the record of another layer of that key under another name.
    fn keep_replaced(&self, key: &Digest, diff_id: &Digest) -> Result<()> {
        let path = self.step_path(key);
        match self.read_step(&path)? {
            Some(record) if record.diff_id != *diff_id => {
                let kept = path.with_extension(record.diff_id.hex());
                std::fs::rename(&path, &kept)
                    .map_err(|error| Error::io(format!("keep `{}`", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn step_path(&self, key: &Digest) -> PathBuf {
        self.paths().steps().join(key.hex())
    }

    fn read_step(&self, path: &std::path::Path) -> Result<Option<StepRecord>> {
        let content = match read_limited(path, DOCUMENT_LIMIT) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(format!("read `{}`", path.display()), error)),
        };
        let record: Option<StepRecord> = serde_json::from_slice(&content).ok();
        Ok(record.filter(|record| record.version == VERSION))
    }
}

/// Which steps go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldSteps {
    /// All that were used before.
    Before(Timestamp),
    /// The least recently used, until their archives are so many bytes.
    Enough(u64),
}

impl Exclusive<'_> {
    /// Forgets steps, and removes the layers that only they needed; none while anybody builds. How many went, and how many bytes on
    /// the disk.
    ///
    /// # Errors
    /// As [`Exclusive::prune_images`].
    pub fn prune_steps(&self, which: OldSteps, used_by: &[ImageUser]) -> Result<(usize, u64)> {
        let Some(_alone) = self.store.nobody_builds() else { return Ok((0, 0)) };
        let chosen = self.store.old_steps(which)?;
        if chosen.is_empty() {
            return Ok((0, 0));
        }
        // What a damaged image needs is not known.
        self.reachable(used_by)?;
        let mut candidates = Content::default();
        for (path, record) in &chosen {
            candidates.add_step(record);
            remove_file(path, || format!("remove `{}`", path.display()))?;
        }
        let removed = self.remove_content(&candidates, &self.reachable(used_by)?)?;
        Ok((chosen.len(), removed.bytes))
    }
}

impl Store {
    fn old_steps(&self, which: OldSteps) -> Result<Vec<(PathBuf, StepRecord)>> {
        let mut steps = Vec::new();
        for name in self.file_names(&self.paths().steps())? {
            let path = self.paths().steps().join(name);
            let used = path.metadata().and_then(|about| about.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            if let Some(record) = self.read_step(&path)? {
                steps.push((used, path, record));
            }
        }
        steps.sort_by_key(|(used, ..)| *used);
        let mut bytes = 0_u64;
        steps.retain(|(used, _, record)| match which {
            OldSteps::Before(time) => of_time(*used) < time,
            OldSteps::Enough(enough) => {
                let goes = bytes < enough;
                bytes = bytes.saturating_add(record.tar_size);
                goes
            }
        });
        Ok(steps.into_iter().map(|(_, path, record)| (path, record)).collect())
    }
}

fn of_time(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

impl Content {
    fn add_step(&mut self, record: &StepRecord) {
        self.layers.extend(chain_ids(&record.chain()));
        self.layers.extend(record.chain());
    }

    /// Adds the layers of all steps.
    pub(crate) fn add_steps(&mut self, store: &Store) -> Result<()> {
        for name in store.file_names(&store.paths().steps())? {
            if let Some(record) = store.read_step(&store.paths().steps().join(name))? {
                self.add_step(&record);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::scratch;

    fn archive(text: &str) -> Vec<u8> {
        let mut writer = holm_tar::Writer::new(Vec::new());
        let mut entry = holm_tar::Entry::new(b"file".to_vec(), holm_tar::EntryKind::File, 0o644);
        entry.size = text.len() as u64;
        writer.entry(&entry).expect("an entry");
        writer.data(text.as_bytes()).expect("data");
        writer.finish().expect("an archive")
    }

    #[test]
    fn a_step_is_found_by_its_key_and_keeps_its_layer() {
        let (_dir, store) = scratch();
        let [first, second] = ["first", "second"].map(|text| Digest::of(text.as_bytes()));
        assert_eq!(store.step(&first, &[]).expect("no step"), None);
        let below =
            store.make_step(&first, &archive("a")[..], &[], Timestamp::default(), false).expect("a step");
        let above = store
            .make_step(&second, &archive("b")[..], &[below.diff_id], Timestamp::default(), false)
            .expect("a step");
        assert_eq!(store.step(&first, &[]).expect("a step"), Some(below.clone()));
        assert_eq!(store.step(&second, &[below.diff_id]).expect("a step"), Some(above));
        let removed = store.exclusive().expect("alone").repair(&[]).expect("a repair");
        assert!(store.step(&second, &[below.diff_id]).expect("a step").is_some(), "{removed:?}");
        let exclusive = store.exclusive().expect("alone");
        let building = store.building().expect("somebody builds");
        assert_eq!(exclusive.prune_steps(OldSteps::Enough(u64::MAX), &[]).expect("pruned").0, 0);
        drop(building);
        assert_eq!(exclusive.prune_steps(OldSteps::Before(Timestamp::NEVER), &[]).expect("pruned").0, 0);
        let (count, bytes) = exclusive.prune_steps(OldSteps::Enough(u64::MAX), &[]).expect("pruned");
        assert_eq!((count, bytes > 0), (2, true));
        assert!(store.layer_keys(&[below.diff_id]).is_err(), "nobody needs it any more");
    }

    #[test]
    fn what_another_build_has_made_meanwhile_stays() {
        let (_dir, store) = scratch();
        let (key, time) = (Digest::of(b"key"), Timestamp::default());
        let first = store.make_step(&key, &archive("a")[..], &[], time, false).expect("a step");
        assert_eq!(store.make_step(&key, &archive("b")[..], &[], time, false).expect("the same"), first);
        let anew = store.make_step(&key, &archive("b")[..], &[], time, true).expect("another one");
        assert_ne!(anew, first);
        store.exclusive().expect("alone").repair(&[]).expect("a repair");
        store.layer_keys(&[first.diff_id]).expect("it may be about to be named");
        assert_eq!(store.step(&key, &[]).expect("a step"), Some(anew));
    }

    #[test]
    fn a_step_of_a_cache_is_taken_if_it_is_what_was_promised() {
        let (_dir, store) = scratch();
        let (_other_dir, other) = scratch();
        let (key, time) = (Digest::of(b"key"), Timestamp::default());
        let content = archive("a");
        let made = store.make_step(&key, &content[..], &[], time, false).expect("a step");
        let there = store.stored_step(&key).expect("read").expect("it is there");
        assert_eq!((there.layer.diff_id, there.created), (made.diff_id, time));
        assert_eq!(other.adopt_step(&key, &made.diff_id, &[], time).expect("no layer"), None);
        let expected = ExpectedLayer {
            digest: made.diff_id,
            size: content.len() as u64,
            compression: crate::compression::Compression::None,
            diff_id: made.diff_id,
            below: &[],
        };
        let wrong = ExpectedLayer { diff_id: Digest::of(b"other"), ..expected };
        let error = other.receive_step(&key, &content[..], &wrong, time).expect_err("another layer");
        assert_eq!(error.kind(), Kind::Invalid);
        assert_eq!(other.step(&key, &[]).expect("read"), None);
        assert_eq!(other.receive_step(&key, &content[..], &expected, time).expect("taken"), made);
        assert_eq!(other.step(&key, &[]).expect("read"), Some(made.clone()));
        let second = Digest::of(b"second");
        assert_eq!(other.adopt_step(&second, &made.diff_id, &[], time).expect("it is there"), Some(made));
        other.exclusive().expect("alone").repair(&[]).expect("a repair");
        assert!(other.stored_step(&second).expect("read").is_some());
    }

    #[test]
    fn damage_is_as_if_nothing_were_there() {
        let (_dir, store) = scratch();
        let key = Digest::of(b"key");
        store.make_step(&key, &archive("a")[..], &[], Timestamp::default(), false).expect("a step");
        std::fs::write(store.step_path(&key), "nonsense").expect("written");
        assert_eq!(store.step(&key, &[]).expect("none"), None);
        store.exclusive().expect("alone").repair(&[]).expect("a repair");
    }
}
