//! Archives of real tools, images in a real kernel, and pinned digests.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use holm_store::compression::Compression;
use holm_store::convert::Options;
use sha2::{Digest, Sha256};

use crate::archive::{Archive, Item};
use crate::layer::Layer;

/// Runs a command that must succeed.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&output.stdout));
    output.stdout
}

/// Passes bytes through a filter.
pub fn through(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    command.args(arguments).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// A tree with one of everything.
const TREE: &str = r#"
set -e
cd "$1"
mkdir -p empty plain/deep/er "$(printf 'd%.0s' $(seq 200))" many
chmod 1777 empty; chmod 2750 plain; chown 12:34 plain
printf hello > plain/file; chmod 4755 plain/file; chown 1000:65534 plain/file
: > plain/nothing
head -c 4096 /dev/zero > plain/block; head -c 100001 /dev/urandom > plain/random
ln plain/file plain/deep/hard; ln plain/file hard
ln -s plain/file soft; ln -s "$(printf 't%.0s' $(seq 3900))" long-link; ln plain/file "$(printf 'd%.0s' $(seq 200))/hard"
mknod null c 1 3; mknod disk b 259 70000; mkfifo pipe
truncate -s 300M sparse; printf start | dd of=sparse conv=notrunc status=none
printf middle | dd of=sparse bs=1 seek=123456789 conv=notrunc status=none
truncate -s 5G hole
for n in $(seq 1200); do : > many/$n-and-a-name-that-is-a-little-longer; done
touch -d '2001-02-03 04:05:06.123456789' plain/file; touch -h -d '1969-12-31 23:59:58.5Z' soft
touch -d '2038-01-20' plain
"#;

/// Attributes need a tool of their own.
const ATTRIBUTES: &str = r#"
import os, sys
os.chdir(sys.argv[1])
os.setxattr("plain/file", "user.note", b"a\nb\0c")
os.setxattr("plain/file", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
os.setxattr("plain/random", "system.posix_acl_access", bytes.fromhex(
    "02000000" "01000600ffffffff" "02000400e8030000" "04000400ffffffff" "10000600ffffffff" "20000400ffffffff"))
os.setxattr("soft", "trusted.link", b"t", follow_symlinks=False)
os.setxattr("many", "user.big", b"x" * 2000)
"#;

fn make_tree(root: &Path) {
    fs::create_dir(root).unwrap();
    run(Command::new("bash").args(["-c", TREE, "tree"]).arg(root));
    run(Command::new("python3").args(["-c", ATTRIBUTES]).arg(root));
}

/// Mounts the image in a namespace of its own and compares it with `tree`.
fn compare(layer: &Layer, work: &Path, tree: &Path) {
    let (image, mountpoint) = (work.join("layer.erofs"), work.join("mountpoint"));
    fs::create_dir_all(&mountpoint).unwrap();
    fs::write(&image, layer.erofs_bytes()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/compare_trees.py");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "python3"]).arg(script);
    let count = run(command.arg(&image).arg(&mountpoint).arg(tree));
    assert!(String::from_utf8_lossy(&count).trim().parse::<u32>().unwrap() > 1);
}

#[test]
fn archives_of_gnu_tar_are_mounted_as_they_were() {
    let work = tempfile::tempdir().unwrap();
    let tree = work.path().join("tree");
    make_tree(&tree);
    let variants: [&[&str]; 4] = [
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=gnu", "--sparse"],
    ];
    for arguments in variants {
        let (tar, extracted) = (work.path().join("layer.tar"), work.path().join("extracted"));
        let attributes: &[&str] =
            if arguments[0] == "--format=gnu" { &[] } else { &["--xattrs", "--xattrs-include=*"] };
        run(Command::new("tar")
            .args(arguments)
            .args(attributes)
            .arg("-C")
            .arg(&tree)
            .arg("-cf")
            .arg(&tar)
            .arg("."));
        fs::create_dir(&extracted).unwrap();
        let mut extract = Command::new("tar");
        extract.args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"]).arg(&tar);
        run(extract.arg("-C").arg(&extracted));
        let layer = Layer::checked(&fs::read(&tar).unwrap(), &[]);
        assert!(layer.image.length() < 4 << 20, "{arguments:?}: holes take no room");
        compare(&layer, work.path(), &extracted);
        fs::remove_dir_all(&extracted).unwrap();
    }
}

/// Writes archives of the three formats of Python's tarfile, with names that each has its own way for.
const TARFILE: &str = r#"
import io, sys, tarfile
formats = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
with tarfile.open(sys.argv[2], "w", format=formats[sys.argv[1]]) as tar:
    def add(name, type=tarfile.REGTYPE, data=b"", **fields):
        info = tarfile.TarInfo(name)
        info.type, info.size, info.mtime = type, len(data), 1234567890
        for key, value in fields.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(data))
    add(".", tarfile.DIRTYPE, mode=0o755)
    directory = "dir/" + "d" * 90
    add("dir", tarfile.DIRTYPE, mode=0o755)
    add(directory, tarfile.DIRTYPE, mode=0o711)
    add(directory + "/" + "n" * 90, data=b"split" * 1000, mode=0o600, uid=2097151)
    add("caf\u00e9", data=b"utf-8")
    add("link", tarfile.SYMTYPE, linkname="caf\u00e9")
    add("hard", tarfile.LNKTYPE, linkname="caf\u00e9")
    add("pipe", tarfile.FIFOTYPE)
    add("tty", tarfile.CHRTYPE, devmajor=5, devminor=0)
    if sys.argv[1] != "ustar":
        add("l" * 255, data=b"long", uid=3000000)
        add("deep/" * 50 + "f", data=b"deep")
"#;

#[test]
fn archives_of_python_are_mounted_as_they_were() {
    let work = tempfile::tempdir().unwrap();
    for format in ["ustar", "gnu", "pax"] {
        let (tar, extracted) = (work.path().join("layer.tar"), work.path().join(format));
        run(Command::new("python3").args(["-c", TARFILE, format]).arg(&tar));
        let bytes = fs::read(&tar).unwrap();
        let layer = Layer::checked(&bytes, &[]);
        if format != "ustar" {
            assert_eq!(layer.data(&("deep/".repeat(50) + "f")), b"deep");
            assert_eq!(layer.inode(&"l".repeat(255)).uid(), 3_000_000);
            continue;
        }
        fs::create_dir(&extracted).unwrap();
        run(Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(&tar).arg("-C").arg(&extracted));
        compare(&layer, work.path(), &extracted);
    }
}

/// Mounts the images named by the arguments (lowest first) and an overlay over them, and prints every
/// name in it with its type, mode, owner, links' targets and contents.
const OVERLAY: &str = r#"
import ctypes, os, stat, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, kind, options):
    os.mkdir(target)
    if libc.mount(source.encode(), target.encode(), kind, 1, options.encode()) != 0:
        sys.exit(f"mount {target}: {os.strerror(ctypes.get_errno())}")
lowers = [image + ".mounted" for image in sys.argv[2:]]
for image in sys.argv[2:]:
    mount(image, image + ".mounted", b"erofs", "")
mount("overlay", sys.argv[1], b"overlay", "redirect_dir=nofollow,metacopy=off,lowerdir=" + ":".join(reversed(lowers)))
os.chdir(sys.argv[1])
for directory, directories, files in os.walk("."):
    directories.sort()
    for name in sorted(directories + files):
        path = os.path.normpath(os.path.join(directory, name))
        status = os.lstat(path)
        line = [path, stat.filemode(status.st_mode), f"{status.st_uid}:{status.st_gid}"]
        if stat.S_ISREG(status.st_mode):
            line.append(open(path).read())
        print(*line)
"#;

#[test]
fn an_overlay_of_the_images_shows_what_the_layers_mean() {
    let work = tempfile::tempdir().unwrap();
    let layers: [&[Item]; 3] = [
        &[
            Item::directory("tmp").mode(0o1777),
            Item::directory("usr"),
            Item::directory("usr/lib").owner(3, 4),
            Item::file("usr/lib/a", b"first"),
            Item::file("usr/lib/b", b"removed"),
            Item::symlink("lib", "usr/lib"),
            Item::directory("hidden"),
            Item::file("hidden/old", b"hidden"),
            Item::directory("gone"),
            Item::file("gone/f", b"gone"),
        ],
        &[
            Item::file("usr/lib/.wh.b", b""),
            Item::file("hidden/.wh..wh..opq", b""),
            Item::file("hidden/new", b"shown"),
            Item::file(".wh.gone", b""),
        ],
        &[
            Item::file("tmp/x", b"x"),
            Item::file("lib/c", b"through the link"),
            Item::hard_link("linked", "usr/lib/a"),
        ],
    ];
    let (mut images, mut paths) = (Vec::new(), Vec::new());
    for (index, items) in layers.iter().enumerate() {
        let layer = Layer::checked(&Archive::of(items), &images);
        paths.push(work.path().join(format!("{index}.erofs")));
        fs::write(&paths[index], layer.erofs_bytes()).unwrap();
        images.push(layer.image);
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "python3", "-c", OVERLAY]);
    let shown = run(command.arg(work.path().join("overlay")).args(&paths));
    let expected = "\
        hidden drwxr-xr-x 0:0\n\
        lib lrwxrwxrwx 0:0\n\
        linked -rw-r--r-- 0:0 first\n\
        tmp drwxrwxrwt 0:0\n\
        usr drwxr-xr-x 0:0\n\
        hidden/new -rw-r--r-- 0:0 shown\n\
        tmp/x -rw-r--r-- 0:0 x\n\
        usr/lib drwxr-xr-x 3:4\n\
        usr/lib/a -rw-r--r-- 0:0 first\n\
        usr/lib/c -rw-r--r-- 0:0 through the link\n";
    assert_eq!(String::from_utf8_lossy(&shown), expected);
}

