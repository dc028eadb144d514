//! What a build tells while it goes on.

use std::time::Duration;

/// Who is told. Steps follow each other.
pub trait Progress {
    /// A step begins: `[stage 2/7] RUN make`.
    fn begin(&mut self, title: &str);
    /// What its command writes.
    fn output(&mut self, bytes: &[u8]);
    /// It is over, after so long; nothing had to be done if it was there already.
    fn done(&mut self, cached: bool, time: Duration);
    /// It failed; why is the build's error.
    fn failed(&mut self);
}
