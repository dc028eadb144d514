//! Volumes: data that outlives workloads, `--mount` in full, and nothing that goes which somebody has.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use holm_tests::isolation::Isolation;
use holm_tests::{Holm, also_in_machines, eventually, tarball};
use serde_json::Value;

/// An image with a path that is a volume of its own, filled, and not root's.
fn app(holm: &Holm) {
    let mut root = tarball::base_with_release("base");
    root.owner(33, 44)
        .directory("data", 0o750)
        .file("data/seed", 0o640, "from the image\n")
        .directory("data/deep", 0o700)
        .hard_link("data/deep/again", "data/seed")
        .symlink("data/link", "seed");
    holm.call(["import", "-c", "VOLUME /data", "-", "app"]).stdin(root.finish()).run().ok();
}

fn data(holm: &Holm, volume: &str) -> PathBuf {
    holm.ok(["volume", "inspect", "-f", "{{.Mountpoint}}", volume]).into()
}

fn volumes(holm: &Holm) -> Vec<String> {
    let listed = holm.ok(["volume", "ls", "-q"]);
    listed.lines().map(str::to_owned).collect()
}

fn document(text: &str) -> Value {
    serde_json::from_str::<Vec<Value>>(text).expect("documents").remove(0)
}

#[test]
fn a_named_volume_outlives_its_workloads() {
    let holm = Holm::new();
    assert_eq!(holm.sh(&["-v", "data:/d"], "echo one > /d/f && cat /d/f"), "one");
    assert_eq!(volumes(&holm), ["data"]);
    assert_eq!(
        holm.sh(&["-v", "data:/elsewhere:ro"], "cat /elsewhere/f; echo no > /elsewhere/g || true"),
        "one"
    );
    assert_eq!(fs::read_to_string(data(&holm, "data").join("f")).unwrap(), "one\n");
    holm.ok(["volume", "rm", "data"]);
    assert_eq!(volumes(&holm), Vec::<String>::new());
    assert_eq!(holm.sh(&["-v", "data:/d"], "ls /d"), "");
}

#[test]
fn the_same_volume_in_every_isolation() {
    let holm = Holm::new();
    app(&holm);
    holm.ok(["run", "-d", "--name", "one", "-v", "shared:/data", "app", "sleep", "1000"]);
    let there = holm.ok([
        "exec",
        "one",
        "sh",
        "-c",
        "cat /data/seed; stat -c %u:%g:%a /data; echo more > /data/more",
    ]);
    assert_eq!(there, "from the image\n33:44:750");
    assert_eq!(fs::read_to_string(data(&holm, "shared").join("more")).unwrap(), "more\n");
    // By a container, whatever the other one is.
    let container =
        holm.run(["run", "--rm", "--isolation", "container", "-v", "shared:/x", "base", "cat", "/x/more"]);
    if holm.isolation() == Isolation::Container {
        assert_eq!(container.ok(), "more");
    }
    holm.ok(["rm", "-f", "one"]);
}

also_in_machines!(
    the_same_volume_in_every_isolation,
    the_image_fills_what_is_empty,
    an_image_as_a_mount,
    a_part_of_an_image,
    a_part_of_a_volume,
    a_file_system_in_memory_is_shared_while_somebody_uses_it
);

#[test]
fn the_image_fills_what_is_empty() {
    let holm = Holm::new();
    app(&holm);
    let shown = "cd /data; cat seed link deep/again; stat -c '%n %u:%g:%a %h' . seed deep";
    let expected =
        "from the image\nfrom the image\nfrom the image\n. 33:44:750 3\nseed 33:44:640 2\ndeep 33:44:700 2";
    assert_eq!(holm.ok(["run", "--rm", "-v", "full:/data", "app", "sh", "-c", shown]), expected);
    // Once: what was removed stays away.
    holm.ok(["run", "--rm", "-v", "full:/data", "app", "rm", "/data/seed"]);
    assert_eq!(holm.ok(["run", "--rm", "-v", "full:/data", "app", "ls", "/data"]), "deep\nlink");
    assert_eq!(holm.ok(["run", "--rm", "-v", "bare:/data:nocopy", "app", "ls", "/data"]), "");
    assert_eq!(holm.ok(["run", "--rm", "--tmpfs", "/data", "app", "ls", "/data"]), "");
}

