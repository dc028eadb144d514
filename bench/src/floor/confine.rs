//! The seccomp filter and the capabilities of a floor's child.
//!
//! The filter has the shape of a compiled default profile, not its content: an architecture check and a
//! balanced tree over the system call numbers. The kernel's price is the same: it copies, verifies and
//! compiles the program, and runs it once for every system call number to fill its bitmap of calls that are
//! always allowed.

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::calls::{Calls, Failure};
use super::sys;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Leaves of the tree; each covers four system call numbers, the last one everything from 508 up.
const LEAVES: usize = 128;
const NUMBERS_A_LEAF: u32 = 4;
const HEAD: usize = 4;
/// Instructions of the filter.
pub const INSTRUCTIONS: usize = HEAD + 2 * LEAVES - 1;

static FILTER: [libc::sock_filter; INSTRUCTIONS] = filter();

/// The capabilities that Docker leaves a container by default.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// CAP_CHECKPOINT_RESTORE, the last one that Linux 6.x knows.
const LAST_CAPABILITY: u32 = 40;

/// Installs the filter, then drops the capabilities. In this order, because installing a filter without
/// `no_new_privs` needs CAP_SYS_ADMIN.
///
/// # Errors
/// What the kernel answers.
pub fn confine(calls: Calls) -> Result<(), Failure> {
    calls.make("seccomp", "filter", || sys::install_seccomp_filter(&FILTER))?;
    for capability in (0..=LAST_CAPABILITY).map(|number| CapabilitySet::from_bits_retain(1 << number)) {
        if !KEPT.contains(capability) {
            calls.make("prctl", "capability bounding set", || {
                rustix::thread::remove_capability_from_bounding_set(capability)
            })?;
        }
    }
    let sets = CapabilitySets { effective: KEPT, permitted: KEPT, inheritable: CapabilitySet::empty() };
    calls.make("capset", "default capabilities", || rustix::thread::set_capabilities(None, sets))
}

const fn filter() -> [libc::sock_filter; INSTRUCTIONS] {
    const OFFSET_OF_NUMBER: u32 = 0;
    const OFFSET_OF_ARCHITECTURE: u32 = 4;
    let mut filter = [give(libc::SECCOMP_RET_ALLOW); INSTRUCTIONS];
    filter[0] = load(OFFSET_OF_ARCHITECTURE);
    filter[1] = jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0);
    filter[2] = give(libc::SECCOMP_RET_KILL_PROCESS);
    filter[3] = load(OFFSET_OF_NUMBER);
    plant(&mut filter, HEAD, 0, LEAVES);
    filter
}

/// Writes the subtree of `leaves` leaves from leaf number `first` at index `at`: the node, all that is below
/// its number, all that is not.
const fn plant(filter: &mut [libc::sock_filter; INSTRUCTIONS], at: usize, first: usize, leaves: usize) {
    if leaves == 1 {
        if first == LEAVES - 1 {
            filter[at] = give(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32);
        }
        return;
    }
    let half = leaves / 2;
    let below = 2 * half - 1;
    filter[at] = jump(libc::BPF_JGE, (first + half) as u32 * NUMBERS_A_LEAF, below as u8, 0);
    plant(filter, at + 1, first, half);
    plant(filter, at + 1 + below, first + half, leaves - half);
}

const fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

const fn jump(test: u32, value: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_K | test) as u16, jt: then, jf: otherwise, k: value }
}

const fn give(action: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: action }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel does, for a call `number` of `architecture`.
    fn judge(architecture: u32, number: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let instruction = FILTER[at];
            at += 1;
            let value = instruction.k;
            let skip = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
            match u32::from(instruction.code) & 0x07 {
                libc::BPF_LD => accumulator = if value == 4 { architecture } else { number },
                libc::BPF_RET => return value,
                libc::BPF_JMP if u32::from(instruction.code) & 0xf0 == libc::BPF_JEQ => {
                    at += skip(accumulator == value);
                }
                libc::BPF_JMP => at += skip(accumulator >= value),
                class => panic!("unexpected class {class}"),
            }
        }
    }

    #[test]
    fn every_call_below_the_last_leaf_is_allowed() {
        for number in 0..508 {
            assert_eq!(judge(ARCHITECTURE, number), libc::SECCOMP_RET_ALLOW, "{number}");
        }
        for number in [508, 512, 0x4000_0000, u32::MAX] {
            let refused = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
            assert_eq!(judge(ARCHITECTURE, number), refused, "{number}");
        }
    }

    #[test]
    fn another_architecture_is_killed() {
        assert_eq!(judge(ARCHITECTURE ^ 1, 0), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
