//! `cp`, `diff`, `export` and `commit`: Docker's documented rules, of workloads that run and of those that do not.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use holm_tests::{Holm, also_in_machines, host};

/// What a workload writes in these tests; it goes on until it is stopped, and writes nothing a second time.
const WRITES: &str = "test -e /done || { mkdir -p /srv/sub; echo one > /srv/one; echo two > /srv/sub/two; \
    rm /etc/os-release; touch /done; }; trap 'exit 0' TERM; while :; do sleep 0.1; done";

fn writer(holm: &Holm) -> String {
    let workload = holm.start(&[], WRITES);
    holm_tests::eventually("it has written", || {
        holm.run(["exec", &workload, "test", "-e", "/done"]).code() == 0
    });
    workload
}

/// Runs the test with a workload that runs, and with the same one stopped.
fn both(test: impl Fn(&Holm, &str)) {
    let holm = Holm::new();
    let workload = writer(&holm);
    test(&holm, &workload);
    holm.ok(["stop", &workload]);
    test(&holm, &workload);
    assert_eq!(holm.ok(["ps", "-aq", "--no-trunc"]).lines().count(), 1, "nothing else is listed or left");
    assert!(holm.ok(["ps", "-q"]).is_empty(), "it was not started by that");
}

#[test]
fn go_out() {
    both(|holm, workload| {
        let to = holm.scratch("out");
        let _ = fs::remove_dir_all(&to);
        fs::create_dir(&to).unwrap();
        let cp = |from: &str, target: &str| {
            holm.ok(["cp", &format!("{workload}:{from}"), &format!("{}/{target}", to.display())])
        };
        let text = |path: &str| fs::read_to_string(to.join(path)).unwrap();
        cp("/srv/one", "");
        cp("srv/one", "named");
        cp("/srv", "");
        cp("/srv", "fresh");
        cp("/srv/.", "");
        assert_eq!(
            [text("one"), text("named"), text("srv/one"), text("fresh/sub/two"), text("sub/two")],
            ["one\n", "one\n", "one\n", "two\n", "two\n"]
        );
        assert!(!to.join("fresh/srv").exists());
        // Again: a directory that is there takes the copy under its own name.
        cp("/srv", "fresh");
        assert_eq!(text("fresh/srv/one"), "one\n");
        let missing = holm.run(["cp", &format!("{workload}:/none"), "."]);
        missing.refused(1, &["/none", "No such file or directory"]);
        holm.run(["cp", &format!("{workload}:/srv"), &format!("{}/one", to.display())])
            .refused(1, &["directory", "file"]);
        holm.run(["cp", &format!("{workload}:/srv/one"), &format!("{}/none/", to.display())])
            .refused(1, &["no such directory"]);
    });
}

#[test]
fn come_in() {
    both(|holm, workload| {
        let from = holm.scratch("in");
        let _ = fs::remove_dir_all(&from);
        fs::create_dir_all(from.join("d")).unwrap();
        fs::write(from.join("d/file"), "in\n").unwrap();
        symlink("file", from.join("d/link")).unwrap();
        chown(from.join("d/file"), Some(1234), Some(1234)).unwrap();
        fs::set_permissions(from.join("d/file"), fs::Permissions::from_mode(0o4711)).unwrap();
        let path = |name: &str| from.join(name).to_str().unwrap().to_owned();
        let cp = |source: &str, target: &str| holm.ok(["cp", &path(source), &format!("{workload}:{target}")]);
        let back = |source: &str| {
            let to = holm.scratch("back");
            let _ = fs::remove_file(&to).or_else(|_| fs::remove_dir_all(&to));
            holm.ok(["cp", "-a", &format!("{workload}:{source}"), to.to_str().unwrap()]);
            to
        };
        cp("d", "/got");
        let got = back("/got");
        assert_eq!(fs::read_to_string(got.join("file")).unwrap(), "in\n");
        assert_eq!(fs::read_link(got.join("link")).unwrap().to_str(), Some("file"));
        let file = fs::metadata(got.join("file")).unwrap();
        assert_eq!(
            (file.uid(), file.gid(), file.mode() & 0o7777),
            (0, 0, 0o711),
            "it is root's, and runs as nobody else"
        );
        holm.ok(["cp", "-a", &path("d/file"), &format!("{workload}:/kept")]);
        let kept = fs::metadata(back("/kept")).unwrap();
        assert_eq!((kept.uid(), kept.mode() & 0o7777), (1234, 0o4711));
        holm.ok(["cp", "-L", &path("d/link"), &format!("{workload}:/followed")]);
        assert_eq!(fs::read_to_string(back("/followed")).unwrap(), "in\n");
        cp("d/.", "/srv");
        assert_eq!(fs::read_to_string(back("/srv").join("file")).unwrap(), "in\n");
        assert_eq!(fs::read_to_string(back("/srv").join("one")).unwrap(), "one\n", "what was there stays");
        holm.run(["cp", &path("d"), &format!("{workload}:/srv/one")]).refused(1, &["directory", "file"]);
        holm.run(["cp", &path("d/file"), &format!("{workload}:/none/")]).refused(1, &["no such directory"]);
        holm.run(["cp", &path("d/file"), &format!("{workload}:/none/file")]).refused(1, &["/none"]);
        holm.run(["cp", &path("none"), &format!("{workload}:/")]).refused(1, &["none"]);
    });
}

