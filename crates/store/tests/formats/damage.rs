//! Damaged and hostile input: archives, images and tar metadata that are cut or changed at random
//! (seeded) places give errors or results, never panics, and a restored archive is right or an error.

use std::io::{self, Cursor, Read};

use holm_store::convert::{Kind, Options};
use holm_store::erofs::{FileType, Image};
use holm_store::tarmeta::restore_tar;

use crate::archive::{Archive, Item};
use crate::layer::Layer;

/// A small generator (xorshift64*), so that every run sees the same damage.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }

    /// Changes a few bytes, cuts, or repeats a part.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self.below(8) {
            0 => bytes.truncate(self.below(bytes.len())),
            1 => {
                let (from, to) = (self.below(bytes.len()), self.below(bytes.len()));
                let length = self.below(bytes.len() - from.max(to)).min(600);
                bytes.copy_within(from..from + length, to);
            }
            _ => {
                for _ in 0..=self.below(4) {
                    let at = self.below(bytes.len());
                    bytes[at] = [0, 0xff, 0x80, b'7', self.below(256) as u8][self.below(5)];
                }
            }
        }
        bytes
    }
}

fn sample() -> Vec<u8> {
    let mut map = b"2\n0\n5\n70000\n5\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"0123456789");
    Archive::default()
        .item(&Item::directory("d"))
        .pax(b'x', &[("path", b"d/long"), ("SCHILY.xattr.user.a", b"value"), ("mtime", b"12.5")])
        .item(&Item::file("x", &[b'd'; 9000]))
        .item(&Item { data: b"d/gnu-long\0".to_vec(), ..Item::new(b'L', "././@LongLink") })
        .item(&Item::file("x", b"small"))
        .item(&Item::hard_link("hard", "d/long"))
        .item(&Item::symlink("soft", "d"))
        .item(&Item::file("soft/through", b"x"))
        .pax(
            b'x',
            &[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"sparse"),
                ("GNU.sparse.realsize", b"80000"),
            ],
        )
        .item(&Item::file("x", &map))
        .item(&Item::character("null", (1, 3)))
        .end()
}

/// Everything that can be read of an image, with bounds of its own.
fn walk(image: &Image) {
    let mut pending = vec![image.root().map(|root| root.number)];
    let mut left = 300;
    while let Some(number) = pending.pop() {
        left -= 1;
        let Some(inode) = number.and_then(|number| image.inode(number)).ok().filter(|_| left > 0) else {
            continue;
        };
        let _ = (image.xattrs(&inode), image.read_link(&inode));
        for offset in [0, 4095, inode.size() / 2, inode.size().saturating_sub(1), u64::MAX] {
            let _ = image.read_data(&inode, offset, &mut [0; 9000]);
        }
        if inode.file_type == FileType::Directory {
            let mut visit = |listed: holm_store::erofs::Listed<'_>| {
                let _ = image.lookup(&inode, listed.name);
                pending.push(Ok(listed.inode));
                Ok(())
            };
            let _ = image.read_directory(&inode, &mut visit);
        }
    }
}

#[test]
fn archives_cut_anywhere_are_truncated() {
    let tar = sample();
    let end = tar.len() - 1024;
    for cut in (1..end).step_by(37).chain((512..=end).step_by(512)) {
        let error =
            Layer::make(&tar[..cut], &Options::default()).err().unwrap_or_else(|| panic!("cut at {cut}"));
        let expected = if cut < 512 { Kind::NotATar } else { Kind::Truncated };
        assert_eq!(error.kind(), expected, "cut at {cut}: {error}");
        assert!(cut < 512 || error.to_string().contains(&format!("at byte {cut}")), "cut at {cut}: {error}");
    }
    let options = Options { allow_missing_end: true, ..Options::default() };
    Layer::make(&tar[..end], &options).expect("an archive without its end is taken when asked for");
    Layer::make(&tar[..end + 512], &Options::default()).expect("one block of zeros is enough at the end");
}

#[test]
fn holes_do_not_make_a_small_archive_a_large_image() {
    let map: Vec<String> = (0..256u64).map(|at| format!("{},1", at << 32)).collect();
    let sparse = |size: &str| {
        let records = [
            ("GNU.sparse.size", size.as_bytes()),
            ("GNU.sparse.numblocks", b"256".as_slice()),
            ("GNU.sparse.map", map.join(",").as_bytes()),
            ("GNU.sparse.name", b"sparse"),
        ]
        .map(|(key, value)| (key, value.to_vec()));
        let records: Vec<(&str, &[u8])> = records.iter().map(|(key, value)| (*key, &value[..])).collect();
        Archive::default().pax(b'x', &records).item(&Item::file("x", &[b'd'; 256]))
    };
    let make = |tar: Vec<u8>| Layer::make(&tar[..], &Options::default());
    let error = make(sparse("72057594037927936").end()).err().expect("a chunk for every byte is taken");
    assert_eq!(error.kind(), Kind::TooMany);
    assert!(error.to_string().contains("holes"), "{error}");
    let tebibyte = sparse("1099515822080");
    let layer = make(tebibyte.clone().end()).expect("what few zeros represent is taken");
    assert!(layer.converted.erofs_size < 128 << 20, "{}", layer.converted.erofs_size);
    let many = tebibyte.0.repeat(3);
    assert!(make(Archive(many).end()).is_err(), "what all files of a layer are filled up with counts");
}

