//! What people ask about images: the list, the history, the details.

use std::collections::{BTreeMap, BTreeSet};

use holm_spec::platform::Platform;
use holm_spec::{Digest, Timestamp};
use serde_json::{Value, json};

use crate::defaults::{CONFIG, over_defaults};
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::image::{Image, Known, Name, Sort};
use crate::layer::chain_ids;
use crate::store::Store;

/// A row of the list of images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The image id.
    pub id: Digest,
    /// Its names, sorted; none where all of them moved on.
    pub names: Vec<Name>,
    /// Digests of the manifests or indexes that led to it, sorted; at least one.
    pub digests: Vec<Digest>,
    /// When it was made, as it says itself.
    pub created: Option<Timestamp>,
    /// Sizes of its uncompressed layers together, in bytes.
    pub size: u64,
    /// What it is made for.
    pub platform: Platform,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// A row of an image's history, as `docker history` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The image id on the row of the newest layer; none on the others.
    pub id: Option<Digest>,
    /// When the layer was made.
    pub created: Option<Timestamp>,
    /// The command that made it.
    pub created_by: String,
    /// Size of the uncompressed layer in bytes; 0 for a step that made none.
    pub size: u64,
    /// A comment.
    pub comment: String,
    /// Names of the image, on the row that has the id.
    pub names: Vec<Name>,
}

impl Store {
    /// Every image, newest first, then by id. Damaged images are left out with a warning.
    pub fn list(&self) -> Result<Vec<Summary>> {
        let mut images: BTreeMap<Digest, Vec<Known>> = BTreeMap::new();
        for known in self.known(Sort::Image)? {
            images.entry(known.id).or_default().push(known);
        }
        let mut summaries = Vec::with_capacity(images.len());
        for (id, known) in images {
            match self.summary(id, known) {
                Ok(summary) => summaries.push(summary),
                Err(error) if error.kind() == Kind::Corrupt => tracing::warn!("image {id}: {error}"),
                Err(error) => return Err(error),
            }
        }
        summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        Ok(summaries)
    }

    fn summary(&self, id: Digest, known: Vec<Known>) -> Result<Summary> {
        let config = self.blob(&id).map_err(Error::missing_is_damage)?;
        let config = document::parse_config(&id, &config)?;
        let diff_ids = document::diff_ids(&config)?;
        let digests: BTreeSet<Digest> = known.iter().map(|known| known.record.digest).collect();
        Ok(Summary {
            id,
            names: known.into_iter().filter_map(|known| Name::of(known.record)).collect(),
            digests: digests.into_iter().collect(),
            created: time(config.created().as_deref()),
            size: self.layer_sizes(&diff_ids).into_iter().sum(),
            platform: Platform {
                os: config.os().to_string(),
                architecture: config.architecture().to_string(),
            },
            labels: config
                .labels_of_config()
                .into_iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
        })
    }

    /// Sizes of uncompressed layers in bytes, lowest first; 0 for one that is missing.
    pub fn layer_sizes(&self, diff_ids: &[Digest]) -> Vec<u64> {
        let chain = chain_ids(diff_ids);
        let size = |(diff_id, chain_id): (&Digest, &Digest)| {
            let record = self.layer_record(chain_id).or_else(|_| self.layer_record(diff_id));
            record.map_or(0, |record| record.tar_size)
        };
        diff_ids.iter().zip(&chain).map(size).collect()
    }

    /// The steps that made an image, newest first.
    pub fn history(&self, image: &Image) -> Result<Vec<HistoryRow>> {
        let mut sizes = self.layer_sizes(&image.diff_ids).into_iter();
        let mut rows = Vec::new();
        for step in image.config.history().iter().flatten() {
            let empty = step.empty_layer().unwrap_or(false);
            rows.push(HistoryRow {
                id: None,
                created: time(step.created().as_deref()),
                created_by: step.created_by().clone().unwrap_or_default(),
                size: if empty { 0 } else { sizes.next().unwrap_or(0) },
                comment: step.comment().clone().unwrap_or_default(),
                names: Vec::new(),
            });
        }
        // A configuration may leave its history out; its layers are there all the same.
        rows.extend(sizes.map(|size| HistoryRow {
            id: None,
            created: None,
            created_by: String::new(),
            size,
            comment: String::new(),
            names: Vec::new(),
        }));
        rows.reverse();
        if let Some(newest) = rows.first_mut() {
            newest.id = Some(image.id);
            newest.names = self.names(&image.id)?;
        }
        Ok(rows)
    }

