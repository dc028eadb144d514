//! The check of an installation: the store's content, and what workloads refer to.

use std::collections::BTreeMap;

use holm_spec::{Digest, Id};
use holm_store::{CheckObserver, Checked, Finding};

use crate::{Engine, Kind, Result};

/// What a check found.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// What is wrong with the store's content.
    pub store: Checked,
    /// What is wrong with workloads.
    pub workloads: Vec<BrokenWorkload>,
    /// Names of workloads by the image that they use.
    users: BTreeMap<Digest, Vec<String>>,
}

/// A workload that lacks something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenWorkload {
    /// Its name, or its id where that is not known.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

impl CheckReport {
    /// Names of the workloads that a finding hurts.
    pub fn workloads_of(&self, finding: &Finding) -> Vec<&str> {
        let ids = finding.owners.iter().filter_map(|owner| owner.id);
        let mut names: Vec<&str> =
            ids.flat_map(|id| self.users.get(&id)).flatten().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Engine {
    /// Looks at everything: see [`holm_store::Store::check`].
    ///
    /// # Errors
    /// What cannot be listed or read for another reason than damage.
    pub fn check(&self, observer: &dyn CheckObserver) -> Result<CheckReport> {
        let store = self.store.check(observer)?;
        let mut report = CheckReport { store, workloads: Vec::new(), users: BTreeMap::new() };
        for id in self.ids()? {
            report.store.objects += 1;
            let Some(reason) = self.check_workload(&id, &mut report)? else { continue };
            // It may have been removed under the look.
            if self.layout.workload(&id).dir.exists() {
                let name = self.name_to_release(&id).ok().filter(|name| !name.is_empty());
                report.workloads.push(BrokenWorkload { name: name.unwrap_or_else(|| id.short()), reason });
            } else {
                report.store.changed += 1;
            }
        }
        Ok(report)
    }

    /// What is wrong with a workload, beside what is wrong with its image.
    fn check_workload(&self, id: &Id, report: &mut CheckReport) -> Result<Option<String>> {
        let users = match self.image_users_of(id) {
            Err(error) if error.kind() == Kind::Corrupt => return Ok(Some(error.to_string())),
            users => users?,
        };
        if users.is_empty() {
            return Ok(None);
        }
        for (image, name) in users {
            report.users.entry(image).or_default().push(name);
        }
        let config = match self.config(id) {
            Err(error) if matches!(error.kind(), Kind::Corrupt | Kind::NoSuchWorkload) => {
                return Ok(Some(error.to_string()));
            }
            config => config?,
        };
        if !self.layout.snapshot(id).exists() {
            return Ok(Some("what it wrote is missing".to_owned()));
        }
        let missing = config.root.layers.iter().find(|layer| !layer.source.exists());
        if let Some(layer) = missing {
            return Ok(Some(format!("`{}` is missing", layer.source.display())));
        }
        let kernel = config.machine.map(|machine| self.store.kernel(Some(&machine.kernel.id.to_string())));
        Ok(match kernel {
            Some(Err(error)) => Some(format!("its kernel cannot be used: {error}")),
            _ => None,
        })
    }
}
