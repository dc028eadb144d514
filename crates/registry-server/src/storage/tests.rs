//! Storage: what is on the disk after each step, and what is removed when.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::digest::Algorithm;
use crate::manifest;
use crate::name::Tag;

struct Place {
    directory: tempfile::TempDir,
    storage: Storage,
}

fn place() -> Place {
    let directory = tempfile::tempdir().expect("tempdir");
    let storage = Storage::open(&directory.path().join("s"), false).expect("opened");
    Place { directory, storage }
}

fn name(text: &str) -> Repository {
    Repository::parse(text).expect("a name")
}

impl Place {
    fn push(&self, to: &str, content: &[u8]) -> Digest {
        let digest = Algorithm::Sha256.digest(content);
        let mut upload = self.storage.begin_upload(&name(to), Algorithm::Sha256).expect("begun");
        upload.append([content].into_iter()).expect("appended");
        assert_eq!(self.storage.finish_upload(upload, &digest).expect("finished"), Written::Kept);
        digest
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join("s").join(path)
    }

    fn put(&self, to: &str, content: &[u8], tag: &str) -> Digest {
        let (repository, digest) = (name(to), Algorithm::Sha256.digest(content));
        let facts = manifest::read(content, None).unwrap_or_else(|failure| panic!("{}", failure.message()));
        let new = NewManifest { repository: &repository, digest: &digest, content, facts: &facts };
        self.storage.put_manifest(&new, &[Tag::parse(tag).expect("a tag")]).expect("put");
        digest
    }
}

