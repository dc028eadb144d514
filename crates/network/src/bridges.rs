//! The bridges of networks and the table of rules, as the kernel has them.
//!
//! They are made when a network is, and whenever a sandbox joins and they are not there: after a boot, or when somebody took
//! them away. A bridge says in its alias whose it is; one that is half made says that.

use std::path::PathBuf;

use holm_spec::network::{Driver, Network, Subnet};
use holm_sys::file::ensure_directory;
use holm_sys::lock::Mode;
use rustix::io::Errno;

use crate::addresses::hardware_of;
use crate::error::{Error, Kind, Result};
use crate::links::{Bridge, Link, Links};
use crate::networks::{Networks, RESOLVER_LOCK, Stable};
use crate::rules::{Rules, Wanted, When};
use crate::sysctl;

/// Where Holm is installed usually; the names of another installation's things say whose they are.
const USUAL_ROOT: &str = "/var/lib/holm";

/// Whose a device is that has the name of a network's bridge.
enum Owner {
    Nobody,
    /// The network, whole or half made.
    Network(Link),
    HalfMade(Link),
    Somebody,
}

impl Networks {
    /// The bridge's number, after a look whether it and the rules are there; they are made if they are not.
    pub(crate) fn ensure_up(&self, network: &Network, stable: Stable) -> Result<(u32, Stable)> {
        if let Some(link) = self.whole_bridge(network)?
            && sysctl::passes_on()
            && self.has_rules()?
        {
            return Ok((link.index, stable));
        }
        drop(stable);
        let alone = self.lock(Mode::Exclusive)?;
        if self.read(&network.name)?.as_ref() != Some(network) {
            return Err(Error::new(Kind::NotFound, format!("network `{}` was removed", network.name)));
        }
        let index = self.bring_up(network)?;
        drop(alone);
        Ok((index, self.stable()?))
    }

    /// The network's bridge, if all of it is there.
    pub(crate) fn whole_bridge(&self, network: &Network) -> Result<Option<Link>> {
        match self.owner_of_bridge(network, &mut Links::open()?)? {
            Owner::Network(link) => Ok(Some(link)),
            _ => Ok(None),
        }
    }

    fn owner_of_bridge(&self, network: &Network, links: &mut Links) -> Result<Owner> {
        Ok(match links.find(&network.interface)? {
            None => Owner::Nobody,
            Some(link) if link.alias == self.alias(network) => Owner::Network(link),
            Some(link) if link.alias == self.half_made(network) => Owner::HalfMade(link),
            Some(_) => Owner::Somebody,
        })
    }

    fn has_rules(&self) -> Result<bool> {
        let (networks, made_router) = self.of_rules()?;
        let mut rules = Rules::open(&self.table())?;
        Ok(rules.have_seams()
            && rules.are_there(&Wanted { networks: &networks, made_router, ..Wanted::default() })?)
    }

    /// Makes the bridge unless it is there, and writes all rules. The caller is alone.
    pub(crate) fn bring_up(&self, network: &Network) -> Result<u32> {
        let mut links = Links::open()?;
        let failed = |errno: Errno| Error::io(format!("make bridge `{}`", network.interface), errno);
        match self.owner_of_bridge(network, &mut links)? {
            Owner::Nobody => {}
            Owner::Network(link) => {
                self.prepare_host(network)?;
                self.write_rules()?;
                return Ok(link.index);
            }
            Owner::HalfMade(link) => links.remove(link.index).map_err(failed)?,
            Owner::Somebody => {
                let (name, interface) = (&network.name, &network.interface);
                let text = format!("network `{name}`: device `{interface}` is there and not Holm's");
                return Err(Error::new(Kind::InUse, text));
            }
        }
        let bridge = Bridge {
            name: &network.interface,
            alias: &self.half_made(network),
            hardware: hardware_of(network.pools[0].gateway),
            mtu: network.mtu,
        };
        links.make_bridge(&bridge).map_err(failed)?;
        let link = links.find(&network.interface)?.ok_or_else(|| failed(Errno::NODEV))?;
        self.prepare_host(network)?;
        for pool in &network.pools {
            let address = Subnet { address: pool.gateway, prefix: pool.subnet.prefix };
            links.add_address(link.index, address).map_err(failed)?;
        }
        self.write_rules()?;
        self.return_members(network, &mut links, link.index)?;
        links.set_alias(link.index, &self.alias(network)).map_err(failed)?;
        Ok(link.index)
    }

