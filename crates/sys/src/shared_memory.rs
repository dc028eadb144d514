//! A child that uses the caller's memory instead of a copy: what is born in order to end again soon costs no page tables,
//! and no copy of each page that the caller writes to next.
//!
//! Both run at the same time, so the child has a stack of its own. It does what any child here may do, system calls on
//! what was prepared before, and so writes to nothing but that stack and the error number of the C library's last call,
//! which is the caller's, too.
#![expect(unsafe_code, reason = "a child on a stack of its own has no safe wrapper")]

use std::arch::asm;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use crate::process::{self, Child, CloneArguments, CloneOptions, born};

/// Size of the child's stack, in bytes: the deepest steps hold a path or two. Only what is used is ever touched.
const SIZE: usize = 128 << 10;
/// As the calling conventions want a stack.
const ALIGNMENT: usize = 16;

/// The stack of such a child, with all that it uses: dropping it ends the child if it has not ended. It must not be
/// forgotten instead.
#[derive(Debug)]
pub struct Stack<'a> {
    memory: Vec<MaybeUninit<u8>>,
    child: Option<OwnedFd>,
    used: PhantomData<&'a ()>,
}

impl<'a> Stack<'a> {
    /// A stack that no child is on.
    pub fn new() -> Self {
        Self { memory: Vec::with_capacity(SIZE), child: None, used: PhantomData }
    }

    /// Runs `child` in a new process on this stack, and in the caller's memory. The same goes for it as for that of
    /// [`process::clone`]; it cannot enter a namespace of clocks.
    ///
    /// # Errors
    /// Of `clone3`, as there; `EMFILE`.
    pub fn clone<F: FnOnce() -> i32 + 'a>(
        &mut self,
        options: &CloneOptions<'_>,
        child: F,
    ) -> Result<Child, Errno> {
        self.end_child();
        let mut pidfd = -1;
        let mut arguments = CloneArguments::new(options, &mut pidfd);
        let top = self.top::<F>();
        // SAFETY: there is room for it behind the top, aligned as it must be.
        unsafe { top.write(child) };
        arguments.share_memory(self.memory.as_ptr() as u64, top as u64 - self.memory.as_ptr() as u64);
        // SAFETY: the child finds its function behind the top of its stack, and nothing else uses either until it has
        // ended, which the guard waits for; so does what the function refers to, for `'a`.
        let pid = unsafe { clone_to(&mut arguments, run::<F>, top.cast()) };
        if pid < 0 {
            // SAFETY: without a child nobody has taken the function.
            unsafe { top.drop_in_place() };
        }
        let made = born(pid, pidfd)?;
        match made.pidfd.try_clone() {
            Ok(pidfd) => self.child = Some(pidfd),
            Err(error) => {
                end(&made.pidfd);
                return Err(Errno::from_io_error(&error).unwrap_or(Errno::MFILE));
            }
        }
        Ok(made)
    }

    /// Where the stack begins, with the child's function above it.
    fn top<F>(&mut self) -> *mut F {
        const { assert!(align_of::<F>() <= ALIGNMENT && size_of::<F>() < SIZE / 2) };
        let room = size_of::<F>().next_multiple_of(ALIGNMENT);
        let end = self.memory.as_mut_ptr().wrapping_add(SIZE);
        let unaligned = end.addr() % ALIGNMENT;
        end.wrapping_sub(unaligned + room).cast()
    }

    fn end_child(&mut self) {
        if let Some(child) = self.child.take() {
            end(&child);
        }
    }
}

impl Default for Stack<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Stack<'_> {
    fn drop(&mut self) {
        self.end_child();
    }
}

/// It may have ended and been reaped already, which makes both calls fail.
fn end(child: &OwnedFd) {
    let _ = process::signal(child.as_fd(), libc::SIGKILL);
    let _ = process::wait(child.as_fd());
}

unsafe extern "C" fn run<F: FnOnce() -> i32>(child: *mut c_void) -> ! {
    // SAFETY: whoever made this process put it there for it alone.
    let child = unsafe { child.cast::<F>().read() };
    let code = child();
    // SAFETY: _exit ends the process without running anything of the caller's.
    unsafe { libc::_exit(code) }
}

/// `clone3` into `entry`, which gets `data`; the pid, or a negative error number.
///
/// # Safety
/// `arguments` names a stack that is the child's alone, and `entry` may run on it with `data`.
unsafe fn clone_to(
    arguments: &mut CloneArguments,
    entry: unsafe extern "C" fn(*mut c_void) -> !,
    data: *mut c_void,
) -> isize {
    let result;
    // SAFETY: in the caller the call changes what is named here; the child never gets behind `entry`.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, {data}",
            "call {entry}",
            "2:",
            entry = in(reg) entry,
            data = in(reg) data,
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") std::ptr::from_mut(arguments),
            in("rsi") size_of::<CloneArguments>(),
            out("rcx") _,
            out("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, {data}",
            "blr {entry}",
            "2:",
            entry = in(reg) entry,
            data = in(reg) data,
            in("x8") libc::SYS_clone3 as isize,
            inlateout("x0") std::ptr::from_mut(arguments) => result,
            in("x1") size_of::<CloneArguments>(),
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_child_writes_to_the_callers_memory_and_ends_with_its_code() {
        let number = AtomicU32::new(1);
        let mut stack = Stack::new();
        for round in 1..4 {
            let child = stack
                .clone(&CloneOptions::default(), || {
                    number.fetch_add(1, Ordering::Relaxed);
                    i32::try_from(number.load(Ordering::Relaxed)).unwrap_or(99)
                })
                .expect("clone3");
            assert_eq!(process::wait(child.pidfd.as_fd()), Ok(round + 1));
        }
        assert_eq!(number.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn a_child_ends_with_its_stack() {
        let mut stack = Stack::new();
        let child = stack.clone(&CloneOptions::default(), || {
            loop {
                std::hint::spin_loop();
            }
        });
        let child = child.expect("clone3");
        drop(stack);
        assert_eq!(process::wait(child.pidfd.as_fd()), Err(Errno::CHILD));
    }

    #[test]
    fn a_child_that_cannot_be_made_leaves_nothing() {
        let nowhere = std::fs::File::open("/dev/null").expect("open");
        let options = CloneOptions { cgroup: Some(nowhere.as_fd()), ..CloneOptions::default() };
        assert_eq!(Stack::new().clone(&options, || 0).expect_err("no group"), Errno::BADF);
    }
}
