//! Shares of caches and of memory bandwidth (`linux.intelRdt`, OCI runtime specification, "IntelRdt"), by the kernel's
//! `resctrl` file system.
//!
//! ```text
//! <resctrl>/                       the default class
//!   info/last_cmd_status           why the kernel refused the last thing
//!   <closID, or the container's id>/
//!     schemata                     a line a resource: what the class may use
//!     tasks                        written: a process that joins; its children follow
//!     mon_groups/<id>/tasks        the same for a group that is only watched
//! ```
//! ```text
//! (nothing) --make--> Placement --admit, keep--> the container's [`Membership`] --remove--> (gone)
//!                     dropped: everything that was made goes again
//! ```

mod schemata;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holm_spec::runtime::{LinuxIntelRdt, Spec};
use holm_sys::rustix::fs::{self, FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::checkpoint::mounts::place_of_kind;
use crate::error::{Context, Error, Kind, Result};
use crate::state::Claim;

#[cfg(not(test))]
use kernel::{make_group, open, remove_group};
use schemata::agrees;
#[cfg(test)]
use tests::stand_in::{make_group, open, remove_group};

const FIELD: &str = "linux.intelRdt";
/// What resctrl has in a group of its own accord, so no class may be called that.
const RESERVED: [&str; 3] = ["info", "mon_data", "mon_groups"];

/// Checks what can be checked without looking at the host.
///
/// # Errors
/// [`Kind::Invalid`] for what is no name of a class, and for schemas that are not one line each.
pub(crate) fn check(spec: &Spec) -> Result<()> {
    let Some(asked) = asked(spec) else { return Ok(()) };
    let wrong = |field: String, why: &str| Err(Error::invalid(why).at_field(format!("{FIELD}.{field}")));
    if asked.clos_id().as_deref().is_some_and(|name| !name.is_empty() && name != "/" && !is_name(name)) {
        return wrong("closID".into(), "it is no name of a class");
    }
    let bandwidth = asked.mem_bw_schema().as_deref().unwrap_or_default();
    if bandwidth.contains('\n') {
        return wrong("memBwSchema".into(), "it is more than one line");
    }
    if !bandwidth.is_empty() && !bandwidth.starts_with("MB:") {
        return wrong("memBwSchema".into(), "it does not start with `MB:`");
    }
    let lines = asked.schemata().as_deref().unwrap_or_default();
    match lines.iter().position(|line| line.contains('\n')) {
        Some(index) => wrong(format!("schemata[{index}]"), "it is more than one line"),
        None => Ok(()),
    }
}

/// The name of one directory, and none that is always there.
fn is_name(name: &str) -> bool {
    !matches!(name, "." | "..") && !name.contains(['/', '\n', '\0']) && !RESERVED.contains(&name)
}

fn asked(spec: &Spec) -> Option<&LinuxIntelRdt> {
    spec.linux().as_ref()?.intel_rdt().as_ref()
}

/// What the configuration asks for.
#[derive(Debug, PartialEq, Eq)]
struct Plan<'a> {
    /// Directory of the class below resctrl's root; empty for the root itself.
    class: &'a str,
    /// The class is the container's alone and goes with it.
    is_own: bool,
    /// `l3CacheSchema` and `memBwSchema`, in this order: with these a class that is there already must agree.
    fixed: Vec<&'a str>,
    /// `schemata`, which are written last.
    lines: &'a [String],
    is_monitored: bool,
}

impl<'a> Plan<'a> {
    fn of(asked: &'a LinuxIntelRdt, id: &'a str) -> Result<Self> {
        let named = asked.clos_id().as_deref().filter(|name| !name.is_empty());
        let fixed = [asked.l3_cache_schema(), asked.mem_bw_schema()];
        let fixed = fixed.into_iter().filter_map(Option::as_deref).filter(|schema| !schema.is_empty());
        if named.is_none() && !is_name(id) {
            return Err(Error::invalid(format!("a class of the name `{id}` cannot be made")).at_field(FIELD));
        }
        Ok(Self {
            class: if named == Some("/") { "" } else { named.unwrap_or(id) },
            is_own: named.is_none(),
            fixed: fixed.collect(),
            lines: asked.schemata().as_deref().unwrap_or_default(),
            is_monitored: asked.enable_monitoring().unwrap_or(false),
        })
    }

