//! The engine's side of `--console-socket`: a socket on which one message with one terminal arrives.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_tests::TIMEOUT;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A listening socket.
pub struct Receiver {
    listener: UnixListener,
    path: PathBuf,
}

/// What one message brought.
pub struct Received {
    /// The text beside the descriptor.
    pub text: String,
    /// The descriptor.
    pub descriptor: OwnedFd,
}

impl Receiver {
    /// Listens at a path.
    pub fn listen(path: &Path) -> Self {
        Self {
            listener: UnixListener::bind(path).expect("a socket in the test's directory"),
            path: path.to_owned(),
        }
    }

    /// The path as text.
    pub fn path(&self) -> &str {
        self.path.to_str().expect("temporary paths are text")
    }

    /// Waits for one connection with one message.
    #[track_caller]
    pub fn receive(&self) -> Received {
        wait_readable(&self.listener, "a connection");
        let (stream, _) = self.listener.accept().expect("a connection");
        wait_readable(&stream, "a message");
        let mut buffer = [0; 8192];
        let received = holm_sys::socket::receive_packet(stream.as_fd(), &mut buffer);
        let (length, descriptor) = received.expect("a message");
        let text = String::from_utf8(buffer[..length].to_vec()).expect("text");
        Received { text, descriptor: descriptor.expect("a descriptor came along") }
    }
}

#[track_caller]
fn wait_readable(source: impl AsFd, what: &str) {
    let mut sources = [PollFd::new(&source, PollFlags::IN)];
    let limit = Timespec { tv_sec: i64::try_from(TIMEOUT.as_secs()).expect("it is small"), tv_nsec: 0 };
    assert_eq!(poll(&mut sources, Some(&limit)).expect("poll"), 1, "not in time: {what}");
}

impl Received {
    /// Reads from the terminal until a text has come; returns all that came.
    #[track_caller]
    pub fn read_until(&self, text: &str) -> String {
        let mut terminal = File::from(self.descriptor.try_clone().expect("a descriptor"));
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut all = Vec::new();
        while !String::from_utf8_lossy(&all).contains(text) {
            assert!(Instant::now() < deadline, "no {text:?} in {:?}", String::from_utf8_lossy(&all));
            wait_readable(&terminal, text);
            let mut buffer = [0; 4096];
            let count = terminal.read(&mut buffer).unwrap_or(0);
            assert!(
                count > 0,
                "the terminal was closed before {text:?}: {:?}",
                String::from_utf8_lossy(&all)
            );
            all.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Types keys.
    pub fn keys(&self, keys: &str) {
        let mut terminal = File::from(self.descriptor.try_clone().expect("a descriptor"));
        terminal.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }
}
