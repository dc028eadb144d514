//! A kernel as a Debian package has it (deb(5)): an ar archive with `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! ```text
//! boot/vmlinuz-RELEASE                          the kernel
//! lib/modules/RELEASE/**/NAME.ko[.xz|.zst|.gz]  modules, also below `usr`
//! lib/modules/RELEASE/modules.builtin           what is part of the kernel
//! ```
//! Everything else is skipped. Nothing is unpacked by the names in the archive; modules are written one behind the other
//! into one file, since which of them are needed is known only when all were seen.

use std::fs::File;
use std::io::{Read, Write};

use super::ar::Archive;
use super::image::{self, read_limited};
use super::modules::{BUILTIN_LIMIT, MODULE_LIMIT, Modules, Place};
use crate::compression::{self, Decoder};
use crate::error::{Error, Kind, Result};
use holm_tar::shown;
use holm_tar::{Entry, EntryKind, Reader};

/// Longest headers of one entry, in bytes.
const HEADER_LIMIT: usize = 1 << 20;
/// Largest control file, in bytes.
const CONTROL_LIMIT: usize = 1 << 20;
/// All of a package unpacked, in bytes: several times what a kernel with all drivers has.
const DATA_LIMIT: u64 = 8 << 30;
/// All of its modules, in bytes.
const SPILL_LIMIT: u64 = 2 << 30;

/// A kernel with its modules.
#[derive(Debug)]
pub struct Package {
    /// The package's own words.
    pub control: Control,
    /// The kernel.
    pub image: Vec<u8>,
    /// Its modules.
    pub modules: Modules,
    /// The release in the path of the modules; `None` where there are none.
    pub release: Option<String>,
}

/// Fields of a package's control file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// `Package`.
    pub name: String,
    /// `Version`.
    pub version: String,
    /// The first line of `Description`.
    pub description: String,
    /// `Depends`.
    pub depends: String,
}

/// Reads a package, whose modules go to `spill`.
///
/// # Errors
/// [`Kind::Invalid`] if it is no package with exactly one kernel, or is damaged, or larger than a kernel can be; what
/// reading and writing report.
pub fn read(input: impl Read, spill: File) -> Result<Package> {
    let mut archive = Archive::new(input)?;
    match archive.next()? {
        Some(member) if member.name == "debian-binary" => {}
        _ => return Err(Error::new(Kind::Invalid, "it is an ar archive, but no Debian package")),
    }
    let mut control = Control::default();
    while let Some(member) = archive.next()? {
        let about = |error: Error| error.about(format!("`{}`", member.name));
        if member.name.starts_with("control.tar") {
            control = read_control(&mut archive).map_err(about)?;
        } else if member.name.starts_with("data.tar") {
            let data = Data::read(&mut archive, spill).map_err(about)?;
            return data.package(control);
        }
    }
    Err(Error::new(Kind::Invalid, "it is a Debian package without `data.tar`"))
}

/// The tar archive in a member, of whatever compression.
fn tar<'a>(member: &'a mut impl Read) -> Result<Reader<impl Read + 'a>> {
    let failed = |error| Error::layer("unpack it", error);
    let (compression, input) = compression::detect(member).map_err(failed)?;
    Ok(Reader::new(Decoder::new(compression, input).map_err(failed)?, HEADER_LIMIT))
}

fn next<R: Read>(tar: &mut Reader<R>) -> Result<Option<Entry>> {
    tar.next().map_err(|error| Error::layer("read the archive in it", error))
}

