//! The control groups of a container, and the rules of its devices.
//!
//! With v2 alone: one group to be born in, and an eBPF program attached to it. Otherwise a group of `freezer`, which
//! tells what belongs to the container, and one of `devices` with a line a rule; the child enters both by its own hand
//! (`docs/design/0007`).

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::super::calls::{Calls, Failure};
use super::super::cgroup::{Group, is_unified, unified_root};
use super::super::sys;

const FREEZER: &str = "/sys/fs/cgroup/freezer";
const DEVICES: &str = "/sys/fs/cgroup/devices";

/// A device that every container may use: character device, major, minor.
type Device = (u32, Option<u32>);

/// null, zero, full, random, urandom, tty, ptmx, and every pts.
const ALLOWED: [Device; 8] = [
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// The groups; removed when this is dropped.
pub enum Groups {
    /// Of v2.
    Unified(Group),
    /// Of v1.
    Legacy(Legacy),
}

/// Groups of v1.
pub struct Legacy {
    /// In the order of [`Legacy::mount_points`].
    groups: [Group; 2],
    /// Their `tasks` files, open for writing.
    tasks: [OwnedFd; 2],
    /// Their paths.
    paths: [CString; 2],
}

impl Groups {
    /// Makes the groups `name`, with the rules of v1.
    ///
    /// # Errors
    /// What the kernel answers; `EEXIST`.
    pub fn create(name: &str, calls: Calls) -> Result<Self, Failure> {
        if is_unified() {
            return Group::create(unified_root(), name, calls).map(Self::Unified);
        }
        let freezer = Group::create(FREEZER, name, calls)?;
        let devices = Group::create(DEVICES, name, calls)?;
        write_rules(&devices, calls)?;
        let tasks = [freezer.open("tasks")?, devices.open("tasks")?];
        let path = |root: &str| CString::new(format!("{root}/{name}")).map_err(|_| invalid("mkdirat"));
        Ok(Self::Legacy(Legacy {
            groups: [freezer, devices],
            tasks,
            paths: [path(FREEZER)?, path(DEVICES)?],
        }))
    }

    /// The group of v2 to be born in.
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Unified(group) => Some(group.as_fd()),
            Self::Legacy(_) => None,
        }
    }

    /// Enters the groups of v1, as the process itself.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn enter(&self, calls: Calls) -> Result<(), Failure> {
        let Self::Legacy(legacy) = self else { return Ok(()) };
        enter(&legacy.tasks, calls)
    }

    /// Puts the group of v2 under the device program; whether there is one to put.
    ///
    /// # Errors
    /// What the kernel answers.
    pub fn guard_devices(&self, calls: Calls) -> Result<bool, Failure> {
        let Self::Unified(group) = self else { return Ok(false) };
        let instructions = program();
        let program =
            calls.make("bpf", "load the device program", || sys::load_device_program(&instructions))?;
        calls.make("bpf", "attach the device program", || {
            sys::attach_device_program(group.as_fd(), program.as_fd())
        })?;
        Ok(true)
    }

    /// Leaves the groups where they are.
    pub fn keep(self) {
        match self {
            Self::Unified(group) => group.keep(),
            Self::Legacy(legacy) => legacy.groups.into_iter().for_each(Group::keep),
        }
    }
}

impl Legacy {
    /// What is mounted where below the container's `/sys/fs/cgroup`.
    pub fn mount_points(&self) -> [(&CString, super::Inside); 2] {
        [(&self.paths[0], c"sys/fs/cgroup/freezer"), (&self.paths[1], c"sys/fs/cgroup/devices")]
    }
}

/// Moves the calling process, which has one thread, to the groups with these `tasks` files.
///
/// # Errors
/// What the kernel answers.
pub fn enter(tasks: &[OwnedFd], calls: Calls) -> Result<(), Failure> {
    for file in tasks {
        calls.make("write", "tasks", || rustix::io::write(file, b"0"))?;
    }
    Ok(())
}

/// Nothing but what is listed, and making of nodes.
fn write_rules(devices: &Group, calls: Calls) -> Result<(), Failure> {
    let deny = devices.open("devices.deny")?;
    calls.make("write", "devices.deny", || rustix::io::write(&deny, b"a *:* rwm"))?;
    let allow = devices.open("devices.allow")?;
    let nodes = ["c *:* m", "b *:* m"].map(str::to_owned);
    let minor = |minor: Option<u32>| minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string());
    let listed = ALLOWED.iter().map(|device| format!("c {}:{} rwm", device.0, minor(device.1)));
    for line in nodes.into_iter().chain(listed) {
        calls.make("write", "devices.allow", || rustix::io::write(&allow, line.as_bytes()))?;
    }
    Ok(())
}

fn invalid(call: &'static str) -> Failure {
    Failure { call, object: "cgroup", errno: Errno::INVAL }
}

/// An instruction of eBPF, as `struct bpf_insn` lies in memory on a little-endian machine.
const fn instruction(code: u8, destination: u8, source: u8, offset: i16, value: u32) -> u64 {
    (code as u64)
        | (destination as u64) << 8
        | (source as u64) << 12
        | (offset as u16 as u64) << 16
        | (value as u64) << 32
}

/// The same rules as a program of the kind `BPF_PROG_TYPE_CGROUP_DEVICE`, a block a rule.
fn program() -> Vec<u64> {
    const LOAD: u8 = 0x61;
    const AND: u8 = 0x54;
    const SHIFT_RIGHT: u8 = 0x74;
    const JUMP_UNLESS: u8 = 0x55;
    const MOVE: u8 = 0xb7;
    const EXIT: u8 = 0x95;
    // Registers; the kernel passes the context in the first one.
    const CONTEXT: u8 = 1;
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const CHARACTER: u32 = 2;
    const MAKE: u32 = 1;
    let answer = |yes| [instruction(MOVE, 0, 0, 0, yes), instruction(EXIT, 0, 0, 0, 0)];
    let mut program = vec![
        instruction(LOAD, KIND, CONTEXT, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(LOAD, ACCESS, CONTEXT, 0, 0),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD, MINOR, CONTEXT, 8, 0),
        // Making a node and nothing else is allowed for all.
        instruction(JUMP_UNLESS, ACCESS, 0, 2, MAKE),
    ];
    program.extend(answer(1));
    for (major, minor) in ALLOWED {
        let mut tests = vec![(KIND, CHARACTER), (MAJOR, major)];
        tests.extend(minor.map(|minor| (MINOR, minor)));
        let count = tests.len();
        for (done, (register, value)) in (1..).zip(tests) {
            let rest = i16::try_from(count - done + 2).unwrap_or(i16::MAX);
            program.push(instruction(JUMP_UNLESS, register, 0, rest, value));
        }
        program.extend(answer(1));
    }
    program.extend(answer(0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_lie_as_the_kernel_reads_them() {
        assert_eq!(instruction(0x55, 4, 0, -1, 5).to_le_bytes(), [0x55, 0x04, 0xff, 0xff, 5, 0, 0, 0]);
        assert_eq!(instruction(0x61, 5, 1, 8, 0).to_le_bytes(), [0x61, 0x15, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_jump_of_the_program_lands_behind_an_exit() {
        let program = program();
        for (at, bytes) in program.iter().map(|one| one.to_le_bytes()).enumerate() {
            if bytes[0] == 0x55 {
                let target = at + 1 + usize::from(bytes[2]);
                assert_eq!(program[target - 1].to_le_bytes()[0], 0x95, "jump at {at}");
            }
        }
    }
}
