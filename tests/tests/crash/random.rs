//! Numbers that look random and are the same in each run.

use std::time::Duration;

/// A generator (xorshift64).
pub struct Random(u64);

impl Random {
    /// Numbers of a seed, which is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A duration below a limit.
    pub fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let nanos = u64::try_from(limit.as_nanos()).expect("limits are short");
        Duration::from_nanos(self.0 % nanos)
    }
}
