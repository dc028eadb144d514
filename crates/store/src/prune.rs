//! Pruning: what nobody uses goes, all of it or as much as it takes to keep to a size.
//!
//! Order of what goes to keep to a size, the one that was used longest ago first: compressed layers, steps of builds, images without a
//! name, and, if the caller says so, images with names. What a workload or another lease uses never goes, nor do kernels.
//!
//! Images go in one removal (see `remove`): all names first and durably, then all content. A crash in between leaves what
//! nothing reaches, for the next [`Exclusive::repair`]. Nothing goes while an image is damaged, since what it needs is not
//! known.

use std::collections::BTreeSet;

use holm_spec::Digest;
use holm_sys::fail_point;

use crate::collect::ImageUser;
use crate::error::Result;
use crate::image::Sort;
use crate::remove::{Plan, Removed};
use crate::step::OldSteps;
use crate::store::Exclusive;
use crate::usage::{CompressedUsage, ObjectUsage, StoreUsage};

/// What went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Names, images by their ids, and layers by their keys.
    pub images: Vec<Removed>,
    /// Compressed layers.
    pub compressed: Vec<Digest>,
    /// Bytes on the disk.
    pub bytes: u64,
}

/// What goes to keep to a size.
#[derive(Clone, Copy, Debug)]
pub struct Limit<'a> {
    /// Bytes on the disk of images, kernels and compressed layers together.
    pub size: u64,
    /// Images with names go, too.
    pub named: bool,
    /// Ids of images that stay.
    pub spared: &'a [Digest],
}

impl Exclusive<'_> {
    /// Removes compressed layers.
    ///
    /// # Errors
    /// What removing reports.
    pub fn prune_compressed<'a>(
        &self,
        layers: impl IntoIterator<Item = &'a CompressedUsage>,
    ) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        for layer in layers {
            if self.store.remove_blob(&layer.digest)? {
                pruned.compressed.push(layer.digest);
                pruned.bytes += layer.size;
            }
            fail_point::reached("prune-compressed-removed");
        }
        Ok(pruned)
    }

    /// Removes images with all their names, but for those that `used_by` has (see [`Exclusive::remove`]).
    ///
    /// # Errors
    /// [`Kind::Corrupt`](crate::Kind::Corrupt) while any image is damaged, and nothing goes; what removing reports.
    pub fn prune_images(&self, ids: &BTreeSet<Digest>, used_by: &[ImageUser]) -> Result<Pruned> {
        let ids: BTreeSet<Digest> = ids.iter().filter(|id| !is_used(id, used_by)).copied().collect();
        if ids.is_empty() {
            return Ok(Pruned::default());
        }
        self.reachable(used_by)?;
        let mut plan = Plan::default();
        for known in self.store.known(Sort::Image)?.into_iter().filter(|known| ids.contains(&known.id)) {
            plan.names.extend(known.record.reference);
            plan.marks.push(known.record.digest);
            plan.targets.push(known.record.digest);
        }
        plan.ids = ids.into_iter().collect();
        let done = self.execute(&plan, used_by)?;
        Ok(Pruned { images: done.removed, compressed: Vec::new(), bytes: done.bytes })
    }

    /// Removes what it takes to keep to a size; less where the rest may not go.
    ///
    /// # Errors
    /// As [`Exclusive::prune_images`].
    pub fn prune_to(&self, limit: &Limit<'_>, used_by: &[ImageUser]) -> Result<Pruned> {
        let usage = self.store.usage()?;
        let excess = usage.content.saturating_sub(limit.size);
        let mut pruned = self.prune_compressed(first(&usage, excess))?;
        if excess > pruned.bytes {
            pruned.bytes += self.prune_steps(OldSteps::Enough(excess - pruned.bytes), used_by)?.1;
        }
        let chosen = oldest(&usage, excess.saturating_sub(pruned.bytes), limit, used_by);
        let images = self.prune_images(&chosen, used_by)?;
        pruned.bytes += images.bytes;
        pruned.images = images.images;
        Ok(pruned)
    }
}

fn is_used(id: &Digest, used_by: &[ImageUser]) -> bool {
    used_by.iter().any(|(used, _)| used == id)
}

/// The compressed layers that were used longest ago, up to so many bytes.
fn first(usage: &StoreUsage, mut excess: u64) -> impl Iterator<Item = &CompressedUsage> {
    usage.compressed.iter().take_while(move |layer| {
        let goes = excess > 0;
        excess = excess.saturating_sub(layer.size);
        goes
    })
}

