//! What a build tells while it goes on.

use std::time::Duration;

/// Who is told. Several steps go on at a time.
pub trait Progress: Sync {
    /// A step begins: `[stage 2/7] RUN make`. Gives what the step is called from now on.
    fn begin(&self, title: &str) -> usize;
    /// It is not there and has to be made, for these reasons.
    fn missed(&self, step: usize, reasons: &[String]);
    /// What its command writes.
    fn output(&self, step: usize, bytes: &[u8]);
    /// It is over, after so long.
    fn ended(&self, step: usize, how: Ended, time: Duration);
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was there already.
    Cached,
    /// It was made.
    Made,
    /// It failed; why is the build's error.
    Failed,
    /// It was given up, since another one failed.
    Stopped,
}
