//! What the agent has to say to people: lines among the kernel's messages, which go to the machine's console.
//!
//! No part of the protocol, and nothing that a workload says comes here. The kernel limits how many lines a process may
//! write a second, so a peer that makes no sense cannot flood the console.

use std::fs::File;
use std::io::Write as _;
use std::sync::OnceLock;

/// Longest line in bytes; the kernel refuses lines beyond about a thousand.
const LINE_LIMIT: usize = 900;
/// Priority "error" of syslog(2): shown also by a kernel that was told to be quiet.
const PRIORITY: &str = "<3>";

static MESSAGES: OnceLock<File> = OnceLock::new();

/// Opens the kernel's messages, which needs `/dev`, and lets a panic say its reason there.
pub fn open() {
    if let Ok(file) = File::options().write(true).open("/dev/kmsg") {
        let _ = MESSAGES.set(file);
    }
    std::panic::set_hook(Box::new(|panic| say(&panic.to_string())));
}

/// Says one line.
pub fn say(message: &str) {
    if let Some(mut file) = MESSAGES.get() {
        // A line that nobody can be told is lost.
        let _ = file.write(line(message).as_bytes());
    }
}

/// One line, whatever the message is.
fn line(message: &str) -> String {
    let mut line = format!("{PRIORITY}holm-agent: ");
    for character in message.chars().map(|character| if character.is_control() { ' ' } else { character }) {
        if line.len() + character.len_utf8() > LINE_LIMIT {
            break;
        }
        line.push(character);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        assert_eq!(line("one\ntwo\0"), "<3>holm-agent: one two ");
        assert!(line(&"ä".repeat(5000)).len() <= LINE_LIMIT);
    }
}
