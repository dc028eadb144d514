//! The runtime under test, and what another one than Holm's is known to lack.

use std::path::PathBuf;
use std::sync::LazyLock;

use holm_tests::binaries;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    std::env::var_os("HOLM_OCI_RUNTIME").map_or_else(|| binaries().join("holm-runtime"), PathBuf::from)
});

/// The program.
pub fn program() -> &'static PathBuf {
    &PROGRAM
}

/// Something that runc 1.1 of Debian 12 does not do, or does otherwise. Holm's runtime has all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Feature {
    /// Starts of one container from many sides all return.
    StartRace,
    /// Devices are made below a descriptor of the root.
    DevIsChecked,
    /// Masked files are covered by the real null device only.
    NullIsChecked,
    /// A message names the item of a list.
    JsonPaths,
    /// Flags of seccomp filters.
    SeccompFlags,
    /// The mount option `defaults`.
    Defaults,
    /// Recursive options that clear a way of keeping access times.
    RecursiveTimes,
    /// The propagation of the root is applied after it has become the root.
    RootPropagation,
    /// `resources.unified` where v1 is mounted beside v2.
    UnifiedOnMixedHosts,
    /// `cpu.idle` and `cpu.burst`.
    IdleAndBurst,
    /// What a hook leaves running does not hold the runtime.
    HookChildren,
    /// `poststart` hooks run at `start`.
    PoststartAtStart,
    /// The message names the kind of the hook.
    HookMessage,
    /// File systems of other kinds below `/proc` are refused.
    ProcIsGuarded,
    /// The supplementary groups of the caller may be kept.
    KeepGroups,
    /// Sources of mounts below the root are resolved inside, with a user namespace, too; destinations are written
    /// either way.
    InnerSources,
    /// Mounts with maps of ids.
    IdMappedMounts,
    /// A container without a mount namespace leaves no mount, and needs no `/proc`.
    NoNamespace,
    /// The umask of the container holds for `exec`.
    ExecUmask,
    /// `process.ioPriority`.
    IoPriority,
    /// `process.scheduler`.
    Scheduler,
    /// What the specification says must be an error is one.
    StrictConfiguration,
    /// Time namespaces.
    TimeNamespace,
    /// A user namespace by path needs no maps.
    JoinUserWithoutMaps,
    /// `domainname`.
    DomainName,
    /// `exec --cgroup` on a mixed host.
    ExecGroups,
    /// `linux.personality`.
    Personality,
    /// `exec --user` refuses what no user id can be.
    UserRange,
    /// A root of `/` is refused.
    RootIsGuarded,
    /// `features`.
    Features,
    /// `spec` grants what is needed and nothing that is inherited.
    LeanSpec,
    /// `kill KILL` without a pid namespace ends every process of the container.
    KillEndsAll,
    /// `list` with a root that is not there fails.
    MissingRootIsAnError,
    /// `linux.memoryPolicy`.
    MemoryPolicy,
    /// `process.execCPUAffinity`.
    ProcessorsOfExec,
    /// A runtime that was killed leaves nothing that `delete --force` does not find.
    SuddenEnds,
    /// `--pidfd-socket`.
    PidfdSocket,
    /// Hooks of the container are processes of all its namespaces.
    HooksAreInside,
    /// The processors of the caller are not those of the container.
    ExecAffinity,
    /// Variables that are there twice, and an empty home.
    Environment,
    /// Masked paths that are there twice.
    MaskedOnce,
    /// `process.landlock`, which is no part of the specification yet.
    Landlock,
    /// `linux.netDevices`.
    NetworkDevices,
    /// `linux.intelRdt` as version 1.3 of the specification has it.
    IntelRdt,
    /// Whoever waits for readiness does not wait for more, and a foreground process that ends before ends all.
    ReadinessInForeground,
    /// A user without rights gets a container without the limits that cannot be set, and what is wrong is named.
    RootlessIsToldWhy,
}

impl Feature {
    const fn reason(self) -> &'static str {
        match self {
            Self::StartRace => "in 1.1 the loser may wait at the fifo without end",
            Self::DevIsChecked => "Debian's 1.1.5 is older than the fix of CVE-2026-41579",
            Self::NullIsChecked => "Debian's 1.1.5 is older than the fix of CVE-2025-31133",
            Self::JsonPaths => "the JSON reader of Go does not",
            Self::SeccompFlags => "they came with 1.2",
            Self::Defaults => "runc hands it to the file system",
            Self::RecursiveTimes => "1.1 asks the kernel wrongly",
            Self::RootPropagation => "1.1 applies it only before",
            Self::UnifiedOnMixedHosts => "runc refuses it there",
            Self::IdleAndBurst => "they came with 1.2",
            Self::HookChildren => "1.1 waits for the pipe without end",
            Self::PoststartAtStart => "before 1.6 they ran at the end of `create`",
            Self::HookMessage => "1.1 words it otherwise",
            Self::ProcIsGuarded => "1.1 looks at bind mounts only",
            Self::KeepGroups => "the annotation is crun's",
            Self::InnerSources => "runc takes them for paths of the host, and the rest came with 1.2",
            Self::IdMappedMounts => "they came with 1.2",
            Self::NoNamespace => "1.1 leaves the mount of the root on the host, and needs `/proc`",
            Self::ExecUmask => "1.1 has always 0022 there",
            Self::IoPriority => "it came with 1.2",
            Self::Scheduler => "it came with 1.2",
            Self::StrictConfiguration => "1.1 does not look",
            Self::TimeNamespace => "they came with 1.2",
            Self::JoinUserWithoutMaps => "1.1 demands them",
            Self::DomainName => "it came with 1.2",
            Self::ExecGroups => "1.1 mixes up the groups of v1",
            Self::Personality => "it came with 1.2",
            Self::UserRange => "1.1 cuts numbers off",
            Self::RootIsGuarded => "the check came with 1.2",
            Self::Features => "1.1 of Debian hides it and knows an older list",
            Self::LeanSpec => "1.1 writes inheritable and ambient sets",
            Self::KillEndsAll => "1.1 needs `--all` for that",
            Self::MemoryPolicy => "it came with 1.4",
            Self::ProcessorsOfExec => "it came with 1.3",
            Self::SuddenEnds => "groups and processes stay when `create` is killed early",
            Self::PidfdSocket => "it came with 1.2",
            Self::HooksAreInside => "1.1 ends the caller's process only when time is over",
            Self::ExecAffinity => "it came with 1.2",
            Self::Environment => "it came with 1.3",
            Self::MaskedOnce => "1.1 covers it again",
            Self::Landlock => "it is our extension",
            Self::NetworkDevices => "they came with 1.4",
            Self::IntelRdt => "1.1 knows less of it and starts without what it does not find",
            Self::ReadinessInForeground => {
                "it waits without end for a process that has ended, and fails where nobody hears"
            }
            Self::RootlessIsToldWhy => "it refuses such limits, and words the rest otherwise",
            Self::MissingRootIsAnError => "`list` takes a given root that is not there for the default one",
        }
    }
}

/// Whether the runtime under test is known to lack this: a test returns then, and says why. With `HOLM_OCI_ALL` in the
/// environment it goes on, to see what has changed.
pub fn lacks(feature: Feature) -> bool {
    let reference = program().file_name().is_some_and(|name| name == "runc");
    if reference && std::env::var_os("HOLM_OCI_ALL").is_some() {
        return false;
    }
    if reference {
        println!("left out for runc 1.1: {}", feature.reason());
    }
    reference
}
