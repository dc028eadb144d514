//! Starts and ends.

use holm_spec::agent::{Command, PROTOCOL, Report};
use holm_spec::keeper::{ExecProcess, FailureKind};
use serde_json::json;

use super::cases::cases;
use super::talk::Guest;
use super::workload::{configure, program, script, workload};

cases! { FIRST:
    the_agent_says_what_it_is,
    a_workload_says_something_and_ends,
    exit_codes_and_signals_come_as_a_shell_counts_them,
    a_workload_can_be_made_again_once_it_has_ended,
    programs_that_cannot_be_started_are_told_apart,
    a_failed_start_leaves_nothing,
    users_are_looked_up_in_the_root,
    two_workloads_do_not_see_each_other,
    another_process_runs_beside_the_first,
    other_processes_end_with_the_first,
    signals_reach_their_process,
    orphans_are_reaped,
    an_init_is_there,
    seccomp_and_capabilities_hold,
    restarts_leak_nothing,
}

fn the_agent_says_what_it_is(guest: &mut Guest) {
    let Some(Report::Welcome { protocol, release, sessions }) = &guest.welcome else { panic!("no welcome") };
    assert_eq!(*protocol, PROTOCOL);
    assert!(release.starts_with("6.1"), "{release}");
    assert!(sessions.is_empty());
}

fn a_workload_says_something_and_ends(guest: &mut Guest) {
    let end = guest.run(&workload(10, "echo $GREETING; echo oops >&2; hostname; ls /proc/self/fd | wc -l"));
    assert_eq!((end.exited, end.text().as_str()), (Some((0, false)), "hello\nbox\n4\n"), "{end:?}");
    assert_eq!(end.error_text(), "oops\n");
    assert!(end.pid.expect("it started") > 1);
}

fn exit_codes_and_signals_come_as_a_shell_counts_them(guest: &mut Guest) {
    assert_eq!(guest.run(&workload(10, "exit 7")).exited, Some((7, false)));
    let session = guest.start(&workload(10, "sleep 1000"));
    assert_eq!(guest.kill(session).exited, Some((137, false)));
}

fn a_workload_can_be_made_again_once_it_has_ended(guest: &mut Guest) {
    let workload = workload(11, "cat /file 2>/dev/null || echo none; echo mine >/file");
    let session = guest.start(&workload);
    assert_eq!(guest.finish(session).text(), "none\n");
    assert_eq!(guest.run(&workload).text(), "none\n", "what is in memory ends with its workload");
    guest.create(&workload);
    let again = guest.ask(|request| Command::Create { request, workload: Box::new(workload.clone()) });
    assert!(matches!(&again, Report::Refused { message, .. } if message.contains("already")), "{again:?}");
    let session = guest.begin(workload.id, None);
    guest.finish(session);
}

fn programs_that_cannot_be_started_are_told_apart(guest: &mut Guest) {
    for (argument, kind) in [
        ("not-there", FailureKind::CommandNotFound),
        ("/not/there", FailureKind::CommandNotFound),
        ("/etc/plain", FailureKind::CommandNotExecutable),
        ("/bin/garbage", FailureKind::CommandNotExecutable),
    ] {
        let (failed, message) = guest.run(&program(12, &[argument])).failed.expect("it cannot be started");
        assert_eq!(failed, kind, "{argument}: {message}");
        assert!(message.contains(argument), "{message}");
    }
    let mut nobody = workload(12, "true");
    nobody.user = "nobody-knows".to_owned();
    let (kind, message) = guest.run(&nobody).failed.expect("no such user");
    assert!(kind == FailureKind::Other && message.contains("nobody-knows"), "{message}");
    let session = guest.begin(nobody.id, None);
    assert_eq!(guest.finish(session).failed.expect("it is forgotten").0, FailureKind::NotRunning);
}

fn a_failed_start_leaves_nothing(guest: &mut Guest) {
    let session = guest.start(&host_view(13, "sleep 1000"));
    let groups = "ls /proc/1/root/sys/fs/cgroup/holm | grep -c ^0[cd]; grep -c /memory/0[cd] /proc/1/mounts";
    let asked = ExecProcess { privileged: true, ..script(groups) };
    let beside = guest.exec(host_view(13, "").id, asked, false, None);
    let seen = guest.finish(beside);
    assert_eq!(seen.text(), "1\n1\n", "of the one that runs only: {seen:?}");
    guest.kill(session);
}

fn users_are_looked_up_in_the_root(guest: &mut Guest) {
    let mut app = workload(12, "id; echo $HOME");
    app.user = "app".to_owned();
    let end = guest.run(&app);
    assert_eq!(
        end.text(),
        "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n/home/app\n",
        "{end:?}"
    );
}

fn two_workloads_do_not_see_each_other(guest: &mut Guest) {
    let one = guest.start(&workload(20, "echo one >/mine; echo up; sleep 1000"));
    let two = guest.start(&workload(21, "echo two >/mine; echo up; sleep 1000"));
    guest.hear(one, "up");
    guest.hear(two, "up");
    for (number, text) in [(20, "one"), (21, "two")] {
        let id = workload(number, "").id;
        let seen = guest.sh(id, "cat /mine; ps | grep -c '[s]leep'; cat /proc/self/cgroup");
        assert_eq!(seen.text(), format!("{text}\n1\n0::/\n"), "{seen:?}");
    }
    guest.kill(one);
    let seen = guest.sh(workload(21, "").id, "cat /mine");
    assert_eq!(seen.text(), "two\n");
    guest.kill(two);
}

