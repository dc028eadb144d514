//! Cases of what layers do to each other: whiteouts, replacements, links, directories that are left out.

use holm_tests::Tarball;

use super::expected::{Case, case};

/// What fills a layer.
type Fill = fn(&mut Tarball) -> &mut Tarball;

/// A layer.
pub fn layer(fill: Fill) -> Vec<u8> {
    fill(&mut Tarball::new()).finish()
}

/// A layer with two directories and a few files, which the others change.
fn base() -> Vec<u8> {
    layer(|tar| {
        tar.directory("a", 0o751).file("a/one", 0o644, "1").file("a/two", 0o600, "2");
        tar.directory("a/deep", 0o700).file("a/deep/three", 0o644, "3");
        tar.owner(1000, 2000).directory("b", 0o1777).file("b/four", 0o4755, "4").owner(0, 0);
        tar.symlink("to-a", "a").symlink("to-b", "/b").symlink("nowhere", "none").file("plain", 0o644, "p")
    })
}

/// A layer over the base.
fn over(name: &'static str, fill: Fill) -> Case {
    case(name, vec![base(), layer(fill)])
}

pub fn removed() -> Vec<Case> {
    vec![
        case("base", vec![base()]),
        over("file", |tar| tar.whiteout("a/one")),
        over("file-at-the-root", |tar| tar.whiteout("plain")),
        over("directory", |tar| tar.whiteout("a")),
        over("link", |tar| tar.whiteout("to-a")),
        over("what-is-not-there", |tar| tar.whiteout("a/none")),
        over("with-its-directory", |tar| tar.directory("a", 0o755).whiteout("a/one")),
        over("opaque", |tar| {
            tar.directory("a", 0o755).file("a/.wh..wh..opq", 0o644, "").file("a/new", 0o644, "n")
        }),
        over("opaque-last", |tar| {
            tar.directory("a", 0o755).file("a/new", 0o644, "n").file("a/.wh..wh..opq", 0o644, "")
        }),
        over("opaque-without-its-directory", |tar| tar.file("a/.wh..wh..opq", 0o644, "")),
        over("opaque-below", |tar| tar.file("a/deep/.wh..wh..opq", 0o644, "")),
        over("opaque-and-one-of-them-again", |tar| {
            tar.file("a/.wh..wh..opq", 0o644, "").file("a/one", 0o640, "again")
        }),
        over("opaque-root", |tar| tar.file(".wh..wh..opq", 0o644, "").file("only", 0o644, "o")),
        over("and-added-again", |tar| tar.whiteout("a/one").file("a/one", 0o640, "new")),
        over("after-it-was-added", |tar| tar.file("a/one", 0o640, "new").whiteout("a/one")),
        over("directory-and-added-again", |tar| {
            tar.whiteout("a").directory("a", 0o700).file("a/new", 0o644, "n")
        }),
        over("directory-after-it-was-added", |tar| {
            tar.directory("a", 0o700).file("a/new", 0o644, "n").whiteout("a")
        })
        .but("a", "d 0700 0:0 1700000000.000000000", "umoci leaves the time at which it empties it"),
    ]
}

pub fn removed_in_several_layers() -> Vec<Case> {
    vec![
        case("twice", vec![base(), layer(|tar| tar.whiteout("a/one")), layer(|tar| tar.whiteout("a/one"))]),
        case(
            "and-back-in-a-third-layer",
            vec![
                base(),
                layer(|tar| tar.whiteout("a")),
                layer(|tar| tar.directory("a", 0o711).file("a/late", 0o644, "l")),
            ],
        ),
        case(
            "directory-of-several-layers",
            vec![
                base(),
                layer(|tar| tar.file("a/second", 0o644, "s")),
                layer(|tar| tar.file("a/.wh..wh..opq", 0o644, "").file("a/third", 0o644, "t")),
                layer(|tar| tar.whiteout("a/third").file("a/fourth", 0o644, "f")),
            ],
        ),
        case(
            "in-the-lowest-layer",
            vec![layer(|tar| {
                tar.directory("a", 0o755).whiteout("a/x").file("a/.wh..wh..opq", 0o644, "");
                tar.file("a/y", 0o644, "y")
            })],
        ),
    ]
}

