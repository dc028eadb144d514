//! `doctor`: what it says, and that it leaves nothing.

use holm_tests::{Call, Holm, host, kernels};
use serde_json::Value;

fn examine(holm: &Holm) -> Value {
    serde_json::from_str(&holm.ok(["doctor", "--format", "json"])).expect("JSON")
}

fn check<'a>(document: &'a Value, name: &str) -> &'a Value {
    let mut checks = document["Checks"].as_array().expect("checks").iter();
    checks.find(|check| check["Name"] == name).unwrap_or_else(|| panic!("no check `{name}`"))
}

#[test]
fn every_check_has_its_shape() {
    let document = examine(&Holm::empty());
    // Tests of everything else run here.
    assert_eq!(document["Containers"], "ok", "{document}");
    for name in
        ["kernel", "rights", "capabilities", "programs", "user namespaces", "erofs", "overlay", "cgroups"]
    {
        assert_ne!(check(&document, name)["State"], "missing");
    }
    for name in [
        "limits",
        "seccomp",
        "nftables",
        "forwarding",
        "name servers",
        "machine programs",
        "kvm",
        "emulators",
        "virtiofsd",
        "guest kernels",
        "mkfs.ext4",
        "tap devices",
    ] {
        let check = check(&document, name);
        assert!(["ok", "limited", "missing"].iter().any(|state| check["State"] == *state), "{check}");
        assert!(["containers", "settings", "machines"].iter().any(|need| check["Need"] == *need), "{check}");
        assert!(check["Found"].as_str().is_some_and(|found| !found.is_empty()), "{check}");
        assert_eq!(check["State"] == "ok", check["Means"] == "", "{check}");
        assert!(check["Hint"].is_string(), "{check}");
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("a release");
    assert_eq!(check(&document, "kernel")["Found"], format!("Linux {}", release.trim()));
}

#[test]
fn a_kernel_in_the_store_is_found() {
    let holm = Holm::empty();
    assert_eq!(check(&examine(&holm), "guest kernels")["State"], "missing");
    holm.call(["kernel", "import", "-"]).stdin(kernels::package("6.1.0-1")).run().ok();
    let document = examine(&holm);
    assert_eq!(check(&document, "guest kernels")["Found"], "1 in the store; default 6.1.0-1");
}

#[test]
fn it_leaves_nothing() {
    let holm = Holm::empty();
    let temporary = holm.scratch("tmp");
    std::fs::create_dir(&temporary).expect("mkdir");
    // Other tests mount in the namespace of everybody.
    let (words, place) = (holm.shell_words(), temporary.display());
    let script = format!(
        "cat /proc/self/mountinfo; TMPDIR={place} {words} doctor >&2; echo; cat /proc/self/mountinfo"
    );
    let mut alone = std::process::Command::new("unshare");
    alone.args(["--mount", "--propagation=private", "bash", "-c", &script]);
    let mounts = Call::new(alone).run().ok();
    let (before, after) = mounts.split_once("\n\n").expect("two lists");
    assert_eq!(before, after);
    for directory in [temporary, holm.root(), holm.run_root()] {
        assert!(host::tree(&directory).is_empty(), "{}", directory.display());
    }
}

#[test]
fn people_get_a_table_and_advice() {
    let holm = Holm::empty();
    let text = holm.ok(["doctor"]);
    assert!(text.starts_with("CHECK ") && text.contains("\nkernel "), "{text}");
    assert!(text.contains("hint: holm kernel import linux-image-cloud-amd64"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with("Containers: ok")), "{text}");
    assert_eq!(holm.ok(["doctor", "--format", "{{.Containers}}"]), "ok");
    holm.run(["doctor", "--format", "{{.Nope"]).refused(1, &["--format"]);
}

#[test]
fn without_rights_it_says_what_is_missing() {
    let holm = Holm::empty();
    let binaries = holm.scratch("b");
    std::fs::create_dir(&binaries).expect("mkdir");
    holm_tests::copy_binaries(&binaries, &["holm", "holm-keeper", "holm-init"]);
    // The scratch directory is root's alone.
    let script = format!(
        "exec 3<{}/holm; exec setpriv --reuid=65534 --regid=65534 --clear-groups /proc/self/fd/3 doctor --format json",
        binaries.display()
    );
    let mut shell = std::process::Command::new("bash");
    shell.args(["-c", &script]);
    let outcome = Call::new(shell).run();
    outcome.expect_code(1);
    let document: Value = serde_json::from_str(&outcome.out()).expect("JSON");
    assert_eq!(document["Containers"], "missing");
    assert_eq!(check(&document, "rights")["Found"], "user 65534");
    assert_eq!(check(&document, "rights")["State"], "missing");
}

#[test]
fn rules_of_others_that_drop_what_passes_are_told() {
    let holm = Holm::with_network();
    holm.network().shell("nft add table ip filter; nft 'add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'");
    let said = holm.run(["doctor"]).out();
    assert!(
        said.contains("dropped by chain FORWARD of table ip filter")
            && said.contains("accepts what comes from"),
        "{said}"
    );
    // As Docker leaves it.
    holm.network().shell("nft add chain ip filter DOCKER-USER");
    let said = holm.run(["doctor"]).out();
    assert!(
        said.contains("table ip filter; workloads pass through chain FORWARD of table ip filter"),
        "{said}"
    );
    // What is there for IPv4 is no way for IPv6.
    holm.network().shell("nft add table ip6 filter; nft 'add chain ip6 filter FORWARD { type filter hook forward priority 0; policy drop; }'");
    let said = holm.run(["doctor"]).out();
    assert!(said.contains("chain FORWARD of table ip6 filter\n") && said.contains("accepts what"), "{said}");
}
