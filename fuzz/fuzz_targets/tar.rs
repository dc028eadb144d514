//! Any bytes as a layer, plain or compressed: refused, or converted and given back bit for bit.
#![no_main]

use std::io::{Seek, sink};

use holm_store::convert::{LayerFiles, Limits, Options, convert};
use holm_store::erofs::Image;
use holm_store::tarmeta::{Expected, restore_tar};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (erofs, mut tarmeta) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let limits = Limits { image: 64 << 20, ..Limits::default() };
    let options = Options { limits, allow_missing_end: true, ..Options::default() };
    let files = LayerFiles { erofs: &erofs, tarmeta: &tarmeta };
    let Ok(converted) = convert(input, &files, &options) else { return };
    tarmeta.rewind().expect("a file can be rewound");
    let image = Image::open(erofs).expect("a converted image opens");
    assert_eq!(image.seal(&converted.diff_id).expect("it is read"), converted.erofs_seal);
    let expected = Expected { diff_id: converted.diff_id, size: converted.tar_size };
    restore_tar(&image, tarmeta, sink(), &expected).expect("the archive comes back");
});
