//! One run of the program on a terminal of its own, as a person would use it.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{Holm, TIMEOUT, isolation};

/// A program with a controlling terminal. Dropping it kills the program.
pub struct Terminal {
    child: Child,
    side: File,
    screen: Arc<Mutex<Vec<u8>>>,
    deadline: Instant,
}

impl Terminal {
    /// Calls Holm on a new terminal of this many rows and columns.
    ///
    /// # Panics
    /// If the host gives no terminal or has no `setsid` program.
    #[must_use]
    pub fn start(holm: &Holm, arguments: &[&str], rows: u16, columns: u16) -> Self {
        Self::command(session_of(holm, arguments), rows, columns)
    }

    /// Runs any command that makes the terminal on its standard streams its own, as `setsid --ctty` does.
    ///
    /// # Panics
    /// As [`Terminal::start`].
    #[must_use]
    pub fn command(mut command: Command, rows: u16, columns: u16) -> Self {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).expect("its other side");
        unlockpt(&ours).expect("its other side");
        let name = ptsname(&ours, Vec::new()).expect("its name").into_string().expect("a plain name");
        set_size(&ours, rows, columns);
        let theirs = File::options().read(true).write(true).open(name).expect("its other side");
        let stream = || Stdio::from(theirs.try_clone().expect("a descriptor"));
        command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream());
        let child = command.spawn().expect("setsid is installed");
        let side = File::from(ours);
        let screen = collect(side.try_clone().expect("a descriptor"));
        Self { child, side, screen, deadline: Instant::now() + TIMEOUT * isolation::slowness() }
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Types keys.
    pub fn keys(&mut self, keys: &str) {
        self.side.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Gives the window another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        set_size(&self.side, rows, columns);
    }

    /// All that appeared so far.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("no panic while it is held")).into_owned()
    }

    /// Waits until a text has appeared.
    ///
    /// # Panics
    /// If it does not before the time is over.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        while !self.screen().contains(text) {
            assert!(Instant::now() < self.deadline, "no {text:?} on the screen: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// All that appeared, once nobody has the other side open any more.
    ///
    /// # Panics
    /// If that does not come before the time is over.
    #[must_use]
    pub fn rest(&self) -> String {
        while Arc::strong_count(&self.screen) > 1 {
            assert!(Instant::now() < self.deadline, "the terminal stays open");
            std::thread::sleep(Duration::from_millis(3));
        }
        self.screen()
    }

    /// Waits until the program ends and returns its exit code, with 128 + n for signal n.
    ///
    /// # Panics
    /// If it does not before the time is over.
    #[track_caller]
    pub fn finish(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
            }
            assert!(Instant::now() < self.deadline, "it does not end; the screen: {:?}", self.screen());
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Holm as the leader of a session with a terminal. `setsid` does not fork here, since it is not the
/// leader of a process group, so the child is the program itself.
fn session_of(holm: &Holm, arguments: &[&str]) -> Command {
    let program = holm.command();
    let mut command = Command::new("setsid");
    command.arg("--ctty").arg(program.get_program()).args(program.get_args());
    command.args(holm.arguments(arguments));
    if let Some(directory) = program.get_current_dir() {
        command.current_dir(directory);
    }
    command
}

fn set_size(side: impl std::os::fd::AsFd, rows: u16, columns: u16) {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(side, size).expect("a terminal has a size");
}

fn collect(mut side: File) -> Arc<Mutex<Vec<u8>>> {
    let screen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&screen);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        // EIO says that the other side is closed.
        while let Ok(count @ 1..) = side.read(&mut buffer) {
            into.lock().expect("no panic while it is held").extend_from_slice(&buffer[..count]);
        }
    });
    screen
}
