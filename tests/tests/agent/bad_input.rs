//! A machine that makes no sense, one that goes, and one that comes.

use std::time::Duration;

use holm_spec::agent::frame::put_data;
use holm_spec::agent::{Command, Report};
use holm_spec::keeper::Stream;

use super::cases::cases;
use super::talk::Guest;
use super::workload::{script, workload};

cases! { FIRST:
    what_is_not_understood_changes_nothing,
    numbers_that_are_not_there_change_nothing,
    a_number_that_is_taken_stays,
    another_hello_is_answered_with_what_runs,
    a_port_that_was_closed_is_opened_again,
    nothing_is_done_before_hello,
    a_long_message_is_no_trouble,
    the_agent_is_out_of_reach,
}

fn is_well(guest: &mut Guest) {
    assert_eq!(guest.run(&workload(60, "echo fine")).text(), "fine\n");
}

fn what_is_not_understood_changes_nothing(guest: &mut Guest) {
    let mut noise = vec![0xff; 100_000];
    noise.extend([0, 1, 1, 0, 3, 0, 0, 0]);
    noise.extend(b"{\"command\":\"shutdown\"}\0");
    guest.send_bytes(&noise);
    for message in [
        serde_json::json!({"command": "explode"}),
        serde_json::json!({"command": "sync"}),
        serde_json::json!({"command": "sync", "request": 1, "more": true}),
        serde_json::json!({"command": "sync", "request": -1}),
        serde_json::json!({"command": "start", "session": 1, "workload": "x", "window": null}),
    ] {
        let mut bytes = Vec::new();
        assert!(holm_spec::agent::frame::put_message(&mut bytes, &message));
        guest.send_bytes(&bytes);
    }
    is_well(guest);
}

fn numbers_that_are_not_there_change_nothing(guest: &mut Guest) {
    let session = 4_000_000;
    guest.send(&Command::Signal { session, signal: 9 });
    guest.send(&Command::CloseStdin { session });
    guest.send(&Command::Acknowledge { session, stream: 1, bytes: u32::MAX });
    guest.send(&Command::Acknowledge { session, stream: 200, bytes: 1 });
    guest.feed(session, &[1; 200_000]);
    let mut output = Vec::new();
    put_data(&mut output, Stream::Stderr, session, b"of the machine");
    guest.send_bytes(&output);
    guest.send(&Command::Time { clock: u64::MAX });
    guest.send(&Command::Reseed { seed: "none".to_owned() });
    guest.hello();
    guest.until("a welcome", |guest| guest.welcome.is_some());
    let running = guest.start(&workload(61, "sleep 1000"));
    guest.send(&Command::Signal { session: running, signal: 1000 });
    guest.send(&Command::Signal { session: running, signal: -1 });
    guest.kill(running);
    is_well(guest);
}

fn a_number_that_is_taken_stays(guest: &mut Guest) {
    let session = guest.start(&workload(61, "echo up; sleep 1000"));
    guest.hear(session, "up");
    let id = workload(61, "").id;
    guest.send(&Command::Exec {
        session,
        workload: id,
        process: script("echo other"),
        stdin: false,
        window: None,
    });
    guest.send(&Command::Start { session, workload: id, window: None });
    let again = guest.begin(id, None);
    let (_, message) = guest.finish(again).failed.expect("it runs already");
    assert!(message.contains("already"), "{message}");
    let end = guest.kill(session);
    assert_eq!((end.text().as_str(), end.exited), ("up\n", Some((137, false))));
}

fn another_hello_is_answered_with_what_runs(guest: &mut Guest) {
    let one = guest.start(&workload(62, "echo up; sleep 1000"));
    guest.hear(one, "up");
    // Of an output that waits for its window, nothing is lost.
    guest.acknowledges = false;
    let flood = guest.start(&workload(63, "dd if=/dev/zero bs=64k count=3 2>/dev/null"));
    guest.until("a window full", |guest| guest.sessions[&flood].out.len() == 64 << 10);
    guest.acknowledges = true;
    guest.hello();
    guest.until("a welcome", |guest| guest.welcome.is_some());
    let Some(Report::Welcome { sessions, .. }) = &guest.welcome else { panic!("no welcome") };
    let expected = [(one, workload(62, "").id), (flood, workload(63, "").id)];
    assert_eq!(sessions.iter().map(|(number, id)| (*number, *id)).collect::<Vec<_>>(), expected);
    assert_eq!(guest.finish(flood).out.len(), 192 << 10);
    guest.kill(one);
}

fn a_port_that_was_closed_is_opened_again(guest: &mut Guest) {
    let main = guest.start(&workload(62, "echo up; sleep 1; echo later; exit 3"));
    guest.hear(main, "up");
    guest.send_bytes(b"\x09half a");
    guest.reconnect(Duration::from_secs(3));
    guest.hello();
    let end = guest.finish(main);
    assert_eq!((end.exited, end.text().as_str()), (Some((3, false)), "up\nlater\n"), "nothing is lost");
    let Some(Report::Welcome { sessions, .. }) = &guest.welcome else { panic!("no welcome") };
    assert!(sessions.contains_key(&main), "its end had not been told");
    for _ in 0..5 {
        guest.reconnect(Duration::ZERO);
        guest.send_bytes(b"\x09half another");
    }
    guest.hello();
    is_well(guest);
}

fn nothing_is_done_before_hello(guest: &mut Guest) {
    guest.reconnect(Duration::from_secs(1));
    guest.send_bytes(b"\0");
    guest.send(&Command::Shutdown);
    guest.listen(Duration::from_secs(1));
    guest.hello();
    guest.until("a welcome", |guest| guest.welcome.is_some());
    is_well(guest);
}

fn a_long_message_is_no_trouble(guest: &mut Guest) {
    let long = "x".repeat(100_000);
    let end = guest.run(&workload(64, &format!("echo {long} | wc -c")));
    assert_eq!(end.text(), "100001\n", "{:?}", end.failed);
    let mut message = Vec::new();
    let endless = serde_json::json!({"command": "reseed", "seed": "x".repeat(900_000)});
    assert!(holm_spec::agent::frame::put_message(&mut message, &endless));
    guest.send_bytes(&message);
    guest.send_bytes(&vec![7; 3 << 20]);
    guest.send_bytes(b"\0");
    is_well(guest);
}

fn the_agent_is_out_of_reach(guest: &mut Guest) {
    let end = guest.run(&workload(65, "ls /usr/lib/holm /run/holm 2>/dev/null; ls /dev | grep -E 'vd|vport|ttyS|kmsg'; cat /proc/mounts | grep -c holm; grep -c . /proc/1/environ"));
    assert_eq!(end.text(), "0\n1\n", "{end:?}");
}
