//! `-t`: the workload's own terminal.

use holm_tests::{Holm, Terminal, eventually};

#[test]
fn is_a_terminal() {
    let holm = Holm::new();
    let mut terminal = Terminal::start(&holm, &["run", "-it", "--rm", "base", "sh"], 24, 80);
    terminal.keys(
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all-$((1+2)); echo $TERM-; ls -l /dev/console\n",
    );
    terminal.expect("/dev/pts/0");
    terminal.expect("all-3");
    terminal.expect("xterm-");
    terminal.expect("crw--w----");
    terminal.keys("exit 5\n");
    assert_eq!(terminal.finish(), 5);
}

#[test]
fn size_follows_the_window() {
    let holm = Holm::new();
    let script = "trap 'stty size' WINCH; stty size; echo ready; while :; do sleep 0.05; done";
    let mut terminal =
        Terminal::start(&holm, &["run", "-it", "--rm", "--init", "base", "sh", "-c", script], 33, 99);
    terminal.expect("33 99");
    terminal.expect("ready");
    terminal.resize(41, 123);
    terminal.expect("41 123");
    terminal.keys("\x03");
    assert_eq!(terminal.finish(), 130);
}

#[test]
fn size_is_there_from_the_start() {
    let holm = Holm::new();
    let mut terminal = Terminal::start(&holm, &["run", "-it", "--rm", "base", "stty", "size"], 12, 34);
    terminal.expect("12 34");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn ctrl_c_interrupts_the_process() {
    let holm = Holm::new();
    let script = "trap 'echo caught-$((1+1)); exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(&holm, &["run", "-it", "--rm", "base", "sh", "-c", script], 24, 80);
    terminal.expect("ready");
    terminal.keys("\x03");
    terminal.expect("caught-2");
    assert_eq!(terminal.finish(), 7);
}

#[test]
fn ctrl_d_ends_input() {
    let holm = Holm::new();
    let mut terminal = Terminal::start(&holm, &["run", "-it", "--rm", "base", "cat"], 24, 80);
    terminal.keys("echoed\n");
    terminal.expect("echoed\r\nechoed\r\n");
    terminal.keys("\x04");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn the_callers_terminal_is_given_back() {
    let holm = Holm::new();
    // A shell of the host runs Holm and looks at its terminal before and after.
    let script = format!(
        "stty -g; {} run -it --rm base sh -c 'stty raw; exit 3'; echo code-$?; stty -g\n",
        holm.shell_words()
    );
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", "sh", &holm.file("script", script)]);
    let mut terminal = Terminal::command(command, 24, 80);
    assert_eq!(terminal.finish(), 0);
    let screen = terminal.rest();
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0], lines[2]);
    assert_eq!(lines[1], "code-3");
}

