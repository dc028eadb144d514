//! How a sandbox joins networks and leaves them.
//!
//! ```text
//! claim     addresses and ports are the sandbox's; nothing carries packets yet        (before the sandbox is made)
//! connect   devices, addresses, routes, rules                                         (while it waits)
//! release   rules, addresses; the devices go with the sandbox's namespace             (when it has ended)
//! ```
//! Of a network that plugins carry only ports are claimed: addresses are known when the plugins have made the device.
//!
//! A virtual machine's devices are made before it is, and go with it: their ends on the host are descriptors of the emulator's.
//!
//! Where another sandbox has joined the namespace the devices would stay, with addresses that somebody else gets: they are
//! removed then, which takes 20 ms each.
//!
//! A claim that is dropped before it was kept gives all back. What a crash leaves is given back by [`release`], by whoever
//! buries the sandbox.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::Id;
use holm_spec::network::{
    Attachment, DEFAULT, Device, Driver, Endpoint, HardwareAddress, Network, Publication, VERSION,
};
use holm_spec::workload::{Config, Isolation};
use holm_sys::fail_point;
use holm_sys::file::random_bytes;
use holm_sys::interface::make_tap;
use rustix::io::Errno;

use crate::addresses::{Addresses, NO_HARDWARE, read_endpoint, release_record};
use crate::cni::{self, Attached, Fit};
use crate::error::{Error, Kind, Result};
use crate::links::{Links, NAME_LIMIT, Pair, inside};
use crate::networks::{Networks, Stable};
use crate::ports::{Held, Ports};
use crate::rules::Rules;
use crate::{connections, device, etc, ports, sysctl};

/// Where the module `br_netfilter` has its settings.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge";

/// Where the host says how it finds names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// And where systemd-resolved says whom it asks.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// What a sandbox is to have.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The sandbox.
    pub sandbox: &'a Id,
    /// Name of its workload.
    pub name: &'a str,
    /// What it is: that decides what its devices are.
    pub isolation: Isolation,
    /// Its networks; the first one that is not internal is its way out.
    pub attachments: &'a [Attachment],
    /// Ports of the host that lead to its way out.
    pub publications: &'a [Publication],
    /// Servers that know the names which its networks have not.
    pub servers: &'a [IpAddr],
}

/// What a sandbox has been given.
#[derive(Debug)]
pub struct Membership {
    networks: Networks,
    members: Vec<Member>,
    held: Held,
    /// Those of networks that plugins carry; then there are no others.
    attached: Vec<Attached>,
    kept: bool,
}

/// The host's end of a virtual machine's device, which is on its bridge. The device goes with the descriptor.
#[derive(Debug)]
pub struct Tap {
    /// What the emulator reads frames from and writes them to.
    pub descriptor: OwnedFd,
    /// Hardware address of the guest's end.
    pub hardware: HardwareAddress,
    /// Largest packet, if not the kernel's own.
    pub mtu: Option<u32>,
}

/// An endpoint, and what its device needs of its network.
#[derive(Debug)]
struct Member {
    endpoint: Endpoint,
    /// Number of the bridge.
    bridge: u32,
    mtu: Option<u32>,
}

