//! Limits, figures, the clock.

use holm_spec::agent::{Command, GuestWorkload, ProcessRow, Report, Stats};
use serde_json::{Value, json};

use super::cases::cases;
use super::talk::Guest;
use super::workload::{configure, workload};

cases! { FIRST:
    a_limit_of_memory_kills_and_is_told,
    without_a_limit_nobody_is_killed_for_memory,
    figures_are_those_of_the_workload,
    processes_are_listed,
    limits_are_in_force,
    the_clock_is_the_machines,
    random_numbers_differ,
}

fn limited(number: u8, script: &str, resources: &Value) -> GuestWorkload {
    let mut workload = workload(number, script);
    configure(&mut workload, |document| {
        let known = document["linux"]["resources"].as_object_mut().expect("they are given");
        known.extend(resources.as_object().expect("an object").clone());
    });
    workload
}

fn a_limit_of_memory_kills_and_is_told(guest: &mut Guest) {
    let memory = json!({"memory": {"limit": 16 << 20, "swap": 32 << 20}});
    let fat = limited(50, "dd if=/dev/zero of=/dev/null bs=200M count=1", &memory);
    assert_eq!(guest.run(&fat).exited, Some((137, true)));
    assert_eq!(guest.run(&limited(50, "true", &memory)).exited, Some((0, false)), "the next run is another");
}

fn without_a_limit_nobody_is_killed_for_memory(guest: &mut Guest) {
    let end = guest.run(&workload(50, "dd if=/dev/zero of=/dev/null bs=50M count=1 2>/dev/null"));
    assert_eq!(end.exited, Some((0, false)));
}

fn stats(guest: &mut Guest, workload: holm_spec::Id) -> Stats {
    match guest.ask(|request| Command::Stats { request, workload }) {
        Report::Stats { stats, .. } => stats,
        other => panic!("{other:?}"),
    }
}

fn figures_are_those_of_the_workload(guest: &mut Guest) {
    let busy = "i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo up; sleep 1000";
    let session = guest.start(&limited(51, busy, &json!({"memory": {"limit": 64 << 20}})));
    guest.hear(session, "up");
    let of_limited = stats(guest, workload(51, "").id);
    assert_eq!(of_limited.memory_limit, 64 << 20);
    assert!(of_limited.cpu_usage > 1000 && of_limited.pids == 1 && of_limited.memory > 0, "{of_limited:?}");
    guest.kill(session);
    let session = guest.start(&workload(52, "echo up; sleep 1000"));
    guest.hear(session, "up");
    let free = stats(guest, workload(52, "").id);
    assert!((400 << 20..512 << 20).contains(&free.memory_limit), "{free:?}");
    assert!(free.guest_available > 100 << 20 && free.guest_available < free.memory_limit, "{free:?}");
    guest.kill(session);
    let gone = workload(52, "").id;
    let answer = guest.ask(|request| Command::Stats { request, workload: gone });
    assert!(
        matches!(&answer, Report::Refused { message, .. } if message.contains(&gone.short())),
        "{answer:?}"
    );
}

fn processes_are_listed(guest: &mut Guest) {
    let mut app = workload(53, "sleep 1000 & echo up; sleep 999; true");
    app.user = "app".to_owned();
    let session = guest.start(&app);
    guest.hear(session, "up");
    let processes = processes(guest, app.id, 3);
    let first = &processes[0];
    assert_eq!(Some(first.pid), guest.sessions[&session].pid);
    assert!(first.command.starts_with("sh -c sleep 1000") && first.uid == 1000 && first.terminal.is_empty());
    assert!(processes[1..].iter().all(|process| process.parent == first.pid), "{processes:?}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    assert!(first.started.abs_diff(now) < 120, "{first:?}");
    guest.kill(session);
}

/// Processes of a workload, once there are so many.
fn processes(guest: &mut Guest, workload: holm_spec::Id, number: usize) -> Vec<ProcessRow> {
    for _ in 0..500 {
        match guest.ask(|request| Command::Processes { request, workload }) {
            Report::Processes { processes, .. } if processes.len() == number => return processes,
            Report::Processes { .. } => std::thread::sleep(std::time::Duration::from_millis(20)),
            other => panic!("{other:?}"),
        }
    }
    panic!("there are never {number} processes");
}

fn limits_are_in_force(guest: &mut Guest) {
    let resources = json!({"pids": {"limit": 20}, "cpu": {"quota": 50_000, "period": 100_000}});
    let end = guest.run(&limited(
        54,
        "cd /sys/fs/cgroup; cat pids.max cpu.max memory.max; ulimit -n; ulimit -Hn",
        &resources,
    ));
    assert_eq!(end.text(), "20\n50000 100000\nmax\n1024\n524288\n", "{end:?}");
}

fn the_clock_is_the_machines(guest: &mut Guest) {
    let clock = 2_000_000_000;
    guest.send(&Command::Time { clock: clock * 1_000_000_000 });
    let then: u64 = guest.run(&workload(55, "date +%s")).text().trim().parse().expect("a number");
    assert!((clock..clock + 60).contains(&then), "{then}");
    guest.hello();
    guest.until("a welcome", |guest| guest.welcome.is_some());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("now").as_secs();
    let then: u64 = guest.run(&workload(55, "date +%s")).text().trim().parse().expect("a number");
    assert!(then.abs_diff(now) < 60, "{then} is not {now}");
}

fn random_numbers_differ(guest: &mut Guest) {
    let read = workload(56, "head -c 16 /dev/urandom | od -An -tx1");
    let one = guest.run(&read).text();
    guest.send(&Command::Reseed { seed: "17".repeat(32) });
    let two = guest.run(&read).text();
    assert!(one.len() > 40 && one != two, "{one}{two}");
}
