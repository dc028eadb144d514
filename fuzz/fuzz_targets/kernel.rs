//! Any bytes as a Debian package, as a kernel and as a module: refused, or read, and what was read is sound.
#![no_main]

use holm_store::kernel::{elf, image, package};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(module) = elf::module_info(input) {
        assert!(elf::machine(input).is_ok_and(|machine| machine == module.machine));
    }
    if let Ok(identity) = image::identify(input) {
        assert!(!identity.release.is_empty() && identity.release.len() <= 64);
        assert!(!identity.release.contains('/'));
    }
    let Ok(package) = package::read(input, tempfile::tempfile().expect("a file")) else { return };
    let Ok(identity) = image::identify(&package.image) else { return };
    if let Ok(chosen) = package.modules.choose(&identity) {
        assert!(chosen.modules.len() < 100);
        assert!(chosen.modules.iter().all(|(name, _)| !name.contains(['/', '-'])));
    }
});
