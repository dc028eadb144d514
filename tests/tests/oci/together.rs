//! Many containers at once, and one called from many sides.

use serde_json::json;

use super::setup::Oci;

#[test]
fn twenty_containers_at_once() {
    let threads: Vec<_> = (0..20)
        .map(|number| {
            std::thread::spawn(move || {
                let mut oci = Oci::new();
                oci.set("/linux/resources/pids", json!({"limit": 20}));
                oci.set("/linux/resources/memory", json!({"limit": 32 << 20}));
                oci.up(&format!("echo I am {number}; exec sleep 1000"));
                oci.wait_for_output(&format!("I am {number}"));
                assert_eq!(oci.exec(&format!("echo {number}")), number.to_string());
                oci.ok(["kill", "box", "KILL"]);
                oci.wait_for("stopped");
                oci.ok(["delete", "box"]);
                oci.clean();
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn twenty_containers_of_one_root() {
    let mut oci = Oci::script("exec sleep 1000");
    let ids: Vec<_> = (0..20).map(|number| format!("box{number}")).collect();
    let root = oci.bundle().join("rootfs");
    let mut calls = Vec::new();
    for id in &ids {
        oci.id.clone_from(id);
        let bundle = oci.path(&format!("bundle-{id}"));
        std::fs::create_dir(&bundle).unwrap();
        let group = oci.group();
        oci.set("/linux/cgroupsPath", group.into()).set("root/path", json!(root));
        std::fs::write(bundle.join("config.json"), oci.config.to_string()).unwrap();
        let words = ["run", "-d", "--bundle", bundle.to_str().unwrap(), id];
        calls.push(oci.background(id, words).spawn());
    }
    calls.into_iter().for_each(|call| drop(call.finish().ok()));
    assert_eq!(oci.containers().len(), 20);
    assert_eq!(oci.ok(["list", "-q"]).lines().count(), 20);
    let calls: Vec<_> = ids.iter().map(|id| oci.call(["delete", "--force", id]).spawn()).collect();
    calls.into_iter().for_each(|call| drop(call.finish().ok()));
    assert_eq!(oci.containers(), Vec::<String>::new());
    for id in ids {
        oci.id = id;
        oci.clean();
    }
}

#[test]
fn one_id_from_many_sides_is_made_once() {
    let oci = Oci::script("exec sleep 1000");
    oci.save();
    let calls: Vec<_> = (0..8)
        .map(|number| oci.background(&format!("call{number}"), ["create", "--bundle", "b", "box"]).spawn())
        .collect();
    let codes: Vec<_> = calls.into_iter().map(|call| call.finish().code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(oci.status(), "created");
    oci.start();
    oci.remove();
}

#[test]
fn deletes_from_many_sides_leave_nothing() {
    let mut oci = Oci::new();
    oci.up("exec sleep 1000");
    let calls: Vec<_> = (0..6).map(|_| oci.call(["delete", "--force", "box"]).spawn()).collect();
    assert!(calls.into_iter().map(|call| call.finish().code()).any(|code| code == 0));
    oci.ok(["delete", "--force", "box"]);
    oci.clean();
}

#[test]
fn a_kill_while_it_starts_leaves_nothing() {
    for _ in 0..5 {
        let oci = Oci::script("exec sleep 1000");
        oci.create();
        let start = oci.call(["start", "box"]).spawn();
        oci.run(["kill", "box", "KILL"]);
        start.finish();
        oci.remove();
    }
}
