//! Save: an image of the store to a file or directory, byte for byte as a registry would get it.

use std::path::Path;
use std::sync::Mutex;

use holm_spec::Reference;
use holm_store::compression::Compression;
use holm_store::{Image, Store};

use super::archive::ArchiveFile;
use super::layout::{LayoutDirectory, Names};
use super::place::Destination;
use super::stored::StoredImage;
use super::{Copied, Copy};
use crate::error::Result;
use crate::policy::TakeAll;
use crate::pull::Observer;

/// What is to be saved.
#[derive(Clone, Copy, Debug)]
pub struct SaveRequest<'a> {
    /// The image.
    pub image: &'a Image,
    /// What it is called there.
    pub names: &'a [Reference],
    /// As what.
    pub form: SaveForm,
    /// Where to.
    pub path: &'a Path,
    /// How layers are to be packed; where it is not said, as they are, and by gzip where they are not packed.
    pub compression: Option<Compression>,
}

/// As what an image is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveForm {
    /// An image layout in a directory, which is added to.
    OciDirectory,
    /// An image layout as a tar archive.
    OciArchive,
    /// The same with what releases of Docker before 25 read.
    DockerArchive,
}

/// Saves an image. `observer` hears of blobs by their digests.
///
/// # Errors
/// By what went wrong; all name the image and the file. What was at the path is as it was then.
pub fn save(store: &Store, request: &SaveRequest<'_>, observer: &dyn Observer) -> Result<Copied> {
    let saved = StoredImage::open(store, request.image, request.compression).and_then(|source| {
        let destination = destination(request)?;
        let (source, destination, seen) = (&source, &*destination, Mutex::default());
        let (platform, referrers, policy) = (None, false, &TakeAll);
        Copy { source, destination, platform, referrers, policy, observer, seen }.run()
    });
    let (id, path) = (request.image.id, request.path.display());
    saved.map_err(|error| error.about(format!("save image {} to `{path}`", id.short())))
}

fn destination(request: &SaveRequest<'_>) -> Result<Box<dyn Destination>> {
    let names = || Names::whole(request.names);
    Ok(match request.form {
        SaveForm::OciDirectory => Box::new(LayoutDirectory::open(request.path, names())?),
        SaveForm::OciArchive => Box::new(ArchiveFile::oci(request.path, names())?),
        SaveForm::DockerArchive => Box::new(ArchiveFile::docker(request.path, request.names)?),
    })
}
