//! What a profile is resolved against: capabilities, architecture, kernel.

use super::architecture::Architecture;
use super::error::{Error, Kind};
use super::syscalls::compare;

/// Where a profile is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The container's bounding set: bit n is capability n, as in `CapBnd` of `/proc/<pid>/status`.
    pub capabilities: u64,
    /// The machine's own architecture.
    pub architecture: Architecture,
    /// The running kernel.
    pub kernel: KernelVersion,
}

impl Environment {
    /// This machine, for a container with these capabilities in its bounding set.
    ///
    /// # Errors
    /// [`Kind::Kernel`] if the kernel's release is not a version.
    pub fn here(capabilities: u64) -> Result<Self, Error> {
        let kernel = KernelVersion::running()?;
        Ok(Self { capabilities, architecture: Architecture::NATIVE, kernel })
    }
}

/// The first two numbers of a kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// 6 of 6.18.
    pub kernel: u32,
    /// 18 of 6.18.
    pub major: u32,
}

impl KernelVersion {
    /// The version of the running kernel.
    ///
    /// # Errors
    /// [`Kind::Kernel`] if its release is not a version.
    pub fn running() -> Result<Self, Error> {
        let names = rustix::system::uname();
        let release = names.release().to_string_lossy();
        Self::parse_release(&release).ok_or_else(|| {
            Error::new(Kind::Kernel, format!("kernel release `{release}` does not begin with a version"))
        })
    }

    /// Reads the beginning of a release, such as `6.18.44-cloud` or `4.8-rc1`.
    #[must_use]
    pub fn parse_release(release: &str) -> Option<Self> {
        let (kernel, rest) = release.split_once('.')?;
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        Some(Self { kernel: number(kernel)?, major: number(&rest[..end])? })
    }

    /// Reads exactly `<kernel>.<major>`, each under 256 and not both zero, as profiles write it.
    #[must_use]
    pub fn parse_exact(text: &str) -> Option<Self> {
        let (kernel, major) = text.split_once('.')?;
        let version = Self { kernel: number(kernel)?, major: number(major)? };
        let in_range = version.kernel < 256 && version.major < 256;
        (in_range && (version.kernel, version.major) != (0, 0)).then_some(version)
    }
}

/// Digits only: `u32::from_str` would also take a sign.
fn number(digits: &str) -> Option<u32> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// The bit of a capability, by its name in documents (`CAP_SYS_ADMIN`).
#[must_use]
pub const fn capability(name: &str) -> Option<u64> {
    let mut index = 0;
    while index < CAPABILITIES.len() {
        if compare(CAPABILITIES[index].as_bytes(), name.as_bytes()) == 0 {
            return Some(1 << index);
        }
        index += 1;
    }
    None
}

/// `linux/capability.h`, by number.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        let version = |kernel, major| Some(KernelVersion { kernel, major });
        assert_eq!(KernelVersion::parse_release("6.18.44-fc-v657"), version(6, 18));
        assert_eq!(KernelVersion::parse_release("4.8-rc1"), version(4, 8));
        assert_eq!(KernelVersion::parse_release("3.12"), version(3, 12));
        for bad in ["", "6", "6.", ".8", "six.one", "+6.1", "6.99999999999"] {
            assert_eq!(KernelVersion::parse_release(bad), None, "{bad}");
        }
        assert!(KernelVersion::running().unwrap() >= KernelVersion { kernel: 4, major: 0 });
    }

    #[test]
    fn exact_versions() {
        assert_eq!(KernelVersion::parse_exact("4.8"), Some(KernelVersion { kernel: 4, major: 8 }));
        for bad in ["", "4", "4.8.1", "4.8-rc1", "0.0", "256.1", "4.256", "4.+8"] {
            assert_eq!(KernelVersion::parse_exact(bad), None, "{bad}");
        }
    }

    #[test]
    fn versions_are_ordered() {
        let version = |text| KernelVersion::parse_exact(text).unwrap();
        assert!(version("4.10") > version("4.9"));
        assert!(version("5.0") > version("4.20"));
    }

    #[test]
    fn capabilities_by_name() {
        assert_eq!(capability("CAP_CHOWN"), Some(1));
        assert_eq!(capability("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(capability("SYS_ADMIN"), None);
    }
}
