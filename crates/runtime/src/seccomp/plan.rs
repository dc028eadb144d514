//! From a filter to answers by number: the pure half of the compiler.
//!
//! For every audit token the whole range of numbers, 0 to 2^32-1, is cut into [`Span`]s of neighbouring
//! numbers with one answer. An answer that depends on arguments is a [`Choice`], stored once however
//! many calls and architectures share it.

use super::architecture::{Architecture, X32_BIT};
use super::filter::{Action, Condition, Filter};
use super::multiplex;
use super::syscalls::ARM_PRIVATE;

/// The answer to architectures that the filter does not know: libseccomp's, which runc keeps.
pub(super) const BAD_ARCHITECTURE: Action = Action::KillThread;

/// The answer to calls newer than the profile; see [`Filter::hides_new_calls`].
const NEW_CALL: Action = Action::Errno(38);

/// The number that a tracer sets to skip a call; on its way it passes the filter once more.
const SKIPPED: u32 = u32::MAX;

/// An action and the conditions it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alternative<'f> {
    /// All of them must hold.
    pub(super) conditions: &'f [Condition],
    /// What is done then.
    pub(super) action: Action,
}

/// Alternatives in order; the default action is what remains.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Choice<'f> {
    /// Whether arguments have 32 bits.
    pub(super) narrow: bool,
    /// Conditional, all of them.
    pub(super) alternatives: Vec<Alternative<'f>>,
}

/// What is answered to a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Always this.
    Action(Action),
    /// The choice with this index in [`Plan::choices`].
    Choice(usize),
}

/// Numbers from `first` to the next span's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first number.
    pub(super) first: u32,
    /// The answer to all of them.
    pub(super) answer: Answer,
}

/// The answers under one audit token.
#[derive(Debug)]
pub(super) struct Machine {
    /// What the kernel shows as the architecture.
    pub(super) token: u32,
    /// Sorted, no two neighbours alike, the first from 0.
    pub(super) spans: Vec<Span>,
}

/// All that a filter says.
#[derive(Debug)]
pub(super) struct Plan<'f> {
    /// The native one first.
    pub(super) machines: Vec<Machine>,
    /// Answers that depend on arguments.
    pub(super) choices: Vec<Choice<'f>>,
}

impl<'f> Plan<'f> {
    /// Works out what `filter` says on a machine whose architecture is `native`.
    pub(super) fn new(filter: &'f Filter, native: Architecture) -> Self {
        let mut plan = Self { machines: Vec::new(), choices: Vec::new() };
        let architectures = architectures(filter, native);
        for &architecture in &architectures {
            let token = architecture.audit_token();
            if plan.machines.iter().all(|machine| machine.token != token) {
                let spans = plan.machine(filter, architecture, &architectures);
                plan.machines.push(Machine { token, spans });
            }
        }
        plan
    }

    /// The spans under the token of `architecture`, which `x86_64` and `x32` share.
    fn machine(&mut self, filter: &'f Filter, architecture: Architecture, all: &[Architecture]) -> Vec<Span> {
        let mut spans = Spans::default();
        if !matches!(architecture, Architecture::X86_64 | Architecture::X32) {
            self.architecture(filter, architecture, &mut spans);
            return spans.0;
        }
        if all.contains(&Architecture::X86_64) {
            self.architecture(filter, Architecture::X86_64, &mut spans);
        } else {
            spans.push(0, Answer::Action(BAD_ARCHITECTURE));
        }
        if all.contains(&Architecture::X32) {
            self.architecture(filter, Architecture::X32, &mut spans);
        } else {
            spans.push(X32_BIT, Answer::Action(BAD_ARCHITECTURE));
            spans.push(SKIPPED, Answer::Action(filter.default_action));
        }
        spans.0
    }

    /// The spans of one architecture, from its first number on.
    fn architecture(&mut self, filter: &'f Filter, architecture: Architecture, spans: &mut Spans) {
        let background = Background::new(filter, architecture);
        let mut next = architecture.marker();
        for group in alternatives(filter, architecture).chunk_by(|left, right| left.0 == right.0) {
            let number = group[0].0;
            background.fill(next, Some(number), spans);
            spans.push(number, self.answer(group, architecture.is_narrow()));
            next = number + 1;
        }
        background.fill(next, None, spans);
    }

