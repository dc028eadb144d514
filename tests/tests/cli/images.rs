//! `import`, `images`, `tag`, `rmi`, `history`, `image inspect`.

use std::io::Write;

use holm_tests::{Holm, tarball};
use serde_json::{Value, json};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).expect("memory takes all");
    writer.finish().expect("memory takes all")
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut writer = liblzma::write::XzEncoder::new(Vec::new(), 1);
    writer.write_all(bytes).expect("memory takes all");
    writer.finish().expect("memory takes all")
}

#[test]
fn import_in_any_form() {
    let holm = Holm::empty();
    let plain = tarball::base();
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    // Compressed files may consist of several parts, one behind the other.
    let (front, back) = plain.split_at(100_000);
    let parts = [gzip(front), gzip(back)].concat();
    let mut layers = Vec::new();
    for (name, bytes) in
        [("plain", &plain), ("gz", &gzip(&plain)), ("zst", &zstd), ("xz", &xz(&plain)), ("parts", &parts)]
    {
        let file = holm.file(&format!("{name}.bin"), bytes);
        let id = holm.ok(["import", &file, name]);
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(holm.ok(["run", "--rm", name, "head", "-1", "/etc/os-release"]), "ID=base");
        layers.push(holm.ok(["image", "inspect", "-f", "{{index .RootFS.Layers 0}}", name]));
        let stdin = holm.call(["import", "-", &format!("stdin-{name}")]).stdin(bytes.clone()).run();
        assert!(stdin.ok().starts_with("sha256:"));
    }
    layers.dedup();
    assert_eq!(layers.len(), 1, "one and the same layer, whatever it came in: {layers:?}");
}

#[test]
fn import_without_a_name() {
    let holm = Holm::empty();
    let id = holm.call(["import", "-"]).stdin(tarball::base()).run().ok();
    assert_eq!(holm.ok(["images", "--format", "{{.Repository}}:{{.Tag}}"]), "<none>:<none>");
    assert_eq!(holm.ok(["run", "--rm", &id, "echo", "hi"]), "hi");
    assert_eq!(holm.ok(["run", "--rm", &id[7..19], "echo", "hi"]), "hi");
    assert_eq!(holm.ok(["images", "-q", "--filter", "dangling=true"]), id[7..19]);
}

#[test]
fn import_over_a_name() {
    let holm = Holm::new();
    let first = holm.ok(["images", "-q", "--no-trunc", "base"]);
    holm.start(&["--name", "box"], "sleep 60");
    let tar = tarball::base_with_release("second").finish();
    let second = holm.call(["import", "-", "base"]).stdin(tar).run().ok();
    assert_ne!(first, second);
    assert_eq!(holm.sh(&[], "head -1 /etc/os-release"), "ID=second");
    assert_eq!(
        holm.ok(["exec", "box", "head", "-1", "/etc/os-release"]),
        "ID=base",
        "what runs keeps its own"
    );
    assert_eq!(holm.inspect("box", "{{.Image}}"), first);
    holm.ok(["kill", "box"]);
    holm.ok(["wait", "box"]);
    holm.ok(["start", "box"]);
    assert_eq!(holm.ok(["exec", "box", "head", "-1", "/etc/os-release"]), "ID=base");
}

