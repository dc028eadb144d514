//! Input, output, windows, terminals.

use std::time::Duration;

use holm_spec::agent::{Command, WINDOW};
use holm_spec::keeper::{ExecProcess, Stream, WindowSize};

use super::cases::cases;
use super::talk::Guest;
use super::workload::{configure, script, workload};

cases! { FIRST:
    input_comes_whole_and_ends,
    a_flood_stops_at_its_window_and_comes_whole,
    both_outputs_have_a_window_of_their_own,
    all_output_comes_before_the_end,
    input_that_nobody_reads_holds_nothing_up,
    input_beyond_the_window_ends_the_session,
    a_terminal_has_a_size_and_changes_it,
    a_terminal_for_another_process,
    what_is_left_behind_is_not_waited_for,
    floods_of_many_are_fair,
}

fn input_comes_whole_and_ends(guest: &mut Guest) {
    let mut cat = workload(30, "wc -c; echo over");
    cat.open_stdin = true;
    let session = guest.start(&cat);
    let mut sent = 0;
    while sent < 1_000_000 {
        guest.until("input is taken", |guest| sent < guest.sessions[&session].taken + u64::from(WINDOW));
        let room = guest.sessions[&session].taken + u64::from(WINDOW) - sent;
        let piece = room.min(1_000_000 - sent);
        guest.feed(session, &vec![b'x'; usize::try_from(piece).expect("a window")]);
        sent += piece;
    }
    guest.send(&Command::CloseStdin { session });
    let end = guest.finish(session);
    assert_eq!(end.text(), "1000000\nover\n");
    assert!(end.taken + u64::from(WINDOW) > 1_000_000);
}

const FLOOD: usize = 8 << 20;

fn a_flood_stops_at_its_window_and_comes_whole(guest: &mut Guest) {
    guest.acknowledges = false;
    let session = guest.start(&workload(31, "dd if=/dev/zero bs=1M count=8 2>/dev/null; exit 4"));
    let window = WINDOW as usize;
    guest.until("a window full", |guest| guest.sessions[&session].out.len() >= window);
    guest.listen(Duration::from_secs(1));
    assert_eq!(guest.sessions[&session].out.len(), window, "no byte more");
    guest.acknowledges = true;
    guest.acknowledge(session, Stream::Stdout, window);
    let end = guest.finish(session);
    assert_eq!((end.exited, end.out.len()), (Some((4, false)), FLOOD));
    assert!(end.out.iter().all(|byte| *byte == 0));
}

fn both_outputs_have_a_window_of_their_own(guest: &mut Guest) {
    guest.acknowledges = false;
    let session =
        guest.start(&workload(31, "dd if=/dev/zero bs=64k count=1 2>/dev/null; echo first >&2; echo more"));
    guest.until("the other output", |guest| guest.sessions[&session].error_text() == "first\n");
    guest.until("a window full", |guest| guest.sessions[&session].out.len() == WINDOW as usize);
    assert_eq!(guest.sessions[&session].exited, None);
    guest.acknowledges = true;
    guest.acknowledge(session, Stream::Stdout, 1);
    guest.until("one byte", |guest| guest.sessions[&session].out.len() == WINDOW as usize + 1);
    assert!(guest.finish(session).text().ends_with("more\n"));
}

fn all_output_comes_before_the_end(guest: &mut Guest) {
    guest.acknowledges = false;
    let session = guest.start(&workload(31, "dd if=/dev/zero bs=120k count=1 2>/dev/null"));
    guest.listen(Duration::from_secs(2));
    let known = &guest.sessions[&session];
    assert_eq!(
        (known.out.len(), known.exited),
        (WINDOW as usize, None),
        "it has ended, with output in its pipe"
    );
    guest.acknowledges = true;
    guest.acknowledge(session, Stream::Stdout, WINDOW as usize);
    let end = guest.finish(session);
    assert_eq!((end.exited, end.out.len()), (Some((0, false)), 120 << 10));
}

fn input_that_nobody_reads_holds_nothing_up(guest: &mut Guest) {
    let mut deaf = workload(32, "echo up; sleep 1000");
    deaf.open_stdin = true;
    let session = guest.start(&deaf);
    guest.hear(session, "up");
    guest.feed(session, &vec![1; WINDOW as usize]);
    guest.until("the pipe takes it", |guest| guest.sessions[&session].taken == u64::from(WINDOW));
    guest.feed(session, &vec![1; WINDOW as usize]);
    let other = guest.sh(deaf.id, "echo of another");
    assert_eq!(other.text(), "of another\n");
    assert_eq!(guest.sessions[&session].taken, u64::from(WINDOW), "nothing was taken");
    assert_eq!(guest.kill(session).exited, Some((137, false)));
}

fn input_beyond_the_window_ends_the_session(guest: &mut Guest) {
    let mut deaf = workload(32, "echo up; sleep 1000");
    deaf.open_stdin = true;
    let session = guest.start(&deaf);
    guest.hear(session, "up");
    guest.feed(session, &vec![1; 3 * WINDOW as usize]);
    assert_eq!(guest.finish(session).exited, Some((137, false)));
}

fn a_terminal_has_a_size_and_changes_it(guest: &mut Guest) {
    let mut shell = workload(
        33,
        "trap 'stty size' WINCH; stty size; while [ -z \"$line\" ]; do read line; done; echo got $line; tty; exit 9",
    );
    (shell.tty, shell.open_stdin) = (true, true);
    configure(&mut shell, |document| document["process"]["terminal"] = true.into());
    guest.create(&shell);
    let session = guest.begin(shell.id, Some(WindowSize { rows: 33, columns: 77 }));
    guest.hear(session, "33 77\n");
    guest.send(&Command::Resize { session, window: WindowSize { rows: 20, columns: 50 } });
    guest.hear(session, "20 50\n");
    guest.feed(session, b"typed\r");
    let end = guest.finish(session);
    let text = end.text();
    assert!(text.contains("got typed\n") && text.contains("/dev/"), "{text}");
    assert_eq!(end.exited, Some((9, false)));
}

fn a_terminal_for_another_process(guest: &mut Guest) {
    let main = guest.start(&workload(33, "sleep 1000"));
    let asked = ExecProcess { tty: true, ..script("stty size; echo $TERM; read line; echo got $line") };
    let window = WindowSize { rows: 5, columns: 6 };
    let session = guest.exec(workload(33, "").id, asked, true, Some(window));
    guest.hear(session, "5 6\nxterm\n");
    guest.feed(session, b"x\x7fy\n");
    assert!(guest.finish(session).text().ends_with("got y\n"));
    guest.kill(main);
}

fn what_is_left_behind_is_not_waited_for(guest: &mut Guest) {
    let main = guest.start(&workload(34, "sleep 1000"));
    let id = workload(34, "").id;
    let end = guest.sh(id, "(while :; do echo more; sleep 0.01; done) & echo done; exit 2");
    assert_eq!(end.exited, Some((2, false)));
    assert!(end.text().contains("done"));
    guest.kill(main);
}

fn floods_of_many_are_fair(guest: &mut Guest) {
    let main = guest.start(&workload(35, "sleep 1000"));
    let id = workload(35, "").id;
    let flood = "dd if=/dev/zero bs=64k count=32 2>/dev/null";
    let floods: Vec<_> = (0..6).map(|_| guest.exec(id, script(flood), false, None)).collect();
    let small = guest.sh(id, "echo between");
    assert_eq!(small.text(), "between\n");
    for session in floods {
        let end = guest.finish(session);
        assert_eq!((end.exited, end.out.len()), (Some((0, false)), 2 << 20));
    }
    guest.kill(main);
}