impl Networks {
    /// Takes addresses and ports for a sandbox, whose directory is there. Bridges are made that are not there.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a network, [`Kind::InUse`] for an address or port, by whom, [`Kind::Exhausted`],
    /// [`Kind::Invalid`]; what the kernel says. Nothing is taken then.
    pub fn claim(&self, wanted: &Wanted<'_>) -> Result<Membership> {
        let mut membership = Membership {
            networks: self.clone(),
            members: Vec::new(),
            held: Held::default(),
            attached: Vec::new(),
            kept: false,
        };
        let others = || self.known_endpoints();
        membership.held = ports::hold(wanted.publications, &others)?;
        let mut published = membership.held.published.clone();
        // Whoever joins a network later has others already.
        let present = self.endpoints_of(wanted.sandbox)?;
        for attachment in wanted.attachments {
            // What plugins could not undo after an earlier run. They take their time, so no lock is held.
            cni::undo(self.layout(), wanted.sandbox, Some(&attachment.network))?;
        }
        let mut stable = self.stable()?;
        let networks =
            self.check(wanted.isolation, wanted.attachments, &present, !wanted.publications.is_empty())?;
        for (attachment, network) in wanted.attachments.iter().zip(&networks) {
            let all: Vec<&Endpoint> = present.iter().chain(membership.endpoints()).collect();
            let mut endpoint = draft(wanted, attachment, network, &all);
            if let Some(plugins) = &network.plugins {
                if !network.internal {
                    endpoint.ports = std::mem::take(&mut published);
                }
                let attached = Attached::begin(self.layout(), network, plugins, attachment, endpoint)?;
                membership.attached.push(attached);
                continue;
            }
            let bridge;
            (bridge, stable) = self.ensure_up(network, stable)?;
            endpoint.servers = servers(wanted, &networks, network);
            if !endpoint.gateways.is_empty() {
                endpoint.ports =
                    ports::reachable(std::mem::take(&mut published), |v4| network.pool(v4).is_some());
            }
            let endpoint = Addresses::of(self.layout(), network).claim(attachment, endpoint)?;
            membership.members.push(Member { endpoint, bridge, mtu: network.mtu });
        }
        if !published.is_empty() {
            let text = "publish ports: an internal network has none, and the workload has no other one";
            return Err(Error::new(Kind::Invalid, text));
        }
        drop(stable);
        fail_point::reached("network-claimed");
        Ok(membership)
    }

    /// The networks of attachments, if one workload can have all of them, beside what it has already.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a network; [`Kind::Invalid`] and [`Kind::Unsupported`] for what plugins cannot do.
    pub fn check(
        &self,
        isolation: Isolation,
        attachments: &[Attachment],
        present: &[Endpoint],
        has_ports: bool,
    ) -> Result<Vec<Network>> {
        let found = attachments.iter().map(|attachment| self.find(&attachment.network));
        let networks = found.collect::<Result<Vec<_>>>()?;
        cni::check(&Fit { isolation, attachments, networks: &networks, present, has_ports })?;
        Ok(networks)
    }

    fn known_endpoints(&self) -> Vec<Endpoint> {
        let networks = self.list().unwrap_or_default();
        networks.iter().flat_map(|network| self.endpoints(network).unwrap_or_default()).collect()
    }