#[test]
fn volumes_that_nobody_named_go_with_their_workload() {
    let holm = Holm::new();
    app(&holm);
    assert_eq!(holm.ok(["run", "--rm", "app", "cat", "/data/seed"]), "from the image");
    assert_eq!(volumes(&holm), Vec::<String>::new());
    holm.ok([
        "run",
        "--name",
        "kept",
        "-v",
        "/more",
        "-v",
        "named:/named",
        "app",
        "sh",
        "-c",
        "echo x > /data/x",
    ]);
    assert_eq!(volumes(&holm).len(), 3);
    holm.ok(["start", "-a", "kept"]);
    let mounts =
        holm.inspect("kept", "{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Driver}},{{end}}");
    assert_eq!(mounts, "volume /more true local,volume /named true local,volume /data true local,");
    holm.ok(["rm", "kept"]);
    assert_eq!(volumes(&holm).len(), 3, "they stay without -v");
    let told = holm.ok(["volume", "prune", "-f"]);
    assert!(told.starts_with("Deleted Volumes:\n") && told.contains("Total reclaimed space: "), "{told}");
    assert_eq!(volumes(&holm), ["named"]);
    holm.ok(["run", "--name", "kept", "-v", "/more", "-v", "named:/named", "app", "true"]);
    holm.ok(["rm", "-v", "kept"]);
    assert_eq!(volumes(&holm), ["named"]);
    // One that another workload has stays.
    holm.ok(["run", "--name", "one", "app", "true"]);
    holm.ok(["run", "--name", "two", "--volumes-from", "one", "base", "true"]);
    holm.ok(["rm", "-v", "one"]);
    assert_eq!(
        holm.ok(["run", "--rm", "--volumes-from", "two", "base", "cat", "/data/seed"]),
        "from the image"
    );
    holm.ok(["rm", "-v", "two"]);
    assert_eq!(volumes(&holm), ["named"]);
    let told = holm.ok(["volume", "prune", "-af"]);
    assert!(told.contains("named"), "{told}");
}

#[test]
fn what_a_workload_has_stays() {
    let holm = Holm::new();
    holm.ok(["create", "--name", "web", "-v", "data:/d", "base", "true"]);
    let told = holm.run(["volume", "rm", "data"]);
    told.refused(1, &["data", "web"]);
    assert_eq!(
        holm.ok(["volume", "inspect", "-f", "{{range .Holm.Workloads}}{{.Name}}{{end}}", "data"]),
        "web"
    );
    assert_eq!(
        holm.ok(["ps", "-a", "--filter", "volume=data", "--format", "{{.Names}} {{.Mounts}}"]),
        "web data"
    );
    assert_eq!(holm.ok(["ps", "-a", "--filter", "volume=/d", "--format", "{{.LocalVolumes}}"]), "1");
    assert_eq!(holm.ok(["ps", "-aq", "--filter", "volume=other"]), "");
    for filter in ["dangling=false", "name=at", "driver=local"] {
        assert_eq!(holm.ok(["volume", "ls", "-q", "--filter", filter]), "data", "{filter}");
    }
    assert_eq!(holm.ok(["volume", "ls", "-q", "--filter", "dangling=true"]), "");
    assert_eq!(holm.ok(["volume", "prune", "-af"]), "Total reclaimed space: 0B");
    holm.ok(["rm", "web"]);
    holm.ok(["volume", "rm", "data"]);
    holm.run(["volume", "rm", "data"]).refused(1, &["no such volume: `data`"]);
    assert_eq!(holm.run(["volume", "rm", "-f", "data"]).code(), 0);
}

