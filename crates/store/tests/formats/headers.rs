//! What single headers say: every form of names, numbers and attributes.

use holm_store::convert::Kind;
use holm_tar::Mtime;

use crate::archive::{Archive, Item, seal};
use crate::layer::Layer;

fn kind(tar: &[u8]) -> Kind {
    Layer::make(tar, &Default::default()).err().expect("the archive is taken").kind()
}

#[test]
fn v7_headers_have_no_magic_and_directories_end_in_a_slash() {
    let v7 = |item: &Item| {
        let mut block = item.header();
        block[257..345].fill(0);
        block[156] = if item.flag == b'0' || item.flag == b'5' { 0 } else { item.flag };
        seal(&mut block);
        block
    };
    let tar = Archive::default()
        .raw(&v7(&Item::directory("d/").mode(0o700)))
        .raw(&v7(&Item::file("d/f", b"seven")))
        .padded(b"seven")
        .end();
    let layer = Layer::checked(&tar, &[]);
    assert_eq!(layer.inode("d").mode(), 0o700);
    assert_eq!(layer.data("d/f"), b"seven");
}

#[test]
fn ustar_prefixes_come_before_the_name_but_not_in_gnu_headers() {
    let mut block = Item::file("f", b"x").header();
    block[345..348].copy_from_slice(b"p/q");
    seal(&mut block);
    let mut gnu = block;
    gnu[257..265].copy_from_slice(b"ustar  \0");
    seal(&mut gnu);
    let tar = Archive::default()
        .item(&Item::directory("p"))
        .item(&Item::directory("p/q"))
        .raw(&block)
        .padded(b"x")
        .raw(&gnu)
        .padded(b"y")
        .end();
    let layer = Layer::checked(&tar, &[]);
    assert_eq!((layer.data("p/q/f"), layer.data("f")), (b"x".to_vec(), b"y".to_vec()));
}

#[test]
fn gnu_long_names_and_pax_names() {
    let (long, target) = ("n".repeat(180), "t".repeat(300));
    let gnu =
        |flag, text: &str| Item { data: format!("{text}\0").into(), ..Item::new(flag, "././@LongLink") };
    let tar = Archive::default()
        .item(&gnu(b'K', &target))
        .item(&gnu(b'L', &long))
        .item(&Item::symlink("short", "short"))
        .pax(b'x', &[("path", "pax-näme".as_bytes()), ("linkpath", b"pax target")])
        .item(&Item::symlink("short", "short"))
        .end();
    let layer = Layer::checked(&tar, &[]);
    assert_eq!(layer.image.read_link(&layer.inode(&long)).unwrap(), target.as_bytes());
    assert_eq!(layer.image.read_link(&layer.inode("pax-näme")).unwrap(), b"pax target");
    assert_eq!(layer.names("/").len(), 2);
}

#[test]
fn pax_overrides_size_owner_and_time() {
    let records: [(&str, &[u8]); 4] =
        [("size", b"5"), ("uid", b"4000000"), ("gid", b"4294967294"), ("mtime", b"-1.25")];
    let item = Item { size: Some(0), ..Item::file("f", b"") };
    let tar = Archive::default().pax(b'x', &records).item(&item).padded(b"hello").end();
    let layer = Layer::checked(&tar, &[]);
    let inode = layer.inode("f");
    assert_eq!(layer.data("f"), b"hello");
    assert_eq!((inode.uid(), inode.gid()), (4_000_000, 4_294_967_294));
    assert_eq!(inode.mtime(), Mtime { seconds: -2, nanoseconds: 750_000_000 });
}

#[test]
fn global_headers_hold_until_overridden() {
    let tar = Archive::default()
        .pax(b'g', &[("comment", b"from git archive"), ("mtime", b"1000")])
        .item(&Item::file("a", b""))
        .pax(b'x', &[("mtime", b"2000")])
        .item(&Item::file("b", b""))
        .item(&Item::file("c", b""))
        .pax(b'g', &[("comment", b"at the end")])
        .end();
    let layer = Layer::checked(&tar, &[]);
    let seconds = |path| layer.inode(path).mtime().seconds;
    assert_eq!((seconds("a"), seconds("b"), seconds("c")), (1000, 2000, 1000));
}