#[test]
fn compressed_archives_are_the_same_layer() {
    let items: Vec<_> =
        (0..500).map(|n| Item::file(&format!("file-{n}"), format!("{n}").repeat(n).as_bytes())).collect();
    let tar = Archive::of(&items);
    let plain = Layer::checked(&tar, &[]);
    assert_eq!(plain.converted.received_digest, plain.converted.diff_id);
    assert_eq!(plain.converted.diff_id, <[u8; 32]>::from(Sha256::digest(&tar)));
    let cases = [
        ("gzip", Compression::Gzip),
        ("zstd", Compression::Zstd),
        ("xz", Compression::Xz),
        ("bzip2", Compression::Bzip2),
    ];
    for (program, compression) in cases {
        let packed = through(program, &[], &tar);
        let layer = Layer::make(&packed[..], &Options::default()).unwrap();
        let converted = &layer.converted;
        assert_eq!(converted.compression, compression);
        assert_eq!(converted.received_digest, <[u8; 32]>::from(Sha256::digest(&packed)), "{program}");
        assert_eq!((converted.received_size, converted.tar_size), (packed.len() as u64, tar.len() as u64));
        assert_eq!(
            (converted.diff_id, converted.erofs_seal),
            (plain.converted.diff_id, plain.converted.erofs_seal)
        );
        assert!(layer.erofs_bytes() == plain.erofs_bytes(), "{program}");
    }
}

