//! The control groups of a container that is being made: at a path, or as a unit of systemd's.
//!
//! ```text
//! (nothing) --note the unit, start its scope--> placeholder inside --note the group, make and limit it--> made
//! made --keep--> the container's        anything --dropped--> removed
//! ```

use std::path::{Component, Path, PathBuf};

use holm_runtime::bundle::Bundle;
use holm_runtime::cgroup::{self, Group, Hierarchies};
use holm_runtime::device::{self, Rule};
use holm_runtime::rootless::is_host_root;
use holm_runtime::state::Claim;
use holm_runtime::systemd::{Asked, Scope, Unit};
use holm_runtime::{Error, Result};
use holm_spec::runtime::{LinuxResources, Spec};

use crate::talk;

/// Control groups that go again unless the container comes to be.
pub struct Groups {
    hierarchies: Hierarchies,
    /// Relative to each hierarchy's root; none where the user may make no group.
    path: Option<PathBuf>,
    unit: Option<Unit>,
    /// Holds the unit until the container's process is in it.
    scope: Option<Scope>,
    group: Group,
    rules: Vec<Rule>,
    kept: bool,
}

impl Groups {
    /// Makes and limits them.
    pub fn make(id: &str, bundle: &Bundle, claim: &Claim, by_systemd: bool) -> Result<Self> {
        let hierarchies = Hierarchies::detect()?;
        let rules = device_rules(&bundle.spec);
        let group = Group::none();
        let mut groups = Self { hierarchies, path: None, unit: None, scope: None, group, rules, kept: false };
        let path = if by_systemd {
            groups.start_unit(id, &bundle.spec, claim)?
        } else {
            group_path(&bundle.spec, id, &groups.hierarchies)
        };
        if groups.scope.is_none() {
            groups.check_is_free(&path)?;
        }
        claim.note_group(&path)?;
        groups.path = Some(path);
        groups.limit(&bundle.spec)?;
        Ok(groups)
    }

    /// The unit's group, relative to each hierarchy's root.
    fn start_unit(&mut self, id: &str, spec: &Spec, claim: &Claim) -> Result<PathBuf> {
        let unit = Unit::parse(&asked_path(spec), id)?;
        claim.note_unit(&unit)?;
        let asked = Asked { id, resources: resources(spec), annotations: spec.annotations().as_ref() };
        let scope = unit.start(&asked, &self.hierarchies)?;
        self.unit = Some(unit);
        self.scope.insert(scope).group()
    }

    /// Two containers in one group would end and freeze each other.
    fn check_is_free(&self, path: &Path) -> Result<()> {
        let inside = cgroup::processes(&self.hierarchies, path).len();
        if inside > 0 {
            return Err(Error::invalid(format!(
                "container's cgroup is not empty: {inside} process(es) found"
            )));
        }
        if cgroup::is_frozen(&self.hierarchies, path) {
            return Err(Error::invalid("container's cgroup unexpectedly frozen"));
        }
        Ok(())
    }

    fn limit(&mut self, spec: &Spec) -> Result<()> {
        let path = self.path.as_deref().unwrap_or_else(|| Path::new(""));
        if is_host_root() {
            self.group = Group::create(&self.hierarchies, path, resources(spec), &self.rules)?;
            return self.group.enter_for_figures(&self.hierarchies, path);
        }
        let (group, left_out) = Group::create_within_rights(&self.hierarchies, path, resources(spec))?;
        if !left_out.is_empty() {
            let names = left_out.join(", ");
            talk::warn(&format!("limits that this user may not set are not in force: {names}"));
        }
        self.rules.clear();
        match (group, self.unit.clone()) {
            (Some(group), Some(unit)) => self.group = group.entered_through(unit),
            (Some(group), None) => self.group = group,
            (None, _) => self.path = None,
        }
        Ok(())
    }

    /// The group to start in.
    pub fn group(&self) -> &Group {
        &self.group
    }

    /// Puts the device rules in force, where that is not done when the groups are made.
    pub fn guard_devices(&self) -> Result<()> {
        self.group.guard_devices(&self.rules)
    }

    /// Where they are, for the container's record.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The unit that they are, for the container's record.
    pub fn unit(&self) -> Option<&str> {
        self.unit.as_ref().map(Unit::name)
    }

    /// They are the container's now.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.scope = None;
        if self.kept {
            return;
        }
        // The failure that led here is what is told.
        if let Some(path) = &self.path {
            let _ = cgroup::remove(&self.hierarchies, path);
        }
        if let Some(unit) = &self.unit {
            let _ = unit.stop();
        }
    }
}

fn resources(spec: &Spec) -> Option<&LinuxResources> {
    spec.linux().as_ref().and_then(|linux| linux.resources().as_ref())
}

fn asked_path(spec: &Spec) -> String {
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The groups' place below each hierarchy's root, whatever is written in front of it.
fn group_path(spec: &Spec, id: &str, hierarchies: &Hierarchies) -> PathBuf {
    let mut path = PathBuf::new();
    for component in Path::new(&asked_path(spec)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => drop(path.pop()),
            _ => {}
        }
    }
    if !path.as_os_str().is_empty() {
        return path;
    }
    let base = if is_host_root() { PathBuf::new() } else { beside_own_group(hierarchies) };
    base.join("holm-runtime").join(id)
}

/// A user who may make groups at all may make them beside the one that this process is in.
fn beside_own_group(hierarchies: &Hierarchies) -> PathBuf {
    let own = hierarchies.own_group().unwrap_or_default();
    own.parent().map(Path::to_owned).unwrap_or_default()
}

/// What the configuration says, and behind it what every container may use.
fn device_rules(spec: &Spec) -> Vec<Rule> {
    let Some(resources) = resources(spec) else { return Vec::new() };
    let asked = resources.devices().iter().flatten().filter_map(Rule::from_oci);
    device::with_defaults(asked.collect())
}