    /// What a sandbox has, in the order of its devices.
    ///
    /// # Errors
    /// [`Kind::Corrupt`], [`Kind::Io`].
    pub fn endpoints_of(&self, sandbox: &Id) -> Result<Vec<Endpoint>> {
        let directory = self.layout().sandbox(sandbox).endpoints();
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => {
                entries.map_err(|error| Error::io(format!("list `{}`", directory.display()), error))?
            }
        };
        let mut endpoints = Vec::new();
        for entry in entries.flatten().filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        {
            endpoints.extend(read_endpoint(&entry.path())?);
        }
        endpoints.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(endpoints)
    }

    /// Who answers for names to whoever has these endpoints, in the order in which they are asked: internal networks, which
    /// answer for their own names and fail for all others, then the first other network that has names, which asks the rest.
    /// Says also whether somebody must follow who knows the rest: no such network is there, and a way out.
    fn resolvers_of(&self, endpoints: &[Endpoint]) -> Result<(Vec<IpAddr>, bool)> {
        let named = endpoints.iter().filter(|endpoint| endpoint.network != DEFAULT);
        let named = named.filter(|endpoint| endpoint.driver == Driver::Bridge);
        let networks = named.map(|endpoint| self.find(&endpoint.network)).collect::<Result<Vec<_>>>()?;
        let (internal, others): (Vec<_>, Vec<_>) = networks.into_iter().partition(|network| network.internal);
        let has_way_out = endpoints.iter().any(|endpoint| !endpoint.gateways.is_empty());
        let asked = internal.iter().chain(others.first());
        let asked = asked.map(|network| network.pools[0].gateway).collect();
        Ok((asked, others.is_empty() && has_way_out))
    }

    /// Gives back all that a sandbox has; fine if it has nothing.
    ///
    /// # Errors
    /// What removing reports. The kernel's rules may be gone already.
    pub fn release(&self, sandbox: &Id) -> Result<()> {
        let endpoints = self.endpoints_of(sandbox)?;
        if has_plugins(&endpoints) {
            // What they cannot undo now, the next repair has them undo, and tells. They take their time, so no lock is held.
            let _ = cni::undo(self.layout(), sandbox, None);
        }
        cni::unpin(self.layout(), sandbox)?;
        if endpoints.is_empty() {
            return Ok(());
        }
        let _stable = self.stable()?;
        if self.layout().sandbox(sandbox).shared().exists() {
            remove_host_devices(&endpoints)?;
        }
        for endpoint in endpoints {
            self.release_endpoint(&endpoint)?;
        }
        Ok(())
    }

    /// Takes a sandbox that runs out of a network; says whether it was in it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn leave(&self, sandbox: &Id, network: &str, namespace: BorrowedFd<'_>) -> Result<bool> {
        let mut endpoints = self.endpoints_of(sandbox)?.into_iter();
        let Some(endpoint) = endpoints.find(|endpoint| endpoint.network == network) else { return Ok(false) };
        if endpoint.driver == Driver::Cni {
            cni::undo(self.layout(), sandbox, Some(network))?;
        }
        let _stable = self.stable()?;
        if endpoint.driver == Driver::Bridge {
            inside(namespace, || remove_device(&endpoint))?;
        }
        self.release_endpoint(&endpoint)?;
        Ok(true)
    }

    /// Writes what a workload knows of its networks, in the files in a directory of its own that it sees.
    ///
    /// # Errors
    /// [`Kind::NotFound`] for a network; what writing reports.
    pub fn describe(&self, directory: &Path, config: &Config, endpoints: &[Endpoint]) -> Result<()> {
        let settings = &config.settings;
        let hostname = config.oci.hostname().clone().unwrap_or_default();
        rewrite(&directory.join("hosts"), &etc::hosts(&hostname, &settings.extra_hosts, endpoints))?;
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let host = etc::reachable(read(RESOLV_CONF), || read(BEHIND_RESOLVED));
        let (servers, mut alone) = self.resolvers_of(endpoints)?;
        let mut asked = settings.resolver.clone();
        if has_plugins(endpoints) {
            asked = cni::names(self.layout(), &config.sandbox, &asked)?;
            alone |= !asked.servers.is_empty();
        }
        let text = etc::resolv_conf(&host, &asked, &servers, alone);
        rewrite(&directory.join("resolv.conf"), &text)
    }

    /// Holds the ports of a sandbox for somebody who has taken it over, but for those that somebody else has got meanwhile.
    pub fn hold_ports_of(&self, sandbox: &Id) -> Ports {
        let endpoints = self.endpoints_of(sandbox).unwrap_or_default();
        let held = ports::hold_again(endpoints.iter().flat_map(|endpoint| &endpoint.ports));
        lead(held, endpoints.iter())
    }

    /// The document goes last: as long as it is there, somebody knows what is left to do.
    fn release_endpoint(&self, endpoint: &Endpoint) -> Result<()> {
        if !endpoint.ports.is_empty() && endpoint.driver == Driver::Bridge {
            match Rules::open(&self.table())?.withdraw(endpoint) {
                // Somebody flushed them, or a release was killed here.
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(Error::io("withdraw published ports", errno)),
            }
            connections::forget(endpoint)?;
        }
        fail_point::reached("network-ports-withdrawn");
        let record = self.layout().sandbox(&endpoint.sandbox).endpoints().join(&endpoint.network);
        release_record(self.layout(), &record)
    }

    /// Publishes the ports of an endpoint; whatever of the rules is not there is written.
    fn publish(&self, endpoint: &Endpoint, _stable: &Stable) -> Result<()> {
        if endpoint.ports.is_empty() {
            return Ok(());
        }
        if sysctl::begins_at_loopback(endpoint) {
            sysctl::let_loopback_leave(&self.find(&endpoint.network)?.interface)?;
        }
        Rules::open(&self.table())?.publish(endpoint).map_err(|errno| {
            Error::io(format!("publish the ports of workload `{}`", endpoint.name), errno)
        })?;
        connections::forget(endpoint)
    }
}