#[test]
fn damaged_archives_never_panic() {
    let tar = sample();
    let mut random = Random(1);
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..3000 {
        let damaged = random.damage(&tar);
        match Layer::make(&damaged[..], &Options::default()) {
            Ok(layer) => {
                walk(&layer.image);
                assert!(layer.tar() == damaged, "what is taken must come back");
                taken += 1;
            }
            Err(error) => {
                assert!(!error.to_string().contains('\n') && error.kind() != Kind::Io, "{error}");
                refused += 1;
            }
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} taken, {refused} refused");
}

#[test]
fn damaged_headers_with_valid_checksums_never_panic() {
    let tar = sample();
    let mut random = Random(2);
    for _ in 0..3000 {
        let mut damaged = tar.clone();
        let at = random.below(tar.len() / 512) * 512;
        let block: &mut [u8; 512] = (&mut damaged[at..at + 512]).try_into().unwrap();
        for _ in 0..=random.below(3) {
            block[random.below(512)] = [0, 0xff, 0x80, b'7', b'1', b'S', b'/'][random.below(7)];
        }
        crate::archive::seal(block);
        if let Ok(layer) = Layer::make(&damaged[..], &Options::default()) {
            walk(&layer.image);
            assert!(layer.tar() == damaged);
        }
    }
}

#[test]
fn damaged_images_never_panic_and_are_noticed() {
    let tar = sample();
    let layer = Layer::checked(&tar, &[]);
    let (bytes, tarmeta) = (layer.erofs_bytes(), layer.tarmeta_bytes());
    let mut random = Random(3);
    let mut opened = 0;
    for _ in 0..2000 {
        let damaged = random.damage(&bytes);
        let changed = damaged != bytes;
        let Ok(image) = Image::open(damaged) else { continue };
        opened += 1;
        walk(&image);
        let mut restored = Vec::new();
        let result = restore_tar(&image, Cursor::new(&tarmeta), &mut restored, &layer.expected());
        assert!(result.is_err() || restored == tar);
        let sealed =
            image.seal(&layer.converted.diff_id).is_ok_and(|seal| seal == layer.converted.erofs_seal);
        if changed && sealed && result.is_ok() {
            // Only what no file shows is left: the ends of blocks after the ends of files.
            assert_eq!(image.root().unwrap().number, layer.inode("/").number);
        }
    }
    assert!(opened > 200, "{opened}");
}

#[test]
fn damaged_metadata_of_images_is_noticed_by_the_seal() {
    let layer = Layer::checked(&sample(), &[]);
    let bytes = layer.erofs_bytes();
    let seal =
        |bytes: Vec<u8>| Image::open(bytes).and_then(|image| image.seal(&layer.converted.diff_id)).ok();
    assert_eq!(seal(bytes.clone()), Some(layer.converted.erofs_seal));
    let metadata = bytes.len() - 4096;
    for at in (0..4096).step_by(13).chain((metadata..bytes.len()).step_by(13)) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert_ne!(seal(damaged), Some(layer.converted.erofs_seal), "byte {at}");
    }
}

#[test]
fn damaged_tar_metadata_never_panics_and_never_lies() {
    let tar = sample();
    let layer = Layer::checked(&tar, &[]);
    let packed = layer.tarmeta_bytes();
    let mut plain = Vec::new();
    zstd::stream::copy_decode(&packed[..], &mut plain).unwrap();
    let mut random = Random(4);
    for turn in 0..4000 {
        let damaged = match turn % 2 {
            0 => random.damage(&packed),
            _ => zstd::encode_all(&random.damage(&plain)[..], 1).unwrap(),
        };
        let mut restored = Vec::new();
        match restore_tar(&layer.image, &damaged[..], &mut restored, &layer.expected()) {
            Ok(()) => assert!(restored == tar),
            Err(error) => assert!(matches!(error.kind(), Kind::Corrupt | Kind::Truncated), "{error:?}"),
        }
        assert!(restored.len() <= tar.len(), "no more than expected is written");
    }
}

#[test]
fn a_source_that_fails_is_no_damage() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the connection was lost"))
        }
    }
    let tar = sample();
    for packed in [tar.clone(), zstd::encode_all(&tar[..], 1).unwrap()] {
        let half = packed.len() / 2;
        let error =
            Layer::make(packed[..half].chain(Fails), &Options::default()).err().expect("half is taken");
        assert_eq!(error.kind(), Kind::Io, "{error}");
        assert!(std::error::Error::source(&error).is_some());
    }
}