    /// The answer that the alternatives for one number give together.
    fn answer(&mut self, group: &[(u32, Alternative<'f>)], narrow: bool) -> Answer {
        let mut unconditional = group.iter().filter(|(_, alternative)| alternative.conditions.is_empty());
        if let Some((_, alternative)) = unconditional.next() {
            return Answer::Action(alternative.action);
        }
        let alternatives = group.iter().map(|(_, alternative)| *alternative).collect();
        let choice = Choice { narrow, alternatives };
        let known = self.choices.iter().position(|known| *known == choice);
        Answer::Choice(known.unwrap_or_else(|| {
            self.choices.push(choice);
            self.choices.len() - 1
        }))
    }
}

/// The native architecture and the listed ones, each once.
fn architectures(filter: &Filter, native: Architecture) -> Vec<Architecture> {
    let mut all = vec![native];
    for &architecture in &filter.architectures {
        if !all.contains(&architecture) {
            all.push(architecture);
        }
    }
    all
}

/// What the rules say, by number and then in their order.
fn alternatives(filter: &Filter, architecture: Architecture) -> Vec<(u32, Alternative<'_>)> {
    let mut all = Vec::with_capacity(512);
    for rule in filter.rules.iter().filter(|rule| rule.action != filter.default_action) {
        let own = Alternative { conditions: &rule.conditions, action: rule.action };
        for &call in rule.calls.iter() {
            all.extend(call.number(architecture).map(|number| (number, own)));
            if architecture == Architecture::X86
                && let Some((multiplexer, alternative)) = multiplex::carry_over(call, rule)
            {
                all.extend(multiplexer.number(architecture).map(|number| (number, alternative)));
            }
        }
    }
    all.sort_by_key(|(number, _)| *number);
    all
}

/// The answers where no rule speaks: the default action, and `ENOSYS` above the calls that the profile
/// knows. The private calls of 32-bit Arm lie far above the rest and do not count as its end.
struct Background {
    default: Action,
    /// The first number of the new calls.
    new_calls: Option<u32>,
    arm: bool,
}

impl Background {
    fn new(filter: &Filter, architecture: Architecture) -> Self {
        let arm = architecture == Architecture::Arm;
        let named = filter.rules.iter().flat_map(|rule| rule.calls.iter());
        let numbers = named.filter_map(|call| call.number(architecture));
        let highest = numbers.filter(|number| !arm || *number < ARM_PRIVATE).max();
        let new_calls = highest.filter(|_| filter.hides_new_calls()).map(|highest| highest + 1);
        Self { default: filter.default_action, new_calls, arm }
    }

    /// Fills the numbers from `first` up to `end`.
    fn fill(&self, first: u32, end: Option<u32>, spans: &mut Spans) {
        let default = Answer::Action(self.default);
        let Some(new_calls) = self.new_calls else { return spans.push_before(first, end, default) };
        spans.push_before(first, end, if first < new_calls { default } else { self.beyond(first) });
        spans.push_before(new_calls.max(first), end, self.beyond(new_calls.max(first)));
        if self.arm {
            spans.push_before(ARM_PRIVATE.max(first), end, default);
        }
    }

    /// The answer to a number above the known calls.
    fn beyond(&self, number: u32) -> Answer {
        let private = self.arm && number >= ARM_PRIVATE;
        Answer::Action(if private { self.default } else { NEW_CALL })
    }
}

/// Spans in the making, in order.
#[derive(Default)]
struct Spans(Vec<Span>);

impl Spans {
    /// Appends a span unless the last one says the same.
    fn push(&mut self, first: u32, answer: Answer) {
        if self.0.last().is_none_or(|last| last.answer != answer) {
            self.0.push(Span { first, answer });
        }
    }

    /// Appends a span that begins before `end`, if it does.
    fn push_before(&mut self, first: u32, end: Option<u32>, answer: Answer) {
        if end.is_none_or(|end| first < end) {
            self.push(first, answer);
        }
    }
}
