//! `--pid-file`: what engines read to know whom to wait for.

use std::os::unix::fs::MetadataExt;

use super::setup::Oci;

fn text(oci: &Oci, name: &str) -> String {
    String::from_utf8(std::fs::read(oci.path(name)).unwrap()).unwrap()
}

#[test]
fn create_writes_the_number_alone() {
    let oci = Oci::script("sleep 100");
    oci.save();
    let bundle = oci.bundle();
    let file = oci.path("pid");
    let words = ["create", "--pid-file", file.to_str().unwrap(), "--bundle", bundle.to_str().unwrap(), "box"];
    oci.background("box", words).run().expect_code(0);
    assert_eq!(text(&oci, "pid"), oci.pid().to_string(), "no line break, nothing else");
    assert!(oci.path("pid").metadata().unwrap().is_file());
}

#[test]
fn a_relative_path_is_the_callers() {
    let oci = Oci::script("sleep 100");
    oci.save();
    oci.background("box", ["create", "--pid-file=pid", "-b", "b", "box"]).run().expect_code(0);
    assert_eq!(text(&oci, "pid"), oci.pid().to_string());
    assert!(!oci.bundle().join("pid").exists());
}

#[test]
fn a_file_that_is_there_is_replaced_as_a_whole() {
    let oci = Oci::script("sleep 100");
    oci.save();
    std::fs::write(oci.path("pid"), "something that is much longer than a number").unwrap();
    let before = oci.path("pid").metadata().unwrap().ino();
    oci.background("box", ["create", "--pid-file", "pid", "-b", "b", "box"]).run().expect_code(0);
    assert_eq!(text(&oci, "pid"), oci.pid().to_string());
    assert_ne!(oci.path("pid").metadata().unwrap().ino(), before, "a reader sees one or the other");
}

#[test]
fn run_writes_it_in_both_ways() {
    let oci = Oci::script("echo ready; sleep 100");
    oci.save();
    oci.background("box", ["run", "-d", "--pid-file", "pid", "-b", "b", "box"]).run().expect_code(0);
    assert_eq!(text(&oci, "pid"), oci.pid().to_string());
    oci.remove();
    std::fs::remove_file(oci.path("pid")).unwrap();
    let mut call = oci.call(["run", "--pid-file", "pid", "-b", "b", "box"]).spawn();
    call.expect_stdout("ready");
    holm_tests::eventually("the file is there", || oci.path("pid").exists());
    assert_eq!(text(&oci, "pid"), oci.pid().to_string());
    oci.ok(["kill", "box", "KILL"]);
    call.finish().expect_code(137);
}

#[test]
fn exec_writes_its_own_process() {
    let mut oci = Oci::new();
    oci.up("sleep 100");
    oci.background("exec", ["exec", "-d", "--pid-file", "pid", "box", "sleep", "77"]).run().expect_code(0);
    let pid = text(&oci, "pid");
    holm_tests::eventually("it is that process", || {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line == b"sleep\x0077\0")
    });
}

#[test]
fn a_path_that_cannot_be_written_leaves_no_container() {
    let oci = Oci::script("sleep 100");
    oci.save();
    let words = ["create", "--pid-file", "/proc/absent/pid", "-b", "b", "box"];
    oci.fails(1, words);
    oci.clean();
}