impl Membership {
    /// What the sandbox has, in the order of its devices.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let bridged = self.members.iter().map(|member| &member.endpoint);
        bridged.chain(self.attached.iter().map(|attached| &attached.endpoint))
    }

    /// Makes the devices in the sandbox's network namespace. Says whether only now it is known what they have
    /// ([`Networks::describe`]).
    ///
    /// # Errors
    /// What the kernel says, or a plugin. Drop the claim then.
    pub fn connect(&mut self, namespace: BorrowedFd<'_>) -> Result<bool> {
        let layout = self.networks.layout().clone();
        self.attached.iter_mut().try_for_each(|attached| attached.connect(&layout, namespace))?;
        if !self.attached.is_empty() {
            return Ok(true);
        }
        let stable = self.networks.stable()?;
        let mut links = Links::open()?;
        inside(namespace, || self.make_devices(&mut links, namespace))?;
        fail_point::reached("network-connected");
        self.endpoints().try_for_each(|endpoint| self.networks.publish(endpoint, &stable))?;
        Ok(false)
    }

    /// Makes the devices of a virtual machine, in the order of its endpoints.
    ///
    /// # Errors
    /// As [`Membership::connect`].
    pub fn connect_machine(&self) -> Result<Vec<Tap>> {
        let stable = self.networks.stable()?;
        let mut links = Links::open()?;
        let taps = self.members.iter().map(|member| member.make_tap(&mut links)).collect::<Result<_>>()?;
        fail_point::reached("network-connected");
        self.endpoints().try_for_each(|endpoint| self.networks.publish(endpoint, &stable))?;
        Ok(taps)
    }

    /// In the sandbox's namespace; `links` are the host's.
    fn make_devices(&self, links: &mut Links, namespace: BorrowedFd<'_>) -> Result<()> {
        sysctl::prepare_sandbox()?;
        for Member { endpoint, bridge, mtu } in &self.members {
            let pair = Pair {
                name: &endpoint.host_interface,
                bridge: *bridge,
                namespace,
                inside: &endpoint.interface,
                hardware: endpoint.hardware,
                mtu: *mtu,
            };
            links
                .make_pair(&pair)
                .and_then(|()| let_return(links, endpoint))
                .map_err(not_connected(endpoint))?;
        }
        self.endpoints().try_for_each(|endpoint| device::configure(&Device::from(endpoint)))
    }

    /// From now on the sandbox has it until somebody releases it. Gives what holds the ports.
    pub fn keep(mut self) -> Ports {
        self.kept = true;
        lead(std::mem::take(&mut self.held), self.endpoints())
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be given back now is when the sandbox is buried.
            self.attached.iter().rev().for_each(|attached| attached.undo(self.networks.layout()));
            let _stable = self.networks.stable();
            for endpoint in self.endpoints() {
                let _ = self.networks.release_endpoint(endpoint);
            }
        }
    }
}

impl Member {
    fn make_tap(&self, links: &mut Links) -> Result<Tap> {
        let Self { endpoint, bridge, mtu } = self;
        let name = &endpoint.host_interface;
        let descriptor = make_tap(name)
            .map_err(|errno| Error::io(format!("make TAP device `{name}` through /dev/net/tun"), errno))?;
        // Up only on its bridge: whatever the guest says is for that, and not for the host's own ears.
        links
            .put_on(name, *bridge)
            .and_then(|()| let_return(links, endpoint))
            .and_then(|()| links.set_member_up(name, *mtu))
            .map_err(not_connected(endpoint))?;
        Ok(Tap { descriptor, hardware: endpoint.hardware, mtu: *mtu })
    }
}

/// Where the rules of packets apply on bridges, a port of the host leads back while still on one.
fn let_return(links: &mut Links, endpoint: &Endpoint) -> Result<(), Errno> {
    if Path::new(BRIDGE_FILTER).exists() { links.let_return(&endpoint.host_interface) } else { Ok(()) }
}

