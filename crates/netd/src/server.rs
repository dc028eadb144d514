//! The loop: one thread, one epoll.
//!
//! A turn first takes in what changed of the claims, so that a question that came after a claim finds it, then goes
//! through what came in, and last through what took too long.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use holm_spec::network::{DEFAULT, Network};
use rustix::event::epoll::EventFlags;
use rustix::net::{RecvFlags, SendFlags, recvfrom, sendto};

use crate::answer::{Verdict, answer};
use crate::claims::Claims;
use crate::clients::Clients;
use crate::firewalld::Firewalld;
use crate::gateway::Gateway;
use crate::nameservers::Nameservers;
use crate::poll::{Poll, Token};
use crate::upstream::{Done, Exchanges, Question, Route};
use crate::zone::Zone;
use crate::{Error, PORT, Result, Service, say};

/// How long nobody has to have an address before the process ends: a workload that is started again at once finds it.
const UNUSED: Duration = Duration::from_secs(10);

/// Datagrams that one gateway takes in a turn.
const BATCH: usize = 64;

/// Bytes of the largest message.
const LARGEST: usize = 1 << 16;

/// Why a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody has had an address for long enough.
    Unused,
    /// A signal asked for it.
    Asked,
    /// The network, or its bridge, is not what it was.
    Displaced,
}

/// The server of one network.
#[derive(Debug)]
pub struct Server {
    network: Network,
    claims: Claims,
    zone: Zone,
    /// The zone is not that of the claims any more. It is made when somebody asks: a hundred workloads that start
    /// together would make it a hundred times.
    stale: bool,
    gateways: Vec<Gateway>,
    clients: Clients,
    exchanges: Exchanges,
    nameservers: Nameservers,
    poll: Poll,
    firewalld: Option<Firewalld>,
    /// Since when nobody has an address.
    unused: Option<Instant>,
    buffer: Vec<u8>,
}

impl Server {
    /// Listens at every gateway of a network, for the names of those who claim addresses in the service's directory.
    pub fn open(network: &Network, service: &Service, signals: &OwnedFd) -> Result<Self> {
        let claims = Claims::follow(&service.directory)?;
        let addresses: Vec<_> = network.pools.iter().map(|pool| pool.gateway).collect();
        // Names of the default network are asked elsewhere, as with Docker.
        let answering = addresses.iter().filter(|_| network.name != DEFAULT);
        let gateways = answering.map(|address| Gateway::open(*address, &network.interface));
        let gateways = gateways.collect::<Result<Vec<_>>>()?;
        let failed = |errno| Error::io("wait for questions", errno);
        let poll = watch(&claims, &gateways, signals).map_err(failed)?;
        let mut server = Self {
            zone: Zone::new(network, []),
            stale: true,
            network: network.clone(),
            claims,
            gateways,
            clients: Clients::default(),
            exchanges: Exchanges::new(),
            nameservers: Nameservers::new(service.resolv_conf.clone(), addresses),
            poll,
            firewalld: None,
            unused: None,
            buffer: vec![0; LARGEST],
        };
        server.refresh(Instant::now());
        server.pass_firewalld(service).map_err(failed)?;
        Ok(server)
    }

    /// Answers until it ends.
    pub fn run(mut self) -> Result<End> {
        loop {
            if let Some(end) = self.turn()? {
                // The next one is at it already where this one was displaced.
                let firewalld = self.firewalld.take_if(|_| end != End::Displaced);
                firewalld.into_iter().for_each(Firewalld::leave);
                return Ok(end);
            }
        }
    }

    fn pass_firewalld(&mut self, service: &Service) -> Result<(), holm_sys::Errno> {
        let bus = service.bus.as_ref();
        self.firewalld = bus.and_then(|bus| Firewalld::open(bus, &self.network.interface));
        let mut opened = self.firewalld.iter();
        opened.try_for_each(|firewalld| self.poll.add(firewalld, Token::Firewalld, EventFlags::IN))
    }

    fn hear_firewalld(&mut self) {
        let heard = self.firewalld.as_mut().map(Firewalld::proceed);
        if let Some(Err(error)) = heard {
            say(&format!("hear from the host's bus: {error}"));
            self.firewalld = None;
        }
    }

