//! What an archive means: replaced names, links, missing directories, whiteouts, parents.

use holm_store::convert::{Kind, Limits, Options};
use holm_store::erofs::{FileType, Image};

use crate::archive::{Archive, Item};
use crate::layer::Layer;

fn layer(items: &[Item], parents: &[Image]) -> Layer {
    Layer::checked(&Archive::of(items), parents)
}

fn names(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}

fn refused(items: &[Item], parents: &[Image]) -> (Kind, String) {
    let options = Options { parents, ..Options::default() };
    let error = Layer::make(&Archive::of(items)[..], &options).err().expect("the archive is taken");
    let text = error.to_string();
    assert!(!text.contains('\n') && text.len() < 300, "{text}");
    (error.kind(), text)
}

/// Images of layers, lowest first, each converted over those below.
fn parents(layers: &[&[Item]]) -> Vec<Image> {
    let mut images = Vec::new();
    for items in layers {
        let next = layer(items, &images).image;
        images.push(next);
    }
    images
}

#[test]
fn a_later_entry_replaces_an_earlier_one() {
    let layer = layer(
        &[
            Item::file("a", b"first"),
            Item::directory("d").mode(0o700),
            Item::file("d/inside", b"kept"),
            Item::file("a", b"second"),
            Item::directory("d").mode(0o711),
            Item::symlink("s", "a"),
            Item::file("s", b"no longer a link"),
            Item::directory("gone"),
            Item::file("gone/f", b""),
            Item::file("gone", b"a file now"),
        ],
        &[],
    );
    assert_eq!(layer.data("a"), b"second");
    assert_eq!((layer.inode("d").mode(), layer.data("d/inside")), (0o711, b"kept".to_vec()));
    assert_eq!(layer.data("s"), b"no longer a link");
    assert_eq!(layer.data("gone"), b"a file now");
    assert!(layer.converted.self_contained);
}

#[test]
fn hard_links_share_an_inode_wherever_their_target_is_named_from() {
    let layer = layer(
        &[
            Item::directory("d"),
            Item::file("d/f", b"data").mode(0o600),
            Item::hard_link("x", "/d/f"),
            Item::hard_link("y", "./d/f"),
            Item::hard_link("y", "y"),
            Item::file("d/f", b"new"),
            Item::symlink("l", "d/f"),
            Item::hard_link("m", "l"),
        ],
        &[],
    );
    assert_eq!((layer.inode("x").number, layer.inode("x").links()), (layer.inode("y").number, 2));
    assert_eq!((layer.data("x"), layer.data("d/f")), (b"data".to_vec(), b"new".to_vec()));
    assert_eq!(layer.inode("d/f").links(), 1);
    assert_eq!((layer.inode("m").file_type, layer.inode("m").links()), (FileType::Symlink, 2));
}

#[test]
fn hard_links_to_nothing_or_out_of_the_layer_are_refused() {
    assert_eq!(refused(&[Item::hard_link("x", "missing")], &[]).0, Kind::NotFound);
    assert_eq!(refused(&[Item::hard_link("x", "../../etc/shadow")], &[]).0, Kind::Escape);
    assert_eq!(refused(&[Item::directory("d"), Item::hard_link("x", "d")], &[]).0, Kind::Corrupt);
    assert_eq!(refused(&[Item::hard_link("x", "/")], &[]).0, Kind::NotFound);
    assert_eq!(refused(&[Item::file("f", b""), Item::hard_link("x", "f/g")], &[]).0, Kind::NotFound);
}

#[test]
fn names_that_lead_out_are_refused() {
    let (kind, text) = refused(&[Item::file("a/../../etc/passwd", b"")], &[]);
    assert_eq!(kind, Kind::Escape);
    assert!(text.contains("a/../../etc/passwd"), "{text}");
    let deep =
        Archive::default().pax(b'x', &[("path", &b"d/".repeat(10_000))]).item(&Item::directory("d")).end();
    let error = Layer::make(&deep[..], &Options::default()).err().expect("it is too deep");
    assert_eq!(error.kind(), Kind::TooLong);
    assert!(error.to_string().len() < 250, "{error}");
    let root = refused(&[Item::file("./", b"")], &[]);
    assert_eq!(root.0, Kind::Corrupt);
}