#[test]
fn attributes_are_kept_byte_for_byte_or_dropped_by_name() {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl = [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255];
    let records: [(&str, &[u8]); 8] = [
        ("SCHILY.xattr.security.capability", &capability),
        ("SCHILY.xattr.user.lines", b"a\nb\0c=d\n"),
        ("SCHILY.xattr.user.empty", b""),
        ("SCHILY.xattr.system.posix_acl_access", &acl),
        ("LIBARCHIVE.xattr.user.lib%61rchive", b"AAEC"),
        ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.system.nfs4_acl", b"?"),
    ];
    let tar = Archive::default().pax(b'x', &records).item(&Item::file("f", b"x")).end();
    let layer = Layer::checked(&tar, &[]);
    let kept = layer.image.xattrs(&layer.inode("f")).unwrap();
    let kept: Vec<_> =
        kept.iter().map(|(name, value)| (name.escape_ascii().to_string(), &value[..])).collect();
    let expected: [(String, &[u8]); 5] = [
        ("security.capability".into(), &capability),
        ("system.posix_acl_access".into(), &acl),
        ("user.empty".into(), b""),
        ("user.libarchive".into(), &[0, 1, 2]),
        ("user.lines".into(), b"a\nb\0c=d\n"),
    ];
    assert_eq!(kept, expected);
    assert!(layer.converted.self_contained);
}

#[test]
fn large_attributes_reach_over_blocks_and_too_large_ones_are_refused() {
    let with = |value: &[u8], count: usize| {
        let names: Vec<String> = (0..count).map(|n| format!("SCHILY.xattr.user.n{n}")).collect();
        let records: Vec<_> = names.iter().map(|name| (name.as_str(), value)).collect();
        Archive::default().pax(b'x', &records).item(&Item::symlink("l", "target")).end()
    };
    let layer = Layer::checked(&with(&[7; 6000], 3), &[]);
    assert_eq!(layer.xattr("l", "user.n2"), Some(vec![7; 6000]));
    assert_eq!(layer.image.read_link(&layer.inode("l")).unwrap(), b"target");
    assert_eq!(kind(&with(&[7; 65_536], 1)), Kind::TooLong);
    assert_eq!(kind(&with(&[7; 60_000], 5)), Kind::TooLong);
}

#[test]
fn numbers_in_base_256() {
    let mut block = Item::file("f", b"").header();
    block[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    block[136..148].copy_from_slice(&[0xff; 12]);
    seal(&mut block);
    let layer = Layer::checked(&Archive::default().raw(&block).end(), &[]);
    assert_eq!((layer.inode("f").uid(), layer.inode("f").mtime().seconds), (0x7fff_ffff, -1));
    block[124..136].copy_from_slice(&[0xff; 12]);
    seal(&mut block);
    assert_eq!(kind(&Archive::default().raw(&block).end()), Kind::Corrupt, "a negative size");
}

#[test]
fn old_sparse_entries_with_extension_headers() {
    let segments: Vec<(u64, u64)> = (0..40).map(|n| (n * 10_000 + 100, 600)).chain([(500_000, 0)]).collect();
    let pair = |(offset, length): &(u64, u64)| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    let data: Vec<u8> = (0..40 * 600u32).map(|n| (n / 600) as u8 + 1).collect();
    let mut header = Item { flag: b'S', ..Item::file("s", &data) }.header();
    header[257..265].copy_from_slice(b"ustar  \0");
    header[345..508].fill(0);
    header[386..482].copy_from_slice(&segments[..4].iter().flat_map(pair).collect::<Vec<_>>());
    header[482] = 1;
    header[483..495].copy_from_slice(format!("{:011o}\0", 500_000).as_bytes());
    seal(&mut header);
    let mut archive = Archive::default().raw(&header);
    let blocks: Vec<_> = segments[4..].chunks(21).collect();
    for (index, chunk) in blocks.iter().enumerate() {
        let mut block = [0; 512];
        let pairs: Vec<u8> = chunk.iter().flat_map(pair).collect();
        block[..pairs.len()].copy_from_slice(&pairs);
        block[504] = u8::from(index + 1 < blocks.len());
        archive = archive.raw(&block);
    }
    let layer = Layer::checked(&archive.padded(&data).item(&Item::file("after", b"x")).end(), &[]);
    let mut expected = vec![0; 500_000];
    for (index, (offset, length)) in segments.iter().enumerate() {
        expected[*offset as usize..(offset + length) as usize].fill(index as u8 + 1);
    }
    assert!(layer.data("s") == expected);
    assert_eq!(layer.data("after"), b"x");
}

#[test]
fn sparse_entries_of_the_three_pax_versions() {
    let mut expected = vec![0; 1 << 20];
    expected[5000..5006].copy_from_slice(b"middle");
    let item = |data: &[u8]| Item::file("GNUSparseFile.1/s", data);
    let old = [
        ("GNU.sparse.size", &b"1048576"[..]),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.offset", b"5000"),
        ("GNU.sparse.numbytes", b"6"),
        ("GNU.sparse.offset", b"1048576"),
        ("GNU.sparse.numbytes", b"0"),
        ("path", b"s"),
    ];
    let middle = [
        ("GNU.sparse.size", &b"1048576"[..]),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.map", b"5000,6,1048576,0"),
    ];
    let new = [
        ("GNU.sparse.major", &b"1"[..]),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"1048576"),
    ];
    let mut map = b"2\n5000\n6\n1048576\n0\n".to_vec();
    map.resize(512, 0);
    map.extend_from_slice(b"middle");
    for (records, data) in [(&old[..], &b"middle"[..]), (&middle, b"middle"), (&new, &map)] {
        let layer = Layer::checked(&Archive::default().pax(b'x', records).item(&item(data)).end(), &[]);
        assert!(layer.data("s") == expected);
        assert!(layer.image.length() < 64 << 10, "holes take no room");
    }
}

