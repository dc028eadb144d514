//! Capabilities and the system call filter that a request ends up with.

use holm_runtime::capability::{self, CapabilitySet};
use holm_runtime::seccomp::{Environment, Profile};
use holm_spec::runtime::LinuxSeccomp;
use holm_spec::workload::{Isolation, SeccompSource};

use crate::request::{CreateRequest, SeccompChoice};
use crate::{Error, Kind, Result};

/// The default set, what was added, without what was dropped; `ALL` as Docker reads it.
pub(super) fn capabilities(request: &CreateRequest) -> Result<CapabilitySet> {
    let own = match request.isolation {
        Isolation::Container => own_capabilities()?,
        // A guest's kernel withholds nothing.
        Isolation::Vm => CapabilitySet::ALL,
    };
    if request.privileged {
        return Ok(own);
    }
    let added = named(&request.cap_add, "--cap-add")?;
    let dropped = named(&request.cap_drop, "--cap-drop")?;
    let adds_all = added == CapabilitySet::ALL;
    let drops_all = dropped == CapabilitySet::ALL;
    let missing = added.without(own);
    if !adds_all && missing != CapabilitySet::NONE {
        let names: Vec<String> = missing.names().collect();
        let message = format!("grant {}: this host withholds it from root", names.join(", "));
        return Err(Error::new(Kind::NotPermitted, message));
    }
    let base = match (adds_all, drops_all) {
        (true, _) => own,
        (false, true) => CapabilitySet::NONE,
        (false, false) => capability::DEFAULT.and(own),
    };
    // A capability that is both dropped with ALL and added by name is wanted.
    Ok(if drops_all { base.with(added).and(own) } else { base.with(added).without(dropped).and(own) })
}

fn own_capabilities() -> Result<CapabilitySet> {
    let sets =
        rustix::thread::capabilities(None).map_err(|errno| Error::io("read the own capabilities", errno))?;
    Ok(CapabilitySet::from_bits(sets.permitted.bits()).and(CapabilitySet::ALL))
}

fn named(names: &[String], flag: &str) -> Result<CapabilitySet> {
    names.iter().try_fold(CapabilitySet::NONE, |set, name| {
        let capability = CapabilitySet::named(name).ok_or_else(|| {
            Error::new(Kind::InvalidRequest, format!("{flag}: unknown capability `{name}`"))
        })?;
        Ok(set.with(capability))
    })
}

/// Where the filter comes from, and the filter itself if it is a profile of the user's.
pub(super) struct SeccompSettings {
    pub source: SeccompSource,
    pub document: Option<LinuxSeccomp>,
}

/// Resolves the choice against the capabilities; privileged workloads have no filter unless one was
/// asked for.
pub(super) fn seccomp(request: &CreateRequest, capabilities: CapabilitySet) -> Result<SeccompSettings> {
    let source = |source| Ok(SeccompSettings { source, document: None });
    match &request.seccomp {
        SeccompChoice::Default if request.privileged => source(SeccompSource::Unconfined),
        SeccompChoice::Default => source(SeccompSource::Default),
        SeccompChoice::Unconfined => source(SeccompSource::Unconfined),
        SeccompChoice::Profile(name, text) => {
            let invalid = |error| {
                Error::caused(Kind::InvalidRequest, format!("use the seccomp profile `{name}`"), error)
            };
            let environment = Environment::here(capabilities.bits()).map_err(invalid)?;
            let document =
                Profile::parse(text.as_bytes()).map_err(invalid)?.resolve(&environment).map_err(invalid)?;
            match document {
                None => source(SeccompSource::Unconfined),
                document => Ok(SeccompSettings { source: SeccompSource::Configuration, document }),
            }
        }
    }
}
