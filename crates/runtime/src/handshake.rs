//! The parent's side of the talk with a child between `clone` and `exec`.
//!
//! ```text
//! child                              parent
//! (stage, or carried)  <------------ P           groups, out-of-memory score and limits stand
//! U  maps wanted       ------------>
//!                      <------------ P           maps written
//! C  born inside       ------------> (with a pidfd)
//! I  tree              ------------> (a copy of what is in the root)
//!                      <------------ I           its ids are mapped
//! M  mounted           ------------>
//!                      <------------ P           hooks have run
//! (waits)              <------------ P           everything outside is ready
//! T  terminal          ------------> (with the master)
//! N  listener          ------------>
//!                      <------------ P           handed over
//! H  held              ------------>             or the socket closes: the program runs
//!                      <------------ P           it is known of
//! E  failure           ------------>
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use holm_sys::process::{self, Child};
use holm_sys::rustix::event::{PollFd, PollFlags, Timespec, poll};
use holm_sys::rustix::process::{Pid, PidfdGetfdFlags, pidfd_getfd};
use holm_sys::{Errno, socket};

use crate::container::{Started, Word};
use crate::error::{Context, Error, Kind, Result};
use crate::maps::Maps;
use crate::namespaces::write_maps;
use crate::step::{
    Failure, HELD, IDS_MAPPED, MAPS_WANTED, MOUNTED, PROCEED, TERMINAL, decode_listener, decode_process,
    decode_tree,
};

/// How long a child may take to get to its program. Whoever can stop or freeze it must not hold up the
/// caller for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the child got to, for whoever starts it to do its part.
#[derive(Debug)]
pub enum Event {
    /// The process exists and will wait for this to be done.
    Made,
    /// Everything is mounted, and the host's tree is still there.
    Mounted,
    /// The seccomp filter asks this descriptor.
    Listener(OwnedFd),
}

/// Does the part of whoever starts the process; what fails ends it.
pub type Answer<'a> = dyn FnMut(Event, &Child) -> Result<()> + 'a;

/// What is expected of a child.
pub(crate) struct Expectation<'a> {
    /// The first child is a stage: the process is born later.
    pub staged: bool,
    /// The first child waits until it was moved into its group, though it is no stage.
    pub is_carried: bool,
    /// The process waits for a word once what is done outside for it is done; otherwise it gets that word at a
    /// meeting, or needs none.
    pub waits: bool,
    /// The listener of the filter is taken out of the first child, which has the same descriptors as the process and
    /// stays for that.
    pub lends_listener: bool,
    /// Maps that a child which was born with its user namespace waits for.
    pub maps: Option<&'a Maps>,
    /// What the parent does for the first child, before it goes on.
    pub first: &'a mut dyn FnMut(&Child) -> Result<()>,
    /// Maps the ids of what is mounted as that number.
    pub map_ids: &'a dyn Fn(usize, BorrowedFd<'_>) -> Result<()>,
    pub answer: &'a mut Answer<'a>,
    /// Puts a failure in words.
    pub describe: &'a dyn Fn(Failure) -> Error,
}

/// Waits until the child runs its program or is held; ends and reaps it if it does not get there.
pub(crate) fn confirm(child: Child, sync: OwnedFd, expectation: Expectation<'_>) -> Result<Started> {
    let mut talk = Talk { first: child, born: None, terminal: None, sync, expectation };
    match talk.hold() {
        Ok(held) => {
            let Talk { first, born, terminal, sync, .. } = talk;
            let process = match born {
                Some(process) => {
                    let _ = process::wait(first.pidfd.as_fd());
                    process
                }
                None => first,
            };
            Ok(Started { process, terminal, word: held.then_some(Word(sync)) })
        }
        Err(error) => {
            for process in [Some(talk.first), talk.born].into_iter().flatten() {
                end(&process);
            }
            Err(error)
        }
    }
}

/// Ends a process and reaps it. One that hangs in the kernel is left to whoever reaps orphans.
pub fn end(child: &Child) {
    let _ = process::signal(child.pidfd.as_fd(), 9);
    let timeout = Timespec { tv_sec: 2, tv_nsec: 0 };
    let mut ended = [PollFd::new(&child.pidfd, PollFlags::IN)];
    if poll(&mut ended, Some(&timeout)) == Ok(1) {
        let _ = process::wait(child.pidfd.as_fd());
    }
}

/// What ended without a word was killed: by the kernel for lack of memory, most likely.
fn vanished() -> Error {
    Error::new(
        Kind::System,
        "the process was killed before it got to its program (is its memory limit too low?)",
    )
}

struct Talk<'a> {
    first: Child,
    /// The process that will run the program, if it is not the child itself.
    born: Option<Child>,
    terminal: Option<OwnedFd>,
    sync: OwnedFd,
    expectation: Expectation<'a>,
}

