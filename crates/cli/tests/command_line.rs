//! The program as people call it, as far as it gets without an engine: help, completion, the reference, and command lines
//! that cannot be read.

use std::process::{Command, Output, Stdio};

struct Answer {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn holm(words: &[&str]) -> Answer {
    holm_beside(&[], words)
}

/// In a directory with these files.
fn holm_beside(files: &[(&str, &str)], words: &[&str]) -> Answer {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    for (name, content) in files {
        std::fs::write(scratch.path().join(name), content).expect("write a file");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_holm"))
        .args(words)
        .current_dir(scratch.path())
        .env("HOLM_ROOT", scratch.path().join("root"))
        .env_remove("HOLM_RUN_ROOT")
        .stdin(Stdio::null())
        .output()
        .expect("holm runs");
    answer(&output)
}

fn answer(output: &Output) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    Answer { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

const VERBS: [&str; 26] = [
    "run",
    "exec",
    "ps",
    "logs",
    "create",
    "start",
    "attach",
    "stop",
    "kill",
    "pause",
    "unpause",
    "wait",
    "rm",
    "top",
    "stats",
    "inspect",
    "compare",
    "build",
    "import",
    "images",
    "tag",
    "history",
    "rmi",
    "version",
    "info",
    "completion",
];

#[test]
fn the_reference_is_the_programs_help() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli/reference.md");
    let page = holm(&["internal", "reference"]);
    assert_eq!((page.code, page.stderr.as_str()), (Some(0), ""));
    if std::env::var_os("UPDATE").is_some_and(|value| value == "1") {
        std::fs::write(path, &page.stdout).expect("write the reference");
    }
    let written = std::fs::read_to_string(path).expect("read the reference");
    assert!(written == page.stdout, "docs/cli/reference.md is out of date: run this test with UPDATE=1");
}

#[test]
fn every_command_has_help_on_standard_output() {
    for verb in VERBS {
        let help = holm(&[verb, "--help"]);
        assert_eq!((help.code, help.stderr.as_str()), (Some(0), ""), "{verb}");
        assert!(help.stdout.contains(&format!("Usage: holm {verb}")), "{verb}: {}", help.stdout);
        assert!(help.stdout.contains("Examples:"), "{verb}");
        assert_eq!(holm(&["help", verb]).stdout, help.stdout, "{verb}");
    }
    let all = holm(&[]);
    assert_eq!(all.code, Some(0));
    assert!(VERBS.iter().all(|verb| all.stdout.contains(&format!("\n  {verb} "))), "{}", all.stdout);
    assert_eq!(holm(&["--help"]).stdout, all.stdout);
    assert!(holm(&["image"]).stdout.contains("Usage: holm image"));
    assert!(holm(&["image", "inspect", "--help"]).stdout.contains("Usage: holm image inspect"));
    assert!(!all.stdout.contains("internal") && !all.stdout.contains("reference"));
}

#[test]
fn command_lines_that_cannot_be_read_are_answered_in_one_line_with_a_hint() {
    check_answers(&[
        ("run --volme /a:/b x", 125, "holm run: unknown flag `--volme`\nhint: did you mean `--volume`?\n"),
        ("run --ulimit nofile=1 x", 125, "holm run: --ulimit is not supported yet\nhint: it is planned"),
        ("create -itc 2 x", 125, "holm create: --cpu-shares is not supported yet\n"),
        ("run --gpus=all x", 125, "holm run: --gpus is not supported yet\n"),
        ("run --cpu-count 1 x", 125, "holm run: --cpu-count is for Windows containers"),
        ("run --network alias=a x", 125, "holm run: --network: `alias=a` names no network"),
        ("run --pull often x", 125, "holm run: --pull: `often` is none of missing, always and never\n"),
        ("run", 125, "holm run: IMAGE is missing\n"),
        ("run --name", 125, "holm run: a value is required for '--name <NAME>'"),
        ("run --memory 1k x", 125, "holm run: --memory: `1k` is less than 6m"),
        ("run --memory much x", 125, "holm run: --memory: `much` is no size"),
        ("run --cpus some x", 125, "holm run: --cpus: `some` is no number of processors"),
        ("run --isolation jail x", 125, "holm run: --isolation: unknown isolation `jail`"),
        ("run --isolation container --vm x", 125, "holm run: --isolation: `container` contradicts --vm\n"),
        ("run -e =1 x", 125, "holm run: --env: `=1` has no variable name\n"),
        (
            "run --env-file nowhere x",
            125,
            "holm run: --env-file: read `nowhere`: No such file or directory\n",
        ),
        ("run -v x:/x y", 125, "holm run: --volume: `x` is no name of a volume"),
        ("run --mount type=bind,dst=/x y", 125, "holm run: --mount: a bind mount needs a source\n"),
        ("run -v /a:/x --tmpfs /x y", 125, "holm run: two mounts have the target `/x`\n"),
        (
            "run --security-opt seccomp=nowhere x",
            125,
            "holm run: --security-opt: read `nowhere`: No such file",
        ),
        ("run --stop-signal NOPE x", 125, "holm run: --stop-signal: there is no signal `NOPE`\n"),
        ("run --stop-timeout -2 x", 125, "holm run: --stop-timeout: `-2` is negative"),
        ("run --rm=maybe x", 125, "holm run: invalid value 'maybe' for '--rm"),
        ("run --detach-keys ctrl-1 x", 125, "holm run: --detach-keys: `ctrl-1` is no key sequence"),
        ("run -d -a stdout x", 125, "holm run: --attach contradicts --detach\n"),
        ("run -it x", 1, "holm run: the input device is not a TTY\nhint: "),
        ("exec x", 125, "holm exec: COMMAND is missing\n"),
        ("ps more", 1, "holm ps: unexpected argument `more`\n"),
        ("inspect --size x", 125, "holm inspect: --size is not supported yet\n"),
        ("ps --format {{.ID", 1, "holm ps: --format: template `{{.ID`, character 1: unclosed action\n"),
        (
            "ps --filter health=x",
            125,
            "holm ps: --filter: health=x: starting, healthy, unhealthy and none are known\n",
        ),
        ("start -a one two", 1, "holm start: only one workload can be attached to\n"),
        ("rm", 1, "holm rm: WORKLOAD is missing\n"),
        ("tag", 1, "holm tag: SOURCE and TARGET are missing\n"),
        (
            "run --pids-limit abc x",
            125,
            "holm run: invalid value 'abc' for '--pids-limit <NUMBER>': a whole number expected\n",
        ),
        (
            "stop -t abc x",
            125,
            "holm stop: invalid value 'abc' for '--timeout <SECONDS>': a whole number expected\n",
        ),
        ("run --foo x", 125, "holm run: unknown flag `--foo`\nhint: `holm run --help` shows"),
        ("tag one", 1, "holm tag: TARGET is missing\n"),
        ("tag one Two", 1, "holm tag: invalid image reference `Two`"),
        ("import nowhere x", 125, "holm import: open `nowhere`: No such file or directory\n"),
        ("import nowhere Two", 125, "holm import: invalid image reference `Two`"),
        ("import", 125, "holm import: TARBALL is missing\n"),
        ("import -c FROM=x - x", 125, "holm import: --change: "),
        ("image rm", 1, "holm image rm: IMAGE is missing\n"),
        ("image lss", 1, "holm image: unknown command `lss`\n"),
        ("imags", 1, "holm: unknown command `imags`\nhint: did you mean `image` or `images`?"),
        (
            "builder prune",
            125,
            "holm: `holm builder` is not supported yet\nhint: it is planned, together with building images\n",
        ),
        ("image save x", 125, "holm image: `holm image save` is not supported yet\n"),
        ("help builder", 125, "holm: `holm builder` is not supported yet\n"),
        ("swarm init", 125, "holm: `holm swarm` is for swarms, which holm does not make\n"),
        ("frobnicate", 1, "holm: unknown command `frobnicate`\nhint: `holm --help` shows"),
        ("--log-level loud ps", 125, "holm: --log-level: `loud` is no level"),
        ("--rooot /x ps", 125, "holm: unknown option `--rooot` before the command\n"),
    ]);
}

#[test]
fn what_builds_cannot_do_yet_is_refused_by_name() {
    check_answers(&[
        ("build .", 1, "holm build: read `Dockerfile`: No such file or directory\n"),
        ("build --ulimit nofile=1 .", 125, "holm build: --ulimit is not supported yet\nhint: it is planned"),
        ("build --call outline .", 125, "holm build: --call outline is not supported yet\n"),
        ("build --call check,x=y .", 125, "holm build: --call: `x=y` means nothing here\n"),
        ("build --check", 1, "holm build: PATH|URL|- is missing\n"),
        ("build --check .", 1, "holm build: read `Dockerfile`: No such file or directory\n"),
        ("build --check git://x/y#a..b", 125, "holm build: `a..b` is no reference of Git's\n"),
        (
            "build --check -f - -",
            125,
            "holm build: standard input cannot be the Dockerfile and the context at once",
        ),
        ("build --check --platform pdp11 .", 125, "holm build: --platform: `pdp11` is no operating system"),
        ("build --check --build-arg =x -", 125, "holm build: --build-arg: `=x` has no name\n"),
        ("build --check --build-context x -", 125, "holm build: --build-context: `x` is not NAME=SOURCE\n"),
    ]);
}

/// Checks what is said of command lines, and with which exit code.
fn check_answers(answers: &[(&str, i32, &str)]) {
    for (line, code, message) in answers {
        let words: Vec<&str> = line.split(' ').collect();
        let told = holm(&words);
        assert_eq!((told.code, told.stdout.as_str()), (Some(*code), ""), "{line}: {}", told.stderr);
        assert!(told.stderr.starts_with(message), "{line}: {}", told.stderr);
        let talk = told.stderr.lines().skip(1).all(|line| line.starts_with("hint: "));
        assert!(talk, "{line}: {}", told.stderr);
    }
}

#[test]
fn a_check_says_what_is_doubtful() {
    let files = [
        ("Dockerfile", "FROM scratch as base\n\n# nothing\nCOPY secret.txt \\\n  /\nCMD run\n"),
        (".dockerignore", "*.txt\n"),
    ];
    let told = holm_beside(&files, &["build", "--check", "."]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""));
    insta::assert_snapshot!(told.stdout, @r#"
    WARNING: FromAsCasing: `as` is not written as `FROM` is
    Write AS as FROM is written, in capitals or in small letters
    Dockerfile:1
       1 | >>> FROM scratch as base
       2 |
       3 |     # nothing

    WARNING: CopyIgnoredFile: the ignore file leaves `secret.txt` out
    What the ignore file leaves out cannot be copied
    Dockerfile:4
       2 |
       3 |     # nothing
       4 | >>> COPY secret.txt \
       5 | >>>   /
       6 |     CMD run

    WARNING: JSONArgsRecommended: write `CMD ["program", "argument"]`
    Write CMD and ENTRYPOINT as JSON arrays: a shell in between keeps signals from the program
    Dockerfile:6
       4 |     COPY secret.txt \
       5 |       /
       6 | >>> CMD run

    3 warnings
    "#);
    let json = holm_beside(
        &files,
        &[
            "build",
            "--call",
            "check,format=json",
            "--build-arg",
            "BUILDKIT_DOCKERFILE_CHECK=skip=FromAsCasing,CopyIgnoredFile",
            ".",
        ],
    );
    assert_eq!((json.code, json.stderr.as_str()), (Some(1), ""));
    let expected = r#"{"warnings":[{"ruleName":"JSONArgsRecommended","description":"Write CMD and ENTRYPOINT as JSON arrays: a shell in between keeps signals from the program","detail":"write `CMD [\"program\", \"argument\"]`","location":{"ranges":[{"start":{"line":6},"end":{"line":6}}]}}],"sources":[{"filename":"Dockerfile","language":"Dockerfile"}]}"#;
    assert_eq!(json.stdout.trim_end(), expected);
    let ignored = holm_beside(&files, &["image", "build", "--call=check,ignorestatus=true", "."]);
    assert_eq!((ignored.code, ignored.stdout == told.stdout), (Some(0), true));
    let other = [("Other", "FROM scratch\nCOPY a.txt /\n"), ("Other.dockerignore", "b\n"), files[1]];
    let clean = holm_beside(&other, &["build", "--check", "-f", "Other", "."]);
    assert_eq!((clean.code, clean.stdout.as_str(), clean.stderr.as_str()), (Some(0), "no warnings\n", ""));
}

#[test]
fn what_is_wrong_in_a_dockerfile_is_shown_where_it_is() {
    let wrong = [("Dockerfile", "FROM scratch as a\nCOPY --form=a \\\n  x y\n")];
    let told = holm_beside(&wrong, &["build", "--check", "."]);
    assert_eq!(told.code, Some(1));
    insta::assert_snapshot!(told.stdout, @r#"
    WARNING: FromAsCasing: `as` is not written as `FROM` is
    Write AS as FROM is written, in capitals or in small letters
    Dockerfile:1
       1 | >>> FROM scratch as a
       2 |     COPY --form=a \
       3 |       x y

    1 warning
    "#);
    insta::assert_snapshot!(told.stderr, @r#"
    holm build: Dockerfile:2:6: unknown flag `--form`
       2 | COPY --form=a \
         |      ^^^^^^
    hint: did you mean `--from`?
    "#);
    let json = holm_beside(&wrong, &["build", "--call=lint,format=json", "."]);
    assert_eq!((json.code, json.stderr.as_str()), (Some(1), ""));
    assert!(
        json.stdout.contains(r#""buildError":{"message":"Dockerfile:2:6: unknown flag `--form`""#),
        "{}",
        json.stdout
    );
    let ignore = [("Dockerfile", "FROM scratch\n"), (".dockerignore", "[\n")];
    let told = holm_beside(&ignore, &["build", "--check", "."]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(1), ""));
    assert!(told.stderr.starts_with("holm build: .dockerignore:1:1: `[` is no pattern"), "{}", told.stderr);
}

#[test]
fn shells_get_a_script() {
    for (shell, sign) in
        [("bash", "complete -F _holm"), ("zsh", "#compdef holm"), ("fish", "complete -c holm")]
    {
        let script = holm(&["completion", shell]);
        assert_eq!(script.code, Some(0));
        assert!(script.stdout.contains(sign) && script.stdout.contains("detach-keys"), "{shell}");
    }
    assert_eq!(holm(&["completion", "tcsh"]).code, Some(125));
}

#[test]
fn the_version_comes_in_every_form() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(holm(&["--version"]).stdout, format!("Holm version {version}\n"));
    assert_eq!(holm(&["version", "-f", "{{.Server.Version}}"]).stdout, format!("{version}\n"));
    assert!(holm(&["version"]).stdout.contains(version));
    assert!(holm(&["version", "--format=json"]).stdout.starts_with("{\"Client\":{\"Version\":"));
    let wrong = holm(&["version", "-f", "{{.Nope}}"]);
    assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(1), ""));
}

#[test]
fn a_reader_that_goes_away_hears_nothing() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_holm"))
        .args(["internal", "reference"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("holm runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    // It may have written everything into the pipe before.
    assert!(matches!(output.status.code(), Some(0 | 141)), "{:?}", output.status);
    assert!(output.stderr.is_empty());
}
