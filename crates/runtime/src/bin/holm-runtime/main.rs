//! `holm-runtime`: the OCI runtime with runc's command line, for podman, containerd, Docker and Kubernetes.
//!
//! Exit codes: 0, or 1 for a failure of the runtime (255 for `exec`), or that of the process which `run` and `exec`
//! wait for. A failure is one line on standard error, and with `--log` one line there as well.

mod arguments;
mod command;
mod console;
mod foreground;
mod groups;
mod launch;
mod log;
mod protect;
mod readiness;
mod start;
mod talk;

// Where musl's own would be. Tests have threads.
#[cfg(all(target_env = "musl", not(test)))]
#[global_allocator]
static ALLOCATOR: holm_sys::allocator::SingleThreaded = holm_sys::allocator::SingleThreaded::new();

use std::process::ExitCode;

use arguments::Arguments;

fn main() -> ExitCode {
    let words = arguments::normalize(std::env::args_os().collect());
    if let Err(error) = protect::ensure(&words) {
        return log::Log::default().failure(&error, 1);
    }
    let (global, command) = match Arguments::parse(words) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let log = match global.log() {
        Ok(log) => log,
        Err(error) => return log::Log::default().failure(&error, 1),
    };
    if global.debug {
        talk::debug_to(log.clone());
        talk::debug(&format!("command: {}", command.name()));
    }
    let failed = command.failure_code();
    match command::run(command, &global) {
        Ok(code) => ExitCode::from(code),
        Err(error) => log.failure(&error, failed),
    }
}
