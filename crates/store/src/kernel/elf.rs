//! What Holm reads of ELF files of 64 bits with the small end first (`Elf64_Ehdr`, `Elf64_Shdr` of elf(5)): for which
//! machine they are, and the section `.modinfo` of a kernel module, in which it says what it is. Pure; expects hostile
//! input.

use crate::error::{Error, Kind, Result};

/// What an ELF file begins with.
pub const MAGIC: &[u8; 4] = b"\x7fELF";
/// `e_machine` of x86-64.
pub const X86_64: u16 = 62;
/// `e_machine` of arm64.
pub const AARCH64: u16 = 183;

const SECTION_HEADER: usize = 64;
/// Longest name of a section that is of interest, with its end mark.
const MODINFO: &[u8] = b".modinfo\0";

/// What a module says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleInfo {
    /// `e_machine`.
    pub machine: u16,
    /// Modules that must be loaded before it, as kernels name them: with underscores.
    pub depends: Vec<String>,
    /// Release of the kernel that it was built for; empty where it does not say.
    pub release: String,
}

/// The machine that an ELF file is for.
///
/// # Errors
/// [`Kind::Invalid`] if it is no such file.
pub fn machine(file: &[u8]) -> Result<u16> {
    // Class: 64 bits. Data: least significant byte first.
    if !file.starts_with(MAGIC) || file.get(4..6) != Some(&[2, 1]) {
        return Err(invalid("it is no ELF file of 64 bits"));
    }
    number(file, 18).ok_or_else(ends_early).map(u16::from_le_bytes)
}

/// What the section `.modinfo` says.
///
/// # Errors
/// [`Kind::Invalid`] if the file is no module.
pub fn module_info(file: &[u8]) -> Result<ModuleInfo> {
    let machine = machine(file)?;
    let mut info = ModuleInfo { machine, ..ModuleInfo::default() };
    for string in modinfo(file)?.split(|byte| *byte == 0) {
        let text = String::from_utf8_lossy(string);
        match text.split_once('=') {
            Some(("depends", list)) => {
                info.depends = list.split(',').filter(|name| !name.is_empty()).map(name).collect();
            }
            Some(("vermagic", magic)) => {
                info.release = magic.split(' ').next().unwrap_or_default().to_owned();
            }
            _ => {}
        }
    }
    Ok(info)
}

/// A module's name from that of its file: files may have dashes where kernels say underscores.
pub fn name(text: &str) -> String {
    text.replace('-', "_")
}

fn modinfo(file: &[u8]) -> Result<&[u8]> {
    let table = u64::from_le_bytes(number(file, 40).ok_or_else(ends_early)?);
    let [size, count, names] =
        [58, 60, 62].map(|at| number(file, at).map_or(0, u16::from_le_bytes)).map(usize::from);
    if size != SECTION_HEADER {
        return Err(invalid("it has no sections"));
    }
    let header = |index: usize| {
        let offset = usize::try_from(table).ok()?.checked_add(index * SECTION_HEADER)?;
        file.get(offset..offset.checked_add(SECTION_HEADER)?)
    };
    let names = header(names).and_then(|header| content(file, header)).ok_or_else(ends_early)?;
    for index in 0..count {
        let header = header(index).ok_or_else(ends_early)?;
        let name = number(header, 0).map_or(0, u32::from_le_bytes);
        if names.get(name as usize..).is_some_and(|name| name.starts_with(MODINFO)) {
            return content(file, header).ok_or_else(ends_early);
        }
    }
    Err(invalid("it is no kernel module: it has no section `.modinfo`"))
}

/// The bytes of a section.
fn content<'a>(file: &'a [u8], header: &[u8]) -> Option<&'a [u8]> {
    let [offset, size] = [24, 32].map(|at| number(header, at).map_or(u64::MAX, u64::from_le_bytes));
    let offset = usize::try_from(offset).ok()?;
    file.get(offset..offset.checked_add(usize::try_from(size).ok()?)?)
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn invalid(what: &str) -> Error {
    Error::new(Kind::Invalid, what)
}

fn ends_early() -> Error {
    invalid("it is damaged: a part of it lies behind its end")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A module with these strings about itself.
    pub(crate) fn module(machine: u16, strings: &[&str]) -> Vec<u8> {
        let info: Vec<u8> = strings.iter().flat_map(|text| text.bytes().chain([0])).collect();
        let names = b"\0.shstrtab\0.modinfo\0";
        let table = (64 + info.len() + names.len()).next_multiple_of(8);
        let mut file = vec![0; table + 3 * SECTION_HEADER];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"\x7fELF\x02\x01\x01");
        put(16, &1_u16.to_le_bytes());
        put(18, &machine.to_le_bytes());
        put(40, &(table as u64).to_le_bytes());
        put(52, &64_u16.to_le_bytes());
        for (at, value) in [(58, SECTION_HEADER as u16), (60, 3), (62, 1)] {
            put(at, &value.to_le_bytes());
        }
        put(64, &info);
        put(64 + info.len(), names);
        let sections = [(1_u32, 64 + info.len(), names.len()), (11, 64, info.len())];
        for (index, (name, offset, size)) in (1..).zip(sections) {
            let at = table + index * SECTION_HEADER;
            put(at, &name.to_le_bytes());
            put(at + 24, &(offset as u64).to_le_bytes());
            put(at + 32, &(size as u64).to_le_bytes());
        }
        file
    }

    #[test]
    fn a_module_says_what_it_needs() {
        let strings = ["license=GPL", "depends=virtio-ring,virtio", "vermagic=6.1.0-1 SMP mod_unload "];
        let info = module_info(&module(X86_64, &strings)).expect("a module");
        assert_eq!(info.depends, ["virtio_ring", "virtio"]);
        assert_eq!((info.release.as_str(), info.machine), ("6.1.0-1", X86_64));
        let info = module_info(&module(AARCH64, &["depends="])).expect("a module");
        assert_eq!(info, ModuleInfo { machine: AARCH64, ..ModuleInfo::default() });
    }

    #[test]
    fn strings_elsewhere_in_the_file_say_nothing() {
        let mut file = module(X86_64, &["depends=a"]);
        file.extend_from_slice(b"\0depends=b\0");
        assert_eq!(module_info(&file).expect("a module").depends, ["a"]);
    }

    #[test]
    fn hostile_files_are_refused() {
        let good = module(X86_64, &["depends=a"]);
        for length in 0..good.len() {
            assert!(module_info(&good[..length]).is_err(), "{length}");
        }
        for at in (0..16).chain(40..48).chain(58..64) {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            drop(module_info(&bad));
        }
        let mut bad = good.clone();
        bad[40..48].fill(0xff);
        assert!(module_info(&bad).is_err());
        let table = u64::from_le_bytes(good[40..48].try_into().expect("eight")) as usize;
        for field in [24, 32] {
            let mut bad = good.clone();
            bad[table + 2 * 64 + field..][..8].fill(0xff);
            assert!(module_info(&bad).is_err(), "{field}");
        }
        assert!(module_info(b"").is_err());
        let mut without = good;
        without[60] = 2;
        assert!(module_info(&without).expect_err("no section").to_string().contains(".modinfo"));
    }
}
