//! The drawing and the table are functions of facts; these are the facts.

use super::*;
use holm_engine::compare::{Ground, HostProcess};
use holm_engine::{Error, Kind};

fn side(millis: u64, kernel: &str, machine: Option<MachineSide>, names: &[&str]) -> Side {
    let processes = names.iter().zip(1..).map(|(name, number)| HostProcess {
        pid: 4000 + number,
        name: (*name).to_owned(),
        memory: (u64::try_from(number).expect("small") * millis) << 15,
    });
    Side {
        start: Duration::from_micros(millis * 1003),
        whole: Duration::from_micros(millis * 1507),
        exit_code: 0,
        machine,
        kernel: kernel.to_owned(),
        costs: Some(Costs { processes: processes.collect(), group_memory: None, disk: 8192 }),
    }
}

fn machine(accelerator: Accelerator) -> Side {
    let machine = MachineSide {
        accelerator,
        reason: "QEMU translates the guest's code, as there is no /dev/kvm".to_owned(),
        emulator: "/usr/bin/qemu-system-x86_64".into(),
        memory: 1 << 30,
    };
    let names = ["holm-keeper", "holm-machine", "qemu-system-x86_64"];
    side(1900, "6.1.0-49-cloud-amd64", Some(machine), &names)
}

fn comparison(machine: Result<Side>) -> Comparison {
    Comparison {
        command: vec!["true".to_owned()],
        host: Ground { kernel: "6.18.5".to_owned(), is_guest: false },
        container: Ok(side(5, "6.18.5", None, &["holm-keeper", "sh"])),
        machine,
    }
}

#[test]
fn both_ways() {
    insta::assert_snapshot!(text(&comparison(Ok(machine(Accelerator::Tcg))), Pen::BOXES), @"
                                 CONTAINER                     VIRTUAL MACHINE
        until it runs            5.02 ms                       1.91 s
        until `true` is gone     7.54 ms                       2.86 s
        exit code                0                             0
        memory                   480KiB                        356.2MiB
          of it the keeper's     160KiB                        59.38MiB
        disk beside the image    8KiB                          8KiB
        processes on the host    2                             3
                                 holm-keeper                   holm-keeper
                                 sh                            holm-machine
                                                               qemu-system-x86_64
        kernel that it sees      6.18.5 (the host's)           6.1.0-49-cloud-amd64 (its own)
        its system calls go to   the host's kernel, filtered   its own kernel, filtered
        wall to its neighbours   namespaces and capabilities   a machine, in a jail besides
        hypervisor               none                          emulator: QEMU translates its code

        Why this hypervisor: QEMU translates the guest's code, as there is no /dev/kvm

                                    virtual machine
                                  ┌───────────────────────────────────┐
                                  │ application                       │
                                  ├───────────────────────────────────┤
                                  │ holm-agent                        │
                                  ├───────────────────────────────────┤
          container               │ guest kernel 6.1.0-49-cloud-amd64 │
        ┌────────────────────┐    ├───────────────────────────────────┤
        │ application        │    │ QEMU (emulator)                   │
        ├────────────────────┤    ├───────────────────────────────────┤
        │ holm-keeper        │    │ holm-keeper                       │
        ├────────────────────┤    ├───────────────────────────────────┤
        │ host kernel 6.18.5 │    │ host kernel 6.18.5                │
        ├────────────────────┤    ├───────────────────────────────────┤
        │ hardware           │    │ hardware                          │
        └────────────────────┘    └───────────────────────────────────┘
        ");
}

#[test]
fn under_kvm_on_a_host_that_is_a_guest_in_ascii() {
    let mut comparison = comparison(Ok(machine(Accelerator::Kvm)));
    comparison.host.is_guest = true;
    insta::assert_snapshot!(drawing::stacks(&stacks(&comparison), Pen::ASCII), @"
                                           virtual machine
                                         +--------------------------------------+
                                         | application                          |
                                         +--------------------------------------+
                                         | holm-agent                           |
                                         +--------------------------------------+
          container                      | guest kernel 6.1.0-49-cloud-amd64    |
        +---------------------------+    +--------------------------------------+
        | application               |    | QEMU (devices)                       |
        +---------------------------+    +--------------------------------------+
        | holm-keeper               |    | holm-keeper                          |
        +---------------------------+    +--------------------------------------+
        | host kernel 6.18.5        |    | host kernel 6.18.5 with KVM (type 2) |
        +---------------------------+    +--------------------------------------+
        | hardware (itself virtual) |    | hardware (itself virtual)            |
        +---------------------------+    +--------------------------------------+
        ");
}

#[test]
fn what_is_missing_is_said_with_advice() {
    let error = Error::new(Kind::NoSuchKernel, "there is no kernel for linux/amd64");
    let comparison = comparison(Err(error));
    insta::assert_snapshot!(text(&comparison, Pen::BOXES), @"
                                 CONTAINER                     VIRTUAL MACHINE
        until it runs            5.02 ms                       -
        until `true` is gone     7.54 ms                       -
        exit code                0                             -
        memory                   480KiB                        -
          of it the keeper's     160KiB                        -
        disk beside the image    8KiB                          -
        processes on the host    2                             -
                                 holm-keeper                   -
                                 sh                            -
        kernel that it sees      6.18.5 (the host's)           -
        its system calls go to   the host's kernel, filtered   -
        wall to its neighbours   namespaces and capabilities   -
        hypervisor               none                          -

        No virtual machine: there is no kernel for linux/amd64
          hint: `holm kernel ls` lists the kernels; `holm kernel import linux-image-cloud-amd64` fetches Debian's

          container
        ┌────────────────────┐
        │ application        │
        ├────────────────────┤
        │ holm-keeper        │
        ├────────────────────┤
        │ host kernel 6.18.5 │
        ├────────────────────┤
        │ hardware           │
        └────────────────────┘
        ");
    let document = document("debian", 3, &comparison);
    assert_eq!(document["Machine"]["Missing"], "there is no kernel for linux/amd64");
    assert!(document["Machine"]["Hints"][0].as_str().is_some_and(|hint| hint.contains("kernel import")));
    assert_eq!(document["Container"]["Disk"], 8192);
}

#[test]
fn an_image_without_a_shell_leaves_gaps() {
    let mut comparison = comparison(Ok(machine(Accelerator::Tcg)));
    comparison.container.as_mut().expect("there").costs = None;
    let rows = rows(&comparison);
    let memory = rows.iter().find(|row| row[0] == "memory").expect("a row");
    assert_eq!((memory[1].as_str(), memory[2].as_str()), ("-", "356.2MiB"));
    assert_eq!(document("x", 1, &comparison)["Container"]["Memory"], Value::Null);
}

#[test]
fn times_have_three_digits() {
    let shown: Vec<String> = [5_123, 51_234, 512_345, 5_123_456, 51_234_567]
        .map(|micros| time(Duration::from_micros(micros)))
        .into();
    assert_eq!(shown, ["5.12 ms", "51.2 ms", "512 ms", "5.12 s", "51.2 s"]);
}

#[test]
fn a_long_command_is_cut() {
    let words = ["python3", "-c", "print(1)\nprint(2)"].map(str::to_owned);
    assert_eq!(shown(&words), "python3 -c print(1)…");
}
