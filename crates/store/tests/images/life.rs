//! An image's life: import, look up, list, tag, inspect.

use holm_spec::{Id, Timestamp};
use holm_store::{Import, Kind, Removed, Store};

use crate::child;
use crate::scratch::{Scratch, archive, changes, import, reference};

#[test]
fn import_resolve_list_tag_remove() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    let empty = scratch.files();
    let id = scratch.import("debian:12", "a");

    let image = store.resolve("debian:12").expect("resolve");
    assert_eq!((image.id, image.reference.as_ref()), (id, Some(&reference("debian:12"))));
    assert_eq!(image.platform().os, "linux");
    assert_eq!(image.manifest.layers().len(), 1);

    store.tag("debian:12", &reference("registry.example:5000/team/debian")).expect("tag");
    let list = store.list().expect("list");
    assert_eq!(list.len(), 1);
    let names: Vec<String> = list[0].names.iter().map(|name| name.reference.familiar()).collect();
    assert_eq!(names, ["debian:12", "registry.example:5000/team/debian:latest"]);
    assert_eq!((list[0].id, list[0].size), (id, 10240));

    let exclusive = store.exclusive().expect("lock");
    let removed = exclusive.remove("debian:12", false, &[]).expect("remove");
    assert_eq!(removed, [Removed::Untagged(reference("debian:12"))]);
    let removed = exclusive.remove(&id.short(), false, &[]).expect("remove");
    let name = reference("registry.example:5000/team/debian");
    assert_eq!(removed, [Removed::Untagged(name), Removed::Deleted(id), Removed::Deleted(image.diff_ids[0])]);
    assert_eq!(scratch.files(), empty);
}

#[test]
fn the_same_archive_twice_is_stored_once() {
    let scratch = Scratch::new();
    let first = scratch.import("a", "same");
    let files = scratch.count("layers") + scratch.count("blobs");
    assert_eq!(scratch.import("b", "same"), first);
    assert_eq!(scratch.count("layers") + scratch.count("blobs"), files);
    assert_eq!(scratch.count("ingest"), 0);
}

#[test]
fn an_image_is_found_by_name_digest_and_id() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    let id = scratch.import("team/app:1", "a");
    let image = store.resolve("team/app:1").expect("resolve");
    let hex = id.hex();
    for name in [
        "docker.io/team/app:1".to_owned(),
        format!("team/app@{}", image.digest),
        format!("team/app:other@{}", image.digest),
        id.to_string(),
        hex.clone(),
        hex[..12].to_owned(),
        format!("sha256:{}", &hex[..7]),
        image.digest.to_string(),
    ] {
        assert_eq!(store.resolve(&name).expect(&name).id, id, "{name}");
    }
    let digits = image.digest.hex();
    let unseen = &digits[..12];
    for name in
        ["app:1", "team/app", "team/app:2", unseen, &"0".repeat(64), &format!("other@{}", image.digest)]
    {
        let error = store.resolve(name).expect_err(name);
        assert_eq!(error.kind(), Kind::NotFound, "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(store.resolve("Debian").expect_err("no reference").kind(), Kind::Invalid);
}

#[test]
fn a_name_goes_before_the_start_of_an_id() {
    let scratch = Scratch::new();
    let first = scratch.import("one", "1");
    let prefix = first.hex()[..4].to_owned();
    assert_eq!(scratch.store.resolve(&prefix).expect("by id").id, first);
    let second = scratch.import(&prefix, "2");
    assert_eq!(scratch.store.resolve(&prefix).expect("by name").id, second);
    assert_eq!(scratch.store.resolve(&format!("sha256:{prefix}")).expect("by id").id, first);
}

#[test]
fn a_short_prefix_is_ambiguous() {
    let scratch = Scratch::new();
    let mut seen = std::collections::BTreeMap::new();
    // 17 images: two ids start with the same digit.
    for number in 0..17 {
        let id = scratch.import(&format!("image{number}"), &number.to_string());
        let digit = id.hex()[..1].to_owned();
        if seen.insert(digit.clone(), id).is_some() {
            let error = scratch.store.resolve(&digit).expect_err("two images");
            assert_eq!(error.kind(), Kind::Ambiguous, "{error}");
            return;
        }
    }
    panic!("17 ids with 16 different first digits");
}

#[test]
fn the_configuration_is_what_the_changes_say() {
    let scratch = Scratch::new();
    let changes = changes(&[
        "CMD [\"flask\", \"run\"]",
        "ENV A=1 B=2",
        "EXPOSE 80",
        "LABEL b=2 a=1",
        "USER app",
        "WORKDIR /srv",
    ]);
    let name = reference("app");
    let request = Import {
        reference: Some(&name),
        changes: &changes,
        message: Some("Imported from app.tar"),
        ..Import::default()
    };
    scratch.store.import(&*archive(&[]), &request).expect("import");
    let image = scratch.store.resolve("app").expect("resolve");
    let history = scratch.store.history(&image).expect("history");
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].id, history[0].size), (Some(image.id), 10240));
    assert_eq!(history[0].comment, "Imported from app.tar");

    let document = scratch.store.inspect(&image).expect("inspect");
    assert_eq!(document["Id"], image.id.to_string());
    assert_eq!(document["RepoTags"], serde_json::json!(["app:latest"]));
    assert_eq!(document["RepoDigests"], serde_json::json!([format!("app@{}", image.digest)]));
    assert_eq!(document["Config"]["Cmd"], serde_json::json!(["flask", "run"]));
    assert_eq!(document["Config"]["ExposedPorts"], serde_json::json!({"80/tcp": {}}));
    assert_eq!(document["Config"]["Labels"], serde_json::json!({"a": "1", "b": "2"}));
    assert_eq!(document["RootFS"]["Layers"][0], image.diff_ids[0].to_string());
    assert_eq!(document["Holm"]["Layers"][0]["TarSize"], 10240);
    assert_eq!(document["Size"], 10240);
}

