//! `push`, `login` and `logout`, with Debian's docker-registry.

use holm_tests::{Holm, kernels};
use serde_json::Value;

use super::{Image, Registry};

fn digest(holm: &Holm, name: &str) -> String {
    let shown: Value = serde_json::from_str(&holm.ok(["image", "inspect", name])).expect("JSON");
    let digests: Vec<String> = shown[0]["RepoDigests"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|d| d.as_str().unwrap_or_default().to_owned())
        .collect();
    let repository = name.rsplit_once(':').map_or(name, |(repository, _)| repository);
    let found = digests.iter().find_map(|digest| digest.strip_prefix(&format!("{repository}@")));
    found.unwrap_or_else(|| panic!("{name}: {digests:?}")).to_owned()
}

#[test]
fn an_image_made_here_runs_elsewhere() {
    let (here, there) = (Holm::new(), Holm::empty());
    let registry = Registry::serve(&here, "registry", "");
    let name = format!("{}/team/base:v1", registry.address);
    here.run(["push", &name]).refused(1, &[&name, "there is no image"]);
    here.ok(["tag", "base", &name]);
    let id = here.ok(["images", "-q", "--no-trunc", &name]);
    let pushed = here.ok(["push", &name]);
    assert!(
        pushed.starts_with(&format!("The push refers to repository [{}/team/base]", registry.address)),
        "{pushed}"
    );
    assert!(pushed.contains(": Pushed"), "{pushed}");
    let told = digest(&here, &name);
    assert!(pushed.contains(&format!("v1: digest: {told} size: ")), "{pushed}");
    assert_eq!(here.ok(["images", "-q", "--no-trunc", &name]), id, "the image is the same");
    let again = here.ok(["push", &name]);
    assert!(again.contains("Layer already exists") && again.contains(&told), "{again}");
    assert!(!again.contains("Pushed"), "{again}");

    there.ok(["pull", "-q", &name]);
    assert_eq!(digest(&there, &name), told);
    assert_eq!(there.ok(["images", "-q", "--no-trunc", &name]), id);
    assert_eq!(there.ok(["run", "--rm", &name, "echo", "there"]), "there");

    let other = format!("{}/other/base:v1", registry.address);
    here.ok(["tag", &name, &other]);
    let mounted = here.ok(["push", &other]);
    assert!(mounted.contains("Mounted from another repository") && mounted.contains(&told), "{mounted}");

    let packed = format!("{}/team/base:zstd", registry.address);
    here.ok(["tag", "base", &packed]);
    let zstd = here.ok(["push", "--compression", "zstd", &packed]);
    assert!(zstd.contains("Pushed") && !zstd.contains(&told), "{zstd}");
    there.ok(["pull", "-q", &packed]);
    assert_eq!(there.ok(["images", "-q", "--no-trunc", &packed]), id);
    here.run(["push", "--compression", "xz", &packed]).refused(125, &["xz", "gzip"]);

    assert_eq!(
        there.ok(["pull", "--all-tags", "-q", &format!("{}/team/base", registry.address)]),
        format!("{name}\n{packed}")
    );
    let all = here.ok(["push", "--all-tags", "-q", &format!("{}/team/base", registry.address)]);
    assert_eq!(all, format!("{name}\n{packed}"));
    here.run(["push", "-a", &name]).refused(125, &["--all-tags"]);
    here.run(["push", "-a", &format!("{}/no/such", registry.address)]).refused(1, &["no/such"]);
}

#[test]
fn what_was_pulled_goes_on_byte_for_byte() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let first = Registry::with(&holm, &image);
    let second = Registry::serve(&holm, "second", "");
    let (from, to) =
        (format!("{}/team/app:v1", first.address), format!("{}/deep/down/app:v1", second.address));
    holm.ok(["pull", "-q", &from]);
    holm.ok(["tag", &from, &to]);
    holm.ok(["push", "-q", &to]);
    assert_eq!(digest(&holm, &to), digest(&holm, &from));
    let elsewhere = Holm::empty();
    elsewhere.ok(["pull", "-q", &to]);
    assert_eq!(digest(&elsewhere, &to), digest(&holm, &from));
    // Without its layers as they came it is packed anew: another digest, the same image.
    let blobs = holm.root().join("blobs/sha256");
    for layer in &image.layers {
        std::fs::remove_file(blobs.join(layer.trim_start_matches("sha256:"))).expect("kept as it came");
    }
    drop(second);
    let third = Registry::serve(&holm, "third", "");
    let anew = format!("{}/app:v1", third.address);
    holm.ok(["tag", &from, &anew]);
    holm.ok(["push", "-q", &anew]);
    assert_eq!(holm.ok(["images", "-q", &anew]), holm.ok(["images", "-q", &from]));
    elsewhere.ok(["pull", "-q", &anew]);
    assert_eq!(elsewhere.ok(["run", "--rm", &anew]), "second");
}

