//! An engine from Debian with this runtime in place of its own.

use std::process::Command;

use holm_tests::{Call, tarball};

use super::runtime::program;

/// Podman's everyday commands. Its directories, and a view of the host without cgroup v2 where both versions are mounted
/// (conmon refuses such hosts), are the test's own.
const SCRIPT: &str = r#"
set -e
umount /sys/fs/cgroup/unified 2> /dev/null || true
p() {
    podman --root "$DIRECTORY/r" --runroot "$DIRECTORY/x" --cgroup-manager cgroupfs --storage-driver vfs --runtime "$RUNTIME" "$@"
}
before=$(ls -d /sys/fs/cgroup/*/libpod_parent 2> /dev/null || true)
clean() {
    set +e
    p rm -f -a -t 0 > /dev/null 2>&1
    p rmi -a -f > /dev/null 2>&1
    for group in /sys/fs/cgroup/*/libpod_parent; do
        case "$before" in *"$group"*) ;; *) find "$group" -depth -type d -exec rmdir {} + 2> /dev/null ;; esac
    done
    true
}
trap clean EXIT
flags="--network none --ulimit nofile=1024:1024 --ulimit nproc=1024:1024"
p import "$DIRECTORY/base.tar" base > /dev/null
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

#[test]
#[ignore = "starts podman: cargo xtask test --slow"]
fn podman_runs_with_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("base.tar"), tarball::base()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]);
    command.env("DIRECTORY", directory.path()).env("RUNTIME", program());
    let outcome = Call::new(command).run();
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
    assert_eq!(outcome.ok().lines().map(str::trim).collect::<Vec<_>>(), expected);
}
