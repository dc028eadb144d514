//! `build`: stages beside each other, what is shown of them, and why steps are made.

use serde_json::Value;

use super::build::Site;

/// Waits for a file of another stage, in the cache that both see.
fn wait_for(file: &str) -> String {
    format!("for i in $(seq 300); do [ -e /c/{file} ] && exit 0; sleep 0.1; done; exit 1")
}

const SHARED: &str = "RUN --mount=type=cache,id=meeting,target=/c";

#[test]
fn stages_run_beside_each_other() {
    let site = Site::new(&[(
        "Dockerfile",
        &format!(
            "FROM base AS a\n{SHARED} touch /c/a; {}\n\
             FROM base AS b\n{SHARED} touch /c/b; {}\n\
             FROM base\nCOPY --from=a /etc/passwd /a\nCOPY --from=b /etc/passwd /b\n",
            wait_for("b"),
            wait_for("a"),
        ),
    )]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "test -e /a -a -e /b && echo both"), "both");
}

/// A stage that takes files of another does all that is above that meanwhile.
#[test]
fn a_stage_waits_where_it_takes_files() {
    let site = Site::new(&[(
        "Dockerfile",
        &format!(
            "FROM base AS a\n{SHARED} {}\nRUN echo a > /a\n\
             FROM base\n{SHARED} touch /c/below\nCOPY --from=a /a /\n",
            wait_for("below"),
        ),
    )]);
    site.build(&["-t", "app"]);
    assert_eq!(site.sh("app", "cat /a"), "a");
}

#[test]
fn a_step_that_fails_ends_the_others() {
    let site = Site::new(&[(
        "Dockerfile",
        &format!(
            "FROM base AS a\n{SHARED} touch /c/a; sleep 1000\n\
             FROM base AS b\n{SHARED} {}; exit 3\n\
             FROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n",
            wait_for("a").replace("exit 0", "exit 7"),
        ),
    )]);
    let outcome = site.call(&["-t", "app"]).run();
    outcome.expect_code(1);
    let said = outcome.err();
    assert!(said.contains("exit code 7") && said.contains("Dockerfile:4:1"), "{said}");
    assert_eq!((said.matches("CANCELED").count(), said.matches("FAILED").count()), (1, 1), "{said}");
    assert_eq!(site.holm.ok(["ps", "-a", "-q"]), "");
    assert_eq!(site.holm.ok(["images", "-a", "-q"]).lines().count(), 1);
}

#[test]
fn stages_that_need_the_same_make_it_once() {
    let site = Site::new(&[(
        "Dockerfile",
        &format!(
            "FROM base AS a\n{SHARED} sleep 0.5; echo x >> /c/count; cp /c/count /count\nRUN echo a > /a\n\
             FROM base AS b\n{SHARED} sleep 0.5; echo x >> /c/count; cp /c/count /count\nRUN echo b > /b\n\
             FROM base\nCOPY --from=a /count /count-a\nCOPY --from=b /count /count-b\n"
        ),
    )]);
    for times in 1..=2 {
        let said = site.build(&["-t", "app", "--no-cache"]);
        assert!(said.contains("5 steps made, 1 cached"), "{said}");
        let counts = format!("{times} {times}");
        assert_eq!(site.sh("app", "echo $(wc -l < /count-a) $(wc -l < /count-b)"), counts);
    }
}

#[test]
fn it_says_why_a_step_is_made() {
    let site = Site::new(&[
        ("Dockerfile", "FROM base\nARG A=1\nCOPY src /src\nRUN cat /src/f > /f\n"),
        ("src/f", "one\n"),
    ]);
    let because = |flags: &[&str]| {
        let said = site.build(&[&["--explain"], flags].concat());
        let reasons = said.lines().filter_map(|line| line.split_once(" because: "));
        reasons.map(|(step, reason)| format!("{step} {reason}")).collect::<Vec<_>>()
    };
    assert_eq!(because(&[]), ["#2 it was not made before", "#3 it was not made before"]);
    assert!(because(&[]).is_empty());
    site.write(&[("src/f", "two\n"), ("src/g", "new\n")]);
    assert_eq!(
        because(&[]),
        ["#2 `src/f` is different", "#2 `src/g` is new", "#3 what it lies on is different"]
    );
    assert_eq!(because(&["--build-arg", "A=2"]), ["#3 in the environment `A` is different"]);
    assert_eq!(
        because(&["--no-cache"]),
        ["#2 nothing cached is to be used", "#3 nothing cached is to be used"]
    );
    site.write(&[("Dockerfile", "FROM base\nARG A=1\nCOPY src /src\nRUN cat /src/g > /f\n")]);
    assert_eq!(because(&[]), ["#3 the command is different"]);
}

#[test]
fn progress_for_programs_and_for_terminals() {
    let site = Site::new(&[("Dockerfile", "FROM base\nRUN echo said; exit 3\n")]);
    let outcome = site.call(&["--progress", "rawjson"]).run();
    let said = outcome.expect_code(1).err();
    let events: Vec<Value> = said.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let told =
                ["begins", "why", "output", "ended"].into_iter().find(|name| event.get(name).is_some());
            (event["step"].as_u64(), told)
        })
        .collect();
    assert_eq!(
        told,
        [
            (Some(1), Some("begins")),
            (Some(1), Some("ended")),
            (Some(2), Some("begins")),
            (Some(2), Some("why")),
            (Some(2), Some("output")),
            (Some(2), Some("ended")),
        ],
        "{said}"
    );
    assert_eq!((&events[4]["output"], &events[5]["ended"]), (&"said".into(), &"failed".into()));
    // Where standard error is no terminal, nothing is drawn anew.
    let tree = site.call(&["--progress", "tty"]).run();
    let said = tree.expect_code(1).err();
    assert!(
        said.contains("  cached [from] base\n")
            && said.contains("[stage-0 1/1] RUN echo said; exit 3\nsaid\n"),
        "{said}"
    );
    let silent = site.call(&["--progress", "none"]).run();
    assert!(silent.expect_code(1).err().starts_with("said\n"), "{}", silent.err());
    let words = "`loud` is none of auto, plain, tty, rawjson, quiet, none";
    site.call(&["--progress", "loud"]).run().refused(125, &[words]);
}

/// What the caller puts in a stage's place has none of its instructions, however the stage is reached.
#[test]
fn a_stage_that_is_replaced_does_nothing() {
    let site = Site::new(&[(
        "Dockerfile",
        "FROM base AS a\nRUN echo a > /a\nFROM base AS b\nCOPY --from=a /a /a\nRUN exit 3\n\
         FROM base\nCOPY --from=1 /of-context /\n",
    )]);
    let other = site.holm.scratch("other");
    std::fs::create_dir_all(&other).expect("a directory");
    std::fs::write(other.join("of-context"), "text\n").expect("a file");
    let context = format!("b={}", other.display());
    site.build(&["--build-context", &context, "-t", "app"]);
    assert_eq!(site.sh("app", "cat /of-context; [ -e /a ] || echo none"), "text\nnone");
    let out = site.holm.scratch("out");
    site.build(&["--build-context", &context, "--target", "b", "-o", &out.to_string_lossy()]);
    let files: Vec<_> =
        std::fs::read_dir(out).expect("a directory").flatten().map(|file| file.file_name()).collect();
    assert_eq!(files, ["of-context"]);
}