fn files(path: &Path) -> usize {
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

#[test]
fn a_blob_is_there_once_and_goes_with_the_last_that_has_it() {
    let place = place();
    let digest = place.push("a/b", b"content");
    assert_eq!(place.push("c", b"content"), digest);
    let all = place.path("blobs/sha256").join(digest.hex());
    let links = || std::os::unix::fs::MetadataExt::nlink(&all.metadata().expect("there"));
    assert_eq!((links(), files(&place.path("repositories/a/b/_uploads"))), (3, 0));
    assert_eq!(place.storage.mount(&name("a/b"), &name("d"), &digest).expect("mounted"), Mounted::Here);
    assert_eq!(place.storage.mount_from_any(&name("e"), &digest).expect("mounted"), Mounted::Here);
    assert_eq!(links(), 5);
    for (repository, there) in [("a/b", true), ("a/b", false), ("c", true), ("d", true), ("e", true)] {
        assert!(all.exists());
        assert_eq!(place.storage.delete_blob(&name(repository), &digest).expect("deleted"), there);
    }
    assert!(!all.exists());
    assert_eq!(place.storage.mount_from_any(&name("e"), &digest).expect("looked"), Mounted::Nowhere);
    assert_eq!(place.storage.mount(&name("a/b"), &name("e"), &digest).expect("looked"), Mounted::Nowhere);
}

#[test]
fn what_has_another_digest_is_gone() {
    let place = place();
    let mut upload = place.storage.begin_upload(&name("a"), Algorithm::Sha256).expect("begun");
    upload.append([b"one".as_slice()].into_iter()).expect("appended");
    let wrong = Algorithm::Sha256.digest(b"two");
    let actual = Algorithm::Sha256.digest(b"one");
    assert_eq!(place.storage.finish_upload(upload, &wrong).expect("finished"), Written::Other(actual));
    assert_eq!((files(&place.path("blobs/sha256")), files(&place.path("repositories/a/_uploads"))), (0, 0));
}

#[test]
fn an_upload_goes_on_where_it_was_with_either_algorithm() {
    let place = place();
    let mut upload = place.storage.begin_upload(&name("a"), Algorithm::Sha256).expect("begun");
    upload.append([b"one".as_slice(), b"two"].into_iter()).expect("appended");
    let id = upload.id().clone();
    drop(upload);
    assert_eq!(place.storage.upload_size(&name("a"), &id).expect("looked"), Some(6));
    assert_eq!(place.storage.upload_size(&name("b"), &id).expect("looked"), None);
    let mut upload = place.storage.resume_upload(&name("a"), &id).expect("resumed").expect("there");
    assert_eq!(upload.offset(), 6);
    upload.append([b"three".as_slice()].into_iter()).expect("appended");
    let digest = Algorithm::Sha512.digest(b"onetwothree");
    assert_eq!(place.storage.finish_upload(upload, &digest).expect("finished"), Written::Kept);
    assert!(place.storage.has_blob(&name("a"), &digest).expect("looked"));
    assert!(place.storage.resume_upload(&name("a"), &id).expect("looked").is_none());
}

#[test]
fn manifests_are_there_with_type_and_tags_and_go_with_both() {
    let place = place();
    let subject = Algorithm::Sha256.digest(b"subject");
    let text = format!(
        "{{\"mediaType\":\"x/y\",\"artifactType\":\"k\",\"subject\":{{\"digest\":\"{subject}\"}},\"annotations\":{{\"a\":\"b\"}}}}"
    );
    let digest = place.put("a", text.as_bytes(), "v1");
    place.put("a", text.as_bytes(), "v2");
    let storage = &place.storage;
    let read = storage.manifest(&name("a"), &digest).expect("read").expect("there");
    assert_eq!((read.media_type.as_str(), read.content.as_slice()), ("x/y", text.as_bytes()));
    assert_eq!(
        storage.tag(&name("a"), &Tag::parse("v2").expect("a tag")).expect("read"),
        Some(digest.clone())
    );
    let referrers = |kind| storage.referrers(&name("a"), &subject, kind, "").expect("listed").items;
    assert_eq!((referrers(None).len(), referrers(Some("k")).len(), referrers(Some("l")).len()), (1, 1, 0));
    assert_eq!(referrers(None)[0].annotations["a"], "b");
    assert!(storage.delete_tag(&name("a"), &Tag::parse("v1").expect("a tag")).expect("deleted"));
    assert_eq!(storage.tags(&name("a"), "", 9).expect("listed").items, ["v2"]);
    assert!(storage.delete_manifest(&name("a"), &digest).expect("deleted"));
    assert!(!storage.delete_manifest(&name("a"), &digest).expect("looked"));
    assert!(storage.tags(&name("a"), "", 9).expect("listed").items.is_empty());
    assert_eq!(referrers(None), []);
    assert_eq!(files(&place.path("repositories/a/_manifests/sha256")), 0);
}

#[test]
fn repositories_are_listed_in_order_and_may_lie_in_each_other() {
    let place = place();
    for repository in ["b", "a/b/c", "a", "a-b"] {
        place.put(repository, b"{\"mediaType\":\"x/y\"}", "v1");
    }
    let list = |last, number| {
        place.storage.repositories(last, number, &|name| name.as_str() != "b").expect("listed")
    };
    assert_eq!(list("", 9).items, ["a", "a-b", "a/b/c"]);
    assert_eq!(
        (list("", 1).next.as_deref(), list("a", 1).items.as_slice()),
        (Some("a"), ["a-b".to_owned()].as_slice())
    );
}

#[test]
fn only_what_is_of_no_use_is_swept() {
    let place = place();
    let kept = place.push("a", b"kept");
    let lost = place.push("a", b"lost");
    std::fs::remove_file(place.path("repositories/a/_blobs/sha256").join(lost.hex())).expect("removed");
    std::fs::write(place.path("repositories/a/_blobs/sha256/.tmp-1"), "x").expect("written");
    let upload = place.storage.begin_upload(&name("a"), Algorithm::Sha256).expect("begun");
    let swept = place.storage.sweep(Duration::from_secs(3600)).expect("swept");
    assert_eq!((swept.uploads, swept.blobs), (0, 1));
    assert!(place.storage.has_blob(&name("a"), &kept).expect("looked"));
    let old = std::fs::FileTimes::new().set_modified(std::time::SystemTime::UNIX_EPOCH);
    let file = File::open(place.path("repositories/a/_uploads").join(upload.id().as_str())).expect("open");
    file.set_times(old).expect("set");
    assert_eq!(place.storage.sweep(Duration::from_secs(3600)).expect("swept").uploads, 1);
    place.storage.remove_temporaries().expect("removed");
    assert_eq!(files(&place.path("repositories/a/_blobs/sha256")), 1);
}

#[test]
fn one_serves_at_a_time_and_nothing_else_is_taken_for_a_storage() {
    let place = place();
    let path = place.directory.path().join("s");
    assert!(Storage::open(&path, false).is_err() && Storage::open(&path, true).is_err());
    drop(place.storage);
    let one = Storage::open(&path, true).expect("opened");
    let two = Storage::open(&path, true).expect("opened");
    drop((one, two));
    std::fs::write(path.join("version"), "holm registry 2\n").expect("written");
    assert!(Storage::open(&path, true).is_err());
    assert!(Storage::open(place.directory.path(), false).is_err(), "it is not empty");
}
