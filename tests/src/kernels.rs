//! Kernels that boot nothing: images, modules and Debian packages of which only the words about themselves are there.

use crate::Tarball;

const SECTION_HEADER: usize = 64;
/// `e_machine` of x86-64.
const X86_64: u16 = 62;

/// The beginning of a kernel for x86-64's boot protocol (the kernel's `Documentation/arch/x86/boot.rst`).
#[must_use]
pub fn image(release: &str) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS");
    put(0x206, &0x20f_u16.to_le_bytes());
    put(0x20e, &0x300_u16.to_le_bytes());
    put(0x236, &[1]);
    put(0x500, format!("{release} (somebody@somewhere) #1 SMP\0").as_bytes());
    image
}

/// An ELF file with a section `.modinfo` that names a kernel and other modules.
///
/// # Panics
/// Never: its parts are short.
#[must_use]
pub fn module(release: &str, depends: &str) -> Vec<u8> {
    let info = format!("depends={depends}\0vermagic={release} SMP mod_unload \0");
    let names = "\0.shstrtab\0.modinfo\0";
    let table = (64 + info.len() + names.len()).next_multiple_of(8);
    let mut file = vec![0; table + 3 * SECTION_HEADER];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(18, &X86_64.to_le_bytes());
    put(40, &(table as u64).to_le_bytes());
    for (at, value) in [(58, 64_u16), (60, 3), (62, 1)] {
        put(at, &value.to_le_bytes());
    }
    put(64, info.as_bytes());
    put(64 + info.len(), names.as_bytes());
    for (index, name, offset, size) in [(1, 1_u32, 64 + info.len(), names.len()), (2, 11, 64, info.len())] {
        let at = table + index * SECTION_HEADER;
        put(at, &name.to_le_bytes());
        put(at + 24, &(offset as u64).to_le_bytes());
        put(at + 32, &(size as u64).to_le_bytes());
    }
    file
}

/// A Debian package with such a kernel; all that guests need are modules, but ext4, which is built in.
#[must_use]
pub fn package(release: &str) -> Vec<u8> {
    let mut data = Tarball::new();
    data.file(&format!("./boot/vmlinuz-{release}"), 0o644, image(release));
    let modules = format!("./lib/modules/{release}");
    data.file(&format!("{modules}/modules.builtin"), 0o644, "kernel/fs/ext4/ext4.ko\n");
    for (name, depends) in [
        ("virtio_pci", "virtio"),
        ("virtio", ""),
        ("virtio_blk", "virtio"),
        ("virtio_console", "virtio"),
        ("overlay", ""),
        ("erofs", "libcrc32c"),
        ("libcrc32c", ""),
        ("unused", ""),
    ] {
        data.file(&format!("{modules}/kernel/{name}.ko"), 0o644, module(release, depends));
    }
    let mut control = Tarball::new();
    control.file("./control", 0o644, format!("Package: linux-image-{release}\nVersion: 1.2-3\n"));
    archive(&[("debian-binary", b"2.0\n"), ("control.tar", &control.finish()), ("data.tar", &data.finish())])
}

/// An ar archive (deb(5)).
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        let header = format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, data.len());
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}
