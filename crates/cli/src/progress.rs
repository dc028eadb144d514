//! Progress of long work, on standard error, where that is a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::terminal;

/// How often what cannot be measured shows that it goes on.
const TICK: Duration = Duration::from_millis(100);

/// Bytes and rate of what is read, of `length` bytes where that is known.
pub fn bytes(length: Option<u64>, quiet: bool) -> ProgressBar {
    let template = match length {
        Some(_) => "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}",
        None => "{spinner} {bytes} {bytes_per_sec}",
    };
    bar(length, template, quiet)
}

/// Something whose end is not known.
pub fn busy(what: &str, quiet: bool) -> ProgressBar {
    let bar = bar(None, "{spinner} {msg}", quiet).with_message(what.to_owned());
    // A thread, which nobody needs where nothing is shown.
    if !bar.is_hidden() {
        bar.enable_steady_tick(TICK);
    }
    bar
}

fn bar(length: Option<u64>, template: &str, quiet: bool) -> ProgressBar {
    if quiet || !terminal::is_error_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
