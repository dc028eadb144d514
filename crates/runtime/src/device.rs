//! Device rules of a cgroup as an eBPF program (OCI runtime specification "Allowed Device list").
//!
//! The rules are read in order and the last one that matches decides; without a match access is
//! denied. The program therefore tests them from the last to the first and leaves at the first
//! match.

use holm_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Access bits of `struct bpf_cgroup_dev_ctx`.
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ANY_ACCESS: u32 = MKNOD | READ | WRITE;
/// Device types of `struct bpf_cgroup_dev_ctx`.
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// One rule; `None` matches anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    allow: bool,
    kind: Option<u32>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u32,
}

impl Rule {
    /// The rule of an OCI configuration; `None` if it can match nothing.
    pub fn from_oci(rule: &LinuxDeviceCgroup) -> Option<Self> {
        let kind = match rule.typ() {
            None | Some(LinuxDeviceType::A) => None,
            Some(LinuxDeviceType::B) => Some(BLOCK),
            Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
            Some(LinuxDeviceType::P) => return None,
        };
        // A negative number is the old way to say "any".
        let number = |value: Option<i64>| value.and_then(|value| u32::try_from(value).ok());
        Some(Self {
            allow: rule.allow(),
            kind,
            major: number(rule.major()),
            minor: number(rule.minor()),
            access: rule.access().as_deref().map_or(ANY_ACCESS, access_bits),
        })
    }

    fn matches_everything(&self) -> bool {
        *self == Self { allow: self.allow, kind: None, major: None, minor: None, access: ANY_ACCESS }
    }

    /// The rule as a line for cgroup v1's `devices.allow` and `devices.deny`, and whether it allows.
    pub fn to_v1(self) -> (bool, String) {
        let kind = match self.kind {
            None => 'a',
            Some(BLOCK) => 'b',
            Some(_) => 'c',
        };
        let number = |value: Option<u32>| value.map_or_else(|| "*".to_owned(), |value| value.to_string());
        let letters = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
        let access: String =
            letters.iter().filter(|(bit, _)| self.access & bit != 0).map(|&(_, letter)| letter).collect();
        (self.allow, format!("{kind} {}:{} {access}", number(self.major), number(self.minor)))
    }
}

fn access_bits(letters: &str) -> u32 {
    letters.bytes().fold(0, |bits, letter| {
        bits | match letter {
            b'm' => MKNOD,
            b'r' => READ,
            b'w' => WRITE,
            _ => 0,
        }
    })
}

/// The rules of a configuration and behind them those for what every container may use (OCI runtime
/// specification, "Default Devices"): nodes of any device may be made, and the harmless ones opened. In front of them
/// all is denied.
pub fn with_defaults(asked: Vec<Rule>) -> Vec<Rule> {
    if allow_everything(&asked) {
        return asked;
    }
    let allow = |kind, major, minor, access| Rule { allow: true, kind: Some(kind), major, minor, access };
    let deny = Rule { allow: false, kind: None, major: None, minor: None, access: ANY_ACCESS };
    let character = |major, minor| allow(CHARACTER, Some(major), minor, ANY_ACCESS);
    let first = asked.first().is_none_or(|rule| *rule != deny).then_some(deny);
    let mut rules: Vec<Rule> = first.into_iter().chain(asked).collect();
    rules.extend([allow(CHARACTER, None, None, MKNOD), allow(BLOCK, None, None, MKNOD)]);
    let memory = [3, 5, 7, 8, 9].map(|minor| character(1, Some(minor)));
    rules.extend(memory);
    // Terminals: the controlling one, the multiplexer, and what it makes.
    rules.extend([character(5, Some(0)), character(5, Some(2)), character(136, None)]);
    rules
}

/// Whether the rules let everything through, so that no program is needed.
pub fn allow_everything(rules: &[Rule]) -> bool {
    rules.last().is_some_and(|rule| rule.allow && rule.matches_everything())
}

// eBPF opcodes (Documentation/bpf/standardization/instruction-set.rst).
const LOAD_WORD: u8 = 0x61;
const MOVE_IMMEDIATE: u8 = 0xb7;
const MOVE_REGISTER_32: u8 = 0xbc;
const AND_IMMEDIATE_32: u8 = 0x54;
const SHIFT_RIGHT_32: u8 = 0x74;
const JUMP_IF_NOT_EQUAL: u8 = 0x55;
const JUMP_IF_REGISTERS_DIFFER: u8 = 0x5d;
const EXIT: u8 = 0x95;

/// Registers: the context, then what is read from it once, and scratch.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program that decides as `rules` say.
pub fn program(rules: &[Rule]) -> Vec<u64> {
    let mut code = prologue();
    for rule in rules.iter().rev() {
        emit(&mut code, rule);
        if rule.matches_everything() {
            return code;
        }
    }
    decide(&mut code, false);
    code
}

fn prologue() -> Vec<u64> {
    vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER_32, ACCESS, KIND, 0, 0),
        instruction(AND_IMMEDIATE_32, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT_32, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ]
}

