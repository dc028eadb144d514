//! What `build` makes besides an image in the store: files, archives, and what says what came out.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use serde_json::Value;

use super::build::Site;

const FILES: &str = "FROM base AS build\n\
    RUN mkdir -p /out/deep && echo one >/out/one && echo two >/out/deep/two && ln -s one /out/link && \
    chmod 4755 /out/one && chown 1000:1000 /out/one\n\
    FROM scratch AS files\nCOPY --from=build /out /\n\
    FROM base\nCOPY --from=build /out /out\n";

fn site() -> Site {
    Site::new(&[("Dockerfile", FILES)])
}

fn path(site: &Site, name: &str) -> String {
    site.holm.scratch(name).to_string_lossy().into_owned()
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file")).expect("JSON")
}

fn names(archive: &str) -> Vec<String> {
    let listed = std::process::Command::new("tar").args(["-tf", archive]).output().expect("tar runs");
    assert!(listed.status.success(), "{listed:?}");
    String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn files_come_into_a_directory_as_the_callers() {
    let site = site();
    let out = path(&site, "new/out");
    let images = site.holm.ok(["images", "-a", "-q"]);
    let said = site.build(&["-o", &out, "--target", "files", "-t", "unused"]);
    assert!(said.contains("built files"), "{said}");
    let read = |name: &str| fs::read_to_string(Path::new(&out).join(name)).expect(name);
    assert_eq!(
        (read("one"), read("deep/two"), read("link")),
        ("one\n".into(), "two\n".into(), "one\n".into())
    );
    let one = fs::metadata(Path::new(&out).join("one")).expect("a file");
    assert_eq!((one.uid(), one.permissions().mode() & 0o7777), (0, 0o755), "it gives nobody rights");
    assert_eq!(site.holm.ok(["images", "-a", "-q"]), images, "no image is made");
    assert_eq!(fs::read_dir(path(&site, "new")).expect("a directory").count(), 1, "no draft is left");
    // What is there and not built stays, and what is built replaces it.
    fs::write(Path::new(&out).join("other"), "kept").expect("written");
    fs::write(Path::new(&out).join("one"), "old").expect("written");
    site.build(&["-o", &format!("type=local,dest={out}"), "--target", "files"]);
    assert_eq!((read("one"), read("other")), ("one\n".into(), "kept".into()));
}

#[test]
fn links_in_the_directory_lead_nowhere() {
    let site = site();
    let (out, outside) = (path(&site, "out"), path(&site, "outside"));
    for directory in [&out, &outside] {
        fs::create_dir_all(directory).expect("made");
    }
    symlink(&outside, Path::new(&out).join("deep")).expect("a link");
    fails(&site, &["-o", &out, "--target", "files"], "`deep`, which is no directory, by a directory");
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0);
    // A link in the way of a file is replaced.
    fs::remove_file(Path::new(&out).join("deep")).expect("removed");
    symlink(Path::new(&outside).join("one"), Path::new(&out).join("one")).expect("a link");
    site.build(&["-o", &out, "--target", "files"]);
    assert_eq!(fs::read_dir(&outside).expect("a directory").count(), 0);
    assert!(!Path::new(&out).join("one").is_symlink());
}

#[test]
fn files_come_as_an_archive() {
    let site = site();
    let (file, twice) = (path(&site, "files.tar"), path(&site, "twice.tar"));
    site.build(&[
        "-o",
        &format!("type=tar,dest={file}"),
        "-o",
        &format!("type=tar,dest={twice}"),
        "--target",
        "files",
    ]);
    assert_eq!(names(&file), ["deep/", "deep/two", "link", "one"]);
    assert_eq!(fs::read(&file).expect("a file"), fs::read(&twice).expect("a file"));
    let piped = piped(&site, &["-o", "-", "--target", "files"]);
    assert_eq!(fs::read(&piped).expect("a file"), fs::read(&file).expect("a file"));
}

/// What a build writes to standard output, as a file.
fn piped(site: &Site, flags: &[&str]) -> String {
    let (output, errors) = (site.holm.scratch("piped.tar"), site.holm.scratch("errors"));
    site.call(flags).files(output.clone(), errors).run().expect_code(0);
    output.to_string_lossy().into_owned()
}

/// A build that says in these words why it fails.
#[track_caller]
fn fails(site: &Site, flags: &[&str], words: &str) {
    let outcome = site.call(flags).run();
    outcome.expect_code(1);
    assert!(outcome.err().contains(words), "{}", outcome.err());
}

