//! The networks of a workload: taken before it is started, connected while it waits, given back when it has ended.

use std::borrow::Cow;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use holm_network::{Membership, Networks, Ports, Tap, Wanted, open_namespace};
use holm_runtime::{Error, Kind};
use holm_spec::Id;
use holm_spec::network::{Attachment, Endpoint};
use holm_spec::runtime::LinuxNamespaceType;
use holm_spec::workload::{Config, NetworkMode, State, Status};
use rustix::process::Pid;

use crate::server::Server;
use crate::start::read_document;

/// Longest list of a workload's networks, in bytes.
const LIMIT: u64 = 1 << 20;

impl Server {
    /// A workload's networks, if they were changed after it was created.
    pub fn changed_networks(&self, workload: &Id) -> Result<Option<Vec<Attachment>>, Error> {
        read_document(&self.layout.workload(workload).networks(), LIMIT)
    }

    /// Takes what a workload is to have of networks, and tells it what that is; `None` if it has none.
    pub fn join_networks(&self, config: &Config) -> Result<Option<Membership>, Error> {
        if config.settings.network != NetworkMode::Networks {
            return Ok(None);
        }
        let wanted = Wanted {
            sandbox: &config.sandbox,
            name: &config.name,
            isolation: config.isolation,
            attachments: &config.settings.networks,
            publications: &config.settings.ports,
            servers: &config.settings.resolver.servers,
        };
        let networks = Networks::new(&self.layout);
        let membership = networks.claim(&wanted).map_err(told)?;
        self.describe_networks(config, &membership)?;
        Ok(Some(membership))
    }

    /// Connects a sandbox whose first process waits.
    pub fn connect_networks(
        &self,
        config: &Config,
        membership: &mut Membership,
        pid: Pid,
    ) -> Result<(), Error> {
        let namespace = Path::new("/proc").join(pid.as_raw_nonzero().to_string()).join("ns/net");
        let namespace = open_namespace(&namespace).map_err(told)?;
        match membership.connect(namespace.as_fd()).map_err(told)? {
            true => self.describe_networks(config, membership),
            false => Ok(()),
        }
    }

    fn describe_networks(&self, config: &Config, membership: &Membership) -> Result<(), Error> {
        let endpoints: Vec<Endpoint> = membership.endpoints().cloned().collect();
        let directory = self.layout.workload(&config.id).dir;
        Networks::new(&self.layout).describe(&directory, config, &endpoints).map_err(told)
    }

    /// Gives back what a workload had of networks. What cannot be given back is when the next command looks.
    pub fn leave_networks(&self, config: &Config) {
        if config.settings.network == NetworkMode::Networks {
            let _ = Networks::new(&self.layout).release(&config.sandbox);
        }
    }

    /// The ports of a workload that lost its keeper, as far as nobody else has them by now.
    pub fn hold_ports(&self, config: &Config) -> Ports {
        match config.settings.network {
            NetworkMode::Networks => Networks::new(&self.layout).hold_ports_of(&config.sandbox),
            _ => Ports::default(),
        }
    }

    /// The configuration of a workload that is to be in another one's network, with the namespace that this one has now.
    pub fn in_others_network<'a>(&self, config: &'a Config) -> Result<Cow<'a, Config>, Error> {
        let NetworkMode::Container(other) = config.settings.network else { return Ok(Cow::Borrowed(config)) };
        let state = std::fs::read(self.layout.sandbox(&other).state(&other)).ok();
        let state = state.and_then(|text| serde_json::from_slice::<State>(&text).ok());
        // Of the number alone nobody knows whose it is by now.
        let lives = |state: &State| {
            state.status == Status::Running
                && holm_sys::process::boot_id().is_ok_and(|boot| boot == state.boot_id)
                && holm_sys::process::start_time(state.pid) == Some(state.pid_start)
        };
        let Some(state) = state.filter(lives) else {
            let text = format!("use the network of workload {}: it does not run", other.short());
            return Err(Error::new(Kind::Invalid, text));
        };
        let mark = self.layout.sandbox(&other).shared();
        std::fs::write(&mark, b"")
            .map_err(|error| Error::system(format!("write `{}`", mark.display()), error))?;
        let mut config = config.clone();
        let namespaces = config.oci.linux_mut().as_mut().and_then(|linux| linux.namespaces_mut().as_mut());
        for namespace in namespaces.into_iter().flatten() {
            if namespace.typ() == LinuxNamespaceType::Network {
                namespace.set_path(Some(PathBuf::from(format!("/proc/{}/ns/net", state.pid))));
            }
        }
        Ok(Cow::Owned(config))
    }
}

/// Makes the devices of a machine.
pub fn connect_machine(membership: Option<&Membership>) -> Result<Vec<Tap>, Error> {
    membership.map_or_else(|| Ok(Vec::new()), |membership| membership.connect_machine().map_err(told))
}

fn told(error: holm_network::Error) -> Error {
    let kind = match error.kind() {
        holm_network::Kind::Unsupported => Kind::Unsupported,
        holm_network::Kind::Io | holm_network::Kind::Denied | holm_network::Kind::Locked => Kind::System,
        _ => Kind::Invalid,
    };
    match std::error::Error::source(&error).map(ToString::to_string) {
        Some(cause) => Error::caused(kind, error.to_string(), cause),
        None => Error::new(kind, error.to_string()),
    }
}
