//! How soon output is read. A workload that writes line by line wakes its keeper for every line, which costs many times what
//! the line does: after a burst of short reads, a reader that waits a moment finds many lines. Outputs that take turns are
//! read at once, or nobody would know which came first.

use std::time::{Duration, Instant};

/// What a burst waits: nobody who follows a log notices it.
const MOMENT: Duration = Duration::from_millis(1);

/// Short reads in a row that make a burst.
const BURST: u32 = 8;

/// Bytes of a read behind which more waits.
const MUCH: usize = 16 * 1024;

/// How one output came.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The process and the output that was read last.
    output: Option<(usize, usize)>,
    last: Option<Instant>,
    short_reads: u32,
}

impl Pace {
    /// Waits before an output is read, if that is in a burst.
    pub fn wait(&mut self, process: usize, which: usize) {
        if self.is_burst((process, which), Instant::now()) {
            std::thread::sleep(MOMENT);
        }
    }

    /// Takes note of how much was read.
    pub fn note(&mut self, length: usize) {
        self.short_reads = if length < MUCH { self.short_reads.saturating_add(1) } else { 0 };
    }

    fn is_burst(&mut self, output: (usize, usize), now: Instant) -> bool {
        let again = self.output.replace(output) == Some(output);
        let soon = self.last.replace(now).is_some_and(|last| now.duration_since(last) < MOMENT * 2);
        if !(again && soon) {
            self.short_reads = 0;
        }
        self.short_reads >= BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the last of so many reads waits, each of `length`, `pause` after the one before, of these outputs by turns.
    fn waits(reads: usize, length: usize, pause: Duration, outputs: &[(usize, usize)]) -> bool {
        let (mut pace, mut now, mut waits) = (Pace::default(), Instant::now(), false);
        for output in outputs.iter().cycle().take(reads) {
            now += pause;
            waits = pace.is_burst(*output, now);
            pace.note(length);
        }
        waits
    }

    #[test]
    fn only_bursts_of_short_reads_wait() {
        let (one, two, burst) = (&[(0, 0)], &[(0, 0), (0, 1)], 2 * BURST as usize);
        assert!(waits(burst, 100, MOMENT, one));
        assert!(!waits(BURST as usize, 100, MOMENT, one), "a prompt and a few lines come at once");
        assert!(!waits(burst, 100, MOMENT * 3, one), "what comes slowly");
        assert!(!waits(burst, MUCH, MOMENT, one), "what comes in large pieces");
        assert!(!waits(burst, 100, MOMENT, two), "outputs that take turns");
    }
}
