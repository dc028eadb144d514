//! Workloads in virtual machines, from outside: what a user of `--vm` sees, beyond the tests of `cli.rs` that run with
//! either isolation (`in_machines` there).
//!
//! All are of the slow group: each boots some guests, of two to five seconds each where KVM does not serve. One machine
//! serves many assertions where their order does not matter.

mod vm {
    mod bad_input;
    mod builds;
    mod ends;
    mod foreign;
    mod guest;
    mod limits;
    mod memory;
    mod networks;
    mod shares;
    mod sudden_ends;
    mod traces;
    mod workload;
}
