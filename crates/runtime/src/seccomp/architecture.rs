//! The architectures a filter can speak about, and how the kernel marks their calls.
//!
//! The kernel tells a filter an audit token (`AUDIT_ARCH_*` of `linux/audit.h`) with every call. `x32`
//! has none of its own: it shares that of `x86_64` and sets bit 30 of the number ([`X32_BIT`]).

use holm_spec::runtime::Arch;

/// The bit that marks a number as one of `x32` (`__X32_SYSCALL_BIT`).
pub(super) const X32_BIT: u32 = 1 << 30;

/// A system call interface of the kernel that Holm has a table for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Architecture {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86, `int 0x80` and `sysenter`.
    X86,
    /// 32-bit pointers on 64-bit x86.
    X32,
    /// 64-bit Arm.
    Aarch64,
    /// 32-bit Arm, EABI.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Architecture {
    /// Every architecture, in the order of the table's columns.
    pub const ALL: [Self; 6] = [Self::X86_64, Self::X86, Self::X32, Self::Aarch64, Self::Arm, Self::Riscv64];

    /// The architecture this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const NATIVE: Self = Self::X86_64;
    /// The architecture this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const NATIVE: Self = Self::Aarch64;
    /// The architecture this program was built for.
    #[cfg(target_arch = "riscv64")]
    pub const NATIVE: Self = Self::Riscv64;

    /// The architecture of an OCI document (`SCMP_ARCH_*`); nothing for one that no kernel Holm runs on
    /// can execute. `SCMP_ARCH_NATIVE` is `native`.
    #[must_use]
    pub const fn from_oci(architecture: Arch, native: Self) -> Option<Self> {
        Some(match architecture {
            Arch::ScmpArchNative => native,
            Arch::ScmpArchX86_64 => Self::X86_64,
            Arch::ScmpArchX86 => Self::X86,
            Arch::ScmpArchX32 => Self::X32,
            Arch::ScmpArchAarch64 => Self::Aarch64,
            Arch::ScmpArchArm => Self::Arm,
            Arch::ScmpArchRiscv64 => Self::Riscv64,
            _ => return None,
        })
    }

    /// The name in an OCI document.
    #[must_use]
    pub const fn to_oci(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::X32 => Arch::ScmpArchX32,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
            Self::Riscv64 => Arch::ScmpArchRiscv64,
        }
    }

    /// The name that conditions of Docker's profiles use (`includes.arches`).
    #[must_use]
    pub const fn docker_name(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::X86 => "x86",
            Self::X32 => "x32",
            Self::Aarch64 => "arm64",
            Self::Arm => "arm",
            Self::Riscv64 => "riscv64",
        }
    }

    /// The token that the kernel shows to a filter.
    #[must_use]
    pub const fn audit_token(self) -> u32 {
        /// `__AUDIT_ARCH_LE`
        const LITTLE_ENDIAN: u32 = 1 << 30;
        /// `__AUDIT_ARCH_64BIT`
        const WIDE: u32 = 1 << 31;
        match self {
            Self::X86_64 | Self::X32 => 62 | LITTLE_ENDIAN | WIDE,
            Self::X86 => 3 | LITTLE_ENDIAN,
            Self::Aarch64 => 183 | LITTLE_ENDIAN | WIDE,
            Self::Arm => 40 | LITTLE_ENDIAN,
            Self::Riscv64 => 243 | LITTLE_ENDIAN | WIDE,
        }
    }

    /// The architectures whose programs the same kernel also runs.
    #[must_use]
    pub const fn companions(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm | Self::Riscv64 => &[],
        }
    }

    /// Whether arguments have 32 bits. Those of `x32` have 64: the kernel takes the whole register.
    pub(super) const fn is_narrow(self) -> bool {
        matches!(self, Self::X86 | Self::Arm)
    }

    /// What the kernel adds to the numbers of the table.
    pub(super) const fn marker(self) -> u32 {
        match self {
            Self::X32 => X32_BIT,
            _ => 0,
        }
    }
}
