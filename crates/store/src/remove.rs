//! Removal of images, by the rules of `docker rmi`.
//!
//! ```text
//! by a name, which is not the last   the name goes
//! by the last name                   name and image go; refused if a workload uses it
//! by id, at most one name            name and image go; refused if a workload uses it
//! by id, several names               refused
//! by force                           the names go, then the image, unless a workload uses it: then it
//!                                    stays without a name
//! ```
//! Kernels and other artifacts go by the same rules.
//!
//! Names go first, and durably; then documents, then layers. A crash in between leaves content that
//! nothing reaches, which [`Exclusive::repair`] removes, never a name of something that is gone.

use holm_spec::{Digest, Reference};
use holm_sys::fail_point;
use holm_sys::file::sync_directory;

use crate::collect::{Content, ImageUser};
use crate::error::{Error, Kind, Result};
use crate::image::{Known, Query, Sort};
use crate::refs::RefRecord;
use crate::store::Exclusive;

/// What a removal did, in the order in which it did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name went.
    Untagged(Reference),
    /// An image went, by its id, or one of its layers, by its key.
    Deleted(Digest),
}

/// What a removal is about to do.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) names: Vec<Reference>,
    /// Manifests and indexes that lose a name or their mark.
    pub(crate) targets: Vec<Digest>,
    /// Marks that go.
    pub(crate) marks: Vec<Digest>,
    /// Mark to set: the image stays.
    keep: Option<Digest>,
    /// The images, where they are known.
    pub(crate) ids: Vec<Digest>,
}

/// What was done of a plan.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) removed: Vec<Removed>,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
}

