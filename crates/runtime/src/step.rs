//! What a child does between `clone` and `exec`, step by step, so that a failure there can be told in
//! words by the parent.

use holm_sys::Errno;

/// Declares the steps once: their numbers on the wire, and what was being done in words.
macro_rules! steps {
    ($($name:ident: $description:literal,)*) => {
        /// One kind of step; travels as a byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Step {
            $($name,)*
        }

        impl Step {
            /// All steps in their numeric order, to read one back.
            const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What was being done; the object follows where there is one.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$name => $description,)*
                }
            }
        }
    };
}

steps! {
    Session: "start a session",
    Dumpable: "protect the process from being traced",
    JoinNamespaces: "join the workload's namespaces",
    JoinNamespace: "join the namespace",
    BearInside: "make a process inside",
    EnterGroup: "enter the cgroup",
    AwaitParent: "wait for the parent",
    UserNamespace: "make a user namespace",
    AskForMaps: "ask for the user namespace's maps",
    NamespaceRoot: "become root of the user namespace",
    TimeNamespace: "make a time namespace",
    TimeOffsets: "set the clocks of the time namespace",
    CgroupNamespace: "make a cgroup namespace",
    Propagation: "keep mounts from reaching the host",
    OpenRoot: "open the root file system",
    AttachRoot: "attach the root file system",
    PivotRoot: "change the root",
    MoveRoot: "move the root file system to the top",
    DetachHost: "detach the host's file systems",
    MakeMount: "make the file system for",
    BindSource: "bind from inside the root",
    CoverProc: "refuse what would cover /proc",
    MapIds: "map the ids of the mount on",
    OpenTarget: "open the mount point",
    NoPlainDirectory: "find an ordinary directory to mount on",
    InsideProc: "refuse what would be mounted inside /proc",
    MakeTarget: "make the mount point",
    AttachMount: "mount on",
    MakeDevice: "make the device",
    Parameter: "set the kernel parameter",
    MaskPath: "cover the path",
    ReadOnlyPath: "make read-only the path",
    ReadOnlyDev: "make /dev read-only",
    ReadOnlyRoot: "make the root file system read-only",
    RootPropagation: "set the root's propagation",
    Hostname: "set the hostname",
    Domainname: "set the domain name",
    Loopback: "set the loopback interface up",
    Outside: "wait for what is done outside",
    OpenTerminal: "open a terminal",
    SendTerminal: "hand over the terminal",
    Console: "mount the console",
    ControllingTerminal: "take the controlling terminal",
    Stdio: "set up standard input and output",
    ResourceLimit: "set a resource limit",
    SecurityLabel: "set the security label",
    KeyLabel: "give keys the security label",
    Scheduler: "set the scheduler",
    IoPriority: "set the I/O priority",
    Personality: "set the personality",
    MemoryPolicy: "set the memory policy",
    Affinity: "set the processors to run on",
    NoNewPrivileges: "give up gaining privileges",
    Landlock: "give up access to files",
    LandlockPath: "allow access below",
    Seccomp: "install the seccomp filter",
    Listener: "hand over the seccomp listener",
    BoundingSet: "bound the capabilities",
    KeepCapabilities: "keep capabilities over the change of user",
    Groups: "set the supplementary groups",
    GroupId: "set the group",
    UserId: "set the user",
    Capabilities: "set the capabilities",
    AmbientCapabilities: "set the ambient capabilities",
    WorkingDirectory: "chdir to the working directory",
    EscapedDirectory: "refuse a working directory outside the root",
    CloseDescriptors: "close descriptors",
    Hold: "wait for the start",
    OpenDirectory: "open a directory of the checkpoint",
    SendSocket: "hand over the socket",
    Execute: "execute",
}

impl Step {
    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
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
            errno: holm_sys::error_number(i32::from_le_bytes([a, b, c, d]))?,
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

/// First byte of the packet that says which descriptor of the child's receives seccomp's notifications.
const LISTENER: u8 = b'N';

/// The packet that names the child's descriptor of the seccomp listener.
pub(crate) fn encode_listener(number: i32) -> [u8; 5] {
    let [a, b, c, d] = number.to_le_bytes();
    [LISTENER, a, b, c, d]
}

/// Reads such a packet; `None` if it is another.
pub(crate) fn decode_listener(packet: &[u8]) -> Option<i32> {
    let &[LISTENER, a, b, c, d] = packet else { return None };
    Some(i32::from_le_bytes([a, b, c, d]))
}

/// First byte of the packet that carries a tree whose ids the parent is to map.
const TREE: u8 = b'I';

/// The packet that goes with the tree of the mount with that number.
pub(crate) fn encode_tree(index: u16) -> [u8; 3] {
    let [low, high] = index.to_le_bytes();
    [TREE, low, high]
}

/// Reads such a packet; `None` if it is another.
pub(crate) fn decode_tree(packet: &[u8]) -> Option<usize> {
    let &[TREE, low, high] = packet else { return None };
    Some(u16::from_le_bytes([low, high]).into())
}

/// The packet by which the parent says that the ids of the tree are mapped.
pub(crate) const IDS_MAPPED: &[u8] = b"I";
/// The packet that carries the terminal's descriptor.
pub(crate) const TERMINAL: &[u8] = b"T";
/// The packet that carries the socket of CRIU's.
pub(crate) const SOCKET: &[u8] = b"S";
/// The child made a user namespace and waits for its maps.
pub(crate) const MAPS_WANTED: &[u8] = b"U";
/// All mounts are made, the old root is still there: hooks may look and change things.
pub(crate) const MOUNTED: &[u8] = b"M";
/// The process is complete and waits for the start.
pub(crate) const HELD: &[u8] = b"H";
/// The packet by which the parent says that what the child waits for is done.
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
        for (byte, step) in (0..).zip(Step::ALL.iter().copied()) {
            assert_eq!(step as u8, byte);
            let failure = Failure { step, index: 513, errno: Errno::NOENT };
            assert_eq!(Failure::decode(&failure.encode()), Some(failure));
        }
        assert_eq!(Failure::decode(b"T"), None);
        assert_eq!(Failure::decode(&[b'E', 0, 0, 0, 0, 0, 0, 0x80]), None, "no error number");
        assert_eq!(Failure::decode(&[b'E', u8::MAX, 0, 0, 0, 0, 0, 0]), None);
    }
}
