//! Cases of single entries: metadata, names, sparse files, very many of them.

use holm_tests::Tarball;

use super::cases::layer;
use super::expected::{Case, case};

fn one(name: &'static str, fill: fn(&mut Tarball) -> &mut Tarball) -> Case {
    case(name, vec![layer(fill)])
}

pub fn metadata() -> Vec<Case> {
    vec![
        one("modes", |tar| {
            for mode in [0o000, 0o777, 0o4755, 0o2755, 0o6711, 0o1644, 0o7777] {
                tar.file(&format!("f{mode:o}"), mode, "x").directory(&format!("d{mode:o}"), mode);
                tar.fifo(&format!("p{mode:o}"), mode);
            }
            tar
        }),
        one("owners", |tar| {
            for number in [1, 1000, 65_534, 100_000, 2_000_000] {
                tar.owner(number, number + 1).file(&format!("f{number}"), 0o4755, "x");
                tar.symlink(&format!("l{number}"), "x").directory(&format!("d{number}"), 0o755);
            }
            tar
        }),
        one("large-owner", |tar| {
            tar.record("uid", "4294967294").record("gid", "3000000000").file("f", 0o644, "x")
        }),
        one("times", |tar| {
            for (name, seconds, nanoseconds) in [
                ("epoch", 0, 0),
                ("nanoseconds", 1_600_000_000, 123_456_789),
                ("one-nanosecond", 1_600_000_000, 1),
                ("before-1970", -1, 0),
                ("between", -1, 500_000_000),
                ("long-before-1970", -1_000_000_000, 999_999_999),
                ("after-2038", 3_000_000_000, 5),
            ] {
                tar.time(seconds, nanoseconds).file(name, 0o644, "x");
                tar.directory(&format!("d-{name}"), 0o755).file(&format!("d-{name}/in"), 0o644, "x");
                tar.symlink(&format!("l-{name}"), "x").fifo(&format!("p-{name}"), 0o600);
            }
            tar
        }),
        one("devices", |tar| {
            tar.character_device("null", 0o666, 1, 3).block_device("disk", 0o660, 8, 17);
            tar.character_device("large", 0o600, 4095, 0o3_777_777).block_device("zero", 0o600, 0, 0);
            tar.fifo("pipe", 0o640)
        }),
        one("attributes", |tar| {
            tar.attribute("user.a", "1").attribute("user.b", b"\0\xff\n=").file("f", 0o644, "x");
            tar.attribute("user.empty", "").directory("d", 0o755);
            tar.attribute("security.capability", b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
            tar.file("ping", 0o755, "x");
            tar.attribute("trusted.x", "t").file("trusted", 0o644, "x");
            tar.attribute("user.large", vec![b'v'; 3000]).file("large", 0o644, "x")
        })
        .but(
            "d",
            "d 0755 0:0 1700000000.000000000 [user.empty=]",
            "Go's reader of tars takes an empty value for none",
        ),
        one("access-lists", |tar| {
            // Version 2; owner rw, user 1000 r, group r, mask r, others r (acl(5), in the kernel's form).
            let list = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\
                \x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
            tar.attribute("system.posix_acl_access", list).file("listed", 0o644, "x");
            tar.attribute("system.posix_acl_default", list).directory("default", 0o755)
        }),
        case(
            "attributes-across-layers",
            vec![
                layer(|tar| {
                    tar.attribute("user.a", "1").attribute("user.b", "2").directory("d", 0o755);
                    tar.attribute("user.a", "1").file("d/f", 0o644, "x");
                    tar.attribute("user.a", "1").file("d/g", 0o644, "x")
                }),
                layer(|tar| {
                    tar.attribute("user.c", "3").directory("d", 0o755).file("d/f", 0o644, "x");
                    tar.hard_link("d/h", "d/g")
                }),
            ],
        ),
        case(
            "attributes-go-with-their-entry",
            vec![
                layer(|tar| tar.attribute("user.a", "1").directory("d", 0o755)),
                layer(|tar| tar.directory("d", 0o700)),
            ],
        ),
        one("empty", |tar| tar),
        case("an-empty-layer-over-one", vec![layer(|tar| tar.file("x", 0o644, "x")), layer(|tar| tar)]),
    ]
}

pub fn names() -> Vec<Case> {
    vec![
        one("long", |tar| {
            tar.file(&"n".repeat(255), 0o644, "x").directory(&"d".repeat(120), 0o755);
            tar.symlink("l", &"t".repeat(1000)).file("x", 0o644, "x")
        }),
        one("deep", |tar| {
            for depth in 1..=100 {
                tar.directory(&"deep-down/".repeat(depth), 0o755);
            }
            let path = format!("{}file", "deep-down/".repeat(100));
            tar.file(&path, 0o644, "x").hard_link("link", &path)
        }),
        one("odd", |tar| {
            tar.file("new\nline", 0o644, "x").file("tab\tand \"quotes\" \\ ", 0o644, "x");
            tar.file("\u{e4}\u{20ac}\u{1f980}", 0o644, "x").file(" ", 0o644, "x").file("...", 0o644, "x");
            tar.file("-rf", 0o644, "x").file("*", 0o644, "x").symlink("l\n", "\u{e4}\n")
        }),
        one("not-utf-8", |tar| {
            tar.file(b"\xff\xfe", 0o644, "x").directory(b"d\x80", 0o755).file(b"d\x80/\xc3", 0o644, "x");
            tar.symlink(b"l\xe9", b"\xe9t\xe9")
        }),
        one("upper-and-lower-case", |tar| tar.file("A", 0o644, "1").file("a", 0o644, "2")),
        one("like-a-whiteout", |tar| {
            tar.file(".wha", 0o644, "x").file(".whiteout", 0o644, "x").file("x.wh.y", 0o644, "x")
        }),
    ]
}

/// A file in the form that GNU tar calls 1.0 of pax: a map of decimal lines in front of the data.
fn holes(tar: &mut Tarball, path: &str, size: u64, parts: &[(u64, &[u8])]) {
    let mut map = format!("{}\n", parts.len());
    for (offset, data) in parts {
        map += &format!("{offset}\n{}\n", data.len());
    }
    let mut content = map.into_bytes();
    content.resize(content.len().next_multiple_of(512), 0);
    parts.iter().for_each(|(_, data)| content.extend_from_slice(data));
    tar.record("GNU.sparse.major", "1").record("GNU.sparse.minor", "0");
    tar.record("GNU.sparse.name", path).record("GNU.sparse.realsize", size.to_string());
    tar.file(&format!("GNUSparseFile.0/{path}"), 0o644, content);
}

pub fn sparse() -> Vec<Case> {
    let block = vec![b'x'; 4096];
    let mut tar = Tarball::new();
    holes(&mut tar, "hole-first", 1 << 20, &[((1 << 20) - 4096, &block)]);
    holes(&mut tar, "hole-last", 1 << 20, &[(0, &block), (1 << 20, b"")]);
    holes(&mut tar, "only-a-hole", 3 << 20, &[(3 << 20, b"")]);
    holes(&mut tar, "between", 10_000_000, &[(0, b"a"), (5_000_001, b"middle"), (9_999_999, b"z")]);
    holes(&mut tar, "odd-sizes", 12_345, &[(1, b"abc"), (512, b"d"), (8191, b"ef"), (12_345, b"")]);
    let below = tar.finish();
    let above = layer(|tar| tar.file("over", 0o644, "x").whiteout("hole-last"));
    vec![case("sparse", vec![below.clone()]), case("sparse-below", vec![below, above])]
}

pub fn many() -> Vec<Case> {
    let mut tar = Tarball::new();
    tar.directory("many", 0o755);
    for number in 0..100_000 {
        tar.file(&format!("many/{number}"), 0o644, "");
    }
    let above = layer(|tar| {
        tar.file("many/50000", 0o600, "changed").whiteout("many/99999").file("many/new", 0o644, "n")
    });
    vec![case("many", vec![tar.finish(), above])]
}
