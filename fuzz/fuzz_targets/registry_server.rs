//! What clients of the registry's server send: paths, parameters, ranges, manifests, credentials; and what an administrator
//! writes: users and rights. Reading any of it ends and does not panic, and what is understood stays within its bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| holm_registry_server::parse_untrusted(input));