/// Tests that leave to the next rule, then the decision.
fn emit(code: &mut Vec<u64>, rule: &Rule) {
    let start = code.len();
    let unequal = |register, value: u32| instruction(JUMP_IF_NOT_EQUAL, register, 0, 0, value);
    code.extend(rule.kind.map(|kind| unequal(KIND, kind)));
    if rule.access != ANY_ACCESS {
        // Every bit that is asked for must be one that the rule names.
        code.push(instruction(MOVE_REGISTER_32, CONTEXT, ACCESS, 0, 0));
        code.push(instruction(AND_IMMEDIATE_32, CONTEXT, 0, 0, rule.access));
        code.push(instruction(JUMP_IF_REGISTERS_DIFFER, CONTEXT, ACCESS, 0, 0));
    }
    code.extend(rule.major.map(|major| unequal(MAJOR, major)));
    code.extend(rule.minor.map(|minor| unequal(MINOR, minor)));
    decide(code, rule.allow);
    patch_jumps(code, start);
}

fn decide(code: &mut Vec<u64>, allow: bool) {
    code.push(instruction(MOVE_IMMEDIATE, RESULT, 0, 0, u32::from(allow)));
    code.push(instruction(EXIT, 0, 0, 0, 0));
}

/// Lets every jump since `start` go to the end of the code; a rule is far shorter than a jump reaches.
fn patch_jumps(code: &mut [u64], start: usize) {
    let end = code.len();
    for (at, word) in code.iter_mut().enumerate().skip(start) {
        let opcode = (*word & 0xff) as u8;
        if opcode == JUMP_IF_NOT_EQUAL || opcode == JUMP_IF_REGISTERS_DIFFER {
            *word |= ((end - at - 1) as u64 & 0xffff) << 16;
        }
    }
}

/// `struct bpf_insn` as one little-endian word.
const fn instruction(opcode: u8, destination: u8, source: u8, offset: u16, immediate: u32) -> u64 {
    opcode as u64
        | (destination as u64) << 8
        | (source as u64) << 12
        | (offset as u64) << 16
        | (immediate as u64) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(allow: bool, kind: Option<u32>, major: Option<u32>, minor: Option<u32>, access: &str) -> Rule {
        Rule { allow, kind, major, minor, access: access_bits(access) }
    }

    /// Runs a program as the kernel would.
    fn decide_by(code: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0_u64; 6];
        let mut at = 0;
        loop {
            let word = code[at];
            let (to, from) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, immediate) = ((word >> 16 & 0xffff) as usize, word >> 32);
            at += 1;
            match (word & 0xff) as u8 {
                LOAD_WORD => registers[to] = u64::from(context[offset / 4]),
                MOVE_IMMEDIATE => registers[to] = immediate,
                MOVE_REGISTER_32 => registers[to] = registers[from],
                AND_IMMEDIATE_32 => registers[to] &= immediate,
                SHIFT_RIGHT_32 => registers[to] >>= immediate,
                JUMP_IF_NOT_EQUAL if registers[to] != immediate => at += offset,
                JUMP_IF_REGISTERS_DIFFER if registers[to] != registers[from] => at += offset,
                JUMP_IF_NOT_EQUAL | JUMP_IF_REGISTERS_DIFFER => {}
                EXIT => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    fn decide_directly(rules: &[Rule], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let matches = |rule: &&Rule| {
            rule.kind.is_none_or(|wanted| wanted == kind)
                && rule.major.is_none_or(|wanted| wanted == major)
                && rule.minor.is_none_or(|wanted| wanted == minor)
                && rule.access & access == access
        };
        rules.iter().rev().find(matches).is_some_and(|rule| rule.allow)
    }

    #[test]
    fn program_decides_as_the_rules_do() {
        let rules = [
            rule(false, None, None, None, "rwm"),
            rule(true, Some(CHARACTER), None, None, "m"),
            rule(true, Some(BLOCK), None, None, "m"),
            rule(true, Some(CHARACTER), Some(1), Some(3), "rwm"),
            rule(true, Some(CHARACTER), Some(136), None, "rw"),
            rule(false, Some(CHARACTER), Some(136), Some(7), "w"),
        ];
        for count in 0..=rules.len() {
            let code = program(&rules[..count]);
            for kind in [BLOCK, CHARACTER] {
                for access in 1..=7 {
                    for (major, minor) in [(1, 3), (1, 5), (136, 0), (136, 7), (8, 0)] {
                        let expected = decide_directly(&rules[..count], kind, access, major, minor);
                        assert_eq!(
                            decide_by(&code, kind, access, major, minor),
                            expected,
                            "{count} {kind} {access} {major}:{minor}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn everything_needs_no_program() {
        assert!(allow_everything(&[rule(true, None, None, None, "rwm")]));
        assert!(!allow_everything(&[rule(true, None, None, None, "rw")]));
        assert!(!allow_everything(&[]));
    }

    #[test]
    fn all_is_denied_once_in_front() {
        let (deny, null) =
            (rule(false, None, None, None, "rwm"), rule(true, Some(CHARACTER), Some(1), Some(3), "rwm"));
        assert_eq!(with_defaults(vec![deny, null])[..2], [deny, null]);
        assert_eq!(with_defaults(vec![null])[..2], [deny, null]);
        assert_eq!(with_defaults(Vec::new()).iter().filter(|rule| **rule == deny).count(), 1);
    }

    #[test]
    fn v1_lines() {
        assert_eq!(rule(true, Some(CHARACTER), Some(1), None, "rm").to_v1(), (true, "c 1:* rm".to_owned()));
        assert_eq!(rule(false, None, None, None, "rwm").to_v1(), (false, "a *:* rwm".to_owned()));
    }
}
