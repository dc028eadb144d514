//! The event loop: clients, processes and their streams, all on one epoll.
//!
//! Back-pressure, both ways: a stream is not read while a client that carries it has a queue, and a
//! client gets a new window for input when the process has taken what came before. Clients are always
//! read: a signal must not wait behind input that nobody reads.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_runtime::watched::{Newborn, Role, Watched};
use holm_spec::keeper::{PACKET_LIMIT, Reply, Request, STDIN_WINDOW, Stream};
use holm_spec::layout::{Layout, SOCKET_NAME, SandboxPaths};
use holm_spec::runtime::PosixRlimit;
use holm_spec::{Id, Timestamp};
use holm_sys::Errno;
use holm_sys::lock::Lock;
use holm_sys::socket::{listen_packets, peer_uid, try_receive_packet};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{SocketFlags, accept_with};

use crate::client::Client;
use crate::network_watch::NetworkWatch;
use crate::notices::InMachine;
use crate::pace::Pace;
use crate::restart::Waiting;
use crate::task::Task;

/// Until a connection is tried again that could not be accepted for lack of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Bytes of output that are read, logged and sent in one go.
const CHUNK: usize = 16 * 1024;

/// What an event is about; travels through epoll as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    Client(usize),
    Ended(usize),
    Stdin(usize),
    Output(usize, usize),
    Notice(usize),
    Helper(usize),
    /// A full file of the log of a workload, by its first process, is compressed.
    Compression(usize),
    /// Somebody has come to a port of the workload that must be relayed, by its first process.
    Port(usize),
    /// The relay has ended.
    RelayEnded(usize),
    /// Something was taken away from the host's network.
    Networks,
}

/// The kind of the first output of a process.
const OUTPUTS: u64 = 32;

impl Token {
    pub fn data(self) -> EventData {
        let (kind, index) = match self {
            Self::Listener => (0, 0),
            Self::Client(index) => (1, index),
            Self::Ended(index) => (2, index),
            Self::Stdin(index) => (3, index),
            Self::Notice(index) => (4, index),
            Self::Helper(index) => (5, index),
            Self::Compression(index) => (6, index),
            Self::Port(index) => (7, index),
            Self::RelayEnded(index) => (8, index),
            Self::Networks => (9, 0),
            Self::Output(index, which) => (OUTPUTS + which as u64, index),
        };
        EventData::new_u64((index as u64) << 8 | kind)
    }

    fn from_data(data: EventData) -> Self {
        let index = (data.u64() >> 8) as usize;
        match data.u64() & 0xff {
            0 => Self::Listener,
            1 => Self::Client(index),
            2 => Self::Ended(index),
            3 => Self::Stdin(index),
            4 => Self::Notice(index),
            5 => Self::Helper(index),
            6 => Self::Compression(index),
            7 => Self::Port(index),
            8 => Self::RelayEnded(index),
            9 => Self::Networks,
            kind => Self::Output(index, (kind - OUTPUTS) as usize),
        }
    }
}

/// The keeper of one sandbox.
#[derive(Debug)]
pub(crate) struct Server {
    pub layout: Layout,
    pub sandbox: Id,
    pub paths: SandboxPaths,
    pub tasks: BTreeMap<Id, Task>,
    /// Those that are about to be started again.
    pub waiting: BTreeMap<Id, Waiting>,
    /// Gone once the sandbox is.
    pub lock: Option<Lock>,
    /// Resource limits that this keeper came with.
    pub callers_limits: Vec<PosixRlimit>,
    clients: Vec<Option<Client>>,
    processes: Vec<Option<Watched>>,
    /// What is known of those processes that are in a machine.
    pub machines: BTreeMap<usize, InMachine>,
    pub epoll: OwnedFd,
    /// What the networks of its workloads need of the host.
    pub networks: NetworkWatch,
    listener: Option<OwnedFd>,
    /// A connection waits that cannot be accepted now: the listener is not watched, or epoll would not wait.
    full: bool,
    /// Processes whose output is not read for now.
    held_up: BTreeSet<usize>,
    pace: Pace,
    buffer: Vec<u8>,
}

