//! The OCI runtime from outside: the command line that engines call, the `config.json` that they write, and what a
//! container and the host see of it.
//!
//! The expectations come from the OCI runtime specification, from what runc documents and prints, and from what
//! containerd, conmon and Docker match in it; not from the sources of Holm. The runtime is `holm-runtime` of the binaries
//! under test, or the program that `HOLM_OCI_RUNTIME` names: that is how the suite itself is tested, with runc. What runc
//! of Debian 12 lacks, `oci::runtime` lists with the reasons.

#[cfg(test)]
mod oci {
    mod bundle;
    mod console;
    mod daemon;
    mod edit;
    mod guard;
    mod machine;
    mod runtime;
    mod setup;

    mod about;
    mod affinity;
    mod attacks;
    mod attacks_by_devices;
    mod bad_input;
    mod capabilities;
    mod checkpoint;
    mod command_line;
    mod containerd;
    mod criu_stand_in;
    mod devices;
    mod docker;
    mod docker_options;
    mod engines;
    mod events;
    mod exec;
    mod exec_process;
    mod foreground;
    mod habits;
    mod hook_failures;
    mod hooks;
    mod intel_rdt;
    mod json_paths;
    mod kill;
    mod landlock;
    mod leaked_descriptors;
    mod lifecycle;
    mod limits;
    mod limits_of_rare_controllers;
    mod list;
    mod logs;
    mod memory_policy;
    mod mount_options;
    mod mount_order;
    mod mounts;
    mod mounts_of_the_kernel;
    mod namespaces;
    mod network_devices;
    mod notify;
    mod pause;
    mod pid_file;
    mod pidfd_socket;
    mod process;
    mod process_limits;
    mod readiness;
    mod rootfs;
    mod rootless;
    mod seccomp;
    mod shared_host;
    mod sudden_ends;
    mod terminals;
    mod together;
    mod update;
    mod users;
}
