//! Which kernel an image is: its form, its machine and its release. Pure; expects hostile input.
//!
//! | form | recognised by | release |
//! |---|---|---|
//! | `bzImage` | `HdrS` at 0x202 (the kernel's `Documentation/arch/x86/boot.rst`) | field `kernel_version` |
//! | `vmlinux` | ELF | the banner, `Linux version ...` |
//! | arm64 `Image` | `ARM\x64` at 56 (`Documentation/arch/arm64/booting.rst`) | the banner |
//! | compressed `Image` | gzip, or an EFI program with `zimg` at 4 | the banner inside |

use std::io::Read;

use holm_spec::kernel::Format;
use holm_spec::platform::Platform;

use super::elf;
use crate::compression::{self, Compression, Decoder};
use crate::error::{Error, Kind, Result};

/// Largest kernel, compressed or not, in bytes.
pub const LIMIT: usize = 512 << 20;
/// `__NEW_UTS_LEN` of the kernel.
const RELEASE_LIMIT: usize = 64;
const BANNER: &[u8] = b"Linux version ";

/// What an image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// What `uname -r` says: letters, digits and `.`, `_`, `+`, `-`, `~`.
    pub release: String,
    /// What it is for.
    pub platform: Platform,
    /// Its form.
    pub format: Format,
}

/// Recognises an image.
///
/// # Errors
/// [`Kind::Invalid`] if it is no kernel that Holm can boot.
pub fn identify(image: &[u8]) -> Result<Identity> {
    match image {
        _ if image.get(0x202..0x206) == Some(b"HdrS") => identify_bzimage(image),
        _ if image.starts_with(elf::MAGIC) => identify_elf(image),
        _ if is_arm64(image) => identify_arm64(image),
        _ if image.starts_with(b"MZ") && image.get(4..8) == Some(b"zimg") => identify_efi(image),
        _ if compression::of_magic(image) == Compression::Gzip => identify_packed(image),
        _ => Err(invalid("it is neither a bzImage, nor an ELF file, nor an `Image` for arm64")),
    }
}

fn identify_bzimage(image: &[u8]) -> Result<Identity> {
    let number = |at: usize| image.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes);
    let (Some(0xaa55), Some(version), Some(pointer)) = (number(0x1fe), number(0x206), number(0x20e)) else {
        return Err(invalid("its boot sector is damaged"));
    };
    // XLF_KERNEL_64 of `xloadflags`, since protocol 2.12.
    if version < 0x20c || number(0x236).is_none_or(|flags| flags & 1 == 0) {
        return Err(invalid("it is no kernel of 64 bits for boot protocol 2.12 or later"));
    }
    let text = image.get(0x200 + usize::from(pointer)..).filter(|_| pointer != 0).unwrap_or_default();
    Ok(Identity { release: release(text)?, platform: platform("amd64"), format: Format::BzImage })
}

fn identify_elf(image: &[u8]) -> Result<Identity> {
    let architecture = match elf::machine(image)? {
        elf::X86_64 => "amd64",
        elf::AARCH64 => "arm64",
        _ => return Err(invalid("it is a program for another machine than x86-64 and arm64")),
    };
    Ok(Identity { release: banner(image)?, platform: platform(architecture), format: Format::Elf })
}

fn is_arm64(image: &[u8]) -> bool {
    image.get(56..60) == Some(b"ARM\x64")
}

fn identify_arm64(image: &[u8]) -> Result<Identity> {
    Ok(Identity { release: banner(image)?, platform: platform("arm64"), format: Format::Image })
}

/// An EFI program that unpacks the image in it: where that lies, and how long it is (the kernel's
/// `drivers/firmware/efi/libstub/zboot-header.S`).
fn identify_efi(image: &[u8]) -> Result<Identity> {
    let number = |at: usize| image.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let payload = || {
        let offset = usize::try_from(number(8)?).ok()?;
        image.get(offset..offset.checked_add(usize::try_from(number(12)?).ok()?)?)
    };
    identify_packed(payload().ok_or_else(|| invalid("it ends before the image that it unpacks"))?)
}

fn identify_packed(packed: &[u8]) -> Result<Identity> {
    let image = unpack(packed, LIMIT)?;
    if !is_arm64(&image) {
        return Err(invalid("it is compressed, and what is in it is no `Image` for arm64"));
    }
    identify_arm64(&image)
}

/// The content of a file that may be compressed by gzip, zstd or xz, of at most `limit` bytes.
///
/// # Errors
/// [`Kind::Invalid`] if it is damaged or longer.
pub(super) fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>> {
    let failed = |error| Error::layer("unpack it", error);
    let decoder = Decoder::new(compression::of_magic(packed), packed).map_err(failed)?;
    read_limited(decoder, limit)
}

/// All of `input`, of at most `limit` bytes.
///
/// # Errors
/// [`Kind::Invalid`] if it is damaged or longer; what reading reports.
pub(super) fn read_limited(input: impl Read, limit: usize) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = input.take(limit as u64 + 1).read_to_end(&mut content);
    read.map_err(|error| Error::layer("read it", holm_tar::Error::read("the input", error)))?;
    if content.len() > limit {
        return Err(Error::new(Kind::Invalid, format!("it is larger than {} MiB", limit >> 20)));
    }
    Ok(content)
}