#[test]
fn are_told_apart_from_the_image() {
    both(|holm, workload| {
        let changes = holm.ok(["diff", workload]);
        let expected = ["A /done", "A /srv/one", "A /srv/sub/two", "D /etc/os-release"];
        for line in expected {
            assert!(changes.lines().any(|found| found == line), "{line} is missing:\n{changes}");
        }
        assert!(
            !changes.contains("/proc") && !changes.contains("/etc/hosts"),
            "mounts are no changes:\n{changes}"
        );
        let export = holm.scratch("root.tar");
        holm.ok(["export", "-o", export.to_str().unwrap(), workload]);
        let listed = holm.host_shell(&format!("tar -tf {}", export.display())).ok();
        assert!(listed.lines().any(|line| line == "srv/sub/two"), "{listed}");
        assert!(
            !listed.lines().any(|line| line == "etc/os-release" || line.starts_with("proc/s")),
            "{listed}"
        );
        fs::remove_file(&export).unwrap();
        let image =
            holm.ok(["commit", "-m", "of a test", "-c", "CMD [\"cat\", \"/srv/one\"]", workload, "made:1"]);
        assert!(image.starts_with("sha256:"), "{image}");
        assert_eq!(holm.ok(["run", "--rm", "made:1"]), "one");
        let gone = holm.run(["run", "--rm", "made:1", "cat", "/etc/os-release"]);
        assert!(gone.err().contains("No such file"), "{gone}");
        assert!(holm.ok(["history", "--no-trunc", "made:1"]).contains("of a test"));
        holm.ok(["rmi", "made:1"]);
    });
}

#[test]
fn flow_through_pipes() {
    let holm = Holm::new();
    let workload = writer(&holm);
    let words = holm.shell_words();
    let out = holm.host_shell(&format!("{words} cp {workload}:/srv - | tar -xO srv/sub/two")).ok();
    assert_eq!(out, "two");
    let archive = holm.scratch("a");
    fs::create_dir(&archive).unwrap();
    fs::write(archive.join("piped"), "through").unwrap();
    holm.host_shell(&format!("tar -C {} -c piped | {words} cp - {workload}:/srv", archive.display())).ok();
    assert_eq!(holm.ok(["exec", &workload, "cat", "/srv/piped"]), "through");
    let none =
        holm.host_shell(&format!("tar -C {} -c piped | {words} cp - {workload}:/none", archive.display()));
    none.refused(1, &["/none"]);
    holm.host_shell(&format!(
        "tar -C {0} -cf {0}.tar piped; {words} cp - {workload}:/srv < {0}.tar",
        archive.display()
    ))
    .ok();
    let full = holm.host_shell(&format!("{words} cp {workload}:/srv - > /dev/full"));
    assert_eq!(full.code(), 1, "{full}");
    let bad = holm.host_shell(&format!("echo no tar | {words} cp - {workload}:/srv"));
    bad.refused(1, &["tar"]);
    holm.host_shell(&format!("{words} export {workload} | {words} import - flat")).ok();
    assert_eq!(holm.ok(["run", "--rm", "flat", "cat", "/srv/one"]), "one");
    // Between two workloads.
    let other = holm.start(&[], "sleep 1000");
    holm.ok(["cp", &format!("{workload}:/srv"), &format!("{other}:/copy")]);
    assert_eq!(holm.ok(["exec", &other, "cat", "/copy/sub/two"]), "two");
    holm.run(["cp", "/etc/hostname", "/tmp"]).refused(1, &["neither names a workload"]);
    holm.run(["cp", &format!("{workload}:/srv"), &format!("{workload}:/x")]).refused(1, &["within"]);
}

