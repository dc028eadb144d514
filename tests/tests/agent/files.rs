//! Roots: layers, what is written over them, files of the machine's.

use holm_spec::agent::{Command, GuestFile, GuestWorkload, Report};
use serde_json::json;

use super::cases::cases;
use super::talk::Guest;
use super::workload::{configure, workload};

cases! { FIRST:
    layers_lie_over_each_other,
    files_of_the_machine_are_mounted,
    a_read_only_root_is_read_only,
    the_scratch_disk_takes_what_is_written,
    a_workload_that_starts_again_finds_what_it_wrote,
    the_scratch_disk_can_be_synced,
    a_disk_that_is_full_is_the_workloads_trouble,
    memory_that_is_full_is_the_workloads_trouble,
    partitions_that_are_not_there_are_refused,
}

cases! { SECOND:
    another_guest_finds_what_was_written,
}

fn layers_lie_over_each_other(guest: &mut Guest) {
    let script = "cat /etc/os-release /etc/over; stat -c %a:%U /; mount | grep -c erofs";
    let mut over = workload(40, script);
    over.layers = vec![1, 2];
    let end = guest.run(&over);
    assert_eq!(end.text(), "ID=over\nof the second layer\n755:root\n0\n", "{end:?}");
}

fn with_files(workload: &mut GuestWorkload) {
    workload.files = vec![
        GuestFile { target: "/etc/hosts".to_owned(), content: "127.0.0.1 box\n".to_owned() },
        GuestFile { target: "/new/deep/file".to_owned(), content: "deep\n".to_owned() },
    ];
}

fn files_of_the_machine_are_mounted(guest: &mut Guest) {
    let mut workload = workload(
        41,
        "cat /etc/hosts /new/deep/file; stat -c %a /etc/hosts; echo more >>/etc/hosts; wc -l </etc/hosts",
    );
    with_files(&mut workload);
    for _ in 0..2 {
        let end = guest.run(&workload);
        assert_eq!(end.text(), "127.0.0.1 box\ndeep\n644\n2\n", "as the machine made it, each time: {end:?}");
    }
}

fn a_read_only_root_is_read_only(guest: &mut Guest) {
    let mut workload = workload(41, "touch /x || echo no; echo more >>/etc/hosts || echo no; cat /etc/hosts");
    workload.files =
        vec![GuestFile { target: "/etc/hosts".to_owned(), content: "127.0.0.1 box\n".to_owned() }];
    configure(&mut workload, |document| document["root"]["readonly"] = json!(true));
    let end = guest.run(&workload);
    assert_eq!(end.text(), "no\nno\n127.0.0.1 box\n", "{end:?}");
}

fn on_disk(number: u8, script: &str) -> GuestWorkload {
    let mut workload = workload(number, script);
    workload.scratch = true;
    workload
}

fn the_scratch_disk_takes_what_is_written(guest: &mut Guest) {
    let end = guest.run(&on_disk(42, "echo kept >/kept; rm /etc/passwd; ls /etc/passwd; sync"));
    assert_eq!(end.exited, Some((0, false)), "{end:?}");
}

fn a_workload_that_starts_again_finds_what_it_wrote(guest: &mut Guest) {
    let end = guest.run(&on_disk(42, "cat /kept; ls /etc/passwd"));
    assert_eq!(end.text(), "kept\n", "{end:?}");
    assert_eq!(guest.run(&on_disk(43, "ls /kept /etc/passwd 2>/dev/null")).text(), "/etc/passwd\n");
}

fn another_guest_finds_what_was_written(guest: &mut Guest) {
    a_workload_that_starts_again_finds_what_it_wrote(guest);
}

fn the_scratch_disk_can_be_synced(guest: &mut Guest) {
    assert!(matches!(guest.ask(|request| Command::Sync { request }), Report::Done { .. }));
}

fn a_disk_that_is_full_is_the_workloads_trouble(guest: &mut Guest) {
    let end =
        guest.run(&on_disk(44, "dd if=/dev/zero of=/big bs=1M count=200 2>&1 | grep -o 'No space'; rm /big"));
    assert_eq!(end.text(), "No space\n", "{end:?}");
    assert_eq!(guest.run(&on_disk(42, "cat /kept")).text(), "kept\n");
}

fn memory_that_is_full_is_the_workloads_trouble(guest: &mut Guest) {
    let end = guest.run(&workload(45, "dd if=/dev/zero of=/big bs=1M count=400 2>&1 | grep -o 'No space'"));
    assert_eq!(end.text(), "No space\n", "{end:?}");
    assert_eq!(guest.run(&workload(46, "echo fine >/x; cat /x")).text(), "fine\n");
}

fn partitions_that_are_not_there_are_refused(guest: &mut Guest) {
    for layers in [vec![1, 9], vec![], vec![0]] {
        let workload = Box::new(GuestWorkload { layers, ..workload(47, "true") });
        let answer = guest.ask(|request| Command::Create { request, workload });
        assert!(matches!(&answer, Report::Refused { .. }), "{answer:?}");
    }
    assert_eq!(guest.run(&workload(47, "echo fine")).text(), "fine\n");
}
