//! The answer to a call straight from the filter, slowly and plainly.

use std::collections::HashMap;

use super::super::filter::{Action, Comparison, Condition, Filter, Rule};
use super::super::{Architecture, Syscall};
use super::interpreter::Call;

const X32: u32 = 0x4000_0000;

/// A rule as it stands for one number.
type Spoken = (Action, Vec<Condition>);

/// A filter, indexed by architecture and number.
pub(super) struct Oracle<'f> {
    filter: &'f Filter,
    native: Architecture,
    spoken: HashMap<(Architecture, u32), Vec<Spoken>>,
    /// The highest number that rules name, private calls of Arm aside.
    highest: HashMap<Architecture, u32>,
}

impl<'f> Oracle<'f> {
    pub(super) fn new(filter: &'f Filter, native: Architecture) -> Self {
        let mut oracle = Self { filter, native, spoken: HashMap::new(), highest: HashMap::new() };
        for architecture in Architecture::ALL {
            for rule in &filter.rules {
                for call in rule.calls.iter() {
                    oracle.hear(rule, *call, architecture);
                }
            }
        }
        oracle
    }

    fn hear(&mut self, rule: &Rule, call: Syscall, architecture: Architecture) {
        if let Some(number) = call.number(architecture) {
            if !is_private(architecture, number) {
                let highest = self.highest.entry(architecture).or_default();
                *highest = number.max(*highest);
            }
            self.note(rule, architecture, number, rule.conditions.to_vec());
        }
        if architecture == Architecture::X86
            && let Some((number, conditions)) = multiplexed(rule, call)
        {
            self.note(rule, architecture, number, conditions);
        }
    }

    fn note(&mut self, rule: &Rule, architecture: Architecture, number: u32, conditions: Vec<Condition>) {
        if rule.action != self.filter.default_action {
            self.spoken.entry((architecture, number)).or_default().push((rule.action, conditions));
        }
    }

    /// The answer to a call.
    pub(super) fn answer(&self, call: &Call) -> Action {
        let Some(architecture) = self.architecture_of(call) else {
            let known = self.knows(Architecture::X86_64) && call.token == Architecture::X86_64.audit_token();
            let skipped_by_tracer = known && call.number == u32::MAX;
            return if skipped_by_tracer { self.filter.default_action } else { Action::KillThread };
        };
        let rules = self.spoken.get(&(architecture, call.number)).map(Vec::as_slice).unwrap_or_default();
        if let Some((action, _)) = rules.iter().find(|(_, conditions)| conditions.is_empty()) {
            return *action;
        }
        let narrow = matches!(architecture, Architecture::X86 | Architecture::Arm);
        for (action, conditions) in rules {
            if conditions.iter().all(|condition| holds(condition, &call.arguments, narrow)) {
                return *action;
            }
        }
        if self.is_new(architecture, call.number) { Action::Errno(38) } else { self.filter.default_action }
    }

    /// Whether the answer to a number can depend on arguments.
    pub(super) fn is_conditional(&self, call: &Call) -> bool {
        let spoken =
            self.architecture_of(call).and_then(|architecture| self.spoken.get(&(architecture, call.number)));
        spoken.is_some_and(|rules| rules.iter().any(|(_, conditions)| !conditions.is_empty()))
    }

    /// The architecture that the call belongs to, if the filter knows it.
    fn architecture_of(&self, call: &Call) -> Option<Architecture> {
        Architecture::ALL.into_iter().filter(|architecture| self.knows(*architecture)).find(|architecture| {
            let token = architecture.audit_token() == call.token;
            match architecture {
                Architecture::X86_64 => token && call.number < X32,
                Architecture::X32 => token && call.number >= X32,
                _ => token,
            }
        })
    }

    fn knows(&self, architecture: Architecture) -> bool {
        architecture == self.native || self.filter.architectures.contains(&architecture)
    }

    fn is_new(&self, architecture: Architecture, number: u32) -> bool {
        if matches!(self.filter.default_action, Action::Allow | Action::Log | Action::Trace(_)) {
            return false;
        }
        let above = self.highest.get(&architecture).is_some_and(|highest| number > *highest);
        above && !is_private(architecture, number)
    }
}

fn is_private(architecture: Architecture, number: u32) -> bool {
    architecture == Architecture::Arm && number >= 0xf_0000
}

/// Calls behind `socketcall` (102) and `ipc` (117) of 32-bit x86.
fn multiplexed(rule: &Rule, call: Syscall) -> Option<(u32, Vec<Condition>)> {
    const SOCKET: [&str; 20] = [
        "socket",
        "bind",
        "connect",
        "listen",
        "accept",
        "getsockname",
        "getpeername",
        "socketpair",
        "send",
        "recv",
        "sendto",
        "recvfrom",
        "shutdown",
        "setsockopt",
        "getsockopt",
        "sendmsg",
        "recvmsg",
        "accept4",
        "recvmmsg",
        "sendmmsg",
    ];
    const IPC: [(&str, u64); 12] = [
        ("semop", 1),
        ("semget", 2),
        ("semctl", 3),
        ("semtimedop", 4),
        ("msgsnd", 11),
        ("msgrcv", 12),
        ("msgget", 13),
        ("msgctl", 14),
        ("shmat", 21),
        ("shmdt", 22),
        ("shmget", 23),
        ("shmctl", 24),
    ];
    let socket = SOCKET.iter().position(|name| *name == call.name());
    let ipc = IPC.iter().find(|(name, _)| *name == call.name());
    let (number, comparison) = match (socket, ipc) {
        (Some(index), _) => (102, Comparison::Equal(index as u64 + 1)),
        (_, Some((_, value))) => (117, Comparison::MaskedEqual { mask: 0xffff, value: *value }),
        (None, None) => return None,
    };
    let passes = matches!(rule.action, Action::Allow | Action::Log | Action::Notify | Action::Trace(_));
    if passes && !rule.conditions.is_empty() {
        return None;
    }
    Some((number, vec![Condition::new(0, comparison).unwrap()]))
}

fn holds(condition: &Condition, arguments: &[u64; 6], narrow: bool) -> bool {
    let cut = |value: u64| if narrow { value & 0xffff_ffff } else { value };
    let argument = cut(arguments[usize::from(condition.argument())]);
    match condition.comparison() {
        Comparison::NotEqual(value) => argument != cut(value),
        Comparison::Less(value) => argument < cut(value),
        Comparison::LessOrEqual(value) => argument <= cut(value),
        Comparison::Equal(value) => argument == cut(value),
        Comparison::GreaterOrEqual(value) => argument >= cut(value),
        Comparison::Greater(value) => argument > cut(value),
        Comparison::MaskedEqual { mask, value } => argument & cut(mask) == cut(value) & cut(mask),
    }
}