#[test]
fn changes() {
    let holm = Holm::empty();
    let instructions = [
        "CMD [\"sleep\", \"60\"]",
        "ENTRYPOINT /bin/entry with words",
        "ENV A=1 B=\"two words\"",
        "ENV C three",
        "EXPOSE 80 53/udp",
        "LABEL k=v \"spaced key\"=\"x y\"",
        "USER 1000:2000",
        "WORKDIR /srv",
        "WORKDIR sub",
        "VOLUME /data",
        "STOPSIGNAL SIGINT",
    ];
    let flags = instructions.iter().flat_map(|line| ["-c", line]);
    holm.call(["import"].into_iter().chain(flags).chain(["-m", "a comment", "-", "app:1"]))
        .stdin(tarball::base())
        .run()
        .ok();
    let list: Vec<Value> = serde_json::from_str(&holm.ok(["image", "inspect", "app:1"])).unwrap();
    let config = &list[0]["Config"];
    for (name, expected) in [
        ("Cmd", json!(["sleep", "60"])),
        ("Entrypoint", json!(["/bin/sh", "-c", "/bin/entry with words"])),
        ("ExposedPorts", json!({"80/tcp": {}, "53/udp": {}})),
        ("Labels", json!({"k": "v", "spaced key": "x y"})),
        ("User", json!("1000:2000")),
        ("WorkingDir", json!("/srv/sub")),
        ("Volumes", json!({"/data": {}})),
        ("StopSignal", json!("SIGINT")),
    ] {
        assert_eq!(config[name], expected, "{name}");
    }
    let environment = config["Env"].as_array().unwrap();
    for line in ["A=1", "B=two words", "C=three"] {
        assert!(environment.contains(&json!(line)), "{line}: {environment:?}");
    }
    assert_eq!(list[0]["Comment"], "a comment");
    assert!(holm.ok(["history", "app:1"]).contains("a comment"));
    for line in ["RUN true", "ENV", "COPY a b", "STOPSIGNAL NOSUCH", "EXPOSE 99999", ""] {
        let outcome = holm.call(["import", "-c", line, "-", "bad"]).stdin(tarball::base()).run();
        outcome.refused(125, &[line.split(' ').next().unwrap()]);
    }
    assert_eq!(holm.ok(["images", "-q", "bad"]), "");
}

#[test]
fn list() {
    let holm = Holm::new();
    holm.ok(["tag", "base", "my/app:1.0"]);
    holm.ok(["tag", "base", "registry.example:5000/my/app:2.0"]);
    let names = |arguments: &[&str]| {
        let mut names: Vec<_> = holm
            .ok(["images", "--format", "{{.Repository}}:{{.Tag}}"].iter().chain(arguments))
            .lines()
            .map(str::to_owned)
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "base:latest my/app:1.0 registry.example:5000/my/app:2.0");
    assert_eq!(names(&["base"]), "base:latest");
    assert_eq!(names(&["my/app:1.0"]), "my/app:1.0");
    assert_eq!(names(&["my/app:9"]), "");
    assert_eq!(names(&["--filter", "reference=my/*"]), "my/app:1.0");
    assert_eq!(names(&["--filter", "dangling=true"]), "");
    let id = holm.ok(["images", "-q", "base"]);
    assert_eq!(id.len(), 12);
    let digests = holm.ok(["images", "--digests", "base"]);
    assert!(digests.lines().next().unwrap().contains("DIGEST") && digests.contains("sha256:"), "{digests}");
    for line in holm.ok(["images", "--format", "json"]).lines() {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["ID"], json!(id));
    }
    holm.run(["images", "--filter", "colour=red"]).refused(125, &["colour"]);
}

#[test]
fn ids_come_once_a_name() {
    let holm = Holm::new();
    holm.ok(["tag", "base", "second"]);
    let id = holm.ok(["images", "-q", "base"]);
    assert_eq!(holm.ok(["images", "-q"]), format!("{id}\n{id}"), "as Docker prints them");
}

#[test]
fn names_of_images() {
    let holm = Holm::new();
    for name in ["docker.io/library/base:latest", "docker.io/base", "base:latest", "library/base"] {
        assert_eq!(holm.ok(["run", "--rm", name, "echo", "hi"]), "hi", "{name}");
    }
    let digest = holm.ok(["images", "--no-trunc", "--format", "{{.Digest}}", "--digests"]);
    assert_eq!(holm.ok(["run", "--rm", &format!("base@{digest}"), "echo", "hi"]), "hi");
    for name in ["UPPER", "a//b", "a:b:c", "a@sha256:12", "a b", &"x".repeat(300)] {
        let outcome = holm.run(["tag", "base", name]);
        assert_eq!(outcome.code(), 1, "{name}: {outcome}");
    }
    holm.run(["tag", "absent", "x"]).refused(1, &["absent"]);
    assert_eq!(holm.ok(["images", "-q"]).lines().count(), 1);
}

