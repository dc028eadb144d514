//! A bundle: a root file system of one program, and the configuration that engines write for a plain container.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

/// What the root file system of a bundle has in `/bin`, all of it one program.
const COMMANDS: &str = "sh cat chmod chown cp cut date dd df echo env false find grep head hostname id ifconfig ionice ip kill ln ls \
    mkdir mkfifo mknod mount mv nice nproc od printf ps pwd readlink rm rmdir sed seq setsid sleep sort stat stty sync \
    tail test timeout touch tr true tty umount uname unshare wc";

/// Makes a root file system of one program under many names. Another process copies it, so that no child that another
/// thread starts meanwhile can hold it open for writing, which would keep it from being executed.
pub fn make_rootfs(path: &Path) {
    for name in ["bin", "etc", "tmp", "dev", "proc", "sys"] {
        std::fs::create_dir_all(path.join(name)).expect("a directory in an empty one");
    }
    let status = Command::new("cp").arg("/bin/busybox").arg(path.join("bin/busybox")).status();
    assert!(status.expect("cp is installed").success(), "copy busybox");
    for name in COMMANDS.split_whitespace() {
        std::os::unix::fs::symlink("busybox", path.join("bin").join(name)).expect("a link");
    }
    let files = [
        ("etc/passwd", "root:x:0:0::/tmp:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n"),
        ("etc/group", "root:x:0:\nuser:x:1000:\n"),
    ];
    for (name, text) in files {
        std::fs::write(path.join(name), text).expect("a file in a new directory");
    }
}

/// What engines write for a plain container.
pub fn config(group: &str) -> Value {
    let capabilities = json!([
        "CAP_AUDIT_WRITE",
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_KILL",
        "CAP_MKNOD",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETGID",
        "CAP_SETUID"
    ]);
    let namespaces = ["pid", "network", "ipc", "uts", "mount", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {"cgroupsPath": group, "namespaces": namespaces}
    })
}
