//! `inspect`: Docker's document.

use holm_tests::Holm;
use serde_json::{Value, json};

fn document(holm: &Holm, name: &str) -> Value {
    let list: Vec<Value> = serde_json::from_str(&holm.ok(["inspect", name])).expect("a JSON document");
    assert_eq!(list.len(), 1);
    list.into_iter().next().expect("one was counted")
}

#[test]
fn what_was_asked() {
    let holm = Holm::new();
    let directory = holm.scratch("data");
    std::fs::create_dir(&directory).unwrap();
    let bind = format!("{}:/data:ro", directory.display());
    let flags = [
        "--name",
        "box",
        "-e",
        "A=1",
        "-w",
        "/tmp",
        "-u",
        "app",
        "--hostname",
        "island",
        "--label",
        "k=v",
        "--memory",
        "64m",
        "--cpus",
        "1.5",
        "--pids-limit",
        "77",
        "--cap-add",
        "SYS_TIME",
        "--cap-drop",
        "CHOWN",
        "--read-only",
        "--init",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout",
        "7",
        "--network",
        "none",
        "--security-opt",
        "no-new-privileges",
        "-v",
        &bind,
        "--tmpfs",
        "/t:size=1m",
    ];
    let id = holm.start(&flags, "sleep 60");
    let found = document(&holm, "box");
    let at =
        |pointer: &str| found.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {found:#}")).clone();
    for (pointer, expected) in [
        ("/Id", json!(id)),
        ("/Name", json!("/box")),
        ("/Path", json!("sh")),
        ("/Args", json!(["-c", "sleep 60"])),
        ("/State/Status", json!("running")),
        ("/State/Running", json!(true)),
        ("/State/Paused", json!(false)),
        ("/State/Restarting", json!(false)),
        ("/State/OOMKilled", json!(false)),
        ("/State/Dead", json!(false)),
        ("/State/ExitCode", json!(0)),
        ("/State/Error", json!("")),
        ("/State/FinishedAt", json!("0001-01-01T00:00:00Z")),
        ("/Config/Hostname", json!("island")),
        ("/Config/User", json!("app")),
        ("/Config/WorkingDir", json!("/tmp")),
        ("/Config/Image", json!("base")),
        ("/Config/Labels", json!({"k": "v"})),
        ("/Config/Cmd", json!(["sh", "-c", "sleep 60"])),
        ("/Config/Tty", json!(false)),
        ("/Config/OpenStdin", json!(false)),
        ("/Config/StopSignal", json!("SIGINT")),
        ("/Config/StopTimeout", json!(7)),
        ("/HostConfig/Memory", json!(64 << 20)),
        ("/HostConfig/NanoCpus", json!(1_500_000_000)),
        ("/HostConfig/PidsLimit", json!(77)),
        ("/HostConfig/ReadonlyRootfs", json!(true)),
        ("/HostConfig/Init", json!(true)),
        ("/HostConfig/Privileged", json!(false)),
        ("/HostConfig/AutoRemove", json!(false)),
        ("/HostConfig/NetworkMode", json!("none")),
        ("/HostConfig/Binds", json!([bind])),
        ("/HostConfig/Tmpfs", json!({"/t": "size=1m"})),
        ("/HostConfig/SecurityOpt", json!(["no-new-privileges"])),
    ] {
        assert_eq!(at(pointer), expected, "{pointer}");
    }
    assert!(at("/Config/Env").as_array().unwrap().contains(&json!("A=1")));
    for (pointer, name) in [("/HostConfig/CapAdd", "SYS_TIME"), ("/HostConfig/CapDrop", "CHOWN")] {
        assert!(at(pointer)[0].as_str().unwrap().ends_with(name), "{pointer}");
    }
    assert!(at("/State/Pid").as_u64().unwrap() > 1);
    assert!(at("/Image").as_str().unwrap().starts_with("sha256:"));
    assert_eq!(at("/Image"), json!(holm.ok(["images", "-q", "--no-trunc"])));
    let mount = &at("/Mounts")[0];
    assert_eq!(mount["Type"], "bind");
    assert_eq!(mount["Source"], directory.to_str().unwrap());
    assert_eq!(mount["Destination"], "/data");
    assert_eq!(mount["RW"], false);
}

#[test]
fn how_it_went() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "exit 7");
    holm.ok(["wait", "box"]);
    let state = document(&holm, "box")["State"].clone();
    assert_eq!(state["Status"], "exited");
    assert_eq!(state["Running"], false);
    assert_eq!(state["Pid"], 0);
    assert_eq!(state["ExitCode"], 7);
    let time = |name: &str| state[name].as_str().unwrap().to_owned();
    assert!(time("StartedAt") < time("FinishedAt") && time("StartedAt").starts_with("20"), "{state}");
    assert!(document(&holm, "box")["Created"].as_str().unwrap() < time("StartedAt").as_str());
}

