//! SELinux: Debian's kernel has it and boots with it when it is told to. The policy is as small as one can be, compiled
//! here, in force from the first step on: what runs outside is `u:r:t`, containers are `u:r:c_t`, their mounts `u:r:f_t`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::archive::Archive;
use super::busybox::{INIT, INITTAB, MOUNTS, RESIDUE};
use super::machine::{Guest, Plan};
use super::step::{Step, step};

static GUEST: Guest = Guest::new(Plan {
    areas: &[("labels", LABELS)],
    residue: RESIDUE,
    patience: Duration::from_secs(40),
    life: Duration::from_secs(200),
    modules: &[],
    processor: "qemu64",
    memory: "1G",
    options: "security=selinux selinux=1 enforcing=0",
    disk: None,
    boots_again: false,
    files,
});

fn files(archive: &mut Archive) -> Result<()> {
    archive.file("init", 0o755, INIT).file("etc/inittab", 0o644, INITTAB).file("etc/mounts", 0o755, MOUNTS);
    archive.directory("lib64").file("etc/labels", 0o644, FUNCTIONS).file("etc/policy", 0o644, policy()?);
    Ok(())
}

fn policy() -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    let (source, policy) = (place.path().join("source"), place.path().join("policy"));
    std::fs::write(&source, POLICY)?;
    let compiled = Command::new("checkpolicy").args(["-U", "allow", "-o"]).arg(&policy).arg(&source).output();
    let compiled = compiled.context("running checkpolicy")?;
    if !compiled.status.success() {
        bail!("checkpolicy: {}", String::from_utf8_lossy(&compiled.stderr));
    }
    Ok(std::fs::read(policy)?)
}

/// Classes that are not named are allowed everything; of those that are, what is not listed as well.
const POLICY: &str = "
class process class process2 class filesystem class file class dir class key
sid kernel sid security sid unlabeled sid file sid port sid netif sid netmsg sid node sid devnull
class process { fork transition sigchld sigkill signal setexec getattr setkeycreate dyntransition execmem }
class process2 { nnp_transition nosuid_transition }
class filesystem { mount remount unmount getattr relabelfrom relabelto associate }
class file { ioctl read write create getattr setattr append map unlink rename execute open mounton execute_no_trans entrypoint }
class dir { ioctl read write create getattr setattr unlink rename open mounton add_name remove_name search rmdir }
class key { view read write search link setattr create }
policycap nnp_nosuid_transition;
type t; type c_t; type f_t;
role r; role r types { t c_t f_t };
allow { t c_t } { t c_t }:process *;
allow t c_t:process2 nnp_transition;
allow { t c_t f_t } { t c_t f_t }:filesystem *;
allow { t c_t f_t } { t c_t f_t }:file *;
allow { t c_t f_t } { t c_t f_t }:dir *;
allow t { t c_t }:key *;
allow c_t c_t:key *;
user u roles r;
sid kernel u:r:t sid security u:r:t sid unlabeled u:r:t sid file u:r:t sid port u:r:t
sid netif u:r:t sid netmsg u:r:t sid node u:r:t sid devnull u:r:t
fs_use_task pipefs u:r:t;
fs_use_task sockfs u:r:t;
fs_use_trans tmpfs u:r:t;
fs_use_trans devpts u:r:t;
fs_use_trans mqueue u:r:t;
genfscon proc / u:r:t
genfscon sysfs / u:r:t
genfscon rootfs / u:r:t
genfscon cgroup2 / u:r:t
";

/// `bundle LABEL MOUNT_LABEL SCRIPT` writes a bundle; an empty label is none.
const FUNCTIONS: &str = r##"
bundle() {
    rm -f /b/config.json
    holm-runtime spec --bundle /b
    sed -i -e 's/"terminal": true/"terminal": false/' -e "s#\"sh\"#\"sh\", \"-c\", \"$3\"#" \
        -e "s#\"cwd\": \"/\"#\"cwd\": \"/\", \"selinuxLabel\": \"$1\"#" \
        -e "s#\"linux\": {#\"linux\": { \"mountLabel\": \"$2\",#" /b/config.json
}
own_label() { tr -d '\0' <"/proc/$1/attr/current"; }
"##;

const LABELS: &[Step] = &[
    step(
        "a policy is in force",
        "mount -t selinuxfs selinux /sys/fs/selinux; cat /etc/policy >/sys/fs/selinux/load
        echo 1 >/sys/fs/selinux/enforce; cat /sys/fs/selinux/enforce; mkdir -p /b/rootfs; tar xf /base.tar -C /b/rootfs",
    ),
    step(
        "labels of a process and of mounts",
        ". /etc/labels; bundle u:r:c_t u:r:f_t 'cat /proc/self/attr/current; echo; cat /proc/mounts'
        holm-runtime run --bundle /b box",
    ),
    step(
        "a process in the background",
        ". /etc/labels; bundle u:r:c_t '' 'sleep 1000'; holm-runtime run --detach --bundle /b box </dev/null >/dev/null 2>&1
        own_label $(holm-runtime state box | sed -n 's/.*\"pid\": \\([0-9]*\\).*/\\1/p')",
    ),
    step("exec has the label of the first process", "holm-runtime exec box cat /proc/self/attr/current | tr -d '\\0'"),
    step(
        "exec has a label of its own",
        "holm-runtime exec --process-label u:r:t box cat /proc/self/attr/current | tr -d '\\0'",
    ),
    step("exec with an unknown label", "holm-runtime exec --process-label u:r:none box true"),
    step("the container goes", "holm-runtime delete --force box"),
    step(
        "a process with an unknown label",
        ". /etc/labels; bundle u:r:none '' true; holm-runtime run --bundle /b box",
    ),
    step(
        "mounts with an unknown label",
        ". /etc/labels; bundle '' u:r:none true; holm-runtime run --bundle /b box",
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn processes_have_their_labels() {
    GUEST.answer("a policy is in force").says("1");
    let text = GUEST.answer("labels of a process and of mounts").ok();
    assert!(text.starts_with("u:r:c_t"), "{text}");
    GUEST.answer("a process in the background").says("u:r:c_t");
    GUEST.answer("exec has the label of the first process").says("u:r:c_t");
    GUEST.answer("exec has a label of its own").says("u:r:t");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn mounts_have_their_label() {
    let text = GUEST.answer("labels of a process and of mounts").ok();
    for (place, labelled) in [
        ("/dev", true),
        ("/dev/pts", true),
        ("/dev/shm", true),
        ("/sys/firmware", true),
        ("/proc", false),
        ("/sys", false),
        ("/dev/mqueue", false),
    ] {
        let line = text.lines().find(|line| line.split(' ').nth(1) == Some(place)).expect(place);
        assert_eq!(line.contains("context=u:r:f_t"), labelled, "{line}");
    }
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn labels_that_the_policy_does_not_know_are_refused() {
    let field = "`process.selinuxLabel`";
    GUEST.answer("exec with an unknown label").fails(255, field);
    GUEST.answer("a process with an unknown label").fails(1, field);
    GUEST.answer("mounts with an unknown label").fails(1, "`linux.mountLabel`");
    GUEST.answer("mounts with an unknown label").fails(1, "u:r:none");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn labels_leave_nothing() {
    GUEST.leaves_nothing("labels");
}
