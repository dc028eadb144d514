//! Documents and layers that are not what they say, or more than is good.

use holm_spec::Digest;
use holm_tests::oci_image::{configuration, gzip};
use holm_tests::{Holm, OciImage, Origin, Tarball};
use serde_json::{Value, json};

use super::attempt::{image, name, noise, pulled, refused};

/// The image with another manifest.
fn with(image: &OciImage, change: impl FnOnce(&mut Value)) -> OciImage {
    let (mut image, mut manifest) = (image.clone(), image.document());
    change(&mut manifest);
    image.manifest = manifest.to_string().into_bytes();
    image
}

/// The image with another configuration.
fn configured(image: &OciImage, change: impl FnOnce(&mut Value)) -> OciImage {
    let (mut image, layers, mut config) =
        (image.clone(), image.document()["layers"].clone(), image.configuration());
    change(&mut config);
    image.describe(&config, layers.as_array().expect("a list"));
    image
}

fn packed(fill: impl FnOnce(&mut Tarball) -> &mut Tarball) -> OciImage {
    let mut tar = Tarball::new();
    fill(&mut tar);
    OciImage::packed(&[tar.finish()])
}

#[test]
fn manifests_that_are_too_large_or_none() {
    let (holm, image) = (Holm::bare(), image());
    let manifests = [
        with(&image, |manifest| manifest["annotations"] = json!({"x": "y".repeat(10 << 20)})).manifest,
        vec![b' '; 10 << 20],
        b"{}".to_vec(),
        b"<html>".to_vec(),
        b"".to_vec(),
        b"{\"schemaVersion\":1,\"name\":\"x\"}".to_vec(),
        "[".repeat(100_000).into_bytes(),
        with(&image, |manifest| manifest["config"]["digest"] = json!("sha256:12")).manifest,
        with(&image, |manifest| {
            manifest["layers"][0]["digest"] = json!("md5:d41d8cd98f00b204e9800998ecf8427e")
        })
        .manifest,
        with(&image, |manifest| manifest["layers"][0]["size"] = json!(-1)).manifest,
        with(&image, |manifest| manifest["layers"] = json!([])).manifest,
    ];
    for manifest in manifests {
        let lie = OciImage { manifest, ..image.clone() };
        let text = refused(&holm, &Origin::of(lie), &[]);
        assert!(text.len() < 1000, "{text}");
    }
    pulled(&holm, &Origin::of(image));
}

#[test]
fn sizes_that_are_wrong_in_either_direction() {
    let (holm, image) = (Holm::bare(), image());
    let size = image.blobs[&image.layers[0]].len();
    let larger = with(&image, |manifest| manifest["layers"][0]["size"] = json!(size + 1));
    refused(&holm, &Origin::of(larger), &[&image.layers[0], &size.to_string()]);
    let smaller = with(&image, |manifest| manifest["layers"][0]["size"] = json!(size - 1));
    refused(&holm, &Origin::of(smaller), &[&image.layers[0], "larger"]);
    for size in [0, 1, 100_000] {
        let config = with(&image, |manifest| manifest["config"]["size"] = json!(size));
        refused(&holm, &Origin::of(config), &[&image.config, "bytes"]);
    }
    pulled(&holm, &Origin::of(image));
}

#[test]
fn digests_that_are_wrong() {
    let (holm, image) = (Holm::bare(), image());
    for digest in [&image.layers[0], &image.config] {
        let mut lie = image.clone();
        lie.blobs.get_mut(digest).expect("it has that")[50] ^= 1;
        refused(&holm, &Origin::of(lie), &[digest, "digest"]);
    }
    let other = Digest::of(b"another tar").to_string();
    let lie = configured(&image, |config| config["rootfs"]["diff_ids"][0] = json!(other));
    refused(&holm, &Origin::of(lie), &[&image.layers[0], &other]);
    for diff_ids in [json!([]), json!([other, other]), json!(["sha256:1"])] {
        let lie = configured(&image, |config| config["rootfs"]["diff_ids"] = diff_ids.clone());
        refused(&holm, &Origin::of(lie), &[]);
    }
    pulled(&holm, &Origin::of(image));
}