#[test]
fn images_come_as_archives_that_can_be_copied_back() {
    let site = site();
    let (oci, docker, layout) = (path(&site, "oci.tar"), path(&site, "docker.tar"), path(&site, "layout"));
    let metadata = path(&site, "metadata.json");
    let said = site.build(&[
        "-t",
        "app:1",
        "-t",
        "registry.example/other:2",
        "--annotation",
        "org.example=yes",
        "--metadata-file",
        &metadata,
        "-o",
        &format!("type=oci,dest={oci}"),
        "-o",
        &format!("type=docker,dest={docker}"),
        "-o",
        &format!("type=oci,tar=false,dest={layout}"),
    ]);
    assert!(!said.contains("named"), "{said}");
    site.holm.run(["run", "--rm", "--pull", "never", "app:1", "true"]).expect_code(125);
    let told = json(&metadata);
    let digest = told["containerimage.digest"].as_str().expect("a digest");
    assert_eq!(told["image.name"], "docker.io/library/app:1,registry.example/other:2");
    assert_eq!(told["containerimage.descriptor"]["digest"], digest);
    for from in
        [format!("oci-archive:{oci}:1"), format!("docker-archive:{docker}:app:1"), format!("oci:{layout}:2")]
    {
        let copy = path(&site, "copy");
        let _ = fs::remove_dir_all(&copy);
        assert_eq!(site.holm.ok(["copy", "-q", &from, &format!("dir:{copy}")]), digest, "{from}");
        let manifest = json(&format!("{copy}/manifest.json"));
        assert_eq!(manifest["annotations"]["org.example"], "yes");
        assert_eq!(manifest["config"]["digest"], told["containerimage.config.digest"]);
        assert!(
            manifest["layers"]
                .as_array()
                .expect("layers")
                .iter()
                .all(|layer| layer["mediaType"].as_str().is_some_and(|kind| kind.ends_with("tar+gzip")))
        );
    }
    let tags = &json_of(&docker, "manifest.json")[0]["RepoTags"];
    assert_eq!(*tags, serde_json::json!(["app:1", "registry.example/other:2"]));
    // The same on standard output, and nothing else.
    assert!(
        names(&piped(&site, &["-q", "-t", "app:1", "-o", "type=oci"])).contains(&"index.json".to_owned())
    );
}

fn json_of(archive: &str, name: &str) -> Value {
    let told = std::process::Command::new("tar").args(["-xOf", archive, name]).output().expect("tar runs");
    serde_json::from_slice(&told.stdout).expect("JSON")
}

#[test]
fn a_build_that_fails_leaves_no_output() {
    let site = Site::new(&[("Dockerfile", "FROM base\nRUN false\n")]);
    let (out, tar, id) = (path(&site, "out"), path(&site, "out.tar"), path(&site, "id"));
    let (kept, tar_flag) = ("old", format!("type=tar,dest={tar}"));
    fs::write(&tar, kept).expect("written");
    site.call(&["-o", &out, "-o", &tar_flag]).run().expect_code(1);
    site.call(&["--iidfile", &id]).run().expect_code(1);
    assert!(!Path::new(&out).exists() && !Path::new(&id).exists());
    assert_eq!(fs::read_to_string(&tar).expect("as it was"), kept);
    // One that succeeds and cannot be written is an error, too.
    site.write(&[("Dockerfile", "FROM base\n")]);
    fails(&site, &["-o", &format!("type=tar,dest={out}/no/such/x.tar")], "x.tar");
    site.call(&["-o", &out, "--iidfile", &id]).run().refused(125, &["--iidfile: no image is made"]);
    site.call(&["--push"]).run().refused(125, &["no name"]);
    site.call(&["-o", "-", "-o", "type=oci"]).run().refused(125, &["only one thing"]);
}

#[test]
fn what_says_what_came_out_is_written_whole() {
    let site = site();
    let (id, metadata) = (path(&site, "id"), path(&site, "metadata.json"));
    let told = site.id(&["-t", "app", "--load", "--iidfile", &id, "--metadata-file", &metadata]);
    assert_eq!(fs::read_to_string(&id).expect("an id"), told);
    let metadata = json(&metadata);
    assert_eq!(metadata["containerimage.config.digest"], told.as_str());
    assert_eq!(metadata["image.name"], "docker.io/library/app:latest");
    let digest = site.holm.ok(["image", "inspect", "app", "-f", "{{index .RepoDigests 0}}"]);
    assert!(digest.ends_with(metadata["containerimage.digest"].as_str().expect("a digest")), "{digest}");
}
