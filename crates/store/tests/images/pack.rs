//! Layers packed for a registry.

use std::io::Read;

use holm_store::Kind;
use holm_store::compression::{Compression, Decoder, detect};

use crate::scratch::{Scratch, archive};

#[test]
fn a_packed_layer_gives_its_tar_back() {
    let scratch = Scratch::new();
    let store = &scratch.store;
    scratch.import("packed", "content");
    let key = store.resolve("packed").expect("there").diff_ids[0];
    for compression in [Compression::Gzip, Compression::Zstd] {
        let packed = store.pack_layer(&key, compression).expect("pack");
        assert_eq!(store.pack_layer(&key, compression).expect("again"), packed);
        assert_eq!(store.layer_record(&key).expect("record").received, Some(packed.clone()));
        let file = store.packed(&packed.digest).expect("read").expect("there");
        assert_eq!(file.metadata().expect("metadata").len(), packed.size);
        let (found, input) = detect(file).expect("a stream");
        let mut content = Vec::new();
        Decoder::new(found, input).expect("a decoder").read_to_end(&mut content).expect("decode");
        assert_eq!((found, content), (compression, archive(&[("etc/content", b"content")])));
    }
    assert_eq!(store.pack_layer(&key, Compression::Xz).expect_err("unknown").kind(), Kind::Invalid);
    assert_eq!(scratch.count("ingest"), 0);
}