/// The archive whose image is pinned: one of everything that has a form of its own on disk.
fn pinned_archive() -> Vec<u8> {
    let names: Vec<_> = (0..400).map(|n| Item::file(&format!("many/file-{n}"), b"")).collect();
    let mut archive = Archive::default()
        .item(&Item::directory("./").mode(0o755))
        .item(&Item::directory("many"))
        .pax(
            b'x',
            &[
                ("mtime", b"1.5"),
                ("SCHILY.xattr.user.a", b"b"),
                ("SCHILY.xattr.security.capability", &[1; 20]),
            ],
        )
        .item(&Item::file("attributes", &[b'x'; 5000]).owner(1, 2))
        .item(&Item::hard_link("hard", "attributes"))
        .item(&Item::symlink("soft", "attributes"))
        .item(&Item::character("null", (1, 3)))
        .pax(b'x', &[("GNU.sparse.size", b"1000000"), ("GNU.sparse.map", b"0,5,500000,5")])
        .item(&Item::file("sparse", b"0123456789"));
    for item in &names {
        archive = archive.item(item);
    }
    archive.end()
}

#[test]
fn the_image_of_an_archive_never_changes() {
    let layer = Layer::checked(&pinned_archive(), &[]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digest = layer.image.digest().unwrap();
    assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(layer.erofs_bytes())));
    assert_eq!(
        hex(&digest),
        "e999bd3101703578ff86109aec155034075fc2be2387290c7818b6a007be7190",
        "the layout changed: LAYOUT_VERSION must change"
    );
    assert_eq!(
        hex(&layer.converted.erofs_seal),
        "0ef7eeaae1cf5a164d4c4312ce85b31c932b4e8b47f0170cc94201f0bac41291"
    );
    let mut plain = Vec::new();
    zstd::stream::copy_decode(&layer.tarmeta_bytes()[..], &mut plain).unwrap();
    assert_eq!(
        hex(&Sha256::digest(&plain)),
        "c1dedf92bcbae94ea0d1c78d1f6b7974834b8109505ddb76bb713580ecf573ff",
        "the records changed: their version must change"
    );
}

#[test]
fn a_full_disk_is_reported_as_one() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let spare = tempfile::tempfile().unwrap();
    let tar = Archive::of(&[Item::file("f", &[7; 1 << 20])]);
    for (erofs, tarmeta) in [(&full, &spare), (&spare, &full)] {
        let files = holm_store::convert::LayerFiles { erofs, tarmeta };
        let error =
            holm_store::convert::convert(&tar[..], &files, &Options::default()).expect_err("there was room");
        assert_eq!(error.kind(), holm_store::convert::Kind::NoSpace, "{error:?}");
    }
}
