//! `holm-runtime spec`: a configuration to begin with.

use std::io::Write;
use std::path::PathBuf;

use holm_runtime::cgroup::Hierarchies;
use holm_runtime::{Error, Result};
use holm_sys::rustix::process::{getegid, geteuid};
use serde::Serialize;
use serde_json::{Value, json};

use super::SPEC_VERSION;

/// Write a config.json to begin with
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a user without root's rights
    #[arg(long)]
    rootless: bool,
}

pub fn run(args: &Args) -> Result<u8> {
    let mut spec = default_spec();
    if args.rootless {
        make_rootless(&mut spec);
    }
    let mut text = Vec::new();
    let mut tabs = serde_json::Serializer::with_formatter(
        &mut text,
        serde_json::ser::PrettyFormatter::with_indent(b"\t"),
    );
    spec.serialize(&mut tabs).expect("plain data");
    let file = args.bundle.join("config.json");
    let written = std::fs::File::create_new(&file).and_then(|mut created| created.write_all(&text));
    written.map(|()| 0).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::invalid("File config.json exists. Remove it first"),
        _ => Error::system(format!("write `{}`", file.display()), error),
    })
}

/// What runc writes, so that what begins with it goes on with either.
fn default_spec() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": capabilities, "effective": capabilities, "permitted": capabilities },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "runc",
        "mounts": mounts(),
        "linux": linux(),
    })
}

fn mounts() -> Value {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        let mut mount = json!({ "destination": destination, "type": kind, "source": source });
        if !options.is_empty() {
            mount["options"] = json!(options);
        }
        mount
    };
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"];
    json!([
        mount("/proc", "proc", "proc", &[]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &pts),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ])
}

fn linux() -> Value {
    let mut namespaces = vec!["pid", "network", "ipc", "uts", "mount"];
    if Hierarchies::detect().is_ok_and(|hierarchies| hierarchies.version() == "v2") {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.into_iter().map(|kind| json!({ "type": kind })).collect();
    json!({
        "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
        "namespaces": namespaces,
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
            "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    })
}

fn make_rootless(spec: &mut Value) {
    let map = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut spec["linux"];
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    linux["uidMappings"] = map(geteuid().as_raw());
    linux["gidMappings"] = map(getegid().as_raw());
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if let Some(options) = mount["options"].as_array_mut() {
            options.retain(|option| !option.as_str().is_some_and(|text| text.starts_with("gid=")));
        }
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        }
    }
}
