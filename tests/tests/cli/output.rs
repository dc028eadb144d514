//! What the main commands print, as snapshots with ids, times and sizes of this run replaced.

use holm_tests::{Call, Holm};

/// Replaces what differs from run to run.
fn filtered(holm: &Holm, text: &str) -> String {
    let root = holm.root().parent().expect("the root lies below").display().to_string();
    text.replace(&root, "[dir]")
}

/// Takes a snapshot with filters for ids and times.
macro_rules! snapshot {
    ($holm:expr, $text:expr, @$expected:literal) => {{
        let mut settings = insta::Settings::clone_current();
        settings.add_filter(r"\b[0-9a-f]{64}\b", "[digest]");
        settings.add_filter(r"\b[0-9a-f]{12}\b", "[short id]  ");
        settings.add_filter(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[time]");
        settings.add_filter(r"(Less than a second|About a minute|\d+ seconds?|\d+ minutes?) ago", "[ago]");
        settings.add_filter(r"Up (Less than a second|About a minute|\d+ seconds?)", "Up [while]");
        settings.add_filter(r"\d\.\d\dMB", "[size]");
        settings.add_filter(r" {2,}", "  ");
        settings.bind(|| insta::assert_snapshot!(filtered(&$holm, &$text), @$expected));
    }};
}

#[test]
fn lists() {
    let holm = Holm::new();
    holm.ok(["run", "-d", "--name", "web", "base", "sleep", "600"]);
    holm.run(["run", "--name", "failed", "base", "sh", "-c", "exit 3"]).expect_code(3);
    holm.ok(["create", "--name", "later", "base", "echo", "a rather long command line"]);
    snapshot!(holm, holm.ok(["ps", "-a"]), @r#"
    CONTAINER ID  IMAGE  COMMAND  CREATED  STATUS  PORTS  NAMES
    [short id]  base  "echo 'a rather long…"  [ago]  Created  later
    [short id]  base  "sh -c 'exit 3'"  [ago]  Exited (3) [ago]  failed
    [short id]  base  "sleep 600"  [ago]  Up [while]  web
    "#);
    snapshot!(holm, holm.ok(["ps"]), @r#"
    CONTAINER ID  IMAGE  COMMAND  CREATED  STATUS  PORTS  NAMES
    [short id]  base  "sleep 600"  [ago]  Up [while]  web
    "#);
    snapshot!(holm, holm.ok(["images"]), @r"
    REPOSITORY  TAG  IMAGE ID  CREATED  SIZE
    base  latest  [short id]  [ago]  [size]
    ");
    snapshot!(holm, holm.ok(["history", "base"]), @r"
    IMAGE  CREATED  CREATED BY  SIZE  COMMENT
    [short id]  [ago]  [size]  Imported from -
    ");
    let top = holm.ok(["top", "web"]);
    assert_eq!(
        top.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
}

#[test]
fn acknowledgements() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "web", "base", "sleep", "600"]);
    let mut said = String::new();
    for line in [
        "start web",
        "stop -t 0 web",
        "wait web",
        "start web",
        "kill web",
        "wait web",
        "rm web",
        "tag base other:1",
        "rmi other:1",
        "rmi base",
    ] {
        said += &format!("$ holm {line}\n{}\n", holm.ok(line.split(' ')));
    }
    snapshot!(holm, said, @r"
    $ holm start web
    web
    $ holm stop -t 0 web
    web
    $ holm wait web
    137
    $ holm start web
    web
    $ holm kill web
    web
    $ holm wait web
    137
    $ holm rm web
    web
    $ holm tag base other:1

    $ holm rmi other:1
    Untagged: other:1
    $ holm rmi base
    Untagged: base:latest
    Deleted: sha256:[digest]
    Deleted: sha256:[digest]
    ");
}

#[test]
fn errors() {
    let holm = Holm::new();
    let mut said = String::new();
    for line in [
        "run absent",
        "run --memory lots base true",
        "run --memory 1m base true",
        "run --ulimit nofile=1 base",
        "run --vm base true",
        "run base absent",
        "run base /etc",
        "run -u absent base true",
        "run --isolation x base true",
        "exec absent true",
        "logs absent",
        "stop absent",
        "rm absent",
        "rmi absent",
        "start absent",
        "attach absent",
        "top absent",
        "inspect absent",
        "import absent.tar x",
        "run --no-such base",
        "no-such-command",
        "tag base UPPER",
    ] {
        let outcome = holm.run(line.split(' '));
        said += &format!("$ holm {line} [{}]\n{}\n", outcome.code(), outcome.err());
    }
    snapshot!(holm, said, @r"
    $ holm run absent [125]
    holm run: there is no image `absent`: pull `absent:latest`: the registry docker.io is not to be asked, as registries.toml says
    hint: a mirror that registries.toml names is asked instead, if there is one
    $ holm run --memory lots base true [125]
    holm run: --memory: `lots` is no size: write bytes or a number with b, k, m, g, t or p
    $ holm run --memory 1m base true [125]
    holm run: --memory: `1m` is less than 6m, the least that a workload can start with
    $ holm run --ulimit nofile=1 base [125]
    holm run: --ulimit is not supported yet
    hint: it is planned, together with the remaining resource limits
    $ holm run --vm base true [125]
    holm run: there is no kernel for linux/amd64
    hint: `holm kernel ls` lists the kernels; `holm kernel import linux-image-cloud-amd64` fetches Debian's
    $ holm run base absent [127]
    holm run: execute `absent`: executable file not found in $PATH
    hint: the command is looked up inside the image, in its PATH
    $ holm run base /etc [126]
    holm run: execute `/etc`: Permission denied
    hint: it must be an executable file for this processor; a script needs its interpreter in the image
    $ holm run -u absent base true [125]
    holm run: user `absent` is not in the image's /etc/passwd
    $ holm run --isolation x base true [125]
    holm run: --isolation: unknown isolation `x`: container or vm
    $ holm exec absent true [1]
    holm exec: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm logs absent [1]
    holm logs: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm stop absent [1]
    holm stop: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm rm absent [1]
    holm rm: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm rmi absent [1]
    holm rmi: there is no image `absent`
    hint: `holm images` lists the images; `holm pull` fetches one, `holm import` makes one from a tarball
    $ holm start absent [1]
    holm start: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm attach absent [1]
    holm attach: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm top absent [1]
    holm top: no such workload: `absent`
    hint: `holm ps -a` lists the workloads
    $ holm inspect absent [1]
    holm inspect: there is no workload, image, network or volume `absent`
    hint: `holm ps -a`, `images`, `network ls` and `volume ls` list what there is
    $ holm import absent.tar x [125]
    holm import: open `absent.tar`: No such file or directory
    $ holm run --no-such base [125]
    holm run: unknown flag `--no-such`
    hint: `holm run --help` shows usage and examples
    $ holm no-such-command [1]
    holm: unknown command `no-such-command`
    hint: `holm --help` shows usage and examples
    $ holm tag base UPPER [1]
    holm tag: invalid image reference `UPPER`: a repository name must be lower-case
    ");
}

#[test]
fn version() {
    let holm = Holm::empty();
    snapshot!(holm, holm.ok(["version"]), @r"
    Holm:
     Version:  0.1.0
     Keeper protocol:  1
     State version:  1
     OS/Arch:  linux/amd64
    ");
    assert_eq!(holm.ok(["--version"]), holm.ok(["version", "-f", "Holm version {{.Client.Version}}"]));
    let document: serde_json::Value = serde_json::from_str(&holm.ok(["version", "-f", "json"])).unwrap();
    assert_eq!(document["Client"]["Version"], document["Server"]["Version"]);
}

#[test]
fn info() {
    let holm = Holm::new();
    holm.start(&[], "sleep 60");
    holm.ok(["create", "base", "true"]);
    let document: serde_json::Value = serde_json::from_str(&holm.ok(["info", "-f", "json"])).unwrap();
    assert_eq!(document["Containers"], 2);
    assert_eq!(document["ContainersRunning"], 1);
    assert_eq!(document["ContainersStopped"], 1);
    assert_eq!(document["Images"], 1);
    assert_eq!(document["NCPU"], std::thread::available_parallelism().unwrap().get());
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(holm.ok(["info", "--format", "{{.KernelVersion}}"]), release.trim());
    assert!(holm.ok(["info"]).contains(holm.root().to_str().unwrap()));
}

#[test]
fn info_has_dockers_fields() {
    let holm = Holm::empty();
    assert_eq!(holm.ok(["info", "-f", "{{.OSType}}"]), "linux");
    assert_eq!(holm.ok(["info", "-f", "{{.ContainersPaused}}"]), "0");
    assert!(holm.ok(["info", "-f", "{{.DockerRootDir}}"]).starts_with('/'));
}

#[test]
fn completion() {
    let holm = Holm::empty();
    for shell in ["bash", "zsh", "fish"] {
        let script = holm.ok(["completion", shell]);
        assert!(script.contains("holm") && script.contains("cap-add"), "{shell}");
    }
    let file = holm.file("completion", holm.ok(["completion", "bash"]));
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", &format!("source {file} && complete -p holm")]);
    Call::new(bash).run().ok();
    holm.run(["completion", "csh"]).refused(125, &["csh"]);
}

#[test]
fn help_has_examples() {
    let holm = Holm::empty();
    let commands = holm.ok(["--help"]);
    let listed =
        commands.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<_> = listed.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let help = holm.ok([name, "--help"]);
        // A group lists its commands, whose help is the same as that of others.
        let is_group = help.contains("\nCommands:\n");
        assert!(
            is_group || help.contains("Examples:") && help.contains(&format!("holm {name}")),
            "{name}: {help}"
        );
    }
}
