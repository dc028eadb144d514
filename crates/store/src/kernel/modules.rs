//! Which modules of a kernel Holm's guests need, and in which order they must be loaded.
//!
//! A kernel's drivers are modules, or built in as `modules.builtin` lists them, or not there. What a module depends on
//! it says itself (see [`super::elf`]); packages hold no `modules.dep`, which is made when they are installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::elf::{self, ModuleInfo};
use super::image::{Identity, read_limited, unpack};
use crate::error::{Error, Kind, Result};
use holm_tar::shown;

/// Largest module, in bytes.
pub(super) const MODULE_LIMIT: usize = 64 << 20;
/// Most modules of one kernel: their numbers have two digits.
const COUNT_LIMIT: usize = 99;
/// All of them together, in bytes.
const TOTAL_LIMIT: usize = 256 << 20;
/// Longest chain of dependencies.
const DEPTH_LIMIT: usize = 32;
/// Longest name.
const NAME_LIMIT: usize = 64;
/// Largest `modules.builtin`, in bytes.
pub(super) const BUILTIN_LIMIT: usize = 4 << 20;

/// What guests use, in the order of loading.
const WANTED: [&str; 18] = [
    "virtio_mmio",
    "virtio_pci",
    "virtio_blk",
    "virtio_console",
    "virtio_net",
    "vmw_vsock_virtio_transport",
    "virtiofs",
    "virtio_balloon",
    "virtio_rng",
    "overlay",
    // What `erofs` and `ext4` ask the kernel's crypto for by another name than that of the module.
    "crc32c_generic",
    "erofs",
    "ext4",
    "loop",
    "tun",
    "veth",
    "bridge",
    "dummy",
];

/// What no guest starts without: of each row one.
const NEEDED: [&[&str]; 6] = [
    &["virtio_mmio", "virtio_pci"],
    &["virtio_blk"],
    &["virtio_console"],
    &["overlay"],
    &["erofs"],
    &["ext4"],
];

/// The modules that belong to a kernel.
#[derive(Debug, Default)]
pub struct Modules {
    /// By the kernel's names.
    files: BTreeMap<String, Place>,
    /// Names of those that are part of the image; `None` where that is not known.
    builtin: Option<BTreeSet<String>>,
    /// Where what came in a stream was written to.
    spill: Option<File>,
}

/// Where a module is, compressed or not.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    Spilled { offset: u64, length: usize },
}

/// Modules with their content, in the order of loading, and what is known to be missing.
#[derive(Debug, Default)]
pub struct Chosen {
    /// Names and contents.
    pub modules: Vec<(String, Vec<u8>)>,
    /// What guests need and what may be part of the image or not.
    pub unknown: Vec<String>,
}

impl Modules {
    /// Modules that were written to `spill`.
    pub(super) fn spilled(spill: File) -> Self {
        Self { spill: Some(spill), ..Self::default() }
    }

    /// Adds a module's file, if it is one by its name.
    pub(super) fn add(&mut self, file_name: &str, place: Place) {
        if let Some(name) = module_of(file_name) {
            self.files.insert(name, place);
        }
    }

    /// Takes over what the text of `modules.builtin` says: a path a line.
    pub(super) fn set_builtin(&mut self, text: &str) {
        let name = |line: &str| module_of(line.rsplit('/').next().unwrap_or_default());
        self.builtin = Some(text.lines().filter_map(name).collect());
    }

