//! Namespaces that the configuration names by a path: they are somebody else's, before and after.
//!
//! Those of the network and of process ids CRIU knows as external: it leaves them out of a dump under a key, and
//! gets a descriptor with that key when it restores. All other kinds are in the dump, and restored processes join
//! what the path names then.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holm_spec::runtime::{LinuxNamespaceType, Spec};
use holm_sys::rustix::fs::{Mode, OFlags, open};

use crate::error::{Context, Error, Kind, Result};

/// The namespaces of a configuration, with their paths.
fn of(spec: &Spec) -> impl Iterator<Item = (LinuxNamespaceType, Option<&Path>)> {
    let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    list.iter().map(|namespace| {
        let path = namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty());
        (namespace.typ(), path)
    })
}

/// A container without mounts of its own lives in the host's tree, which is not to be restored.
///
/// # Errors
/// It is one.
pub(super) fn check(spec: &Spec) -> Result<()> {
    if of(spec).any(|(kind, _)| kind == LinuxNamespaceType::Mount) {
        return Ok(());
    }
    let message = "a container without a mount namespace cannot be checkpointed or restored";
    Err(Error::new(Kind::Unsupported, message).at_field("linux.namespaces"))
}

/// Whether the container has users of its own.
pub(super) fn changes_user(spec: &Spec) -> bool {
    of(spec).any(|(kind, _)| kind == LinuxNamespaceType::User)
}

/// Whether the container has a network of its own, made for it.
pub(super) fn makes_network(spec: &Spec) -> bool {
    of(spec).any(|(kind, path)| kind == LinuxNamespaceType::Network && path.is_none())
}

/// What a dump leaves out, in CRIU's form: kind, inode and key.
///
/// # Errors
/// A namespace that is not there.
pub(super) fn external(spec: &Spec) -> Result<Vec<String>> {
    let named = of(spec).filter_map(|(kind, path)| Some((kind, external_key(kind)?, path?)));
    let external = named.map(|(kind, key, path)| {
        let inode = path.metadata().context(|| format!("look at namespace `{}`", path.display()))?.ino();
        Ok(format!("{}[{inode}]:{key}", name(kind)))
    });
    external.collect()
}

/// What restored processes are put into.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// Key of each namespace that CRIU gets as a descriptor.
    pub keys: Vec<&'static str>,
    /// These descriptors.
    pub descriptors: Vec<OwnedFd>,
    /// CRIU's name and the path of those that it opens.
    pub paths: Vec<(&'static str, String)>,
}

impl Joined {
    /// Opens what `spec` names.
    ///
    /// # Errors
    /// A namespace that is not there; a kind that CRIU cannot join.
    pub fn prepare(spec: &Spec) -> Result<Self> {
        let mut joined = Self::default();
        for (kind, path) in of(spec) {
            let Some(path) = path else { continue };
            if let Some(key) = external_key(kind) {
                let missing =
                    || format!("Requested {} namespace {} does not exist", name(kind), path.display());
                let opened = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(missing)?;
                joined.keys.push(key);
                joined.descriptors.push(opened);
            } else if kind == LinuxNamespaceType::Cgroup {
                let message = "criu cannot restore into a cgroup namespace that exists";
                return Err(Error::new(Kind::Unsupported, message).at_field("linux.namespaces"));
            } else {
                joined.paths.push((name(kind), path.to_string_lossy().into_owned()));
            }
        }
        Ok(joined)
    }

    /// The keys with the numbers of their descriptors.
    pub fn inherited(&self) -> impl Iterator<Item = (&str, i32)> {
        self.keys.iter().copied().zip(self.descriptors.iter().map(AsRawFd::as_raw_fd))
    }
}

/// The keys are those of other runtimes: a dump can be restored by another one.
fn external_key(kind: LinuxNamespaceType) -> Option<&'static str> {
    match kind {
        LinuxNamespaceType::Network => Some("extRootNetNS"),
        LinuxNamespaceType::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

/// As the kernel and CRIU call it.
fn name(kind: LinuxNamespaceType) -> &'static str {
    match kind {
        LinuxNamespaceType::Mount => "mnt",
        LinuxNamespaceType::Cgroup => "cgroup",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::User => "user",
        LinuxNamespaceType::Pid => "pid",
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Time => "time",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(namespaces: &str) -> Spec {
        let document = format!(r#"{{"ociVersion":"1.2.0","linux":{{"namespaces":[{namespaces}]}}}}"#);
        crate::bundle::parse(document.as_bytes(), &mut Vec::new()).expect("valid")
    }

    #[test]
    fn what_has_a_path_is_external() {
        let spec = spec(r#"{"type":"mount"},{"type":"network","path":"/proc/self/ns/net"},{"type":"pid"}"#);
        check(&spec).expect("it has mounts");
        let inode = Path::new("/proc/self/ns/net").metadata().expect("there").ino();
        assert_eq!(external(&spec).expect("there"), [format!("net[{inode}]:extRootNetNS")]);
        assert!(!makes_network(&spec));
        let joined = Joined::prepare(&spec).expect("opened");
        assert_eq!((joined.keys.as_slice(), joined.paths.len()), (&["extRootNetNS"][..], 0));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(check(&spec(r#"{"type":"pid"}"#)).is_err());
        assert!(Joined::prepare(&spec(r#"{"type":"cgroup","path":"/proc/self/ns/cgroup"}"#)).is_err());
        assert!(external(&spec(r#"{"type":"network","path":"/not/there"}"#)).is_err());
        let ipc = Joined::prepare(&spec(r#"{"type":"ipc","path":"/proc/self/ns/ipc"}"#)).expect("by path");
        assert_eq!(ipc.paths, [("ipc", "/proc/self/ns/ipc".to_owned())]);
    }
}
