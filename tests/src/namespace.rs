//! Network namespaces: hosts that a test has for itself, with nothing but loopback until it makes more.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use crate::Call;

/// A network namespace, held by a process. Dropping it ends that; the namespace goes with the last process in it.
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// One with loopback up.
    ///
    /// # Panics
    /// If the host gives none.
    #[must_use]
    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep 3600"]);
        let mut holder = command.stdout(Stdio::piped()).spawn().expect("unshare is installed");
        let mut word = [0; 3];
        let output = holder.stdout.as_mut().expect("a pipe");
        output.read_exact(&mut word).expect("a network namespace");
        Self { holder }
    }

    /// Another host: it is 10.99.0.2 and finds this one at 10.99.0.1.
    ///
    /// # Panics
    /// If they cannot be connected.
    #[must_use]
    pub fn neighbour(&self) -> Self {
        let other = Self::new();
        self.shell(&format!(
            "ip link add c0 type veth peer name c1 netns {} && ip addr add 10.99.0.1/24 dev c0 && ip link set c0 up",
            other.pid()
        ));
        other.shell("ip addr add 10.99.0.2/24 dev c1 && ip link set c1 up");
        other
    }

    /// The process that holds it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A program that is to run inside.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg("--").arg(program);
        command
    }

    /// Runs a shell's script inside, and gives its output.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn shell(&self, script: &str) -> String {
        self.try_shell(script).ok()
    }

    /// Runs a shell's script inside.
    pub fn try_shell(&self, script: &str) -> crate::Outcome {
        let mut command = self.command("sh");
        command.args(["-c", script]);
        Call::new(command).run()
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
