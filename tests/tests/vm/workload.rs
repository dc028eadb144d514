//! Settings of the workload's process: one machine for many of them.

use super::traces::with_machines;

#[test]
#[ignore = "boots virtual machines"]
fn settings() {
    with_machines(|holm| {
        let who =
            ["-u", "app", "-w", "/not/there/yet", "--hostname", "island", "-e", "A=a b=c", "-e", "HOME=/x"];
        let script = "echo $(id -u):$(id -g) $(id -G); pwd; hostname; cat /etc/hostname; echo $A $HOME; cat";
        let command = ["base", "-c", script];
        let call = ["run", "--rm", "-i", "--entrypoint", "sh"].iter().chain(&who).chain(&command);
        let outcome = holm.call(call).stdin("input\n").run();
        let expected = "1000:1000 1000 2000\n/not/there/yet\nisland\nisland\na b=c /x\ninput";
        assert_eq!((outcome.ok().as_str(), outcome.err().as_str()), (expected, ""));
    });
}

#[test]
#[ignore = "boots virtual machines"]
fn first_process_and_what_is_around_it() {
    with_machines(|holm| {
        let id = holm.start(&["--init"], "sleep 1000; true");
        let sh = |script: &str| holm.ok(["exec", &id, "sh", "-c", script]);
        assert_eq!(sh("hostname"), id[..12], "the short id by default");
        assert_eq!(sh("cat /proc/1/comm; ls /proc/1/fd | tail -1"), "docker-init\n3");
        let names = "core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero";
        assert_eq!(sh("echo $(ls /dev)"), names);
        assert_eq!(sh("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '"), "lo");
        assert!(sh("cat /etc/hosts").contains("127.0.0.1\tlocalhost"));
        let own = sh("ps -o comm | sort -u");
        assert!(!own.contains("agent"), "the agent is outside: {own}");
        assert_eq!(
            sh("(sleep 0.1 &); sleep 0.5; ps -o stat,comm | grep -c ^Z; true"),
            "0",
            "orphans are reaped"
        );
    });
}