#[test]
fn links_in_the_way_are_followed_within_the_root() {
    let layer = layer(
        &[
            Item::directory("usr"),
            Item::directory("usr/lib"),
            Item::symlink("lib", "usr/lib"),
            Item::file("lib/a", b"1"),
            Item::symlink("out", "../../../../usr"),
            Item::file("out/b", b"2"),
            Item::symlink("usr/abs", "/lib"),
            Item::file("usr/abs/c", b"3"),
            Item::symlink("loop", "loop"),
        ],
        &[],
    );
    assert_eq!(layer.inode("lib").file_type, FileType::Symlink);
    assert_eq!(layer.names("usr/lib"), ["a", "c"]);
    assert_eq!(layer.data("usr/b"), b"2");
    assert_eq!(layer.names("/"), ["lib", "loop", "out", "usr"]);
    assert_eq!(refused(&[Item::symlink("loop", "loop"), Item::file("loop/x", b"")], &[]).0, Kind::Corrupt);
    let (kind, text) = refused(&[Item::file("f", b""), Item::file("f/x", b"")], &[]);
    assert_eq!(kind, Kind::Corrupt);
    assert!(text.contains("f/x") && text.contains("no directory"), "{text}");
}

#[test]
fn missing_directories_are_made_and_make_the_layer_depend() {
    let layer = layer(&[Item::file("a/b/c", b"x")], &[]);
    assert_eq!((layer.inode("a").mode(), layer.inode("a/b").links()), (0o755, 2));
    assert!(!layer.converted.self_contained, "over a parent, `a` may be another directory");
}

#[test]
fn missing_directories_are_those_of_the_parents() {
    let below = parents(&[
        &[Item::directory("tmp").mode(0o1777).owner(5, 6), Item::directory("opt"), Item::file("opt/f", b"")],
        &[Item::directory("opt").mode(0o750)],
    ]);
    let above = layer(&[Item::file("tmp/x", b""), Item::file("opt/g", b"")], &below);
    let tmp = above.inode("tmp");
    assert_eq!((tmp.mode(), tmp.uid(), tmp.gid(), tmp.mtime().seconds), (0o1777, 5, 6, 1_700_000_000));
    assert_eq!(above.inode("opt").mode(), 0o750);
    assert!(!above.converted.self_contained);
    let whole = layer(&[Item::directory("tmp"), Item::file("tmp/x", b"")], &below);
    assert!(whole.converted.self_contained);
}

#[test]
fn links_of_the_parents_are_followed_too() {
    let below = parents(&[&[
        Item::directory("usr"),
        Item::directory("usr/lib").mode(0o711),
        Item::symlink("lib", "usr/lib"),
    ]]);
    let above = layer(&[Item::file("lib/a", b"1"), Item::file("lib/b", b"2")], &below);
    assert_eq!(
        (above.names("/"), above.names("usr/lib")),
        (vec!["usr".to_owned()], vec!["a".into(), "b".into()])
    );
    assert_eq!(above.inode("usr/lib").mode(), 0o711);
    let replaced = layer(&[Item::directory("lib"), Item::file("lib/a", b"1")], &below);
    assert_eq!(replaced.names("/"), ["lib"], "an entry for the directory replaces the link");
    assert!(replaced.converted.self_contained);
}

#[test]
fn hard_links_into_the_parents_copy_what_is_seen_there() {
    let below = parents(&[
        &[
            Item::directory("d"),
            Item::file("d/f", b"from below").mode(0o4755).owner(7, 8),
            Item::file("d/removed", b""),
            Item::symlink("d/l", "f"),
            Item::directory("hidden"),
            Item::file("hidden/h", b""),
        ],
        &[
            Item::directory("d"),
            Item::file("d/.wh.removed", b""),
            Item::directory("hidden"),
            Item::file("hidden/.wh..wh..opq", b""),
        ],
    ]);
    let above = layer(
        &[
            Item::hard_link("x", "d/f"),
            Item::hard_link("y", "/d/f"),
            Item::hard_link("z", "d/l"),
            Item::hard_link("w", "y"),
        ],
        &below,
    );
    assert_eq!(above.data("x"), b"from below");
    let x = above.inode("x");
    assert_eq!((x.number, x.links(), x.mode(), x.uid()), (above.inode("y").number, 4, 0o4755, 7));
    assert_eq!(
        above.inode("d/f").number,
        x.number,
        "what the parents have under that name is hidden by the copy"
    );
    assert_eq!(above.image.read_link(&above.inode("z")).unwrap(), b"f");
    assert!(!above.converted.self_contained);
    assert_eq!((above.names("/"), above.names("d")), (names("d w x y z"), names("f l")));
    for target in ["d/removed", "hidden/h", "d/none"] {
        assert_eq!(refused(&[Item::hard_link("x", target)], &below).0, Kind::NotFound, "{target}");
    }
    let own = [Item::directory("d"), Item::file("d/.wh.f", b""), Item::hard_link("x", "d/f")];
    assert_eq!(refused(&own, &below).0, Kind::NotFound, "the layer itself removed it");
    let opaque = [Item::directory("d"), Item::file("d/.wh..wh..opq", b""), Item::hard_link("x", "d/f")];
    assert_eq!(refused(&opaque, &below).0, Kind::NotFound, "the layer itself hides it");
}

