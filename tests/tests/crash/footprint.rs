//! All that an installation leaves on a host, in a form that can be compared.
//!
//! Ids of workloads are random: the bystander's is written `BYSTANDER`, every other one `VICTIM`. Left out
//! is what differs between right states: the log of a workload, the inside of its writable part, and the
//! content of layer mounts.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use holm_tests::{Holm, host};

use super::kernel;

/// Paths, mounts, keepers and loop devices of one installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    facts: BTreeSet<String>,
}

impl Footprint {
    /// What is there now.
    pub fn of(holm: &Holm, bystander: &str) -> Self {
        let mut footprint = Self::default();
        for (name, root) in [("root", holm.root()), ("run", holm.run_root())] {
            let device = root.metadata().map(|data| data.dev()).unwrap_or_default();
            footprint.add_directory(Path::new(name), &root, bystander, device);
            for mount in host::mounts_below(&root) {
                let below = mount.strip_prefix(&root).expect("it lies below").to_owned();
                footprint.add(format!("mount {name}/{}", below.display()));
            }
            for device in kernel::loop_devices(&root) {
                footprint.add(format!("loop device {device}"));
            }
        }
        for keeper in kernel::keepers(holm) {
            footprint.add(format!("keeper of {}", shown(&keeper.sandbox, bystander)));
        }
        footprint
    }

    /// Adds a fact; one of two victims has a number, so that none hides behind another.
    fn add(&mut self, fact: String) {
        let numbered = (2..).map(|number| format!("{fact} ({number})"));
        let free = std::iter::once(fact.clone()).chain(numbered).find(|fact| !self.facts.contains(fact));
        self.facts.extend(free);
    }

    fn add_directory(&mut self, name: &Path, path: &Path, bystander: &str, device: u64) {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            let Ok(data) = path.symlink_metadata() else { continue };
            let own = entry.file_name().to_string_lossy().into_owned();
            // Elsewhere such a name is a digest, which is the same in each run.
            let holds_ids = ["workloads", "snapshots", "sandboxes"].iter().any(|place| name.ends_with(place));
            let name = name.join(if holds_ids { shown(&own, bystander) } else { own });
            if is_left_out(&name) {
                continue;
            }
            let target = std::fs::read_link(&path).map(|target| shown(&target.to_string_lossy(), bystander));
            let target = target.map(|target| format!(" -> {target}")).unwrap_or_default();
            self.add(format!("{}{target}", name.display()));
            if data.is_dir() && data.dev() == device {
                self.add_directory(&name, &path, bystander, device);
            }
        }
    }

    /// What differs from another one, a line each; empty for equal ones.
    pub fn difference(&self, right: &Self) -> String {
        let more = self.facts.difference(&right.facts).map(|fact| format!("  left over: {fact}\n"));
        let less = right.facts.difference(&self.facts).map(|fact| format!("  missing:   {fact}\n"));
        more.chain(less).collect()
    }

    /// The same without what begins with a text.
    #[must_use]
    pub fn without(&self, prefix: &str) -> Self {
        Self { facts: self.facts.iter().filter(|fact| !fact.starts_with(prefix)).cloned().collect() }
    }
}

/// The part of a name that is the same in each run.
fn shown(name: &str, bystander: &str) -> String {
    match kernel::id_in(name) {
        Some(id) if id == bystander => name.replace(id, "BYSTANDER"),
        Some(id) => name.replace(id, "VICTIM"),
        None => name.to_owned(),
    }
}

fn is_left_out(name: &Path) -> bool {
    let parts: Vec<PathBuf> = name.components().map(|part| PathBuf::from(part.as_os_str())).collect();
    let is = |at: usize, text: &str| parts.get(at).is_some_and(|part| part.as_os_str() == text);
    // Files in `locks` are made when they are first needed, and stay.
    is(1, "workloads") && is(3, "log")
        || is(1, "snapshots") && parts.len() > 3
        || is(1, "locks") && parts.len() > 2
}
