//! Installing a seccomp filter on the calling thread.
//!
//! The program is classic BPF over `struct seccomp_data` (`linux/seccomp.h`); the kernel checks it
//! whole before it takes effect, so a wrong program is refused, never half installed. A filter cannot
//! be taken off again: it stays through `execve` and is inherited by every child.
//!
//! State machine of a thread: unfiltered, then filtered by one more program with every successful
//! [`install`]; of several programs the strictest answer counts.
#![expect(unsafe_code, reason = "seccomp(2) has no wrapper in a maintained crate")]

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

/// Most instructions that the kernel takes in one program (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// `SECCOMP_FILTER_FLAG_TSYNC`: put every thread of the process under the same filters.
pub const FLAG_TSYNC: u32 = 1 << 0;
/// `SECCOMP_FILTER_FLAG_LOG`: log every action but allow (Linux 4.14).
pub const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: leave the speculative store bypass mitigation off (Linux 4.17).
pub const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`: return a descriptor that receives notifications (Linux 5.0).
pub const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: a thread that cannot be synchronised is reported as `ESRCH`, so
/// that [`FLAG_TSYNC`] and [`FLAG_NEW_LISTENER`] go together (Linux 5.7).
pub const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: once a notification was received, only a fatal signal
/// interrupts the caller (Linux 5.19).
pub const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// `SECCOMP_SET_MODE_FILTER`
const SET_MODE_FILTER: libc::c_uint = 1;

/// One instruction of classic BPF: `struct sock_filter` of `linux/filter.h`, field by field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Operation: class, size or operator, and addressing mode.
    pub code: u16,
    /// Instructions to skip when a conditional jump is taken.
    pub jt: u8,
    /// Instructions to skip when it is not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// `struct sock_fprog`
#[repr(C)]
pub(crate) struct FilterProgram {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

impl FilterProgram {
    /// Of instructions that outlive it.
    ///
    /// # Errors
    /// `EINVAL` for more than [`MAX_INSTRUCTIONS`].
    pub(crate) fn new(program: &[Instruction]) -> Result<Self, Errno> {
        if program.len() > MAX_INSTRUCTIONS {
            return Err(Errno::INVAL);
        }
        let length = libc::c_ushort::try_from(program.len()).map_err(|_| Errno::INVAL)?;
        Ok(Self { length, instructions: program.as_ptr() })
    }
}

/// Puts the calling thread under `program`, with `flags` as in `seccomp(2)`.
///
/// Gives the notification descriptor (close-on-exec) when `flags` hold [`FLAG_NEW_LISTENER`], else
/// nothing. A child may call this between `clone` and `exec`: it allocates nothing and takes no lock.
///
/// # Errors
/// `EACCES` without both `no_new_privs` and `CAP_SYS_ADMIN`; `EINVAL` for a program that is empty, has
/// more than [`MAX_INSTRUCTIONS`] or does not pass the kernel's check, and for flags that this kernel
/// does not know; `ENOMEM` when the filters of a thread become too long together; `EBUSY` when a
/// listener is asked for and there is one; `ESRCH` when a thread cannot be synchronised.
pub fn install(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>, Errno> {
    let program = FilterProgram::new(program)?;
    // SAFETY: `program` and the instructions it points to outlive the call, `Instruction` and
    // `FilterProgram` have the layout of `sock_filter` and `sock_fprog`, and the kernel only reads them.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const program) };
    match answer {
        ..0 => Err(last_error()),
        0 if flags & FLAG_NEW_LISTENER == 0 => Ok(None),
        // With FLAG_TSYNC alone a positive answer names the thread that could not be synchronised.
        _ if flags & FLAG_NEW_LISTENER == 0 => Err(Errno::SRCH),
        descriptor => {
            let descriptor = libc::c_int::try_from(descriptor).map_err(|_| Errno::BADF)?;
            // SAFETY: the kernel has just opened this descriptor for us, nothing else owns it.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }))
        }
    }
}

/// What `errno` says about the call before.
fn last_error() -> Errno {
    // SAFETY: the C library's `errno` is always a valid place of this thread.
    Errno::from_raw_os_error(unsafe { *libc::__errno_location() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_the_kernel() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(size_of::<FilterProgram>(), size_of::<libc::sock_fprog>());
        assert_eq!(std::mem::offset_of!(Instruction, k), std::mem::offset_of!(libc::sock_filter, k));
        assert_eq!(
            std::mem::offset_of!(FilterProgram, instructions),
            std::mem::offset_of!(libc::sock_fprog, filter)
        );
    }

    #[test]
    fn bad_programs_are_refused() {
        assert_eq!(install(&[], 0).unwrap_err(), Errno::INVAL);
        let nothing = Instruction { code: 0x06, jt: 0, jf: 0, k: 0x7fff_0000 };
        assert_eq!(install(&vec![nothing; MAX_INSTRUCTIONS + 1], 0).unwrap_err(), Errno::INVAL);
        assert_eq!(install(&vec![nothing; 1 << 16], 0).unwrap_err(), Errno::INVAL);
        let endless = Instruction { code: 0x05, jt: 0, jf: 0, k: 5 };
        assert_eq!(install(&[endless], 0).unwrap_err(), Errno::INVAL);
        assert_eq!(install(&[nothing], 1 << 31).unwrap_err(), Errno::INVAL);
    }
}
