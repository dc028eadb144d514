//! Runs by turns: A, B, C, then C, B, A, and so on, so that a change of the machine's load meets all alike.

use std::time::{Duration, Instant};

use holm_bench::floor::sys;

use super::process::{Launch, Sample};

/// One side of a comparison.
pub struct Side {
    /// How the report names it.
    pub name: String,
    /// What is run.
    pub launch: Launch,
    /// Makes what a run needs, outside the measured time and before the pause.
    pub prepare: Option<Step>,
    /// Undoes what a run left, outside the measured time; also after one that failed.
    pub reset: Option<Step>,
}

/// What is done around a run.
pub type Step = Box<dyn Fn() -> anyhow::Result<()>>;

impl Side {
    /// One that needs nothing around it.
    pub fn plain(name: &str, launch: Launch) -> Self {
        Self { name: name.to_owned(), launch, prepare: None, reset: None }
    }
}

/// All samples of one side, or why it dropped out.
pub struct Series {
    /// As in [`Side`].
    pub name: String,
    /// One sample a run.
    pub samples: Result<Vec<Sample>, String>,
}

/// Minimum, median and maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of no values, zeros.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (values.first(), values.last()) else { return Self::default() };
        let upper = values.get(values.len() / 2).copied().unwrap_or(max);
        let lower = values.get((values.len() - 1) / 2).copied().unwrap_or(min);
        Self { min, median: f64::midpoint(lower, upper), max }
    }
}

/// Runs every side once unmeasured, then `runs` times by turns with a pause of `gap` before each run. A side
/// that fails drops out with its reason; the others go on.
pub fn alternate(sides: &[&Side], runs: u32, gap: Duration) -> Vec<Series> {
    let mut samples: Vec<Result<Vec<Sample>, String>> =
        sides.iter().map(|side| once(side, Duration::ZERO).map(|_| Vec::new())).collect();
    for round in 0..runs {
        let mut turn: Vec<_> = sides.iter().zip(&mut samples).collect();
        if round % 2 == 1 {
            turn.reverse();
        }
        for (side, collected) in turn {
            take_turn(side, gap, collected);
        }
    }
    sides.iter().zip(samples).map(|(side, samples)| Series { name: side.name.clone(), samples }).collect()
}

fn take_turn(side: &Side, gap: Duration, collected: &mut Result<Vec<Sample>, String>) {
    let Ok(samples) = collected else { return };
    match once(side, gap) {
        Ok(sample) => samples.push(sample),
        Err(reason) => *collected = Err(reason),
    }
}

fn once(side: &Side, gap: Duration) -> Result<Sample, String> {
    if sys::interrupted() {
        return Err("interrupted by a signal".to_owned());
    }
    let step = |step: &Option<Step>| step.as_ref().map_or(Ok(()), |step| step());
    let sample = step(&side.prepare).and_then(|()| {
        pause(gap);
        side.launch.time()
    });
    // What failed first is what is told.
    let reset = step(&side.reset);
    sample.and_then(|sample| reset.map(|()| sample)).map_err(|error| format!("{error:#}"))
}

/// Sleeps in full, signals or not.
fn pause(gap: Duration) {
    let end = Instant::now() + gap;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::sleep(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_even_odd_and_no_values() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn a_side_that_fails_drops_out_alone() {
        let side = |name, program| Side::plain(name, Launch::new(program));
        let series = alternate(&[&side("good", "/bin/true"), &side("bad", "/bin/false")], 3, Duration::ZERO);
        assert_eq!(series[0].samples.as_ref().unwrap().len(), 3);
        assert!(series[1].samples.as_ref().unwrap_err().contains("exit status: 1"));
    }
}
