//! `holm` itself beside systemd: it takes no part in systemd's groups, and is not disturbed by them.

use super::{answer, leaves_nothing};
use crate::guest::step::{Step, step};

/// What is done.
pub const STEPS: &[Step] = &[
    step(
        "image of holm",
        "holm import /base.tar base >/dev/null; holm run --rm base echo hello; holm run --rm base sh -c 'exit 7'",
    ),
    step(
        "limits of holm",
        r#"holm run -d --name box --memory 64m --cpus 0.5 --pids-limit 20 base sleep 1000 >/dev/null
        group=/sys/fs/cgroup/$(holm inspect -f '{{.Holm.Cgroup}}' box); systemctl daemon-reload; systemctl daemon-reexec
        cat $group/memory.max $group/cpu.max $group/pids.max; holm inspect -f '{{json .Holm.LimitsInForce}}' box
        holm exec box cat /proc/self/cgroup; holm stop -t 0 box; holm wait box; holm rm box"#,
    ),
    step(
        "devices of holm",
        r#"holm run --rm base sh -c 'mknod /tmp/mem c 1 1; cat /tmp/mem; mknod /tmp/null c 1 3; echo x >/tmp/null && echo written'"#,
    ),
    step(
        "memory of holm",
        "holm run --name fat --memory 16m base dd if=/dev/zero of=/dev/null bs=200M count=1; echo $?; holm inspect -f '{{.State.OOMKilled}}' fat; holm rm fat",
    ),
];

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn containers_run() {
    let image = answer("image of holm").expect_code(7);
    assert_eq!((image.out(), image.err()), ("hello".to_owned(), String::new()), "{image}");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn systemd_leaves_limits_and_device_rules_alone() {
    let limits = r#"{"memory":67108864,"nano_cpus":500000000,"pids":20}"#;
    answer("limits of holm").says(&format!("67108864\n50000 100000\n20\n{limits}\n0::/\nbox\n137\nbox"));
    answer("devices of holm").says("written");
    answer("devices of holm").errs(&["cat: can't open '/tmp/mem': Operation not permitted"]);
    answer("memory of holm").says("137\ntrue\nfat");
}

#[test]
#[ignore = "boots a virtual machine: cargo xtask test --slow"]
fn nothing_is_left() {
    leaves_nothing("engine");
}