#[test]
fn sparse_maps_that_lie_are_refused() {
    for map in ["0,6,3,6", "1048570,12", "0,5", "0,7", "18446744073709551615,6", "1,2,3"] {
        let records = [("GNU.sparse.size", &b"1048576"[..]), ("GNU.sparse.map", map.as_bytes())];
        let tar = Archive::default().pax(b'x', &records).item(&Item::file("s", b"middle")).end();
        assert_eq!(kind(&tar), Kind::Corrupt, "{map}");
    }
    let huge = [("GNU.sparse.size", &b"9223372036854775807"[..]), ("GNU.sparse.map", b"0,6")];
    let tar = Archive::default().pax(b'x', &huge).item(&Item::file("s", b"middle")).end();
    assert_eq!(kind(&tar), Kind::TooMany);
}

#[test]
fn devices_and_pipes() {
    let tar = Archive::of(&[
        Item::character("null", (1, 3)).mode(0o666),
        Item { device: (259, 70_000), ..Item::new(b'4', "disk") }.owner(0, 6),
        Item::new(b'6', "pipe"),
        Item { flag: b'7', ..Item::file("contiguous", b"c") },
    ]);
    let layer = Layer::checked(&tar, &[]);
    assert_eq!((layer.inode("null").device(), layer.inode("disk").device()), ((1, 3), (259, 70_000)));
    assert_eq!(layer.inode("disk").gid(), 6);
    assert_eq!(layer.inode("pipe").file_type, holm_store::erofs::FileType::Fifo);
    assert_eq!(layer.data("contiguous"), b"c");
    assert_eq!(kind(&Archive::of(&[Item::character("far", (4096, 0))])), Kind::Unsupported);
    assert_eq!(kind(&Archive::of(&[Item::new(b'M', "volume")])), Kind::Unsupported);
}

#[test]
fn headers_without_end_are_refused() {
    let mut archive = Archive::default();
    for _ in 0..40 {
        archive = archive.pax(b'x', &[("comment", &[b'c'; 40_000])]);
    }
    assert_eq!(kind(&archive.item(&Item::file("f", b"")).end()), Kind::TooLong);
    let global = Archive::default().pax(b'g', &[("comment", &[b'c'; 70_000])]);
    assert_eq!(kind(&global.item(&Item::file("f", b"")).end()), Kind::TooLong);
    let claims = Item { size: Some(1 << 32), ..Item::new(b'x', "x") };
    assert_eq!(kind(&Archive::default().raw(&claims.header()).end()), Kind::TooLong);
}

#[test]
fn what_is_no_archive_is_called_so() {
    for input in [&b""[..], b"x", b"#!/bin/sh\necho hello\n", &[b'x'; 4096], b"PK\x03\x04", &[0x1f, 0x8b, 8]]
    {
        let error = Layer::make(input, &Default::default()).err().expect("the input is taken");
        let expected = if input.starts_with(&[0x1f]) { Kind::Truncated } else { Kind::NotATar };
        assert_eq!(error.kind(), expected, "{error}");
        assert!(!error.to_string().contains('\n'));
    }
    let gzipped = crate::tools::through("gzip", &[], b"not an archive either");
    assert_eq!(kind(&gzipped), Kind::NotATar);
}

#[test]
fn an_empty_archive_is_an_empty_layer() {
    let layer = Layer::checked(&[0; 1024], &[]);
    assert_eq!((layer.converted.entries, layer.names("/").len()), (0, 0));
    assert_eq!(layer.inode("/").mode(), 0o755);
}
