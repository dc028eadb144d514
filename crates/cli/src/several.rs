//! Commands with several arguments: one that fails keeps nobody else from being served.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use crate::command_error::CommandError;
use crate::context::Context;

/// Exit code if any argument failed.
const SOME_FAILED: u8 = 1;
/// Most threads at once; where none can be made, one name follows the other.
const THREADS: usize = 32;

/// Does `action` with each name in turn. Failures are told as they happen.
///
/// # Errors
/// One that was told already, if any failed; at once if the output is closed.
pub fn each(
    context: &Context,
    names: &[String],
    mut action: impl FnMut(&str) -> Result<(), CommandError>,
) -> Result<u8, CommandError> {
    let mut code = 0;
    for name in names {
        match action(name) {
            Ok(()) => {}
            Err(error) if error.message().is_none() => return Err(error),
            Err(error) => {
                context.printer.error(&context.command, &error);
                code = error.code(SOME_FAILED);
            }
        }
    }
    Ok(code)
}

/// Does `action`, which waits for the workload, with many names at once, and `report` in their order.
///
/// # Errors
/// As [`each`].
pub fn together<T: Send>(
    context: &Context,
    names: &[String],
    action: impl Fn(&str) -> Result<T, CommandError> + Sync,
    mut report: impl FnMut(&str, T) -> Result<(), CommandError>,
) -> Result<u8, CommandError> {
    // One needs no thread.
    if let [name] = names {
        return each(context, names, |_| report(name, action(name)?));
    }
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    let work = |sender: mpsc::Sender<(usize, Result<T, CommandError>)>| {
        while let Some((at, name)) = take(&next, names) {
            // Nobody receives once the output is closed.
            if sender.send((at, action(name))).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let mut workers = 0;
        for _ in 0..names.len().min(THREADS) {
            let (work, sender) = (&work, sender.clone());
            workers +=
                usize::from(std::thread::Builder::new().spawn_scoped(scope, move || work(sender)).is_ok());
        }
        if workers == 0 {
            work(sender.clone());
        }
        drop(sender);
        let mut pending = BTreeMap::new();
        let mut at = 0..names.len();
        each(context, names, |name| match at.next().and_then(|at| receive(&results, &mut pending, at)) {
            Some(result) => report(name, result?),
            None => Err(CommandError::new(format!("no answer about `{name}`"))),
        })
    })
}

/// The next name that nobody has taken, with its place.
fn take<'n>(next: &AtomicUsize, names: &'n [String]) -> Option<(usize, &'n str)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    names.get(at).map(|name| (at, name.as_str()))
}

/// The result for the name at `wanted`; those of others that come before it wait in `pending`.
fn receive<R>(
    results: &mpsc::Receiver<(usize, R)>,
    pending: &mut BTreeMap<usize, R>,
    wanted: usize,
) -> Option<R> {
    loop {
        if let Some(result) = pending.remove(&wanted) {
            return Some(result);
        }
        let (at, result) = results.recv().ok()?;
        pending.insert(at, result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_given_in_order() {
        let (sender, results) = mpsc::channel();
        for at in [2, 0, 1] {
            sender.send((at, at * 10)).expect("received");
        }
        drop(sender);
        let mut pending = BTreeMap::new();
        let received: Vec<_> = (0..4).map(|at| receive(&results, &mut pending, at)).collect();
        assert_eq!(received, [Some(0), Some(10), Some(20), None]);
    }

    #[test]
    fn every_name_is_taken_once() {
        let (next, names) = (AtomicUsize::new(0), ["a", "b"].map(String::from));
        let taken: Vec<_> = std::iter::from_fn(|| take(&next, &names)).collect();
        assert_eq!(taken, [(0, "a"), (1, "b")]);
    }
}
