//! Many entries and large files.

use std::io::{self, Read};

use holm_store::convert::Options;

use crate::archive::{Archive, Item};
use crate::layer::Layer;

#[test]
fn a_folder_of_a_hundred_thousand() {
    let mut archive = Archive::default().item(&Item::directory("d"));
    for n in 0..100_000u32 {
        // Not in order, so that sorting is seen.
        archive = archive.item(&Item::file(
            &format!("d/{}", n.wrapping_mul(7919) % 100_000),
            &n.to_le_bytes()[..(n % 4) as usize],
        ));
    }
    let layer = Layer::checked(&archive.end(), &[]);
    assert_eq!(layer.names("d").len(), 100_000);
    for n in (0..100_000u32).step_by(997).chain([99_999]) {
        assert_eq!(
            layer.data(&format!("d/{}", n.wrapping_mul(7919) % 100_000)),
            n.to_le_bytes()[..(n % 4) as usize]
        );
    }
    assert!(layer.find("d/100000").is_none() && layer.find("d/!").is_none() && layer.find("d/~").is_none());
}

#[test]
fn paths_as_long_as_linux_takes() {
    let path = "d/".repeat(2047) + "f";
    let tar =
        Archive::default().pax(b'x', &[("path", path.as_bytes())]).item(&Item::file("x", b"deep")).end();
    let layer = Layer::checked(&tar, &[]);
    assert_eq!(layer.data(&path), b"deep");
}

/// A stream of `length` bytes that are their position, in eight bytes each.
struct Counter {
    position: u64,
    length: u64,
}

impl Read for Counter {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = (self.length - self.position).min(buffer.len() as u64 & !7) as usize;
        for chunk in buffer[..count].chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.position.to_le_bytes());
            self.position += 8;
        }
        Ok(count)
    }
}

#[test]
#[ignore = "writes 4 GiB; run with `cargo test -p holm-store --test formats -- --ignored`"]
fn a_file_larger_than_four_gib() {
    let size = (4 << 30) + (1 << 20);
    let header = Item { size: Some(size), ..Item::file("large", b"") }.header();
    let after = Archive::of(&[Item::file("after", b"x")]);
    let input = (&header[..]).chain(Counter { position: 0, length: size }).chain(&after[..]);
    let layer = Layer::make(input, &Options::default()).unwrap();
    layer.check();
    let inode = layer.inode("large");
    assert_eq!(inode.size(), size);
    for position in [0, 1 << 32, size - 8] {
        let mut bytes = [0; 8];
        assert_eq!(layer.image.read_data(&inode, position, &mut bytes).unwrap(), 8);
        assert_eq!(u64::from_le_bytes(bytes), position);
    }
    assert_eq!(layer.data("after"), b"x");
    let expected = layer.expected();
    holm_store::tarmeta::restore_tar(&layer.image, &layer.tarmeta, io::sink(), &expected).unwrap();
}
