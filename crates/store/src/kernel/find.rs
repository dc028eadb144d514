//! What a name stands for, the list, and which kernel guests get without being asked.
//!
//! That is the one that `kernels.json` names for the platform; where it names none that is there, the one that was
//! imported last. The file is replaced as a whole, durably, and readers take no lock.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use holm_spec::image::{Descriptor, ImageManifest};
use holm_spec::kernel::{IMAGE_TYPE, KernelConfig, MODULES_TYPE, VERSION};
use holm_spec::platform::Platform;
use holm_spec::{Digest, Reference};
use holm_sys::file::{self, Durability};
use holm_sys::lock::{Lock, Mode};
use serde::{Deserialize, Serialize};

use super::image::{Identity, LIMIT, identify, read_limited};
use super::{Kernel, KernelSummary, is_kernel};
use crate::blob::DOCUMENT_LIMIT;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::image::{Known, Name, Sort};
use crate::store::Store;

const REPOSITORY: &str = "localhost/kernel";
const FILE_VERSION: u32 = 1;

/// The content of `kernels.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    version: u32,
    /// Names by platform, as `linux/amd64`.
    defaults: BTreeMap<String, Reference>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { version: FILE_VERSION, defaults: BTreeMap::new() }
    }
}

/// The name of a kernel that was given none. A tag has fewer letters than a release.
pub(super) fn usual_name(release: &str) -> Result<Reference> {
    let tag: String = release.chars().map(|c| if matches!(c, '+' | '~') { '_' } else { c }).collect();
    let name = format!("{REPOSITORY}:{tag}").parse();
    name.map_err(|error| Error::because(Kind::Invalid, format!("name the kernel {release}"), error))
}

impl Store {
    /// Finds a kernel for this machine by what a user wrote, in the order of [`Store::resolve`]; `None` asks for the
    /// default.
    ///
    /// # Errors
    /// [`Kind::NoKernel`] if there is none, [`Kind::WrongSort`] if the name is an image's, [`Kind::Ambiguous`],
    /// [`Kind::Invalid`], [`Kind::Corrupt`].
    pub fn kernel(&self, name: Option<&str>) -> Result<Kernel> {
        match name {
            Some(name) => self.named_kernel(name),
            None => self.default_kernel(&Platform::host()),
        }
    }

    fn named_kernel(&self, name: &str) -> Result<Kernel> {
        let (digest, reference) = self.find(name, Sort::Kernel)?;
        let kernel = self.open_kernel(digest, reference);
        kernel.map_err(|error| error.about(format!("open kernel `{name}`")))
    }

    /// The kernel that guests of a platform get without being asked.
    ///
    /// # Errors
    /// [`Kind::NoKernel`] if there is none for that platform; [`Kind::Corrupt`].
    pub fn default_kernel(&self, platform: &Platform) -> Result<Kernel> {
        let chosen =
            self.kernels()?.into_iter().find(|row| row.default && row.kernel.config.platform == *platform);
        let none = || Error::new(Kind::NoKernel, format!("there is no kernel for {platform}"));
        chosen.map(|row| row.kernel).ok_or_else(none)
    }

