//! Filters from a seed.

use super::super::filter::{Action, Comparison, Condition, Filter, Rule};
use super::super::{Architecture, Syscall};

/// SplitMix64.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A value of the kind that makes halves and borders matter.
    fn value(&mut self) -> u64 {
        let borders = [0, 1, 0x7fff_ffff, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, u64::MAX - 1, u64::MAX];
        match self.below(3) {
            0 => self.pick(&borders),
            1 => self.next() & 0xff,
            _ => self.next(),
        }
    }

    fn action(&mut self) -> Action {
        let errno = self.below(4) as u16;
        self.pick(&[
            Action::Allow,
            Action::Errno(errno),
            Action::KillThread,
            Action::KillProcess,
            Action::Trap,
            Action::Trace(errno),
            Action::Log,
            Action::Notify,
        ])
    }

    fn condition(&mut self) -> Condition {
        let value = self.value();
        let mask = self.pick(&[0, 1, 0xff, 0x7e02_0000, 0xffff_ffff, 0xffff_ffff_0000_0000, u64::MAX]);
        let comparison = self.pick(&[
            Comparison::NotEqual(value),
            Comparison::Less(value),
            Comparison::LessOrEqual(value),
            Comparison::Equal(value),
            Comparison::GreaterOrEqual(value),
            Comparison::Greater(value),
            Comparison::MaskedEqual { mask, value },
        ]);
        Condition::new(self.below(6), comparison).unwrap()
    }

    fn rule(&mut self, calls: &[Syscall]) -> Rule {
        let count = 1 + self.below(40);
        let calls: Vec<_> = (0..count).map(|_| self.pick(calls)).collect();
        let conditions: Vec<_> = match self.below(4) {
            0 => Vec::new(),
            // Neighbouring rules like this share their loads.
            1 => vec![Condition::new(2, Comparison::Equal(self.next() & 0x1_0000_0007)).unwrap()],
            count => (1..count).map(|_| self.condition()).collect(),
        };
        Rule { calls: calls.into(), action: self.action(), conditions: conditions.into() }
    }

    /// A filter with up to 24 rules on up to six architectures.
    pub(super) fn filter(&mut self) -> Filter {
        let mut calls: Vec<_> = Syscall::all().collect();
        // Half of the filters know only some calls, so that the border to new ones moves.
        if self.below(2) == 0 {
            calls.truncate(1 + self.below(200));
        }
        let rules = self.below(24);
        Filter {
            default_action: self.action(),
            architectures: (0..self.below(4)).map(|_| self.pick(&Architecture::ALL)).collect(),
            flags: 0,
            rules: (0..rules).map(|_| self.rule(&calls)).collect(),
            listener: None,
            unknown: Vec::new(),
        }
    }
}

/// Arguments that lie at, beside and far from the values that the filter compares.
pub(super) fn arguments(random: &mut Random, filter: &Filter) -> Vec<[u64; 6]> {
    let mut values = vec![0, u64::MAX];
    for condition in filter.rules.iter().flat_map(|rule| rule.conditions.iter()) {
        let value = match condition.comparison() {
            Comparison::NotEqual(value)
            | Comparison::Less(value)
            | Comparison::LessOrEqual(value)
            | Comparison::Equal(value)
            | Comparison::GreaterOrEqual(value)
            | Comparison::Greater(value)
            | Comparison::MaskedEqual { value, .. } => value,
        };
        values.extend([
            value,
            value.wrapping_add(1),
            value.wrapping_sub(1),
            value ^ (1 << 32),
            value & 0xffff_ffff,
        ]);
    }
    (0..24).map(|_| std::array::from_fn(|_| random.pick(&values))).collect()
}
