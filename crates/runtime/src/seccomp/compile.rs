//! From a plan to BPF.
//!
//! Layout of a program, each part jumping only forwards:
//! ```text
//! load architecture
//! is it the native one?            no: the next one … none left: kill
//! load number
//! balanced binary search over the spans of numbers
//!   a number that alone interrupts a span: one test for equality, no second search
//!   answers: a shared return, or the tests of a choice
//! ```
//! Allowed calls that look at no argument cost nothing at run time on Linux 5.11 and later: the kernel
//! runs the program once per number when it is installed and remembers those that it always allows. The
//! program uses only the instructions that this knows (loads of number and architecture, `ja`, `jeq`,
//! `jge`, `jgt`, `and`, `ret`), and a shallow tree makes the installation itself short.

use holm_sys::seccomp::{FLAG_NEW_LISTENER, FLAG_TSYNC, FLAG_TSYNC_ESRCH, Instruction, MAX_INSTRUCTIONS};

use super::architecture::Architecture;
use super::assembler::{AND, Assembler, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_OR_EQUAL, LOAD, Target};
use super::error::{Error, Kind};
use super::filter::{Action, Comparison, Condition, Filter};
use super::plan::{Alternative, Answer, BAD_ARCHITECTURE, Choice, Machine, Plan, Span};

/// Must change whenever the same filter compiles to another program; part of every cache key. A unit
/// test pins the program of the default profile for this version.
pub(super) const COMPILER_VERSION: u32 = 1;

/// `offsetof(struct seccomp_data, nr)`
const NUMBER: u32 = 0;
/// `offsetof(struct seccomp_data, arch)`
const ARCHITECTURE: u32 = 4;
/// `offsetof(struct seccomp_data, args)`; every architecture here is little-endian.
const ARGUMENTS: u32 = 16;

/// A compiled filter, ready to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    instructions: Vec<Instruction>,
    flags: u32,
}

impl Program {
    /// A program read back from the cache.
    pub(super) fn from_parts(instructions: Vec<Instruction>, flags: u32) -> Self {
        Self { instructions, flags }
    }

    /// The instructions, at most 4096.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The `SECCOMP_FILTER_FLAG_*` to install it with, those that notification needs included.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// Whether installing it gives a notification descriptor.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.flags & FLAG_NEW_LISTENER != 0
    }
}

/// Compiles `filter` for a machine whose architecture is `native`.
///
/// # Errors
/// [`Kind::TooLarge`] if the program has more than 4096 instructions, which is all the kernel takes.
pub fn compile(filter: &Filter, native: Architecture) -> Result<Program, Error> {
    let plan = Plan::new(filter, native);
    let instructions = Generator::new(&plan.choices, filter.default_action).program(&plan.machines);
    if instructions.len() > MAX_INSTRUCTIONS {
        let size = format!(
            "its program has {} instructions, the kernel takes {MAX_INSTRUCTIONS}",
            instructions.len()
        );
        return Err(Error::new(Kind::TooLarge, size));
    }
    Ok(Program { instructions, flags: flags(filter) })
}

/// The flags that were asked for and those that notification needs.
fn flags(filter: &Filter) -> u32 {
    match (filter.notifies(), filter.flags & FLAG_TSYNC != 0) {
        (false, _) => filter.flags,
        (true, false) => filter.flags | FLAG_NEW_LISTENER,
        (true, true) => filter.flags | FLAG_NEW_LISTENER | FLAG_TSYNC_ESRCH,
    }
}

/// A span and at most one number inside it that is answered differently.
#[derive(Clone, Copy)]
struct Stretch {
    first: u32,
    answer: Answer,
    exception: Option<(u32, Answer)>,
}

