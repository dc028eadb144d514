//! CRIU as a process that does one thing that it is asked for (`criu swrk`) and talks over a socket of packets.
//!
//! ```text
//! runtime                              criu
//! request              ------------>
//!                      <------------   notification: a point is reached (perhaps with a descriptor)
//! go on, or give up    ------------>
//!                      <------------   response, and it ends
//! ```
//! Descriptors that a request names are CRIU's own: it is started with them.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use holm_sys::exec::StringArray;
use holm_sys::process::{self, Child, CloneOptions, Namespaces, clone};
use holm_sys::rustix::fs::{Mode, OFlags, open};
use holm_sys::socket;

use super::images::Images;
use super::message::{Message, Response, Subject, confirmation};
use crate::cgroup::Group;
use crate::child::{Criu, Tree};
use crate::error::{Context, Error, Kind, Result};
use crate::rootfs::path_string;
use crate::step::{Failure, Step};

/// Longest packet that is read, in bytes.
const PACKET_LIMIT: usize = 64 << 10;
/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What CRIU is started with.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Its standard streams.
    pub streams: [BorrowedFd<'a>; 3],
    /// Directories that it gets at their numbers.
    pub images: Option<&'a Images>,
    /// Descriptors that it gets at their numbers.
    pub handed: &'a [OwnedFd],
    /// Control groups that it, and so whatever it restores, is born in.
    pub group: Option<&'a Group>,
    /// What is mounted in a mount namespace of CRIU's own; it has none if that is nothing.
    pub trees: &'a [Tree],
}

/// What CRIU tells on its way.
#[derive(Debug)]
pub(super) struct Notification {
    /// The point that is reached.
    pub point: String,
    /// The first process, as CRIU numbers it.
    pub pid: Option<i32>,
    /// What came along.
    pub descriptor: Option<OwnedFd>,
}

/// A process of CRIU's.
#[derive(Debug)]
pub(super) struct Service {
    /// `None` once the talk is over.
    socket: Option<OwnedFd>,
    process: Child,
}

impl Service {
    /// Starts CRIU.
    ///
    /// # Errors
    /// It is not installed or cannot be executed.
    pub fn start(surroundings: &Surroundings<'_>) -> Result<Self> {
        let program = find_program()?;
        // Its number only: the socket itself is made by the child.
        let place = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .context(|| "open `/dev/null`")?;
        let (sync, their_sync) = socket::packet_pair().context(|| "make a socket to criu")?;
        let number = place.as_raw_fd().to_string();
        let directories = surroundings.images.map(Images::directories).transpose()?.unwrap_or_default();
        let no_nul = |_| Error::invalid("the environment holds a NUL byte");
        let arguments = StringArray::new(["criu", "swrk", &number]).map_err(no_nul)?;
        let environment =
            std::env::vars_os().map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let environment = StringArray::new(environment).map_err(no_nul)?;
        let criu = Criu {
            program: &program,
            arguments: &arguments,
            environment: &environment,
            streams: surroundings.streams,
            socket: place.as_fd(),
            directories: &directories,
            handed: surroundings.handed,
            groups: surroundings.group.map_or(&[], Group::entrances),
            trees: surroundings.trees,
            sync: their_sync.as_fd(),
            kept: &kept(surroundings, &directories, &place, &their_sync),
        };
        let namespaces = if surroundings.trees.is_empty() { Namespaces::NONE } else { Namespaces::MOUNT };
        let options = CloneOptions { namespaces, cgroup: surroundings.group.and_then(Group::birthplace) };
        let process = clone(&options, || criu.run()).context(|| "make a process for criu")?;
        let mut service = Self { socket: None, process };
        drop(their_sync);
        match confirm(&sync, &program) {
            Ok(socket) => service.socket = Some(socket),
            Err(error) => {
                service.finish();
                return Err(error);
            }
        }
        Ok(service)
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.process.pid.as_raw_nonzero().get()
    }