    /// The modules in a directory: a kernel's own, or one with `lib/modules/RELEASE` in it.
    ///
    /// # Errors
    /// What reading reports.
    pub fn in_directory(directory: &Path, release: &str) -> Result<Self> {
        let own = directory.join("lib/modules").join(release);
        let directory = if own.is_dir() { &own } else { directory };
        let mut modules = Self::default();
        modules.collect(directory)?;
        let builtin = directory.join("modules.builtin");
        match holm_sys::file::read_limited(&builtin, BUILTIN_LIMIT as u64) {
            Ok(text) => modules.set_builtin(&String::from_utf8_lossy(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(format!("read `{}`", builtin.display()), error)),
        }
        Ok(modules)
    }

    /// Links are not followed: installed modules have two to the kernel's source.
    fn collect(&mut self, directory: &Path) -> Result<()> {
        let mut pending = vec![directory.to_owned()];
        while let Some(directory) = pending.pop() {
            let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
            for entry in std::fs::read_dir(&directory).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let kind = entry.file_type().map_err(failed)?;
                if kind.is_dir() {
                    pending.push(entry.path());
                } else if let (true, Some(name)) = (kind.is_file(), entry.file_name().to_str()) {
                    self.add(name, Place::File(entry.path()));
                }
            }
        }
        Ok(())
    }

    /// What guests need of the modules of the kernel `identity`.
    ///
    /// # Errors
    /// [`Kind::UnfitKernel`] if it lacks what is needed; [`Kind::Invalid`] if a module is none, or another kernel's, or
    /// needs what is not there; what reading reports.
    pub fn choose(&self, identity: &Identity) -> Result<Chosen> {
        let mut order = Order { modules: self, identity, chosen: Vec::new(), pending: Vec::new(), total: 0 };
        for name in WANTED.iter().filter(|name| self.files.contains_key(**name)) {
            order.add(name)?;
        }
        let missing: Vec<String> = NEEDED
            .iter()
            .filter(|row| !row.iter().any(|name| self.has(name)))
            .map(|row| row.join(" or "))
            .collect();
        if self.builtin.is_some() && !missing.is_empty() {
            let text = format!("it is a kernel without the needed drivers: {}", missing.join(", "));
            return Err(Error::new(Kind::UnfitKernel, text));
        }
        Ok(Chosen { modules: order.chosen, unknown: missing })
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.builtin.as_ref().is_some_and(|builtin| builtin.contains(name))
    }

    /// The content of a module, unpacked.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(place) = self.files.get(name) else { return Ok(None) };
        let packed = match (place, &self.spill) {
            (Place::File(path), _) => read_file(path)?,
            (Place::Spilled { offset, length }, Some(spill)) => {
                let mut content = vec![0; *length];
                let read = spill.read_exact_at(&mut content, *offset);
                read.map_err(|error| Error::io("read it back", error))?;
                content
            }
            (Place::Spilled { .. }, None) => return Ok(None),
        };
        unpack(&packed, MODULE_LIMIT).map(Some)
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(|error| Error::io(format!("open `{}`", path.display()), error))?;
    read_limited(file, MODULE_LIMIT)
}

/// The name of the module in a file of that name; `None` if it is no module's.
fn module_of(file_name: &str) -> Option<String> {
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|end| file_name.strip_suffix(end))?;
    is_name(stem).then(|| elf::name(stem))
}

fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=NAME_LIMIT).contains(&text.len()) && text.bytes().all(allowed)
}

/// An order of loading in the making.
struct Order<'a> {
    modules: &'a Modules,
    identity: &'a Identity,
    chosen: Vec<(String, Vec<u8>)>,
    /// Those whose dependencies are being added, outermost first.
    pending: Vec<String>,
    total: usize,
}

