//! `holm service` below systemd: what a reboot and a power cut end, and what comes back. The guest boots three times with one
//! disk.

use std::time::Duration;

use super::machine::{Guest, Plan};
use super::record::Answer;
use super::step::{Step, step};
use super::systemd::debian;

static GUEST: Guest = Guest::new(Plan {
    areas: &[("service", STEPS)],
    life: Duration::from_secs(600),
    boots_again: true,
    ..debian::PLAN
});

/// What is done. `/tools` has the functions that several steps need: `table` shows what runs and what does not, `pids` the
/// first processes of what runs, `found COUNT` what a boot has made of workloads of which so many are to run.
const STEPS: &[Step] = &[
    step(
        "the unit",
        r#"cat >/tools <<'X'
table() { holm ps -a --format '{{.Names}} {{.State}}' | sort; }
pids() { holm ps -q | xargs holm inspect -f '{{.Name}} {{.State.Pid}}'; }
port() { busybox wget -q -O- 127.0.0.1:8080; }
found() {
    for try in $(seq 60); do [ $(holm ps -q | wc -l) != $1 ] || break; sleep 0.5; done
    eventually 'port >/dev/null 2>&1'
    table; pgrep -c holm-keeper; port; cat /var/lib/holm/volumes/data/_data/log; echo; holm logs web; echo
    journalctl -b -u holm -o cat | grep 'after the boot' | sort
}
X
        holm import /base.tar base >/dev/null; holm service install
        systemctl is-active holm; systemctl is-enabled holm; systemd-analyze verify /etc/systemd/system/holm.service
        holm doctor | grep -E '^(cgroups|nftables) ' | tr -s ' '"#,
    ),
    step(
        "workloads",
        r#". /tools
        start() { name=$1; policy=$2; shift 2; holm run -d --name $name --restart $policy "$@" >/dev/null; }
        start web always -m 64m -v data:/data -p 8080:80 base sh -c '
            trap "echo ended >>/data/log; exit 0" TERM; mkdir -p /www; echo hello >/www/index.html; httpd -p 80 -h /www
            echo begun; echo begun >>/data/log; sync; sleep 1000 & wait'
        start kept unless-stopped base sleep 1000
        start job on-failure base sh -c 'trap "exit 0" TERM; sleep 1000 & wait'
        start done on-failure base true
        start stopped unless-stopped base sleep 1000
        start forced always base sleep 1000
        start plain no base sleep 1000
        holm stop -t 0 stopped forced >/dev/null; eventually 'port >/dev/null 2>&1'; table; port"#,
    ),
    step(
        "a killed keeper",
        r#". /tools; pids >/tmp/before; id=$(holm inspect -f '{{.Id}}' web)
        old=$(pgrep -f "holm-keeper.*$id"); kill -9 $old; begin=$(cut -d' ' -f1 /proc/uptime)
        eventually "pgrep -f 'holm-keeper adopt.*$id' >/tmp/new"
        echo "$begin $(cut -d' ' -f1 /proc/uptime)" | awk '{ print $2 - $1, "s until another one was there" }' >&2
        eventually "journalctl -u holm -o cat | grep -o 'its keeper was killed, a new one took over'"
        pids | diff /tmp/before - && port"#,
    ),
    step(
        "what systemd does",
        r#". /tools; group=/sys/fs/cgroup/$(holm inspect -f '{{.Holm.Cgroup}}' web)
        same() { pids | diff /tmp/before - && cat $group/memory.max; }
        systemctl restart holm; same; systemctl daemon-reload; same; systemctl daemon-reexec; same
        old=$(systemctl show -P MainPID holm); kill -9 $old; sleep 1.5
        eventually '[ $(systemctl show -P MainPID holm) != '$old' ]'; systemctl is-active holm; same"#,
    ),
    step("a reboot", "date +%s >/kept/.down; systemctl reboot; sleep 1000"),
    step(
        "after the reboot",
        r#". /tools; echo "down for $(($(date +%s) - $(cat /kept/.down))) s, up for $(cut -d' ' -f1 /proc/uptime)" >&2; found 4
        holm inspect -f '{{.State.ExitCode}}' plain"#,
    ),
    step(
        "a power cut",
        r#"holm run -d --name late --restart always base sleep 1000; holm stop -t 0 kept; echo b >/proc/sysrq-trigger; sleep 1000"#,
    ),
    step("after the power cut", ". /tools; found 4"),
    step(
        "no unit",
        r#". /tools; pids >/tmp/before; holm service uninstall; systemctl is-active holm; find /etc/systemd -name '*holm*'
        pids | diff /tmp/before - && port; holm rm -f $(holm ps -aq) >/dev/null; holm volume rm data"#,
    ),
];

#[track_caller]
fn answer(step: &str) -> &'static Answer {
    GUEST.answer(step)
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn systemd_runs_it() {
    answer("the unit")
        .says("/etc/systemd/system/holm.service\nactive\nenabled\ncgroups ok v2\nnftables ok answers");
    assert_eq!(answer("the unit").err(), "", "`systemd-analyze verify` finds nothing");
    answer("workloads").says(
        "done exited\nforced exited\njob running\nkept running\nplain running\nstopped exited\nweb running\nhello",
    );
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn workloads_outlive_keepers_and_the_service() {
    println!("{}", answer("a killed keeper").err());
    answer("a killed keeper").says("its keeper was killed, a new one took over\nhello");
    answer("what systemd does").says("67108864\n67108864\n67108864\nactive\n67108864");
}

/// Each once, and those that were stopped as their policy says; each was asked to end before.
#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_reboot_brings_workloads_back() {
    println!("{}", answer("after the reboot").err());
    answer("after the reboot").says(
        "done exited\nforced running\njob running\nkept running\nplain exited\nstopped exited\nweb running\n4\nhello\n\
        begun\nended\nbegun\n\nbegun\nbegun\n\n\
        holm: workload forced: started after the boot\nholm: workload job: started after the boot\n\
        holm: workload kept: started after the boot\nholm: workload web: started after the boot\n137",
    );
}

/// Also what somebody had said a moment before.
#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn a_power_cut_takes_nothing_back() {
    answer("after the power cut").says(
        "done exited\nforced running\njob running\nkept exited\nlate running\nplain exited\nstopped exited\nweb running\n\
        4\nhello\nbegun\nended\nbegun\nbegun\n\nbegun\nbegun\nbegun\n\n\
        holm: workload forced: started after the boot\nholm: workload job: started after the boot\n\
        holm: workload late: started after the boot\nholm: workload web: started after the boot",
    );
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    println!("{}", GUEST.boot().times());
    answer("no unit").says("/etc/systemd/system/holm.service\ninactive\nhello\ndata");
    GUEST.leaves_nothing("service");
}