#[test]
fn detach_keys() {
    let holm = Holm::new();
    let start = ["run", "-it", "--name", "box", "base", "sh"];
    let mut terminal = Terminal::start(&holm, &start, 24, 80);
    terminal.keys("echo first-$((1+1))\n");
    terminal.expect("first-2");
    terminal.keys("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
    let mut back = Terminal::start(&holm, &["attach", "--detach-keys", "ctrl-a,d", "box"], 30, 100);
    back.keys("stty size\n");
    back.expect("30 100");
    // The default keys are now keys as others; the chosen ones detach.
    back.keys("\x01d");
    assert_eq!(back.finish(), 0);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
    let mut last = Terminal::start(&holm, &["attach", "box"], 24, 80);
    last.keys("exit 6\n");
    assert_eq!(last.finish(), 6);
    assert_eq!(holm.ok(["wait", "box"]), "6");
}

#[test]
fn keys_that_only_begin_as_detach_keys_are_handed_on() {
    let holm = Holm::new();
    let script = "stty raw -echo; echo ready; dd bs=1 count=3 2>/dev/null | od -An -tx1";
    let mut terminal = Terminal::start(&holm, &["run", "-it", "--rm", "base", "sh", "-c", script], 24, 80);
    terminal.expect("ready");
    terminal.keys("\x10xy");
    terminal.expect("10 78 79");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn detaching_from_a_program_that_reads_nothing() {
    let holm = Holm::new();
    let script = "stty raw -echo; echo ready; sleep 60";
    let mut terminal =
        Terminal::start(&holm, &["run", "-it", "--name", "deaf", "base", "sh", "-c", script], 24, 80);
    terminal.expect("ready");
    for _ in 0..24 {
        terminal.keys(&"x".repeat(1024));
    }
    terminal.keys("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    holm.ok(["rm", "-f", "deaf"]);
}

#[test]
fn a_terminal_that_everybody_has_closed_for_a_moment() {
    let holm = Holm::new();
    let script =
        "echo before; exec </dev/null >/dev/null 2>&1; sleep 0.3; exec >/dev/console; echo after; sleep 0.1";
    let outcome = holm.run(["run", "-t", "--rm", "base", "sh", "-c", script]);
    assert_eq!(outcome.ok(), "before\r\nafter\r");
}

/// A program that is stopped because it is not in the foreground yet never ends.
#[test]
fn init_has_the_program_in_the_foreground_from_its_start() {
    let holm = Holm::new();
    for _ in 0..10 {
        let flags = ["run", "-it", "--rm", "--init", "base", "stty", "-echo"];
        assert_eq!(Terminal::start(&holm, &flags, 24, 80).finish(), 0);
    }
}

#[test]
fn wrong_detach_keys() {
    let holm = Holm::new();
    holm.run(["run", "--detach-keys", "ctrl-", "base", "true"]).refused(125, &["ctrl-"]);
    holm.run(["run", "--detach-keys", "ctrl-a,hello", "base", "true"]).refused(125, &["hello"]);
    assert!(holm.workloads().is_empty());
}

#[test]
fn needs_a_terminal_of_the_caller() {
    let holm = Holm::new();
    let outcome = holm.call(["run", "-it", "--rm", "base", "true"]).stdin("").run();
    outcome.refused(1, &["TTY"]);
    assert!(holm.workloads().is_empty());
}

#[test]
fn without_input() {
    let holm = Holm::new();
    let outcome =
        holm.run(["run", "-t", "--rm", "base", "sh", "-c", "test -t 1 && echo terminal; echo err >&2"]);
    assert_eq!(outcome.ok(), "terminal\r\nerr\r", "one stream, with the terminal's line breaks");
    let id = holm.start(&["-t"], "tty; stty size > /dev/null && sleep 60");
    eventually("output", || holm.ok(["logs", &id]).contains("/dev/pts/0"));
}

#[test]
fn all_output_comes_before_the_end() {
    let holm = Holm::new();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done";
    let mut terminal = Terminal::start(&holm, &["run", "-it", "--rm", "base", "sh", "-c", script], 24, 80);
    assert_eq!(terminal.finish(), 0);
    let screen = terminal.rest();
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!(lines.len(), 20_000);
    assert!(lines.iter().enumerate().all(|(number, line)| *line == format!("line {number}")));
}

#[test]
fn exec_has_one_of_its_own() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let mut terminal = Terminal::start(&holm, &["exec", "-it", "box", "sh"], 20, 70);
    terminal.keys("stty size; tty\n");
    terminal.expect("20 70");
    terminal.expect("/dev/pts/");
    terminal.resize(21, 71);
    eventually("the new size", || {
        terminal.keys("stty size\n");
        terminal.screen().contains("21 71")
    });
    terminal.keys("\x03exit 8\n");
    assert_eq!(terminal.finish(), 8);
    assert_eq!(holm.inspect("box", "{{.State.Status}}"), "running");
}

#[test]
fn exec_can_be_left() {
    let holm = Holm::new();
    holm.start(&["--name", "box"], "sleep 60");
    let mut terminal = Terminal::start(&holm, &["exec", "-it", "box", "sh"], 20, 70);
    terminal.keys("echo ready-$((1+1))\n");
    terminal.expect("ready-2");
    terminal.keys("\x10\x11");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(holm.ok(["exec", "box", "sh", "-c", "ps | grep -c ' sh$'"]), "1", "the shell goes on");
}

holm_tests::also_in_machines!(
    is_a_terminal,
    size_follows_the_window,
    detach_keys,
    all_output_comes_before_the_end,
    exec_has_one_of_its_own,
    exec_can_be_left
);

#[test]
fn a_question_for_a_password_that_is_broken_off_leaves_the_terminal_as_it_was() {
    let holm = Holm::bare();
    let script = format!("{} login -u somebody localhost:1; echo code-$?; stty -a", holm.shell_words());
    let mut command = std::process::Command::new("setsid");
    command.args(["--ctty", "sh", "-c", &script]).current_dir(holm.scratch(""));
    let mut terminal = Terminal::command(command, 24, 80);
    terminal.expect("Password: ");
    terminal.keys("secrex\x7ft\x03");
    terminal.expect("code-130");
    terminal.expect(" echo ");
    terminal.expect("isig");
    let screen = terminal.screen();
    assert!(!screen.contains("secre") && !screen.contains("-isig"), "{screen}");
    assert_eq!(terminal.finish(), 0);
}