    /// The document that `docker image inspect` shows, and under `Holm` what this store knows of the
    /// layers.
    pub fn inspect(&self, image: &Image) -> Result<Value> {
        let names = self.names(&image.id)?;
        let tags: Vec<String> = names
            .iter()
            .filter(|name| name.reference.tag().is_some())
            .map(|name| name.reference.familiar())
            .collect();
        let digests: BTreeSet<String> = names.iter().map(Name::repository_digest).collect();
        let last_tagged = self.last_tagged(image)?.unwrap_or_default();
        // The configuration as received: Docker's own additions to it are shown, too.
        let config: Value = serde_json::from_slice(&self.blob(&image.id).map_err(Error::missing_is_damage)?)
            .map_err(|error| {
                Error::because(Kind::Corrupt, format!("read configuration {}", image.id), error)
            })?;
        let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let comment =
            image.config.history().iter().flatten().next_back().and_then(|step| step.comment().clone());
        Ok(json!({
            "Id": image.id,
            "RepoTags": tags,
            "RepoDigests": digests,
            "Parent": "",
            "Comment": comment.unwrap_or_default(),
            "Created": text("created"),
            "DockerVersion": "",
            "Author": text("author"),
            "Config": over_defaults(CONFIG, config.get("config").cloned().unwrap_or_default()),
            "Architecture": text("architecture"),
            "Variant": text("variant"),
            "Os": text("os"),
            "OsVersion": text("os.version"),
            "Size": self.layer_sizes(&image.diff_ids).iter().sum::<u64>(),
            "RootFS": { "Type": "layers", "Layers": image.diff_ids },
            "Metadata": { "LastTagTime": last_tagged },
            "GraphDriver": { "Data": null, "Name": "erofs-overlay" },
            "Holm": { "Manifest": image.manifest_digest, "Layers": self.layer_facts(image) },
        }))
    }

    fn last_tagged(&self, image: &Image) -> Result<Option<Timestamp>> {
        let known = self.known(Sort::Image)?.into_iter().filter(|known| known.id == image.id);
        Ok(known.filter(|known| known.record.reference.is_some()).map(|known| known.record.updated).max())
    }

    fn layer_facts(&self, image: &Image) -> Vec<Value> {
        let Ok(keys) = self.layer_keys(&image.diff_ids) else { return Vec::new() };
        let facts = |key: Digest| {
            let paths = self.paths().layer(&key);
            let record = self.layer_record(&key).ok()?;
            Some(json!({
                "Key": key,
                "File": paths.erofs,
                "Size": record.erofs_size,
                "Seal": record.erofs_seal,
                "TarSize": record.tar_size,
                "Entries": record.entries,
                "SelfContained": record.self_contained,
            }))
        };
        keys.into_iter().filter_map(facts).collect()
    }
}

fn time(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::{CONFIG_TYPE, config, store_image};
    use crate::store::tests::scratch;

    #[test]
    fn history_is_newest_first_and_empty_steps_have_no_size() {
        let (_dir, store) = scratch();
        let layers = [Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3")];
        let mut document = config("amd64");
        document["rootfs"]["diff_ids"] = json!(layers);
        document["config"] = json!({"Healthcheck": {"Test": ["NONE"]}});
        document["history"] = json!([
            {"created": "2024-01-01T00:00:00Z", "created_by": "first"},
            {"created_by": "setting", "empty_layer": true},
            {"created_by": "second", "comment": "made by hand"},
        ]);
        let manifest = store_image(&store, &document, CONFIG_TYPE);
        store.set_mark(&manifest).expect("mark");
        let image = store.resolve(&manifest.to_string()).expect("resolve");

        let rows = store.history(&image).expect("history");
        let steps: Vec<&str> = rows.iter().map(|row| row.created_by.as_str()).collect();
        assert_eq!(steps, ["", "second", "setting", "first"], "one layer has no history");
        assert_eq!(rows[0].id, Some(image.id));
        assert_eq!(rows[3].created, "2024-01-01T00:00:00Z".parse().ok());

        let details = store.inspect(&image).expect("inspect");
        assert_eq!(details["Comment"], "made by hand");
        assert_eq!(details["Config"]["Healthcheck"], document["config"]["Healthcheck"], "as received");
        assert_eq!((&details["Config"]["Entrypoint"], &details["Variant"]), (&json!(null), &json!("")));
        assert_eq!(details["RepoTags"], json!([]));
        assert_eq!(details["Metadata"]["LastTagTime"], "0001-01-01T00:00:00Z");
    }
}