    /// Every kernel, the one that was imported last first. Damaged ones are left out with a warning.
    pub fn kernels(&self) -> Result<Vec<KernelSummary>> {
        let mut found: BTreeMap<Digest, Vec<Known>> = BTreeMap::new();
        for known in self.known(Sort::Kernel)? {
            found.entry(known.manifest_digest).or_default().push(known);
        }
        let mut rows = Vec::with_capacity(found.len());
        for known in found.into_values() {
            match self.kernel_summary(known) {
                Ok(row) => rows.push(row),
                Err(error) if error.kind() == Kind::Corrupt => tracing::warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
        rows.sort_by(|a, b| b.imported.cmp(&a.imported).then_with(|| a.kernel.id.cmp(&b.kernel.id)));
        self.mark_defaults(&mut rows)?;
        Ok(rows)
    }

    fn kernel_summary(&self, known: Vec<Known>) -> Result<KernelSummary> {
        let imported = known.iter().map(|known| known.record.updated).max().unwrap_or_default();
        let digest = known.first().map(|known| known.record.digest);
        let digest = digest.ok_or_else(|| Error::new(Kind::NoKernel, "a kernel without a name or a mark"))?;
        let names: Vec<Name> = known.into_iter().filter_map(|known| Name::of(known.record)).collect();
        let reference = names.first().map(|name| name.reference.clone());
        Ok(KernelSummary { kernel: self.open_kernel(digest, reference)?, names, imported, default: false })
    }

    /// Marks one row a platform; `rows` are sorted by time.
    fn mark_defaults(&self, rows: &mut [KernelSummary]) -> Result<()> {
        let said = self.defaults()?.defaults;
        let platforms: Vec<Platform> = rows.iter().map(|row| row.kernel.config.platform.clone()).collect();
        let mut done: Vec<&Platform> = Vec::new();
        for platform in &platforms {
            if done.contains(&platform) {
                continue;
            }
            done.push(platform);
            let of_platform = |row: &&mut KernelSummary| row.kernel.config.platform == *platform;
            let said = said.get(&platform.to_string());
            let named = |row: &&mut KernelSummary| row.names.iter().any(|name| Some(&name.reference) == said);
            if let Some(row) = rows.iter_mut().filter(of_platform).find(named) {
                row.default = true;
                row.kernel.reference = said.cloned();
            // One whose names moved on is nobody's choice.
            } else if let Some(row) = rows.iter_mut().filter(of_platform).find(|row| !row.names.is_empty()) {
                row.default = true;
            }
        }
        Ok(())
    }

    /// Makes a kernel the default of its platform, durably. It must have been found by a name.
    ///
    /// # Errors
    /// As [`Store::kernel`]; [`Kind::Invalid`] for an id.
    pub fn set_default_kernel(&self, name: &str) -> Result<Kernel> {
        let _in_use = self.in_use()?;
        let kernel = self.named_kernel(name)?;
        let Some(reference) = kernel.reference.clone() else {
            let text = format!("`{name}` is the id of a kernel: only one with a name can be the default");
            return Err(Error::new(Kind::Invalid, text));
        };
        self.change_defaults(|defaults| {
            drop(defaults.insert(kernel.config.platform.to_string(), reference))
        })?;
        Ok(kernel)
    }

    /// From now on the kernel that was imported last is the default of a platform.
    ///
    /// # Errors
    /// What writing reports.
    pub fn unset_default_kernel(&self, platform: &Platform) -> Result<()> {
        let _in_use = self.in_use()?;
        self.change_defaults(|defaults| drop(defaults.remove(&platform.to_string())))
    }

    /// Forgets a name that is about to go.
    pub(crate) fn forget_default(&self, name: &Reference) -> Result<()> {
        self.change_defaults(|defaults| defaults.retain(|_, reference| reference != name))
    }

    fn change_defaults(&self, change: impl FnOnce(&mut BTreeMap<String, Reference>)) -> Result<()> {
        let _changing = Lock::acquire(&self.paths().refs_lock(), Mode::Exclusive)?;
        let old = self.defaults()?;
        let mut new = old.clone();
        change(&mut new.defaults);
        if new == old {
            return Ok(());
        }
        let content = serde_json::to_vec(&new).expect("names are plain data");
        let written = file::replace(&self.paths().kernel_defaults(), &content, Durability::Durable);
        written.map_err(|error| Error::io("write which kernel is the default", error))
    }

    /// A file that is damaged says nothing.
    fn defaults(&self) -> Result<Defaults> {
        let content = match file::read_limited(&self.paths().kernel_defaults(), DOCUMENT_LIMIT) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Defaults::default()),
            Err(error) => return Err(Error::io("read which kernel is the default", error)),
        };
        let read = serde_json::from_slice::<Defaults>(&content).ok();
        Ok(read.filter(|defaults| defaults.version == FILE_VERSION).unwrap_or_else(|| {
            tracing::warn!("what says which kernel is the default is damaged: it is the one imported last");
            Defaults::default()
        }))
    }

