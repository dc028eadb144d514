//! `ps` and `top`.

use holm_tests::{Holm, host};

/// Three workloads, one a state, made in this order: `ended` (code 3), `runs`, `made`.
fn three(holm: &Holm) -> [String; 3] {
    let ended = holm.start(&["--name", "ended", "--label", "kind=job"], "exit 3");
    holm.ok(["wait", "ended"]);
    let runs = holm.start(&["--name", "runs", "--label", "kind=server", "--label", "x"], "sleep 60");
    let made = holm.ok(["create", "--name", "made", "base", "true"]);
    [ended, runs, made]
}

#[test]
fn which_are_listed() {
    let holm = Holm::new();
    let [ended, runs, made] = three(&holm);
    let names =
        |flags: &[&str]| holm.ok(["ps", "--format", "{{.Names}}"].iter().chain(flags)).replace('\n', " ");
    assert_eq!(names(&[]), "runs");
    assert_eq!(names(&["-a"]), "made runs ended", "newest first");
    assert_eq!(names(&["-l"]), "made");
    assert_eq!(names(&["-n", "2"]), "made runs");
    for (filter, expected) in [
        ("status=exited", "ended"),
        ("status=created", "made"),
        ("status=running", "runs"),
        ("name=e", "made ended"),
        ("name=runs", "runs"),
        ("label=kind", "runs ended"),
        ("label=kind=job", "ended"),
        ("exited=3", "ended"),
        ("exited=0", ""),
        ("ancestor=base", "made runs ended"),
        ("ancestor=base:latest", "made runs ended"),
        ("ancestor=other", ""),
        ("before=runs", "ended"),
        ("since=runs", "made"),
        (&format!("id={}", &made[..20]), "made"),
    ] {
        assert_eq!(names(&["-a", "--filter", filter]), expected, "{filter}");
    }
    assert_eq!(names(&["-a", "-f", "status=exited", "-f", "status=created"]), "made ended", "one key: any");
    assert_eq!(names(&["-a", "-f", "label=kind", "-f", "label=x"]), "runs", "labels: all");
    assert_eq!(names(&["-f", "status=exited"]), "ended", "a status needs no -a");
    for filter in ["exited=3", "before=runs", "since=runs"] {
        assert_eq!(names(&["-f", filter]), "", "{filter} is of what runs");
    }
    assert_eq!(holm.ok(["ps", "-aq", "--no-trunc"]), format!("{made}\n{runs}\n{ended}"));
    assert_eq!(holm.ok(["ps", "-q"]), runs[..12]);
    for filter in ["status=flying", "nokey", "colour=red", "exited=x"] {
        holm.run(["ps", "-f", filter]).refused(125, &[filter.split('=').next().unwrap()]);
    }
}

#[test]
fn formats() {
    let holm = Holm::new();
    let [_, runs, _] = three(&holm);
    let row = holm.ok(["ps", "--format", "{{.ID}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Label \"kind\"}}"]);
    assert_eq!(row, format!("{}|base|\"sh -c 'sleep 60'\"|running|server", &runs[..12]));
    let row = holm.ok(["ps", "-a", "-f", "name=ended", "--format", "{{.Status}}"]);
    assert!(row.starts_with("Exited (3) ") && row.ends_with(" ago"), "{row}");
    assert!(holm.ok(["ps", "--format", "{{.Status}}"]).starts_with("Up "));
    assert_eq!(holm.ok(["ps", "-a", "-f", "name=made", "--format", "{{.Status}}"]), "Created");
    let table = holm.ok(["ps", "-a", "--format", "table {{.Names}}\\t{{.State}}"]);
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [["NAMES", "STATE"], ["made", "created"], ["runs", "running"], ["ended", "exited"]]);
    for line in holm.ok(["ps", "-a", "--format", "json"]).lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["Image"], "base");
        assert!(row["ID"].as_str().unwrap().len() >= 12);
    }
    assert_eq!(holm.ok(["ps", "-a", "--format", "json"]).lines().count(), 3, "one object a line");
    for template in ["{{.Nope}}", "{{.ID", "{{end}}"] {
        holm.run(["ps", "-a", "--format", template]).refused(1, &[]);
    }
}

#[test]
fn group_names_are_the_same_commands() {
    let holm = Holm::new();
    three(&holm);
    assert_eq!(holm.ok(["container", "ls", "-aq"]), holm.ok(["ps", "-aq"]));
    assert_eq!(holm.ok(["image", "ls", "-q"]), holm.ok(["images", "-q"]));
    assert_eq!(holm.ok(["container", "rm", "-f", "runs"]), "runs");
}

#[test]
fn processes_as_the_host_sees_them() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 61 & sleep 62; true");
    let pid = holm.pid("box");
    holm_tests::eventually("three processes", || holm.ok(["top", "box"]).lines().count() == 4);
    let table = holm.ok(["top", "box"]);
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    let first = rows.iter().find(|row| row[1] == pid.to_string()).unwrap();
    assert_eq!(first[2], host::parent(pid).unwrap().to_string());
    assert!(table.contains("sleep 61") && table.contains("sleep 62"), "{table}");
    for row in &rows {
        assert!(host::runs(row[1].parse().unwrap()), "{row:?}");
        assert_eq!(row[0], "root");
    }
    holm.ok(["stop", "-t", "0", "box"]);
    holm.run(["top", "box"]).refused(1, &["box"]);
    holm.run(["top", "absent"]).refused(1, &["absent"]);
}

#[test]
fn chain_of_parents() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let table = holm.ok(["top", "--parents", "box"]);
    let keeper = host::parent(holm.pid("box")).unwrap();
    let row = table
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(&keeper.to_string()))
        .unwrap_or_else(|| panic!("{keeper}: {table}"));
    assert!(row.contains("holm-keeper"), "{row}");
    // Each parent is there, up to the first process of the host.
    let mut pid = keeper;
    while pid > 1 {
        assert!(
            table.lines().any(|line| line.split_whitespace().nth(1) == Some(&pid.to_string())),
            "{pid}: {table}"
        );
        pid = host::parent(pid).unwrap();
    }
}

#[test]
fn what_each_takes() {
    let holm = Holm::new();
    holm.ok(["run", "--name", "wrote", "base", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=3"]);
    holm.ok(["create", "--name", "made", "base", "true"]);
    let size =
        |name: &str| holm.ok(["ps", "-a", "--filter", &format!("name={name}"), "--format", "{{.Size}}"]);
    assert!(size("made").starts_with("0B (virtual "), "{}", size("made"));
    assert!(size("wrote").starts_with("3.1"), "{}", size("wrote"));
    let table = holm.ok(["ps", "-as"]);
    assert!(table.lines().next().is_some_and(|heading| heading.ends_with("NAMES     SIZE")), "{table}");
    assert!(!holm.ok(["ps", "-a"]).contains("SIZE"));
}
