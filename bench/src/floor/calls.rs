//! The record of the system calls that a floor makes.
//!
//! [`Calls::make`] runs one system call, names it, and turns its error into a [`Failure`]. With recording on,
//! the name goes to a page shared with the child before the call is made, so that `execve`, which does not
//! return, is in the list too. With recording off it costs one branch. Nothing here allocates: the child of a
//! fork uses it.

use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use rustix::io::Errno;

use super::sys;

/// Bytes of text that a record holds: about two hundred calls.
pub const LOG_BYTES: usize = 16 * 1024;

/// The text of a record, in memory that parent and child share. All zero is an empty record.
pub struct Log {
    length: AtomicUsize,
    text: [AtomicU8; LOG_BYTES],
}

impl Log {
    fn append(&self, parts: &[&str]) {
        let size = parts.iter().map(|part| part.len()).sum();
        let start = self.length.fetch_add(size, Ordering::Relaxed);
        let bytes = parts.iter().flat_map(|part| part.bytes());
        for (slot, byte) in self.text.iter().skip(start).zip(bytes) {
            slot.store(byte, Ordering::Relaxed);
        }
    }

    fn text(&self) -> String {
        let length = self.length.load(Ordering::Relaxed);
        let bytes = self.text.iter().take(length).map(|slot| slot.load(Ordering::Relaxed)).collect();
        String::from_utf8(bytes).expect("only whole strings are appended")
    }
}

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The name of the system call.
    pub call: &'static str,
    /// What it was made on.
    pub object: &'static str,
    /// What the kernel answered.
    pub errno: Errno,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} `{}`: {}", self.call, self.object, self.errno)
    }
}

impl std::error::Error for Failure {}

/// Makes system calls by name, and records them if asked to.
#[derive(Clone, Copy)]
pub struct Calls {
    process: &'static str,
    log: Option<&'static Log>,
}

impl Calls {
    /// Makes calls and records nothing.
    pub fn unrecorded() -> Self {
        Self { process: "parent", log: None }
    }

    /// Records every call.
    ///
    /// # Errors
    /// When the shared page cannot be mapped.
    pub fn recorded() -> Result<Self, Failure> {
        let log =
            sys::shared_log().map_err(|errno| Failure { call: "mmap", object: "record of calls", errno })?;
        Ok(Self { process: "parent", log: Some(log) })
    }

    /// The same record, as the child writes it.
    #[must_use]
    pub fn in_child(self) -> Self {
        Self { process: "child", ..self }
    }

    /// Makes one system call and names it in the record and in the error.
    ///
    /// # Errors
    /// Whatever `action` answers.
    pub fn make<T>(
        &self,
        call: &'static str,
        object: &'static str,
        action: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<T, Failure> {
        self.note(call, object);
        action().map_err(|errno| Failure { call, object, errno })
    }

    /// Records a call that cannot fail, such as `close`.
    pub fn note(&self, call: &str, object: &str) {
        if let Some(log) = self.log {
            log.append(&[self.process, " ", call, "  ", object, "\n"]);
        }
    }

    /// The record: one line a call, in order, repeated lines folded to one with a count. Empty when nothing
    /// was recorded.
    pub fn lines(&self) -> Vec<String> {
        self.log.map(|log| fold(&log.text())).unwrap_or_default()
    }
}

fn fold(text: &str) -> Vec<String> {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for line in text.lines() {
        match runs.last_mut() {
            Some((last, count)) if *last == line => *count += 1,
            _ => runs.push((line, 1)),
        }
    }
    runs.into_iter()
        .map(|(line, count)| if count == 1 { line.to_owned() } else { format!("{line}  x {count}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_order_process_and_count() {
        let calls = Calls::recorded().unwrap();
        calls.make("mkdirat", "group", || Ok(())).unwrap();
        for _ in 0..3 {
            calls.in_child().note("prctl", "bounding set");
        }
        calls.note("close", "image");
        assert_eq!(
            calls.lines(),
            ["parent mkdirat  group", "child prctl  bounding set  x 3", "parent close  image"]
        );
    }

    #[test]
    fn a_failed_call_is_recorded_and_named() {
        let calls = Calls::recorded().unwrap();
        let failure = calls.make("mount", "proc", || Err::<(), _>(Errno::PERM)).unwrap_err();
        assert_eq!(failure, Failure { call: "mount", object: "proc", errno: Errno::PERM });
        assert_eq!(calls.lines(), ["parent mount  proc"]);
    }

    #[test]
    fn a_full_record_drops_the_rest_and_does_not_panic() {
        let log =
            Log { length: AtomicUsize::new(LOG_BYTES - 2), text: [const { AtomicU8::new(b'.') }; LOG_BYTES] };
        log.append(&["abcdef"]);
        assert_eq!(log.text().len(), LOG_BYTES);
        assert!(log.text().ends_with(".ab"));
    }

    #[test]
    fn nothing_is_kept_without_recording() {
        let calls = Calls::unrecorded();
        calls.note("close", "image");
        assert!(calls.lines().is_empty());
    }
}
