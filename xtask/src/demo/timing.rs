//! How long a command takes from start to end, beside another: paired runs, so that both meet the same machine.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::process;

/// How many pairs are run.
const PAIRS: usize = 10;

/// Two medians.
pub struct Pair {
    /// Of the first command.
    pub first: Duration,
    /// Of the second.
    pub second: Duration,
}

/// Runs both commands in turn and returns the median of each. The first pair only warms caches.
///
/// # Errors
/// A run fails.
pub fn compare(first: impl Fn() -> Command, second: impl Fn() -> Command) -> Result<Pair> {
    let (mut ones, mut twos) = (Vec::new(), Vec::new());
    for _ in 0..=PAIRS {
        ones.push(time(first())?);
        twos.push(time(second())?);
    }
    Ok(Pair { first: median(&mut ones[1..]), second: median(&mut twos[1..]) })
}

fn time(mut command: Command) -> Result<Duration> {
    let start = Instant::now();
    let output = process::collect(&mut command)?;
    let elapsed = start.elapsed();
    if !output.status.success() {
        bail!(
            "`{}` failed with {}{}",
            process::line(&command),
            output.status,
            process::last_line(&output.stderr)
        );
    }
    Ok(elapsed)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        let mut times = [5, 1, 9, 3, 200].map(Duration::from_millis);
        assert_eq!(median(&mut times), Duration::from_millis(5));
    }

    #[test]
    fn both_commands_are_run_and_must_succeed() {
        let pair = compare(|| Command::new("true"), || Command::new("true")).unwrap();
        assert!(pair.first > Duration::ZERO && pair.second > Duration::ZERO);
        assert!(compare(|| Command::new("true"), || Command::new("false")).is_err());
    }
}