#[test]
fn copies_have_the_names_that_are_still_seen() {
    let below = parents(&[
        &[
            Item::directory("d"),
            Item::file("f", b"x"),
            Item::hard_link("d/g", "f"),
            Item::hard_link("d/h", "f"),
            Item::hard_link("gone", "f"),
        ],
        &[Item::file(".wh.gone", b"")],
    ]);
    let above = layer(&[Item::hard_link("x", "f"), Item::file("d/h", b"another")], &below);
    let links =
        [above.inode("x"), above.inode("f"), above.inode("d/g")].map(|inode| (inode.number, inode.links()));
    assert!(links.iter().all(|link| *link == (links[0].0, 3)), "{links:?}");
    assert_eq!((above.data("d/h"), above.names("/")), (b"another".to_vec(), names("d f x")));
    let removed =
        layer(&[Item::hard_link("x", "f"), Item::file(".wh.d", b""), Item::file(".wh.f", b"")], &below);
    assert_eq!(
        (removed.inode("x").links(), removed.is_whiteout("f"), removed.is_whiteout("d")),
        (1, true, true)
    );
}

#[test]
fn an_opaque_root_is_a_whiteout_of_each_name() {
    let below = parents(&[
        &[Item::directory("d"), Item::file("f", b""), Item::file("gone", b""), Item::directory("kept")],
        &[Item::file(".wh.gone", b""), Item::file("second", b"")],
    ]);
    let above = layer(
        &[
            Item::directory("kept"),
            Item::file(".wh..wh..opq", b""),
            Item::directory("d"),
            Item::file("new", b""),
        ],
        &below,
    );
    assert_eq!(above.names("/"), names("d f kept new second"));
    assert!(above.is_whiteout("f") && above.is_whiteout("second") && !above.is_opaque("/"));
    assert!(above.is_opaque("d") && above.is_opaque("kept"));
    assert!(!above.converted.self_contained);
}

#[test]
fn whiteouts_take_overlays_form() {
    let below = parents(&[&[
        Item::directory("d"),
        Item::file("d/f", b""),
        Item::directory("e"),
        Item::directory("g"),
    ]]);
    let above = layer(
        &[
            Item::directory("d"),
            Item::file("d/.wh.f", b"data that nobody needs"),
            Item::directory("e").mode(0o700),
            Item::file("e/.wh..wh..opq", b""),
            Item::file("e/new", b""),
            Item::directory("e").mode(0o711),
            Item::file(".wh..wh.plnk", b"of aufs"),
            Item::directory(".wh..wh.orph"),
            Item::file(".wh..wh.orph/1", b"of aufs"),
            Item::character("g", (0, 0)),
        ],
        &below,
    );
    assert!(above.is_whiteout("d/f") && above.is_whiteout("g"));
    assert!(above.is_opaque("e") && !above.is_opaque("d"));
    assert_eq!((above.inode("e").mode(), above.names("e")), (0o711, vec!["new".to_owned()]));
    assert_eq!(above.names("/"), ["d", "e", "g"]);
    assert!(above.converted.self_contained);
}

#[test]
fn whiteouts_speak_of_the_parents_only_wherever_they_stand() {
    let below = parents(&[&[Item::directory("d"), Item::file("d/f", b""), Item::file("f", b"")]]);
    for before in [true, false] {
        let whiteouts = [Item::file(".wh.d", b""), Item::file(".wh.f", b"")];
        let own = [Item::directory("d"), Item::file("d/new", b""), Item::file("f", b"own")];
        let items = if before { [&whiteouts[..], &own].concat() } else { [&own[..], &whiteouts].concat() };
        let above = layer(&items, &below);
        assert!(above.is_opaque("d"), "what is below `d` stays removed");
        assert_eq!((above.names("d"), above.data("f")), (vec!["new".to_owned()], b"own".to_vec()));
    }
    let implicit = layer(&[Item::file(".wh.d", b""), Item::file("d/new", b"")], &below);
    assert!(implicit.is_opaque("d"));
}

