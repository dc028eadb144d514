//! A case, and what is expected of it.

use super::tree::Tree;

/// An image, and where it comes out otherwise than with `umoci`.
pub struct Case {
    /// What it is called, also as a tag.
    pub name: &'static str,
    /// The tars of its layers, lowest first.
    pub layers: Vec<Vec<u8>>,
    /// Where Holm differs from `umoci`.
    pub differences: Vec<Difference>,
}

/// An entry that comes out otherwise.
pub struct Difference {
    /// Its path.
    pub path: &'static str,
    /// What it is with Holm, as the lister says it.
    pub facts: &'static str,
    /// Why that is right.
    pub why: &'static str,
}

/// A case that comes out as with `umoci`.
pub fn case(name: &'static str, layers: Vec<Vec<u8>>) -> Case {
    Case { name, layers, differences: Vec::new() }
}

impl Case {
    /// But for one entry.
    pub fn but(mut self, path: &'static str, facts: &'static str, why: &'static str) -> Self {
        self.differences.push(Difference { path, facts, why });
        self
    }

    /// But for directories that no layer has: `umoci` gives them the time at which it unpacks.
    pub fn but_times_of(mut self, paths: &[&'static str]) -> Self {
        let why = "no layer has it, so that it has no time";
        let facts = "d 0755 0:0 0.000000000";
        self.differences.extend(paths.iter().map(|path| Difference { path, facts, why }));
        self
    }

    /// What Holm is to show, from what `umoci` has unpacked. The root is left out: its entries in layers say nothing of
    /// a container, whose root is that of its own writable layer.
    pub fn expected(&self, mut unpacked: Tree) -> Tree {
        unpacked.remove(".");
        for difference in &self.differences {
            unpacked.insert(difference.path.to_owned(), difference.facts.to_owned());
        }
        unpacked
    }

    /// Why it differs, for who reads a failure.
    pub fn reasons(&self) -> String {
        let each =
            self.differences.iter().map(|difference| format!("{}: {}", difference.path, difference.why));
        each.collect::<Vec<_>>().join("; ")
    }
}
