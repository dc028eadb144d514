//! The same test with containers and with virtual machines.
//!
//! A test is written for containers, and [`also_in_machines!`](crate::also_in_machines) makes another one of it whose
//! workloads are virtual machines: every [`Holm`](crate::Holm) made by its thread has a kernel, and adds `--vm` to each
//! `run` and `create`. Shell scripts of the host that call Holm are not changed.

use std::cell::Cell;

/// What the workloads of an installation are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Containers.
    Container,
    /// Virtual machines.
    Machine,
}

thread_local! {
    static CURRENT: Cell<Isolation> = const { Cell::new(Isolation::Container) };
}

/// What the workloads of this thread's tests are.
#[must_use]
pub fn current() -> Isolation {
    CURRENT.get()
}

/// How many times as long as a container a workload of this thread may take: where KVM does not serve, a guest boots
/// and computes some ten times slower.
#[must_use]
pub fn slowness() -> u32 {
    match current() {
        Isolation::Container => 1,
        Isolation::Machine => 6,
    }
}

/// Runs a test whose workloads are virtual machines.
pub fn in_machines(test: impl FnOnce()) {
    CURRENT.set(Isolation::Machine);
    test();
    CURRENT.set(Isolation::Container);
}

/// Makes tests of these tests whose workloads are virtual machines. They are of the slow group: each boots some.
#[macro_export]
macro_rules! also_in_machines {
    ($($test:ident),+ $(,)?) => {
        /// The same with virtual machines.
        mod in_machines {
            $(
                #[test]
                #[ignore = "boots virtual machines"]
                fn $test() {
                    $crate::isolation::in_machines(super::$test);
                }
            )+
        }
    };
}
