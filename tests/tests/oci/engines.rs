//! An engine from Debian with this runtime in place of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use holm_tests::{Call, tarball};

use super::machine;
use super::runtime::program;

/// A view of the control groups that is the script's own, without v2 where both versions are mounted (conmon refuses such
/// hosts): podman makes folders with files in them for controllers that are not mounted. Then podman itself, with
/// directories of the test, and what takes everything away again.
const SETUP: &str = r#"
set -e
if [ -d /sys/fs/cgroup/memory ]; then
    mkdir "$DIRECTORY/view"
    mount -t tmpfs view "$DIRECTORY/view"
    for hierarchy in /sys/fs/cgroup/*; do
        name=${hierarchy##*/}
        if [ "$name" != unified ] && mountpoint -q "$hierarchy"; then
            mkdir "$DIRECTORY/view/$name"
            mount --bind "$hierarchy" "$DIRECTORY/view/$name"
        fi
    done
    mount --rbind "$DIRECTORY/view" /sys/fs/cgroup
fi
mount -t tmpfs run /run
p() {
    podman --root "$DIRECTORY/r" --runroot "$DIRECTORY/x" --cgroup-manager cgroupfs --storage-driver vfs --runtime "$RUNTIME" "$@"
}
clean() {
    set +e
    p rm -f -a -t 0 > /dev/null 2>&1
    p rmi -a -f > /dev/null 2>&1
    find /sys/fs/cgroup/*/"$GROUP" /sys/fs/cgroup/"$GROUP" -depth -type d -exec rmdir {} + 2> /dev/null
    true
}
trap clean EXIT
flags="--network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024 --cgroup-parent /$GROUP"
p import "$DIRECTORY/base.tar" base > /dev/null
"#;

/// Podman's everyday commands.
const EVERYDAY: &str = r#"
p run --rm $flags base sh -c 'echo ran as $$; exit 3' || echo "code $?"
p run -d --name box $flags base sleep 1000 > /dev/null
p exec box sh -c 'echo executed'
p inspect -f '{{.Name}} {{.State.Status}}' box
p pause box > /dev/null
p inspect -f '{{.Name}} {{.State.Status}}' box
p unpause box > /dev/null
p stop -t 0 box > /dev/null
p rm box > /dev/null
p run --rm $flags base absent 2> /dev/null || echo "code $?"
p run --rm -t $flags base sh -c 'test -c /dev/console && echo console' | tr -d '\r'
p run --rm $flags --memory 64m base cat /sys/fs/cgroup/memory/memory.limit_in_bytes
p run --rm $flags --read-only --tmpfs /run base sh -c 'touch /run/x && ! touch /x 2> /dev/null && echo sealed'
"#;

/// More of them.
const MORE: &str = r#"
p run --rm $flags base /etc 2> /dev/null || echo "code $?"
echo typed | p run --rm -i $flags base cat
p run --rm $flags --memory 32m base tail /dev/zero || echo "code $?"
p run --rm $flags --uidmap 0:100000:65536 --gidmap 0:100000:65536 base sh -c 'tr -s " " < /proc/self/uid_map'
p run --rm $flags --preserve-fds 1 base cat /proc/self/fd/3 3< "$DIRECTORY/text"
p run --rm $flags --security-opt mask=/proc/cmdline base sh -c 'cat /proc/cmdline && echo masked'
p run -d --name box $flags base sh -c 'trap "echo term; exit 7" TERM; echo up; while :; do sleep 0.05; done' > /dev/null
p exec box sh -c 'exit 9' || echo "code $?"
p exec box absent 2> /dev/null || echo "code $?"
echo typed | p exec -i box cat
p exec -d box sleep 55 > /dev/null
p top box | grep -c 'sleep 55'
p cp "$DIRECTORY/text" box:/tmp/copied
p exec box cat /tmp/copied
p run --rm $flags --pid container:box --ipc container:box base sh -c 'tr "\0" " " < /proc/1/cmdline | cut -c1-5'
p update --memory 64m box > /dev/null
p stop -t 9 box > /dev/null
p logs box
p wait box
p start box > /dev/null
p restart -t 0 box > /dev/null
p inspect -f '{{.State.Status}}' box
"#;

/// What it says of a container without limits.
const FIGURES: &str = r#"
p run -d --name box $flags base sleep 1000 > /dev/null
p stats --no-stream --format '{{.PIDs}} {{.MemUsage}}' box
"#;

/// Runs a script and returns the lines that it wrote.
#[track_caller]
fn podman(script: &str) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base.tar"), tarball::base()).unwrap();
    std::fs::write(directory.path().join("text"), "of the host\n").unwrap();
    let group = format!("holm-oci-test-{}-podman{}", std::process::id(), script.len());
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c", &format!("{SETUP}{script}")]);
    command.env("DIRECTORY", directory.path()).env("RUNTIME", program()).env("GROUP", &group);
    let outcome = Call::new(command).timeout(Duration::from_secs(120)).run();
    assert_eq!(machine::groups(&format!("/{group}")), Vec::<PathBuf>::new());
    outcome.ok().lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
#[ignore = "starts podman: cargo xtask test --slow"]
fn podman_runs_with_it() {
    let expected = [
        "ran as 1",
        "code 3",
        "executed",
        "box running",
        "box paused",
        "code 127",
        "console",
        "67108864",
        "sealed",
    ];
    assert_eq!(podman(EVERYDAY), expected);
}

#[test]
#[ignore = "starts podman: cargo xtask test --slow"]
fn podman_does_more_with_it() {
    let expected = [
        "code 126",
        "typed",
        "code 137",
        "0 100000 65536",
        "of the host",
        "masked",
        "code 9",
        "code 127",
        "typed",
        "1",
        "of the host",
        "sh -c",
        "up",
        "term",
        "7",
        "running",
    ];
    assert_eq!(podman(MORE), expected);
}

#[test]
#[ignore = "starts podman: cargo xtask test --slow"]
fn podman_counts_with_it() {
    let lines = podman(FIGURES);
    let holds = lines.len() == 1 && lines[0].starts_with("1 ") && !lines[0].contains(" 0B / ");
    assert!(holds, "{}", lines.join("; "));
}
