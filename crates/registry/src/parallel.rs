//! The same work for several things, a few at a time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;

/// Things that are worked on at a time, where nothing else is said.
pub const AT_A_TIME: usize = 2;
/// Locks are held for assignments only.
const UNSPOILT: &str = "nobody panics with it";

/// Does the same to each of some things, `at_a_time` of them; begins nothing more after the first error.
///
/// # Errors
/// That one, whichever thing it was of.
pub fn in_parallel<T: Sync, R: Send>(
    things: &[T],
    at_a_time: usize,
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let results: Vec<Mutex<Option<R>>> = things.iter().map(|_| Mutex::default()).collect();
    std::thread::scope(|scope| {
        for _ in 0..at_a_time.min(things.len()) {
            scope.spawn(|| {
                while failure.lock().expect(UNSPOILT).is_none() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some((thing, slot)) = things.get(place).zip(results.get(place)) else { return };
                    match work(thing) {
                        Ok(result) => *slot.lock().expect(UNSPOILT) = Some(result),
                        Err(error) => drop(failure.lock().expect(UNSPOILT).get_or_insert(error)),
                    }
                }
            });
        }
    });
    match failure.into_inner().expect(UNSPOILT) {
        Some(error) => Err(error),
        None => Ok(results.into_iter().filter_map(|slot| slot.into_inner().expect(UNSPOILT)).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};

    #[test]
    fn results_keep_their_order_and_one_failure_ends_it() {
        let numbers: Vec<usize> = (0..20).collect();
        assert_eq!(
            in_parallel(&numbers, AT_A_TIME, |number| Ok(number * 2)).expect("all"),
            numbers.iter().map(|n| n * 2).collect::<Vec<_>>()
        );
        let failing = |number: &usize| match number {
            7 => Err(Error::new(Kind::Io, "seven")),
            number => Ok(*number),
        };
        assert_eq!(in_parallel(&numbers, AT_A_TIME, failing).expect_err("one failed").to_string(), "seven");
        assert_eq!(in_parallel(&[] as &[usize], AT_A_TIME, failing).expect("nothing"), Vec::<usize>::new());
    }
}
