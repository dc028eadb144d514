//! A sandbox's part in a network that plugins carry.

use std::os::fd::BorrowedFd;

use holm_spec::Id;
use holm_spec::layout::Layout;
use holm_spec::network::{Attachment, Endpoint, HardwareAddress, Network, Plugins};
use holm_spec::workload::Resolver;
use holm_sys::file::random_bytes;

use super::claim::{self, Claim};
use super::result::{given, resolver};
use crate::addresses::{Addresses, NO_HARDWARE};
use crate::error::{Error, Kind, Result};
use crate::ports;

/// An endpoint whose device plugins make.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) endpoint: Endpoint,
    network: Network,
    attachment: Attachment,
    claim: Claim,
}

impl Attached {
    /// Writes the endpoint's document, before plugins have said its addresses.
    ///
    /// # Errors
    /// [`Kind::Io`].
    pub(crate) fn begin(
        layout: &Layout,
        network: &Network,
        plugins: &Plugins,
        attachment: &Attachment,
        mut endpoint: Endpoint,
    ) -> Result<Self> {
        let claim = Claim::new(plugins, attachment, &endpoint);
        // Until they say another one.
        if endpoint.hardware == NO_HARDWARE {
            let [a, b, c, d] = random_bytes();
            endpoint.hardware = HardwareAddress([0x02, 0x68, a, b, c, d]);
        }
        endpoint.gateways.clear();
        Addresses::of(layout, network).write_unnamed(&endpoint)?;
        Ok(Self { endpoint, network: network.clone(), attachment: attachment.clone(), claim })
    }

    /// Has plugins make the device, and takes over what they say of it.
    ///
    /// # Errors
    /// [`Kind::Plugin`], [`Kind::NoPlugin`]. What was made until then is there until [`Attached::undo`].
    pub(crate) fn connect(&mut self, layout: &Layout, namespace: BorrowedFd<'_>) -> Result<()> {
        self.claim.make(layout, namespace)?;
        self.take_result().map_err(|why| {
            Error::new(
                Kind::Plugin,
                format!("network `{}`: what its CNI plugins answer: {why}", self.network.name),
            )
        })?;
        Addresses::of(layout, &self.network).write_unnamed(&self.endpoint)
    }

    fn take_result(&mut self) -> Result<(), String> {
        let given = given(self.claim.result.as_ref().unwrap_or_default(), &self.endpoint.interface)?;
        let has = |asked: std::net::IpAddr| given.addresses.iter().any(|address| address.address == asked);
        let asked = [self.attachment.address.map(Into::into), self.attachment.address6.map(Into::into)];
        if let Some(address) = asked.into_iter().flatten().find(|asked| !has(*asked)) {
            return Err(format!("they did not give address {address}, which was asked for"));
        }
        match (self.attachment.hardware, given.hardware) {
            (Some(asked), Some(other)) if asked != other => {
                return Err(format!(
                    "they did not give hardware address {asked}, which was asked for, but {other}"
                ));
            }
            _ => {}
        }
        let endpoint = &mut self.endpoint;
        endpoint.hardware = given.hardware.unwrap_or(endpoint.hardware);
        endpoint.host_interface = given.host_interface;
        endpoint.ports = ports::reachable(std::mem::take(&mut endpoint.ports), |v4| {
            given.addresses.iter().any(|one| one.address.is_ipv4() == v4)
        });
        endpoint.addresses = given.addresses;
        if !self.network.internal {
            endpoint.gateways = given.gateways;
        }
        Ok(())
    }

    /// Has plugins undo what they did. What they cannot is told by the next repair.
    pub(crate) fn undo(&self, layout: &Layout) {
        let _ = undo(layout, &self.endpoint.sandbox, Some(&self.network.name));
    }
}

/// Has plugins undo what they did for a sandbox, the last network first; for one of its networks, if one is named.
///
/// # Errors
/// Of the last one that failed; its claim stays.
pub(crate) fn undo(layout: &Layout, sandbox: &Id, network: Option<&str>) -> Result<()> {
    let mut undone = Ok(());
    for claim in claim::of_sandbox(layout, sandbox)? {
        if network.is_none_or(|network| claim.network == network) {
            undone = claim.undo(layout).and(undone);
        }
    }
    undone
}

/// What a workload's `/etc/resolv.conf` says: what was asked, and where nothing was, what plugins say.
///
/// # Errors
/// [`Kind::Io`], [`Kind::Corrupt`].
pub(crate) fn names(layout: &Layout, sandbox: &Id, asked: &Resolver) -> Result<Resolver> {
    let mut names = asked.clone();
    let mut claims = claim::of_sandbox(layout, sandbox)?;
    // The first network's count more.
    claims.reverse();
    for said in claims.iter().filter_map(|claim| claim.result.as_ref()).map(resolver) {
        if asked.servers.is_empty() {
            names.servers.extend(said.servers);
        }
        if asked.search.is_empty() {
            names.search.extend(said.search);
        }
        if asked.options.is_empty() {
            names.options.extend(said.options);
        }
    }
    Ok(names)
}