impl Server {
    /// Listens in the sandbox's directory.
    pub fn new(
        layout: Layout,
        sandbox: Id,
        lock: Lock,
        callers_limits: Vec<PosixRlimit>,
    ) -> io::Result<Self> {
        let paths = layout.sandbox(&sandbox);
        let directory = open(&paths.dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        // One that a killed keeper left.
        let _ = std::fs::remove_file(paths.socket());
        let listener = listen_packets(directory.as_fd(), SOCKET_NAME)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &listener, Token::Listener.data(), EventFlags::IN)?;
        Ok(Self {
            layout,
            sandbox,
            paths,
            tasks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            lock: Some(lock),
            callers_limits,
            clients: Vec::new(),
            processes: Vec::new(),
            machines: BTreeMap::new(),
            networks: NetworkWatch::default(),
            epoll,
            listener: Some(listener),
            full: false,
            held_up: BTreeSet::new(),
            pace: Pace::default(),
            buffer: vec![0; CHUNK],
        })
    }

    /// Serves until the sandbox is gone and every client has heard of it.
    pub fn run(mut self) {
        let mut events = Vec::with_capacity(32);
        while self.lock.is_some() || self.clients.iter().flatten().next().is_some() {
            events.clear();
            let patience = self.patience();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), patience.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return,
            }
            if self.full {
                self.accept();
            }
            for event in &events {
                self.handle(Token::from_data(event.data), event.flags);
            }
            self.restart_due();
            self.check_due();
            self.repair_networks_due();
            if self.nothing_to_keep() {
                self.close_sandbox();
            }
        }
    }

    /// How long nothing has to be done by itself; for ever if absent.
    fn patience(&self) -> Option<Timespec> {
        let accept = self.full.then_some(ACCEPT_AGAIN);
        let restarts = self.waiting.values().map(|waiting| waiting.due);
        let checks = self.tasks.values().filter_map(|task| task.health.as_ref().map(|watch| watch.due));
        let due = restarts
            .chain(checks)
            .chain(self.networks.due)
            .chain(self.networks.at_rest)
            .min()
            .map(|due| due.saturating_duration_since(Instant::now()));
        let patience = accept.into_iter().chain(due).min()?;
        // Rounded up: nothing is looked at before it is due.
        Timespec::try_from(patience + Duration::from_millis(1)).ok()
    }

    /// No workload runs and no client can start one any more.
    fn nothing_to_keep(&self) -> bool {
        self.lock.is_some()
            && self.tasks.is_empty()
            && self.waiting.is_empty()
            && !self.clients.iter().flatten().any(|client| !client.closing)
    }

    fn handle(&mut self, token: Token, flags: EventFlags) {
        match token {
            Token::Listener => self.accept(),
            Token::Client(index) => self.handle_client(index, flags),
            Token::Ended(index) => self.handle_end(index),
            Token::Stdin(index) => {
                if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                    self.lose_reader(index);
                } else if let Some(process) = self.process(index) {
                    process.feed_backlog();
                }
                self.refresh_process(index);
            }
            Token::Notice(index) => self.take_notices(index),
            Token::Helper(index) => self.lose_helper(index),
            Token::Compression(index) => {
                if let Some(task) = self.task_of(index) {
                    task.log.finish_compression();
                }
                self.watch_compression(index);
            }
            Token::Port(index) => self.start_relay(index),
            Token::RelayEnded(index) => self.lose_relay(index),
            Token::Networks => self.note_network_change(),
            Token::Output(index, which) => self.handle_output(index, which),
        }
    }

    fn handle_output(&mut self, index: usize, which: usize) {
        if self.is_starting(index) {
            // A client must have been joined before it can be told of output.
            self.take_notices(index);
        }
        if !self.is_starting(index) {
            self.pace.wait(index, which);
            let read = self.read_output(index, which);
            self.pace.note(read);
        }
        self.refresh_outputs(index);
    }

    /// The workload whose first process has this index.
    fn task_of(&mut self, process: usize) -> Option<&mut Task> {
        self.tasks.values_mut().find(|task| task.main == process)
    }

    fn watch_compression(&mut self, index: usize) {
        let epoll = &self.epoll;
        let task = self.tasks.values_mut().find(|task| task.main == index);
        if let Some(pidfd) = task.and_then(|task| task.log.new_compression()) {
            let flags = EventFlags::IN | EventFlags::ONESHOT;
            let _ = epoll::add(epoll, pidfd, Token::Compression(index).data(), flags);
        }
    }

    /// Nobody reads standard input any more: epoll would say so for ever. A terminal may be opened again.
    fn lose_reader(&mut self, index: usize) {
        let Some(process) = self.processes.get_mut(index).and_then(Option::as_mut) else { return };
        process.backlog.clear();
        if !process.streams.terminal {
            process.streams.stdin = None;
        } else if let Some(stdin) = &process.streams.stdin {
            let _ = epoll::delete(&self.epoll, stdin);
        }
    }

    fn accept(&mut self) {
        let Some(listener) = &self.listener else { return };
        let accepted = accept_with(listener, SocketFlags::CLOEXEC);
        self.watch_listener(matches!(
            accepted,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS)
        ));
        let Ok(socket) = accepted else { return };
        // The directory lets nobody else in; this holds even if it was opened up.
        let trusted = [0, rustix::process::geteuid().as_raw()];
        if peer_uid(socket.as_fd()).is_ok_and(|uid| trusted.contains(&uid)) {
            self.add_client(socket);
        }
    }

    fn watch_listener(&mut self, full: bool) {
        if let Some(listener) = self.listener.as_ref().filter(|_| full != self.full) {
            let flags = if full { EventFlags::empty() } else { EventFlags::IN };
            let _ = epoll::modify(&self.epoll, listener, Token::Listener.data(), flags);
            self.full = full;
        }
    }

    /// Serves a connection.
    pub fn add_client(&mut self, socket: OwnedFd) {
        let index = free_slot(&mut self.clients);
        if epoll::add(&self.epoll, &socket, Token::Client(index).data(), EventFlags::IN).is_ok() {
            self.clients[index] = Some(Client::new(socket));
        }
    }

    /// Watches a process; gives its index. One that cannot be watched is ended.
    pub fn watch(&mut self, mut newborn: Newborn) -> Result<usize, Errno> {
        let index = free_slot(&mut self.processes);
        let process = newborn.get();
        epoll::add(&self.epoll, &process.pidfd, Token::Ended(index).data(), EventFlags::IN)?;
        for (which, output) in process.streams.outputs.iter().enumerate() {
            if let Some(output) = output {
                epoll::add(&self.epoll, output, Token::Output(index, which).data(), EventFlags::IN)?;
            }
        }
        if let Some(stdin) = &process.streams.stdin {
            epoll::add(&self.epoll, stdin, Token::Stdin(index).data(), EventFlags::empty())?;
        }
        self.processes[index] = Some(newborn.hand_over());
        Ok(index)
    }

    /// A watched process.
    pub fn process(&mut self, index: usize) -> Option<&mut Watched> {
        self.processes.get_mut(index)?.as_mut()
    }

    /// A watched process, to be looked at.
    pub fn watched(&self, index: usize) -> Option<&Watched> {
        self.processes.get(index)?.as_ref()
    }

    fn handle_client(&mut self, index: usize, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            self.flush_client(index);
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.read_client(index);
        }
    }

    fn flush_client(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        if client.flush().is_err() || client.closing && !client.is_behind() {
            return self.drop_client(index);
        }
        self.refresh_client(index);
    }

    fn read_client(&mut self, index: usize) {
        let Some(client) = self.clients.get(index).and_then(Option::as_ref) else { return };
        let mut buffer = std::mem::take(&mut self.buffer);
        make_room(&mut buffer, client);
        match try_receive_packet(client.socket.as_fd(), &mut buffer) {
            Ok((0, _)) => self.drop_client(index),
            Ok((length, _)) => self.handle_packet(index, &buffer[..length]),
            Err(Errno::AGAIN) => {}
            Err(_) => self.drop_client(index),
        }
        self.buffer = buffer;
    }

    fn handle_packet(&mut self, index: usize, packet: &[u8]) {
        if self.clients.get(index).and_then(Option::as_ref).is_none_or(|client| client.closing) {
            return;
        }
        let session = self.clients.get(index).and_then(Option::as_ref).and_then(|client| client.process);
        if packet.first() == Some(&(Stream::Stdin as u8)) {
            self.take_input(index, session, &packet[1..]);
        } else {
            match serde_json::from_slice::<Request>(packet) {
                Ok(request) => self.handle_request(index, session, request),
                Err(error) => self.refuse(index, &format!("message not understood: {error}")),
            }
        }
        if let Some(process) = session {
            self.refresh_process(process);
        }
    }

    fn take_input(&mut self, index: usize, session: Option<usize>, bytes: &[u8]) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        client.ahead += bytes.len();
        if client.ahead > STDIN_WINDOW {
            return self.refuse(index, "more input than the session's window holds");
        }
        if let Some(process) = session.and_then(|process| self.process(process)) {
            process.feed(bytes);
        }
    }

    fn handle_request(&mut self, index: usize, session: Option<usize>, request: Request) {
        match (request, session.and_then(|process| self.process(process))) {
            (Request::Resize { window }, Some(process)) => process.resize(window),
            (Request::CloseStdin, Some(process)) => process.close_stdin(),
            (Request::SessionSignal { signal, stop, shutdown }, Some(process)) => {
                let _ = process.signal(signal);
                if let Some(process) = session {
                    match shutdown {
                        true => self.note_end(process, |state| state.shutdown = true),
                        false => self.note_request_to_end(process, signal, stop),
                    }
                    self.let_go_on(process);
                }
            }
            (Request::SessionSignal { signal, .. }, None) => self.signal_starting(index, signal),
            (Request::Resize { .. } | Request::CloseStdin, None) => {}
            (_, Some(_)) => self.refuse(index, "the connection has a session already"),
            (request, None) => self.handle_opening(index, request),
        }
    }

    /// Reads what is there of one output, logs it and hands it on.
    fn read_output(&mut self, index: usize, which: usize) -> usize {
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = self
            .process(index)
            .and_then(|process| process.streams.outputs[which].as_ref())
            .map(|output| rustix::io::read(output, &mut buffer[..CHUNK]));
        let more = match read {
            Some(Ok(length)) if length > 0 => {
                self.deliver(index, stream_of(which), &buffer[..length]);
                length
            }
            None | Some(Err(Errno::AGAIN | Errno::INTR)) => 0,
            // The end of a pipe, or of a terminal (`EIO`) whose last process went.
            Some(Ok(_) | Err(_)) => {
                self.close_output(index, which);
                0
            }
        };
        self.buffer = buffer;
        more
    }

    fn close_output(&mut self, index: usize, which: usize) {
        let epoll = self.epoll.try_clone();
        if let Some(output) = self.process(index).and_then(|process| process.streams.outputs[which].take()) {
            // A terminal's descriptor has a copy for input, which keeps it in the epoll.
            if let Ok(epoll) = epoll {
                let _ = epoll::delete(&epoll, &output);
            }
        }
        if let Some(task) = self.task_of(index) {
            task.log.end(now(), stream_of(which));
        }
    }

    fn deliver(&mut self, index: usize, stream: Stream, bytes: &[u8]) {
        if self.take_check_output(index, bytes) {
            return;
        }
        if let Some(task) = self.task_of(index) {
            task.log.append(now(), stream, bytes);
            self.watch_compression(index);
        }
        for client in self.sessions_of(index) {
            self.tell(client, |client| client.output(stream, bytes));
        }
    }

    /// Clients whose session is about a process.
    pub fn sessions_of(&self, process: usize) -> Vec<usize> {
        let about =
            |client: &Option<Client>| client.as_ref().is_some_and(|client| client.process == Some(process));
        (0..self.clients.len()).filter(|&index| about(&self.clients[index])).collect()
    }

    /// Says something to a client; drops it if it is gone.
    pub fn tell(&mut self, index: usize, say: impl FnOnce(&mut Client) -> Result<(), Errno>) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        if say(client).is_err() {
            return self.drop_client(index);
        }
        self.refresh_client(index);
    }

    /// Replies, and closes the connection once that is sent.
    pub fn conclude(&mut self, index: usize, replies: &[Reply]) {
        self.tell(index, |client| {
            client.closing = true;
            client.process = None;
            replies.iter().try_for_each(|reply| client.reply(reply))
        });
        let Some(client) = self.clients.get(index).and_then(Option::as_ref) else { return };
        if !client.is_behind() {
            self.drop_client(index);
        }
    }

    fn handle_end(&mut self, index: usize) {
        let Some(process) = self.process(index) else { return };
        let (role, code) = (process.role, process.reap());
        self.take_notices(index);
        for which in 0..2 {
            self.drain(index, which);
        }
        self.take_check_end(index, code);
        if self.machines.get(&index).is_some_and(|machine| !machine.has_started()) {
            return self.finish_failed_start(index, role);
        }
        match role {
            Role::Main => self.finish_task(index, code),
            Role::Exec => self.finish_session(index, &[Reply::Exited { code, oom_killed: false }]),
        }
    }

    /// Reads what an output holds at this moment: a process left behind by an exec may go on writing.
    fn drain(&mut self, index: usize, which: usize) {
        let mut left = self.process(index).map_or(0, |process| process.streams.held_output(which));
        while left > 0 {
            match self.read_output(index, which) {
                0 => break,
                length => left = left.saturating_sub(length as u64),
            }
        }
    }

    /// Forgets a process and tells its sessions.
    pub fn finish_session(&mut self, index: usize, replies: &[Reply]) {
        let sessions = self.sessions_of(index);
        self.processes[index] = None;
        self.held_up.remove(&index);
        self.machines.remove(&index);
        for client in sessions {
            self.conclude(client, replies);
        }
    }

    fn drop_client(&mut self, index: usize) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::take) else { return };
        let waited = self
            .machines
            .iter_mut()
            .filter_map(|(process, machine)| machine.forget_client(index).then_some(*process));
        for process in waited.collect::<Vec<_>>() {
            self.end_input_of(process);
        }
        let Some(process_index) = client.process else { return };
        if client.streams.stdin {
            self.end_input_of(process_index);
        }
        self.refresh_process(process_index);
    }

    /// The client that carried a process's input is gone.
    fn end_input_of(&mut self, process: usize) {
        if self.takes_input_once(process) {
            self.process(process).into_iter().for_each(Watched::close_stdin);
        }
    }

    /// Whether standard input ends with the first client that carries it.
    fn takes_input_once(&self, process: usize) -> bool {
        self.tasks.values().find(|task| task.main == process).is_none_or(|task| task.config.stdin_once)
    }

    /// Brings what epoll waits for in line with a client's queue.
    fn refresh_client(&mut self, index: usize) {
        let Some(client) = self.clients.get(index).and_then(Option::as_ref) else { return };
        let process = client.process;
        let mut flags = EventFlags::IN;
        flags.set(EventFlags::OUT, client.is_behind());
        let _ = epoll::modify(&self.epoll, &client.socket, Token::Client(index).data(), flags);
        if let Some(process) = process {
            self.refresh_outputs(process);
        }
    }

    /// Brings what epoll waits for in line with whether anybody may be told of a process's output.
    pub fn refresh_outputs(&mut self, index: usize) {
        let behind =
            self.clients.iter().flatten().any(|client| client.process == Some(index) && client.is_behind());
        let waits = behind || self.is_starting(index);
        let Some(process) = self.processes.get(index).and_then(Option::as_ref) else { return };
        let changed = if waits { self.held_up.insert(index) } else { self.held_up.remove(&index) };
        if !changed {
            return;
        }
        let flags = if waits { EventFlags::empty() } else { EventFlags::IN };
        for (which, output) in process.streams.outputs.iter().enumerate() {
            if let Some(output) = output {
                let _ = epoll::modify(&self.epoll, output, Token::Output(index, which).data(), flags);
            }
        }
    }

    /// Brings what epoll waits for in line with a process's backlog, and tells whose input was taken.
    fn refresh_process(&mut self, index: usize) {
        self.refresh_outputs(index);
        let Some(process) = self.processes.get(index).and_then(Option::as_ref) else { return };
        if let Some(stdin) = &process.streams.stdin {
            let flags = if process.backlog.is_empty() { EventFlags::empty() } else { EventFlags::OUT };
            let _ = epoll::modify(&self.epoll, stdin, Token::Stdin(index).data(), flags);
        }
        if process.backlog.is_empty() {
            for client in self.sessions_of(index) {
                self.tell(client, Client::tell_taken);
            }
        }
    }

    /// Stops listening: the sandbox is going.
    pub fn stop_listening(&mut self) {
        (self.listener, self.full) = (None, false);
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(holm_sys::process::now())
}

fn stream_of(which: usize) -> Stream {
    if which == 0 { Stream::Stdout } else { Stream::Stderr }
}

/// Most keepers never meet a packet longer than a read of output, and should not hold the room for one.
fn make_room(buffer: &mut Vec<u8>, client: &Client) {
    let waiting = rustix::io::ioctl_fionread(&client.socket)
        .map_or(PACKET_LIMIT, |bytes| bytes.min(PACKET_LIMIT as u64) as usize);
    if waiting > buffer.len() {
        buffer.resize(waiting, 0);
    }
}

fn free_slot<T>(slots: &mut Vec<Option<T>>) -> usize {
    slots.iter().position(Option::is_none).unwrap_or_else(|| {
        slots.push(None);
        slots.len() - 1
    })
}
