//! Names and numbers of system calls.
//!
//! A [`Syscall`] is a row of the sorted [`table`]; a name is looked up once and gives the numbers on
//! every architecture. The look-up is `const`, so Holm's own lists cost nothing at run time and a
//! misspelt name in them does not compile.

mod table;

use super::architecture::Architecture;
use table::{NO, TABLE};

/// A name and its numbers, in the order of [`Architecture::ALL`].
type Row = (&'static str, [u32; 6]);

/// The first of the private calls of 32-bit Arm (`__ARM_NR_BASE`), far above all others.
pub(super) const ARM_PRIVATE: u32 = 0x000f_0000;

/// Changes with every change of the table; part of every cache key. A unit test holds it to the table.
pub(super) const TABLE_FINGERPRINT: &str = "64c70e6da6e2bf68e7f1015bb48e7c493711dd5e65661fae4cee8bfc50b4426b";

/// A system call that some architecture has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Syscall(u16);

impl Syscall {
    /// The call with that name, as the kernel's tables spell it.
    #[must_use]
    pub const fn from_name(name: &str) -> Option<Self> {
        Self::find(name.as_bytes())
    }

    const fn find(name: &[u8]) -> Option<Self> {
        let (mut low, mut high) = (0, TABLE.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match compare(name, TABLE[middle].0.as_bytes()) {
                ..0 => high = middle,
                0 => return Some(Self(middle as u16)),
                1.. => low = middle + 1,
            }
        }
        None
    }

    /// The call with a name known to be right when the program is compiled.
    pub(super) const fn known(name: &str) -> Self {
        match Self::from_name(name) {
            Some(call) => call,
            None => panic!("no such system call"),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        TABLE[usize::from(self.0)].0
    }

    /// Its number as the kernel shows it to a filter (with the marker of `x32`), if `architecture` has it.
    #[must_use]
    pub fn number(self, architecture: Architecture) -> Option<u32> {
        match TABLE[usize::from(self.0)].1[architecture as usize] {
            NO => None,
            number => Some(number | architecture.marker()),
        }
    }

    /// Every call in the order of names.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len() as u16).map(Self)
    }
}

/// The calls of a list of names, separated by one space each, looked up at compile time.
macro_rules! calls {
    ($names:literal) => {{
        const NAMES: &str = $names;
        const CALLS: [$crate::seccomp::syscalls::Syscall; $crate::seccomp::syscalls::count(NAMES)] =
            $crate::seccomp::syscalls::look_up(NAMES);
        &CALLS
    }};
}
pub(super) use calls;

/// How many names a list has.
pub(super) const fn count(names: &str) -> usize {
    let mut rest = names.as_bytes();
    let mut count = 1;
    while let [byte, tail @ ..] = rest {
        if *byte == b' ' {
            count += 1;
        }
        rest = tail;
    }
    count
}

/// Looks up every name of a list.
pub(super) const fn look_up<const N: usize>(names: &str) -> [Syscall; N] {
    let mut calls = [Syscall(0); N];
    let mut rest = names.as_bytes();
    let mut index = 0;
    while index < N {
        let mut length = 0;
        while length < rest.len() && rest[length] != b' ' {
            length += 1;
        }
        let (name, tail) = rest.split_at(length);
        calls[index] = match Syscall::find(name) {
            Some(call) => call,
            None => panic!("no such system call"),
        };
        rest = match tail {
            [_, tail @ ..] => tail,
            [] => tail,
        };
        index += 1;
    }
    calls
}

/// Byte order of two names: negative, zero or positive, as `memcmp`.
pub(super) const fn compare(left: &[u8], right: &[u8]) -> i32 {
    let shorter = if left.len() < right.len() { left.len() } else { right.len() };
    let mut index = 0;
    while index < shorter {
        if left[index] != right[index] {
            return left[index] as i32 - right[index] as i32;
        }
        index += 1;
    }
    left.len() as i32 - right.len() as i32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::tests::hex_digest;
    use super::*;

    #[test]
    fn table_is_sorted() {
        assert!(TABLE.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn fingerprint_follows_the_table() {
        assert_eq!(
            hex_digest(format!("{TABLE:?}").as_bytes()),
            TABLE_FINGERPRINT,
            "update TABLE_FINGERPRINT"
        );
    }

    #[test]
    fn names_are_found_and_others_are_not() {
        for call in Syscall::all() {
            assert_eq!(Syscall::from_name(call.name()), Some(call));
        }
        for name in ["", "a", "zzz", "reads", "rea", "READ", "read\0"] {
            assert_eq!(Syscall::from_name(name), None);
        }
    }

    #[test]
    fn numbers_are_those_of_the_c_library() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("keyctl", libc::SYS_keyctl),
            ("unshare", libc::SYS_unshare),
            ("newfstatat", libc::SYS_newfstatat),
            ("mseal", libc::SYS_mseal),
        ] {
            let call = Syscall::from_name(name).unwrap();
            assert_eq!(call.number(Architecture::NATIVE).map(i64::from), Some(number), "{name}");
        }
    }

    #[test]
    fn numbers_of_other_architectures() {
        let number = |name, architecture| Syscall::from_name(name).unwrap().number(architecture);
        assert_eq!(number("clone", Architecture::X86), Some(120));
        assert_eq!(number("clone", Architecture::Aarch64), Some(220));
        assert_eq!(number("rt_sigaction", Architecture::X32), Some(0x4000_0200));
        assert_eq!(number("set_tls", Architecture::Arm), Some(0xf0005));
        assert_eq!(number("riscv_flush_icache", Architecture::Riscv64), Some(259));
        assert_eq!(number("fork", Architecture::Riscv64), None);
    }

    #[test]
    fn a_number_has_one_name() {
        for architecture in Architecture::ALL {
            let mut names = HashMap::new();
            for call in Syscall::all() {
                let Some(number) = call.number(architecture) else { continue };
                // Linux gives 32-bit Arm's call both names.
                if let Some(other) = names.insert(number, call.name()) {
                    assert_eq!((other, call.name()), ("arm_sync_file_range", "sync_file_range2"));
                }
            }
            assert!(names.len() > 300, "{architecture:?}");
        }
    }
}
