//! The user's terminal: its size, and raw mode that is taken back on every way out.
//!
//! A guard restores the terminal when it is dropped; a panic, which aborts the process, restores it through a hook.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, Once};

use holm_spec::keeper::WindowSize;
use rustix::io::Errno;
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

/// A terminal that is raw, and the modes that it goes back to.
static SAVED: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// Whether standard input is a terminal.
pub fn is_input_terminal() -> bool {
    isatty(rustix::stdio::stdin())
}

/// Whether standard output is a terminal.
pub fn is_output_terminal() -> bool {
    isatty(rustix::stdio::stdout())
}

/// Whether standard error is a terminal.
pub fn is_error_terminal() -> bool {
    isatty(rustix::stdio::stderr())
}

/// Whether standard error is a terminal that takes orders to its cursor.
pub fn is_error_screen() -> bool {
    is_error_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Whether standard output is a terminal that takes orders to its cursor.
pub fn is_output_screen() -> bool {
    isatty(rustix::stdio::stdout()) && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// The size of the window that the output goes to, if any of the streams is a terminal with a size.
pub fn window_size() -> Option<WindowSize> {
    let streams = [rustix::stdio::stdout(), rustix::stdio::stdin(), rustix::stdio::stderr()];
    streams.into_iter().find_map(size_of)
}

fn size_of(descriptor: BorrowedFd<'_>) -> Option<WindowSize> {
    let size = tcgetwinsize(descriptor).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some(WindowSize { rows: size.ws_row, columns: size.ws_col })
}

/// Asks for a line on the terminal that standard input is.
///
/// # Errors
/// Of read(2).
pub fn ask(prompt: &str) -> Result<String, Errno> {
    // Who does not see the question may still know it.
    let _ = crate::printer::write_all(rustix::stdio::stderr(), prompt.as_bytes());
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a line that does not show while it is typed. Keys that would end the program end the question first, so that
/// the terminal does not stay silent.
///
/// # Errors
/// `EINTR` where the question was broken off; of tcsetattr(3) and read(2).
pub fn ask_secret(prompt: &str) -> Result<String, Errno> {
    let terminal = rustix::stdio::stdin();
    let before = tcgetattr(terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    *saved() = Some((rustix::io::fcntl_dupfd_cloexec(terminal, 3)?, before));
    HOOK.call_once(restore_on_panic);
    tcsetattr(terminal, OptionalActions::Flush, &silent)?;
    // Who does not see the question may still know it.
    let _ = crate::printer::write_all(rustix::stdio::stderr(), prompt.as_bytes());
    let answer = read_secret();
    restore();
    let _ = crate::printer::write_all(rustix::stdio::stderr(), b"\n");
    answer
}

/// Keys up to the end of the line, with the ones that take some back.
fn read_secret() -> Result<String, Errno> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const KILL: u8 = 0x15;
    const QUIT: u8 = 0x1c;
    const ERASE: [u8; 2] = [8, 0x7f];
    let mut line = Vec::new();
    let mut key = [0];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut key) {
            Ok(0) => break,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        match key[0] {
            b'\n' | b'\r' | END => break,
            INTERRUPT | QUIT => return Err(Errno::INTR),
            KILL => line.clear(),
            key if ERASE.contains(&key) => erase(&mut line),
            key => line.push(key),
        }
    }
    String::from_utf8(line).map_err(|_| Errno::ILSEQ)
}

/// Takes back the last character, which may be of several bytes.
fn erase(line: &mut Vec<u8>) {
    while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
}

/// A terminal in raw mode: keys are handed on as they are typed, signals are not made of them. One at a time.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    raw: Termios,
}

impl RawMode {
    /// Makes a terminal raw.
    ///
    /// # Errors
    /// `ENOTTY` if it is none.
    pub fn enter(terminal: BorrowedFd<'_>) -> Result<Self, Errno> {
        let before = tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        let duplicate = || rustix::io::fcntl_dupfd_cloexec(terminal, 3);
        let mode = Self { terminal: duplicate()?, raw };
        HOOK.call_once(restore_on_panic);
        *saved() = Some((duplicate()?, before));
        mode.again()?;
        Ok(mode)
    }

    /// Makes it raw once more, after the shell had the terminal in between.
    ///
    /// # Errors
    /// Of tcsetattr(3).
    pub fn again(&self) -> Result<(), Errno> {
        tcsetattr(self.terminal.as_fd(), OptionalActions::Now, &self.raw)
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn saved() -> std::sync::MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    SAVED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn restore() {
    if let Some((terminal, before)) = saved().take() {
        // The terminal may be gone; there is nothing to restore then.
        let _ = tcsetattr(terminal.as_fd(), OptionalActions::Now, &before);
    }
}

fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        report(panic);
    }));
}
