//! The agent of virtual machines, in a guest that QEMU emulates: its protocol spoken over the port, as a machine does.
//!
//! One guest is booted for all tests, and another one with the same scratch disk behind it. The cases run one after the
//! other while the guest runs, each a function that takes it; what is a test only asks how its case went.

mod agent {
    pub mod cases;
    pub mod disks;
    #[path = "../guest/kernel.rs"]
    pub mod kernel;
    pub mod machine;
    pub mod run;
    pub mod talk;
    pub mod workload;

    mod bad_input;
    mod figures;
    mod files;
    mod processes;
    mod streams;

    /// What is done, in order: in the first guest and in the second.
    pub const BOOTS: [&[cases::Table]; 2] = [
        &[processes::FIRST, streams::FIRST, files::FIRST, figures::FIRST, bad_input::FIRST],
        &[files::SECOND],
    ];
}
