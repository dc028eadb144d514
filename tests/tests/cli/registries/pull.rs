//! `pull` from a registry that is as it should be.

use holm_spec::Digest;
use holm_tests::Holm;

use super::{Image, Registry};

#[test]
fn an_image_comes_from_a_real_one() {
    let holm = Holm::empty();
    let image = Image::make(&holm);
    let registry = Registry::with(&holm, &image);
    let name = format!("{}/team/app:v1", registry.address);
    let manifest = Digest::of(&image.manifest).to_string();
    let pulled = holm.ok(["pull", &name]);
    assert!(pulled.contains(&format!("Digest: {manifest}")) && pulled.contains("Pull complete"), "{pulled}");
    assert!(pulled.ends_with(&format!("Status: Downloaded newer image for {name}\n{name}")), "{pulled}");
    assert_eq!(holm.ok(["run", "--rm", &name]), "second");
    let again = holm.ok(["pull", &name]);
    assert!(again.contains("Already exists") && again.contains("Image is up to date"), "{again}");
    assert_eq!(holm.ok(["pull", "-q", &name]), name);
    let pinned = format!("{}/team/app@{manifest}", registry.address);
    assert_eq!(holm.ok(["pull", "-q", &pinned]), pinned);
    holm.run(["pull", "-q", &format!("{}/team/none:v1", registry.address)]).refused(1, &["team/none", "404"]);
    holm.run(["pull", "-q", "--platform", "linux/s390x", &name]).refused(1, &["linux/s390x"]);
    let address = registry.address.clone();
    drop(registry);
    holm.run(["pull", "-q", &format!("{address}/team/app:v2")]).refused(1, &[&address, "nobody answers"]);
}

#[test]
fn workloads_bring_their_images() {
    let holm = Holm::empty();
    let registry = Registry::with(&holm, &Image::make(&holm));
    let name = format!("{}/team/app:v1", registry.address);
    holm.run(["run", "--rm", "--pull", "never", &name]).refused(125, &["there is no image", "team/app"]);
    let outcome = holm.run(["run", "--rm", &name]);
    assert_eq!(outcome.ok(), "second");
    assert!(
        outcome.err().starts_with("v1: Pulling from team/app") && outcome.err().contains("Pull complete")
    );
    let again = holm.run(["run", "--rm", &name]);
    assert_eq!((again.ok().as_str(), again.err().as_str()), ("second", ""));
    let always = holm.run(["run", "--rm", "--pull", "always", &name]);
    assert!(always.err().contains("Image is up to date"), "{always}");
    holm.ok(["rmi", &name]);
    let quiet = holm.run(["run", "--rm", "-q", &name]);
    assert_eq!((quiet.ok().as_str(), quiet.err().as_str()), ("second", ""));
    holm.ok(["rmi", &name]);
    let kept = holm.call(["run", "--rm", "-q", &name]).env("HOLM_STORE_MAX_SIZE", "1k").run();
    assert!(kept.ok() == "second" && kept.err().contains("larger than 1.02kB"), "{kept}");
    holm.run(["create", &format!("{}/team/none", registry.address)])
        .refused(125, &["there is no image", "404"]);
    holm.run(["run", "--pull", "often", &name]).refused(125, &["often", "missing, always and never"]);
}

#[test]
fn programs_read_events() {
    let holm = Holm::empty();
    let registry = Registry::with(&holm, &Image::make(&holm));
    let name = format!("{}/team/app:v1", registry.address);
    let lines = holm.ok(["pull", "--format", "json", &name]);
    let events: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let last = events.last().expect("events");
    assert!(last["name"] == name.as_str() && last["newer"] == true, "{last}");
    let complete = events.iter().filter(|event| event["status"] == "complete").count();
    assert_eq!(complete, 2, "{lines}");
    holm.run(["pull", "--format", "yaml", &name]).refused(125, &["yaml"]);
}

#[test]
fn mirrors_are_asked_first_and_short_names_have_meanings() {
    let holm = Holm::empty();
    let registry = Registry::with(&holm, &Image::make(&holm));
    let address = &registry.address;
    let rules = format!(
        "[aliases]\nshort = \"{address}/team/app\"\n[registry.\"docker.io\"]\nblocked = true\nmirrors = [\"{address}\"]\n"
    );
    std::fs::write(holm.registries(), rules).expect("a file of the test's");
    assert_eq!(holm.ok(["pull", "-q", "team/app:v1"]), "docker.io/team/app:v1");
    assert_eq!(holm.ok(["run", "--rm", "team/app:v1"]), "second");
    holm.run(["pull", "-q", "team/other"]).refused(1, &["team/other", "404"]);
    assert_eq!(holm.ok(["pull", "-q", "short:v1"]), format!("{address}/team/app:v1"));
    std::fs::write(holm.registries(), "[registry.\"docker.io\"]\nblock = true\n").expect("a file");
    holm.run(["pull", "team/app:v1"]).refused(1, &["registries.toml", "block"]);
}
