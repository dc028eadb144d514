//! A host whose kernel cannot mount EROFS: layers are directories there, and nobody sees a difference.

use holm_tests::{Call, Holm};

const FORM: &str = "HOLM_STORE_MOUNT";

fn call(holm: &Holm, arguments: &[&str]) -> Call {
    holm.call(arguments.iter().copied()).env(FORM, "directories")
}

fn directories(holm: &Holm) -> usize {
    let entries = std::fs::read_dir(holm.root().join("layers")).expect("list");
    entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
}

#[test]
fn containers_run_and_share_them() {
    let holm = Holm::new();
    let script = "echo mine > /etc/mine; rm /bin/busybox; cat /etc/mine";
    assert_eq!(call(&holm, &["run", "--name", "one", "base", "sh", "-c", script]).run().ok(), "mine");
    assert_eq!(directories(&holm), 1);
    call(&holm, &["run", "-d", "--name", "two", "base", "sleep", "60"]).run().ok();
    let shown = call(&holm, &["exec", "two", "sh", "-c", "test ! -e /etc/mine && echo clean"]).run();
    assert_eq!(shown.ok(), "clean");
    let changes = call(&holm, &["diff", "one"]).run().ok();
    assert!(changes.contains("A /etc/mine") && changes.contains("D /bin/busybox"), "{changes}");
    call(&holm, &["commit", "one", "changed"]).run().ok();
    let listed = call(&holm, &["run", "--rm", "changed", "cat", "/etc/mine"]).run();
    // busybox went, and with it every command.
    listed.refused(127, &["cat"]);
    assert_eq!(directories(&holm), 2);
    call(&holm, &["system", "check"]).run().ok();
    call(&holm, &["rm", "-f", "one", "two"]).run().ok();
    call(&holm, &["rmi", "changed", "base"]).run().ok();
    assert_eq!(directories(&holm), 0);
}

#[test]
fn a_kernel_that_has_learnt_it_has_no_use_for_them() {
    let holm = Holm::new();
    call(&holm, &["run", "-d", "--name", "old", "base", "sleep", "60"]).run().ok();
    assert_eq!(holm.ok(["run", "--rm", "base", "echo", "new"]), "new");
    assert_eq!(directories(&holm), 1, "it is used");
    holm.ok(["rm", "-f", "old"]);
    assert_eq!(holm.ok(["run", "--rm", "base", "echo", "new"]), "new");
    assert_eq!(directories(&holm), 0);
}

#[test]
fn the_form_is_one_of_three() {
    let holm = Holm::bare();
    let outcome = holm.call(["images"]).env(FORM, "loop").run();
    outcome.refused(125, &["HOLM_STORE_MOUNT", "`loop`", "`auto`, `images`, `directories`"]);
}
