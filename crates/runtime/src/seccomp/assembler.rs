//! Emits a BPF program from its end to its beginning.
//!
//! Every jump of classic BPF goes forward, so when a program is written backwards the target of every
//! jump is known and its distance final. A conditional jump reaches 255 instructions; when its target is
//! farther, a `ja` (32-bit distance) is put right behind it and the jump goes there. A return that is
//! too far is written again instead: also one instruction, but one less to execute.
//!
//! The result is the list of instructions in reverse; [`Assembler::finish`] turns it round.

use holm_sys::seccomp::Instruction;

use super::filter::Action;

/// `BPF_LD | BPF_W | BPF_ABS`: load a word of `struct seccomp_data`.
pub(super) const LOAD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
pub(super) const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
pub(super) const JUMP: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub(super) const JUMP_EQUAL: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
pub(super) const JUMP_GREATER: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub(super) const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
/// `BPF_RET | BPF_K`
pub(super) const RETURN: u16 = 0x06;

/// An emitted instruction, by its distance from the program's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// Where a jump goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To an instruction.
    At(Label),
    /// To any instruction that returns this action.
    Return(Action),
}

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<Instruction>,
    /// The nearest return of each action.
    returns: Vec<(Action, Label)>,
}

impl Assembler {
    /// The most instructions that a conditional jump can skip.
    const REACH: usize = u8::MAX as usize;

    /// An assembler with room for a usual program.
    pub(super) fn new() -> Self {
        Self { reversed: Vec::with_capacity(512), ..Self::default() }
    }

    /// Emits `code` with operand `k`, followed by `next`.
    pub(super) fn before(&mut self, code: u16, k: u32, next: Target) -> Target {
        self.reach(next, 0);
        Target::At(self.push(Instruction { code, jt: 0, jf: 0, k }))
    }

    /// Emits a conditional jump, unless both ways lead to the same place.
    pub(super) fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // Making `no` reachable can put one more instruction between here and `yes`.
        let yes = self.reach(yes, Self::REACH - 1);
        let no = self.reach(no, Self::REACH);
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        Target::At(self.push(Instruction { code, jt, jf, k }))
    }

    /// The program, which begins at `entry`. It may be longer than the kernel takes.
    pub(super) fn finish(mut self, entry: Target) -> Vec<Instruction> {
        self.reach(entry, 0);
        self.reversed.reverse();
        self.reversed
    }

    /// A label with the meaning of `target`, at most `reach` instructions away.
    fn reach(&mut self, target: Target, reach: usize) -> Label {
        match target {
            Target::Return(action) => {
                let known = self.returns.iter().find(|(known, _)| *known == action);
                match known {
                    Some((_, label)) if self.distance(*label) <= reach => *label,
                    _ => self.emit_return(action),
                }
            }
            Target::At(label) if self.distance(label) <= reach => label,
            Target::At(label) => self.jump(label),
        }
    }

    fn emit_return(&mut self, action: Action) -> Label {
        let label = self.push(Instruction { code: RETURN, jt: 0, jf: 0, k: action.value() });
        self.returns.retain(|(known, _)| *known != action);
        self.returns.push((action, label));
        label
    }

    fn jump(&mut self, to: Label) -> Label {
        let k = self.distance(to) as u32;
        self.push(Instruction { code: JUMP, jt: 0, jf: 0, k })
    }

    /// How many instructions a jump emitted next would skip to get to `label`.
    fn distance(&self, label: Label) -> usize {
        self.reversed.len() - label.0 - 1
    }

    fn push(&mut self, instruction: Instruction) -> Label {
        self.reversed.push(instruction);
        Label(self.reversed.len() - 1)
    }
}