#[test]
fn layers_that_are_packed_in_another_way_than_is_said() {
    let (holm, image) = (Holm::bare(), image());
    let layer = "application/vnd.oci.image.layer.v1.tar";
    for told in [layer.to_owned(), format!("{layer}+zstd")] {
        let lie = with(&image, |manifest| manifest["layers"][0]["mediaType"] = json!(told));
        refused(&holm, &Origin::of(lie), &[&image.layers[0], "gzip"]);
    }
    let tar = Tarball::new().file("noise", 0o644, noise(2000)).finish();
    let plain = OciImage::plain(&[tar]);
    let lie = with(&plain, |manifest| manifest["layers"][0]["mediaType"] = json!(format!("{layer}+gzip")));
    refused(&holm, &Origin::of(lie), &[&plain.layers[0], "gzip"]);
    for odd in ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/x-tar", ""] {
        let lie = with(&image, |manifest| manifest["layers"][0]["mediaType"] = json!(odd));
        refused(&holm, &Origin::of(lie), &[&image.layers[0]]);
    }
}

#[test]
fn bombs_are_stopped_at_what_is_allowed() {
    let (holm, image) =
        (Holm::bare(), packed(|tar| tar.file("zeros", 0o644, vec![0; 64 << 20]).symlink("a", "b")));
    let origin = Origin::of(image.clone());
    let call = || holm.call(["pull", "-q", &name(&origin)]);
    let limited = call().env("HOLM_STORE_MAX_LAYER_SIZE", "1m").run();
    limited.refused(1, &[&image.layers[0], &origin.address, "1048576"]);
    assert_eq!(holm.ok(["images", "-q"]), "");
    call().env("HOLM_STORE_MAX_LAYER_SIZE", "100m").run().ok();
}

#[test]
fn layers_that_lead_out() {
    let holm = Holm::bare();
    let outside = holm.scratch("outside");
    std::fs::create_dir(&outside).expect("a directory of the test's");
    let target = outside.to_str().expect("text");
    let escape = format!("../../../../../../../../{target}/planted");
    for image in [
        packed(|tar| tar.file("../escape", 0o644, "x")),
        packed(|tar| tar.file(&escape, 0o644, "x")),
        packed(|tar| tar.hard_link("x", &escape)),
        packed(|tar| tar.hard_link("x", "../../etc/shadow")),
        packed(|tar| tar.hard_link("x", "/etc/shadow")),
        packed(|tar| tar.symlink("self", "self").file("self/x", 0o644, "x")),
        packed(|tar| tar.file("x", 0o644, "x").file("x/y", 0o644, "y")),
        packed(|tar| tar.file(&"d/".repeat(5000), 0o644, "x")),
        packed(|tar| tar.symlink("x", "").file("y", 0o644, "")),
    ] {
        refused(&holm, &Origin::of(image.clone()), &[&image.layers[0]]);
    }
    for image in [
        packed(|tar| tar.symlink("out", target).file("out/planted", 0o644, "x")),
        packed(|tar| {
            tar.symlink("out", &format!("../../../../../../{target}")).file("out/planted", 0o644, "x")
        }),
        packed(|tar| tar.file(&format!("{target}/planted"), 0o644, "x")),
        packed(|tar| tar.symlink("a", "/").symlink("b", "a/a/a").file("b/planted", 0o644, "x")),
    ] {
        pulled(&holm, &Origin::of(image));
        assert_eq!(std::fs::read_dir(&outside).expect("there").count(), 0, "nothing is written outside");
    }
}

#[test]
fn many_entries() {
    let holm = Holm::bare();
    let image = packed(|tar| {
        tar.directory("many", 0o755);
        for number in 0..100_000 {
            tar.file(&format!("many/{number}"), 0o644, "");
        }
        tar
    });
    let origin = Origin::of(image);
    pulled(&holm, &origin);
    let directory = holm.ok(["image", "mount", &name(&origin)]);
    assert_eq!(std::fs::read_dir(format!("{directory}/many")).expect("there").count(), 100_000);
    holm.ok(["image", "unmount", &name(&origin)]);
}

