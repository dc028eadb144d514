//! What a child does between `clone` and `exec`, step by step, so that a failure there can be told in
//! words by the parent.

use holm_sys::Errno;

/// One kind of step; travels as a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Step {
    Session,
    Dumpable,
    JoinNamespaces,
    BearInside,
    EnterGroup,
    AwaitParent,
    CgroupNamespace,
    Propagation,
    AttachRoot,
    PivotRoot,
    DetachHost,
    MakeMount,
    OpenTarget,
    MakeTarget,
    AttachMount,
    Parameter,
    MaskPath,
    ReadOnlyPath,
    ReadOnlyRoot,
    RootPropagation,
    Hostname,
    Domainname,
    Loopback,
    OpenTerminal,
    SendTerminal,
    Console,
    ControllingTerminal,
    Stdio,
    ResourceLimit,
    OomScore,
    NoNewPrivileges,
    Seccomp,
    BoundingSet,
    KeepCapabilities,
    Groups,
    GroupId,
    UserId,
    Capabilities,
    AmbientCapabilities,
    WorkingDirectory,
    EscapedDirectory,
    CloseDescriptors,
    Execute,
}

const LAST: u8 = Step::Execute as u8;

impl Step {
    /// All steps in their numeric order, to read one back.
    fn from_byte(byte: u8) -> Option<Self> {
        const STEPS: [Step; LAST as usize + 1] = [
            Step::Session,
            Step::Dumpable,
            Step::JoinNamespaces,
            Step::BearInside,
            Step::EnterGroup,
            Step::AwaitParent,
            Step::CgroupNamespace,
            Step::Propagation,
            Step::AttachRoot,
            Step::PivotRoot,
            Step::DetachHost,
            Step::MakeMount,
            Step::OpenTarget,
            Step::MakeTarget,
            Step::AttachMount,
            Step::Parameter,
            Step::MaskPath,
            Step::ReadOnlyPath,
            Step::ReadOnlyRoot,
            Step::RootPropagation,
            Step::Hostname,
            Step::Domainname,
            Step::Loopback,
            Step::OpenTerminal,
            Step::SendTerminal,
            Step::Console,
            Step::ControllingTerminal,
            Step::Stdio,
            Step::ResourceLimit,
            Step::OomScore,
            Step::NoNewPrivileges,
            Step::Seccomp,
            Step::BoundingSet,
            Step::KeepCapabilities,
            Step::Groups,
            Step::GroupId,
            Step::UserId,
            Step::Capabilities,
            Step::AmbientCapabilities,
            Step::WorkingDirectory,
            Step::EscapedDirectory,
            Step::CloseDescriptors,
            Step::Execute,
        ];
        STEPS.get(usize::from(byte)).copied()
    }

    /// What was being done; the object follows where there is one.
    pub fn description(self) -> &'static str {
        match self {
            Self::Session => "start a session",
            Self::Dumpable => "protect the process from being traced",
            Self::JoinNamespaces => "join the workload's namespaces",
            Self::BearInside => "make a process inside",
            Self::EnterGroup => "enter the cgroup",
            Self::AwaitParent => "wait for the parent",
            Self::CgroupNamespace => "make a cgroup namespace",
            Self::Propagation => "keep mounts from reaching the host",
            Self::AttachRoot => "attach the root file system",
            Self::PivotRoot => "change the root",
            Self::DetachHost => "detach the host's file systems",
            Self::MakeMount => "make the file system for",
            Self::OpenTarget => "open the mount point",
            Self::MakeTarget => "make the mount point",
            Self::AttachMount => "mount on",
            Self::Parameter => "set the kernel parameter",
            Self::MaskPath => "cover the path",
            Self::ReadOnlyPath => "make read-only the path",
            Self::ReadOnlyRoot => "make the root file system read-only",
            Self::RootPropagation => "set the root's propagation",
            Self::Hostname => "set the hostname",
            Self::Domainname => "set the domain name",
            Self::Loopback => "set the loopback interface up",
            Self::OpenTerminal => "open a terminal",
            Self::SendTerminal => "hand over the terminal",
            Self::Console => "mount the console",
            Self::ControllingTerminal => "take the controlling terminal",
            Self::Stdio => "set up standard input and output",
            Self::ResourceLimit => "set a resource limit",
            Self::OomScore => "set the out-of-memory score",
            Self::NoNewPrivileges => "give up gaining privileges",
            Self::Seccomp => "install the seccomp filter",
            Self::BoundingSet => "bound the capabilities",
            Self::KeepCapabilities => "keep capabilities over the change of user",
            Self::Groups => "set the supplementary groups",
            Self::GroupId => "set the group",
            Self::UserId => "set the user",
            Self::Capabilities => "set the capabilities",
            Self::AmbientCapabilities => "set the ambient capabilities",
            Self::WorkingDirectory => "change to the working directory",
            Self::EscapedDirectory => "refuse a working directory outside the root",
            Self::CloseDescriptors => "close descriptors",
            Self::Execute => "execute",
        }
    }
}

/// A step that failed, on the object with that number in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub step: Step,
    pub index: u16,
    pub errno: Errno,
}

impl Failure {
    /// The packet in which a failure travels.
    pub fn encode(self) -> [u8; 8] {
        let index = self.index.to_le_bytes();
        let errno = self.errno.raw_os_error().to_le_bytes();
        [FAILURE, self.step as u8, index[0], index[1], errno[0], errno[1], errno[2], errno[3]]
    }

    /// Reads a packet; `None` if it is no failure.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let &[FAILURE, step, low, high, a, b, c, d] = packet else { return None };
        Some(Self {
            step: Step::from_byte(step)?,
            index: u16::from_le_bytes([low, high]),
            errno: Errno::from_raw_os_error(i32::from_le_bytes([a, b, c, d])),
        })
    }
}

/// First byte of a failure packet.
const FAILURE: u8 = b'E';
/// First byte of the packet that carries the pidfd of a process that was born inside.
const PROCESS: u8 = b'C';

/// The packet that tells of a process that was born inside, by the host's number of it.
pub(crate) fn encode_process(pid: i32) -> [u8; 5] {
    let [a, b, c, d] = pid.to_le_bytes();
    [PROCESS, a, b, c, d]
}

/// Reads such a packet; `None` if it is another.
pub(crate) fn decode_process(packet: &[u8]) -> Option<i32> {
    let &[PROCESS, a, b, c, d] = packet else { return None };
    Some(i32::from_le_bytes([a, b, c, d]))
}

/// The packet that carries the terminal's descriptor.
pub(crate) const TERMINAL: &[u8] = b"T";
/// The packet by which the parent says that everything outside is ready: devices
/// guarded, state written.
pub(crate) const PROCEED: &[u8] = b"P";

/// Adds the step to an error number.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
    fn at_index(self, step: Step, index: usize) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, Errno> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.at_index(step, 0)
    }

    fn at_index(self, step: Step, index: usize) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step, index: u16::try_from(index).unwrap_or(u16::MAX), errno })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_packet() {
        for byte in 0..=LAST {
            let step = Step::from_byte(byte).expect("known");
            assert_eq!(step as u8, byte);
            let failure = Failure { step, index: 513, errno: Errno::NOENT };
            assert_eq!(Failure::decode(&failure.encode()), Some(failure));
        }
        assert_eq!(Failure::decode(b"T"), None);
        assert_eq!(Failure::decode(&[b'E', LAST + 1, 0, 0, 0, 0, 0, 0]), None);
    }
}