    fn turn(&mut self) -> Result<Option<End>> {
        let events =
            self.poll.wait(self.deadline()).map_err(|errno| Error::io("wait for questions", errno))?;
        let now = Instant::now();
        if events.iter().any(|(token, _)| *token == Token::Claims) {
            self.refresh(now);
        }
        for (token, flags) in events {
            match token {
                Token::Signal => return Ok(Some(End::Asked)),
                Token::Claims => {}
                Token::Datagram(gateway) => self.take_datagrams(gateway, now),
                Token::Listener(gateway) => {
                    self.clients.accept(&self.poll, &self.gateways[gateway].listener, now);
                }
                Token::Client(serial) => self.take_from_client(serial, flags, now),
                Token::Firewalld => self.hear_firewalld(),
                Token::Exchange(serial) => {
                    let done = self.exchanges.proceed(&self.poll, serial, &mut self.buffer, now);
                    self.deliver_all(done, now);
                }
            }
        }
        let expired = self.exchanges.expire(&self.poll, now);
        self.deliver_all(expired, now);
        self.clients.expire(now);
        Ok(self.end(now))
    }

    fn refresh(&mut self, now: Instant) {
        self.stale |= self.claims.refresh();
        self.unused = if self.claims.is_empty() { self.unused.or(Some(now)) } else { None };
    }

    /// Makes the zone of the claims as they are, if it is not.
    fn renew(&mut self) {
        if std::mem::take(&mut self.stale) {
            let endpoints: Vec<_> = self.claims.endpoints().collect();
            self.zone = Zone::new(&self.network, &endpoints);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let unused = self.unused.map(|since| since + UNUSED);
        [unused, self.exchanges.deadline(), self.clients.deadline()].into_iter().flatten().min()
    }

    fn end(&self, now: Instant) -> Option<End> {
        let unused = self.unused.is_some_and(|since| now >= since + UNUSED);
        if self.claims.is_gone() { Some(End::Displaced) } else { unused.then_some(End::Unused) }
    }

    fn take_datagrams(&mut self, gateway: usize, now: Instant) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BATCH {
            let socket = &self.gateways[gateway].datagrams;
            let Ok((length, _, from)) = recvfrom(socket, &mut *buffer, RecvFlags::empty()) else { break };
            if let Some(from) = from.and_then(|from| SocketAddr::try_from(from).ok()) {
                self.take(&buffer[..length], Route::Datagram(gateway, from), now);
            }
        }
        self.buffer = buffer;
    }

    fn take_from_client(&mut self, serial: u64, flags: EventFlags, now: Instant) {
        for question in self.clients.proceed(&self.poll, serial, flags, now) {
            self.take(&question, Route::Client(serial), now);
        }
    }

    fn take(&mut self, message: &[u8], route: Route, now: Instant) {
        self.renew();
        match answer(message, &self.zone, route.transport()) {
            Verdict::Reply(reply) => self.deliver((route, Some(reply)), now),
            Verdict::Nothing => self.deliver((route, None), now),
            Verdict::Forward => {
                let servers = self.servers_for(route, now);
                let question = Question { query: message.to_owned(), route, servers };
                let done = self.exchanges.begin(&self.poll, question, now);
                self.deliver_all(done, now);
            }
        }
    }

    /// Who is asked what the network does not know: the asker's own servers, or the host's. Of an internal network no
    /// question leaves the host.
    fn servers_for(&mut self, route: Route, now: Instant) -> Rc<[SocketAddr]> {
        let asker = match route {
            Route::Datagram(_, from) => Some(from.ip()),
            Route::Client(serial) => self.clients.address(serial),
        };
        match asker.and_then(|asker| self.claims.servers_of(asker)) {
            Some(servers) => servers.iter().map(|server| SocketAddr::new(*server, PORT)).collect(),
            None if self.network.internal => Rc::new([]),
            None => self.nameservers.current(now),
        }
    }

    fn deliver_all(&mut self, done: impl IntoIterator<Item = Done>, now: Instant) {
        done.into_iter().for_each(|done| self.deliver(done, now));
    }

    fn deliver(&mut self, (route, answer): Done, now: Instant) {
        match route {
            Route::Client(serial) => self.clients.answer(&self.poll, serial, answer.as_deref(), now),
            Route::Datagram(gateway, to) => {
                // As with any datagram: whoever hears nothing asks again.
                let socket = &self.gateways[gateway].datagrams;
                let _ = answer.map(|answer| sendto(socket, &answer, SendFlags::NOSIGNAL, &to));
            }
        }
    }
}

fn watch(claims: &Claims, gateways: &[Gateway], signals: &OwnedFd) -> Result<Poll, holm_sys::Errno> {
    let poll = Poll::new()?;
    poll.add(signals, Token::Signal, EventFlags::IN)?;
    poll.add(claims.as_fd(), Token::Claims, EventFlags::IN)?;
    for (index, gateway) in gateways.iter().enumerate() {
        poll.add(&gateway.datagrams, Token::Datagram(index), EventFlags::IN)?;
        poll.add(&gateway.listener, Token::Listener(index), EventFlags::IN)?;
    }
    Ok(poll)
}
