//! The rules of the OCI image specification 1.1 for descriptors, manifests, indexes and configurations ("schema"), one
//! document a rule, and what the client makes of each.
//!
//! What is needed to pull an image must be there and have its form. What is only told along (annotations, addresses,
//! names of types that lead to nothing) is not looked at: an image does not become unusable by it.

use holm_registry::document::{Document, choose, digest_of, layers, parse, parse_configuration};
use holm_registry::{Kind, Result};
use holm_spec::Digest;
use holm_spec::platform::Platform;
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

fn hash(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

fn descriptor(media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": hash(media_type), "size": 1234})
}

fn manifest() -> Value {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor(CONFIG), "layers": [descriptor(LAYER)]})
}

fn configuration() -> Value {
    json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [hash("tar")]}})
}

fn index() -> Value {
    let mut entry = descriptor(MANIFEST);
    entry["platform"] = json!({"architecture": "amd64", "os": "linux"});
    json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]})
}

/// Everything that a pull reads of a manifest and its configuration.
fn image(manifest: &Value, configuration: &Value) -> Result<usize> {
    let config = parse_configuration(configuration.to_string().as_bytes())?;
    match parse(manifest.to_string().as_bytes())? {
        Document::Manifest(manifest) => {
            digest_of(manifest.config())?;
            Ok(layers(&manifest, &config)?.len())
        }
        Document::Index(_) => Ok(usize::MAX),
    }
}

/// Everything that a pull reads of an index.
fn chosen(index: &Value) -> Result<Digest> {
    let Document::Index(index) = parse(index.to_string().as_bytes())? else { return Ok(Digest::of(b"")) };
    let platform = Platform { os: "linux".into(), architecture: "amd64".into() };
    digest_of(choose(index.manifests(), &platform)?)
}

/// A document in which one place has another value; nothing in it stands for a place that is gone.
fn with(mut document: Value, pointer: &str, value: Option<Value>) -> Value {
    let (above, name) = pointer.rsplit_once('/').expect("a pointer");
    let above = document.pointer_mut(above).expect("it is there");
    match (above, value) {
        (Value::Array(list), Some(value)) => list[name.parse::<usize>().expect("a place")] = value,
        (above, Some(value)) => above[name] = value,
        (above, None) => drop(above.as_object_mut().expect("an object").remove(name)),
    }
    document
}

#[test]
fn manifests_and_their_descriptors_have_what_a_pull_needs() {
    for (pointer, value) in [
        ("/schemaVersion", None),
        ("/schemaVersion", Some(json!(1))),
        ("/schemaVersion", Some(json!("2"))),
        ("/config", None),
        ("/config", Some(json!("sha256:1"))),
        ("/config/mediaType", None),
        ("/config/mediaType", Some(json!(5))),
        ("/config/digest", None),
        ("/config/digest", Some(json!(hash("x").trim_start_matches("sha256:")))),
        ("/config/digest", Some(json!("sha256:"))),
        ("/config/digest", Some(json!(":c86f7763873b6c0aae22d963bab59b4f5debbed6685761b5951584f6efb0633b"))),
        ("/config/digest", Some(json!(hash("x").to_uppercase().replace("SHA", "sha")))),
        ("/config/digest", Some(json!(hash("x")[..70]))),
        ("/config/digest", Some(json!(format!("{}0", hash("x"))))),
        ("/config/digest", Some(json!(hash("x").replacen("sha256", "SHA256", 1)))),
        ("/config/digest", Some(json!(hash("x").replacen("sha256", "sha256+-b64", 1)))),
        ("/config/size", None),
        ("/config/size", Some(json!("1234"))),
        ("/config/size", Some(json!(-1))),
        ("/config/size", Some(json!(1.5))),
        ("/layers", None),
        ("/layers", Some(json!({}))),
        ("/layers", Some(json!([]))),
        ("/layers/0", Some(json!("text"))),
        ("/layers/0/mediaType", None),
        ("/layers/0/mediaType", Some(json!("application"))),
        ("/layers/0/mediaType", Some(json!("text/plain"))),
        ("/layers/0/digest", Some(json!("sha256:../../x"))),
        ("/layers/0/size", None),
        ("/layers/0/size", Some(json!("675598"))),
        ("/annotations", Some(json!("text"))),
        ("/subject", Some(json!(".nothing"))),
    ] {
        let changed = with(manifest(), pointer, value.clone());
        let error = image(&changed, &configuration()).expect_err(&format!("{pointer} {value:?}"));
        assert_eq!(error.kind(), Kind::Invalid, "{pointer} {value:?}: {error}");
    }
}