#[test]
fn remove_name_by_name() {
    let holm = Holm::new();
    holm.ok(["tag", "base", "other:1"]);
    assert_eq!(holm.ok(["rmi", "other:1"]), "Untagged: other:1");
    assert_eq!(holm.sh(&[], "echo there"), "there");
    let last = holm.ok(["rmi", "base"]);
    let lines: Vec<_> = last.lines().collect();
    assert_eq!(lines[0], "Untagged: base:latest");
    assert!(
        lines[1..]
            .iter()
            .all(|line| line.starts_with("Deleted: sha256:") || line.starts_with("Untagged: base@sha256:"))
            && lines.len() > 1,
        "{last}"
    );
    assert_eq!(holm.ok(["images", "-q"]), "");
    let left = |name: &str| std::fs::read_dir(holm.root().join(name)).map_or(0, Iterator::count);
    assert_eq!((left("layers"), left("blobs/sha256"), left("refs")), (0, 0, 0), "nothing stays on disk");
    holm.run(["rmi", "base"]).refused(1, &["base"]);
    holm.run(["rmi", "-f", "base"]).expect_code(0);
}

#[test]
fn remove_by_id() {
    let holm = Holm::new();
    holm.ok(["tag", "base", "other:1"]);
    let id = holm.ok(["images", "-q", "base"]);
    holm.run(["rmi", &id]).refused(1, &[&id]);
    let names = holm.ok(["images", "--format", "{{.Repository}}"]);
    assert_eq!(names.lines().count(), 2, "several names: only by force");
    holm.ok(["rmi", "-f", &id]);
    assert_eq!(holm.ok(["images", "-q"]), "");
    let id = holm.call(["import", "-", "base"]).stdin(tarball::base()).run().ok();
    holm.ok(["rmi", &id[7..20]]);
    assert_eq!(holm.ok(["images", "-q"]), "", "one name: by id as well");
}

#[test]
fn remove_what_is_used() {
    let holm = Holm::new();
    let id = holm.start(&["--name", "box"], "sleep 60");
    let outcome = holm.run(["rmi", "base"]);
    outcome.refused(1, &["base"]);
    assert!(outcome.err().contains("box") || outcome.err().contains(&id[..12]), "names the user: {outcome}");
    holm.ok(["tag", "base", "second"]);
    assert_eq!(holm.ok(["rmi", "second"]), "Untagged: second:latest", "a name among several is free");
    holm.ok(["kill", "box"]);
    holm.ok(["wait", "box"]);
    holm.run(["rmi", "base"]).refused(1, &["base"]);
    holm.ok(["rmi", "-f", "base"]);
    assert_eq!(holm.ok(["images", "-q", "base"]), "");
    holm.ok(["start", "box"]);
    assert_eq!(holm.ok(["exec", "box", "echo", "still"]), "still", "its layers stay as long as it does");
    holm.ok(["rm", "-f", "box"]);
}

#[test]
fn remove_several() {
    let holm = Holm::new();
    holm.ok(["tag", "base", "two"]);
    let outcome = holm.run(["rmi", "absent", "two"]);
    outcome.expect_code(1);
    assert_eq!(outcome.out(), "Untagged: two:latest");
    assert!(outcome.err().contains("absent"), "{outcome}");
}

#[test]
fn shared_layers_stay() {
    let holm = Holm::new();
    // The same tarball with another configuration: another image with the same layer.
    holm.call(["import", "-c", "CMD true", "-", "other"]).stdin(tarball::base()).run().ok();
    let ids = holm.ok(["images", "-q"]);
    assert_ne!(ids.lines().next(), ids.lines().nth(1));
    holm.ok(["rmi", "base"]);
    assert_eq!(holm.ok(["run", "--rm", "other", "echo", "hi"]), "hi");
}

#[test]
fn another_base_beside_it() {
    let holm = Holm::new();
    let tar = tarball::base_with_release("second").finish();
    holm.call(["import", "-", "second"]).stdin(tar).run().ok();
    holm.start(&["--name", "box"], "sleep 60");
    assert_eq!(holm.ok(["run", "--rm", "second", "head", "-1", "/etc/os-release"]), "ID=second");
    assert_eq!(holm.ok(["exec", "box", "head", "-1", "/etc/os-release"]), "ID=base");
}

