//! The processes that answer for the names of networks, one a network (`holm-netd`).
//!
//! A command that starts a workload sees to it that one answers, and so does a repair for networks that somebody has. Two
//! commands may both start one: the second ends by itself.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use holm_spec::network::Attachment;
use holm_sys::exec::StringArray;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::{Engine, Error, Kind, Result};

/// How long one may take until it answers.
const PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// Sees to it that somebody answers for the names of each network.
    pub(crate) fn ensure_resolvers(&self, networks: &[Attachment]) -> Result<()> {
        networks.iter().try_for_each(|attachment| self.ensure_resolver(&attachment.network).map(drop))
    }

    /// Sees to it that somebody answers for a network's names; says whether nobody did.
    pub(crate) fn ensure_resolver(&self, network: &str) -> Result<bool> {
        let lacks = self.networks().lacks_resolver(network)?;
        if lacks {
            self.start_resolver(network)?;
        }
        Ok(lacks)
    }

    fn start_resolver(&self, network: &str) -> Result<()> {
        let failed = |errno| Error::io(format!("start the resolver of network `{network}`"), errno);
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let ready = theirs.as_raw_fd().to_string();
        let (root, run) = (&self.layout.root, &self.layout.run);
        let words = [
            "holm-netd".as_ref(),
            "--root".as_ref(),
            root.as_os_str(),
            "--run-root".as_ref(),
            run.as_os_str(),
            "--ready-fd".as_ref(),
            ready.as_ref(),
            network.as_ref(),
        ];
        let arguments =
            StringArray::new(words.map(std::os::unix::ffi::OsStrExt::as_bytes).map(<[u8]>::to_vec))
                .map_err(|_| Error::new(Kind::InvalidRequest, "a path with a NUL byte"))?;
        let child = self.spawn_program("holm-netd", &arguments, &[Some(theirs.as_fd())])?;
        drop(theirs);
        let patience = Timespec::try_from(PATIENCE).expect("seconds");
        let waited = poll(&mut [PollFd::new(&ours, PollFlags::IN)], Some(&patience)).map_err(failed)?;
        let mut byte = [0; 1];
        // Without a byte somebody else answers, or it has failed.
        if waited == 1 && rustix::io::read(&ours, &mut byte).map_err(failed)? == 1 {
            return Ok(());
        }
        match self.networks().lacks_resolver(network)? {
            false => Ok(()),
            true => {
                drop(child);
                let text = format!("start the resolver of network `{network}`: it ended, or does not answer");
                Err(Error::new(Kind::Failed, text))
            }
        }
    }

    /// Starts those that somebody needs and that are gone; a line each.
    pub(crate) fn repair_resolvers(&self) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let networks = self.networks();
        for network in networks.list()?.iter().filter(|network| !network.is_default()) {
            if !networks.endpoints(network)?.is_empty() && self.ensure_resolver(&network.name)? {
                done.push(format!(
                    "network {}: nobody answered for its names, a new resolver does",
                    network.name
                ));
            }
        }
        Ok(done)
    }
}