#[test]
fn manifests_may_say_more() {
    for (pointer, value) in [
        ("/mediaType", None),
        ("/layers/0/size", Some(json!(0))),
        ("/layers/0/size", Some(json!(1_u64 << 40))),
        ("/config/data", Some(json!("e30="))),
        ("/config/urls", Some(json!(["https://registry.example/a%20b"]))),
        ("/config/artifactType", Some(json!("application/vnd.example"))),
        ("/annotations", Some(json!({}))),
        ("/annotations", Some(json!({"org.opencontainers.image.title": "x", "": "\n"}))),
        ("/subject", Some(descriptor(MANIFEST))),
        ("/artifactType", Some(json!("application/vnd.example+type"))),
        ("/layers/0/annotations", Some(json!({"a": "b"}))),
        ("/layers/0/platform", Some(json!({"architecture": "amd64", "os": "linux"}))),
        ("/com.example.extension", Some(json!([1, {"a": null}]))),
        ("/layers/0/mediaType", Some(json!("application/vnd.docker.image.rootfs.diff.tar.gzip"))),
    ] {
        let changed = with(manifest(), pointer, value.clone());
        let count = image(&changed, &configuration());
        assert_eq!(count.map_err(|error| holm_store::chain(&error)), Ok(1), "{pointer} {value:?}");
    }
}

#[test]
fn configurations_have_their_form() {
    let whole = json!({"User": "1:1", "ExposedPorts": {"8080/tcp": {}}, "Env": ["A=", "B=c=d"], "Entrypoint": ["a"],
        "Cmd": ["b"], "Volumes": {"/v": {}}, "WorkingDir": "/w", "Labels": {"a": "b"}, "StopSignal": "SIGKILL"});
    let history = json!([{"created": "2015-10-31T22:22:54.690851953Z", "created_by": "x"},
        {"created_by": "y", "author": "z", "comment": "c", "empty_layer": true}]);
    let whole = with(with(configuration(), "/config", Some(whole)), "/history", Some(history));
    for (pointer, value) in [
        ("/architecture", None),
        ("/os", None),
        ("/os", Some(json!(123))),
        ("/variant", Some(json!(123))),
        ("/rootfs", None),
        ("/rootfs/type", None),
        ("/rootfs/type", Some(json!(5))),
        ("/rootfs/diff_ids", None),
        ("/rootfs/diff_ids", Some(json!("sha256:1"))),
        ("/rootfs/diff_ids/0", Some(json!("sha256:1"))),
        ("/rootfs/diff_ids/0", Some(json!(7))),
        ("/config/User", Some(json!(1234))),
        ("/config/Env", Some(json!([7353]))),
        ("/config/Env", Some(json!("A=b"))),
        ("/config/Volumes", Some(json!(["/v"]))),
        ("/config/ExposedPorts", Some(json!(["80"]))),
        ("/config/Labels", Some(json!({"a": 1}))),
        ("/config/Cmd", Some(json!("sh"))),
        ("/config", Some(json!([]))),
        ("/history", Some(json!("should be a list"))),
        ("/history/0", Some(json!("text"))),
        ("/created", Some(json!(5))),
    ] {
        let changed = with(whole.clone(), pointer, value.clone());
        let error = image(&manifest(), &changed).expect_err(&format!("{pointer} {value:?}"));
        assert_eq!(error.kind(), Kind::Invalid, "{pointer} {value:?}: {error}");
    }
    for (pointer, value) in [
        ("/config", None),
        ("/history", None),
        ("/created", Some(json!("2015-10-31T22:22:56.015925234Z"))),
        ("/author", Some(json!("Alyssa P. Hacker <alyspdev@example.com>"))),
        ("/variant", Some(json!("v8"))),
        ("/os.version", Some(json!("10.0.14393.1066"))),
        ("/os.features", Some(json!(["win32k"]))),
        ("/config/Cmd", Some(Value::Null)),
        ("/config/Volumes", Some(Value::Null)),
        ("/config/Healthcheck", Some(json!({"Test": ["CMD", "true"]}))),
        ("/history/0/empty_layer", Some(json!(false))),
        ("/container_config", Some(json!({"of": "Docker"}))),
    ] {
        let changed = with(whole.clone(), pointer, value.clone());
        let count = image(&manifest(), &changed);
        assert_eq!(count.map_err(|error| holm_store::chain(&error)), Ok(1), "{pointer} {value:?}");
    }
}

