//! QEMU's machine protocol (docs/interop/qmp-spec): a JSON object a line, answers in the order of commands, events in
//! between. QEMU is not trusted: lines are bounded, and an answer has a deadline.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Error, Result};

/// Longest line in bytes.
const LINE_LIMIT: usize = 1 << 20;
/// Most events that nobody has asked for.
const EVENTS_LIMIT: usize = 1024;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection to an emulator.
#[derive(Debug)]
pub struct Qmp {
    socket: UnixStream,
    pending: Vec<u8>,
    events: VecDeque<Value>,
    closed: bool,
}

impl Qmp {
    /// A connection that the emulator has not greeted on yet.
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, pending: Vec::new(), events: VecDeque::new(), closed: false }
    }

    /// The socket, readable when there may be an event.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether the emulator has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Waits for the greeting and leaves the mode of negotiation.
    ///
    /// # Errors
    /// The emulator ended or says something else.
    pub fn negotiate(&mut self) -> Result<()> {
        let greeting = self.wait_for("QMP")?;
        if greeting.get("QMP").is_none() {
            return Err(Error::new("the emulator does not greet as QEMU does"));
        }
        self.execute("qmp_capabilities", json!({})).map(drop)
    }

    /// Runs a command; what it returns.
    ///
    /// # Errors
    /// The emulator refuses, has ended, or does not answer.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value> {
        self.execute_with(command, arguments, None)
    }

    /// Runs a command that takes a descriptor along; what it returns.
    ///
    /// # Errors
    /// The emulator refuses, has ended, or does not answer.
    pub fn execute_with(
        &mut self,
        command: &str,
        arguments: Value,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<Value> {
        let mut text = json!({ "execute": command, "arguments": arguments }).to_string();
        text.push('\n');
        self.send(text.as_bytes(), descriptor).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => gone(),
            _ => Error::caused("speak to the emulator", error),
        })?;
        let mut answer = self.wait_for(command)?;
        match answer.get("error") {
            Some(error) => Err(Error::new(error["desc"].as_str().unwrap_or("no reason given").to_owned())),
            None => Ok(answer.get_mut("return").map_or(Value::Null, Value::take)),
        }
    }

    /// Sends a line; the descriptor goes with its first byte.
    fn send(&mut self, line: &[u8], descriptor: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
        self.socket.set_nonblocking(false)?;
        let Some(descriptor) = descriptor else { return self.socket.write_all(line) };
        holm_sys::socket::send_descriptor(self.socket.as_fd(), &line[..1], descriptor)?;
        self.socket.write_all(&line[1..])
    }

    /// The next event that is there.
    pub fn next_event(&mut self) -> Option<Value> {
        if self.events.is_empty() {
            self.read_what_is_there();
            while let Some(message) = self.next_message() {
                self.keep_event(message);
            }
        }
        self.events.pop_front()
    }

    /// The next message that is no event.
    fn wait_for(&mut self, what: &str) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(message) = self.next_message() {
                if message.get("event").is_none() {
                    return Ok(message);
                }
                self.keep_event(message);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::new(format!("the emulator does not answer `{what}`")));
            }
            self.read_within(left)?;
        }
    }

    fn keep_event(&mut self, message: Value) {
        if message.get("event").is_some() && self.events.len() < EVENTS_LIMIT {
            self.events.push_back(message);
        }
    }

    /// The next line that is whole; one that is not JSON is skipped.
    fn next_message(&mut self) -> Option<Value> {
        loop {
            let end = self.pending.iter().position(|&byte| byte == b'\n')?;
            let message = serde_json::from_slice(&self.pending[..end]).ok();
            self.pending.drain(..=end);
            if message.is_some() {
                return message;
            }
        }
    }

    fn read_within(&mut self, time: Duration) -> Result<()> {
        let prepared =
            self.socket.set_nonblocking(false).and_then(|()| self.socket.set_read_timeout(Some(time)));
        prepared.map_err(|error| Error::caused("listen to the emulator", error))?;
        match self.read() {
            Ok(0) => Err(gone()),
            Ok(_) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(())
            }
            Err(_) => Err(gone()),
        }
    }

    fn read_what_is_there(&mut self) {
        if self.socket.set_nonblocking(true).is_ok() {
            while self.read().is_ok_and(|length| length > 0) {}
        }
    }

    fn read(&mut self) -> std::io::Result<usize> {
        let mut buffer = [0; 4096];
        let read = self.socket.read(&mut buffer);
        match &read {
            Ok(length) => {
                self.closed |= *length == 0;
                self.pending.extend_from_slice(&buffer[..*length]);
            }
            Err(error) => {
                self.closed |= matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
            }
        }
        if self.pending.len() > LINE_LIMIT && !self.pending.contains(&b'\n') {
            self.pending.clear();
        }
        read
    }
}

fn gone() -> Error {
    Error::new("the emulator has ended")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// An emulator that says these lines, one for each command but the first, which is the greeting.
    fn emulator(lines: &'static [&'static str]) -> Qmp {
        let (ours, mut theirs) = UnixStream::pair().expect("socketpair");
        std::thread::spawn(move || {
            let mut commands = BufReader::new(theirs.try_clone().expect("dup"));
            for (at, line) in lines.iter().enumerate() {
                let mut command = String::new();
                if at > 0 && commands.read_line(&mut command).is_err() {
                    return;
                }
                if theirs.write_all(format!("{line}\r\n").as_bytes()).is_err() {
                    return;
                }
            }
        });
        Qmp::new(ours)
    }

    #[test]
    fn answers_and_events_are_told_apart() {
        let mut qmp = emulator(&[
            r#"{"QMP": {"version": {}}}"#,
            r#"{"return": {}}"#,
            "{\"event\": \"STOP\"}\n{\"return\": {\"value\": 5}}",
            r#"{"error": {"class": "GenericError", "desc": "no balloon"}}"#,
        ]);
        qmp.negotiate().expect("greeting");
        assert_eq!(qmp.execute("query", json!({})).expect("answer"), json!({"value": 5}));
        assert_eq!(qmp.next_event(), Some(json!({"event": "STOP"})));
        assert_eq!(qmp.execute("balloon", json!({})).expect_err("refused").to_string(), "no balloon");
    }

    #[test]
    fn an_emulator_that_ends_is_an_error_and_noise_is_none() {
        let mut qmp = emulator(&["noise\n\n{\"QMP\": {}}"]);
        assert_eq!(qmp.negotiate().expect_err("it ended").to_string(), "the emulator has ended");
        assert!(qmp.is_closed() || qmp.next_event().is_none());
    }
}
