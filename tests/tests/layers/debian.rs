//! A real base: Debian's release as mmdebstrap makes it, and a layer over it that meddles with it.

use holm_tests::debian;

use super::cases::layer;
use super::expected::{Case, case};

pub fn cases() -> Vec<Case> {
    let above = layer(|tar| {
        tar.whiteout("usr/share/doc")
            .directory("usr/share/doc", 0o755)
            .file("usr/share/doc/new", 0o644, "n")
            .whiteout("etc/apt/apt.conf.d");
        tar.file("tmp/x", 0o644, "x").file("var/tmp/x", 0o644, "x").whiteout("sbin").directory("sbin", 0o755);
        tar.hard_link("usr/local/bin/p", "usr/bin/perl").hard_link("opt/sh", "bin/sh");
        tar.file("bin/tool", 0o755, "through the link `bin`").file(
            "usr/share/zoneinfo/.wh..wh..opq",
            0o644,
            "",
        );
        tar.owner(33, 33).directory("var/www", 0o755).file("var/www/index.html", 0o640, "w")
    });
    let base = std::fs::read(debian::tarball(&[])).expect("a file of the test's");
    vec![case("debian", vec![base, above])]
}
