//! Where the store keeps what: pure computation of paths below the two roots.

use std::path::PathBuf;

use holm_spec::rootfs::UNPACKED;
use holm_spec::{Digest, layout::Layout};

/// Version of the layer files, part of their names. It follows the layout of the EROFS images.
pub(crate) const LAYER_VERSION: u32 = crate::erofs::LAYOUT_VERSION;

/// The paths of one store.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    pub(crate) layout: Layout,
}

impl Paths {
    pub(crate) fn blobs(&self) -> PathBuf {
        self.layout.root.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.layout.root.join(format!("blobs/sha256/{}", digest.hex()))
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.layout.root.join("layers")
    }

    pub(crate) fn layer(&self, key: &Digest) -> LayerPaths {
        let stem = format!("layers/{}.v{LAYER_VERSION}", key.hex());
        let file = |extension| self.layout.root.join(format!("{stem}.{extension}"));
        LayerPaths { erofs: file(EROFS), tarmeta: file(TARMETA), record: file(RECORD) }
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.layout.root.join("refs")
    }

    pub(crate) fn steps(&self) -> PathBuf {
        self.layout.root.join("steps")
    }

    /// Which kernels guests get without being asked (see `kernel`).
    pub(crate) fn kernel_defaults(&self) -> PathBuf {
        self.layout.root.join("kernels.json")
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.layout.root.join("ingest")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.layout.root.join("downloads")
    }

    pub(crate) fn download(&self, digest: &Digest) -> PathBuf {
        self.downloads().join(digest.hex())
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.layout.root.join("locks")
    }

    pub(crate) fn store_lock(&self) -> PathBuf {
        self.layout.root.join("locks/store")
    }

    pub(crate) fn refs_lock(&self) -> PathBuf {
        self.layout.root.join("locks/refs")
    }
}

const EROFS: &str = "erofs";
const TARMETA: &str = "tarmeta.zst";
const RECORD: &str = "json";

/// The three files of a layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerPaths {
    pub(crate) erofs: PathBuf,
    pub(crate) tarmeta: PathBuf,
    pub(crate) record: PathBuf,
}

/// The key in the name of a layer's file or directory, of whatever version; `None` for any other file.
pub(crate) fn layer_key(file_name: &str) -> Option<Digest> {
    let (hex, rest) = file_name.split_once('.')?;
    let (version, extension) = rest.strip_prefix('v')?.split_once('.')?;
    let known = matches!(extension, EROFS | TARMETA | RECORD | UNPACKED) && version.parse::<u32>().is_ok();
    known.then(|| format!("sha256:{hex}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_layer_files_give_their_key_back() {
        let paths = Paths { layout: Layout::new("/root", "/run") };
        let key = Digest::of(b"layer");
        let files = paths.layer(&key);
        for path in [files.erofs, files.tarmeta, files.record] {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            assert_eq!(layer_key(name), Some(key), "{name}");
        }
        for name in ["", "x.v1.erofs", &format!("{}.v1.tar", key.hex()), &format!("{}.erofs", key.hex())] {
            assert_eq!(layer_key(name), None, "{name}");
        }
    }
}
