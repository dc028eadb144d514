//! `holm-init`: the first process of a workload started with `--init`.
//!
//! ```text
//! holm-init -- PROGRAM [ARGUMENT...]
//! ```
//!
//! Runs the program in a process group of its own (in the foreground of the terminal, if there is one),
//! passes every signal on to it, reaps orphans, and ends as the program ends: its exit code, or 128 +
//! the signal's number.
//!
//! Whoever starts it blocks all signals first: the kernel drops what comes to the first process of a namespace without a
//! handler, and one may come before this program has done anything.
#![expect(clippy::print_stderr, reason = "the workload's standard error is where the user looks")]

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use holm_sys::process::{read_signal, reset_signals};
use holm_sys::signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};

const SIGCHLD: i32 = 17;
const SIGTTOU: i32 = 22;
/// Signals that mean something to the init itself: child state, and what stops or faults it.
const KEPT: [i32; 8] = [4, 5, 6, 7, 8, 11, 21, 22];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).skip_while(|argument| argument == "--");
    let Some(program) = arguments.next() else {
        eprintln!("holm-init: no program to run");
        return ExitCode::from(125);
    };
    let passed: Vec<i32> = (1..=64).filter(|number| !KEPT.contains(number)).collect();
    let Ok(signals) = signals::descriptor(&passed) else { return ExitCode::from(125) };
    let mut command = Command::new(&program);
    command.args(arguments).process_group(0);
    let child = match spawn(&mut command) {
        Ok(pid) => pid,
        Err(error) => {
            eprintln!("holm-init: execute `{}`: {error}", program.to_string_lossy());
            return ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    serve(&signals, child)
}

/// The program starts in the foreground of the terminal, with the signal actions and mask that a program expects.
fn spawn(command: &mut Command) -> std::io::Result<Pid> {
    let child = holm_sys::exec::spawn_with(command, prepare)?;
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)).ok_or_else(|| std::io::ErrorKind::Other.into())
}

/// In the program's process, before it can touch the terminal: one that is not in the foreground yet would be stopped.
fn prepare() {
    // Taking the terminal from the background raises this one.
    let _ = signals::block(SIGTTOU);
    // Fails where there is no terminal.
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid());
    reset_signals();
}

fn serve(signals: &std::os::fd::OwnedFd, child: Pid) -> ExitCode {
    loop {
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Some(number) = read_signal(signals.as_fd()) {
            if number == SIGCHLD {
                if let Some(code) = reap(child) {
                    return ExitCode::from(code);
                }
            } else {
                let _ = signals::send(child, number);
            }
        }
    }
}

/// Reaps everything that has ended; the exit code once the program itself has.
fn reap(child: Pid) -> Option<u8> {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(exit_code(status));
        }
    }
    None
}

fn exit_code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