#[test]
fn a_snapshot_is_plain_mount_data() {
    let scratch = Scratch::new();
    let (store, layout) = (&scratch.store, scratch.store.layout());
    scratch.import("app", "a");
    let image = store.resolve("app").expect("resolve");
    let workload = Id::from_bytes([9; 32]);
    let root = store.root_fs(&image, &workload, false).expect("snapshot");
    let hex = image.diff_ids[0].hex();
    assert_eq!(root.layers.len(), 1);
    assert_eq!(root.layers[0].source, layout.root.join(format!("layers/{hex}.v1.erofs")));
    assert_eq!(root.layers[0].lock, layout.run.join(format!("layers/{hex}.lock")));
    assert_eq!(root.layers[0].target, layout.run.join(format!("layers/{hex}")));
    assert_eq!(root.writable.upper, layout.snapshot(&workload).join("upper"));
    assert!(root.writable.work.is_dir() && !root.volatile);
}

const EPOCH: &str = "1700000000";

/// Runs in a child, whose environment has `SOURCE_DATE_EPOCH`.
pub fn import_at_epoch(store: &Store) {
    let name = reference("pinned");
    let changes =
        changes(&["CMD [\"/bin/true\"]", "LABEL a=1 b=2 c=3 d=4", "EXPOSE 1 2 3 4", "VOLUME /a /b /c"]);
    let request = Import {
        reference: Some(&name),
        changes: &changes,
        platform: Some(holm_spec::platform::Platform {
            os: "linux".to_owned(),
            architecture: "amd64".to_owned(),
        }),
        ..Import::default()
    };
    store.import(&*archive(&[("etc/content", b"pinned")]), &request).expect("import");
}

#[test]
fn the_digest_of_an_imported_image_is_pinned() {
    for _ in 0..2 {
        let scratch = Scratch::new();
        let mut child = child::command(scratch.dir.path(), "import-at-epoch");
        child.env("SOURCE_DATE_EPOCH", EPOCH);
        child::succeed(child);
        let image = scratch.store.resolve("pinned").expect("resolve");
        assert_eq!(image.config.created().as_deref(), Some("2023-11-14T22:13:20Z"));
        let digests = [image.id, image.digest, image.diff_ids[0]].map(|digest| digest.to_string());
        assert_eq!(
            digests,
            [
                "sha256:7f5add29c859319d2f193343df58f922f2e29645b22a29ce472dd135b1921509",
                "sha256:4e83a04c52b4135da121dd4853177f05c0b7a609b312ddf9d25e0a610a939913",
                "sha256:be121cb7b5c46f966bb20f1914b8378f1e3858ce37ece6d94454cd515ed37e04",
            ]
        );
    }
}

#[test]
fn an_unusable_request_leaves_nothing() {
    let scratch = Scratch::new();
    let empty = scratch.files();
    let good = archive(&[("etc/content", b"content")]);
    let cut = &good[..600];
    for bad in [&b""[..], b"not a tar archive", cut] {
        let error = scratch.store.import(bad, &Import::default()).expect_err("bad archive");
        assert_eq!(error.kind(), Kind::Invalid, "{error}");
    }
    let pinned = reference(&format!("a@{}", holm_spec::Digest::of(b"")));
    let request = Import { reference: Some(&pinned), ..Import::default() };
    assert_eq!(scratch.store.import(&*good, &request).expect_err("digest").kind(), Kind::Invalid);
    assert_eq!(scratch.files(), empty);
}

#[test]
fn an_import_without_a_name_is_reached_by_its_id() {
    let scratch = Scratch::new();
    let id = import(&scratch.store, None, "a").expect("import");
    let list = scratch.store.list().expect("list");
    assert_eq!((list.len(), list[0].names.len()), (1, 0));
    assert_eq!(list[0].created, Some(Timestamp::from_nanos(1_700_000_000_000_000_000)));
    scratch.store.tag(&id.short(), &reference("named")).expect("tag");
    assert_eq!(scratch.store.list().expect("list")[0].names.len(), 1);
    assert_eq!(scratch.count("refs"), 1);
}
