//! A pull from a server of the test's, and what must hold of the store where it fails.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_tests::{Holm, OciImage, Origin, Tarball, host};

/// Bytes that no compressor makes smaller.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// An image with one layer of about 200 KiB.
pub fn image() -> OciImage {
    OciImage::packed(&[Tarball::new().file("noise", 0o644, noise(200_000)).finish()])
}

/// Everything that has its final name. The next command that looks at images removes what nothing needs.
pub fn named(holm: &Holm) -> BTreeMap<PathBuf, String> {
    let mut tree = host::tree(&holm.root());
    tree.retain(|path, facts| {
        ["blobs", "layers", "refs"].iter().any(|name| path.starts_with(name)) && !facts.starts_with('4')
    });
    tree
}

/// How a server's image is called.
pub fn name(origin: &Origin) -> String {
    format!("{}/team/app:v1", origin.address)
}

/// A pull that must fail, name the registry and all of `words`, and give nothing its final name.
#[track_caller]
pub fn refused(holm: &Holm, origin: &Origin, words: &[&str]) -> String {
    let before = named(holm);
    let words: Vec<_> = words.iter().copied().chain([origin.address.as_str()]).collect();
    let text = holm.run(["pull", "-q", &name(origin)]).refused(1, &words);
    assert_eq!(holm.ok(["images", "-q"]), "", "{text}");
    holm.run(["rmi", &name(origin)]).expect_code(1);
    assert_eq!(named(holm), before, "{text}");
    text
}

/// A pull that must work.
#[track_caller]
pub fn pulled(holm: &Holm, origin: &Origin) {
    holm.ok(["pull", "-q", &name(origin)]);
    holm.ok(["image", "inspect", &name(origin)]);
}

/// Tests cases side by side: most of their time goes into the patience of a pull.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| cases.into_iter().for_each(|case| drop(scope.spawn(|| test(case)))));
}
