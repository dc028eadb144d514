//! What somebody takes away from the networks of this keeper's workloads is put back at once.
//!
//! Every keeper hears of it, and one of them does it: the others see that it has, and look no further. What is ours among the
//! rules of others waits until they have come to rest.

use std::time::{Duration, Instant, SystemTime};

use holm_network::{Networks, Watch};
use holm_spec::workload::NetworkMode;
use rustix::event::epoll::{self, EventFlags};

use crate::server::{Server, Token};

/// What one who takes away may still take before it is put back; keepers look one after the other.
const PAUSE: Duration = Duration::from_millis(20);
/// By how much the pauses of keepers differ, in milliseconds.
const SPREAD: u32 = 32;
/// How long nothing has to be taken away until others are done with their rules: ufw takes a second to begin anew, by dozens of
/// programs, and stops halfway if a rule comes between.
const REST: Duration = Duration::from_millis(1500);
/// How long that is waited for.
const RESTLESS: Duration = Duration::from_secs(10);
/// Until it is tried again where another process is at it.
const AGAIN: Duration = Duration::from_millis(200);
/// Until it is tried again where it failed.
const LATER: Duration = Duration::from_secs(5);

/// What is watched, and when it is looked at.
#[derive(Debug, Default)]
pub(crate) struct NetworkWatch {
    watch: Option<Watch>,
    /// When to look, if there is a reason to.
    pub due: Option<Instant>,
    /// When to look among the rules of others.
    pub at_rest: Option<Instant>,
    /// Since when others are at it.
    restless: Option<Instant>,
    /// When the last reason was heard of.
    heard: Option<SystemTime>,
}

impl Server {
    /// Watches the networks of a workload that has begun. Without a watch the next command puts back what is gone.
    pub fn watch_networks(&mut self, mode: &NetworkMode) {
        if *mode != NetworkMode::Networks || self.networks.watch.is_some() {
            return;
        }
        self.networks.watch = Networks::new(&self.layout).watch(&self.sandbox).ok();
        for descriptor in self.networks.watch.iter().flat_map(Watch::descriptors) {
            let _ = epoll::add(&self.epoll, descriptor, Token::Networks.data(), EventFlags::IN);
        }
    }

    /// Something was taken away, of ours or of somebody else's.
    pub fn note_network_change(&mut self) {
        if self.networks.watch.as_ref().is_some_and(Watch::heard) {
            self.networks.heard = Some(SystemTime::now());
            let spread = Duration::from_millis((std::process::id() % SPREAD).into());
            self.networks.due.get_or_insert(Instant::now() + PAUSE + spread);
            let now = Instant::now();
            let first = *self.networks.restless.get_or_insert(now);
            // Some hosts never rest.
            self.networks.at_rest = Some((now + REST).min(first + RESTLESS) + spread);
        }
    }

    /// Puts back what is gone, if it is time to look.
    pub fn repair_networks_due(&mut self) {
        let now = Instant::now();
        self.restore_seams_due(now);
        if self.networks.due.take_if(|due| *due <= now).is_none() {
            return;
        }
        let networks = Networks::new(&self.layout);
        match networks.restore_since(self.networks.heard.unwrap_or(SystemTime::UNIX_EPOCH)) {
            Ok(Some(_)) => {}
            Ok(None) => return self.networks.due = Some(now + AGAIN),
            Err(_) => return self.networks.due = Some(now + LATER),
        }
        let Some(watch) = &mut self.networks.watch else { return };
        if let Ok(bridges) = watch.renew(&networks, &self.sandbox) {
            let _ = epoll::add(&self.epoll, bridges, Token::Networks.data(), EventFlags::IN);
        }
    }

    fn restore_seams_due(&mut self, now: Instant) {
        if self.networks.at_rest.take_if(|at_rest| *at_rest <= now).is_none() {
            return;
        }
        self.networks.restless = None;
        match Networks::new(&self.layout).restore_seams() {
            Ok(Some(_)) => {}
            Ok(None) => self.networks.at_rest = Some(now + AGAIN),
            Err(_) => self.networks.at_rest = Some(now + LATER),
        }
    }
}
