//! Giving back what a workload held, in an order that a crash at any point leaves for the next
//! command to finish: first what runs, then what names it, its directory last.

use std::path::Path;

use holm_spec::Id;
use holm_spec::layout::{DOOMED_PREFIX, Layout, sandbox_cgroup};
use holm_sys::fail_point;
use holm_sys::file::{remove_locked_tree, remove_tree};

use crate::cgroup::{self, Hierarchies};
use crate::error::{Context, Result};

/// Ends whatever still runs in a sandbox's control groups and removes them.
pub fn release_groups(parent: &str, sandbox: &Id) -> Result<bool> {
    cgroup::remove(&Hierarchies::detect()?, &sandbox_cgroup(parent, sandbox))
}

/// Removes everything that is on disk of a workload that does not run: its writable part, its name,
/// its directory.
///
/// The directory is first renamed, so that no reader sees half of it; `holm` finishes what is found
/// under that name.
pub fn remove_workload(layout: &Layout, workload: &Id, name: &str) -> Result<()> {
    let directory = layout.workload(workload).dir;
    let doomed = layout.workloads().join(format!("{DOOMED_PREFIX}{workload}"));
    fail_point::reached("remove-begun");
    match std::fs::rename(&directory, &doomed) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(|| format!("remove workload `{}`", directory.display()));
        }
        _ => {}
    }
    remove(&layout.snapshot(workload))?;
    fail_point::reached("remove-snapshot-removed");
    release_name(layout, workload, name)?;
    fail_point::reached("remove-name-released");
    remove_locked_tree(&doomed).context(|| format!("remove `{}`", doomed.display()))?;
    fail_point::reached("remove-workload-removed");
    Ok(())
}

/// Frees a name if it is this workload's.
pub fn release_name(layout: &Layout, workload: &Id, name: &str) -> Result<()> {
    if name.is_empty() {
        return Ok(());
    }
    let link = layout.names().join(name);
    let owner = std::fs::read_link(&link).ok();
    if owner.as_deref() == Some(Path::new(&workload.to_string())) {
        remove(&link)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    remove_tree(path).context(|| format!("remove `{}`", path.display()))
}
