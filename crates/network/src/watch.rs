//! Hearing at once that somebody took a sandbox's bridge or rules away.
//!
//! The kernel tells of every change; what says nothing of ours is filtered out before anybody wakes. What is heard is only a
//! reason to look: [`Networks::restore`] knows from the documents what must be there.

use std::os::fd::{AsFd, BorrowedFd};

use holm_spec::Id;
use holm_sys::netlink::News;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::links::Links;
use crate::networks::Networks;
use crate::rules::TAKING_AWAY;

/// What a sandbox's networks need of the host's namespace.
#[derive(Debug)]
pub struct Watch {
    rules: News,
    bridges: News,
}

impl Networks {
    /// Watches what the networks of a sandbox need.
    ///
    /// # Errors
    /// What reading reports, and the kernel.
    pub fn watch(&self, sandbox: &Id) -> Result<Watch> {
        let rules = News::of_rules(&TAKING_AWAY).map_err(failed)?;
        Ok(Watch { rules, bridges: self.watch_bridges(sandbox)? })
    }

    fn watch_bridges(&self, sandbox: &Id) -> Result<News> {
        let mut links = Links::open()?;
        let (mut bridges, mut v6_alone) = (Vec::new(), false);
        for endpoint in self.endpoints_of(sandbox)? {
            let network = self.find(&endpoint.network)?;
            v6_alone |= network.pool(true).is_none();
            bridges.extend(links.find(&network.interface)?.map(|link| link.index));
        }
        News::of_lost_addresses(&bridges, v6_alone).map_err(failed)
    }
}

fn failed(errno: Errno) -> Error {
    Error::io("hear of changes to the host's network", errno)
}

impl Watch {
    /// Watches the bridges as they are now: one that was made anew has another number. Gives what is watched instead.
    ///
    /// # Errors
    /// As [`Networks::watch`].
    pub fn renew(&mut self, networks: &Networks, sandbox: &Id) -> Result<BorrowedFd<'_>> {
        self.bridges = networks.watch_bridges(sandbox)?;
        Ok(self.bridges.as_fd())
    }

    /// Both that become readable.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.rules.as_fd(), self.bridges.as_fd()]
    }

    /// Whether there is a reason to look.
    pub fn heard(&self) -> bool {
        // Both are to be emptied.
        self.rules.heard() | self.bridges.heard()
    }
}