    /// Each is a write of its own: one write may name a resource only once.
    fn writes(&self) -> Vec<String> {
        let fixed = self.fixed.iter().map(|schema| format!("{schema}\n"));
        let lines: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        fixed.chain(Some(lines).filter(|lines| !lines.is_empty())).collect()
    }

    fn directory(&self, root: &Path) -> PathBuf {
        if self.class.is_empty() { root.to_owned() } else { root.join(self.class) }
    }
}

/// The groups that a container's processes are in, for its record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// Directories whose `tasks` a process is written to, in this order.
    groups: Vec<PathBuf>,
    /// Those that go with the container; what is in another goes with that.
    own: Vec<PathBuf>,
}

impl Membership {
    /// Moves a process; its children will be born there.
    ///
    /// # Errors
    /// A group is gone, or the kernel refuses.
    pub fn admit(&self, pid: i32) -> Result<()> {
        for group in &self.groups {
            let file = group.join("tasks");
            write(&file, &pid.to_string())
                .context(|| format!("put process {pid} into `{}`", file.display()))
                .map_err(|error| error.at_field(FIELD))?;
        }
        Ok(())
    }

    /// Removes what was made for the container alone; fine if it is gone.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(&self) -> Result<()> {
        remove_all(&self.own)
    }
}

/// The innermost first: what is left is in what holds it, if that cannot be removed.
fn remove_all(directories: &[PathBuf]) -> Result<()> {
    for directory in directories.iter().rev() {
        match remove_group(directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other.context(|| format!("remove `{}`", directory.display()))?,
        }
    }
    Ok(())
}

/// Groups of a container that is being made; what was made for them goes again unless they are kept.
#[derive(Debug, Default)]
pub struct Placement {
    membership: Option<Membership>,
    made: Vec<PathBuf>,
}

impl Placement {
    /// Makes what the configuration asks for; nothing, and no look at resctrl, where it asks for nothing.
    ///
    /// # Errors
    /// There is no resctrl; the class is not there and nothing says what it may use, or it is and may use something
    /// else; the kernel refuses.
    pub fn make(spec: &Spec, id: &str, claim: &Claim) -> Result<Self> {
        let Some(asked) = asked(spec) else { return Ok(Self::default()) };
        let plan = Plan::of(asked, id)?;
        Resctrl::find()?.place(&plan, id, |membership| claim.note_resctrl(membership))
    }

    /// Moves the container's first process.
    ///
    /// # Errors
    /// As [`Membership::admit`].
    pub fn admit(&self, pid: i32) -> Result<()> {
        self.membership.as_ref().map_or(Ok(()), |membership| membership.admit(pid))
    }

    /// For the container's record.
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// They are the container's now.
    pub fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        // Another container may have joined a class with a name.
        self.made
            .retain(|group| std::fs::read_to_string(group.join("tasks")).is_ok_and(|tasks| tasks.is_empty()));
        // The failure that led here is what is told.
        let _ = remove_all(&self.made);
    }
}

/// The mounted file system.
struct Resctrl(PathBuf);

impl Resctrl {
    fn find() -> Result<Self> {
        let failed = || "read `/proc/self/mountinfo`";
        let table = std::fs::read_to_string("/proc/self/mountinfo").context(failed)?;
        let none = || Error::new(Kind::Unsupported, "no resctrl file system is mounted").at_field(FIELD);
        place_of_kind(&table, "resctrl").map(Self).ok_or_else(none)
    }