#[test]
fn indexes_have_their_form() {
    for (pointer, value) in [
        ("/schemaVersion", None),
        ("/manifests", Some(json!({}))),
        ("/manifests", Some(json!("text"))),
        ("/manifests/0/mediaType", None),
        ("/manifests/0/size", None),
        ("/manifests/0/size", Some(json!("7682"))),
        ("/manifests/0/digest", None),
        ("/manifests/0/digest", Some(json!("md5:d41d8cd98f00b204e9800998ecf8427e"))),
        ("/manifests/0/platform/os", None),
        ("/manifests/0/platform/architecture", None),
        ("/manifests/0/platform/architecture", Some(json!(4))),
    ] {
        let changed = with(index(), pointer, value.clone());
        let error = chosen(&changed).expect_err(&format!("{pointer} {value:?}"));
        assert_eq!(error.kind(), Kind::Invalid, "{pointer} {value:?}: {error}");
    }
    let empty = with(index(), "/manifests", Some(json!([])));
    assert_eq!(chosen(&empty).expect_err("nothing is in it").kind(), Kind::Platform);
    for (pointer, value) in [
        ("/mediaType", None),
        ("/annotations", Some(json!({"a": "b"}))),
        ("/artifactType", Some(json!("application/vnd.example"))),
        ("/subject", Some(descriptor(MANIFEST))),
        ("/manifests/0/platform/variant", Some(json!("v1"))),
        ("/manifests/0/platform/os.version", Some(json!("1.2"))),
        ("/manifests/0/platform/os.features", Some(json!(["x"]))),
        ("/manifests/0/mediaType", Some(json!("application/vnd.docker.distribution.manifest.v2+json"))),
        ("/manifests/0/annotations", Some(json!({"a": "b"}))),
        ("/com.example.extension", Some(json!(true))),
    ] {
        let changed = with(index(), pointer, value.clone());
        let digest = chosen(&changed).map_err(|error| holm_store::chain(&error));
        assert_eq!(digest, Ok(Digest::of(MANIFEST.as_bytes())), "{pointer} {value:?}");
    }
}

#[test]
fn documents_that_are_no_json_or_two_things() {
    for text in ["", "{", "null", "[]", "\u{feff}{}", "{\"schemaVersion\":2}", "{\"schemaVersion\":2}{}"] {
        assert_eq!(parse(text.as_bytes()).expect_err(text).kind(), Kind::Invalid, "{text}");
        assert_eq!(parse_configuration(text.as_bytes()).expect_err(text).kind(), Kind::Invalid, "{text}");
    }
    // One document that is a manifest to one reader and an index to another hides what is pulled.
    let both = with(manifest(), "/manifests", Some(index()["manifests"].clone()));
    assert_eq!(parse(both.to_string().as_bytes()).expect_err("two things").kind(), Kind::Invalid);
    let told = with(index(), "/mediaType", Some(json!(MANIFEST)));
    assert_eq!(parse(told.to_string().as_bytes()).expect_err("another thing").kind(), Kind::Invalid);
}