    /// Asks for something, answers what CRIU tells on its way, and waits for its end. `explain` adds to what CRIU
    /// could not do what is known of it.
    ///
    /// # Errors
    /// What `answer` cannot do, and what CRIU could not.
    pub fn ask(
        mut self,
        request: &Message,
        explain: &dyn Fn(Error) -> Error,
        answer: &mut dyn FnMut(Notification) -> Result<()>,
    ) -> Result<Response> {
        self.send(request)?;
        let mut refused = None;
        let response = loop {
            let (response, descriptor) = self.receive().map_err(explain)?;
            if response.subject != Some(Subject::Notify) || !response.success {
                break response;
            }
            let done = answer(Notification { point: response.point, pid: response.pid, descriptor });
            self.send(&confirmation(done.is_ok()))?;
            refused = refused.or(done.err());
        };
        if let Some(error) = refused {
            return Err(error);
        }
        if !response.success {
            return Err(explain(failure(&response)));
        }
        let code = self.finish();
        // A dump of memory alone leaves CRIU waiting for the next one; it fails for there is none.
        if code != 0 && response.subject != Some(Subject::PreDump) {
            return Err(explain(Error::new(Kind::System, format!("criu failed: exit status {code}"))));
        }
        Ok(response)
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().expect("it is there until the talk is over").as_fd()
    }

    fn send(&self, message: &Message) -> Result<()> {
        socket::send_packet(self.socket(), message.bytes(), &[]).context(|| "talk to criu")
    }

    fn receive(&self) -> Result<(Response, Option<OwnedFd>)> {
        let mut packet = vec![0; PACKET_LIMIT];
        let received = socket::receive_packet(self.socket(), &mut packet);
        match received.context(|| "talk to criu")? {
            (0, _) => Err(Error::new(Kind::System, "criu failed: it ended without an answer")),
            (length, descriptor) => Ok((Response::parse(&packet[..length])?, descriptor)),
        }
    }

    /// Ends the talk and waits for CRIU, which undoes on the way what it has not finished.
    fn finish(&mut self) -> i32 {
        self.socket = None;
        process::wait(self.process.pidfd.as_fd()).unwrap_or(-1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.socket.is_some() {
            self.finish();
        }
    }
}

fn kept(
    surroundings: &Surroundings<'_>,
    directories: &[(BorrowedFd<'_>, CString)],
    socket: &OwnedFd,
    sync: &OwnedFd,
) -> Vec<i32> {
    let groups = surroundings.group.map_or(&[][..], Group::entrances);
    let owned = surroundings.handed.iter().chain(groups).chain([socket, sync]);
    let trees = surroundings.trees.iter().map(|tree| tree.tree.as_raw_fd());
    let streams = surroundings.streams.iter().chain(directories.iter().map(|(place, _)| place));
    let streams = streams.map(AsRawFd::as_raw_fd);
    let mut kept: Vec<i32> = owned.map(AsRawFd::as_raw_fd).chain(trees).chain(streams).collect();
    kept.sort_unstable();
    kept
}

/// Takes the socket, and waits until CRIU is executed: the other socket is closed by that.
fn confirm(sync: &OwnedFd, program: &CStr) -> Result<OwnedFd> {
    let mut socket = None;
    let mut packet = [0; 8];
    loop {
        let (length, descriptor) =
            socket::receive_packet(sync.as_fd(), &mut packet).context(|| "start criu")?;
        if let Some(failure) = Failure::decode(&packet[..length]) {
            return Err(not_started(failure, program));
        }
        if length == 0 {
            return socket.ok_or_else(|| Error::new(Kind::System, "criu did not start"));
        }
        socket = descriptor;
    }
}

fn not_started(failure: Failure, program: &CStr) -> Error {
    let what = match failure.step {
        Step::Execute => format!("execute `{}`", program.to_string_lossy()),
        step => step.description().to_owned(),
    };
    Error::errno(Kind::System, what, failure.errno)
}

fn failure(response: &Response) -> Error {
    let subject = response.subject.map_or("EMPTY", Subject::name);
    let message = format!("criu failed: type {subject} errno {}", response.errno);
    match response.reason.trim_end() {
        "" => Error::new(Kind::System, message),
        reason => Error::caused(Kind::System, message, reason),
    }
}

/// `criu` of the `PATH`.
fn find_program() -> Result<CString> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("criu"))
        .find(|file: &PathBuf| is_program(file));
    let missing = || {
        let message = "exec: \"criu\": executable file not found in $PATH (Debian has it as package `criu`)";
        Error::new(Kind::Unsupported, message)
    };
    path_string(&found.ok_or_else(missing)?)
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    Path::metadata(file).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