fn another_process_runs_beside_the_first(guest: &mut Guest) {
    let main = guest.start(&workload(22, "sleep 1000"));
    let id = workload(22, "").id;
    let asked = ExecProcess {
        env: vec!["GREETING=bye".to_owned()],
        cwd: Some("/tmp".to_owned()),
        user: Some("1000".to_owned()),
        ..script("echo $GREETING; pwd; id -u; cat; exit 3")
    };
    let session = guest.exec(id, asked, true, None);
    guest.feed(session, b"of the machine\n");
    guest.send(&Command::CloseStdin { session });
    let end = guest.finish(session);
    assert_eq!(end.text(), "bye\n/tmp\n1000\nof the machine\n", "{end:?}");
    assert_eq!(end.exited, Some((3, false)));
    let none = guest.exec(id, ExecProcess { args: vec!["nothing".to_owned()], ..script("") }, false, None);
    assert_eq!(guest.finish(none).failed.expect("not there").0, FailureKind::CommandNotFound);
    guest.kill(main);
    let late = guest.exec(id, script("true"), false, None);
    assert_eq!(guest.finish(late).failed.expect("it has ended").0, FailureKind::NotRunning);
}

fn other_processes_end_with_the_first(guest: &mut Guest) {
    let main = guest.start(&workload(22, "sleep 1000"));
    let beside = guest.exec(workload(22, "").id, script("echo up; sleep 1000"), false, None);
    guest.hear(beside, "up");
    guest.kill(main);
    assert_eq!(guest.finish(beside).exited, Some((137, false)));
}

fn signals_reach_their_process(guest: &mut Guest) {
    let session =
        guest.start(&workload(23, "trap 'echo term; exit 5' TERM; echo up; while :; do sleep 0.1; done"));
    guest.hear(session, "up");
    guest.send(&Command::Signal { session, signal: 15 });
    let end = guest.finish(session);
    assert_eq!((end.exited, end.text().as_str()), (Some((5, false)), "up\nterm\n"));
}

/// A workload that sees the guest's processes.
fn host_view(number: u8, script: &str) -> holm_spec::agent::GuestWorkload {
    let mut workload = workload(number, script);
    configure(&mut workload, |document| {
        let namespaces = document["linux"]["namespaces"].as_array_mut().expect("they are given");
        namespaces.retain(|namespace| namespace["type"] != json!("pid"));
    });
    workload
}

fn orphans_are_reaped(guest: &mut Guest) {
    let left = "for i in 1 2 3 4 5; do sh -c 'sleep 0.1 & sleep 0.05 &'; done; sleep 1; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l";
    let end = guest.run(&host_view(24, left));
    assert_eq!(end.text(), "0\n", "{end:?}");
}

fn an_init_is_there(guest: &mut Guest) {
    let mut workload = workload(25, "echo $$; ps | head -n 2 | tail -n 1");
    configure(&mut workload, |document| {
        let arguments = json!(["/dev/init", "--", "sh", "-c", "echo $$"]);
        document["process"]["args"] = arguments;
        let mounts = document["mounts"].as_array_mut().expect("they are given");
        mounts.push(json!({"destination": "/dev/init", "type": "bind", "source": "/usr/lib/holm/holm-init",
            "options": ["bind", "ro"]}));
    });
    let end = guest.run(&workload);
    assert_eq!((end.exited, end.text().as_str()), (Some((0, false)), "2\n"), "{end:?}");
}

fn seccomp_and_capabilities_hold(guest: &mut Guest) {
    let end = guest.run(&workload(26, "grep -E '^(Seccomp|CapBnd):' /proc/self/status; mount -t tmpfs x /tmp || echo no; echo b >/proc/sysrq-trigger || echo no"));
    let text = end.text();
    assert!(text.starts_with("CapBnd:\t"), "{end:?}");
    assert!(text.contains("Seccomp:\t2\n") && text.ends_with("no\nno\n"), "{end:?}");
}

fn restarts_leak_nothing(guest: &mut Guest) {
    let view = host_view(13, "sleep 1000");
    let session = guest.start(&view);
    // A moment later: the agent is still busy with the start.
    let held =
        "sleep 0.5; ls /proc/1/fd | wc -l; wc -l </proc/1/mounts; ls /proc/1/root/sys/fs/cgroup/holm | wc -l";
    let look = |guest: &mut Guest| {
        let asked = ExecProcess { privileged: true, ..script(held) };
        let beside = guest.exec(view.id, asked, false, None);
        guest.finish(beside)
    };
    let before = look(guest);
    for _ in 0..20 {
        assert_eq!(guest.run(&workload(27, "true")).exited, Some((0, false)));
    }
    let after = look(guest);
    assert!(before.exited == Some((0, false)) && before.error_text().is_empty(), "{before:?}");
    assert_eq!(before.text(), after.text(), "descriptors, mounts, groups");
    guest.kill(session);
}
