//! What a machine cannot be made of or cannot have, and guests that misbehave: a clear error, and nothing is left.

use holm_tests::Holm;

use super::traces::{is_gone, is_released, with_machines};

#[test]
fn no_kernel() {
    let holm = Holm::new();
    let text = holm
        .run(["run", "--rm", "--vm", "base", "true"])
        .refused(125, &["there is no kernel for linux/amd64"]);
    assert!(text.contains("hint: ") && text.contains("holm kernel import linux-image-cloud-amd64"), "{text}");
    holm.run(["run", "--rm", "--vm", "--kernel", "nope", "base", "true"]).refused(125, &["no kernel `nope`"]);
    holm.run(["create", "--vm", "base", "true"]).refused(125, &["there is no kernel"]);
    assert!(holm.workloads().is_empty());
}

#[test]
fn what_needs_the_hosts_kernel() {
    let holm = Holm::new();
    holm.run(["run", "--rm", "--vm", "--network", "host", "base", "true"]).refused(125, &["--network host"]);
    holm.run(["run", "--rm", "--kernel", "x", "base", "true"]).refused(125, &["--kernel", "--vm"]);
    holm.run(["run", "--rm", "--hypervisor", "qemu", "base", "true"]).refused(125, &["--hypervisor", "--vm"]);
    holm.run(["run", "--rm", "--vm", "--hypervisor", "xen", "base", "true"]).refused(125, &["xen"]);
    assert!(holm.workloads().is_empty());
}

/// It is looked for where the system has programs, so a namespace hides it there.
#[test]
#[ignore = "takes a kernel that boots"]
fn no_emulator() {
    with_machines(|holm| {
        let script = "exec unshare -m --propagation private sh -ec '\
            for at in /usr/local/bin /usr/bin /bin; do test ! -e $at/qemu-system-x86_64 || \
            mount --bind -o ro /var/empty-$$ $at/qemu-system-x86_64 2>/dev/null || \
            mount --bind /dev/null $at/qemu-system-x86_64; done; $HOLM run --rm --vm base true'";
        let outcome = holm.host_shell(script);
        outcome.expect_code(125);
        assert!(outcome.err().contains("`qemu-system-x86_64` is not installed"), "{outcome}");
        assert!(
            outcome.err().contains("\nhint: install QEMU"),
            "what to do, on a line of its own: {outcome}"
        );
        assert!(holm.workloads().is_empty());
    });
}

#[test]
#[ignore = "takes a kernel that boots"]
fn kvm_where_it_does_not_serve() {
    with_machines(|holm| {
        let outcome = holm.script(&["--hypervisor", "kvm"], "echo up");
        if outcome.code() != 0 {
            outcome.refused(125, &["KVM"]);
            assert!(outcome.err().contains("--hypervisor qemu"), "{outcome}");
        }
        assert!(holm.workloads().is_empty());
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn a_kernel_that_is_none() {
    with_machines(|holm| {
        let garbage = holm.file("vmlinuz", holm_tests::kernels::image("6.1.0-garbage"));
        holm.ok(["kernel", "import", "-q", "--tag", "garbage", &garbage]);
        let call = ["run", "--rm", "--kernel", "garbage", "base", "true"];
        holm.run(call).refused(125, &["start the emulator"]);
        assert!(holm.workloads().is_empty());
    });
}

/// The agent gives up a port whose driver is not there, and says so.
#[test]
#[ignore = "boots virtual machines"]
fn a_kernel_without_drivers() {
    with_machines(|holm| {
        let real = holm.ok(["kernel", "inspect", "-f", "{{.Image.Path}}"]);
        holm.ok(["kernel", "import", "-q", "--tag", "bare", &real]);
        let outcome = holm.run(["run", "--rm", "--kernel", "bare", "base", "true"]);
        outcome.refused(125, &["start the machine", "holm.agent.0", "no driver"]);
        assert!(holm.workloads().is_empty());
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn a_guest_that_panics() {
    with_machines(|holm| {
        let script = "echo before; echo c > /proc/sysrq-trigger; sleep 1000";
        let outcome = holm.run(["run", "--privileged", "--name", "box", "base", "sh", "-c", script]);
        outcome.expect_code(137);
        assert_eq!(outcome.out(), "before");
        let state = holm
            .inspect("box", "{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Error}}");
        assert!(state.starts_with("exited 137 false "), "{state}");
        assert!(state.contains("the guest's kernel panicked") && state.contains("sysrq"), "{state}");
        let id = holm.inspect("box", "{{.Id}}");
        is_released(holm, &id);
        holm.ok(["rm", "box"]);
        is_gone(holm, &id);
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn a_guest_that_resets_itself_or_powers_itself_off() {
    with_machines(|holm| {
        for (key, reason) in [("b", "the guest reset itself"), ("o", "the guest powered itself off")] {
            let script = format!("echo {key} > /proc/sysrq-trigger; sleep 1000");
            holm.run(["run", "--privileged", "--name", "box", "base", "sh", "-c", &script]).expect_code(137);
            assert_eq!(holm.inspect("box", "{{.State.ExitCode}} {{.State.Error}}"), format!("137 {reason}"));
            holm.ok(["rm", "box"]);
        }
    });
}

/// The console is for the kernel's messages: what a guest floods it with neither grows anything nor ends the guest.
#[test]
#[ignore = "boots virtual machines"]
fn a_guest_that_floods_its_console() {
    with_machines(|holm| {
        let script = "mknod /tty c 4 64; mknod /kmsg c 1 11; \
            (yes flooding | head -c 500000 > /tty) & (yes flooding | head -n 5000 > /kmsg) & wait; echo done; sleep 1000";
        let id = holm.start(&["--privileged", "--name", "box"], script);
        assert_eq!(holm.ok(["exec", "box", "echo", "alive"]), "alive");
        holm_tests::eventually("the flood is over", || holm.ok(["logs", "box"]) == "done");
        assert_eq!(holm.ok(["exec", "box", "echo", "alive"]), "alive");
        holm.ok(["rm", "-f", "box"]);
        is_gone(holm, &id);
    });
}