/// The release in the banner that a kernel prints when it boots.
fn banner(image: &[u8]) -> Result<String> {
    let first = BANNER.first().copied().unwrap_or_default();
    let mut rest = image;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        // Also the format of the banner stands in a kernel: `Linux version %s`.
        if let Some(text) =
            rest.strip_prefix(BANNER).filter(|text| text.first().is_some_and(u8::is_ascii_digit))
        {
            return release(text);
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    Err(invalid("it is no Linux kernel: nowhere in it stands `Linux version`"))
}

/// The first word of a text.
fn release(text: &[u8]) -> Result<String> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-~".contains(byte);
    let end = text.iter().position(|byte| !allowed(byte)).unwrap_or(text.len());
    let word = text.get(..end.min(RELEASE_LIMIT + 1)).unwrap_or_default();
    let sound = word.len() <= RELEASE_LIMIT && word.first().is_some_and(u8::is_ascii_digit);
    let ended = matches!(text.get(end), Some(0 | b' ' | b'\n'));
    match String::from_utf8(word.to_vec()) {
        Ok(word) if sound && ended => Ok(word),
        _ => Err(invalid("what it says of its release is none")),
    }
}

fn platform(architecture: &str) -> Platform {
    Platform { os: "linux".to_owned(), architecture: architecture.to_owned() }
}

fn invalid(what: &str) -> Error {
    Error::new(Kind::Invalid, what)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use super::*;

    /// The beginning of a kernel for x86-64's boot protocol.
    pub(crate) fn bzimage(release: &str) -> Vec<u8> {
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

    pub(crate) fn arm64_image(release: &str) -> Vec<u8> {
        let mut image = vec![0; 256];
        image[56..60].copy_from_slice(b"ARM\x64");
        image.extend_from_slice(format!("Linux version %s\0Linux version {release} (x) #1\0").as_bytes());
        image
    }

    fn elf(machine: u16, release: &str) -> Vec<u8> {
        let mut image = elf::tests::module(machine, &[]);
        image.extend_from_slice(format!("Linux version {release} (x)\n\0").as_bytes());
        image
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(data).expect("memory");
        encoder.finish().expect("memory")
    }

    fn efi(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[..8].copy_from_slice(b"MZ\0\0zimg");
        image[8..12].copy_from_slice(&64_u32.to_le_bytes());
        image[12..16].copy_from_slice(&u32::try_from(payload.len()).expect("short").to_le_bytes());
        image.extend_from_slice(payload);
        image
    }

    #[test]
    fn every_form_is_recognised() {
        let release = "6.1.0-37-cloud-amd64";
        let plain = arm64_image(release);
        let zstd = zstd::encode_all(&plain[..], 1).expect("memory");
        for (image, architecture, format) in [
            (bzimage(release), "amd64", Format::BzImage),
            (elf(elf::X86_64, release), "amd64", Format::Elf),
            (elf(elf::AARCH64, release), "arm64", Format::Elf),
            (plain.clone(), "arm64", Format::Image),
            (gzip(&plain), "arm64", Format::Image),
            (efi(&gzip(&plain)), "arm64", Format::Image),
            (efi(&zstd), "arm64", Format::Image),
        ] {
            let identity = identify(&image).unwrap_or_else(|error| panic!("{format:?}: {error}"));
            let expected = Identity { release: release.to_owned(), platform: platform(architecture), format };
            assert_eq!(identity, expected);
        }
    }

    #[test]
    fn releases_are_words() {
        for text in ["6.1.0", "6.12.3+", "6.1.0-rc1_x~y", &format!("6{}", "1".repeat(63))] {
            assert_eq!(identify(&bzimage(text)).map(|identity| identity.release).ok().as_deref(), Some(text));
        }
        for text in ["", "/../../etc", "6.1/..", "x", "6;rm", &"6".repeat(65), "6.1\u{1b}[0m"] {
            assert!(identify(&bzimage(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        let mut old = bzimage("6.1");
        old[0x236] = 0;
        let mut pointer = bzimage("6.1");
        pointer[0x20e..0x210].fill(0xff);
        let mut without = bzimage("6.1");
        without[0x20e..0x210].fill(0);
        let mut outside = efi(&gzip(&arm64_image("6.1")));
        outside[8..16].fill(0xff);
        let cut = gzip(&arm64_image("6.1"));
        for image in [
            b"".to_vec(),
            b"#!/bin/sh\n".to_vec(),
            old,
            pointer,
            without,
            outside,
            cut[..cut.len() / 2].to_vec(),
            gzip(&elf(elf::X86_64, "6.1")),
            elf(3, "6.1"),
            elf::tests::module(elf::X86_64, &[]),
            bzimage("6.1")[..0x210].to_vec(),
            bzimage("6.1")[..0x503].to_vec(),
        ] {
            assert_eq!(identify(&image).expect_err("no kernel").kind(), Kind::Invalid);
        }
    }

    #[test]
    fn what_unpacks_to_more_than_the_limit_is_refused() {
        let error = unpack(&gzip(&vec![0; 3 << 20]), 2 << 20).expect_err("too large");
        assert_eq!(error.to_string(), "it is larger than 2 MiB");
        assert_eq!(unpack(b"plain", 5).expect("as it is"), b"plain");
    }
}