/// Images that may go, until so many bytes would be free.
fn oldest(usage: &StoreUsage, excess: u64, limit: &Limit<'_>, used_by: &[ImageUser]) -> BTreeSet<Digest> {
    let may_go = |object: &&ObjectUsage| {
        let named = !object.names.is_empty();
        (limit.named || !named) && !limit.spared.contains(&object.id) && !is_used(&object.id, used_by)
    };
    let mut candidates: Vec<&ObjectUsage> = usage.images.iter().filter(may_go).collect();
    candidates.sort_by_key(|object| (!object.names.is_empty(), object.used, object.id));
    let all = || usage.objects();
    let before = usage.together(all());
    let mut chosen = BTreeSet::new();
    for object in candidates {
        let left = usage.together(all().filter(|object| !chosen.contains(&object.id)));
        if before - left >= excess {
            break;
        }
        chosen.insert(object.id);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use holm_spec::{Reference, Timestamp};
    use serde_json::json;

    use super::*;
    use crate::error::Kind;
    use crate::image::tests::{CONFIG_TYPE, config, store_image};
    use crate::store::Store;
    use crate::store::tests::scratch;

    /// An image without layers, told apart by its author; its id and its manifest.
    fn image(store: &Store, author: &str) -> (Digest, Digest) {
        let mut document = config("amd64");
        document["author"] = json!(author.repeat(20_000));
        let manifest = store_image(store, &document, CONFIG_TYPE);
        store.set_mark(&manifest).expect("mark");
        (store.resolve(&manifest.to_string()).expect("resolve").id, manifest)
    }

    fn name(store: &Store, text: &str, manifest: &Digest) {
        let reference: Reference = text.parse().expect("a reference");
        store.set_reference(&store.in_use().expect("lock"), &reference, manifest).expect("set");
    }

    fn ids(store: &Store) -> BTreeSet<Digest> {
        store.usage().expect("measure").images.into_iter().map(|image| image.id).collect()
    }

    #[test]
    fn what_is_used_stays_and_the_oldest_goes_first() {
        let (_dir, store) = scratch();
        let (named, manifest) = image(&store, "a");
        name(&store, "named", &manifest);
        let [(old, _), (used, _), (new, _)] = ["b", "c", "d"].map(|author| image(&store, author));
        // A mark of now is younger than a file of then: use decides among marks of one moment.
        store.touch(&new);
        let used_by = [(used, "box".to_owned())];
        let exclusive = store.exclusive().expect("lock");
        let content = store.usage().expect("measure").content;
        let to = |size, named, spared: &[Digest]| {
            exclusive.prune_to(&Limit { size, named, spared }, &used_by).expect("prune")
        };
        assert_eq!(to(content, true, &[]), Pruned::default());
        let pruned = to(content - 1, true, &[]);
        assert_eq!(ids(&store), BTreeSet::from([named, used, new]), "{old} goes: {pruned:?}");
        assert!(pruned.bytes > 0);
        to(0, false, &[new]);
        assert_eq!(ids(&store), BTreeSet::from([named, used, new]), "spared, named or used");
        to(0, false, &[]);
        assert_eq!(ids(&store), BTreeSet::from([named, used]));
        to(0, true, &[]);
        assert_eq!(ids(&store), BTreeSet::from([used]));
        assert_eq!(exclusive.repair(&used_by).expect("repair"), Vec::<String>::new());
    }

    #[test]
    fn nothing_goes_while_an_image_is_damaged() {
        let (_dir, store) = scratch();
        let [(good, _), (bad, _)] = ["a", "b"].map(|author| image(&store, author));
        std::fs::write(store.paths().blob(&bad), b"{").expect("damage");
        let exclusive = store.exclusive().expect("lock");
        let error = exclusive.prune_images(&BTreeSet::from([good]), &[]).expect_err("damaged");
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(ids(&store).contains(&good));
    }

    #[test]
    fn compressed_layers_go_before_images_and_by_age() {
        let (_dir, store) = scratch();
        let layers = [Digest::of(b"1"), Digest::of(b"2")];
        let in_use = store.in_use().expect("lock");
        let id = store.put_blob(&in_use, config("amd64").to_string().as_bytes()).expect("put");
        let layer = |digest: &Digest| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": 9});
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": CONFIG_TYPE, "digest": id, "size": 9},
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let manifest = store.put_blob(&in_use, manifest.to_string().as_bytes()).expect("put");
        drop(in_use);
        store.set_mark(&manifest).expect("mark");
        for digest in &layers {
            std::fs::write(store.paths().blob(digest), vec![1; 50_000]).expect("write");
        }
        let old = std::fs::File::options().write(true).open(store.paths().blob(&layers[1])).expect("open");
        old.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("set");
        let exclusive = store.exclusive().expect("lock");
        assert_eq!(exclusive.repair(&[]).expect("repair"), Vec::<String>::new(), "a cache is no garbage");
        let usage = store.usage().expect("measure");
        assert_eq!(usage.compressed[0].used, Timestamp::from_nanos(0));
        let limit = Limit { size: usage.content - 1, named: true, spared: &[] };
        let pruned = exclusive.prune_to(&limit, &[]).expect("prune");
        assert_eq!((pruned.compressed, pruned.images.len()), (vec![layers[1]], 0));
        exclusive.prune_images(&ids(&store), &[]).expect("prune");
        assert!(!store.has_blob(&layers[0]), "it goes with the image");
    }
}
