//! Files as archives and back, in real directories: what comes back, what hostile archives cannot do, what an overlay
//! changes. As root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::CString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

use holm_files::{View, perform};
use holm_spec::files::{FailureKind, LayerForm, Task, Unpack};
use holm_tar::{Entry, EntryKind, Writer};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

const PLAIN: Unpack = Unpack { only: None, owner: None, privileges: true, devices: true, top: false };

fn view(root: &Path) -> View {
    View { root: open(root), upper: None, lower: None }
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).unwrap().into()
}

fn run(root: &Path, task: &Task, mut input: &[u8]) -> Result<Vec<u8>, holm_files::Error> {
    let mut output = Vec::new();
    perform(task, &view(root), &mut input, &mut output).map(|()| output)
}

fn pack(root: &Path, path: &str, name: &str) -> Vec<u8> {
    run(root, &Task::Pack { path: path.to_owned(), name: name.to_owned(), follow: false }, b"").unwrap()
}

fn unpack(root: &Path, directory: &str, options: Unpack, archive: &[u8]) -> Result<(), holm_files::Error> {
    run(root, &Task::Unpack { directory: directory.to_owned(), options }, archive).map(drop)
}

/// An archive of these names: a file has its text, a link where it leads.
fn archive(entries: &[(&str, EntryKind, &str)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new());
    for (name, kind, text) in entries {
        let mut entry = Entry::new(name.as_bytes().to_vec(), *kind, 0o755);
        if *kind == EntryKind::File {
            entry.size = text.len() as u64;
        } else {
            entry.link = text.as_bytes().to_vec();
        }
        writer.entry(&entry).unwrap();
        if *kind == EntryKind::File {
            writer.data(text.as_bytes()).unwrap();
        }
    }
    writer.finish().unwrap()
}