impl Order<'_> {
    /// Adds a module behind what it depends on.
    fn add(&mut self, name: &str) -> Result<()> {
        if self.chosen.iter().any(|(chosen, _)| chosen == name) {
            return Ok(());
        }
        if self.pending.len() >= DEPTH_LIMIT || self.pending.iter().any(|pending| pending == name) {
            let chain = self.pending.iter().map(|name| shown(name.as_bytes())).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                Kind::Invalid,
                format!("modules depend on each other without an end: {chain}"),
            ));
        }
        let about = |error: Error| error.about(format!("module `{}`", shown(name.as_bytes())));
        let content = self.modules.read(name).map_err(about)?.ok_or_else(|| self.absent(name))?;
        let info = elf::module_info(&content).map_err(about)?;
        self.check(&info).map_err(about)?;
        self.pending.push(name.to_owned());
        for dependency in &info.depends {
            self.add(dependency)?;
        }
        self.pending.pop();
        self.push(name, content)
    }

    fn push(&mut self, name: &str, content: Vec<u8>) -> Result<()> {
        self.total += content.len();
        if self.chosen.len() >= COUNT_LIMIT || self.total > TOTAL_LIMIT {
            let text =
                format!("its modules are more than {COUNT_LIMIT}, or larger than {} MiB", TOTAL_LIMIT >> 20);
            return Err(Error::new(Kind::Invalid, text));
        }
        self.chosen.push((name.to_owned(), content));
        Ok(())
    }

    /// A kernel refuses modules of another one, and then the guest has no disk.
    fn check(&self, info: &ModuleInfo) -> Result<()> {
        let machine = if self.identity.platform.architecture == "arm64" { elf::AARCH64 } else { elf::X86_64 };
        if info.machine != machine {
            return Err(Error::new(Kind::Invalid, "it is for another machine than the kernel"));
        }
        if !info.release.is_empty() && info.release != self.identity.release {
            let (its, ours) = (shown(info.release.as_bytes()), &self.identity.release);
            return Err(Error::new(Kind::Invalid, format!("it is for the kernel {its}, not for {ours}")));
        }
        Ok(())
    }

    fn absent(&self, name: &str) -> Error {
        let by = self.pending.last().map(String::as_str).unwrap_or_default();
        let name = shown(name.as_bytes());
        Error::new(Kind::Invalid, format!("module `{by}` depends on module `{name}`, which is not there"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::elf::tests::module;
    use super::super::image::identify;
    use super::super::image::tests::bzimage;
    use super::*;

    const RELEASE: &str = "6.1.0-1";

    fn identity() -> Identity {
        identify(&bzimage(RELEASE)).expect("a kernel")
    }

    /// Modules in a directory, with what each depends on.
    fn directory(modules: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for (at, (file, depends)) in modules.iter().enumerate() {
            let place = directory.path().join(format!("kernel/{at}"));
            std::fs::create_dir_all(&place).expect("mkdir");
            let strings = [format!("depends={depends}"), format!("vermagic={RELEASE} SMP")];
            let content = module(elf::X86_64, &[&strings[0], &strings[1]]);
            std::fs::write(place.join(file), content).expect("write");
        }
        directory
    }

    fn choose(directory: &Path) -> Result<Chosen> {
        Modules::in_directory(directory, RELEASE)?.choose(&identity())
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.modules.iter().map(|(name, _)| name.as_str()).collect()
    }

    fn refused(modules: &[(&str, &str)]) -> String {
        let error = choose(directory(modules).path()).expect_err("refused");
        assert_eq!(error.kind(), Kind::Invalid);
        error.to_string()
    }

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let directory = directory(&[
            ("ext4.ko", "jbd2,crc16"),
            ("jbd2.ko", ""),
            ("crc16.ko", ""),
            ("crc32c_generic.ko", ""),
            ("virtio-ring.ko", ""),
            ("virtio.ko", "virtio_ring"),
            ("virtio_blk.ko", "virtio-ring,virtio"),
            ("virtio_pci.ko", "virtio,virtio_ring"),
            ("unused.ko", "nothing"),
        ]);
        let chosen = choose(directory.path()).expect("chosen");
        let expected =
            ["virtio_ring", "virtio", "virtio_pci", "virtio_blk", "crc32c_generic", "jbd2", "crc16", "ext4"];
        assert_eq!(names(&chosen), expected);
        assert_eq!(chosen.unknown, ["virtio_console", "overlay", "erofs"]);
    }

    #[test]
    fn what_is_neither_a_module_nor_built_in_is_named() {
        let directory = directory(&[("virtio_mmio.ko", ""), ("overlay.ko", "")]);
        let builtin = directory.path().join("modules.builtin");
        std::fs::write(&builtin, "kernel/fs/ext4/ext4.ko\nkernel/a/virtio-blk.ko\n").expect("write");
        let error = choose(directory.path()).expect_err("unfit");
        assert_eq!(error.kind(), Kind::UnfitKernel);
        assert_eq!(error.to_string(), "it is a kernel without the needed drivers: virtio_console, erofs");
        std::fs::write(&builtin, "k/ext4.ko\nk/virtio_blk.ko\nk/virtio_console.ko\nk/erofs.ko")
            .expect("write");
        assert_eq!(names(&choose(directory.path()).expect("fit")), ["virtio_mmio", "overlay"]);
    }

    #[test]
    fn compressed_modules_are_unpacked() {
        let directory = directory(&[]);
        let content = module(elf::X86_64, &["depends="]);
        let mut xz = liblzma::read::XzEncoder::new(&content[..], 1);
        let mut packed = Vec::new();
        std::io::Read::read_to_end(&mut xz, &mut packed).expect("memory");
        std::fs::write(directory.path().join("loop.ko.xz"), packed).expect("write");
        let packed = zstd::encode_all(&content[..], 1).expect("memory");
        std::fs::write(directory.path().join("tun.ko.zst"), packed).expect("write");
        let chosen = choose(directory.path()).expect("chosen");
        assert_eq!(names(&chosen), ["loop", "tun"]);
        assert!(chosen.modules.iter().all(|(_, module)| *module == content));
    }

    #[test]
    fn a_root_with_the_modules_of_several_kernels_gives_those_of_this_one() {
        let root = tempfile::tempdir().expect("a temporary directory");
        for (release, name) in [(RELEASE, "loop.ko"), ("6.9", "tun.ko")] {
            let place = root.path().join("lib/modules").join(release);
            std::fs::create_dir_all(&place).expect("mkdir");
            std::fs::write(place.join(name), module(elf::X86_64, &[])).expect("write");
        }
        assert_eq!(names(&choose(root.path()).expect("chosen")), ["loop"]);
        let error = choose(&root.path().join("nowhere")).expect_err("absent");
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[test]
    fn hostile_modules_are_refused() {
        assert!(refused(&[("loop.ko", "tun"), ("tun.ko", "loop")]).contains("without an end: loop, tun"));
        assert!(refused(&[("loop.ko", "loop")]).contains("without an end"));
        assert!(refused(&[("loop.ko", "none")]).contains("`loop` depends on module `none`"));
        assert!(refused(&[("loop.ko", "../../x")]).contains("which is not there"));
        let links: Vec<(String, String)> =
            (0..40).map(|at| (format!("m{at}.ko"), format!("m{}", at + 1))).collect();
        let mut chain: Vec<(&str, &str)> = links.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        chain.push(("loop.ko", "m0"));
        assert!(refused(&chain).contains("without an end"));
        let many: Vec<String> = (0..120).map(|at| format!("m{at}")).collect();
        let files: Vec<String> = many.iter().map(|name| format!("{name}.ko")).collect();
        let all = many.join(",");
        let mut wide: Vec<(&str, &str)> = files.iter().map(|file| (file.as_str(), "")).collect();
        wide.push(("loop.ko", &all));
        assert!(refused(&wide).contains("more than 99"));
    }

    #[test]
    fn modules_of_another_kernel_or_machine_are_refused() {
        let other = tempfile::tempdir().expect("a temporary directory");
        let place = other.path().join("loop.ko");
        std::fs::write(&place, module(elf::X86_64, &["vermagic=6.9.9 SMP"])).expect("write");
        let error = choose(other.path()).expect_err("another kernel");
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert_eq!(cause, "it is for the kernel 6.9.9, not for 6.1.0-1");
        std::fs::write(&place, module(elf::AARCH64, &[])).expect("write");
        assert!(choose(other.path()).is_err());
        std::fs::write(&place, b"no module").expect("write");
        assert!(choose(other.path()).is_err());
    }
}