#[test]
fn volumes_by_themselves() {
    let holm = Holm::new();
    assert_eq!(holm.ok(["volume", "create", "--label", "app=shop", "data"]), "data");
    assert_eq!(holm.ok(["volume", "create", "data"]), "data", "it is there already");
    let nameless = holm.ok(["volume", "create"]);
    assert_eq!(nameless.len(), 64);
    let shown = document(&holm.ok(["volume", "inspect", "data"]));
    for (key, expected) in [("Name", "data"), ("Driver", "local"), ("Scope", "local")] {
        assert_eq!(shown[key], expected);
    }
    assert_eq!(shown["Labels"]["app"], "shop");
    assert_eq!(holm.ok(["inspect", "--type", "volume", "-f", "{{.Name}}", "data"]), "data");
    assert_eq!(holm.ok(["inspect", "-f", "{{.Name}}", "data"]), "data");
    assert_eq!(holm.ok(["volume", "ls", "-q", "--filter", "label=app=shop"]), "data");
    let row = holm.ok(["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"]);
    assert!(row.contains("Local Volumes 2 0"), "{row}");
    let told = holm.ok(["system", "prune", "-f", "--volumes"]);
    assert!(told.contains(&nameless), "{told}");
    assert_eq!(volumes(&holm), ["data"]);
    holm.run(["volume", "create", "x"]).refused(125, &["`x`"]);
    holm.run(["volume", "create", "-d", "nfs", "data"]).refused(125, &["nfs", "local"]);
    holm.run(["volume", "create", "-o", "type=nfs", "-o", "o=addr=1.2.3.4", "other"])
        .refused(1, &["other", "name no device"]);
    let outcome = holm.run(["volume", "inspect", "gone"]);
    assert!(outcome.code() == 1 && outcome.err().contains("no such volume: `gone`"), "{outcome}");
}

