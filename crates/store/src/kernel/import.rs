//! Import: a kernel, from a Debian package or from a file, becomes an artifact in the store.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::Path;

use holm_spec::image::{ImageManifest, ImageManifestBuilder, MediaType};
use holm_spec::kernel::{CONFIG_TYPE, IMAGE_TYPE, KERNEL_TYPE, KernelConfig, MODULES_TYPE, VERSION};
use holm_spec::{Digest, Reference, cpio};
use holm_sys::fail_point;

use super::ar;
use super::image::{Identity, identify};
use super::modules::{Chosen, Modules};
use super::package::{self, Control};
use super::{Kernel, find};
use crate::document::{canonical, descriptor};
use crate::error::{Error, Kind, Result};
use crate::import::check_taggable;
use crate::ingest::Ingest;
use crate::store::{InUse, Store};

/// What an import makes of a kernel.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImportKernel<'a> {
    /// Its name; `localhost/kernel:<release>` by default.
    pub reference: Option<&'a Reference>,
    /// Directory of its modules: its own, or one with `lib/modules/<release>` in it. A package has its own.
    pub modules: Option<&'a Path>,
    /// Where it comes from, for people: a file's name. A package says it itself.
    pub origin: &'a str,
}

/// A kernel that was imported.
#[derive(Clone, Debug)]
pub struct ImportedKernel {
    /// The kernel, with its name.
    pub kernel: Kernel,
    /// What people should know, a sentence each.
    pub warnings: Vec<String>,
}

/// All that an import found.
struct Found {
    image: Vec<u8>,
    identity: Identity,
    chosen: Chosen,
    control: Control,
    origin: String,
}

impl Store {
    /// Imports a kernel: a Debian package, or an image (`bzImage`, `vmlinux`, arm64 `Image`).
    ///
    /// The same input and request give the same digests. On an error nothing is left but what an import before had made.
    ///
    /// # Errors
    /// [`Kind::Invalid`] where the input is no kernel, or damaged, or the reference has a digest; [`Kind::UnfitKernel`]
    /// naming the drivers that it lacks; [`Kind::NoSpace`], [`Kind::ReadOnly`], [`Kind::Denied`], [`Kind::Locked`],
    /// [`Kind::Io`].
    pub fn import_kernel(&self, input: impl Read, request: &ImportKernel<'_>) -> Result<ImportedKernel> {
        self.try_import_kernel(input, request)
            .map_err(|error| error.about(format!("import a kernel from `{}`", request.origin)))
    }

    fn try_import_kernel(&self, input: impl Read, request: &ImportKernel<'_>) -> Result<ImportedKernel> {
        request.reference.map_or(Ok(()), check_taggable)?;
        let found = self.read_kernel(input, request)?;
        let name = match request.reference {
            Some(reference) => reference.clone(),
            None => find::usual_name(&found.identity.release)?,
        };
        let in_use = self.in_use()?;
        let manifest = self.put_kernel(&in_use, &found)?;
        fail_point::reached("kernel-blobs-written");
        self.set_reference(&in_use, &name, &manifest)?;
        fail_point::reached("kernel-ref-written");
        Ok(ImportedKernel {
            kernel: self.open_kernel(manifest, Some(name))?,
            warnings: warnings(&found.chosen),
        })
    }

    fn read_kernel(&self, mut input: impl Read, request: &ImportKernel<'_>) -> Result<Found> {
        let mut start = Vec::new();
        let read = input.by_ref().take(ar::MAGIC.len() as u64).read_to_end(&mut start);
        read.map_err(|error| Error::io("read the kernel", error))?;
        let is_package = start == ar::MAGIC;
        let input = std::io::Cursor::new(start).chain(input);
        if is_package { self.read_package(input, request) } else { read_image(input, request) }
    }

