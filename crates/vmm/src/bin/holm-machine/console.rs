//! What the guest's kernel prints: the last of it is kept, to say why a machine ended.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

/// Bytes that are kept.
const KEPT: usize = 16 * 1024;

/// The end of what a console printed.
#[derive(Debug, Default)]
pub struct Console {
    tail: VecDeque<u8>,
}

impl Console {
    /// Reads a part of what is there; false once there will be no more. A console that never stops gets its turn, and
    /// no more than that.
    pub fn read(&mut self, console: BorrowedFd<'_>) -> bool {
        let mut buffer = [0; KEPT];
        match rustix::io::read(console, &mut buffer) {
            Ok(0) => false,
            Ok(length) => {
                self.push(&buffer[..length]);
                true
            }
            Err(errno) => matches!(errno, holm_sys::Errno::AGAIN | holm_sys::Errno::INTR),
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.tail.extend(bytes);
        let surplus = self.tail.len().saturating_sub(KEPT);
        self.tail.drain(..surplus);
    }

    /// What the kernel said when it panicked, if it did.
    pub fn panic(&self) -> Option<String> {
        let text = self.text();
        let line = text.lines().find(|line| line.contains("Kernel panic"))?;
        Some(message(line).to_owned())
    }

    /// The last line, for a machine that ended without a word; not the one that only says that it ends.
    pub fn last_line(&self) -> Option<String> {
        let text = self.text();
        let mut lines = text.lines().map(message);
        lines.rfind(|line| !line.is_empty() && !line.starts_with("reboot: ")).map(str::to_owned)
    }

    /// As text of printable characters: a guest may print anything.
    fn text(&self) -> String {
        let bytes: Vec<u8> = self.tail.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.chars().filter(|character| *character == '\n' || !character.is_control()).collect()
    }
}

/// A line without the kernel's clock in front: `[    1.234567] words`.
fn message(line: &str) -> &str {
    let line = line.trim();
    line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(line, |(_, message)| message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_found_and_little_is_kept() {
        let mut console = Console::default();
        for _ in 0..100 {
            console.push(&[b'x'; 1000]);
        }
        assert!(console.tail.len() <= KEPT);
        console.push(b"\n[    1.204501] Kernel panic - not syncing: Attempted to kill init!\x1b[0m\r\n[    1.3] end\r\n\r\n");
        let expected = "Kernel panic - not syncing: Attempted to kill init![0m";
        assert_eq!(console.panic().as_deref(), Some(expected));
        assert_eq!(console.last_line().as_deref(), Some("end"));
        console.push(b"[    1.4] reboot: Power down\r\n");
        assert_eq!(console.last_line().as_deref(), Some("end"), "why, not that");
        assert_eq!(Console::default().last_line(), None);
    }
}
