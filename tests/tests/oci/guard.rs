//! What must be left of a container: nothing. Dropping a test's corner, also while the test panics, removes all of it; a
//! test that passes but leaves something fails there.

use std::path::PathBuf;

use holm_tests::{eventually, host};

use super::machine;
use super::setup::Oci;

impl Oci {
    /// Demands that `create` fails, that its message has all of these texts, and that nothing is left.
    #[track_caller]
    pub fn refused(&self, texts: &[&str]) -> String {
        self.save();
        let message = self.fails(1, self.creation());
        for text in texts {
            assert!(message.contains(text), "no {text:?} in {message:?}");
        }
        self.clean();
        message
    }

    /// Removes the container, whatever its status, and demands that nothing is left.
    #[track_caller]
    pub fn remove(&self) {
        self.ok(["delete", "--force", &self.id]);
        self.clean();
    }

    /// Demands that nothing is left of the container: no state, no group, no mount, no process.
    #[track_caller]
    pub fn clean(&self) {
        assert!(!self.root().join(&self.id).exists(), "the directory of its state is left");
        self.clean_machine(&self.group());
    }

    #[track_caller]
    fn clean_machine(&self, group: &str) {
        assert_eq!(host::mounts_below(self.directory.path()), Vec::<PathBuf>::new(), "mounts are left");
        eventually("no process is left", || machine::processes(group).is_empty());
        assert_eq!(machine::groups(group), Vec::<PathBuf>::new(), "groups are left");
    }

    /// Every container that the runtime has a directory for.
    pub fn containers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.root()).into_iter().flatten().flatten();
        let mut ids: Vec<_> = entries
            .filter(|entry| entry.path().is_dir())
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect();
        ids.sort();
        ids
    }
}

impl Drop for Oci {
    fn drop(&mut self) {
        for id in self.containers() {
            drop(self.call(["delete", "--force", &id]).wait());
        }
        let left = self.containers();
        let directory = self.directory.path().to_str().expect("temporary paths are text").to_owned();
        let processes: Vec<_> =
            machine::processes(&self.base).into_iter().chain(host::processes_naming(&directory)).collect();
        let names: Vec<_> = processes.iter().map(|pid| host::program(*pid)).collect();
        processes.into_iter().filter(|pid| host::runs(*pid)).for_each(host::kill);
        let mounts = host::mounts_below(self.directory.path());
        machine::destroy(&self.base);
        host::unmount_below(self.directory.path());
        if !std::thread::panicking() {
            assert!(left.is_empty(), "containers are left after `delete --force`: {left:?}");
            assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
            assert!(names.is_empty(), "processes are left: {names:?}");
        }
    }
}
