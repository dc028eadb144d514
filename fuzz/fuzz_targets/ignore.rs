//! Any text as an ignore file, and its last line as a path: a walk leaves the path out wherever it does not look for it.
#![no_main]

use holm_build::ignore::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let at = bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
    let (file, path) = bytes.split_at(at);
    let Ok(ignore) = Ignore::parse(".dockerignore", file) else { return };
    let path = String::from_utf8_lossy(path);
    let names: Vec<&str> = path.trim().split('/').filter(|name| !matches!(*name, "" | "." | "..")).collect();
    let Some((name, above)) = names.split_last() else { return };
    let mut directory = ignore.root();
    let mut looked = true;
    for name in above {
        directory = ignore.enter(&directory, name.as_bytes());
        looked &= directory.may_include();
    }
    let excluded = ignore.excludes_in(&directory, name.as_bytes());
    assert!(looked || excluded);
    assert_eq!(excluded, ignore.excludes(&names.join("/")));
});
