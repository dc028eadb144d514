//! What crashes, and people, left of networks, put right from the documents on the disk.

use std::fs::File;
use std::time::SystemTime;

use holm_spec::network::{Endpoint, Network};
use holm_sys::lock::{Lock, Mode};

use crate::addresses::Addresses;
use crate::cni;
use crate::document;
use crate::error::{Error, Result};
use crate::links::{Link, Links};
use crate::networks::Networks;
use crate::rules::{Passage, Rules, Wanted, When};

impl Networks {
    /// Puts right what a crash, or somebody, left: what CNI plugins did for sandboxes that are gone, and all that
    /// [`Networks::restore`] does, unless another process is at it. Says what was done, a line each. Plugins take their time.
    ///
    /// # Errors
    /// What reading reports, and the kernel.
    pub fn repair(&self) -> Result<Vec<String>> {
        if !self.layout().networks().exists() {
            return Ok(Vec::new());
        }
        let mut done = self.undo_orphaned_claims()?;
        done.extend(self.restore()?.unwrap_or_default());
        Ok(done)
    }

    /// Puts right addresses without a sandbox, bridges that are gone or belong to no network, rules that are not what they must
    /// be, of ours and among those of others. Says what was done, a line each; `None` if another process is at it.
    ///
    /// # Errors
    /// As [`Networks::repair`].
    pub fn restore(&self) -> Result<Option<Vec<String>>> {
        let Some(_alone) = self.alone()? else { return Ok(None) };
        let mut done = self.restore_own()?;
        done.extend(self.keep_seams(When::AtRest)?);
        Ok(Some(done))
    }

    fn alone(&self) -> Result<Option<Lock>> {
        Ok(Lock::try_acquire(&self.layout().networks_lock(), Mode::Exclusive)?)
    }

    /// All that is ours. The caller is alone.
    fn restore_own(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let (networks, made_router) = self.of_rules()?;
        for network in &networks {
            let reclaimed = Addresses::of(self.layout(), network).reclaim()?;
            if reclaimed > 0 {
                done.push(format!(
                    "network {}: gave {reclaimed} addresses back that nobody used",
                    network.name
                ));
            }
            // Without a workload nobody misses it; the next one brings it.
            if !self.endpoints(network)?.is_empty() && self.whole_bridge(network)?.is_none() {
                self.bring_up(network)?;
                done.push(format!(
                    "network {}: made its bridge anew, which somebody had removed",
                    network.name
                ));
            }
        }
        done.extend(self.remove_stray_bridges(&networks)?);
        done.extend(self.restore_rules(&networks, made_router)?);
        Ok(done)
    }

    /// Rules of ours among those of others. The caller is alone.
    fn keep_seams(&self, when: When) -> Result<Vec<String>> {
        let mut rules = Rules::open(&self.table())?;
        let chains = if rules.exist()? { rules.keep_seams(when) } else { Vec::new() };
        Ok(chains.into_iter().map(|chain| format!("let workloads pass chain {chain}")).collect())
    }

    /// Puts back rules of ours among those of others, once they are done with what they are at: who finds a rule in a chain that
    /// he has just emptied cannot remove it. `None` if another process is at it.
    ///
    /// # Errors
    /// As [`Networks::repair`].
    pub fn restore_seams(&self) -> Result<Option<Vec<String>>> {
        if Rules::open(&self.table())?.have_seams() {
            return Ok(Some(Vec::new()));
        }
        let Some(_alone) = self.alone()? else { return Ok(None) };
        self.keep_seams(When::Now).map(Some)
    }

    /// What the rules of others do to what passes through the host.
    ///
    /// # Errors
    /// [`Kind::Unsupported`](crate::Kind::Unsupported) without nftables; the kernel's.
    pub fn passage(&self) -> Result<Passage> {
        Rules::open(&self.table())?.passage()
    }

    /// As [`Networks::restore`], but for the rules of others, for one of many who have all heard at a time that something was
    /// taken away: nothing is done if another one has begun to restore after that, and is done with it.
    ///
    /// # Errors
    /// As [`Networks::restore`].
    pub fn restore_since(&self, heard: SystemTime) -> Result<Option<Vec<String>>> {
        let mark = self.layout().network_addresses(".restored");
        // One of the future tells that the clock was set back.
        let is_past = |begun: &SystemTime| *begun <= SystemTime::now();
        let begun = mark.metadata().and_then(|mark| mark.modified()).ok().filter(is_past);
        if begun.is_some_and(|begun| begun > heard) {
            return Ok(Some(Vec::new()));
        }
        let begun = SystemTime::now();
        let Some(_alone) = self.alone()? else { return Ok(None) };
        let restored = self.restore_own()?;
        // Without it the others look for themselves.
        let _ = File::create(&mark).and_then(|mark| mark.set_modified(begun));
        Ok(Some(restored))
    }

    /// Has plugins undo what they did for sandboxes that a boot, or a failure of theirs, has left.
    fn undo_orphaned_claims(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        for (path, claim) in cni::orphans(self.layout())? {
            match claim {
                Ok(Some(claim)) => {
                    let (network, sandbox) = (&claim.network, claim.sandbox.short());
                    match claim.undo_orphan(self.layout()) {
                        Ok(false) => {}
                        Ok(true) => done.push(format!(
                            "network {network}: its CNI plugins undid what workload {sandbox} had left"
                        )),
                        Err(error) => done
                            .push(format!("could not give back what workload {sandbox} had left: {error}")),
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    // Nobody can know any more what it says.
                    document::remove(&path)?;
                    done.push(format!("{error}; it is removed"));
                }
            }
        }
        Ok(done)
    }

    fn restore_rules(&self, networks: &[Network], made_router: bool) -> Result<Vec<String>> {
        let endpoints = self.all_endpoints(networks)?;
        if endpoints.is_empty() && networks.is_empty() {
            return Ok(Vec::new());
        }
        let mut rules = Rules::open(&self.table())?;
        if endpoints.is_empty() && !rules.exist()? {
            return Ok(Vec::new());
        }
        let joining: Vec<Endpoint> =
            endpoints.iter().filter(|endpoint| !self.runs(endpoint)).cloned().collect();
        let wanted = Wanted { networks, endpoints: &endpoints, joining: &joining, made_router };
        let changed = rules.restore(&wanted)?;
        Ok(changed
            .then(|| "wrote the rules of packets anew, which somebody had changed".to_owned())
            .into_iter()
            .collect())
    }

    /// Whether an endpoint's sandbox has come as far as a state.
    fn runs(&self, endpoint: &Endpoint) -> bool {
        self.layout().sandbox(&endpoint.sandbox).state(&endpoint.sandbox).exists()
    }

    /// Removes bridges of networks whose document is gone.
    fn remove_stray_bridges(&self, networks: &[Network]) -> Result<Vec<String>> {
        let mut links = Links::open()?;
        let mut done = Vec::new();
        let is_known = |link: &Link| networks.iter().any(|network| network.interface == link.name);
        let own = format!(" of {}", self.root_in_alias());
        for link in links.list()? {
            let is_ours = link.alias.contains("holm network ") && link.alias.ends_with(&own);
            if is_ours && !is_known(&link) {
                links
                    .remove(link.index)
                    .map_err(|errno| Error::io(format!("remove bridge `{}`", link.name), errno))?;
                done.push(format!("removed bridge {} of a network that is gone", link.name));
            }
        }
        Ok(done)
    }
}
