//! Descriptors that are handed to other programs: the terminal's master, a pidfd, the seccomp listener.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use holm_runtime::bundle::Bundle;
use holm_runtime::seccomp::filter::Listener;
use holm_runtime::{Error, Kind, Result};
use holm_sys::process::Child;
use holm_sys::socket;
use serde_json::json;

use crate::command::{SPEC_VERSION, state};

/// Sends the terminal's master to `socket`, or gives it back if there is none.
pub fn hand_over(terminal: Option<OwnedFd>, socket: Option<&Path>) -> Result<Option<OwnedFd>> {
    let (Some(terminal), Some(path)) = (&terminal, socket) else { return Ok(terminal) };
    // The name that the receiver may show.
    send(path, b"/dev/ptmx", terminal.as_fd(), "console socket")?;
    Ok(None)
}

/// Sends a pidfd of the process, if a socket for it is named.
pub fn send_pidfd(socket: Option<&Path>, kind: &str, child: &Child) -> Result<()> {
    socket.map_or(Ok(()), |path| send(path, kind.as_bytes(), child.pidfd.as_fd(), "pidfd socket"))
}

/// Sends the seccomp listener to the agent that the configuration names (OCI runtime specification, "The Container
/// Process State").
pub fn send_listener(
    asked: Option<&Listener>,
    listener: &OwnedFd,
    id: &str,
    bundle: &Bundle,
    pid: i32,
    status: &str,
) -> Result<()> {
    let asked = asked.ok_or_else(|| {
        Error::invalid("a listener without a socket").at_field("linux.seccomp.listenerPath")
    })?;
    let state = state::document(id, status, Some(pid), &bundle.directory, bundle.spec.annotations().as_ref());
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
    let mut message = json!({ "ociVersion": SPEC_VERSION, "fds": ["seccompFd"], "pid": pid });
    if let Some(metadata) = &asked.metadata {
        message["metadata"] = json!(metadata);
    }
    message["state"] = state;
    send(&asked.path, message.to_string().as_bytes(), listener.as_fd(), "seccomp agent")
}

fn send(path: &Path, payload: &[u8], descriptor: BorrowedFd<'_>, what: &str) -> Result<()> {
    let failed = |error| Error::system(format!("failed to connect with {what} `{}`", path.display()), error);
    let stream = UnixStream::connect(path).map_err(failed)?;
    socket::send_descriptor(stream.as_fd(), payload, descriptor).map_err(|errno| {
        Error::caused(Kind::System, format!("send to the {what} `{}`", path.display()), errno)
    })
}