    fn read_package(&self, input: impl Read, request: &ImportKernel<'_>) -> Result<Found> {
        if request.modules.is_some() {
            return Err(Error::new(Kind::Invalid, "it is a package, which brings modules of its own"));
        }
        let ingest = Ingest::begin(self)?;
        let package = package::read(input, scratch_file(&ingest.path().join("modules"))?)?;
        let identity = identify(&package.image)?;
        if let Some(release) = package.release.filter(|release| *release != identity.release) {
            let text = format!("its modules are for the kernel {release}, and it is {}", identity.release);
            return Err(Error::new(Kind::Invalid, text));
        }
        let chosen = package.modules.choose(&identity)?;
        let control = package.control;
        let origin = match control.name.as_str() {
            "" => request.origin.to_owned(),
            name => format!("{name} {}", control.version).trim_end().to_owned(),
        };
        Ok(Found { image: package.image, identity, chosen, control, origin })
    }

    /// Writes what a kernel consists of; gives the digest of its manifest.
    fn put_kernel(&self, in_use: &InUse, found: &Found) -> Result<Digest> {
        let modules = archive(&found.chosen);
        let config = canonical(&configuration(found));
        let parts = [
            (CONFIG_TYPE, self.put_blob(in_use, &config)?, config.len()),
            (IMAGE_TYPE, self.put_file(in_use, &found.image)?, found.image.len()),
            (MODULES_TYPE, self.put_file(in_use, &modules)?, modules.len()),
        ];
        self.put_blob(in_use, &canonical(&manifest(found, &parts)))
    }
}

/// A file of this process's own, for writing and reading.
fn scratch_file(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    opened.map_err(|error| Error::io(format!("make `{}`", path.display()), error))
}

fn read_image(input: impl Read, request: &ImportKernel<'_>) -> Result<Found> {
    let image = package::read_image(input)?;
    let identity = identify(&image)?;
    let modules = match request.modules {
        Some(directory) => Modules::in_directory(directory, &identity.release)?,
        None => Modules::default(),
    };
    let chosen = modules.choose(&identity)?;
    Ok(Found { image, identity, chosen, control: Control::default(), origin: request.origin.to_owned() })
}

/// What may be missing is said at the import: later the guest could say nothing, having no console.
fn warnings(chosen: &Chosen) -> Vec<String> {
    if chosen.unknown.is_empty() {
        return Vec::new();
    }
    let drivers = chosen.unknown.join(", ");
    vec![format!(
        "it is not known whether these drivers are part of the kernel, and guests need them: {drivers}"
    )]
}

/// The modules as a kernel unpacks them; a number in front of each name is its place in the order of loading.
fn archive(chosen: &Chosen) -> Vec<u8> {
    let mut archive = cpio::Archive::default();
    archive.directory("lib").directory("lib/modules");
    for (place, (name, content)) in chosen.modules.iter().enumerate() {
        archive.file(&format!("lib/modules/{place:02}-{name}.ko"), 0o644, content);
    }
    archive.finish()
}

fn configuration(found: &Found) -> KernelConfig {
    KernelConfig {
        version: VERSION,
        release: found.identity.release.clone(),
        platform: found.identity.platform.clone(),
        format: found.identity.format,
        modules: found.chosen.modules.iter().map(|(name, _)| name.clone()).collect(),
        origin: found.origin.clone(),
    }
}

fn manifest(found: &Found, parts: &[(&str, Digest, usize); 3]) -> ImageManifest {
    let [config, image, modules] = parts.each_ref().map(|(media_type, digest, size)| {
        descriptor(MediaType::Other((*media_type).to_owned()), *size as u64, digest)
    });
    ImageManifestBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageManifest)
        .artifact_type(MediaType::Other(KERNEL_TYPE.to_owned()))
        .config(config)
        .layers(vec![image, modules])
        .annotations(annotations(found))
        .build()
        .expect("every required field is set")
}

/// Annotations that the OCI image specification has names for; none without a value.
fn annotations(found: &Found) -> HashMap<String, String> {
    let (control, release) = (&found.control, &found.identity.release);
    let version = if control.version.is_empty() { release } else { &control.version };
    let title = format!("Linux {release}");
    [("title", &title), ("version", version), ("description", &control.description)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.clone()))
        .collect()
}
