//! OCI runtimes on one bundle with Docker's configuration: holm-runtime, crun and runc from Debian.
//!
//! The filter of system calls is the one that Debian's podman ships. Debian's crun refuses hybrid hosts, so all of
//! them run in a mount namespace without cgroup v2 there, where each has to enter groups of v1.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::image::TestImage;
use super::podman::without_unified;
use crate::driver::host::StandingGroups;
use crate::driver::process::{Launch, MountNamespace};

const PROFILE: &str = "/usr/share/containers/seccomp.json";
const HYBRID: &str = "/sys/fs/cgroup/unified";
/// What Docker grants.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The bundle, and where runtimes keep their state.
pub struct OciRuntimes {
    holm: PathBuf,
    bundle: PathBuf,
    state: PathBuf,
    namespace: Option<Rc<MountNamespace>>,
    _groups: StandingGroups,
}

impl OciRuntimes {
    /// Makes the bundle.
    ///
    /// # Errors
    /// When holm-runtime or the profile is not there.
    pub fn prepare(base: &Path, image: &TestImage, bin_dir: Option<&Path>) -> Result<Self> {
        let bundle = base.join("bundle");
        std::fs::create_dir(&bundle)?;
        let holm =
            bin_dir.map_or_else(|| PathBuf::from("holm-runtime"), |directory| directory.join("holm-runtime"));
        Launch::new(&holm).with(["spec", "--bundle"]).with([&bundle]).output()?;
        let file = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let profile =
            std::fs::read(PROFILE).with_context(|| format!("reading `{PROFILE}` of Debian's podman"))?;
        configure(&mut config, image, &serde_json::from_slice(&profile)?);
        std::fs::write(&file, config.to_string())?;
        let hybrid = Path::new(HYBRID).exists();
        let namespace = hybrid.then(without_unified).transpose()?.map(Rc::new);
        Ok(Self {
            holm,
            bundle,
            state: base.join("oci-state"),
            namespace,
            _groups: StandingGroups::named("holm-runtime"),
        })
    }

    /// `run` by holm-runtime, `crun` or `runc`.
    pub fn run(&self, runtime: &str) -> Launch {
        let program = if runtime == "holm-runtime" { self.holm.clone() } else { PathBuf::from(runtime) };
        Launch::new(program)
            .with(["--root"])
            .with([self.state.join(runtime)])
            .with(["run", "--bundle"])
            .with([&self.bundle])
            .with([format!("bench-{runtime}")])
            .inside(self.namespace.clone())
    }
}

/// Docker's defaults over what `spec` writes.
fn configure(config: &mut Value, image: &TestImage, profile: &Value) {
    // The oldest that all of them read.
    config["ociVersion"] = json!("1.0.2");
    config["root"] = json!({ "path": image.folder, "readonly": false });
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["args"] = json!(["/bin/true"]);
    process["noNewPrivileges"] = json!(false);
    for set in ["bounding", "effective", "permitted"] {
        process["capabilities"][set] = json!(CAPABILITIES);
    }
    config["linux"]["seccomp"] = json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": profile["syscalls"].as_array().into_iter().flatten().filter_map(rule).collect::<Vec<_>>(),
    });
}

/// A rule of the profile as it applies to [`CAPABILITIES`] on this architecture.
fn rule(entry: &Value) -> Option<Value> {
    let names = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let has = |list: &Value| names(list).iter().any(|name| CAPABILITIES.contains(&name.as_str()));
    let (includes, excludes) = (&entry["includes"], &entry["excludes"]);
    let wanted = names(&includes["caps"]).is_empty() || has(&includes["caps"]);
    let here = names(&includes["arches"]).is_empty()
        || names(&includes["arches"]).iter().any(|name| name == "amd64");
    if !wanted
        || !here
        || has(&excludes["caps"])
        || names(&excludes["arches"]).iter().any(|name| name == "amd64")
    {
        return None;
    }
    let mut rule = json!({ "names": entry["names"], "action": entry["action"] });
    if entry["args"].as_array().is_some_and(|args| !args.is_empty()) {
        rule["args"] = entry["args"].clone();
    }
    if entry["action"] == "SCMP_ACT_ERRNO" && entry["errnoRet"].is_number() {
        rule["errnoRet"] = entry["errnoRet"].clone();
    }
    Some(rule)
}
