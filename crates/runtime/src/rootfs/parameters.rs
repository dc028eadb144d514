//! `linux.sysctl`: kernel parameters, of which only those that a namespace of the container's own holds may be set.

use std::ffi::CString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holm_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Spec};

use super::c_string;
use crate::error::{Error, Result};

/// Parameters of the IPC namespace, beside `fs.mqueue.*`.
const IPC: &[&str] = &[
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Files below `/proc` and what to write to them, sorted.
///
/// # Errors
/// What is no name of a parameter, or is the host's.
pub(super) fn prepare(spec: &Spec) -> Result<Vec<(CString, Vec<u8>)>> {
    let sysctl = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let mut parameters = Vec::new();
    for (name, value) in sysctl.into_iter().flatten() {
        let at = |error: Error| error.at_field(format!("linux.sysctl[\"{}\"]", name.escape_debug()));
        let path = path_of(name).ok_or_else(|| at(Error::invalid("it is no name of a kernel parameter")))?;
        check(spec, &path.replace('/', "."), value).map_err(at)?;
        parameters.push((c_string(&format!("/proc/sys/{path}"))?, value.clone().into_bytes()));
    }
    parameters.sort();
    Ok(parameters)
}

/// The first separator decides: in `net/ipv4/conf/eno2.100/x` a dot is part of a name.
fn path_of(name: &str) -> Option<String> {
    let by_dots = name.find(['.', '/']).is_none_or(|at| name.as_bytes()[at] == b'.');
    let path = if by_dots { name.replace('.', "/") } else { name.to_owned() };
    let is_name = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.split('/').all(is_name).then_some(path)
}

/// Whether a namespace of the container's own holds the parameter.
fn check(spec: &Spec, name: &str, value: &str) -> Result<()> {
    let list = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    let own = |kind| list.iter().any(|namespace| namespace.typ() == kind && !is_the_hosts(namespace));
    if name == "kernel.hostname" {
        return Err(Error::invalid("the hostname is set by `hostname`"));
    }
    let named = spec.domainname().as_ref().is_some_and(|name| !name.is_empty() && name != value);
    if name == "kernel.domainname" && named {
        return Err(Error::invalid("the domain name is set by `domainname`"));
    }
    let allowed = if name.starts_with("net.") {
        own(LinuxNamespaceType::Network)
    } else if name.starts_with("fs.mqueue.") || IPC.contains(&name) {
        own(LinuxNamespaceType::Ipc)
    } else if name == "kernel.domainname" {
        own(LinuxNamespaceType::Uts)
    } else {
        name.starts_with("user.") && own(LinuxNamespaceType::User)
    };
    if allowed {
        return Ok(());
    }
    Err(Error::invalid(format!("sysctl \"{name}\" is not in a separate kernel namespace")))
}

/// A namespace that is joined may be the one that this process is in.
fn is_the_hosts(namespace: &LinuxNamespace) -> bool {
    let Some(path) = namespace.path().as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return false;
    };
    let file = match namespace.typ() {
        LinuxNamespaceType::Network => "net",
        LinuxNamespaceType::Ipc => "ipc",
        LinuxNamespaceType::Uts => "uts",
        LinuxNamespaceType::User => "user",
        _ => return false,
    };
    let identity = |path: &Path| path.metadata().ok().map(|data| (data.dev(), data.ino()));
    identity(path) == identity(Path::new(&format!("/proc/self/ns/{file}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dots_or_slashes() {
        assert_eq!(path_of("net.ipv4.ip_forward").as_deref(), Some("net/ipv4/ip_forward"));
        assert_eq!(path_of("net/ipv4/conf/eno2.100/x").as_deref(), Some("net/ipv4/conf/eno2.100/x"));
        for wrong in ["", "/etc", "net/../x", "net..x", "net.", "net/./x"] {
            assert_eq!(path_of(wrong), None, "{wrong}");
        }
    }
}
