//! Settings of the process: environment, directory, host name, entry point; and what a workload is
//! called and labelled.

use holm_tests::{Call, Holm};

#[test]
fn environment_of_its_own() {
    let holm = Holm::new();
    let call =
        holm.call(["run", "--rm", "--hostname", "island", "base", "env"]).env("SECRET", "of the caller");
    let mut lines: Vec<_> = call.run().ok().lines().map(str::to_owned).collect();
    lines.sort();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["HOME=/root", "HOSTNAME=island", path]);
}

#[test]
fn variables() {
    let holm = Holm::new();
    let show = r#"echo "$ONE|$TWO|$THREE|${FOUR-unset}|$FIVE""#;
    let flags =
        ["-e", "ONE=1", "-e", "TWO=a b=c", "--env", "THREE", "-e", "FOUR", "-e", "FIVE=", "-e", "FIVE=5"];
    let command = ["base", "sh", "-c", show];
    let outcome =
        holm.call(["run", "--rm"].iter().chain(&flags).chain(&command)).env("THREE", "passed on").run();
    assert_eq!(outcome.ok(), "1|a b=c|passed on|unset|5");
    assert_eq!(holm.sh(&["-e", "HOME=/x", "-e", "PATH=/bin"], "echo $HOME $PATH"), "/x /bin");
}

#[test]
fn variables_from_a_file() {
    let holm = Holm::new();
    let file = holm.file("env", "# a comment\n\nA=from file\nB=\"quotes stay\"\nPASSED\nABSENT\nC=x=y\n");
    let show = r#"echo "$A|$B|$PASSED|${ABSENT-unset}|$C""#;
    let run = |flags: &[&str]| {
        let flags = ["run", "--rm", "--env-file", &file].into_iter().chain(flags.iter().copied());
        holm.call(flags.chain(["base", "sh", "-c", show])).env("PASSED", "yes").run().ok()
    };
    assert_eq!(run(&[]), "from file|\"quotes stay\"|yes|unset|x=y");
    assert_eq!(run(&["-e", "A=flag"]), "flag|\"quotes stay\"|yes|unset|x=y", "flags win over files");
    let broken = holm.file("broken", "no good=x\n");
    holm.script(&["--env-file", &broken], "true").refused(125, &["broken"]);
    holm.script(&["--env-file", "absent.env"], "true").refused(125, &["absent.env"]);
}

#[test]
fn working_directory() {
    let holm = Holm::new();
    assert_eq!(holm.sh(&[], "pwd"), "/");
    assert_eq!(holm.sh(&["-w", "/tmp"], "pwd"), "/tmp");
    let made = holm.sh(&["-w", "/not/there/yet"], "pwd; stat -c '%a %u:%g' . ..");
    assert_eq!(made, "/not/there/yet\n755 0:0\n755 0:0", "it is made if absent");
    holm.script(&["-w", "/etc/passwd"], "true").expect_code(125);
    holm.script(&["-w", "relative"], "true").refused(125, &["relative"]);
}

#[test]
fn host_name() {
    let holm = Holm::new();
    assert_eq!(holm.sh(&["--hostname", "island"], "hostname; cat /etc/hostname"), "island\nisland");
    assert_eq!(holm.sh(&["-h", "a.b.example"], "hostname"), "a.b.example");
    let id = holm.start(&[], "sleep 60");
    assert_eq!(holm.ok(["exec", &id, "hostname"]), id[..12], "the short id by default");
    let hosts = holm.sh(&[], "cat /etc/hosts");
    assert!(hosts.contains("127.0.0.1\tlocalhost"), "{hosts}");
}

#[test]
fn entry_point() {
    let holm = Holm::empty();
    let changes = ["-c", "ENTRYPOINT [\"echo\", \"entry\"]", "-c", "CMD [\"default\"]"];
    let import = ["import"].iter().chain(&changes).chain(&["-", "base"]);
    holm.call(import).stdin(holm_tests::tarball::base()).run().ok();
    let run = |arguments: &[&str]| holm.ok(["run", "--rm"].iter().chain(arguments));
    assert_eq!(run(&["base"]), "entry default");
    assert_eq!(run(&["base", "own", "words"]), "entry own words");
    assert_eq!(run(&["--entrypoint", "/bin/printf", "base", "%s!", "x"]), "x!");
    assert_eq!(run(&["--entrypoint", "", "base", "echo", "bare"]), "bare");
    // Another entry point drops the image's arguments too.
    assert_eq!(run(&["--entrypoint", "pwd", "base"]), "/");
    holm.run(["run", "--rm", "--entrypoint", "", "base"]).expect_code(125);
}

