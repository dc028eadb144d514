//! Agents of SSH keys, for commands of builds: a socket of the step's own for each, whose connections are led to the agent. The agent
//! sees this process, not one of a user that it does not know.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Most connections at a time.
const CONNECTIONS: usize = 64;

/// The agents of a step; they end with it.
#[derive(Default)]
pub(super) struct Agents(Vec<Agent>);

struct Agent {
    listener: Arc<UnixListener>,
    connections: Arc<Connections>,
    accepting: Option<JoinHandle<()>>,
}

/// What is open, to be shut down at the end.
#[derive(Default)]
struct Connections(Mutex<Open>);

#[derive(Default)]
struct Open {
    over: bool,
    /// How many there were.
    count: usize,
    /// Both ends of each, by its number.
    pairs: BTreeMap<usize, (UnixStream, UnixStream)>,
}

impl Agents {
    /// A socket in `directory` that leads to an agent.
    ///
    /// # Errors
    /// Nobody listens at `socket`; ours cannot be made.
    pub fn begin(
        &mut self,
        socket: &Path,
        directory: &Path,
        mode: u32,
        owner: (u32, u32),
    ) -> Result<PathBuf, String> {
        UnixStream::connect(socket)
            .map_err(|error| format!("reach the agent of SSH keys at `{}`: {error}", socket.display()))?;
        let path = directory.join(format!("agent{}", self.0.len()));
        let failed = |error| format!("make the socket `{}`: {error}", path.display());
        let listener = UnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
            .and_then(|()| chown(&path, Some(owner.0), Some(owner.1)))
            .map_err(failed)?;
        let (listener, connections) = (Arc::new(listener), Arc::new(Connections::default()));
        let (accepted, shared, socket) = (listener.clone(), connections.clone(), socket.to_owned());
        let accepting = std::thread::spawn(move || accept(&accepted, &socket, &shared));
        self.0.push(Agent { listener, connections, accepting: Some(accepting) });
        Ok(path)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.connections.end();
        // Wakes who waits for the next connection.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Read);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a connection and gives its number, unless there are too many or the step is over.
    fn add(&self, ours: &UnixStream, agents: &UnixStream) -> Option<usize> {
        let mut open = self.lock();
        if open.over || open.pairs.len() >= CONNECTIONS {
            return None;
        }
        let pair = (ours.try_clone().ok()?, agents.try_clone().ok()?);
        open.count += 1;
        let number = open.count;
        open.pairs.insert(number, pair);
        Some(number)
    }

    fn end(&self) {
        let mut open = self.lock();
        open.over = true;
        for (ours, agents) in open.pairs.values() {
            let _ = (ours.shutdown(Shutdown::Both), agents.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &UnixListener, socket: &Path, connections: &Arc<Connections>) {
    std::thread::scope(|scope| {
        while let Ok((ours, _)) = listener.accept() {
            if connections.lock().over {
                return;
            }
            // An agent that went away answers nobody.
            let Ok(agents) = UnixStream::connect(socket) else { continue };
            if let Some(number) = connections.add(&ours, &agents) {
                scope.spawn(move || {
                    lead(&ours, &agents);
                    connections.lock().pairs.remove(&number);
                });
            }
        }
    });
}

/// Leads one connection until either side ends it.
fn lead(ours: &UnixStream, agents: &UnixStream) {
    std::thread::scope(|scope| {
        scope.spawn(|| copy(ours, agents));
        copy(agents, ours);
    });
}

fn copy(mut from: &UnixStream, mut to: &UnixStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = (to.shutdown(Shutdown::Write), from.shutdown(Shutdown::Read));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every connection with what it says.
    fn echo(listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            std::thread::spawn(move || copy(&stream, &stream));
        }
    }

    #[test]
    fn connections_are_led_to_the_agent_until_the_step_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("real");
        let listener = UnixListener::bind(&socket).expect("a socket");
        std::thread::spawn(move || echo(&listener));
        let mut agents = Agents::default();
        let path = agents.begin(&socket, directory.path(), 0o600, (0, 0)).expect("an agent");
        let ask = || {
            let mut stream = UnixStream::connect(&path)?;
            stream.write_all(b"question")?;
            let mut answer = [0; 8];
            stream.read_exact(&mut answer)?;
            assert_eq!(&answer, b"question");
            Ok::<_, std::io::Error>(stream)
        };
        // More than there may be at a time, one after the other.
        for _ in 0..=2 * CONNECTIONS {
            ask().expect("an answer");
        }
        let mut open = ask().expect("an answer");
        drop(agents);
        assert_eq!(open.read(&mut [0; 8]).expect("the end"), 0);
        assert!(ask().is_err());
        let nobody = Agents::default().begin(&directory.path().join("none"), directory.path(), 0o600, (0, 0));
        assert!(nobody.expect_err("nobody").contains("none"));
    }
}