    /// Looks whether an artifact that a registry sent as a kernel is one, before it has a name. Its blobs are there.
    /// Other artifacts may be anything.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where it says of itself what is not so; [`Kind::Corrupt`] where a blob is missing.
    pub fn check_artifact(&self, manifest: &ImageManifest, config: &[u8]) -> Result<()> {
        let invalid = |what: &str| Err(Error::new(Kind::Invalid, format!("{what} is not what it should be")));
        if !is_kernel(manifest) {
            return Ok(());
        }
        let Ok(config) = parse_config(&Digest::of(config), config) else {
            return invalid("its configuration");
        };
        let (image, _) = self.part(manifest, IMAGE_TYPE)?;
        self.part(manifest, MODULES_TYPE)?;
        let file = std::fs::File::open(&image)
            .map_err(|error| Error::io(format!("open `{}`", image.display()), error))?;
        let identity = identify(&read_limited(file, LIMIT)?)?;
        let said = Identity { release: config.release, platform: config.platform, format: config.format };
        let is_clean = |text: &String| !text.contains(char::is_control);
        if identity != said || !config.modules.iter().chain([&config.origin]).all(is_clean) {
            return invalid("what its configuration says of it");
        }
        Ok(())
    }

    /// Reads the documents of the kernel behind `digest`, and looks whether its files are there.
    pub(super) fn open_kernel(&self, digest: Digest, reference: Option<Reference>) -> Result<Kernel> {
        let (id, manifest) = self.manifest(digest).map_err(Error::missing_is_damage)?;
        Sort::of(&manifest).expect(Sort::Kernel)?;
        let config = document::digest_of(manifest.config())?;
        let config = parse_config(&config, &self.blob(&config).map_err(Error::missing_is_damage)?)?;
        let (image, image_size) = self.part(&manifest, IMAGE_TYPE)?;
        let (modules, modules_size) = self.part(&manifest, MODULES_TYPE)?;
        Ok(Kernel { id, digest, reference, config, image, image_size, modules, modules_size })
    }

    /// The file of a layer, and its size. Its content was verified when it was written.
    fn part(&self, manifest: &ImageManifest, media_type: &str) -> Result<(PathBuf, u64)> {
        let is_it = |layer: &&Descriptor| layer.media_type().to_string() == media_type;
        let missing = || Error::new(Kind::Corrupt, format!("the kernel has no part of type {media_type}"));
        let layer = manifest.layers().iter().find(is_it).ok_or_else(missing)?;
        let digest = document::digest_of(layer)?;
        let path = self.paths().blob(&digest);
        match std::fs::metadata(&path) {
            Ok(found) if found.len() == layer.size() => Ok((path, found.len())),
            Ok(_) => Err(Error::new(Kind::Corrupt, format!("blob {digest} is damaged: it has another size"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::new(Kind::Corrupt, format!("blob {digest} is missing")))
            }
            Err(error) => Err(Error::io(format!("look at blob {digest}"), error)),
        }
    }
}

fn parse_config(digest: &Digest, content: &[u8]) -> Result<KernelConfig> {
    let config: KernelConfig = serde_json::from_slice(content).map_err(|error| {
        Error::because(Kind::Corrupt, format!("blob {digest} is not a kernel's configuration"), error)
    })?;
    if config.version != VERSION {
        let text =
            format!("kernel {} has version {} of its form, not {VERSION}", config.release, config.version);
        return Err(Error::new(Kind::Corrupt, text));
    }
    Ok(config)
}