    /// Puts the devices of who runs on a bridge that somebody had removed; whoever answered for names there begins anew.
    fn return_members(&self, network: &Network, links: &mut Links, bridge: u32) -> Result<()> {
        for endpoint in self.endpoints(network)? {
            if sysctl::begins_at_loopback(&endpoint) {
                sysctl::let_loopback_leave(&network.interface)?;
            }
            match links.put_on(&endpoint.host_interface, bridge) {
                // It is about to be made.
                Ok(()) | Err(Errno::NODEV) => {}
                Err(errno) => {
                    let text =
                        format!("connect workload `{}` to network `{}` again", endpoint.name, network.name);
                    return Err(Error::io(text, errno));
                }
            }
        }
        let lock = self.layout().network_addresses(&network.name).join(RESOLVER_LOCK);
        let _ = std::fs::remove_file(lock);
        Ok(())
    }

    /// Remembers, before it makes the host a router, that it was none.
    fn prepare_host(&self, network: &Network) -> Result<()> {
        if !sysctl::is_router(network) {
            let mark = self.router_mark();
            let directory = mark.parent().unwrap_or(&mark);
            ensure_directory(directory, 0o700)
                .and_then(|()| std::fs::write(&mark, b""))
                .map_err(|error| Error::io(format!("write `{}`", mark.display()), error))?;
        }
        sysctl::prepare_host(network)
    }

    fn router_mark(&self) -> PathBuf {
        self.layout().network_addresses(".made-router")
    }

    /// The networks that rules are for, and whether the host passes packets on for them alone: where plugins carry a network,
    /// it does for whatever they make, too.
    pub(crate) fn of_rules(&self) -> Result<(Vec<Network>, bool)> {
        let mut networks = self.list()?;
        let has_plugins = networks.iter().any(|network| network.driver == Driver::Cni);
        networks.retain(|network| network.driver == Driver::Bridge);
        Ok((networks, !has_plugins && self.router_mark().exists()))
    }

    /// Writes the rules after a network of plugins came or went, where that makes a difference.
    pub(crate) fn write_router_rule(&self) -> Result<()> {
        if self.router_mark().exists() { self.write_rules() } else { Ok(()) }
    }

    fn write_rules(&self) -> Result<()> {
        let (networks, made_router) = self.of_rules()?;
        let endpoints = self.all_endpoints(&networks)?;
        let wanted = Wanted { networks: &networks, endpoints: &endpoints, made_router, ..Wanted::default() };
        let mut rules = Rules::open(&self.table())?;
        rules.write(&wanted)?;
        if networks.is_empty() {
            rules.leave_seams();
        } else {
            rules.keep_seams(When::AtRest);
        }
        Ok(())
    }

    /// Removes the bridge of a network, and what its rules and addresses were.
    pub(crate) fn take_down(&self, network: &Network) -> Result<()> {
        let mut links = Links::open()?;
        let bridge = match network.driver {
            Driver::Bridge => match self.owner_of_bridge(network, &mut links)? {
                Owner::Network(link) | Owner::HalfMade(link) => Some(link),
                Owner::Nobody | Owner::Somebody => None,
            },
            Driver::Cni if network.interface.is_empty() => None,
            // The plugin that made it, by a name which chance has chosen, leaves it.
            Driver::Cni => links.find(&network.interface)?,
        };
        if let Some(link) = bridge {
            links
                .remove(link.index)
                .map_err(|errno| Error::io(format!("remove bridge `{}`", network.interface), errno))?;
        }
        match network.driver {
            Driver::Bridge => self.write_rules()?,
            Driver::Cni => self.write_router_rule()?,
        }
        let addresses = self.layout().network_addresses(&network.name);
        holm_sys::file::remove_tree(&addresses)
            .map_err(|error| Error::io(format!("remove `{}`", addresses.display()), error))
    }

    /// Name of the table of rules.
    pub(crate) fn table(&self) -> String {
        match self.layout().root.to_str() {
            Some(USUAL_ROOT) => "holm".into(),
            _ => format!("holm-{:08x}", fingerprint(self.layout().root.as_os_str().as_encoded_bytes())),
        }
    }

    fn alias(&self, network: &Network) -> String {
        format!("holm network {} of {}", network.id.short(), self.root_in_alias())
    }

    /// The kernel takes 255 bytes in all.
    pub(crate) fn root_in_alias(&self) -> String {
        let root = self.layout().root.to_string_lossy();
        let skipped = root.char_indices().map(|(at, _)| at).find(|at| root.len() - at <= 160);
        root[skipped.unwrap_or(0)..].to_owned()
    }

    fn half_made(&self, network: &Network) -> String {
        format!("half made: {}", self.alias(network))
    }
}

/// 32 bits that tell names apart (FNV-1a).
fn fingerprint(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}