impl Exclusive<'_> {
    /// Removes a name, or an image with its names. `used_by`: the images that workloads use,
    /// collected under this lock.
    ///
    /// # Errors
    /// Those of [`crate::Store::resolve`], but a damaged image is removed all the same;
    /// [`Kind::InUse`] naming the workload or the names.
    pub fn remove(&self, what: &str, force: bool, used_by: &[ImageUser]) -> Result<Vec<Removed>> {
        self.remove_sort(&Request { what, force, used_by, sort: Sort::Image }, used_by)
    }

    /// Removes a name of a kernel, or a kernel with its names. `machines`: the kernels, by their ids, that machines use.
    /// `used_by`: as for [`Exclusive::remove`].
    ///
    /// # Errors
    /// As [`Exclusive::remove`].
    pub fn remove_kernel(
        &self,
        what: &str,
        force: bool,
        machines: &[ImageUser],
        used_by: &[ImageUser],
    ) -> Result<Vec<Removed>> {
        self.remove_sort(&Request { what, force, used_by: machines, sort: Sort::Kernel }, used_by)
    }

    /// Removes a name of an artifact, or an artifact with its names. `used_by`: as for [`Exclusive::remove`].
    ///
    /// # Errors
    /// As [`Exclusive::remove`].
    pub fn remove_artifact(&self, what: &str, force: bool, used_by: &[ImageUser]) -> Result<Vec<Removed>> {
        self.remove_sort(&Request { what, force, used_by: &[], sort: Sort::Artifact }, used_by)
    }

    fn remove_sort(&self, request: &Request<'_>, used_by: &[ImageUser]) -> Result<Vec<Removed>> {
        let plan = self.plan(request)?;
        let done = self.execute(&plan, used_by).map_err(|error| error.about(request.about()))?;
        Ok(done.removed)
    }

    fn plan(&self, request: &Request<'_>) -> Result<Plan> {
        let what = request.what;
        let (reference, prefix) = match Query::parse(what)? {
            Query::Name(reference, prefix) => (reference, prefix.unwrap_or_default()),
            Query::Id(hex) => return self.plan_by_id(request, &hex),
        };
        match self.store.by_reference(&reference, request.sort) {
            Ok(Some(record)) if record.reference.as_ref() == Some(&reference) => {
                self.plan_by_name(request, record)
            }
            // `name@digest` fits names that were not written: it means the image, not one of them.
            Ok(Some(record)) => self.plan_by_id(request, &record.digest.hex()),
            Ok(None) => self.plan_by_id(request, &prefix),
            // Nobody knows what it stood for; the file can go.
            Err(error) if error.kind() == Kind::Corrupt => {
                Ok(Plan { names: vec![*reference], ..Plan::default() })
            }
            Err(error) => Err(error),
        }
    }

    fn plan_by_name(&self, request: &Request<'_>, record: RefRecord) -> Result<Plan> {
        if let Some(found) = self.store.identify(&record)? {
            found.sort.expect(request.sort).map_err(|error| error.about(request.about()))?;
        }
        let known = self.store.known(request.sort)?;
        let reference = record.reference.clone();
        let Some(this) = known.iter().find(|known| known.record == record) else {
            return self.plan_damaged(record);
        };
        let id = this.id;
        let same: Vec<&Known> = known.iter().filter(|known| known.id == id).collect();
        let is_last = same.iter().filter(|known| known.record.reference.is_some()).count() == 1;
        let mut plan = Plan { targets: vec![record.digest], ids: vec![id], ..Plan::default() };
        plan.names.extend(reference);
        if !is_last {
            return Ok(plan);
        }
        match request.user_of(&id) {
            Some(workload) if !request.force => return Err(request.used(workload)),
            Some(_) => plan.keep = Some(record.digest),
            None => plan.remove_marks(&same),
        }
        Ok(plan)
    }

    /// An image that cannot be read goes with its last name.
    fn plan_damaged(&self, record: RefRecord) -> Result<Plan> {
        let records = self.store.references()?.0;
        let others =
            records.iter().filter(|other| other.digest == record.digest && other.reference.is_some());
        let marks = if others.count() == 1 { vec![record.digest] } else { Vec::new() };
        let names = record.reference.into_iter().collect();
        Ok(Plan { names, targets: vec![record.digest], marks, ..Plan::default() })
    }

    fn plan_by_id(&self, request: &Request<'_>, hex: &str) -> Result<Plan> {
        let found = match self.store.known_by_id(request.what, hex, request.sort) {
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::NoKernel | Kind::NoArtifact) => {
                return self.plan_damaged_mark(hex).ok_or(error)?;
            }
            found => found?,
        };
        let known = self.store.known(request.sort)?;
        let same: Vec<&Known> = known.iter().filter(|known| known.id == found.id).collect();
        let names: Vec<Reference> = same.iter().filter_map(|known| known.record.reference.clone()).collect();
        if names.len() > 1 && !request.force {
            return Err(request.has_names(&names));
        }
        let targets = same.iter().map(|known| known.record.digest).collect();
        let mut plan = Plan { names, targets, ids: vec![found.id], ..Plan::default() };
        match request.user_of(&found.id) {
            Some(workload) if !request.force => return Err(request.used(workload)),
            Some(_) => plan.keep = Some(found.record.digest),
            None => plan.remove_marks(&same),
        }
        Ok(plan)
    }

    /// An image without a name whose manifest cannot be read is known by the manifest's digest only.
    fn plan_damaged_mark(&self, hex: &str) -> Option<Result<Plan>> {
        let records = match self.store.references() {
            Ok((records, _)) => records,
            Err(error) => return Some(Err(error)),
        };
        // What can be read has an id of its own, or is of the other sort.
        let damaged = |record: &RefRecord| matches!(self.store.identify(record), Ok(None));
        let is_it = |record: &RefRecord| record.digest.hex().starts_with(hex) && damaged(record);
        let record = records.into_iter().filter(|_| !hex.is_empty()).find(is_it)?;
        Some(self.plan_damaged(record))
    }

    pub(crate) fn execute(&self, plan: &Plan, used_by: &[ImageUser]) -> Result<Done> {
        let mut removed = Vec::new();
        // Before anything goes: what is needed afterwards may tell where to look for the layers.
        let candidates = self.candidates(plan);
        if let Some(digest) = &plan.keep {
            self.store.set_mark(digest)?;
        }
        for reference in &plan.names {
            self.store.forget_default(reference)?;
            if self.store.remove_reference(reference)? {
                removed.push(Removed::Untagged(reference.clone()));
            }
            fail_point::reached("rmi-name-removed");
        }
        for digest in &plan.marks {
            self.store.remove_mark(digest)?;
        }
        let refs = self.store.paths().refs();
        sync_directory(&refs).map_err(|error| Error::io("sync the references", error))?;
        fail_point::reached("rmi-ref-removed");
        let reachable = match self.reachable(used_by) {
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::warn!("nothing but names was removed, since another image is damaged: {error}");
                return Ok(Done { removed, bytes: 0 });
            }
            reachable => reachable?,
        };
        let gone = self.remove_content(&candidates, &reachable)?;
        removed.extend(plan.ids.iter().filter(|id| gone.blobs.contains(id)).copied().map(Removed::Deleted));
        removed.extend(gone.layers.into_iter().map(Removed::Deleted));
        Ok(Done { removed, bytes: gone.bytes })
    }

    /// What the image needs and may go with it; of a damaged one, what can be read.
    fn candidates(&self, plan: &Plan) -> Content {
        let mut candidates = Content::default();
        for digest in &plan.targets {
            if let Err(error) = candidates.add_document(self.store, *digest) {
                tracing::warn!("a part of a damaged image stays until it is collected: {error}");
            }
        }
        candidates
    }
}

impl Plan {
    fn remove_marks(&mut self, same: &[&Known]) {
        for known in same {
            self.marks.push(known.record.digest);
            self.targets.push(known.record.digest);
        }
    }
}

/// What was asked, for decisions and refusals.
struct Request<'a> {
    what: &'a str,
    force: bool,
    used_by: &'a [ImageUser],
    sort: Sort,
}

impl Request<'_> {
    fn user_of(&self, id: &Digest) -> Option<&str> {
        self.used_by.iter().find(|(used, _)| used == id).map(|(_, workload)| workload.as_str())
    }

    fn about(&self) -> String {
        format!("remove {} `{}`", self.sort.noun(), self.what)
    }

    fn used(&self, workload: &str) -> Error {
        // Names of workloads have no slash.
        let user = match workload.starts_with('/') {
            true => format!("it is mounted on `{workload}`"),
            false => format!("workload `{workload}` uses it"),
        };
        Error::new(Kind::InUse, format!("{}: {user}", self.about()))
    }

    fn has_names(&self, names: &[Reference]) -> Error {
        let names: Vec<String> = names.iter().map(Reference::familiar).collect();
        let text = format!("{}: it has several names: {}", self.about(), names.join(", "));
        Error::new(Kind::InUse, text)
    }
}