#[test]
fn templates() {
    let holm = Holm::new();
    holm.start(&["--name", "box", "-e", "A=1", "--label", "k=v", "--memory", "64m"], "sleep 60");
    for (template, expected) in [
        ("{{.State.Status}}", "running"),
        ("{{.Name}} {{.State.ExitCode}}", "/box 0"),
        ("{{json .Config.Labels}}", r#"{"k":"v"}"#),
        (r#"{{index .Config.Labels "k"}}"#, "v"),
        ("{{range .Args}}[{{.}}]{{end}}", "[-c][sleep 60]"),
        ("{{if .State.Running}}yes{{else}}no{{end}}", "yes"),
        ("{{len .Args}}", "2"),
        ("{{.HostConfig.Memory}}", "67108864"),
        ("{{.Config.Cmd}}", "[sh -c sleep 60]"),
        ("{{upper .Path}}", "SH"),
        (r#"{{join .Args " "}}"#, "-c sleep 60"),
        ("{{with .State}}{{.Status}}{{end}}", "running"),
        ("{{.HostConfig.RestartPolicy.Name}}{{.NetworkSettings.IPAddress}}", "no"),
        ("{{json .Config.Entrypoint}} {{.Config.Entrypoint}} {{len .Config.Volumes}}", "null [] 0"),
        ("{{.Config.Labels.missing}} {{.Config.Labels.k}}", "<no value> v"),
        ("{{range .NetworkSettings.Networks}}[{{.IPAddress}}]{{end}}", "[]"),
    ] {
        assert_eq!(holm.inspect("box", template), expected, "{template}");
    }
    for template in ["{{.State.Nope}}", "{{.State", "{{nosuch .Id}}", "{{range .Args}}"] {
        let outcome = holm.run(["inspect", "-f", template, "box"]);
        assert_ne!(outcome.code(), 0, "{template}: {outcome}");
        assert_eq!(outcome.err().lines().filter(|line| !line.starts_with("hint")).count(), 1, "{outcome}");
    }
    let line = holm.ok(["inspect", "-f", "json", "box"]);
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["Name"], "/box");
}

#[test]
fn several_and_missing() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "one", "base", "true"]);
    holm.ok(["create", "--name", "two", "base", "true"]);
    assert_eq!(holm.ok(["inspect", "-f", "{{.Name}}", "one", "two"]), "/one\n/two");
    let outcome = holm.run(["inspect", "one", "absent"]);
    outcome.expect_code(1);
    let list: Vec<Value> = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!(list.len(), 1, "what is there is shown");
    assert!(outcome.err().contains("absent"), "{outcome}");
    let outcome = holm.run(["inspect", "absent"]);
    assert_eq!((outcome.code(), outcome.out().as_str()), (1, "[]"));
    holm.ok(["create", "--name", "base", "base", "true"]);
    assert_eq!(document(&holm, "base")["Path"], "true", "workloads before images");
    holm.ok(["tag", "base", "other"]);
    holm.run(["container", "inspect", "other"]).expect_code(1);
    let image: Vec<Value> = serde_json::from_str(&holm.ok(["inspect", "--type", "image", "base"])).unwrap();
    assert_eq!(image[0]["Os"], "linux");
    holm.run(["inspect", "--type", "image", "two"]).expect_code(1);
}
