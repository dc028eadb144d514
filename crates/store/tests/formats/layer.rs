//! A converted layer in temporary files, and the checks that every layer must pass.

use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use holm_store::convert::{Converted, Error, LayerFiles, Limits, Options, convert};
use holm_store::erofs::{FileType, Image, Inode};
use holm_store::tarmeta::{Expected, restore_tar};

pub struct Layer {
    pub converted: Converted,
    pub image: Image,
    pub erofs: File,
    pub tarmeta: File,
}

impl Layer {
    pub fn make(input: impl Read + Send, options: &Options<'_>) -> Result<Self, Error> {
        let (erofs, mut tarmeta) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let converted = convert(input, &LayerFiles { erofs: &erofs, tarmeta: &tarmeta }, options)?;
        tarmeta.rewind().unwrap();
        let image = Image::open(erofs.try_clone().unwrap())?;
        Ok(Self { converted, image, erofs, tarmeta })
    }

    /// Converts, and checks with `fsck.erofs`, by the seal, by getting the archive back, and by converting once more
    /// without memory for names.
    pub fn checked(tar: &[u8], parents: &[Image]) -> Self {
        let options = Options { parents, ..Options::default() };
        let layer = Self::make(tar, &options).unwrap_or_else(|error| panic!("{error}: {error:?}"));
        layer.check();
        assert!(layer.tar() == tar, "the archive that comes back differs");
        let (directory, limits) = (std::env::temp_dir(), Limits { memory: 0, ..Limits::default() });
        let options = Options { parents, limits, spill: Some(&directory), ..Options::default() };
        let spilled = Self::make(tar, &options).unwrap_or_else(|error| panic!("{error}: {error:?}"));
        assert_eq!(spilled.converted, layer.converted);
        let content = |layer: &Self| std::fs::read(layer.path()).unwrap();
        assert!(content(&spilled) == content(&layer), "memory changes the image");
        layer
    }

    pub fn check(&self) {
        fsck(&self.path());
        assert_eq!(self.image.seal(&self.converted.diff_id).unwrap(), self.converted.erofs_seal);
        assert_eq!(self.image.length(), self.converted.erofs_size);
    }

    /// A path by which other processes reach the image.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.erofs.as_raw_fd()).into()
    }

    pub fn expected(&self) -> Expected {
        Expected { diff_id: self.converted.diff_id, size: self.converted.tar_size }
    }

    /// The archive as it comes back.
    pub fn tar(&self) -> Vec<u8> {
        let mut tar = Vec::new();
        restore_tar(&self.image, Cursor::new(self.tarmeta_bytes()), &mut tar, &self.expected()).unwrap();
        tar
    }

    pub fn tarmeta_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut file = &self.tarmeta;
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    pub fn erofs_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.image.length() as usize];
        self.image.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    pub fn find(&self, path: &str) -> Option<Inode> {
        self.image.find(path.as_bytes()).unwrap()
    }

    pub fn inode(&self, path: &str) -> Inode {
        self.find(path).unwrap_or_else(|| panic!("`{path}` is missing"))
    }

    pub fn data(&self, path: &str) -> Vec<u8> {
        let inode = self.inode(path);
        assert_eq!(inode.file_type, FileType::Regular, "{path}");
        let mut data = vec![0; inode.size() as usize];
        assert_eq!(self.image.read_data(&inode, 0, &mut data).unwrap(), data.len());
        data
    }

    pub fn xattr(&self, path: &str, name: &str) -> Option<Vec<u8>> {
        let pairs = self.image.xattrs(&self.inode(path)).unwrap();
        pairs.into_iter().find(|(known, _)| known == name.as_bytes()).map(|(_, value)| value)
    }

    pub fn is_whiteout(&self, path: &str) -> bool {
        self.inode(path).is_whiteout()
    }

    pub fn is_opaque(&self, path: &str) -> bool {
        self.xattr(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
    }

    pub fn names(&self, path: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut keep = |listed: holm_store::erofs::Listed<'_>| {
            names.push(String::from_utf8_lossy(listed.name).into_owned());
            Ok(())
        };
        self.image.read_directory(&self.inode(path), &mut keep).unwrap();
        names
    }
}

/// Checks an image with the reference tool, whose recursion needs a larger stack for deep trees.
fn fsck(path: &Path) {
    let script = "ulimit -S -s 65536; exec fsck.erofs \"$0\"";
    let output = Command::new("bash").args(["-c", script]).arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "fsck.erofs: {}: {said}", output.status);
}