#[test]
fn a_volume_may_stand_for_a_directory() {
    let holm = Holm::new();
    let directory = holm.scratch("srv");
    fs::create_dir(&directory).unwrap();
    let device = format!("device={}", directory.display());
    holm.ok(["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "data"]);
    assert_eq!(holm.sh(&["-v", "data:/d"], "echo x > /d/f && ls /d"), "f");
    assert_eq!(fs::read_to_string(directory.join("f")).unwrap(), "x\n");
    holm.ok(["volume", "rm", "data"]);
    assert!(directory.join("f").exists(), "the directory is the user's");
    let mount =
        format!("type=volume,src=named,dst=/d,volume-opt=type=none,volume-opt=o=bind,volume-opt={device}");
    assert_eq!(holm.sh(&["--mount", &mount], "cat /d/f"), "x");
    fs::remove_dir_all(&directory).unwrap();
    holm.script(&["-v", "named:/d"], "true").refused(125, &["named", "is not there"]);
}

#[test]
fn mounts_in_the_long_form() {
    let holm = Holm::new();
    let directory = holm.scratch("tree");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("f"), "host\n").unwrap();
    let bind = format!("type=bind,source={},target=/b,readonly", directory.display());
    let script = "cat /b/f; echo no > /b/f || true; stat -f -c %T /t; stat -c %a /t; df -k /t | tail -1 | awk '{print $2}'";
    let flags = ["--mount", &bind, "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1711"];
    assert_eq!(holm.sh(&flags, script), "host\ntmpfs\n1711\n1024");
    assert_eq!(fs::read_to_string(directory.join("f")).unwrap(), "host\n");
    holm.sh(&["--mount", "type=volume,src=data,dst=/d,volume-label=a=b"], "echo x > /d/x");
    assert_eq!(holm.ok(["volume", "inspect", "-f", "{{.Labels.a}}", "data"]), "b");
    holm.script(&["--mount", "type=bind,src=/no/such/place,dst=/b"], "true")
        .refused(125, &["/no/such/place"]);
    for (mount, name) in
        [("type=bind,dst=/b", "source"), ("type=volume,src=data,dst=b", "`b`"), ("type=x,dst=/b", "`x`")]
    {
        holm.script(&["--mount", mount], "true").refused(125, &["--mount", name]);
    }
    holm.script(&["--mount", "dst=/d", "-v", "/d"], "true").refused(125, &["/d"]);
}

#[test]
fn a_part_of_a_volume() {
    let holm = Holm::new();
    holm.sh(
        &["-v", "data:/d"],
        "mkdir -p /d/in/side && echo x > /d/in/side/f && ln -s /etc /d/out && ln -s in/side /d/way",
    );
    let mount = |part: &str| format!("type=volume,src=data,dst=/p,volume-subpath={part}");
    assert_eq!(holm.sh(&["--mount", &mount("in/side")], "ls /p"), "f");
    assert_eq!(holm.sh(&["--mount", &mount("way")], "ls /p"), "f");
    // A link that somebody put there leads nowhere outside: neither to the host's /etc nor to the workload's.
    for part in ["out", "gone"] {
        let outcome = holm.script(&["--mount", &mount(part)], "ls /p");
        assert_ne!(outcome.code(), 0, "{outcome}");
        assert!(outcome.err().contains(&format!("find `{part}`")), "{outcome}");
    }
}

#[test]
fn an_image_as_a_mount() {
    let holm = Holm::new();
    app(&holm);
    holm.ok([
        "run",
        "-d",
        "--name",
        "tool",
        "--mount",
        "type=image,src=app,dst=/app",
        "base",
        "sleep",
        "1000",
    ]);
    assert_eq!(holm.ok(["exec", "tool", "cat", "/app/data/seed"]), "from the image");
    let refused = holm.run(["exec", "tool", "sh", "-c", "echo x > /app/data/seed"]).err();
    assert!(refused.contains("Read-only"), "{refused}");
    holm.run(["rmi", "app"]).refused(1, &["tool"]);
    assert_eq!(
        holm.inspect("tool", "{{range .Mounts}}{{.Type}} {{.Source}} {{.RW}}{{end}}"),
        "image app false"
    );
    holm.ok(["stop", "-t", "0", "tool"]);
    holm.ok(["start", "tool"]);
    assert_eq!(holm.ok(["exec", "tool", "cat", "/app/data/seed"]), "from the image");
    holm.ok(["rm", "-f", "tool"]);
    holm.ok(["rmi", "app"]);
}

#[test]
fn an_image_of_several_layers_as_a_mount() {
    let holm = Holm::new();
    holm.ok([
        "run",
        "--name",
        "made",
        "base",
        "sh",
        "-c",
        "echo top > /etc/os-release; rm /etc/group; echo new > /new",
    ]);
    holm.ok(["commit", "made", "layered"]);
    let script = "cat /i/etc/os-release /i/new; ls /i/etc/group; ls /i/bin | head -1; echo x > /i/new";
    let outcome = holm.script(&["--mount", "type=image,source=layered,destination=/i"], script);
    assert!(outcome.out().starts_with("top\nnew\n"), "{outcome}");
    for words in ["/i/etc/group: No such file", "Read-only"] {
        assert!(outcome.err().contains(words), "{outcome}");
    }
}

#[test]
fn owners_and_ids() {
    let holm = Holm::new();
    let directory = holm.scratch("tree");
    fs::create_dir_all(directory.join("sub")).unwrap();
    fs::write(directory.join("sub/f"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", directory.join("link")).unwrap();
    let passwd = fs::metadata("/etc/passwd").unwrap().uid();
    let volume = format!("{}:/d:U", directory.display());
    assert_eq!(
        holm.sh(&["-u", "33:44", "-v", &volume], "stat -c %u:%g /d/sub/f && echo x > /d/new"),
        "33:44"
    );
    assert_eq!(fs::metadata(directory.join("sub/f")).unwrap().uid(), 33);
    assert_eq!(fs::metadata("/etc/passwd").unwrap().uid(), passwd, "a link is not followed");
    assert_eq!(holm.sh(&["-u", "5", "-v", "data:/d:U"], "echo x > /d/f && stat -c %u /d"), "5");
    let mapped = format!("{}:/d:idmap=uids=33-1000-1;gids=44-2000-1", directory.display());
    assert_eq!(holm.sh(&["-v", &mapped], "stat -c %u:%g /d/sub/f"), "1000:2000");
    assert_eq!(fs::metadata(directory.join("sub/f")).unwrap().uid(), 33);
}

#[test]
fn volumes_of_other_workloads() {
    let holm = Holm::new();
    let directory = holm.scratch("tree");
    let bind = format!("{}:/b", directory.display());
    holm.ok(["create", "--name", "one", "-v", "data:/d", "-v", &bind, "base", "true"]);
    assert_eq!(
        holm.sh(&["--volumes-from", "one"], "echo x > /d/x; echo y > /b/y; ls /d /b"),
        "/b:\ny\n\n/d:\nx"
    );
    let outcome = holm.script(&["--volumes-from", "one:ro"], "echo x > /d/z");
    assert!(outcome.err().contains("Read-only"), "{outcome}");
    // What is asked for itself wins.
    assert_eq!(holm.sh(&["--volumes-from", "one", "-v", "other:/d"], "ls /d; ls /b"), "y");
    holm.script(&["--volumes-from", "nobody"], "true").refused(125, &["nobody"]);
    holm.script(&["--volumes-from", "one:x"], "true").refused(125, &["--volumes-from", "`x`"]);
}

#[test]
fn archives_of_volumes() {
    let holm = Holm::new();
    app(&holm);
    holm.ok(["run", "--rm", "-v", "full:/data", "app", "sh", "-c", "mkfifo /data/fifo"]);
    let file = holm.scratch("full.tar");
    holm.ok(["volume", "export", "-o", file.to_str().unwrap(), "full"]);
    holm.ok(["volume", "import", "copy", file.to_str().unwrap()]);
    let shown = "cd /d; cat seed; ls; stat -c '%n %u:%g:%a %h' seed deep";
    let expected = "from the image\ndeep\nfifo\nlink\nseed\nseed 33:44:640 2\ndeep 33:44:700 2";
    assert_eq!(holm.sh(&["-v", "copy:/d"], shown), expected);
    let piped =
        holm.host_shell(&format!("{0} volume export full | {0} volume import piped", holm.shell_words()));
    piped.ok();
    assert_eq!(holm.sh(&["-v", "piped:/d"], shown), expected);
    holm.run(["volume", "import", "copy", file.to_str().unwrap()]).refused(1, &["copy", "holds something"]);
    holm.sh(&["-v", "copy:/d"], "rm /d/seed; echo mine > /d/mine");
    holm.ok(["volume", "import", "--merge", "copy", file.to_str().unwrap()]);
    assert_eq!(holm.sh(&["-v", "copy:/d"], "cat /d/seed /d/mine"), "from the image\nmine");
    // One that makes no sense leaves nothing.
    let torn = &fs::read(&file).unwrap()[..1300];
    let outcome = holm.call(["volume", "import", "torn"]).stdin(torn).run();
    outcome.refused(1, &["torn"]);
    assert_eq!(holm.sh(&["-v", "torn:/d"], "ls /d"), "");
    holm.run(["volume", "export", "-o", file.to_str().unwrap(), "gone"]).refused(1, &["gone"]);
}

#[test]
fn what_fails_leaves_no_volume() {
    let holm = Holm::new();
    app(&holm);
    holm.script(&["-v", "/a", "--mount", "type=bind,src=/no/such,dst=/b"], "true")
        .refused(125, &["/no/such"]);
    holm.run(["run", "--rm", "app", "no-such-program"]).expect_code(127);
    holm.run(["run", "--rm", "-v", "/a", "--name", "not/a/name", "app", "true"]);
    assert_eq!(volumes(&holm), Vec::<String>::new());
    assert!(holm.workloads().is_empty());
}

#[test]
fn a_backup_has_the_owner_of_the_whole() {
    let holm = Holm::new();
    holm.sh(&["-v", "data:/d"], "echo x > /d/f; chmod 700 /d; chown 999:998 /d");
    let piped =
        holm.host_shell(&format!("{0} volume export data | {0} volume import copy", holm.shell_words()));
    piped.ok();
    assert_eq!(holm.sh(&["-v", "copy:/d"], "stat -c %u:%g:%a /d; cat /d/f"), "999:998:700\nx");
}

#[test]
fn an_empty_volume_keeps_its_owner_where_the_image_has_nothing() {
    let holm = Holm::new();
    holm.sh(&["-v", "spool:/d"], "chmod 700 /d; chown 1000:1000 /d");
    assert_eq!(holm.sh(&["-v", "spool:/nothing/here"], "stat -c %u:%g:%a /nothing/here"), "1000:1000:700");
}

#[test]
fn the_host_is_given_to_nobody() {
    let holm = Holm::new();
    for path in ["/", "/etc", "/usr"] {
        let volume = format!("{path}:/h:U");
        holm.script(&["-u", "33", "-v", &volume], "true").refused(125, &["the host needs it"]);
    }
    let file = holm.file("one", "x");
    assert_eq!(holm.sh(&["-u", "33", "-v", &format!("{file}:/one:U")], "stat -c %u /one"), "33");
}

#[test]
fn a_part_of_an_image() {
    let holm = Holm::new();
    app(&holm);
    holm.ok([
        "run",
        "--name",
        "made",
        "-v",
        "/data",
        "base",
        "sh",
        "-c",
        "ln -s /etc /way; echo new > /etc/new",
    ]);
    holm.ok(["commit", "made", "layered"]);
    let mount = |image: &str, part: &str| format!("type=image,src={image},dst=/part,image-subpath={part}");
    assert_eq!(holm.sh(&["--mount", &mount("app", "data/deep")], "cat /part/again"), "from the image");
    // What several layers make together, by way of a link of the image's.
    let script = "cat /part/new; ls /part/os-release; echo x > /part/x || true";
    let outcome = holm.script(&["--mount", &mount("layered", "way")], script);
    assert_eq!(outcome.out(), "new\n/part/os-release", "{outcome}");
    assert!(outcome.err().contains("Read-only"), "{outcome}");
    assert_eq!(holm.sh(&["--mount", &mount("layered", "etc/new")], "cat /part"), "new");
    let outcome = holm.script(&["--mount", &mount("layered", "gone")], "true");
    assert!(outcome.code() != 0 && outcome.err().contains("find `gone` in `layered`"), "{outcome}");
    holm.script(&["--mount", &mount("app", "../etc")], "true").refused(125, &["../etc"]);
}

#[test]
fn a_file_system_in_memory_is_among_the_mounts() {
    let holm = Holm::new();
    let mount = "type=tmpfs,dst=/t,tmpfs-size=1m";
    holm.ok(["create", "--name", "box", "--mount", mount, "--tmpfs", "/other", "base", "true"]);
    let shown = holm.inspect("box", "{{range .Mounts}}{{.Type}} {{.Source}}|{{.Destination}} {{.RW}}{{end}}");
    assert_eq!(shown, "tmpfs |/t true", "as Docker shows the one and not the other");
    assert_eq!(holm.inspect("box", "{{json .HostConfig.Tmpfs}}"), r#"{"/other":""}"#);
    assert_eq!(holm.ok(["ps", "-a", "--format", "{{.Names}}{{.Mounts}}"]), "box");
    assert_eq!(holm.sh(&["--volumes-from", "box"], "ls -d /t || echo none"), "none");
    holm.script(&["--mount", mount, "--tmpfs", "/t"], "true").refused(125, &["/t"]);
}

#[test]
fn a_file_system_in_memory_is_shared_while_somebody_uses_it() {
    let holm = Holm::new();
    let options = ["-o", "type=tmpfs", "-o", "o=size=1m,mode=1750,noexec"];
    holm.ok(["volume", "create"].into_iter().chain(options).chain(["fast"]));
    holm.ok([
        "run",
        "-d",
        "--name",
        "one",
        "-v",
        "fast:/d",
        "base",
        "sh",
        "-c",
        "echo x > /d/x; exec sleep 1000",
    ]);
    holm.ok(["run", "-d", "--name", "two", "-v", "fast:/d", "base", "sleep", "1000"]);
    eventually("the other one sees it", || holm.run(["exec", "two", "cat", "/d/x"]).out() == "x");
    assert_eq!(holm.ok(["exec", "two", "stat", "-c", "%a", "/d"]), "1750");
    let full = holm.run(["exec", "one", "dd", "if=/dev/zero", "of=/d/big", "bs=64k", "count=32"]);
    assert!(full.code() != 0 && full.err().contains("No space left"), "{full}");
    assert_eq!(fs::read_to_string(data(&holm, "fast").join("x")).unwrap(), "x\n");
    holm.run(["volume", "rm", "fast"]).refused(1, &["one", "two"]);
    holm.ok(["rm", "-f", "one"]);
    assert_eq!(holm.ok(["exec", "two", "cat", "/d/x"]), "x", "it stays for the other one");
    let archive = holm.scratch("fast.tar");
    holm.ok(["volume", "export", "-o", archive.to_str().unwrap(), "fast"]);
    holm.ok(["rm", "-f", "two"]);
    assert!(!data(&holm, "fast").join("x").exists(), "it goes with the last one");
    assert_eq!(holm.ok(["run", "--rm", "-v", "fast:/d", "base", "ls", "/d"]), "");
    holm.ok(["volume", "rm", "fast"]);
    holm.ok(["volume", "import", "kept", archive.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(data(&holm, "kept").join("x")).unwrap(), "x\n");
}

#[test]
fn a_file_system_of_a_device() {
    let holm = Holm::new();
    let device = Device::new(&holm);
    let option = format!("device={}", device.0);
    holm.ok([
        "volume",
        "create",
        "-o",
        "type=ext4",
        "-o",
        &option,
        "-o",
        "o=noexec,errors=remount-ro",
        "disk",
    ]);
    holm.sh(&["-v", "disk:/d"], "echo x > /d/x; cp /bin/busybox /d/run");
    assert!(!data(&holm, "disk").join("x").exists(), "it is mounted for nobody");
    let outcome = holm.script(&["-v", "disk:/d:ro"], "cat /d/x; echo y > /d/y; /d/run true");
    assert_eq!(outcome.out(), "x", "{outcome}");
    for words in ["Read-only", "Permission denied"] {
        assert!(outcome.err().contains(words), "{outcome}");
    }
    assert_eq!(holm.sh(&["--mount", "type=volume,src=disk,dst=/d,volume-subpath=x"], "cat /d"), "x");
    holm.script(&["-u", "7", "-v", "disk:/d:U"], "true").refused(125, &["`U`", "disk"]);
    holm.ok(["volume", "rm", "disk"]);
    let mount = format!(
        r#"type=volume,src=again,dst=/d,volume-driver=local,volume-opt=type=ext4,"volume-opt={option}""#
    );
    assert_eq!(holm.sh(&["--mount", &mount], "cat /d/x"), "x", "the device is the user's");
}

#[test]
fn file_systems_that_cannot_be_mounted_say_why() {
    let holm = Holm::new();
    let file = holm.file("file", "no file system");
    let device = format!("device={file}");
    for (name, options, words) in [
        ("quick", &["type=tmpfs", "o=quick"][..], &["`quick`", "option `quick`", "the kernel says: "][..]),
        ("file", &["type=ext4", &device], &["volume `file`", "mount ext4", "Block device required"]),
        ("gone", &["type=ext4", "device=/dev/no-such"], &["volume `gone`", "mount ext4", "No such file"]),
    ] {
        let options = options.iter().flat_map(|option| ["-o", option]);
        holm.ok(["volume", "create"].into_iter().chain(options).chain([name]));
        let outcome = holm.script(&["-v", &format!("{name}:/d")], "true");
        outcome.refused(125, words);
    }
    assert!(holm.workloads().is_empty());
    for (options, word) in [
        (&["type=proc", "device=proc"][..], "`proc`"),
        (&["type=ext4", "device=/dev/no-such", "o=loop"], "`loop`"),
        (&["type=nfs", "device=/srv"], "HOST:/PATH"),
    ] {
        let options = options.iter().flat_map(|option| ["-o", option]);
        holm.run(["volume", "create"].into_iter().chain(options).chain(["never"]))
            .refused(1, &["never", word]);
    }
}

#[test]
fn a_size_that_nobody_keeps_is_not_promised() {
    let holm = Holm::new();
    // In memory, whatever the tests lie on.
    let script = format!(
        "mkdir -p {0}/volumes && mount -t tmpfs none {0}/volumes && $HOLM volume create -o size=10m data; echo $?; ls -A {0}/volumes",
        holm.root().display(),
    );
    let outcome = holm.host_shell(&format!("unshare -m sh -c '{script}'"));
    assert_eq!(outcome.out(), "1", "{outcome}");
    for words in ["limit volume `data`", "keeps no limits of projects", "prjquota"] {
        assert!(outcome.err().contains(words), "{outcome}");
    }
    for size in ["1k", "much"] {
        holm.run(["volume", "create", "-o", &format!("size={size}"), "data"]).refused(1, &["data", size]);
    }
    assert_eq!(volumes(&holm), Vec::<String>::new());
}

/// A loop device with an ext4, which goes with this.
struct Device(String);

impl Device {
    fn new(holm: &Holm) -> Self {
        let image = holm.scratch("disk.ext4");
        let made = fs::File::create(&image).and_then(|file| file.set_len(8 << 20));
        made.expect("a file for a disk");
        holm.host_shell(&format!("mkfs.ext4 -q {}", image.display())).ok();
        Self(holm.host_shell(&format!("losetup --find --show {}", image.display())).ok())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = std::process::Command::new("losetup").args(["--detach", &self.0]).status();
    }
}
