//! Bundles with Docker's configuration over what `holm-runtime spec` writes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Setting, View};
use crate::driver::process::Launch;

/// The filter that Debian's podman ships.
const PROFILE: &str = "/usr/share/containers/seccomp.json";
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

/// What runs in a container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Something that ends at once.
    True,
    /// Something that ends when it is killed.
    Sleep,
}

impl Program {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::True => &["/bin/true"],
            Self::Sleep => &["/bin/sleep", "3600"],
        }
    }
}

/// Where bundles are, and what they are made from.
pub struct Bundles {
    directory: PathBuf,
    base: Value,
}

impl Bundles {
    /// Below `directory`, of the root file system `root`.
    ///
    /// # Errors
    /// When holm-runtime or the profile is not there.
    pub fn prepare(directory: PathBuf, holm: &Path, root: &Path) -> Result<Self> {
        std::fs::create_dir(&directory)?;
        Launch::new(holm).with(["spec", "--bundle"]).with([&directory]).output()?;
        let mut base: Value = serde_json::from_slice(&std::fs::read(directory.join("config.json"))?)?;
        let profile =
            std::fs::read(PROFILE).with_context(|| format!("reading `{PROFILE}` of Debian's podman"))?;
        configure(&mut base, root, &serde_json::from_slice(&profile)?);
        Ok(Self { directory, base })
    }

    /// The bundle for a setting and a program, made when it is first asked for.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn get(&self, setting: Setting, program: Program) -> Result<PathBuf> {
        let bundle = self.directory.join(format!("{setting}, {}", program.arguments()[0].replace('/', "")));
        if !bundle.exists() {
            std::fs::create_dir(&bundle)?;
            std::fs::write(bundle.join("config.json"), self.document(setting, program).to_string())?;
        }
        Ok(bundle)
    }

    fn document(&self, setting: Setting, program: Program) -> Value {
        let mut config = self.base.clone();
        config["process"]["args"] = json!(program.arguments());
        let mut add = |kind: &str| {
            let list = config["linux"]["namespaces"].as_array_mut().expect("`spec` writes namespaces");
            list.push(json!({ "type": kind }));
        };
        // As Docker does: with v2 the container gets a cgroup namespace.
        if setting.view == View::V2 {
            add("cgroup");
        }
        if setting.user_namespace {
            add("user");
            let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
            config["linux"]["uidMappings"] = map.clone();
            config["linux"]["gidMappings"] = map;
        }
        config
    }
}

/// Docker's defaults over what `spec` writes. The map of ids is that of the floor (`floor::oci::MAP`).
fn configure(config: &mut Value, root: &Path, profile: &Value) {
    // The oldest that all of them read.
    config["ociVersion"] = json!("1.0.2");
    config["root"] = json!({ "path": root, "readonly": false });
    let process = &mut config["process"];
    process["terminal"] = json!(false);
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