fn not_connected(endpoint: &Endpoint) -> impl Fn(Errno) -> Error {
    move |errno| {
        let name = &endpoint.network;
        Error::io(format!("connect workload `{}` to network `{name}`", endpoint.name), errno)
    }
}

fn has_plugins(endpoints: &[Endpoint]) -> bool {
    endpoints.iter().any(|endpoint| endpoint.driver == Driver::Cni)
}

/// Plugins have removed theirs.
fn remove_host_devices(endpoints: &[Endpoint]) -> Result<()> {
    let mut links = Links::open()?;
    for endpoint in endpoints.iter().filter(|endpoint| endpoint.driver == Driver::Bridge) {
        let name = &endpoint.host_interface;
        if let Some(device) = links.find(name)? {
            match links.remove(device.index) {
                Ok(()) | Err(Errno::NODEV) => {}
                Err(errno) => return Err(Error::io(format!("remove device `{name}`"), errno)),
            }
        }
    }
    Ok(())
}

fn remove_device(endpoint: &Endpoint) -> Result<()> {
    let failed = |errno| Error::io(format!("remove device `{}`", endpoint.interface), errno);
    let mut links = Links::open()?;
    match links.find(&endpoint.interface)? {
        Some(device) => links.remove(device.index).map_err(failed),
        None => Ok(()),
    }
}

/// In place: the workload sees this very file.
fn rewrite(path: &Path, content: &str) -> Result<()> {
    let written = OpenOptions::new().write(true).truncate(true).open(path);
    written
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
}

/// An endpoint that has neither addresses nor ports yet, beside `others` of the same sandbox. The first network that is not
/// internal is the way out.
fn draft(wanted: &Wanted<'_>, attachment: &Attachment, network: &Network, others: &[&Endpoint]) -> Endpoint {
    let id = Id::from_bytes(random_bytes());
    let is_way_out = !network.internal && others.iter().all(|other| other.gateways.is_empty());
    let gateways = network.pools.iter().map(|pool| pool.gateway).filter(|_| is_way_out);
    let is_free = |name: &String| others.iter().all(|other| other.interface != *name);
    let kind = match wanted.isolation {
        Isolation::Container => "veth",
        Isolation::Vm => "tap",
    };
    let mut host_interface = format!("{kind}{}", id.short());
    host_interface.truncate(NAME_LIMIT);
    Endpoint {
        version: VERSION,
        id,
        sandbox: *wanted.sandbox,
        name: wanted.name.to_owned(),
        aliases: attachment.aliases.clone(),
        network: network.name.clone(),
        driver: network.driver,
        interface: (0..).map(|number| format!("eth{number}")).find(is_free).unwrap_or_default(),
        host_interface,
        hardware: attachment.hardware.unwrap_or(NO_HARDWARE),
        addresses: Vec::new(),
        gateways: gateways.collect(),
        ports: Vec::new(),
        servers: Vec::new(),
    }
}

/// Leads what listens at `[::1]` to the endpoint that has the ports; to its address of IPv4 if it has one, where more servers
/// listen.
fn lead<'a>(held: Held, mut endpoints: impl Iterator<Item = &'a Endpoint>) -> Ports {
    let endpoint = endpoints.find(|endpoint| !endpoint.ports.is_empty());
    let addresses = endpoint.into_iter().flat_map(|endpoint| &endpoint.addresses);
    let address = addresses.map(|subnet| subnet.address).min_by_key(|address| !address.is_ipv4());
    let relayed = held.listening.into_iter().filter_map(|listening| Some(listening.to(address?)));
    Ports::new(held.sockets, relayed.collect())
}

/// Who knows the names that a network has not: who was asked for, else the sandbox's other networks. Of an internal network
/// nothing leaves the host, no question either: whoever is in one asks its other networks itself.
fn servers(wanted: &Wanted<'_>, networks: &[Network], network: &Network) -> Vec<IpAddr> {
    if network.internal {
        return Vec::new();
    }
    if !wanted.servers.is_empty() {
        return wanted.servers.to_vec();
    }
    let others =
        networks.iter().filter(|other| other.name != network.name && !other.is_default() && !other.internal);
    others.map(|other| other.pools[0].gateway).collect()
}
