//! `-v`, `--tmpfs` and `--read-only`.

use std::fs;

use holm_tests::{Holm, eventually, host};

#[test]
fn a_directory_of_the_host() {
    let holm = Holm::new();
    let directory = holm.scratch("data");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("in"), "from the host\n").unwrap();
    let volume = format!("{}:/data", directory.display());
    assert_eq!(holm.sh(&["-v", &volume], "cat /data/in; echo back > /data/out"), "from the host");
    assert_eq!(fs::read_to_string(directory.join("out")).unwrap(), "back\n");
    let read_only = format!("{volume}:ro");
    let outcome = holm.script(&["-v", &read_only], "cat /data/in; echo no > /data/in");
    assert_eq!(outcome.out(), "from the host");
    assert!(outcome.err().contains("Read-only file system"), "{outcome}");
    assert_eq!(fs::read_to_string(directory.join("in")).unwrap(), "from the host\n");
    assert_eq!(holm.sh(&["-v", &format!("{volume}:rw")], "touch /data/x && echo ok"), "ok");
}

#[test]
fn a_file_of_the_host() {
    let holm = Holm::new();
    let file = holm.file("release", "another\n");
    assert_eq!(holm.sh(&["-v", &format!("{file}:/etc/os-release")], "cat /etc/os-release"), "another");
    assert_eq!(
        holm.sh(&["-v", &format!("{file}:/new/place")], "cat /new/place"),
        "another",
        "a target is made"
    );
    let outcome = holm.script(&["-v", &format!("{file}:/etc/os-release:ro")], "echo > /etc/os-release");
    assert!(outcome.err().contains("Read-only file system"), "{outcome}");
    assert_eq!(holm.sh(&[], "head -1 /etc/os-release"), "ID=base", "the image is as it was");
}

#[test]
fn relative_to_the_caller() {
    let holm = Holm::new();
    fs::create_dir(holm.scratch("x")).unwrap();
    fs::write(holm.scratch("x").join("f"), "here").unwrap();
    assert_eq!(holm.sh(&["-v", "./x:/data"], "cat /data/f"), "here");
    let inside = holm.scratch("x");
    let run = holm.call(["run", "--rm", "-v", ".:/data", "base", "cat", "/data/f"]).directory(&inside).run();
    assert_eq!(run.ok(), "here");
}

#[test]
fn an_absent_source_becomes_a_directory() {
    let holm = Holm::new();
    let path = holm.scratch("made");
    holm.sh(&["-v", &format!("{}:/data", path.display())], "echo x > /data/f");
    assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "x\n");
}

#[test]
fn what_is_no_volume() {
    let holm = Holm::new();
    let source = holm.scratch("").display().to_string();
    for volume in [
        format!("{source}:relative"),
        format!("{source}:/"),
        format!("{source}:/data:sideways"),
        format!("{source}:/data:ro,rw"),
        format!("{source}:/data:ro:more"),
        ":/data".to_owned(),
        "::".to_owned(),
    ] {
        let outcome = holm.script(&["-v", &volume], "true");
        outcome.refused(125, &[]);
    }
    assert!(holm.workloads().is_empty());
}

#[test]
fn submounts_and_propagation() {
    let holm = Holm::new();
    let directory = holm.scratch("tree");
    fs::create_dir_all(directory.join("sub")).unwrap();
    fs::create_dir_all(directory.join("late")).unwrap();
    mount_memory(&directory, "self");
    fs::create_dir_all(directory.join("sub")).unwrap();
    fs::create_dir_all(directory.join("late")).unwrap();
    mount_memory(&directory.join("sub"), "shown");
    share(&directory);
    let source = directory.display();
    let start = |name: &str, option: &str| {
        holm.start(&["--name", name, "-v", &format!("{source}:/t{option}")], "sleep 60");
    };
    start("private", "");
    start("slave", ":rslave");
    start("shared", ":rshared");
    let list = |name: &str, what: &str| holm.ok(["exec", name, "ls", &format!("/t/{what}")]);
    assert_eq!(list("private", "sub"), "shown", "a mount below the source is shown too");
    mount_memory(&directory.join("late"), "late");
    assert_eq!(list("private", "late"), "");
    assert_eq!(list("slave", "late"), "late");
    assert_eq!(list("shared", "late"), "late");
    for (name, kind) in [("private", ""), ("slave", "master:"), ("shared", "shared:")] {
        let table = holm.ok(["exec", name, "cat", "/proc/self/mountinfo"]);
        let line = table.lines().find(|line| line.split(' ').nth(4) == Some("/t")).unwrap();
        let tags = line.split(" - ").next().unwrap();
        assert_eq!(tags.contains("shared:"), kind == "shared:", "{name}: {line}");
        assert_eq!(tags.contains("master:"), kind == "master:", "{name}: {line}");
    }
    let late = directory.join("late");
    holm.ok(["rm", "-f", "private", "slave", "shared"]);
    assert!(host::mounts_below(&directory).contains(&late), "removal leaves the host's mounts alone");
}

