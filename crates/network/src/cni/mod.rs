//! Networks that plugins carry (the Container Network Interface, specification 1.1): programs that others have written, and that
//! run for a moment when a sandbox joins or leaves.
//!
//! ```text
//! <root>/cni/<sandbox>-<network>         a claim: what was asked of the plugins, and what they answered
//! <root>/cni/.<sandbox>-<network>.input  what a plugin reads; whoever is at a claim has its lock, and so has the plugin
//! <run>/sandboxes/<sandbox>/netns        the sandbox's network namespace, mounted: plugins undo what they did there
//! ```
//! A claim is written before the first plugin runs and goes when the last one has undone what it did. So nothing is lost of a
//! sandbox that was killed at any step, nor over a boot, which ends the sandbox and not always what plugins keep on the disk.
//! Since a plugin has the claim's lock, nobody undoes what is still being done.
//!
//! `ADD` and `DEL` are used, and `VERSION` when a network is made; `CHECK`, `STATUS` and `GC` are not.

mod attached;
mod claim;
mod fit;
mod list;
mod plugin;
mod result;
mod usual;

use std::path::PathBuf;
use std::time::Duration;

use holm_spec::network::{Network, Plugins};
use serde_json::Value;

use crate::error::{Error, Kind, Result};

pub(crate) use attached::{Attached, names, undo};
pub(crate) use claim::{orphans, unpin};
pub(crate) use fit::{Fit, check};

/// Where plugins are looked for if nobody says it: the usual place, and Debian's.
const USUAL_PATH: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];
/// How long a plugin may take to say its versions.
const VERSION_PATIENCE: Duration = Duration::from_secs(5);

/// Plugins that are to carry a network.
#[derive(Clone, Debug, Default)]
pub struct NewPlugins {
    /// Directories in which they are looked for; the usual ones if there are none.
    pub path: Vec<PathBuf>,
    /// The network configuration list as somebody wrote it, or the configuration of one plugin; one that makes a bridge if
    /// absent.
    pub list: Option<Vec<u8>>,
}

/// The plugins of a network that is planned, with the newest version of the specification that all of them speak.
///
/// # Errors
/// [`Kind::NoPlugin`]; [`Kind::Invalid`] for a list that makes no sense, or without such a version.
pub(crate) fn resolve(asked: &NewPlugins, network: &Network, leases: PathBuf) -> Result<Plugins> {
    let path = match asked.path.is_empty() {
        true => USUAL_PATH.map(PathBuf::from).to_vec(),
        false => asked.path.clone(),
    };
    let mut list = match &asked.list {
        Some(text) => list::parse(text, &network.name)?,
        None => usual::list(network, &leases),
    };
    let version = common_version(&list, &path).map_err(|error| error.of_network(&network.name))?;
    list["cniVersion"] = version.into();
    Ok(Plugins { path, list })
}

fn common_version(list: &Value, path: &[PathBuf]) -> Result<String> {
    let mut common: Vec<&str> = list::VERSIONS.to_vec();
    let of_list = list::versions(list);
    common.retain(|version| of_list.contains(version));
    let none = |whose: &str, spoken: &[&str]| {
        let text = format!(
            "{whose} speaks versions {} of CNI, and none of {}",
            spoken.join(", "),
            list::VERSIONS.join(", ")
        );
        Error::new(Kind::Invalid, text)
    };
    if common.is_empty() {
        return Err(none("its list", &of_list));
    }
    for program in list::programs(list) {
        let answer = ask_versions(program, path)?;
        let spoken: Vec<&str> =
            answer["supportedVersions"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        common.retain(|version| spoken.contains(version));
        if common.is_empty() {
            return Err(none(&format!("CNI plugin `{program}`"), &spoken));
        }
    }
    Ok(common[0].to_owned())
}

fn ask_versions(program: &str, path: &[PathBuf]) -> Result<Value> {
    let about = |error| Error::io("make a file for what a CNI plugin reads", error);
    let input = rustix::fs::memfd_create("cni", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|errno| about(errno.into()))?;
    let input = std::fs::File::from(input);
    plugin::write_input(&input, format!("{{\"cniVersion\":\"{}\"}}", list::VERSIONS[0]).as_bytes())
        .map_err(about)?;
    let call = plugin::Call {
        program,
        path,
        command: "VERSION",
        environment: &[],
        input: &input,
        patience: VERSION_PATIENCE,
    };
    Ok(plugin::run(&call)?.unwrap_or_default())
}
