//! Between OCI documents and filters (OCI runtime specification, `linux.seccomp`).
//!
//! Two habits of runc and crun that profiles rely on are kept: names that no architecture has are
//! ignored, and when two conditions of one rule look at the same argument, each becomes a rule of its
//! own, so that either is enough.

use holm_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSeccompOperator,
    LinuxSyscall,
};

use holm_sys::seccomp::{FLAG_LOG, FLAG_SPEC_ALLOW, FLAG_TSYNC, FLAG_WAIT_KILLABLE_RECV};

use super::architecture::Architecture;
use super::error::{Error, Kind};
use super::filter::{Action, Comparison, Condition, Filter, Listener, Rule};
use super::syscalls::Syscall;

/// The errno, and the message to a tracer, where the document gives none: `EPERM`.
const DEFAULT_DATA: u32 = 1;

impl Filter {
    /// Reads an OCI document; `native` is the architecture of this machine.
    ///
    /// Architectures that no kernel Holm runs on can execute are left out.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for an errno over 4095, a tracer's message over 65535 or an argument over 5;
    /// [`Kind::Unsupported`] where notification cannot work: as the default action, for `write` (the
    /// container's first process would wait for an answer before it could report its descriptor), or
    /// without `listenerPath`.
    pub fn from_oci(document: &LinuxSeccomp, native: Architecture) -> Result<Self, Error> {
        let default_action = action(document.default_action(), document.default_errno_ret())?;
        let mut filter = Self {
            default_action,
            architectures: architectures(document, native),
            flags: document
                .flags()
                .iter()
                .flatten()
                .map(|flag| flag_bit(*flag))
                .fold(0, |all, one| all | one),
            rules: Vec::new(),
            listener: listener(document),
            unknown: Vec::new(),
        };
        for syscall in document.syscalls().iter().flatten() {
            filter.add(syscall)?;
        }
        filter.check_notification()?;
        Ok(filter)
    }

    /// Adds the rules that an entry of the document stands for.
    fn add(&mut self, entry: &LinuxSyscall) -> Result<(), Error> {
        let action = action(entry.action(), entry.errno_ret())?;
        let mut calls = Vec::with_capacity(entry.names().len());
        for name in entry.names() {
            match Syscall::from_name(name) {
                Some(call) => calls.push(call),
                None => self.unknown.push(name.clone()),
            }
        }
        let arguments = entry.args().as_deref().unwrap_or_default();
        let conditions = arguments.iter().map(condition).collect::<Result<Vec<_>, _>>()?;
        if repeats_argument(&conditions) {
            for condition in conditions {
                let (calls, conditions) = (calls.clone().into(), vec![condition].into());
                self.rules.push(Rule { calls, action, conditions });
            }
        } else {
            self.rules.push(Rule { calls: calls.into(), action, conditions: conditions.into() });
        }
        Ok(())
    }

    /// Refuses notification where it would block the container's first process for ever.
    fn check_notification(&self) -> Result<(), Error> {
        const WRITE: Syscall = Syscall::known("write");
        let unsupported = |reason| Err(Error::new(Kind::Unsupported, reason));
        if self.default_action == Action::Notify {
            return unsupported("SCMP_ACT_NOTIFY cannot be used as default action");
        }
        let mut notifying = self.rules.iter().filter(|rule| rule.action == Action::Notify);
        if notifying.any(|rule| rule.calls.contains(&WRITE)) {
            return unsupported("SCMP_ACT_NOTIFY cannot be used for the write syscall");
        }
        if self.notifies() && self.listener.is_none() {
            return unsupported("SCMP_ACT_NOTIFY needs a `listenerPath`");
        }
        Ok(())
    }
}

fn architectures(document: &LinuxSeccomp, native: Architecture) -> Vec<Architecture> {
    let listed = document.architectures().iter().flatten();
    listed.filter_map(|architecture| Architecture::from_oci(*architecture, native)).collect()
}

/// Who receives notifications, if the document names somebody.
pub(super) fn listener(document: &LinuxSeccomp) -> Option<Listener> {
    let path = document.listener_path().clone().filter(|path| !path.as_os_str().is_empty())?;
    Some(Listener { path, metadata: document.listener_metadata().clone() })
}

fn action(action: LinuxSeccompAction, data: Option<u32>) -> Result<Action, Error> {
    let takes_data = matches!(action, LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace);
    if data.is_some() && !takes_data {
        return Err(Error::new(Kind::Invalid, format!("errnoRet with {action}, which has no error number")));
    }
    let data = data.unwrap_or(DEFAULT_DATA);
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => Action::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(bounded(data, Action::MAX_ERRNO, "errno")?),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(bounded(data, u16::MAX, "tracer's message")?),
        LinuxSeccompAction::ScmpActNotify => Action::Notify,
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
    })
}

/// The 16 bits that go with an action.
fn bounded(data: u32, limit: u16, what: &str) -> Result<u16, Error> {
    match u16::try_from(data) {
        Ok(data) if data <= limit => Ok(data),
        _ => Err(Error::new(Kind::Invalid, format!("{what} {data} is over {limit}"))),
    }
}

fn condition(argument: &LinuxSeccompArg) -> Result<Condition, Error> {
    let value = argument.value();
    let comparison = match argument.op() {
        LinuxSeccompOperator::ScmpCmpNe => Comparison::NotEqual(value),
        LinuxSeccompOperator::ScmpCmpLt => Comparison::Less(value),
        LinuxSeccompOperator::ScmpCmpLe => Comparison::LessOrEqual(value),
        LinuxSeccompOperator::ScmpCmpEq => Comparison::Equal(value),
        LinuxSeccompOperator::ScmpCmpGe => Comparison::GreaterOrEqual(value),
        LinuxSeccompOperator::ScmpCmpGt => Comparison::Greater(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Comparison::MaskedEqual { mask: value, value: argument.value_two().unwrap_or(0) }
        }
    };
    Condition::new(argument.index(), comparison).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("argument {} does not exist, the last one is 5", argument.index()))
    })
}

fn repeats_argument(conditions: &[Condition]) -> bool {
    let earlier = |(index, condition): (usize, &Condition)| {
        conditions[..index].iter().any(|other| other.argument() == condition.argument())
    };
    conditions.iter().enumerate().any(earlier)
}

const fn flag_bit(flag: LinuxSeccompFilterFlag) -> u32 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => FLAG_WAIT_KILLABLE_RECV,
    }
}
