//! The bare emulator: the command line that boots what Holm's machine boots, and nothing of Holm.
//!
//! Processor, memory, kernel and its command line are those that a machine of Holm's says it was started with, so this
//! floor cannot drift from it. Its first root is the same modules, and behind them busybox as the first program:
//! a script that loads them, mounts the layer and an overlay over the scratch disk, runs `true` of the image in a
//! chroot, and powers off.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::cpio::Archive;
use super::holm::Holm;
use super::image::BUSYBOX;
use crate::driver::pairing::Side;
use crate::driver::process::Launch;

/// What the floor leaves out of what Holm does to run a program in a machine.
pub const LEFT_OUT: &[&str] = &[
    "all of the host's side: configuration, state, locks, the keeper, its log, the exit status",
    "the jail: namespaces, groups, seccomp, rights; QEMU's own sandbox and QMP",
    "choosing accelerator and kernel; composing the disk of layers (the layer is the disk here)",
    "making the scratch disk (mkfs.ext4 runs before the clock does)",
    "the agent: channel, control groups, streams, balloon and random numbers of the host",
    "the container in the guest: namespaces, mounts, seccomp, capabilities, /etc/hosts and the like",
    "it pays for what Holm does not: a fork of busybox for each module and mount; a power-off",
];

/// The first program. What fails waits for whoever times it to lose patience.
const INIT: &str = "#!/bin/busybox sh
b=/bin/busybox
for m in /lib/modules/*; do $b insmod $m; done
$b mount -t devtmpfs none /dev
$b mount -t erofs -o ro /dev/vda /layers &&
$b mount -t ext4 /dev/vdb /scratch &&
$b mkdir /scratch/upper /scratch/work &&
$b mount -t overlay -o lowerdir=/layers,upperdir=/scratch/upper,workdir=/scratch/work none /root &&
$b chroot /root /bin/true && $b poweroff -f
$b sleep 10000
";
const FOLDERS: [&str; 6] = ["bin", "dev", "layers", "scratch", "root", "proc"];
/// Options whose values are the same as in Holm's machine.
const KEPT: [&str; 6] = ["-accel", "-cpu", "-smp", "-m", "-append", "-machine"];
const SCRATCH_BYTES: u64 = 64 << 30;

/// A bare machine of the same kernel, image and settings as Holm's.
pub struct Bare {
    emulator: String,
    settings: Vec<(String, String)>,
    kernel: PathBuf,
    initrd: PathBuf,
    layer: PathBuf,
    directory: PathBuf,
}

impl Bare {
    /// Learns from a machine that Holm runs.
    ///
    /// # Errors
    /// Holm's machine does not start, or says nothing of itself.
    pub fn prepare(base: &Path, holm: &Holm) -> Result<Self> {
        let directory = base.join("bare-machine");
        fs::create_dir(&directory)?;
        let kernel = holm.kernel()?;
        let mut words = holm.command_line_of_a_machine()?.into_iter();
        let emulator = words.next().context("a command line without a program")?;
        let words: Vec<String> = words.collect();
        let settings = words
            .windows(2)
            .filter(|pair| KEPT.contains(&pair[0].as_str()))
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect();
        let initrd = directory.join("initrd");
        write_initrd(&initrd, &kernel.modules)?;
        Ok(Self { emulator, settings, kernel: kernel.image, initrd, layer: holm.layer()?, directory })
    }

    /// The kind of machine that Holm uses.
    pub fn same(&self) -> Side {
        self.side("bare qemu", &self.settings, "device")
    }

    /// A PC with PCI Express.
    pub fn q35(&self) -> Side {
        let change = |(name, value): &(String, String)| match name.as_str() {
            "-machine" => (name.clone(), "q35".to_owned()),
            "-append" => (name.clone(), value.replace("pci=off ", "")),
            _ => (name.clone(), value.clone()),
        };
        self.side("bare qemu, q35", &self.settings.iter().map(change).collect::<Vec<_>>(), "pci")
    }

    fn side(&self, name: &str, settings: &[(String, String)], bus: &str) -> Side {
        let scratch = self.directory.join("scratch");
        let disk = |node: &str, file: &Path, options: &str| {
            let file = file.display();
            [
                "-blockdev".to_owned(),
                format!("driver=raw,node-name={node}{options},file.driver=file,file.filename={file}"),
                "-device".to_owned(),
                format!("virtio-blk-{bus},drive={node}"),
            ]
        };
        let launch = Launch::new(&self.emulator)
            .with(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .with(["-global", "virtio-mmio.force-legacy=false", "-serial", "stdio"])
            .with(settings.iter().flat_map(|(name, value)| [name, value]))
            .with(["-kernel".as_ref(), self.kernel.as_os_str()])
            .with(["-initrd".as_ref(), self.initrd.as_os_str()])
            .with(disk("layers", &self.layer, ",read-only=on"))
            .with(disk("scratch", &scratch, ",discard=unmap"));
        let prepare = Box::new(move || make_scratch(&scratch));
        Side { name: name.to_owned(), launch, prepare: Some(prepare), reset: None }
    }
}

/// The disk that Holm would make (its `vmm` crate has the same options).
fn make_scratch(path: &Path) -> Result<()> {
    fs::File::create(path)?.set_len(SCRATCH_BYTES)?;
    Launch::new("mkfs.ext4")
        .with(["-q", "-F", "-m0", "-Ohas_journal,sparse_super2,^resize_inode", "-Jsize=8", "-i65536"])
        .with(["-Elazy_itable_init=1,lazy_journal_init=1,nodiscard,assume_storage_prezeroed=1"])
        .with(["-I256", "-b4096"])
        .with([path])
        .output()
        .map(drop)
}

fn write_initrd(path: &Path, modules: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for folder in FOLDERS {
        archive.add(folder, 0o40755, &[]);
    }
    archive.add("bin/busybox", 0o100_755, &fs::read(BUSYBOX)?).add("init", 0o100_755, INIT.as_bytes());
    let mut file = fs::File::create(path)?;
    file.write_all(&fs::read(modules)?)?;
    file.write_all(&archive.finish())?;
    Ok(file.set_permissions(fs::Permissions::from_mode(0o644))?)
}

/// A kernel in Holm's store.
pub struct Kernel {
    /// The kernel.
    pub image: PathBuf,
    /// A cpio archive of its modules.
    pub modules: PathBuf,
}

impl Kernel {
    /// Finds the files of a manifest in a directory of blobs.
    ///
    /// # Errors
    /// It is no manifest of a kernel.
    pub fn of_manifest(blobs: &Path, id: &str) -> Result<Self> {
        let text = fs::read(blobs.join(id.trim_start_matches("sha256:")))?;
        let manifest: Value = serde_json::from_slice(&text)?;
        let digests: Vec<&str> = manifest["layers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|layer| layer["digest"].as_str()?.strip_prefix("sha256:"))
            .collect();
        let [image, modules] = digests.as_slice() else { bail!("`{id}` is no manifest of a kernel") };
        Ok(Self { image: blobs.join(image), modules: blobs.join(modules) })
    }
}