#[test]
fn history() {
    let holm = Holm::empty();
    holm.call(["import", "-c", "CMD true", "-m", "first", "-", "base"]).stdin(tarball::base()).run().ok();
    let id = holm.ok(["images", "-q", "--no-trunc"]);
    assert_eq!(holm.ok(["history", "-q", "--no-trunc", "base"]).lines().next(), Some(id.as_str()));
    assert_eq!(holm.ok(["history", "--format", "{{.Comment}}", "base"]).lines().last(), Some("first"));
    let bytes = holm.ok(["history", "--human=false", "--format", "{{.Size}}", "base"]);
    assert!(bytes.lines().last().unwrap().parse::<u64>().unwrap() > 1_000_000, "{bytes}");
    holm.run(["history", "absent"]).refused(1, &["absent"]);
}

#[test]
fn what_a_tarball_may_hold() {
    let holm = Holm::empty();
    let mut tar = tarball::base_with_release("rich");
    let long = format!("long/{}", "n".repeat(200));
    tar.file("one", 0o4755, "shared content").hard_link("two", "one").symlink("link", "one");
    tar.file(&long, 0o600, "long name").owner(70_000, 80_000).file("owned", 0o640, "x").owner(0, 0);
    tar.attribute("user.colour", "red").file("attributed", 0o644, "a");
    tar.character_device("device", 0o600, 1, 3).file("empty", 0o000, "").file(
        "\u{e4}\u{f6} \n",
        0o644,
        "odd name",
    );
    holm.call(["import", "-", "base"]).stdin(tar.finish()).run().ok();
    let script = format!(
        "stat -c '%a %h' /one; cat /two; readlink /link; cat /{long}; stat -c '%u:%g %a' /owned; stat -c '%t:%T' /device; stat -c '%a %s' /empty; cat \"/$(printf '\u{e4}\u{f6} \\nx' | sed '$ s/x//')\" 2>/dev/null | head -1; test /one -ef /two && echo same"
    );
    let out = holm.sh(&[], &script);
    assert!(out.starts_with("4755 2\nshared contentone\nlong name70000:80000 640\n1:3\n0 0\n"), "{out}");
    assert!(out.ends_with("same"), "{out}");
    holm.start(&["--name", "box"], "sleep 60");
    let file = format!("/proc/{}/root/attributed", holm.pid("box"));
    let mut buffer = [0; 16];
    let count = rustix::fs::getxattr(file, "user.colour", &mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"red");
}

#[test]
fn what_an_image_does_not_say_can_be_asked_for() {
    let holm = Holm::new();
    let shown = |template: &str| holm.ok(["image", "inspect", "-f", template, "base"]);
    assert_eq!(shown("{{json .Config.Entrypoint}} {{json .Config.Volumes}}"), "null null");
    assert_eq!(shown("{{.Config.User}}{{.Variant}}{{len .Config.ExposedPorts}}"), "0");
    assert_eq!(shown("{{.Config.Labels.missing}}"), "<no value>");
    holm.run(["image", "inspect", "-f", "{{.Config.Nope}}", "base"]).refused(1, &["Nope"]);
}

#[test]
fn what_a_workload_uses_stays_also_if_the_workload_is_damaged() {
    let holm = Holm::new();
    let id = holm.ok(["create", "--name", "box", "base", "true"]);
    let config = holm.root().join("workloads").join(&id).join("config.json");
    let good = std::fs::read(&config).unwrap();
    let mut newer: Value = serde_json::from_slice(&good).unwrap();
    newer["version"] = json!(99);
    newer["unknown"] = json!("x");
    std::fs::write(&config, newer.to_string()).unwrap();
    holm.run(["rmi", "base"]).refused(1, &["box"]);

    std::fs::write(&config, b"{").unwrap();
    for arguments in [&["rmi", "base"][..], &["rmi", "-f", "base"]] {
        holm.run(arguments).refused(1, &[&id[..12], "config.json"]);
    }
    std::fs::remove_file(&config).unwrap();
    holm.run(["rmi", "base"]).refused(1, &[&id[..12], "config.json"]);
    assert_eq!(holm.ok(["images", "--format", "{{.Repository}}"]), "base");

    std::fs::write(&config, good).unwrap();
    holm.ok(["start", "box"]);
}
