//! `process`: who runs what, and where.

use std::process::Command;

use holm_tests::Call;
use serde_json::json;

use super::runtime::{Feature, lacks, program};
use super::setup::Oci;

#[test]
fn the_working_directory_is_made_if_it_is_not_there() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/new/folder"));
    assert_eq!(oci.sh("pwd; stat -c %a /new"), "/new/folder\n755");
    assert!(oci.rootfs("new/folder").is_dir());
}

#[test]
fn groups_of_the_caller_are_kept_if_asked_for() {
    if lacks(Feature::KeepGroups) {
        return;
    }
    for (kept, expected) in [(json!({}), "0"), (json!({"run.oci.keep_original_groups": "1"}), "7001 7002")] {
        let mut oci = Oci::script("id -G; grep ^Groups: /proc/self/status");
        oci.set("/annotations", kept);
        oci.save();
        let mut command = Command::new("setpriv");
        command.args(["--groups", "7001,7002"]).arg(program()).arg("--root").arg(oci.root());
        command.args(["run", "--bundle"]).arg(oci.bundle()).arg("box");
        let text = Call::new(command).run().ok();
        assert!(text.contains(expected), "{text}");
        oci.clean();
    }
}

#[test]
fn a_working_directory_that_is_a_file_is_refused() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/etc/passwd"));
    oci.refused(&["/etc/passwd", "not a directory"]);
    oci.set("/process/cwd", json!("etc"));
    oci.refused(&["absolute"]);
}

#[test]
fn a_working_directory_of_the_user_alone_can_be_entered() {
    let mut oci = Oci::new();
    let folder = oci.rootfs("own");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(1000), Some(1000)).unwrap();
    Command::new("chmod").arg("700").arg(&folder).status().unwrap();
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000})).set("/process/cwd", json!("/own"));
    oci.set("/process/capabilities", json!({}));
    assert_eq!(oci.sh("pwd; touch x; id -u"), "/own\n1000");
}

#[test]
fn home_is_found_in_passwd() {
    let mut oci = Oci::new();
    assert_eq!(oci.sh("echo $HOME"), "/tmp");
    oci.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(oci.sh("echo $HOME"), "/home/user");
    oci.set("/process/user", json!({"uid": 4242, "gid": 1000}));
    assert_eq!(oci.sh("echo $HOME"), "/");
    oci.set("/process/env", json!(["PATH=/bin", "HOME=/given"]));
    assert_eq!(oci.sh("echo $HOME"), "/given");
}

#[test]
fn passwd_may_be_missing_or_a_link_out() {
    let mut oci = Oci::new();
    std::fs::remove_file(oci.rootfs("etc/passwd")).unwrap();
    assert_eq!(oci.sh("echo $HOME"), "/");
    std::os::unix::fs::symlink("../../../../../../etc/passwd", oci.rootfs("etc/passwd")).unwrap();
    oci.sh("true");
}

#[test]
fn the_environment_is_as_given() {
    let mut oci = Oci::new();
    oci.set("/process/env", json!(["PATH=/bin", "A=1 2", "B==", "C=", "D=ä"]));
    let text = oci.sh("env | grep -vE '^(HOME|PWD|SHLVL)=' | sort");
    assert_eq!(text, "A=1 2\nB==\nC=\nD=ä\nPATH=/bin");
}

#[test]
fn the_program_is_found_in_the_path_of_the_environment() {
    let mut oci = Oci::new();
    std::fs::create_dir(oci.rootfs("other")).unwrap();
    std::fs::rename(oci.rootfs("bin/busybox"), oci.rootfs("other/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", oci.rootfs("other/echo")).unwrap();
    oci.set("/process/env", json!(["PATH=/bin:/other"])).command(&["echo", "found"]);
    assert_eq!(oci.foreground().ok(), "found");
    oci.set("/process/env", json!(["PATH=/absent"]));
    oci.refused(&["executable file not found in $PATH"]);
}

#[test]
fn a_path_is_relative_to_the_working_directory() {
    let mut oci = Oci::new();
    oci.set("/process/cwd", json!("/bin")).command(&["./busybox", "echo", "found"]);
    assert_eq!(oci.foreground().ok(), "found");
}

#[test]
fn groups_are_exactly_those_given() {
    let mut oci = Oci::new();
    let script = "id -u; id -g; grep ^Groups: /proc/self/status";
    assert_eq!(oci.sh(script).trim_end(), "0\n0\nGroups:");
    oci.set("/process/user", json!({"uid": 5, "gid": 6, "additionalGids": [10, 65534, 7]}));
    assert_eq!(oci.sh(script).trim_end(), "5\n6\nGroups:\t7 10 65534");
}

#[test]
fn the_mask_of_files() {
    let mut oci = Oci::new();
    assert_eq!(oci.sh("umask"), "0022");
    oci.set("/process/user/umask", json!(0o027));
    assert_eq!(oci.sh("umask; touch /made; stat -c %a /made"), "0027\n640");
    oci.set("/process/user/umask", json!(0));
    assert_eq!(oci.sh("umask"), "0000");
}

#[test]
fn new_privileges_are_refused() {
    let mut oci = Oci::new();
    for (value, text) in [(true, "1"), (false, "0")] {
        oci.set("/process/noNewPrivileges", json!(value));
        assert_eq!(oci.sh("grep NoNewPrivs /proc/self/status"), format!("NoNewPrivs:\t{text}"));
    }
}

#[test]
fn arguments_are_as_given() {
    let mut oci = Oci::new();
    oci.command(&["printf", "[%s]", "", "a b", "\n", "ä", "--", "-x"]);
    assert_eq!(oci.foreground().ok(), "[][a b][\n][ä][--][-x]");
    oci.clean();
}
