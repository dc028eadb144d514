//! `holm-registry`: the server of an image registry. `holm registry serve` executes it; nothing here is for people.
//!
//! ```text
//! holm-registry serve SETTINGS     a JSON document, `holm_spec::registry::Server`
//! ```

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use holm_spec::registry::Server;

/// musl's allocator asks the kernel for every few blocks; this one keeps what it got.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let settings = match words.as_slice() {
        [verb, settings] if verb == "serve" => serde_json::from_str::<Server>(settings),
        _ => return fail("`holm registry serve` starts this"),
    };
    let settings = match settings {
        Ok(settings) => settings,
        Err(error) => return fail(&format!("read the settings: {error}")),
    };
    let level = if settings.quiet { tracing::Level::WARN } else { tracing::Level::INFO };
    let logs =
        tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).with_target(false);
    logs.with_ansi(std::io::stderr().is_terminal()).init();
    match holm_registry_server::serve(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&text(&error)),
    }
}

fn text(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn fail(message: &str) -> ExitCode {
    drop(writeln!(std::io::stderr(), "holm registry serve: {message}"));
    ExitCode::FAILURE
}
