//! Profiles in Docker's format, as `--security-opt seccomp=FILE` takes them.
//!
//! The format is that of the OCI runtime specification, extended by conditions on entries (`includes`,
//! `excludes`: capabilities, architectures, kernel) and a map of architectures. Resolving a profile
//! against an [`Environment`] gives the OCI document that Docker would hand to runc. Unknown fields are
//! ignored, as Docker does.

use holm_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

use super::architecture::Architecture;
use super::environment::{Environment, KernelVersion, capability};
use super::error::{Error, Kind};
use super::filter::Filter;

/// A profile as written, not yet resolved.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Profile {
    #[serde(default, deserialize_with = "non_empty_action")]
    default_action: Option<LinuxSeccompAction>,
    default_errno_ret: Option<u32>,
    architectures: Option<Vec<Arch>>,
    arch_map: Option<Vec<ArchitectureMap>>,
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<PathBuf>,
    listener_metadata: Option<String>,
    syscalls: Option<Vec<Entry>>,
}

/// An architecture and those whose programs its kernel also runs. Names stay text: a profile may list
/// architectures that nobody here has heard of.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureMap {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

/// An action for some calls, under conditions.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    /// The older form of `names`.
    name: Option<String>,
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    args: Option<Vec<LinuxSeccompArg>>,
    includes: Option<Requirements>,
    excludes: Option<Requirements>,
}

/// What a condition looks at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Requirements {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl Profile {
    /// Reads a JSON document.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it is not JSON of this format.
    pub fn parse(document: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(document)
            .map_err(|error| Error::caused(Kind::Invalid, "it cannot be read", error))
    }

    /// The OCI document that the profile means here; nothing if it is empty, which means no filter.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if there are entries but no default action, both `architectures` and `archMap`,
    /// both `name` and `names`, or a kernel version that is not `<kernel>.<major>`.
    pub fn resolve(&self, environment: &Environment) -> Result<Option<LinuxSeccomp>, Error> {
        let entries = self.syscalls.as_deref().unwrap_or_default();
        let Some(default_action) = self.default_action else {
            return match entries {
                [] => Ok(None),
                _ => Err(Error::new(Kind::Invalid, "it has no `defaultAction`")),
            };
        };
        let mut document = LinuxSeccomp::default();
        document
            .set_default_action(default_action)
            .set_default_errno_ret(self.default_errno_ret)
            .set_architectures(self.resolve_architectures(environment.architecture)?)
            .set_flags(self.flags.clone())
            .set_listener_path(self.listener_path.clone())
            .set_listener_metadata(self.listener_metadata.clone())
            .set_syscalls(Some(resolve_entries(entries, environment)?));
        Ok(Some(document))
    }

    /// The filter that the profile means here; nothing if it is empty, which means no filter.
    ///
    /// # Errors
    /// As [`Profile::resolve`] and [`Filter::from_oci`].
    pub fn filter(&self, environment: &Environment) -> Result<Option<Filter>, Error> {
        let document = self.resolve(environment)?;
        document.map(|document| Filter::from_oci(&document, environment.architecture)).transpose()
    }

    fn resolve_architectures(&self, native: Architecture) -> Result<Option<Vec<Arch>>, Error> {
        let map = self.arch_map.as_deref().unwrap_or_default();
        if map.is_empty() {
            return Ok(self.architectures.clone());
        }
        if self.architectures.as_ref().is_some_and(|listed| !listed.is_empty()) {
            return Err(Error::new(Kind::Invalid, "it has both `architectures` and `archMap`"));
        }
        let name = native.to_oci().to_string();
        let Some(entry) = map.iter().find(|entry| entry.architecture == name) else { return Ok(None) };
        let mut resolved = vec![native.to_oci()];
        for name in entry.sub_architectures.iter().flatten() {
            let unknown =
                |error| Error::caused(Kind::Invalid, format!("architecture `{name}` is unknown"), error);
            resolved.push(name.parse::<Arch>().map_err(unknown)?);
        }
        Ok(Some(resolved))
    }
}

/// The entries whose conditions hold.
fn resolve_entries(entries: &[Entry], environment: &Environment) -> Result<Vec<LinuxSyscall>, Error> {
    let mut resolved = Vec::with_capacity(entries.len());
    for entry in entries {
        let names = entry.names()?;
        if entry.applies(environment)? {
            let mut call = LinuxSyscall::default();
            call.set_names(names)
                .set_action(entry.action)
                .set_errno_ret(entry.errno_ret)
                .set_args(entry.args.clone());
            resolved.push(call);
        }
    }
    Ok(resolved)
}

impl Entry {
    fn names(&self) -> Result<Vec<String>, Error> {
        let names = self.names.clone().unwrap_or_default();
        match self.name.as_deref() {
            None | Some("") => Ok(names),
            Some(name) if names.is_empty() => Ok(vec![name.to_owned()]),
            Some(name) => {
                Err(Error::new(Kind::Invalid, format!("the entry of `{name}` has both `name` and `names`")))
            }
        }
    }

    /// Whether everything included holds and nothing excluded does.
    fn applies(&self, environment: &Environment) -> Result<bool, Error> {
        if let Some(excludes) = &self.excludes {
            let caps = excludes.caps.iter().flatten().any(|name| holds(name, environment));
            if caps || excludes.names_architecture(environment) || excludes.kernel(environment)? == Some(true)
            {
                return Ok(false);
            }
        }
        let Some(includes) = &self.includes else { return Ok(true) };
        let caps = includes.caps.iter().flatten().all(|name| holds(name, environment));
        let everywhere = includes.arches.as_ref().is_none_or(Vec::is_empty);
        let architecture = everywhere || includes.names_architecture(environment);
        Ok(caps && architecture && includes.kernel(environment)? != Some(false))
    }
}

impl Requirements {
    fn names_architecture(&self, environment: &Environment) -> bool {
        let here = environment.architecture.docker_name();
        self.arches.iter().flatten().any(|name| name == here)
    }

    /// Whether the kernel is new enough; nothing if the condition does not ask.
    fn kernel(&self, environment: &Environment) -> Result<Option<bool>, Error> {
        let Some(text) = self.min_kernel.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let least = KernelVersion::parse_exact(text)
            .ok_or_else(|| Error::new(Kind::Invalid, format!("`{text}` is not a kernel version")))?;
        Ok(Some(environment.kernel >= least))
    }
}

fn holds(name: &str, environment: &Environment) -> bool {
    capability(name).is_some_and(|bit| environment.capabilities & bit != 0)
}

/// An empty action is none, as in Docker.
fn non_empty_action<'de, D: Deserializer<'de>>(from: D) -> Result<Option<LinuxSeccompAction>, D::Error> {
    let Some(name) = Option::<String>::deserialize(from)?.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let unknown = || serde::de::Error::custom(format_args!("unknown action `{name}`"));
    name.parse().map(Some).map_err(|_| unknown())
}
