//! Any bytes as a layer, plain or compressed: refused, or converted and given back bit for bit; then as a layer over itself.
#![no_main]

use std::io::{Seek, sink};

use holm_store::convert::{LayerFiles, Limits, Options, convert};
use holm_store::erofs::Image;
use holm_store::tarmeta::{Expected, restore_tar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Some(image) = layer(input, &[]) {
        layer(input, &[image]);
    }
});

/// Converts a layer over its parents, and demands what holds of each that is not refused.
fn layer(input: &[u8], parents: &[Image]) -> Option<Image> {
    let (erofs, mut tarmeta) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let limits = Limits { image: 64 << 20, ..Limits::default() };
    let options = Options { parents, limits, allow_missing_end: true, ..Options::default() };
    let files = LayerFiles { erofs: &erofs, tarmeta: &tarmeta };
    let converted = convert(input, &files, &options).ok()?;
    tarmeta.rewind().expect("a file can be rewound");
    let image = Image::open(erofs).expect("a converted image opens");
    assert_eq!(image.seal(&converted.diff_id).expect("it is read"), converted.erofs_seal);
    let expected = Expected { diff_id: converted.diff_id, size: converted.tar_size };
    restore_tar(&image, tarmeta, sink(), &expected).expect("the archive comes back");
    Some(image)
}