/// Reads what follows the end of an archive: the checksum of what is compressed comes last.
fn drain<R: Read>(tar: &mut Reader<R>) -> Result<()> {
    while tar.position() < DATA_LIMIT {
        match tar.data().map_err(|error| Error::layer("read the archive in it", error))? {
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Err(Error::new(Kind::Invalid, format!("it unpacks to more than {} GiB", DATA_LIMIT >> 30)))
}

fn read_control(member: &mut impl Read) -> Result<Control> {
    let mut tar = tar(member)?;
    while let Some(entry) = next(&mut tar)? {
        if entry.kind == EntryKind::File && relative(&entry.path).as_deref() == Some("control") {
            let content = content(&mut tar, &entry, CONTROL_LIMIT)?;
            return Ok(parse_control(&String::from_utf8_lossy(&content)));
        }
    }
    Ok(Control::default())
}

/// Fields of the first paragraph (deb-control(5)); continuations of a field are left out.
fn parse_control(text: &str) -> Control {
    let mut control = Control::default();
    for (field, value) in
        text.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'))
    {
        let value: String = value.trim().chars().filter(|c| !c.is_control()).collect();
        match field.to_ascii_lowercase().as_str() {
            "package" => control.name = value,
            "version" => control.version = value,
            "description" => control.description = value,
            "depends" => control.depends = value,
            _ => {}
        }
    }
    control
}

/// The content of a file in the archive, of at most `limit` bytes.
fn content<R: Read>(tar: &mut Reader<R>, entry: &Entry, limit: usize) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    each_piece(tar, entry, limit, |piece| {
        content.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(content)
}

fn each_piece<R: Read>(
    tar: &mut Reader<R>,
    entry: &Entry,
    limit: usize,
    mut action: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let wrong =
        |what: String| Error::new(Kind::Invalid, format!("`{}` in the package {what}", shown(&entry.path)));
    if entry.size > limit as u64 {
        return Err(wrong(format!("is larger than {} MiB", limit >> 20)));
    }
    if entry.sparse.is_some() {
        return Err(wrong("is sparse".to_owned()));
    }
    while let Some(piece) = tar.data().map_err(|error| Error::layer("read the archive in it", error))? {
        action(piece)?;
    }
    Ok(())
}

/// A path of the archive below its root: without `./` and `usr/` in front. `None` if it has `..` or is no text.
fn relative(path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    let parts: Vec<&str> = parts.collect();
    let parts = parts.strip_prefix(&["usr"]).unwrap_or(&parts);
    (!parts.contains(&"..")).then(|| parts.join("/"))
}

/// What of `data.tar` was read.
struct Data {
    image: Option<Vec<u8>>,
    modules: Modules,
    release: Option<String>,
    spill: File,
    spilled: u64,
}

impl Data {
    fn read(member: &mut impl Read, spill: File) -> Result<Self> {
        let readable = spill.try_clone().map_err(|error| Error::io("keep the modules", error))?;
        let modules = Modules::spilled(readable);
        let mut data = Self { image: None, modules, release: None, spill, spilled: 0 };
        let mut tar = tar(member)?;
        while let Some(entry) = next(&mut tar)? {
            if tar.position().saturating_add(entry.stored) > DATA_LIMIT {
                let text = format!("it unpacks to more than {} GiB", DATA_LIMIT >> 30);
                return Err(Error::new(Kind::Invalid, text));
            }
            data.take(&mut tar, &entry)?;
        }
        drain(&mut tar)?;
        Ok(data)
    }

    /// Takes what is of interest of an entry.
    fn take<R: Read>(&mut self, tar: &mut Reader<R>, entry: &Entry) -> Result<()> {
        let Some(path) = relative(&entry.path) else {
            let text = format!("a file in the package has the name `{}`", shown(&entry.path));
            return Err(Error::new(Kind::Invalid, text));
        };
        if entry.kind != EntryKind::File {
            return Ok(());
        }
        match path.split_once('/') {
            Some(("boot", name)) if ["vmlinuz-", "vmlinux-"].iter().any(|start| name.starts_with(start)) => {
                self.take_image(content(tar, entry, image::LIMIT)?)
            }
            Some(("lib", rest)) => {
                match rest.strip_prefix("modules/").and_then(|rest| rest.split_once('/')) {
                    Some((release, rest)) => self.take_module_file(tar, entry, release, rest),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn take_image(&mut self, image: Vec<u8>) -> Result<()> {
        match self.image.replace(image) {
            None => Ok(()),
            Some(_) => Err(Error::new(Kind::Invalid, "the package holds more than one kernel")),
        }
    }

    fn take_module_file<R: Read>(
        &mut self,
        tar: &mut Reader<R>,
        entry: &Entry,
        release: &str,
        path: &str,
    ) -> Result<()> {
        if self.release.get_or_insert_with(|| release.to_owned()) != release {
            return Err(Error::new(Kind::Invalid, "the package holds modules of more than one kernel"));
        }
        if path == "modules.builtin" {
            let text = content(tar, entry, BUILTIN_LIMIT)?;
            self.modules.set_builtin(&String::from_utf8_lossy(&text));
            return Ok(());
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.contains(".ko") { self.spill(tar, entry, name) } else { Ok(()) }
    }

    fn spill<R: Read>(&mut self, tar: &mut Reader<R>, entry: &Entry, name: &str) -> Result<()> {
        let offset = self.spilled;
        let (spill, spilled) = (&mut self.spill, &mut self.spilled);
        each_piece(tar, entry, MODULE_LIMIT, |piece| {
            *spilled += piece.len() as u64;
            if *spilled > SPILL_LIMIT {
                let text = format!("its modules are larger than {} GiB", SPILL_LIMIT >> 30);
                return Err(Error::new(Kind::Invalid, text));
            }
            spill.write_all(piece).map_err(|error| Error::io("keep a module", error))
        })?;
        let length = usize::try_from(self.spilled - offset).unwrap_or(MODULE_LIMIT);
        self.modules.add(name, Place::Spilled { offset, length });
        Ok(())
    }

    fn package(self, control: Control) -> Result<Package> {
        let Some(image) = self.image else { return Err(without_kernel(&control)) };
        Ok(Package { control, image, modules: self.modules, release: self.release })
    }
}

/// Packages that only stand for another have no kernel.
fn without_kernel(control: &Control) -> Error {
    let mut text = format!("the package `{}` holds no kernel", control.name);
    if !control.depends.is_empty() {
        text.push_str(&format!("; it stands for others: {}", control.depends));
    }
    Error::new(Kind::Invalid, text)
}

/// The kernel in a file that is no package.
///
/// # Errors
/// [`Kind::Invalid`] if it is larger than a kernel can be; what reading reports.
pub(super) fn read_image(input: impl Read) -> Result<Vec<u8>> {
    read_limited(input, image::LIMIT)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::ar::tests::archive;
    use super::super::elf::{self, tests::module};
    use super::super::image::tests::bzimage;
    use super::*;

    const RELEASE: &str = "6.1.0-1-cloud-amd64";

    /// A tar archive of files.
    fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, content) in files {
            let mut header = vec![0; 512];
            let mut put =
                |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
            put(0, path);
            put(100, "0000644\0");
            put(124, &format!("{:011o}\0", content.len()));
            put(148, "        ");
            put(156, "0");
            put(257, "ustar\x0000");
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            bytes.extend(header);
            bytes.extend_from_slice(content);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        bytes.resize(bytes.len() + 1024, 0);
        bytes
    }

    fn xz(data: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new(data, 1).read_to_end(&mut packed).expect("memory");
        packed
    }

    fn control() -> Vec<u8> {
        let text = "Package: linux-image-1\nVersion: 6.1.5-1\nDepends: kmod,\n initramfs-tools\n\
            Description: Linux for clouds\n long text\n\nPackage: other\n";
        xz(&tar(&[("./control", text.into())]))
    }

    fn package_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        archive(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar.xz", &control()),
            ("data.tar.xz", &xz(&tar(files))),
        ])
    }

    /// A package whose kernel has all that guests need.
    pub(crate) fn whole_package() -> Vec<u8> {
        let built = |depends: &str| {
            module(elf::X86_64, &[&format!("depends={depends}"), &format!("vermagic={RELEASE} SMP")])
        };
        let path = |name: &str| format!("./lib/modules/{RELEASE}/kernel/{name}.ko");
        let mut files = vec![
            (format!("./boot/vmlinuz-{RELEASE}"), bzimage(RELEASE)),
            ("./boot/config".to_owned(), b"CONFIG_X=y".to_vec()),
            (format!("./lib/modules/{RELEASE}/modules.builtin"), b"kernel/fs/ext4/ext4.ko\n".to_vec()),
            (path("drivers/virtio_pci"), built("virtio_ring")),
            (path("drivers/virtio_ring"), built("")),
        ];
        for name in ["virtio_blk", "virtio_console", "overlay", "erofs", "unused"] {
            files.push((path(name), built("")));
        }
        let files: Vec<(&str, Vec<u8>)> =
            files.iter().map(|(path, content)| (path.as_str(), content.clone())).collect();
        package_of(&files)
    }

    fn read_package(bytes: &[u8]) -> Result<Package> {
        read(bytes, tempfile::tempfile().expect("a temporary file"))
    }

    fn refused(files: &[(&str, Vec<u8>)]) -> String {
        let error = read_package(&package_of(files)).expect_err("refused");
        assert_eq!(error.kind(), Kind::Invalid);
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {cause}")
    }

    #[test]
    fn a_package_says_what_it_is_and_holds_a_kernel_with_modules() {
        let package = read_package(&whole_package()).expect("a package");
        let control = Control {
            name: "linux-image-1".into(),
            version: "6.1.5-1".into(),
            description: "Linux for clouds".into(),
            depends: "kmod,".into(),
        };
        assert_eq!((package.control, package.release.as_deref()), (control, Some(RELEASE)));
        assert_eq!(package.image, bzimage(RELEASE));
        let identity = image::identify(&package.image).expect("a kernel");
        let chosen = package.modules.choose(&identity).expect("fit");
        let names: Vec<&str> = chosen.modules.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["virtio_ring", "virtio_pci", "virtio_blk", "virtio_console", "overlay", "erofs"]);
    }

    #[test]
    fn data_may_be_packed_in_any_way_and_lie_below_usr() {
        let files = [
            ("./boot/vmlinuz-6.1", bzimage("6.1")),
            ("./usr/lib/modules/6.1/kernel/a.ko.xz", xz(&module(elf::X86_64, &[]))),
        ];
        let tar = tar(&files);
        let zstd = zstd::encode_all(&tar[..], 1).expect("memory");
        for (name, data) in [("data.tar", tar.clone()), ("data.tar.zst", zstd), ("data.tar.xz", xz(&tar))] {
            let bytes = archive(&[("debian-binary", b"2.0\n"), (name, &data)]);
            let package = read_package(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(package.release.as_deref(), Some("6.1"), "{name}");
        }
    }

    #[test]
    fn a_package_without_a_kernel_names_those_that_it_stands_for() {
        let text = refused(&[("./usr/share/doc/x", b"text".to_vec())]);
        assert!(text.contains("`linux-image-1` holds no kernel; it stands for others: kmod,"), "{text}");
    }

    #[test]
    fn hostile_packages_are_refused() {
        let kernel = || ("./boot/vmlinuz-6.1", bzimage("6.1"));
        assert!(
            refused(&[kernel(), ("./boot/vmlinuz-6.2", bzimage("6.2"))]).contains("more than one kernel")
        );
        let (one, other) = ("lib/modules/6.1/a.ko", "lib/modules/6.2/a.ko");
        assert!(refused(&[kernel(), (one, vec![]), (other, vec![])]).contains("of more than one kernel"));
        assert!(refused(&[kernel(), ("lib/modules/6.1/../../../etc/x.ko", vec![])]).contains("has the name"));
        let huge = vec![b'\n'; BUILTIN_LIMIT + 1];
        assert!(
            refused(&[kernel(), ("lib/modules/6.1/modules.builtin", huge)]).contains("larger than 4 MiB")
        );
        let data = xz(&tar(&[kernel()]));
        for members in [
            &[("data.tar.xz", &data[..])][..],
            &[("debian-binary", b"2.0\n"), ("data.tar.xz", &data[..data.len() / 2])],
            &[("debian-binary", b"2.0\n"), ("data.tar.xz", b"")],
            &[("debian-binary", b"2.0\n"), ("data.tar.xz", b"no archive at all")],
            &[("debian-binary", b"2.0\n"), ("control.tar.xz", &[0xfd, b'7', b'z'])],
            &[("debian-binary", b"2.0\n")],
        ] {
            assert_eq!(read_package(&archive(members)).expect_err("hostile").kind(), Kind::Invalid);
        }
        let whole = whole_package();
        for length in (0..whole.len()).step_by(97) {
            let error = read_package(&whole[..length]).expect_err("cut off");
            assert_eq!(error.kind(), Kind::Invalid, "{length}: {error}");
        }
    }
}
