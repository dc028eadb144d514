//! `holm-agent`: the first process of a virtual machine. It makes the guest ready, runs workloads there as the keeper
//! does on a host, and tells the machine about them (`holm_spec::agent`). Nothing here is for people.
//!
//! ```text
//! boot::prepare     modules, a root of its own, the kernel's file systems, control groups
//! Agent::new        the serial port that is the channel
//! Agent::run        one thread, one epoll, until the machine says shutdown
//! power::off        whatever happened
//! ```
//!
//! The kernel panics when its first process ends, so this one does not: what fails is said on the console or to the
//! machine. Workloads see none of its files; they have a root, a group and namespaces of their own.

mod agent;
mod boot;
mod channel;
mod commands;
mod console;
mod devices;
mod figures;
mod outgoing;
mod power;
mod session;
mod storage;
mod workload;

use agent::Agent;

/// musl's allocator asks the kernel for every few blocks; this one keeps what it got.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() {
    if std::process::id() != 1 {
        // Everything below is meant for a machine of its own.
        std::process::exit(125);
    }
    // No workload may look into this process.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    let mut agent = match boot::prepare().and_then(|()| Agent::new()) {
        Ok(agent) => agent,
        Err(error) => {
            console::say(&error.in_one_line());
            power::off();
        }
    };
    agent.run();
    power::off();
}