#[test]
fn layers_that_come_twice() {
    let holm = Holm::bare();
    let tar = Tarball::new().file("x", 0o644, noise(5000)).finish();
    let twice = OciImage::packed(&[tar.clone(), tar]);
    let origin = Origin::of(twice.clone());
    pulled(&holm, &origin);
    assert_eq!(origin.starts(&twice.layers[0]), [0]);
}

#[test]
fn times_of_other_ages() {
    let holm = Holm::bare();
    let image = packed(|tar| {
        tar.time(0o77_777_777_777, 0).file("late", 0o644, "x");
        tar.time(-62_135_596_800, 1).file("early", 0o644, "x").time(0, 0);
        tar.record("mtime", "1e99").file("rubbish", 0o644, "x");
        tar.record("mtime", "99999999999999999999.5").file("large", 0o644, "x")
    });
    let origin = Origin::of(image.clone());
    let outcome = holm.run(["pull", "-q", &name(&origin)]);
    if !outcome.status.success() {
        outcome.refused(1, &[&image.layers[0], &origin.address]);
    }
    for created in ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00.000000001+14:00"] {
        let image = configured(&super::attempt::image(), |config| {
            config["created"] = json!(created);
            config["history"] = json!([{"created": created, "created_by": "test"}]);
        });
        let origin = Origin::of(image);
        pulled(&holm, &origin);
        for words in [&["images"][..], &["history"], &["image", "inspect"], &["images", "--format", "json"]] {
            let inspected = [name(&origin)];
            let names = inspected.iter().map(String::as_str).filter(|_| words[0] != "images");
            holm.ok(words.iter().copied().chain(names));
        }
        holm.ok(["rmi", &name(&origin)]);
    }
    for created in ["yesterday", "", "2020-13-45T99:99:99Z"] {
        let image = configured(&super::attempt::image(), |config| config["created"] = json!(created));
        let origin = Origin::of(image);
        if holm.run(["pull", "-q", &name(&origin)]).status.success() {
            holm.ok(["images"]);
            holm.ok(["history", &name(&origin)]);
            holm.ok(["rmi", &name(&origin)]);
        }
    }
}

#[test]
fn indexes_that_lead_nowhere() {
    let (holm, image) = (Holm::bare(), image());
    let entry = |digest: &str, size: usize| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": configuration(&[])["architecture"]}})
    };
    let missing = Digest::of(b"missing").to_string();
    let index = |entries: Value| json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes();
    let nested = index(json!([entry(&missing, 3)]));
    let manifests = [
        index(json!([])),
        index(json!([entry(&missing, 3)])),
        index(json!([entry(&Digest::of(&nested).to_string(), nested.len())])),
    ];
    for manifest in manifests {
        let mut lie = OciImage { manifest, ..image.clone() };
        lie.blobs.insert(Digest::of(&nested).to_string(), nested.clone());
        refused(&holm, &Origin::of(lie), &[]);
    }
}

#[test]
fn what_a_server_says_does_not_reach_a_terminal_as_it_is() {
    let (holm, image) = (Holm::bare(), image());
    let said = json!({"errors": [{"code": "DENIED", "message": format!("no\u{1b}[2J\nholm: all is well\r{}", "x".repeat(9999))}]});
    let rude = Origin::serve(move |request, _, stream| match request.path.as_str() {
        "/v2/" => holm_tests::origin::give(&image, request, stream),
        _ => holm_tests::origin::answer(stream, "403 Forbidden", &[], said.to_string().as_bytes()),
    });
    let text = refused(&holm, &rude, &["403"]);
    assert!(!text.contains('\u{1b}') && text.len() < 1000, "{text:?}");
}

#[test]
fn what_is_behind_a_packed_layer_counts() {
    let holm = Holm::bare();
    let tar = Tarball::new().file("x", 0o644, "x").finish();
    let mut image = OciImage::packed(std::slice::from_ref(&tar));
    let mut content = gzip(&tar);
    content.extend_from_slice(&noise(1000));
    let layer = image.add("application/vnd.oci.image.layer.v1.tar+gzip", content);
    image.describe(&configuration(&[Digest::of(&tar).to_string()]), std::slice::from_ref(&layer));
    let digest = layer["digest"].as_str().expect("text");
    refused(&holm, &Origin::of(image), &[digest]);
}