pub fn replaced() -> Vec<Case> {
    vec![
        over("file-by-file", |tar| tar.file("a/one", 0o755, "another")),
        over("file-by-directory", |tar| tar.directory("a/one", 0o711).file("a/one/x", 0o644, "x")),
        over("file-by-link", |tar| tar.symlink("a/one", "two")),
        over("file-by-fifo", |tar| tar.fifo("a/one", 0o600)),
        over("directory-by-file", |tar| tar.file("a", 0o644, "no directory")),
        over("directory-by-link", |tar| tar.symlink("a/deep", "../b")),
        over("directory-by-link-and-files-under-it", |tar| {
            tar.symlink("a/deep", "../b").file("a/deep/five", 0o644, "5")
        }),
        over("directory-by-absolute-link-and-files-under-it", |tar| {
            tar.symlink("a/deep", "/b").file("a/deep/five", 0o644, "5")
        }),
        over("link-by-file", |tar| tar.file("to-a", 0o644, "f")),
        over("link-by-link", |tar| tar.symlink("to-a", "b")),
        over("link-by-directory", |tar| tar.directory("to-a", 0o755).file("to-a/x", 0o644, "x")),
        over("files-under-a-link", |tar| tar.file("to-a/five", 0o644, "5")),
        over("files-under-an-absolute-link", |tar| tar.file("to-b/five", 0o644, "5")),
        over("metadata-of-a-directory", |tar| tar.owner(5, 6).time(1_000_000_000, 0).directory("a", 0o2750)),
        case(
            "directory-by-file-by-directory",
            vec![
                base(),
                layer(|tar| tar.file("a", 0o644, "f")),
                layer(|tar| tar.directory("a", 0o755).file("a/late", 0o644, "l")),
            ],
        ),
        over("one-entry-twice", |tar| tar.file("x", 0o644, "first").file("x", 0o600, "second")),
        over("file-then-directory", |tar| tar.file("x", 0o644, "f").directory("x", 0o700)),
        over("directory-twice", |tar| {
            tar.directory("x", 0o700).file("x/in", 0o644, "i").directory("x", 0o755)
        }),
    ]
}

pub fn linked() -> Vec<Case> {
    let two_names = layer(|tar| tar.file("x", 0o644, "x").hard_link("y", "x"));
    vec![
        over("in-a-layer", |tar| {
            tar.file("x", 0o644, "x").hard_link("y", "x").directory("c", 0o755).hard_link("c/z", "y")
        }),
        over("to-a-link", |tar| tar.symlink("x", "nowhere").hard_link("y", "x")),
        over("to-a-fifo", |tar| tar.fifo("x", 0o600).hard_link("y", "x")),
        over("over-a-file-of-the-parents", |tar| tar.file("x", 0o644, "x").hard_link("plain", "x")),
        over("to-what-is-replaced-later", |tar| {
            tar.file("x", 0o644, "x").hard_link("y", "x").file("x", 0o644, "other")
        }),
        over("with-a-slash-in-front", |tar| tar.file("x", 0o644, "x").hard_link("y", "/x")),
        over("into-the-parents", |tar| tar.hard_link("a/again", "a/one")),
        over("into-the-parents-from-another-directory", |tar| tar.hard_link("b/again", "a/one")),
        over("twice-into-the-parents", |tar| tar.hard_link("x", "plain").hard_link("y", "plain")),
        over("to-a-link-of-the-parents", |tar| tar.hard_link("x", "nowhere")),
        over("to-a-file-of-the-parents-that-goes", |tar| tar.hard_link("x", "plain").whiteout("plain")),
        case(
            "to-one-of-two-names-of-the-parents",
            vec![two_names.clone(), layer(|tar| tar.hard_link("z", "x"))],
        ),
        case("one-of-two-names-goes", vec![two_names, layer(|tar| tar.whiteout("x"))]).but(
            "y",
            "f 0644 0:0 1700000000.000000000 1 2d711642b726 2 links, first y",
            "the layer below has both names still",
        ),
        case(
            "through-three-layers",
            vec![
                base(),
                layer(|tar| tar.hard_link("second", "plain")),
                layer(|tar| tar.hard_link("third", "second")),
            ],
        ),
    ]
}

pub fn left_out() -> Vec<Case> {
    vec![
        over("of-the-parents", |tar| tar.file("a/deep/new", 0o644, "n")),
        over("sticky-of-the-parents", |tar| tar.file("b/new", 0o644, "n")),
        over("nobody-has-it", |tar| tar.file("x/y/z", 0o644, "z")).but_times_of(&["x", "x/y"]),
        over("comes-later", |tar| tar.file("x/y", 0o644, "y").owner(7, 8).directory("x", 0o750)),
        case("in-the-lowest", vec![layer(|tar| tar.file("x/y", 0o644, "y"))]).but_times_of(&["x"]),
        case(
            "tmp",
            vec![
                layer(|tar| tar.owner(3, 4).directory("tmp", 0o1777)),
                layer(|tar| tar.owner(1000, 1000).file("tmp/x", 0o644, "x")),
            ],
        ),
        case(
            "with-attributes",
            vec![
                layer(|tar| tar.attribute("user.kept", "yes").directory("d", 0o2775)),
                layer(|tar| tar.file("d/x", 0o644, "x")),
            ],
        ),
        case(
            "under-what-was-removed",
            vec![base(), layer(|tar| tar.whiteout("a")), layer(|tar| tar.file("a/x", 0o644, "x"))],
        )
        .but_times_of(&["a"]),
        case(
            "with-a-dot-in-front",
            vec![
                layer(|tar| tar.directory("./", 0o755).directory("./a/", 0o750).file("./a/one", 0o644, "1")),
                layer(|tar| tar.directory("a/", 0o700).file("./a/two", 0o644, "2")),
                layer(|tar| tar.file("/a/three", 0o644, "3")),
            ],
        ),
    ]
}