    /// Makes and fills the groups; `note` hears of them before that. Others who make classes wait, as the
    /// kernel's documentation of resctrl wants it.
    fn place(
        &self,
        plan: &Plan<'_>,
        id: &str,
        note: impl Fn(&Membership) -> Result<()>,
    ) -> Result<Placement> {
        let _alone = self.lock()?;
        let directory = plan.directory(&self.0);
        let class = (!directory.is_dir()).then(|| directory.clone());
        self.check_class(plan, &directory, class.is_some())?;
        let monitor = plan.is_monitored.then(|| directory.join("mon_groups").join(id));
        let own = class.iter().filter(|_| plan.is_own).chain(&monitor).cloned().collect();
        let groups = [directory.clone()].into_iter().chain(monitor.clone()).collect();
        let membership = Membership { groups, own };
        note(&membership)?;
        let mut placement = Placement::default();
        if class.is_some() {
            self.make(&directory, &mut placement)?;
        }
        self.write_schemas(plan, &directory)?;
        if let Some(monitor) = &monitor {
            self.make(monitor, &mut placement)?;
        }
        placement.membership = Some(membership);
        Ok(placement)
    }

    fn lock(&self) -> Result<OwnedFd> {
        let failed = || format!("lock `{}`", self.0.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(&self.0, flags, Mode::empty()).context(failed)?;
        fs::flock(&root, FlockOperation::LockExclusive).context(failed)?;
        Ok(root)
    }

    fn make(&self, directory: &Path, placement: &mut Placement) -> Result<()> {
        self.told(make_group(directory), || format!("make `{}`", directory.display()))?;
        placement.made.push(directory.to_owned());
        Ok(())
    }

    /// A class that others use must be as the configuration says, and one that is not there must be described.
    fn check_class(&self, plan: &Plan<'_>, directory: &Path, is_new: bool) -> Result<()> {
        let at = |error: Error| error.at_field(format!("{FIELD}.closID"));
        if plan.is_own {
            return Ok(());
        }
        if is_new {
            let described = !plan.fixed.is_empty() || !plan.lines.is_empty();
            let missing = || {
                let path = directory.display();
                at(Error::invalid(format!("there is no class `{path}`, and no schema to make it with")))
            };
            return if described { Ok(()) } else { Err(missing()) };
        }
        if plan.fixed.is_empty() {
            return Ok(());
        }
        let file = directory.join("schemata");
        let is = std::fs::read_to_string(&file).context(|| format!("read `{}`", file.display()))?;
        match plan.fixed.iter().flat_map(|schema| schema.lines()).find(|line| !agrees(&is, line)) {
            Some(line) => Err(at(Error::invalid(format!("`{}` does not say `{line}`", file.display())))),
            None => Ok(()),
        }
    }

    fn write_schemas(&self, plan: &Plan<'_>, directory: &Path) -> Result<()> {
        let file = directory.join("schemata");
        for text in plan.writes() {
            self.told(write(&file, &text), || {
                format!("write `{}` to `{}`", text.trim_end(), file.display())
            })?;
        }
        Ok(())
    }

    /// Adds the kernel's own words to its refusal.
    fn told(&self, outcome: io::Result<()>, doing: impl Fn() -> String) -> Result<()> {
        outcome.map_err(|error| {
            let status = std::fs::read_to_string(self.0.join("info/last_cmd_status")).unwrap_or_default();
            let status = Some(status.trim()).filter(|status| !matches!(*status, "" | "ok"));
            let why = status.map(|status| format!(" ({status})")).unwrap_or_default();
            Error::system(format!("{}{why}", doing()), error).at_field(FIELD)
        })
    }
}

/// Writes at once to a file that the kernel has made.
fn write(file: &Path, text: &str) -> io::Result<()> {
    open(file)?.write_all(text.as_bytes())
}

/// What the kernel does with directories of resctrl: it fills and empties them itself.
#[cfg(not(test))]
mod kernel {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    pub fn make_group(directory: &Path) -> io::Result<()> {
        std::fs::create_dir(directory)
    }

    pub fn open(file: &Path) -> io::Result<File> {
        File::options().write(true).open(file)
    }

    pub fn remove_group(directory: &Path) -> io::Result<()> {
        std::fs::remove_dir(directory)
    }
}
