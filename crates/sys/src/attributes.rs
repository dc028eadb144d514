//! Attributes of the calling thread that no maintained crate sets: scheduling, I/O priority, execution
//! domain, memory policy, processors. A child may call all of them.
#![expect(unsafe_code, reason = "these calls have no safe wrapper")]

use rustix::io::Errno;

use crate::process::last_errno;

/// How a thread is scheduled; see sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For the policies other and batch, -20 to 19.
    pub nice: i32,
    /// For the policies fifo and round robin, 1 to 99.
    pub priority: u32,
    /// For the policy deadline, nanoseconds.
    pub runtime: u64,
    /// For the policy deadline, nanoseconds.
    pub deadline: u64,
    /// For the policy deadline, nanoseconds.
    pub period: u64,
}

/// `struct sched_attr` of linux/sched/types.h, version 0.
#[repr(C)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets how the thread is scheduled.
pub fn set_scheduling(wanted: &Scheduling) -> Result<(), Errno> {
    let Scheduling { policy, flags, nice, priority, runtime, deadline, period } = *wanted;
    let size = size_of::<SchedulingAttributes>() as u32;
    let wanted = SchedulingAttributes { size, policy, flags, nice, priority, runtime, deadline, period };
    // SAFETY: `wanted` is a valid sched_attr of the size that it names; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) })
}

/// Sets the I/O priority of the process (ioprio_set(2)): `class` 1 to 3, `level` 0 to 7.
pub fn set_io_priority(class: u32, level: u32) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, class << 13 | level) })
}

/// Sets the execution domain (personality(2)).
pub fn set_personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    if unsafe { libc::personality(domain.into()) } == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Sets the policy of memory allocation (set_mempolicy(2)); bit n of `nodes` is node n.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> Result<(), Errno> {
    let (mask, bits) =
        if nodes.is_empty() { (std::ptr::null(), 0) } else { (nodes.as_ptr(), nodes.len() * 64 + 1) };
    // SAFETY: the mask is null or has one bit less than the kernel is told, as its interface counts.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) })
}

/// Sets the processors that the thread may run on; bit n is processor n.
pub fn set_affinity(processors: &[u64]) -> Result<(), Errno> {
    let length = size_of_val(processors);
    // SAFETY: the kernel reads `length` bytes of the slice.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, length, processors.as_ptr()) })
}

fn check(result: libc::c_long) -> Result<(), Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheduling_has_the_kernels_size() {
        assert_eq!(size_of::<SchedulingAttributes>(), 48);
    }

    #[test]
    fn the_kernel_refuses_nonsense() {
        assert_eq!(set_scheduling(&Scheduling { policy: 99, ..Scheduling::default() }), Err(Errno::INVAL));
        assert_eq!(set_io_priority(7, 0), Err(Errno::INVAL));
        assert_eq!(set_memory_policy(99, &[]), Err(Errno::INVAL));
        assert_eq!(set_affinity(&[0]), Err(Errno::INVAL));
        assert_eq!(set_affinity(&[u64::MAX]), Ok(()));
    }
}