#[test]
fn whiteouts_without_parents_are_dropped_and_remembered() {
    let base = layer(
        &[
            Item::directory("d"),
            Item::file("d/.wh.f", b""),
            Item::file("d/.wh..wh..opq", b""),
            Item::character("g", (0, 0)),
        ],
        &[],
    );
    assert_eq!(
        (base.names("/"), base.names("d").len(), base.is_opaque("d")),
        (vec!["d".to_owned()], 0, false)
    );
    assert!(!base.converted.self_contained, "over parents it would hide something");
}

#[test]
fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", "d/.wh..", ".wh...", ".wh.d/f"] {
        assert_eq!(refused(&[Item::file(name, b"")], &[]).0, Kind::Corrupt, "{name}");
    }
}

#[test]
fn more_than_the_limits_is_refused() {
    let items: Vec<_> = (0..100).map(|n| Item::file(&format!("file-{n}"), b"0123456789")).collect();
    let tar = Archive::of(&items);
    let with = |limits| Layer::make(&tar[..], &Options { limits, ..Options::default() });
    let cases = [
        Limits { entries: 100, ..Limits::default() },
        Limits { metadata: 1000, ..Limits::default() },
        Limits { image: 100_000, ..Limits::default() },
    ];
    for limits in cases {
        let error = with(limits.clone()).err().expect("more than the limit is taken");
        assert_eq!(error.kind(), Kind::TooMany, "{limits:?}: {error}");
    }
    assert!(with(Limits { entries: 101, ..Limits::default() }).is_ok(), "one hundred files and the root");
}

#[test]
fn repeated_entries_count() {
    let items: Vec<_> = (0..101).map(|_| Item::directory("d")).collect();
    let limits = Limits { entries: 100, ..Limits::default() };
    let error = Layer::make(&Archive::of(&items)[..], &Options { limits, ..Options::default() }).err();
    assert_eq!(error.map(|error| error.kind()), Some(Kind::TooMany));
}

#[test]
fn links_lead_through_a_bounded_number_of_components() {
    let target = "d/../".repeat(400);
    let chain = |links: usize| {
        let mut archive = Archive::default().item(&Item::directory("d"));
        let mut path = String::new();
        for at in 0..links {
            let name = format!("l{at}");
            archive = archive.pax(b'x', &[("linkpath", target.as_bytes())]).item(&Item::symlink(&name, ""));
            path.push_str(&name);
            path.push('/');
        }
        let path = path + "f";
        archive.pax(b'x', &[("path", path.as_bytes())]).item(&Item::file("x", b"")).end()
    };
    Layer::make(&chain(4)[..], &Options::default()).expect("some links are followed");
    let error = Layer::make(&chain(39)[..], &Options::default()).err().expect("too many steps");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains("links"), "{error}");
}

#[test]
fn what_the_layer_puts_over_a_link_of_the_parents_counts_at_once() {
    let below = parents(&[&[Item::directory("c"), Item::symlink("a", "c")]]);
    let before = Item::file("a/x", b"");
    let after = Item::file("a/y", b"");
    let whiteout = layer(&[before.clone(), Item::file(".wh.a", b""), after.clone()], &below);
    assert_eq!((whiteout.names("a"), whiteout.names("c")), (vec!["y".to_owned()], vec!["x".to_owned()]));
    assert_eq!(refused(&[before.clone(), Item::file("a", b""), after.clone()], &below).0, Kind::Corrupt);
    let directory = layer(&[before, Item::directory("a"), after], &below);
    assert_eq!(directory.names("a"), ["y"]);
}

#[test]
fn a_copied_file_keeps_its_holes() {
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.size", b"1073741824"),
        ("GNU.sparse.numblocks", b"2"),
        ("GNU.sparse.map", b"4096,5,1073741819,5"),
        ("GNU.sparse.name", b"sparse"),
    ];
    let tar = Archive::default().pax(b'x', &records).item(&Item::file("x", b"0123456789")).end();
    let below = [Layer::checked(&tar, &[]).image];
    let above = layer(&[Item::hard_link("copy", "sparse")], &below);
    assert!(above.converted.erofs_size < 16 << 20, "{}", above.converted.erofs_size);
    let copy = above.inode("copy");
    assert_eq!(copy.size(), 1 << 30);
    let mut bytes = [1; 7];
    above.image.read_data(&copy, 4095, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\x0001234\0");
    above.image.read_data(&copy, (1 << 30) - 7, &mut bytes).unwrap();
    assert_eq!(&bytes, b"\0\x0056789");
}
