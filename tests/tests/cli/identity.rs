//! `--user`: who the process is.

use holm_tests::Holm;

/// User, group and all groups, by number.
const WHO: &str = "echo $(id -u):$(id -g) $(id -G)";

#[test]
fn by_name_and_number() {
    let holm = Holm::new();
    for (user, expected) in [
        ("root", "0:0 0"),
        ("app", "1000:1000 1000 2000"),
        ("1000", "1000:1000 1000 2000"),
        ("1000:1000", "1000:1000 1000"),
        ("app:root", "1000:0 0"),
        ("app:extra", "1000:2000 2000"),
        ("4242", "4242:0 0"),
        ("4242:4343", "4242:4343 4343"),
        ("0:2000", "0:2000 2000"),
    ] {
        assert_eq!(holm.sh(&["-u", user], WHO), expected, "-u {user}");
    }
}

#[test]
fn home_follows_the_user() {
    let holm = Holm::new();
    assert_eq!(holm.sh(&["-u", "app"], "echo $HOME"), "/home/app");
    assert_eq!(holm.sh(&["-u", "1000"], "echo $HOME"), "/home/app");
    assert_eq!(holm.sh(&["-u", "4242"], "echo $HOME"), "/");
    assert_eq!(holm.sh(&["-u", "app", "-e", "HOME=/x"], "echo $HOME"), "/x");
}

#[test]
fn who_is_not_there() {
    let holm = Holm::new();
    holm.script(&["-u", "nobody-here"], "true").refused(125, &["nobody-here"]);
    holm.script(&["-u", "app:no-group"], "true").refused(125, &["no-group"]);
    for user in ["4294967296", "-1", "1:4294967296", "a:b:c"] {
        holm.script(&[&format!("--user={user}")], "true").expect_code(125);
    }
    assert!(holm.workloads().is_empty());
}

#[test]
fn has_no_rights_of_root() {
    let holm = Holm::new();
    let status = holm.sh(&["-u", "app"], "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status");
    let zero = "0000000000000000";
    let expected = format!(
        "CapInh:\t{zero}\nCapPrm:\t{zero}\nCapEff:\t{zero}\nCapBnd:\t00000000a80425fb\nCapAmb:\t{zero}"
    );
    assert_eq!(status, expected);
    holm.script(&["-u", "app"], "cat root/x > /etc/passwd").expect_code(1);
    assert_eq!(holm.sh(&["-u", "app"], "touch /tmp/x && stat -c %u:%g /tmp/x"), "1000:1000");
}

#[test]
fn may_reopen_its_streams() {
    let holm = Holm::new();
    let script = "echo one > /dev/stdout; echo two > /dev/stderr; echo three > /proc/self/fd/1";
    for flags in [&["-u", "app"][..], &["-u", "4242:4343"], &["-u", "app", "--init"], &["-u", "app", "-i"]] {
        let outcome = holm.script(flags, script);
        assert_eq!((outcome.ok().as_str(), outcome.err().as_str()), ("one\nthree", "two"), "{flags:?}");
    }
    let id = holm.start(&["-u", "app"], script);
    holm.ok(["wait", &id]);
    assert_eq!(holm.ok(["logs", &id]), "one\nthree");
    holm.start(&["--name", "box"], "sleep 60");
    assert_eq!(holm.ok(["exec", "-u", "app", "box", "sh", "-c", script]), "one\nthree");
}