#[test]
fn settings_of_the_image() {
    let holm = Holm::empty();
    let changes = [
        "ENV GREETING=hello",
        "WORKDIR /srv/app",
        "USER app",
        "LABEL made=here",
        "CMD echo $GREETING from $(id -un) in $(pwd)",
    ];
    let flags = changes.iter().flat_map(|change| ["--change", change]);
    let import = ["import"].into_iter().chain(flags).chain(["-", "base"]);
    holm.call(import).stdin(holm_tests::tarball::base()).run().ok();
    assert_eq!(holm.ok(["run", "--rm", "base"]), "hello from app in /srv/app");
    assert_eq!(
        holm.ok(["run", "--rm", "-e", "GREETING=bye", "-u", "root", "-w", "/", "base"]),
        "bye from root in /"
    );
    holm.ok(["create", "--name", "labelled", "--label", "own=1", "base"]);
    assert_eq!(holm.inspect("labelled", "{{json .Config.Labels}}"), r#"{"made":"here","own":"1"}"#);
}

#[test]
fn labels() {
    let holm = Holm::new();
    let file = holm.file("labels", "# comment\nfrom=file\nbare\n");
    holm.ok(["create", "--name", "box", "-l", "a=1", "--label", "b", "--label-file", &file, "base", "true"]);
    let labels: serde_json::Value =
        serde_json::from_str(&holm.inspect("box", "{{json .Config.Labels}}")).unwrap();
    assert_eq!(labels, serde_json::json!({"a": "1", "b": "", "from": "file", "bare": ""}));
}

#[test]
fn id_file() {
    let holm = Holm::new();
    let path = holm.scratch("cid");
    let file = path.to_str().unwrap();
    holm.ok(["create", "--name", "box", "--cidfile", file, "base", "true"]);
    let id = std::fs::read_to_string(&path).unwrap();
    assert_eq!(id, holm.inspect("box", "{{.Id}}"), "the whole id and no line break");
    holm.run(["run", "--cidfile", file, "base", "true"]).refused(125, &["cid"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), id, "the file is left alone");
    assert_eq!(holm.workloads(), [id], "and nothing is made");
    // A workload that cannot be made leaves no empty file behind.
    let other = holm.scratch("other");
    holm.run(["run", "--cidfile", other.to_str().unwrap(), "absent"]).refused(125, &["absent"]);
    assert!(!other.exists());
}

#[test]
fn names() {
    let holm = Holm::new();
    let id = holm.ok(["create", "--name", "box", "base", "true"]);
    assert!(id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{id}");
    holm.run(["run", "--name", "box", "base", "true"]).refused(125, &["`box`"]);
    assert_eq!(holm.workloads(), [id], "the second one is not made");
    for name in ["-x", "a b", "a/b", "\u{e4}\u{e4}", ".hidden", "x"] {
        holm.run(["create", &format!("--name={name}"), "base", "true"]).refused(125, &[name]);
    }
    holm.ok(["rm", "box"]);
    holm.ok(["create", "--name", "box", "base", "true"]);
    let unnamed = holm.ok(["create", "base", "true"]);
    let name = holm.inspect(&unnamed, "{{.Name}}");
    assert!(name.starts_with('/') && name.len() > 4, "a name is invented: {name}");
    holm.ok(["rm", &name[1..]]);
}

#[test]
fn an_empty_name_is_none() {
    let holm = Holm::new();
    let id = holm.ok(["create", "--name", "", "base", "true"]);
    assert!(holm.inspect(&id, "{{.Name}}").len() > 4, "one is invented, as Docker does");
}

#[test]
fn prefixes_of_ids() {
    let holm = Holm::new();
    let ids: Vec<_> = (0..17).map(|_| holm.ok(["create", "base", "true"])).collect();
    let unique = &ids[0];
    assert_eq!(holm.inspect(&unique[..12], "{{.Id}}"), *unique);
    assert_eq!(holm.inspect(unique, "{{.Id}}"), *unique);
    // Of 17 ids two begin alike.
    let shared = ids.iter().find(|id| ids.iter().any(|other| other != *id && other[..1] == id[..1])).unwrap();
    let outcome = holm.run(["rm", &shared[..1]]);
    outcome.refused(1, &[&shared[..1]]);
    assert_eq!(holm.workloads().len(), 17, "an ambiguous prefix removes nothing");
    // A name wins over a prefix that looks the same.
    let name = &ids[1][..6];
    let named = holm.ok(["create", "--name", name, "base", "true"]);
    assert_eq!(holm.inspect(name, "{{.Id}}"), named);
}

#[test]
fn roots_from_the_environment() {
    let holm = Holm::new();
    let mut command = std::process::Command::new(holm_tests::binaries().join("holm"));
    command.arg("images").arg("-q").env("HOLM_ROOT", holm.root()).env("HOLM_RUN_ROOT", holm.run_root());
    assert_eq!(Call::new(command).run().ok(), holm.ok(["images", "-q"]));
}

holm_tests::also_in_machines!(environment_of_its_own);
