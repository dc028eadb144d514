//! Classic BPF as the kernel's seccomp runs it, with the kernel's checks.

use holm_sys::seccomp::Instruction;

/// What the kernel shows to a filter (`struct seccomp_data`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) token: u32,
    pub(super) arguments: [u64; 6],
}

impl Call {
    /// The word at `offset`, little-endian as all architectures here.
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.token,
            16..64 if offset.is_multiple_of(4) => {
                let argument = self.arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
            _ => panic!("load from {offset}"),
        }
    }
}

/// What a run gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) value: u32,
    /// How many instructions were executed.
    pub(super) steps: usize,
}

/// Runs a program. Only the instructions that the kernel's bitmap of always allowed calls understands
/// are known, and loads of arguments.
pub(super) fn run(program: &[Instruction], call: &Call) -> Outcome {
    let (mut at, mut accumulator, mut steps) = (0, 0_u32, 0);
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let skip = |condition| usize::from(if condition { jt } else { jf });
        at += 1;
        steps += 1;
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += skip(accumulator == k),
            0x25 => at += skip(accumulator > k),
            0x35 => at += skip(accumulator >= k),
            0x06 => return Outcome { value: k, steps },
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

/// The kernel's static check: every jump stays inside and forward, the last instruction returns.
pub(super) fn check(program: &[Instruction]) {
    assert!((1..=4096).contains(&program.len()), "{} instructions", program.len());
    assert_eq!(program.last().map(|last| last.code), Some(0x06));
    for (at, instruction) in program.iter().enumerate() {
        let farthest = match instruction.code {
            0x05 => instruction.k as usize,
            0x15 | 0x25 | 0x35 => usize::from(instruction.jt.max(instruction.jf)),
            _ => 0,
        };
        assert!(at + farthest + 1 < program.len() || farthest == 0, "jump out of the program at {at}");
    }
}
