//! A real base: Debian's release as mmdebstrap makes it, and a layer over it that meddles with it.

use std::fs;
use std::process::Command;
use std::time::Duration;

use holm_tests::{Call, debian};

use super::cases::layer;
use super::expected::{Case, case};

/// The base as a tar, made once and kept with what guests are made of.
fn base() -> Vec<u8> {
    let whole = debian::cache().join("bookworm-minbase.tar");
    if !whole.exists() {
        fs::create_dir_all(debian::cache()).expect("a directory");
        let part = whole.with_extension("unfinished.tar");
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=minbase", "bookworm"]).arg(&part);
        Call::new(command).timeout(Duration::from_secs(600)).run().ok();
        fs::rename(part, &whole).expect("a file of the test's");
    }
    fs::read(whole).expect("a file of the test's")
}

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
    vec![case("debian", vec![base(), above])]
}
