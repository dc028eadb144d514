//! How a binary is linked, read from its ELF header: what ships must be static, and not position-independent.
//!
//! Only the 64-bit little-endian form is read: elf(5), `Elf64_Ehdr` and `Elf64_Phdr`.

use anyhow::{Result, bail};

const ET_EXEC: u16 = 2;
const PT_INTERP: u32 = 3;

/// How a binary is linked.
#[derive(Debug, PartialEq, Eq)]
pub enum Linkage {
    /// No interpreter, loaded where it was linked.
    Static,
    /// No interpreter, loaded anywhere: it relocates itself at each start.
    StaticPie,
    /// Needs a dynamic loader.
    Dynamic,
}

/// Reads how `image` is linked.
///
/// # Errors
/// `image` is not a complete 64-bit little-endian ELF file.
pub fn linkage(image: &[u8]) -> Result<Linkage> {
    if image.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let parsed = (|| {
        let start = usize::try_from(number(image, 32, 8)?).ok()?;
        let size = usize::try_from(number(image, 54, 2)?).ok()?;
        let count = usize::try_from(number(image, 56, 2)?).ok()?;
        let mut interpreter = false;
        for index in 0..count {
            let at = start.checked_add(index.checked_mul(size)?)?;
            let header = image.get(at..at.checked_add(size)?)?;
            interpreter |= number(header, 0, 4)? == u64::from(PT_INTERP);
        }
        let fixed = number(image, 16, 2)? == u64::from(ET_EXEC);
        Some(match (interpreter, fixed) {
            (true, _) => Linkage::Dynamic,
            (false, true) => Linkage::Static,
            (false, false) => Linkage::StaticPie,
        })
    })();
    match parsed {
        Some(linkage) => Ok(linkage),
        None => bail!("a truncated ELF file"),
    }
}

/// The little-endian number of `size` (at most 8) bytes at `at`.
fn number(image: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = image.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(kind: u8, segments: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 64];
        image[..6].copy_from_slice(b"\x7fELF\x02\x01");
        image[16] = kind;
        image[32] = 64;
        image[54] = 56;
        image[56] = u8::try_from(segments.len()).unwrap();
        for segment in segments {
            let mut header = vec![0; 56];
            header[0] = *segment;
            image.extend(header);
        }
        image
    }

    #[test]
    fn linkage_is_read_from_type_and_interpreter() {
        assert_eq!(linkage(&image(2, &[1, 1])).unwrap(), Linkage::Static);
        assert_eq!(linkage(&image(3, &[1, 2])).unwrap(), Linkage::StaticPie);
        assert_eq!(linkage(&image(3, &[6, 3, 1])).unwrap(), Linkage::Dynamic);
    }

    #[test]
    fn what_is_no_whole_elf_file_is_refused() {
        assert!(linkage(b"#!/bin/sh\n").is_err());
        let whole = image(2, &[1]);
        assert!(linkage(&whole[..100]).is_err());
        assert!(linkage(&whole[..40]).is_err());
    }
}