/// What is mounted on is written to, and stays mounted; what is a link is written to where it leads.
#[test]
fn keep_mounts_and_links() {
    let holm = Holm::new();
    let configuration = holm.file("configuration", "old");
    let workload = holm.start(
        &["-v", &format!("{configuration}:/etc/app.conf")],
        "ln -s /srv/real /link; mkdir -p /srv; echo old > /srv/real; touch /done; sleep 1000",
    );
    holm_tests::eventually("it has written", || {
        holm.run(["exec", &workload, "test", "-e", "/done"]).code() == 0
    });
    let new = holm.file("new", "new");
    holm.ok(["cp", &new, &format!("{workload}:/etc/app.conf")]);
    assert_eq!(fs::read_to_string(&configuration).unwrap(), "new", "it is in the file of the host");
    assert!(holm.ok(["exec", &workload, "cat", "/proc/mounts"]).contains(" /etc/app.conf "));
    holm.ok(["cp", &new, &format!("{workload}:/link")]);
    assert_eq!(holm.ok(["exec", &workload, "cat", "/srv/real"]), "new");
    assert_eq!(holm.ok(["exec", &workload, "readlink", "/link"]), "/srv/real");
    let all = holm.scratch("all");
    holm.ok(["cp", &format!("{workload}:/"), all.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(all.join("srv/real")).unwrap(), "new");
    assert_eq!(fs::read_dir(all.join("proc")).unwrap().count(), 0, "of proc only the place is copied");
}

/// A `commit` that is killed leaves the workload paused until the next command.
#[test]
fn go_on_after_a_killed_commit() {
    let holm = Holm::new();
    let workload =
        holm.start(&[], "dd if=/dev/urandom of=/big bs=1M count=300 2>/dev/null; touch /done; sleep 1000");
    holm_tests::eventually("it has written", || {
        holm.run(["exec", &workload, "test", "-e", "/done"]).code() == 0
    });
    let running = holm.call(["commit", &workload, "never"]).spawn();
    let state = || holm.inspect(&workload, "{{.State.Status}}");
    holm_tests::eventually("it is paused", || state() == "paused");
    host::kill(running.pid());
    let _ = running.wait();
    holm_tests::eventually("it goes on", || {
        holm.ok(["ps", "-q"]);
        state() == "running"
    });
    holm.ok(["exec", &workload, "true"]);
    assert!(!holm.ok(["images"]).contains("never"));
    holm.ok(["run", "--rm", "base", "true"]);
}

/// Links of a workload lead nowhere on the host, whichever way.
#[test]
fn do_not_leave_the_workload() {
    let holm = Holm::new();
    let victim = holm.file("victim", "safe");
    let place = holm.scratch("").canonicalize().unwrap();
    let script = format!(
        "mkdir -p {0}; echo inner > {0}/victim; ln -s {0}/victim /absolute; ln -s ../../../../../../../..{0} /up; \
         ln -s /proc/1/root /magic; touch /done; sleep 1000",
        place.display()
    );
    let workload = holm.start(&[], &script);
    holm_tests::eventually("it has written", || {
        holm.run(["exec", &workload, "test", "-e", "/done"]).code() == 0
    });
    let to = holm.scratch("to");
    for path in ["/absolute", "/up/victim", "/../../.."] {
        let from = format!("{workload}:{path}");
        let _ = holm.run(["cp", "-L", &from, to.to_str().unwrap()]);
    }
    if to.is_file() {
        assert_eq!(fs::read_to_string(&to).unwrap(), "inner\n");
    }
    holm.run(["cp", "-L", &format!("{workload}:/magic/etc"), to.to_str().unwrap()])
        .refused(1, &["/magic/etc"]);
    let evil = holm.file("evil", "evil");
    holm.ok(["cp", &evil, &format!("{workload}:/up/victim")]);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "safe");
    assert!(holm.ok(["exec", &workload, "cat", &format!("{}/victim", place.display())]).contains("evil"));
}

#[test]
fn of_a_read_only_root_stay() {
    let holm = Holm::new();
    let workload = holm.start(&["--read-only", "--tmpfs", "/scratch"], "sleep 1000");
    let file = holm.file("f", "x");
    holm.run(["cp", &file, &format!("{workload}:/f")]).refused(1, &["`/`", "`f`", "Read-only"]);
    holm.ok(["cp", &file, &format!("{workload}:/scratch/f")]);
    assert_eq!(holm.ok(["exec", &workload, "cat", "/scratch/f"]), "x");
}

also_in_machines!(
    go_out,
    come_in,
    are_told_apart_from_the_image,
    flow_through_pipes,
    of_a_read_only_root_stay
);

/// A visitor of a stopped machine whose `cp` is killed goes by itself, and the machine starts again.
#[test]
#[ignore = "boots virtual machines"]
fn of_a_stopped_machine_survive_a_killed_visit() {
    holm_tests::isolation::in_machines(|| {
        let holm = Holm::new();
        let workload = writer(&holm);
        holm.ok(["stop", &workload]);
        let big = holm.scratch("big");
        fs::write(&big, vec![7; 64 << 20]).unwrap();
        let running = holm.call(["cp", big.to_str().unwrap(), &format!("{workload}:/big")]).spawn();
        holm_tests::eventually("the visitor is there", || holm.workloads().len() == 2);
        std::thread::sleep(std::time::Duration::from_secs(4));
        host::kill(running.pid());
        holm_tests::eventually("the visitor is gone", || holm.workloads().len() == 1);
        // Also while it boots.
        let running = holm.call(["diff", &workload]).spawn();
        holm_tests::eventually("the visitor is there", || holm.workloads().len() == 2);
        std::thread::sleep(std::time::Duration::from_millis(500));
        host::kill(running.pid());
        holm_tests::eventually("the visitor is gone again", || holm.workloads().len() == 1);
        holm.ok(["start", &workload]);
        assert_eq!(holm.ok(["exec", &workload, "cat", "/srv/one"]), "one");
    });
}