/// A tree with one of everything.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("d/empty")).unwrap();
    fs::write(root.join("d/file"), vec![b'x'; 300_000]).unwrap();
    fs::write(root.join("d/small"), "text").unwrap();
    chown(root.join("d/small"), Some(1000), Some(100)).unwrap();
    fs::set_permissions(root.join("d/small"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(root.join("d/small"), root.join("d/again")).unwrap();
    symlink("../nowhere", root.join("d/link")).unwrap();
    chown(root.join("d/empty"), Some(7), Some(8)).unwrap();
    fs::set_permissions(root.join("d/empty"), fs::Permissions::from_mode(0o1777)).unwrap();
    let attribute = CString::new("user.note").unwrap();
    setxattr(root.join("d/file"), &attribute, b"kept", XattrFlags::empty()).unwrap();
    mknodat(CWD, root.join("d/fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    mknodat(
        CWD,
        root.join("d/null"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    drop(std::os::unix::net::UnixListener::bind(root.join("d/socket")).unwrap());
    let time = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    for name in ["d/small", "d/empty", "d"] {
        fs::File::open(root.join(name)).unwrap().set_modified(time).unwrap();
    }
}

#[test]
fn what_was_packed_comes_back() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(from.path());
    let packed = pack(from.path(), "/d", "copy");
    assert_eq!(packed, pack(from.path(), "d/", "copy"), "the same files give the same bytes");
    unpack(to.path(), "/", PLAIN, &packed).unwrap();
    let (old, new) = (from.path().join("d"), to.path().join("copy"));
    for name in ["", "empty", "file", "small", "again", "link", "fifo", "null"] {
        let [old, new] = [&old, &new].map(|root| fs::symlink_metadata(root.join(name)).unwrap());
        let key = |metadata: &fs::Metadata| {
            (metadata.mode(), metadata.uid(), metadata.gid(), metadata.mtime_nsec())
        };
        assert_eq!(key(&old), key(&new), "{name}");
        assert_eq!((old.mtime(), old.rdev()), (new.mtime(), new.rdev()), "{name}");
    }
    assert_eq!(fs::read(old.join("file")).unwrap(), fs::read(new.join("file")).unwrap());
    assert_eq!(
        fs::metadata(new.join("small")).unwrap().ino(),
        fs::metadata(new.join("again")).unwrap().ino()
    );
    assert_eq!(fs::read_link(new.join("link")).unwrap(), Path::new("../nowhere"));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(new.join("file"), "user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    assert!(!new.join("socket").exists(), "no archive can hold it");
    // Over itself.
    unpack(to.path(), "/", PLAIN, &packed).unwrap();
    assert_eq!(fs::read_dir(&new).unwrap().count(), 7, "nothing temporary stays");
}

#[test]
fn without_privileges_a_copy_gives_nobody_rights() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    tree(from.path());
    fs::remove_file(from.path().join("d/null")).unwrap();
    let options = Unpack { only: None, owner: Some((5, 6)), privileges: false, devices: false, top: false };
    unpack(to.path(), "/", options.clone(), &pack(from.path(), "/d", ".")).unwrap();
    let small = fs::metadata(to.path().join("small")).unwrap();
    assert_eq!((small.mode() & 0o7777, small.uid(), small.gid()), (0o750, 5, 6));
    let device = archive(&[("null", EntryKind::Character, "")]);
    unpack(to.path(), "/", options, &device).unwrap();
    assert!(!to.path().join("null").exists(), "devices are left out");
}

/// What a guest packs may be more than what it was asked for.
#[test]
fn nothing_is_unpacked_that_was_not_asked_for() {
    let to = tempfile::tempdir().unwrap();
    fs::write(to.path().join("passwd"), "safe").unwrap();
    let options = Unpack { only: Some("log".to_owned()), ..PLAIN };
    let file = EntryKind::File;
    for entries in [
        vec![("log", file, "1"), ("passwd", file, "evil")],
        vec![("./passwd", file, "evil")],
        vec![("log", EntryKind::HardLink, "passwd")],
    ] {
        let error = unpack(to.path(), "/", options.clone(), &archive(&entries)).unwrap_err();
        assert!(error.to_string().contains("nobody asked for"), "{error}");
    }
    assert_eq!(fs::read_to_string(to.path().join("passwd")).unwrap(), "safe");
    unpack(to.path(), "/", options, &archive(&[("log", file, "2")])).unwrap();
}

/// A link in the place of a directory may be all that holds a system together.
#[test]
fn directories_replace_nothing() {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("usr")).unwrap();
    symlink("usr", to.path().join("lib")).unwrap();
    let error = unpack(to.path(), "/", PLAIN, &archive(&[("lib/", EntryKind::Directory, "")])).unwrap_err();
    assert!(error.to_string().contains("no directory"), "{error}");
    assert_eq!(fs::read_link(to.path().join("lib")).unwrap(), Path::new("usr"));
}

#[test]
fn archives_cannot_leave_the_directory() {
    let scratch = tempfile::tempdir().unwrap();
    let (inside, outside) = (scratch.path().join("inside"), scratch.path().join("outside"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    let away = outside.to_str().unwrap();
    let file = EntryKind::File;
    for entries in [
        vec![("../evil", file, "x")],
        vec![("a/../../evil", file, "x")],
        vec![("link", EntryKind::Symlink, away), ("link/evil", file, "x")],
        vec![("link", EntryKind::Symlink, ".."), ("link/outside/evil", file, "x")],
        vec![("hard", EntryKind::HardLink, "../outside")],
    ] {
        let error = unpack(scratch.path(), "/inside", PLAIN, &archive(&entries)).unwrap_err();
        assert!(
            matches!(error.kind(), FailureKind::Invalid | FailureKind::Failed | FailureKind::NotFound),
            "{error}"
        );
    }
    // Absolute names are below the directory, too; a link in the place of a file is replaced.
    fs::write(outside.join("victim"), "safe").unwrap();
    symlink(outside.join("victim"), inside.join("target")).unwrap();
    unpack(scratch.path(), "/inside", PLAIN, &archive(&[("/abs/file", file, "1"), ("target", file, "2")]))
        .unwrap();
    assert_eq!(fs::read_to_string(inside.join("abs/file")).unwrap(), "1");
    assert_eq!(fs::read_to_string(inside.join("target")).unwrap(), "2");
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "safe");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_root_is_not_left_by_links_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), "mine").unwrap();
    symlink("/etc/passwd", root.path().join("absolute")).unwrap();
    symlink("../../../../etc", root.path().join("up")).unwrap();
    let text = |path: &str| {
        let task = Task::Pack { path: path.to_owned(), name: "f".to_owned(), follow: true };
        String::from_utf8_lossy(&run(root.path(), &task, b"").unwrap()).contains("mine")
    };
    assert!(text("/absolute") && text("/up/passwd") && text("../../etc/passwd"));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_half_stays() {
    let root = tempfile::tempdir().unwrap();
    let file = EntryKind::File;
    fs::create_dir_all(root.path().join("d/sub")).unwrap();
    let error = unpack(root.path(), "/d", PLAIN, &archive(&[("sub", file, "x")])).unwrap_err();
    assert_eq!((error.kind(), root.path().join("d/sub").is_dir()), (FailureKind::Invalid, true));
    let error = unpack(root.path(), "/none", PLAIN, &archive(&[])).unwrap_err();
    assert_eq!(error.kind(), FailureKind::NotFound);
    let mut cut = archive(&[("f", file, &"y".repeat(2000))]);
    cut.truncate(1500);
    let error = unpack(root.path(), "/d", PLAIN, &cut).unwrap_err();
    assert_eq!(error.kind(), FailureKind::Invalid, "{error}");
    assert!(!root.path().join("d/f").exists());
    assert_eq!(
        run(root.path(), &Task::Look { path: "/x".into(), follow: true }, b"").unwrap_err().kind(),
        FailureKind::NotFound
    );
    // Holes come back as holes.
    let holes = archive(&[("holes", file, &"\0".repeat(8 << 20))]);
    unpack(root.path(), "/d", PLAIN, &holes).unwrap();
    let metadata = fs::metadata(root.path().join("d/holes")).unwrap();
    assert!(metadata.len() == 8 << 20 && metadata.blocks() < 64, "{metadata:?}");
    // A name twice: the last one counts; a link to itself stays.
    let twice = archive(&[("t", file, "1"), ("t", file, "2"), ("t", EntryKind::HardLink, "t")]);
    unpack(root.path(), "/d", PLAIN, &twice).unwrap();
    assert_eq!(fs::read_to_string(root.path().join("d/t")).unwrap(), "2");
    assert!(!fs::symlink_metadata(root.path().join("d/t")).unwrap().file_type().is_fifo());
}

/// An upper directory as overlayfs leaves it: made by hand, so that the test needs no mount.
#[test]
fn changes_are_told_and_become_a_layer() {
    let scratch = tempfile::tempdir().unwrap();
    let (upper, lower) = (scratch.path().join("upper"), scratch.path().join("lower"));
    for (path, text) in [("etc/a", "1"), ("etc/b", "1"), ("gone", "1"), ("whole/x", "1"), ("whole/y", "1")] {
        fs::create_dir_all(lower.join(path).parent().unwrap()).unwrap();
        fs::write(lower.join(path), text).unwrap();
    }
    fs::create_dir_all(lower.join("same")).unwrap();
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/a"), "2").unwrap();
    fs::write(upper.join("new"), "1").unwrap();
    let whiteout =
        |path: &str| mknodat(CWD, upper.join(path), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    whiteout("gone");
    whiteout("etc/b");
    fs::create_dir_all(upper.join("whole")).unwrap();
    fs::write(upper.join("whole/x"), "2").unwrap();
    setxattr(upper.join("whole"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    fs::create_dir_all(upper.join("proc/sys")).unwrap();
    fs::create_dir_all(upper.join("run/mount")).unwrap();
    fs::create_dir_all(lower.join("run")).unwrap();
    fs::create_dir_all(upper.join("same")).unwrap();
    let time = fs::metadata(lower.join("same")).unwrap().modified().unwrap();
    fs::File::open(upper.join("same")).unwrap().set_modified(time).unwrap();

    let view = View { root: open(&lower), upper: Some(open(&upper)), lower: Some(open(&lower)) };
    let run = |task: Task| {
        let mut output = Vec::new();
        perform(&task, &view, &mut std::io::empty(), &mut output).unwrap();
        output
    };
    let ignored = vec!["/proc".to_owned(), "/run/mount".to_owned()];
    let told = String::from_utf8(run(Task::Changes { ignored: ignored.clone() })).unwrap();
    let lines: Vec<String> = told
        .lines()
        .map(|line| serde_json::from_str::<holm_spec::files::Change>(line).unwrap())
        .map(|change| format!("{} {}", change.kind.letter(), change.path))
        .collect();
    assert_eq!(
        lines,
        ["C /etc", "C /etc/a", "D /etc/b", "D /gone", "A /new", "C /whole", "C /whole/x", "D /whole/y"]
    );
    let layer = run(Task::Layer { ignored, form: LayerForm::default() });
    let mut reader = holm_tar::Reader::new(layer.as_slice(), 1 << 20);
    let mut names = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        assert!(entry.xattrs.is_empty(), "overlayfs's own stay behind");
        names.push(String::from_utf8(entry.path).unwrap());
    }
    assert_eq!(
        names,
        [
            "etc/",
            "etc/a",
            "etc/.wh.b",
            ".wh.gone",
            "new",
            "run/",
            "same/",
            "whole/",
            "whole/.wh..wh..opq",
            "whole/x"
        ]
    );
    fs::write(upper.join(".wh.trap"), "").unwrap();
    let error = perform(
        &Task::Layer { ignored: Vec::new(), form: LayerForm::default() },
        &view,
        &mut std::io::empty(),
        &mut Vec::new(),
    );
    assert!(error.unwrap_err().to_string().contains("`.wh.`"));
}
