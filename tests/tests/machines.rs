//! What every back end of `holm_vmm::machine::Machine` does: one suite, run over each of them.
//!
//! The guest is a kernel with busybox as its first program: it says a number ten times a second over the agent's
//! channel and does what is said to it there. One machine runs at a time.

mod machines {
    mod agent;
    mod back_end;
    mod guest;
    #[path = "../guest/kernel.rs"]
    mod kernel;
    mod life;
    mod memory;
    mod network;
    mod snapshots;
    mod twins;
    #[expect(dead_code, reason = "not every suite changes what a workload is configured to be")]
    #[path = "../agent/workload.rs"]
    mod workload;
}
