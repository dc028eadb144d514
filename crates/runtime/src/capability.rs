//! Capabilities by name and as bit sets (capabilities(7), OCI runtime specification "capabilities").

use holm_spec::runtime::{Capabilities, Capability, LinuxCapabilities};

/// Names without `CAP_`, in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker gives a container that asks for nothing.
pub const DEFAULT: CapabilitySet = CapabilitySet(
    1 << 0
        | 1 << 1
        | 1 << 3
        | 1 << 4
        | 1 << 5
        | 1 << 6
        | 1 << 7
        | 1 << 8
        | 1 << 10
        | 1 << 13
        | 1 << 18
        | 1 << 27
        | 1 << 29
        | 1 << 31,
);

/// A set of capabilities, one bit each by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u64);

impl CapabilitySet {
    /// No capability.
    pub const NONE: Self = Self(0);
    /// Every capability that has a name here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);
    /// How many capabilities have a name here; their numbers are below.
    pub const COUNT: u32 = NAMES.len() as u32;

    /// The raw bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The set with raw bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether the capability with this number is in the set.
    pub const fn has(self, number: u32) -> bool {
        self.0 >> number & 1 == 1
    }

    /// The set with those of `other`.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The set without those of `other`.
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The capabilities that are in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// A capability by name, in any case, with or without `CAP_`; `ALL` is all of them.
    pub fn named(name: &str) -> Option<Self> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        if bare == "ALL" {
            return Some(Self::ALL);
        }
        NAMES.iter().position(|known| *known == bare).map(|number| Self(1 << number))
    }

    /// Names with `CAP_`, in the order of their numbers.
    pub fn names(self) -> impl Iterator<Item = String> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(number, _)| self.0 >> number & 1 == 1)
            .map(|(_, name)| format!("CAP_{name}"))
    }

    fn from_oci(set: Option<&Capabilities>) -> Self {
        let named = |capability: &Capability| Self::named(&capability.to_string()).unwrap_or_default();
        set.into_iter().flatten().map(named).fold(Self::NONE, Self::with)
    }

    /// The set in the form of an OCI configuration.
    pub fn to_oci(self) -> Capabilities {
        self.names().filter_map(|name| name.strip_prefix("CAP_").and_then(|bare| bare.parse().ok())).collect()
    }
}

/// The five sets of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessCapabilities {
    /// What may ever be gained.
    pub bounding: CapabilitySet,
    /// What is in force.
    pub effective: CapabilitySet,
    /// What may be put in force.
    pub permitted: CapabilitySet,
    /// What is kept over `execve` of a file that inherits.
    pub inheritable: CapabilitySet,
    /// What is kept over any `execve`.
    pub ambient: CapabilitySet,
}

impl ProcessCapabilities {
    /// All capabilities, none inherited: a privileged process.
    pub const ALL: Self = Self {
        bounding: CapabilitySet::ALL,
        effective: CapabilitySet::ALL,
        permitted: CapabilitySet::ALL,
        inheritable: CapabilitySet::NONE,
        ambient: CapabilitySet::NONE,
    };

    /// What is to be ambient and the kernel refuses: it must be permitted and inheritable.
    pub const fn never_ambient(&self) -> CapabilitySet {
        self.ambient.without(self.permitted.and(self.inheritable))
    }

    /// The sets of an OCI configuration; absent sets are empty.
    pub fn from_oci(capabilities: Option<&LinuxCapabilities>) -> Self {
        let Some(oci) = capabilities else { return Self::default() };
        Self {
            bounding: CapabilitySet::from_oci(oci.bounding().as_ref()),
            effective: CapabilitySet::from_oci(oci.effective().as_ref()),
            permitted: CapabilitySet::from_oci(oci.permitted().as_ref()),
            inheritable: CapabilitySet::from_oci(oci.inheritable().as_ref()),
            ambient: CapabilitySet::from_oci(oci.ambient().as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_gives_fourteen() {
        let names: Vec<String> = DEFAULT.names().collect();
        assert_eq!(names.len(), 14);
        for name in ["CAP_CHOWN", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_MKNOD", "CAP_AUDIT_WRITE"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
        assert!(!DEFAULT.has(21), "CAP_SYS_ADMIN");
    }

    #[test]
    fn every_name_survives_the_oci_form() {
        assert_eq!(CapabilitySet::from_oci(Some(&CapabilitySet::ALL.to_oci())), CapabilitySet::ALL);
        assert_eq!(CapabilitySet::named("cap_sys_admin"), Some(CapabilitySet(1 << 21)));
        assert_eq!(CapabilitySet::named("NOPE"), None);
    }
}