#[test]
fn read_only_holds_below_too() {
    let holm = Holm::new();
    let directory = holm.scratch("tree");
    fs::create_dir_all(directory.join("sub")).unwrap();
    mount_memory(&directory.join("sub"), "shown");
    let outcome =
        holm.script(&["-v", &format!("{}:/t:ro", directory.display())], "ls /t/sub; touch /t/sub/x");
    assert_eq!(outcome.out(), "shown");
    assert!(outcome.err().contains("Read-only file system"), "{outcome}");
}

#[test]
fn memory_file_systems() {
    let holm = Holm::new();
    let show = |flags: &str, path: &str| {
        let line = format!(
            "grep ' {path} ' /proc/mounts; stat -c %a {path}; df -k {path} | tail -1 | tr -s ' ' | cut -d' ' -f2"
        );
        holm.sh(&["--tmpfs", flags], &line)
    };
    let plain = show("/scratch", "/scratch");
    assert!(plain.starts_with("tmpfs /scratch tmpfs rw,nosuid,nodev,noexec,relatime"), "{plain}");
    assert!(plain.contains("\n1777\n"), "{plain}");
    let chosen = show("/scratch:size=1m,mode=0700,exec", "/scratch");
    assert!(!chosen.contains("noexec") && chosen.ends_with("\n700\n1024"), "{chosen}");
    let outcome = holm.script(&["--tmpfs", "/t:size=64k"], "dd if=/dev/zero of=/t/x bs=128k count=1");
    assert!(outcome.err().contains("No space left on device"), "{outcome}");
    let read_only = holm.script(&["--tmpfs", "/t:ro"], "touch /t/x");
    assert!(read_only.err().contains("Read-only file system"), "{read_only}");
    assert_eq!(holm.sh(&["--tmpfs", "/home:ro"], "ls /home; echo hidden"), "hidden");
    holm.script(&["--tmpfs", "/t:size=much"], "true").refused(125, &["much"]);
    holm.script(&["--tmpfs", "relative"], "true").refused(125, &["relative"]);
}

#[test]
fn a_read_only_root() {
    let holm = Holm::new();
    let outcome = holm.script(&["--read-only"], "touch /x; echo y > /tmp/y; rm /etc/passwd");
    assert_eq!(outcome.err().matches("Read-only file system").count(), 3, "{outcome}");
    let directory = holm.scratch("data");
    fs::create_dir(&directory).unwrap();
    let volume = format!("{}:/data", directory.display());
    let script = "touch /data/x /scratch/x /dev/shm/x && echo ok > /dev/null && echo ok";
    assert_eq!(holm.sh(&["--read-only", "-v", &volume, "--tmpfs", "/scratch"], script), "ok");
}

/// The files that Holm mounts over the image's follow its root file system.
#[test]
fn a_read_only_root_holds_for_etc() {
    let holm = Holm::new();
    for file in ["hostname", "hosts", "resolv.conf"] {
        let outcome = holm.script(&["--read-only"], &format!("echo x >> /etc/{file}"));
        assert!(outcome.err().contains("Read-only file system"), "{outcome}");
        assert_eq!(holm.sh(&[], &format!("echo x >> /etc/{file} && tail -1 /etc/{file}")), "x");
    }
}

#[test]
fn links_in_the_image_lead_nowhere() {
    let holm = Holm::empty();
    let outside = holm.scratch("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "of the host\n").unwrap();
    let mut tar = holm_tests::tarball::base_with_release("links");
    tar.symlink("escape", outside.to_str().unwrap()).symlink("up", "../../../../../../..");
    tar.symlink("proc", "/etc").symlink("sys", outside.to_str().unwrap());
    holm.call(["import", "-", "links"]).stdin(tar.finish()).run().ok();
    let data = holm.file("data", "data");
    let run = |target: &str, script: &str| {
        holm.run(["run", "--rm", "-v", &format!("{data}:{target}"), "links", "sh", "-c", script])
    };
    let before = host::tree(&outside);
    // Whether such an image starts is its own affair; what counts is where its mounts land.
    for target in ["/escape/file", "/up/file", "/escape/new/deep"] {
        run(target, &format!("cat {target}; cat /escape/secret"));
        assert_eq!(host::tree(&outside), before, "{target}");
        assert!(!std::path::Path::new("/file").exists());
    }
    assert!(host::mounts_below(&outside).is_empty());
}

#[test]
fn a_volume_outlives_its_workload() {
    let holm = Holm::new();
    let directory = holm.scratch("data");
    fs::create_dir(&directory).unwrap();
    let volume = format!("{}:/data", directory.display());
    let id = holm.start(&["-v", &volume], "echo kept > /data/f; sleep 60");
    eventually("the file", || directory.join("f").exists());
    holm.ok(["rm", "-f", &id]);
    assert_eq!(fs::read_to_string(directory.join("f")).unwrap(), "kept\n");
}

/// Mounts an empty file system in memory and puts one file there.
fn mount_memory(path: &std::path::Path, file: &str) {
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("test", path, "tmpfs", flags, None).expect("a mount");
    fs::write(path.join(file), "").expect("a new file system takes a file");
}

/// Lets mounts below this mount point propagate.
fn share(path: &std::path::Path) {
    let flags = rustix::mount::MountPropagationFlags::SHARED | rustix::mount::MountPropagationFlags::REC;
    rustix::mount::mount_change(path, flags).expect("a mount point");
}