/// Joins three spans into a stretch where the middle one is a single number and its neighbours agree.
fn stretches(spans: &[Span]) -> Vec<Stretch> {
    let mut stretches = Vec::with_capacity(spans.len());
    let mut rest = spans;
    while let [span, tail @ ..] = rest {
        let exception = match tail {
            [single, next, ..] if next.answer == span.answer && next.first - single.first == 1 => {
                rest = &tail[2..];
                Some((single.first, single.answer))
            }
            _ => {
                rest = tail;
                None
            }
        };
        stretches.push(Stretch { first: span.first, answer: span.answer, exception });
    }
    stretches
}

/// Writes the program from its end to its beginning.
struct Generator<'p> {
    assembler: Assembler,
    choices: &'p [Choice<'p>],
    /// The choices already written.
    written: Vec<Option<Target>>,
    default: Target,
}

impl<'p> Generator<'p> {
    fn new(choices: &'p [Choice<'p>], default: Action) -> Self {
        let written = vec![None; choices.len()];
        Self { assembler: Assembler::new(), choices, written, default: Target::Return(default) }
    }

    fn program(mut self, machines: &[Machine]) -> Vec<Instruction> {
        let mut dispatch = Target::Return(BAD_ARCHITECTURE);
        for machine in machines.iter().rev() {
            let search = self.search(&stretches(&machine.spans));
            let entry = match search {
                Target::At(_) => self.assembler.before(LOAD, NUMBER, search),
                Target::Return(_) => search,
            };
            dispatch = self.assembler.branch(JUMP_EQUAL, machine.token, entry, dispatch);
        }
        let entry = self.assembler.before(LOAD, ARCHITECTURE, dispatch);
        self.assembler.finish(entry)
    }

    /// The search tree; the number is loaded.
    fn search(&mut self, stretches: &[Stretch]) -> Target {
        match stretches {
            [] => self.default,
            [stretch] => self.stretch(stretch),
            _ => {
                let (lower, upper) = stretches.split_at(stretches.len() / 2);
                let first = upper[0].first;
                let upper = self.search(upper);
                let lower = self.search(lower);
                self.assembler.branch(JUMP_GREATER_OR_EQUAL, first, upper, lower)
            }
        }
    }

    fn stretch(&mut self, stretch: &Stretch) -> Target {
        let usual = self.answer(stretch.answer);
        match stretch.exception {
            None => usual,
            Some((number, answer)) => {
                let answer = self.answer(answer);
                self.assembler.branch(JUMP_EQUAL, number, answer, usual)
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> Target {
        let index = match answer {
            Answer::Action(action) => return Target::Return(action),
            Answer::Choice(index) => index,
        };
        if let Some(target) = self.written[index] {
            return target;
        }
        let target = self.choice(&self.choices[index]);
        self.written[index] = Some(target);
        target
    }

    /// Tries the alternatives in their order, equalities of one argument with one load.
    fn choice(&mut self, choice: &Choice<'_>) -> Target {
        let mut otherwise = self.default;
        for group in choice.alternatives.chunk_by(shares_load).rev() {
            otherwise = match group {
                [alternative] => self.alternative(alternative, choice.narrow, otherwise),
                _ => self.equal_to_any(group, choice.narrow, otherwise),
            };
        }
        otherwise
    }

    /// Tests that all conditions hold.
    fn alternative(&mut self, alternative: &Alternative<'_>, narrow: bool, otherwise: Target) -> Target {
        let mut holds = Target::Return(alternative.action);
        for condition in alternative.conditions.iter().rev() {
            holds = self.condition(condition, narrow, holds, otherwise);
        }
        holds
    }

    /// Tests that one argument equals one of several values with the same high half.
    fn equal_to_any(&mut self, group: &[Alternative<'_>], narrow: bool, otherwise: Target) -> Target {
        let mut test = otherwise;
        let (mut argument, mut high) = (0, 0);
        for (alternative, equality) in group.iter().filter_map(|one| Some((one, equality(one)?))).rev() {
            test = self.assembler.branch(JUMP_EQUAL, equality.low, Target::Return(alternative.action), test);
            (argument, high) = (equality.argument, equality.high);
        }
        let operand = Operand::new(argument, narrow);
        let low = self.assembler.before(LOAD, operand.offset, test);
        if narrow { low } else { self.equal_half(operand.offset + 4, u32::MAX, high, low, otherwise) }
    }

    /// Tests one condition.
    fn condition(&mut self, condition: &Condition, narrow: bool, yes: Target, no: Target) -> Target {
        let operand = Operand::new(condition.argument(), narrow);
        match condition.comparison() {
            Comparison::Equal(value) => self.equal(operand, u64::MAX, value, yes, no),
            Comparison::NotEqual(value) => self.equal(operand, u64::MAX, value, no, yes),
            Comparison::MaskedEqual { mask, value } => self.equal(operand, mask, value, yes, no),
            Comparison::Greater(value) => self.order(operand, JUMP_GREATER, value, yes, no),
            Comparison::LessOrEqual(value) => self.order(operand, JUMP_GREATER, value, no, yes),
            Comparison::GreaterOrEqual(value) => self.order(operand, JUMP_GREATER_OR_EQUAL, value, yes, no),
            Comparison::Less(value) => self.order(operand, JUMP_GREATER_OR_EQUAL, value, no, yes),
        }
    }

    /// Both halves under the mask must be equal.
    fn equal(&mut self, operand: Operand, mask: u64, value: u64, yes: Target, no: Target) -> Target {
        let low = self.equal_half(operand.offset, mask as u32, value as u32, yes, no);
        if operand.narrow {
            return low;
        }
        self.equal_half(operand.offset + 4, (mask >> 32) as u32, (value >> 32) as u32, low, no)
    }

    fn equal_half(&mut self, offset: u32, mask: u32, value: u32, yes: Target, no: Target) -> Target {
        if mask == 0 {
            return yes;
        }
        let mut test = self.assembler.branch(JUMP_EQUAL, value & mask, yes, no);
        if mask != u32::MAX {
            test = self.assembler.before(AND, mask, test);
        }
        self.assembler.before(LOAD, offset, test)
    }

    /// The high half decides, if equal the low one by `code`, a jump on greater (or equal).
    fn order(&mut self, operand: Operand, code: u16, value: u64, yes: Target, no: Target) -> Target {
        let (high, low) = ((value >> 32) as u32, value as u32);
        let test = self.assembler.branch(code, low, yes, no);
        let low = self.assembler.before(LOAD, operand.offset, test);
        if operand.narrow {
            return low;
        }
        // Nothing is less than zero, so one test is enough there.
        let test = if high == 0 {
            self.assembler.branch(JUMP_EQUAL, 0, low, yes)
        } else {
            let equal = self.assembler.branch(JUMP_EQUAL, high, low, no);
            self.assembler.branch(JUMP_GREATER, high, yes, equal)
        };
        self.assembler.before(LOAD, operand.offset + 4, test)
    }
}

/// An argument in `struct seccomp_data`.
#[derive(Clone, Copy)]
struct Operand {
    offset: u32,
    /// Whether only the low half counts.
    narrow: bool,
}

impl Operand {
    fn new(argument: u8, narrow: bool) -> Self {
        Self { offset: ARGUMENTS + 8 * u32::from(argument), narrow }
    }
}

/// A test of one argument for one value.
struct Equality {
    argument: u8,
    high: u32,
    low: u32,
}

/// The alternative's only condition, if it is an equality.
fn equality(alternative: &Alternative<'_>) -> Option<Equality> {
    let [condition] = alternative.conditions else { return None };
    let Comparison::Equal(value) = condition.comparison() else { return None };
    Some(Equality { argument: condition.argument(), high: (value >> 32) as u32, low: value as u32 })
}

/// Whether two alternatives are equalities that differ in the low half only.
fn shares_load(left: &Alternative<'_>, right: &Alternative<'_>) -> bool {
    match (equality(left), equality(right)) {
        (Some(left), Some(right)) => (left.argument, left.high) == (right.argument, right.high),
        _ => false,
    }
}
