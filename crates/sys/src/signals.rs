//! Signals by their numbers in the kernel, 1 to 64: libraries keep some of the real-time ones to themselves (glibc 32
//! and 33, musl 34 too) and leave them out of every set without a word.
#![expect(unsafe_code, reason = "signal sets without a library in between have no safe wrapper")]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::process::last_errno;

/// Bytes of a signal set of the kernel.
const SET_SIZE: usize = size_of::<u64>();

/// Blocks `signals` for this thread and gives a descriptor that reads them (signalfd(2)), for
/// [`crate::process::read_signal`].
///
/// Non-blocking and close-on-exec. Children inherit the mask: see [`crate::process::reset_signals`].
pub fn descriptor(signals: &[i32]) -> Result<OwnedFd, Errno> {
    let set = signals.iter().fold(0, |set, &number| set | bit(number));
    block_set(set)?;
    let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
    // SAFETY: the kernel reads SET_SIZE bytes of `set`, which outlives the call.
    let number = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const set, SET_SIZE, flags) };
    match i32::try_from(number) {
        // SAFETY: signalfd4 gave a new descriptor that nobody else owns.
        Ok(number) if number >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(number) }),
        _ => Err(last_errno()),
    }
}

/// Signals that this thread does not take until this is dropped; those that came meanwhile are taken then.
#[derive(Debug)]
pub struct Held(u64);

impl Held {
    /// Holds `signals` back.
    ///
    /// # Errors
    /// As sigprocmask(2).
    pub fn begin(signals: &[i32]) -> Result<Self, Errno> {
        let set = signals.iter().fold(0, |set, &number| set | bit(number));
        let mut before = 0_u64;
        mask(libc::SIG_BLOCK, &set, &mut before)?;
        Ok(Self(before))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = mask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut());
    }
}

/// Blocks one signal for this thread. May be called in a child.
pub fn block(signal: i32) -> Result<(), Errno> {
    block_set(bit(signal))
}

/// Blocks all signals for this thread that can be blocked. May be called in a child.
pub fn block_all() -> Result<(), Errno> {
    block_set(u64::MAX)
}

fn block_set(set: u64) -> Result<(), Errno> {
    mask(libc::SIG_BLOCK, &set, std::ptr::null_mut())
}

fn mask(how: i32, set: &u64, before: *mut u64) -> Result<(), Errno> {
    // SAFETY: the kernel reads SET_SIZE bytes of `set` and writes as many to `before`, unless that is null; both outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, std::ptr::from_ref(set), before, SET_SIZE) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1).ok().and_then(|shift| 1_u64.checked_shl(shift)).unwrap_or(0)
}

/// Whether this process ignores a signal, as nohup(1) and shells in the background have it. One that is held back would be kept.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros are a valid action, and the kernel writes one into it.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Ends this process as `signal` ends one that does nothing about it; with exit code 128 + `signal` if that ends none.
pub fn end_by(signal: i32) -> ! {
    // SAFETY: the default action is a valid one, and no memory is handed over.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    let _ = mask(libc::SIG_UNBLOCK, &bit(signal), std::ptr::null_mut());
    // SAFETY: raise(3) takes any number.
    unsafe { libc::raise(signal) };
    std::process::exit(128 + signal)
}

/// Sends a signal to a process, which must be a child that was not waited for.
pub fn send(pid: Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: integers only.
    if unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) } == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Ignores a signal, until [`crate::process::reset_signals`].
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN installs no code; a number that does not exist is an error without effect.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::process::{CloneOptions, clone, read_signal, wait};

    #[test]
    fn every_number_has_a_bit_of_its_own() {
        assert_eq!((bit(1), bit(64), bit(0), bit(65), bit(i32::MIN + 1)), (1, 1 << 63, 0, 0, 0));
    }

    /// In a child, for the mask and the signals are the process's own.
    #[test]
    fn real_time_signals_are_read_by_number() {
        let child = clone(&CloneOptions::default(), || {
            let Ok(descriptor) = descriptor(&[34, 37, 64]) else { return 100 };
            for number in [34, 37, 64] {
                if send(rustix::process::getpid(), number).is_err() {
                    return 101;
                }
            }
            let read = [(); 4].map(|()| read_signal(descriptor.as_fd()));
            i32::from(read != [Some(34), Some(37), Some(64), None])
        });
        assert_eq!(wait(child.expect("clone3").pidfd.as_fd()), Ok(0));
    }
}
