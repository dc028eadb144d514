//! Any text as the address of something remote: what is a repository has a directory that stays in it, and nothing that Git would
//! take for an option.
#![no_main]

use holm_build::remote::Remote;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(Remote::Repository(repository))) = Remote::parse(&String::from_utf8_lossy(bytes)) else { return };
    assert!(!repository.url.starts_with('-'));
    let directory = repository.directory.unwrap_or_default();
    assert!(!directory.split('/').any(|name| name == ".."));
});