impl Talk<'_> {
    /// Whether the process is held.
    fn hold(&mut self) -> Result<bool> {
        (self.expectation.first)(&self.first)?;
        if self.expectation.staged {
            self.proceed();
        } else {
            if self.expectation.is_carried {
                self.proceed();
            }
            if let Some(maps) = self.expectation.maps {
                write_maps(self.first.pid, maps)?;
                self.proceed();
            }
            self.made()?;
        }
        self.listen()
    }

    /// The process exists: the caller does its part, and the process may go on when it gets there.
    fn made(&mut self) -> Result<()> {
        self.answer(Event::Made)?;
        if self.expectation.waits {
            self.proceed();
        }
        Ok(())
    }

    fn answer(&mut self, event: Event) -> Result<()> {
        (self.expectation.answer)(event, self.born.as_ref().unwrap_or(&self.first))
    }

    /// A child that failed meanwhile has closed its end; its packet says why.
    fn proceed(&self) {
        let _ = socket::send_packet(self.sync.as_fd(), PROCEED, &[]);
    }

    fn listen(&mut self) -> Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let mut packet = [0; 16];
        loop {
            self.await_packet(deadline)?;
            let (length, descriptor) = socket::receive_packet(self.sync.as_fd(), &mut packet)
                .context(|| "hear from the container's process")?;
            let packet = &packet[..length];
            if let Some(failure) = Failure::decode(packet) {
                return Err((self.expectation.describe)(failure));
            }
            if length == 0 {
                return self.check_alive().map(|()| false);
            }
            if packet == HELD {
                return Ok(true);
            }
            self.take(packet, descriptor)?;
        }
    }

    fn take(&mut self, packet: &[u8], descriptor: Option<OwnedFd>) -> Result<()> {
        if packet == MAPS_WANTED {
            if let Some(maps) = self.expectation.maps {
                write_maps(self.first.pid, maps)?;
            }
            self.proceed();
        } else if packet == MOUNTED {
            self.answer(Event::Mounted)?;
            // For the meeting, and for what it waits for before it takes rights away from itself.
            self.proceed();
            self.proceed();
        } else if let Some(index) = decode_tree(packet) {
            let tree = descriptor.ok_or_else(vanished)?;
            (self.expectation.map_ids)(index, tree.as_fd())?;
            let _ = socket::send_packet(self.sync.as_fd(), IDS_MAPPED, &[]);
        } else if let Some(number) = decode_listener(packet) {
            let listener = self.take_listener(number)?;
            self.answer(Event::Listener(listener))?;
            self.proceed();
        } else if let Some(pid) = decode_process(packet).and_then(Pid::from_raw) {
            let pidfd = descriptor.ok_or_else(vanished)?;
            self.born = Some(Child { pid, pidfd });
            self.made()?;
        } else if packet == TERMINAL {
            self.terminal = descriptor;
        }
        Ok(())
    }

    fn take_listener(&mut self, number: i32) -> Result<OwnedFd> {
        let process = self.born.as_ref().filter(|_| !self.expectation.lends_listener).unwrap_or(&self.first);
        let listener = pidfd_getfd(&process.pidfd, number, PidfdGetfdFlags::empty())
            .context(|| "take the seccomp listener");
        self.release_lender();
        listener
    }

    /// Ends the stage that stayed for its descriptors.
    fn release_lender(&mut self) {
        if std::mem::take(&mut self.expectation.lends_listener) {
            let _ = process::signal(self.first.pidfd.as_fd(), 9);
        }
    }

    /// The socket is closed when the program runs, and when the process was killed before.
    fn check_alive(&self) -> Result<()> {
        let process = match &self.born {
            Some(process) => process,
            None if self.expectation.staged => return Err(vanished()),
            None => &self.first,
        };
        let mut ended = [PollFd::new(&process.pidfd, PollFlags::IN)];
        let has_ended = poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1);
        if has_ended && process::has_executed(process.pid.as_raw_nonzero().get()) == Some(false) {
            return Err(vanished());
        }
        Ok(())
    }

    fn await_packet(&mut self, deadline: Instant) -> Result<()> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            let lent_to = self.born.as_ref().filter(|_| self.expectation.lends_listener);
            let process = lent_to.map_or(&self.sync, |process| &process.pidfd);
            let mut ready = [&self.sync, process].map(|one| PollFd::new(one, PollFlags::IN));
            match poll(&mut ready, Some(&timeout)) {
                // The process has ended without a word: nothing but the stage holds the socket open.
                Ok(_) if ready[0].revents().is_empty() && !ready[1].revents().is_empty() => {
                    self.release_lender()
                }
                Ok(0) => {
                    let message = format!(
                        "the process did not get to its program within {} seconds",
                        PATIENCE.as_secs()
                    );
                    return Err(Error::new(Kind::System, message));
                }
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context(|| "wait for the container's process"),
            }
        }
    }
}
