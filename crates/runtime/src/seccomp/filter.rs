//! The neutral description of a filter: what to answer to which call, before any BPF.
//!
//! Meaning, as libseccomp and runc define it for the same documents:
//! - a rule whose action is the default one says nothing and is dropped;
//! - an unconditional rule beats every conditional one for the same call, wherever they stand; of two
//!   unconditional ones the first counts;
//! - else conditional rules are tried in order, the first whose conditions all hold counts, and the
//!   default action answers the rest;
//! - the architectures are the machine's own and the listed ones; a call by any other is answered with
//!   `SECCOMP_RET_KILL_THREAD`, libseccomp's answer to a bad architecture;
//! - calls above the highest number that the rules name get `ENOSYS` (see [`Filter::hides_new_calls`]).

use std::borrow::Cow;
use std::path::PathBuf;

use super::architecture::Architecture;
use super::syscalls::Syscall;

/// What the kernel does with a call (`SECCOMP_RET_*` of `linux/seccomp.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Execute it.
    Allow,
    /// Skip it and answer this errno, at most [`Action::MAX_ERRNO`].
    Errno(u16),
    /// Kill the calling thread by SIGSYS.
    KillThread,
    /// Kill the whole process by SIGSYS.
    KillProcess,
    /// Skip it and send SIGSYS.
    Trap,
    /// Ask the tracer, giving it this value; `ENOSYS` without one.
    Trace(u16),
    /// Execute it and log it.
    Log,
    /// Ask the process that holds the notification descriptor.
    Notify,
}

impl Action {
    /// The highest errno the kernel returns (`MAX_ERRNO`); it would cut a higher one down silently.
    pub const MAX_ERRNO: u16 = 4095;

    /// The value a filter returns for it.
    #[must_use]
    pub const fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0x0000_0000,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Notify => 0x7fc0_0000,
            Self::Trace(message) => 0x7ff0_0000 | message as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
        }
    }

    /// Whether the call may be executed under it.
    #[must_use]
    pub const fn permits(self) -> bool {
        matches!(self, Self::Allow | Self::Log | Self::Trace(_) | Self::Notify)
    }
}

/// A comparison of a 64-bit argument, unsigned. On architectures with 32-bit arguments only the low
/// halves are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `argument != value`
    NotEqual(u64),
    /// `argument < value`
    Less(u64),
    /// `argument <= value`
    LessOrEqual(u64),
    /// `argument == value`
    Equal(u64),
    /// `argument >= value`
    GreaterOrEqual(u64),
    /// `argument > value`
    Greater(u64),
    /// `argument & mask == value & mask`
    MaskedEqual {
        /// The bits that count.
        mask: u64,
        /// What they must be.
        value: u64,
    },
}

/// Something that must hold of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    argument: u8,
    comparison: Comparison,
}

impl Condition {
    /// A condition on the argument with that index, 0 to 5; nothing for a higher one.
    #[must_use]
    pub const fn new(argument: usize, comparison: Comparison) -> Option<Self> {
        if argument < 6 { Some(Self { argument: argument as u8, comparison }) } else { None }
    }

    /// The argument's index, 0 to 5.
    #[must_use]
    pub const fn argument(&self) -> u8 {
        self.argument
    }

    /// How it is compared.
    #[must_use]
    pub const fn comparison(&self) -> Comparison {
        self.comparison
    }
}

/// An action for some calls if all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The calls.
    pub calls: Cow<'static, [Syscall]>,
    /// What to do with them.
    pub action: Action,
    /// What must hold, all of it; empty: always.
    pub conditions: Cow<'static, [Condition]>,
}

/// Who receives notifications (OCI runtime specification, `linux.seccomp.listenerPath`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its socket.
    pub path: PathBuf,
    /// What it is told beside the descriptor.
    pub metadata: Option<String>,
}

/// What to answer to which call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The answer where no rule matches.
    pub default_action: Action,
    /// The architectures beside the machine's own.
    pub architectures: Vec<Architecture>,
    /// `SECCOMP_FILTER_FLAG_*` asked for; the compiler adds those that notification needs.
    pub flags: u32,
    /// Rules in order.
    pub rules: Vec<Rule>,
    /// Who receives notifications.
    pub listener: Option<Listener>,
    /// Names that no architecture here has.
    pub unknown: Vec<String>,
}

impl Filter {
    /// The names of the document that Holm does not know, which have no effect.
    ///
    /// runc ignores them too: a profile written for a newer kernel must work on an older one.
    #[must_use]
    pub fn unknown_names(&self) -> &[String] {
        &self.unknown
    }

    /// Whether calls above the highest number that the rules name are answered `ENOSYS`.
    ///
    /// A profile can only judge calls that its author knew. The C library tries a new call first and
    /// falls back to the old one on `ENOSYS`; any other answer, such as the `EPERM` of most profiles, it
    /// takes for the final word, and programs break with every new C library. Saying that the kernel has
    /// no such call grants nothing. Where the default action lets calls through, they stay through.
    #[must_use]
    pub const fn hides_new_calls(&self) -> bool {
        !matches!(self.default_action, Action::Allow | Action::Log | Action::Trace(_))
    }

    /// Whether some rule asks the listener.
    #[must_use]
    pub fn notifies(&self) -> bool {
        self.rules.iter().any(|rule| rule.action == Action::Notify)
    }
}
