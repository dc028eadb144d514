//! Commands with several arguments: one that fails keeps nobody else from being served.

use crate::command_error::CommandError;
use crate::context::Context;

/// Exit code if any argument failed.
const SOME_FAILED: u8 = 1;

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

/// Does `action`, which waits for the workload, with all names at once, and then `report` in their order.
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
    std::thread::scope(|scope| {
        let action = &action;
        let mut running: Vec<_> = names.iter().rev().map(|name| scope.spawn(move || action(name))).collect();
        each(context, names, |name| {
            let result = running.pop().map(std::thread::ScopedJoinHandle::join);
            match result {
                Some(Ok(result)) => report(name, result?),
                _ => Err(CommandError::new(format!("no answer about `{name}`"))),
            }
        })
    })
}
