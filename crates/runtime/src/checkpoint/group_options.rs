//! Options of the host's cgroup2, such as `nsdelegate`: CRIU mounts that file system without any to look at groups, and
//! the kernel takes that as an order to clear them for everybody.

use std::path::{Path, PathBuf};

use holm_sys::mount::reconfigure;

use super::mounts::read_mounts;
use crate::cgroup::Hierarchies;

/// The options as they were; put back when this is dropped.
#[derive(Debug)]
pub(super) struct GroupOptions {
    root: PathBuf,
    before: Vec<String>,
}

impl GroupOptions {
    /// Remembers them; `None` where there is no cgroup2.
    pub fn remember(hierarchies: &Hierarchies) -> Option<Self> {
        let root = hierarchies.unified()?.to_owned();
        let before = read(&root)?;
        Some(Self { root, before })
    }
}

impl Drop for GroupOptions {
    fn drop(&mut self) {
        if read(&self.root).is_some_and(|now| now != self.before) {
            let flags: Vec<&str> = self.before.iter().map(String::as_str).collect();
            // Where it is not for this process to change them CRIU has not changed them either.
            let _ = reconfigure(&self.root, &flags);
        }
    }
}

/// All options but whether it can be written to.
fn read(root: &Path) -> Option<Vec<String>> {
    let mounts = read_mounts("/proc/self/mountinfo").ok()?;
    let mut options = mounts.into_iter().rfind(|mount| mount.place == root)?.options;
    options.retain(|option| !matches!(option.as_str(), "rw" | "ro"));
    Some(options)
}
