//! Workloads as a machine describes them.

use holm_spec::Id;
use holm_spec::agent::GuestWorkload;
use holm_spec::keeper::ExecProcess;
use holm_spec::workload::SeccompSource;
use serde_json::{Value, json};

/// A workload of the image `base` that runs a shell script.
pub fn workload(number: u8, script: &str) -> GuestWorkload {
    program(number, &["sh", "-c", script])
}

/// A workload of the image `base` that runs a program.
pub fn program(number: u8, arguments: &[&str]) -> GuestWorkload {
    GuestWorkload {
        id: Id::from_bytes([number; 32]),
        sandbox: Id::from_bytes([1; 32]),
        layers: vec![1],
        scratch: false,
        files: Vec::new(),
        devices: Vec::new(),
        tty: false,
        open_stdin: false,
        user: String::new(),
        seccomp: SeccompSource::Default,
        oci: serde_json::from_value(configuration(arguments)).expect("a configuration"),
    }
}

/// Changes a workload's configuration in the form of its document.
pub fn configure(workload: &mut GuestWorkload, change: impl FnOnce(&mut Value)) {
    let mut document = serde_json::to_value(&workload.oci).expect("plain data");
    change(&mut document);
    workload.oci = serde_json::from_value(document).expect("a configuration");
}

/// What the engine writes, with its defaults.
fn configuration(arguments: &[&str]) -> Value {
    let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_MKNOD"];
    let capabilities =
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities});
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": ["PATH=/bin", "GREETING=hello"],
            "cwd": "/",
            "capabilities": capabilities,
            "noNewPrivileges": false,
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        ],
        "linux": {
            "namespaces": [
                {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "pid"}, {"type": "cgroup"},
                {"type": "network"},
            ],
            "resources": {
                "devices": [
                    {"allow": false, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 1, "minor": 9, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 136, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 5, "minor": 2, "access": "rwm"},
                    {"allow": true, "type": "c", "major": 5, "minor": 0, "access": "rwm"},
                ],
            },
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// A shell script to run beside a workload's first process.
pub fn script(script: &str) -> ExecProcess {
    ExecProcess {
        args: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: Vec::new(),
        cwd: None,
        user: None,
        tty: false,
        privileged: false,
    }
}
