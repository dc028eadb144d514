//! Any bytes as the records of tar metadata over a fixed image: never more output than expected.
#![no_main]

use std::io::{self, Write};
use std::sync::LazyLock;

use holm_store::convert::{LayerFiles, Options, convert};
use holm_store::erofs::Image;
use holm_store::tarmeta::{Expected, restore_tar};
use libfuzzer_sys::fuzz_target;

const SIZE: u64 = 1 << 20;

static IMAGE: LazyLock<Image> = LazyLock::new(|| {
    let (erofs, tarmeta) = (tempfile::tempfile().expect("a file"), tempfile::tempfile().expect("a file"));
    let files = LayerFiles { erofs: &erofs, tarmeta: &tarmeta };
    convert(&[0; 1024][..], &files, &Options::default()).expect("an empty archive is a layer");
    Image::open(erofs).expect("a converted image opens")
});

/// Counts, and refuses to take more than was announced.
struct Bounded(u64);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len() as u64).expect("no more than the expected size is written");
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let expected = Expected { diff_id: [0; 32], size: SIZE };
    let _ = restore_tar(&IMAGE, input, Bounded(SIZE), &expected);
    let framed = [b"holm tarmeta 1\n", input].concat();
    let packed = zstd::encode_all(&framed[..], 1).expect("memory is written");
    let _ = restore_tar(&IMAGE, &packed[..], Bounded(SIZE), &expected);
});
