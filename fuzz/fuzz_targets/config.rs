//! A runtime configuration: whatever a caller or an image's author writes, reading and checking it ends, and does not
//! panic.
#![no_main]

use holm_runtime::bundle::{check, parse};
use holm_runtime::seccomp::{Architecture, Filter, compile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|document: &[u8]| {
    let Ok(spec) = parse(document, &mut Vec::new()) else { return };
    let _ = check(&spec);
    let Some(seccomp) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) else { return };
    if let Ok(filter) = Filter::from_oci(seccomp, Architecture::NATIVE) {
        let _ = compile(&filter, Architecture::NATIVE);
    }
});
