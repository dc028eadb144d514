//! The calls that 32-bit x86 also reaches through `socketcall(2)` and `ipc(2)`.
//!
//! Old C libraries use nothing else, so a rule for `socket` must also mean `socketcall` with its first
//! argument `SYS_SOCKET`; libseccomp does the same. The arguments proper then lie in memory, where a
//! filter cannot look. A conditional rule that lets calls through is therefore not carried over, and one
//! that refuses them refuses them all: this is stricter than libseccomp, which carries over both. A
//! profile that wants such calls names `socketcall` or `ipc` itself, as Docker's does.

use super::filter::{Comparison, Condition, Rule};
use super::plan::Alternative;
use super::syscalls::Syscall;

/// The lower half of `ipc`'s first argument is the call, the upper one a version.
const IPC_CALL: u64 = 0xffff;

/// A call, the multiplexer that also reaches it, and the first argument that selects it.
type Detour = (Syscall, Syscall, [Condition; 1]);

const fn socket(name: &str, code: u64) -> Detour {
    let selected = Condition::new(0, Comparison::Equal(code)).expect("there is an argument 0");
    (Syscall::known(name), Syscall::known("socketcall"), [selected])
}

const fn ipc(name: &str, code: u64) -> Detour {
    let selected = Comparison::MaskedEqual { mask: IPC_CALL, value: code };
    let selected = Condition::new(0, selected).expect("there is an argument 0");
    (Syscall::known(name), Syscall::known("ipc"), [selected])
}

/// `linux/net.h` and `linux/ipc.h`.
static DETOURS: [Detour; 32] = [
    socket("socket", 1),
    socket("bind", 2),
    socket("connect", 3),
    socket("listen", 4),
    socket("accept", 5),
    socket("getsockname", 6),
    socket("getpeername", 7),
    socket("socketpair", 8),
    socket("send", 9),
    socket("recv", 10),
    socket("sendto", 11),
    socket("recvfrom", 12),
    socket("shutdown", 13),
    socket("setsockopt", 14),
    socket("getsockopt", 15),
    socket("sendmsg", 16),
    socket("recvmsg", 17),
    socket("accept4", 18),
    socket("recvmmsg", 19),
    socket("sendmmsg", 20),
    ipc("semop", 1),
    ipc("semget", 2),
    ipc("semctl", 3),
    ipc("semtimedop", 4),
    ipc("msgsnd", 11),
    ipc("msgrcv", 12),
    ipc("msgget", 13),
    ipc("msgctl", 14),
    ipc("shmat", 21),
    ipc("shmdt", 22),
    ipc("shmget", 23),
    ipc("shmctl", 24),
];

/// What `rule` means for the multiplexer of `call`, if there is one.
pub(super) fn carry_over(call: Syscall, rule: &Rule) -> Option<(Syscall, Alternative<'static>)> {
    if !rule.conditions.is_empty() && rule.action.permits() {
        return None;
    }
    let (_, multiplexer, selected) = DETOURS.iter().find(|(behind, ..)| *behind == call)?;
    Some((*multiplexer, Alternative { conditions: selected, action: rule.action }))
}