#[test]
fn kernels_are_pushed_and_pulled() {
    let (here, there) = (Holm::bare(), Holm::bare());
    let registry = Registry::serve(&here, "registry", "");
    let name = format!("{}/kernels/test:v1", registry.address);
    let file = here.file("vmlinuz", kernels::image("6.1.0-test"));
    here.ok(["kernel", "import", "--tag", &name, &file]);
    here.ok(["push", "-q", &name]);
    there.ok(["kernel", "pull", "-q", &name]);
    let shown = |holm: &Holm| {
        let mut shown: Value = serde_json::from_str(&holm.ok(["kernel", "inspect", &name])).expect("JSON");
        shown[0]["Imported"].take();
        shown.to_string().replace(&holm.root().display().to_string(), "")
    };
    assert_eq!(shown(&there), shown(&here));
    assert_eq!(there.ok(["images", "-q"]), "");
}

#[test]
fn users_log_in_and_out() {
    let holm = Holm::new();
    let script = "python3 -c 'import crypt; print(\"me:\" + crypt.crypt(\"se:cret\", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16)))'";
    let htpasswd = holm.file("htpasswd", holm.host_shell(script).ok());
    let auth = format!("auth: {{htpasswd: {{realm: test, path: {htpasswd}}}}}\n");
    let registry = Registry::serve(&holm, "registry", &auth);
    let configuration = holm.scratch("docker");
    let call = |words: &[&str]| {
        holm.call(words.iter().copied()).env("DOCKER_CONFIG", configuration.to_str().expect("text"))
    };
    let name = format!("{}/team/base:v1", registry.address);
    holm.ok(["tag", "base", &name]);
    call(&["push", &name]).run().refused(1, &["user name and a password"]);
    call(&["login", "-u", "me", "--password-stdin", &registry.address])
        .stdin("wrong\n")
        .run()
        .refused(1, &[&registry.address, "401"]);
    let login = call(&["login", "-u", "me", "--password-stdin", &registry.address]).stdin("se:cret\n").run();
    assert_eq!(login.ok(), "Login Succeeded");
    call(&["push", "-q", &name]).run().ok();
    call(&["pull", "-q", &name]).run().ok();
    let podman = holm.file("auth.json", std::fs::read(configuration.join("config.json")).expect("written"));
    let out = call(&["logout", &registry.address]).run().ok();
    assert_eq!(out, format!("Removing login credentials for {}", registry.address));
    call(&["pull", "-q", &name]).run().refused(1, &["password"]);
    call(&["pull", "-q", &name]).env("REGISTRY_AUTH_FILE", &podman).run().ok();
    assert_eq!(
        call(&["logout", &registry.address]).run().ok(),
        format!("Not logged in to {}", registry.address)
    );
}

#[test]
fn images_for_two_platforms_share_a_name() {
    let (here, there) = (Holm::empty(), Holm::empty());
    let registry = Registry::serve(&here, "registry", "");
    let repository = format!("{}/team/both", registry.address);
    for architecture in ["amd64", "arm64"] {
        let tar = holm_tests::tarball::base_with_release(architecture).finish();
        let platform = format!("linux/{architecture}");
        let name = format!("{repository}:{architecture}");
        here.call(["import", "--platform", &platform, "-", &name]).stdin(tar).run().ok();
        here.ok(["push", "-q", &name]);
    }
    here.ok(["rmi", &format!("{repository}:arm64")]);
    let name = format!("{repository}:v1");
    let words = ["manifest", "create", &name, &format!("{repository}:amd64"), &format!("{repository}:arm64")];
    let created = here.run(words).ok();
    assert!(created.starts_with("sha256:"), "{created}");
    let shown: Value = serde_json::from_str(&here.ok(["manifest", "inspect", &name])).expect("JSON");
    assert_eq!(shown["manifests"][1]["platform"]["architecture"], "arm64", "{shown}");
    let pushed = here.ok(["manifest", "push", &name]);
    assert!(pushed.contains(&created), "{pushed}");
    let remote: Value =
        serde_json::from_str(&there.ok(["manifest", "inspect", "--remote", &name])).expect("JSON");
    assert_eq!(remote, shown);
    for architecture in ["amd64", "arm64"] {
        there.ok(["pull", "-q", "--platform", &format!("linux/{architecture}"), &name]);
        let shown = there.ok(["image", "inspect", "--format", "{{.Architecture}}", &name]);
        assert_eq!(shown, architecture);
    }
    here.run(["manifest", "create", &name, &name, &name]).refused(1, &["two of the images"]);
    assert_eq!(there.ok(["search", &registry.address]).lines().last(), Some(repository.as_str()));
    assert_eq!(there.ok(["search", "--format", "{{.Name}}", &format!("{}/nothing", registry.address)]), "");
    there.run(["search", "both"]).refused(1, &["no name of a registry"]);
}
