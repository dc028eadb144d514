//! The ports of the host that lead to a workload, and the process that relays what comes to `[::1]`, if anything does.

use std::os::fd::AsFd;

use holm_network::{Ports, Relay};
use rustix::event::epoll::{self, EventFlags};

use crate::server::{Server, Token};

/// The ports of a running workload.
#[derive(Debug)]
pub(crate) struct Published {
    ports: Ports,
    relay: Option<Relay>,
}

impl From<Ports> for Published {
    fn from(ports: Ports) -> Self {
        Self { ports, relay: None }
    }
}

/// Told once: from then on whoever comes is the relay's.
const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::ONESHOT);

impl Server {
    /// Watches who comes to the ports of the workload whose first process has this index.
    pub fn watch_ports(&mut self, process: usize) {
        let Some(task) = self.tasks.values().find(|task| task.main == process) else { return };
        for port in &task.published.ports.relayed {
            let _ = epoll::add(&self.epoll, port, Token::Port(process).data(), WATCHED);
        }
    }

    /// Somebody has come to a port at `[::1]`.
    pub fn start_relay(&mut self, process: usize) {
        let epoll = self.epoll.as_fd();
        let Some(task) = self.tasks.values_mut().find(|task| task.main == process) else { return };
        let Published { ports, relay } = &mut task.published;
        if relay.is_some() {
            return;
        }
        // Without a process whoever came waits until the workload has ended.
        if let Ok(started) = Relay::start(&ports.relayed) {
            let flags = EventFlags::IN | EventFlags::ONESHOT;
            let _ = epoll::add(epoll, started.pidfd(), Token::RelayEnded(process).data(), flags);
            *relay = Some(started);
        }
    }

    /// A relay has ended. One that failed is not tried again, or it might be for ever.
    pub fn lose_relay(&mut self, process: usize) {
        let Some(task) = self.tasks.values_mut().find(|task| task.main == process) else { return };
        if task.published.relay.take().is_some_and(Relay::was_unused) {
            for port in &task.published.ports.relayed {
                let _ = epoll::modify(&self.epoll, port, Token::Port(process).data(), WATCHED);
            }
        }
    }
}
