//! An installation with something to lose: another image and another workload, the bystander.

use std::time::{Duration, Instant};

use holm_tests::{Call, Holm, host, tarball};

use super::footprint::Footprint;
use super::kernel;

/// How long a keeper that has told its last may take to go, and a host to reap.
const SETTLING: Duration = Duration::from_secs(3);

/// The installation. Dropped, it takes all with it, also where only a half-made directory tells of a
/// workload.
pub struct Island {
    /// Removed first: its own cleaning looks for what it knows.
    pub holm: Holm,
    /// Id of the bystander.
    pub bystander: String,
    /// The bystander's keeper.
    keeper: u32,
    /// What is there when nothing but the bystander is.
    pub clean: Footprint,
}

impl Island {
    /// Images `base` and `other`, and the workload `bystander`, which runs.
    pub fn new() -> Self {
        let holm = Holm::empty();
        import(&holm, "base", tarball::base()).run().ok();
        import(&holm, "other", tarball::base_with_release("other").finish()).run().ok();
        let bystander = holm.ok(["run", "-d", "--name", "bystander", "other", "sleep", "100000"]);
        // Leaves the mount point and the compiled filter that any later run finds.
        holm.ok(["run", "--rm", "base", "true"]);
        let keeper = kernel::keeper_of(&holm, "bystander");
        let mut island = Self { holm, bystander, keeper, clean: Footprint::default() };
        island.clean = island.settle();
        island
    }

    /// What is there now.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(&self.holm, &self.bystander)
    }

    /// What is there once keepers that are on their way out have gone.
    fn settle(&self) -> Footprint {
        let deadline = Instant::now() + SETTLING;
        loop {
            let footprint = self.footprint();
            let alone = kernel::keepers(&self.holm).len() <= 1;
            if alone || Instant::now() > deadline {
                return footprint;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until what is there is one of `right`; gives its index.
    ///
    /// # Errors
    /// What differs from the last of them, if none is reached.
    pub fn reaches(&self, right: &[&Footprint]) -> Result<usize, String> {
        let deadline = Instant::now() + SETTLING;
        loop {
            let footprint = self.footprint();
            if let Some(index) = right.iter().position(|right| **right == footprint) {
                return Ok(index);
            }
            if Instant::now() > deadline {
                let nearest = right.iter().map(|right| footprint.difference(right)).min_by_key(String::len);
                return Err(nearest.unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Demands that nothing is there but the bystander, which is well.
    #[track_caller]
    pub fn is_clean(&self, when: &str) {
        if let Err(difference) = self.reaches(&[&self.clean]) {
            panic!("{when}:\n{difference}");
        }
        self.bystander_is_well();
    }

    /// Demands that the bystander runs, under the keeper that it always had, and answers.
    #[track_caller]
    pub fn bystander_is_well(&self) {
        assert_eq!(self.holm.ok(["exec", "bystander", "echo", "alive"]), "alive");
        let keepers = kernel::keepers(&self.holm);
        let of_bystander: Vec<_> = keepers
            .iter()
            .filter(|keeper| keeper.sandbox == self.bystander)
            .map(|keeper| keeper.pid)
            .collect();
        assert_eq!(of_bystander, [self.keeper], "the bystander has another keeper than before");
    }

    /// Ids of all workloads but the bystander, also of what is half made.
    pub fn victims(&self) -> Vec<String> {
        let mut ids = kernel::ids(&self.holm);
        ids.retain(|id| *id != self.bystander);
        ids
    }

    /// Demands that no control group and no process of these workloads is left.
    pub fn groups_are_gone(&self, ids: &[String]) -> Result<(), String> {
        for id in ids {
            let deadline = Instant::now() + SETTLING;
            while !host::groups(id).is_empty() {
                if Instant::now() > deadline {
                    let (groups, processes) = (host::groups(id), host::processes(id));
                    return Err(format!("  control groups {groups:?} with processes {processes:?}\n"));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        for id in self.victims() {
            host::destroy_groups(&id);
        }
        for keeper in kernel::keepers(&self.holm) {
            if keeper.sandbox != self.bystander {
                host::kill(keeper.pid);
            }
        }
    }
}

/// An import that gives the same image in each run.
pub fn import(holm: &Holm, name: &str, tar: Vec<u8>) -> Call {
    holm.call(["import", "-", name]).env("SOURCE_DATE_EPOCH", "1700000000").stdin(tar)
}

/// The tarball of a third image.
pub fn third() -> Vec<u8> {
    tarball::base_with_release("third").finish()
}
