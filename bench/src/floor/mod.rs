//! Floors: programs that do what the kernel must do for a container, and nothing else.
//!
//! A floor is only worth something if it can be reviewed, so each one prints its system calls in order
//! (`--print-calls`) and what it leaves out ([`LEFT_OUT_OF_RUN`] and its sisters). The calls are recorded
//! where they are made, so the list cannot drift from the program.
//!
//! | module | holds |
//! |---|---|
//! | [`calls`] | the record of system calls, shared between the parent and the child |
//! | [`sys`] | the calls that rustix does not wrap: `clone3`, `seccomp`, `bpf`, `execve`, `getrusage`, signals |
//! | [`cgroup`] | the group on cgroup v2, and the memory group where a limit is asked for |
//! | [`confine`] | the seccomp filter and the capabilities, in the child |
//! | [`run`] | start a container, wait for it, release everything |
//! | [`exec`] | a process in a running container |
//! | [`oci`] | the same for an OCI runtime, with Docker's configuration |
//! | [`mount`] | mount layers, and an overlay over them |
//! | [`import`] | read, hash and write a file once |
//! | [`log`] | read lines, write them with a time before each |
//! | [`pull`] | fetch, hash, inflate, hash and write layers once |
//!
//! File-backed EROFS mounts need Linux 6.12; an overlay over a mount that is attached nowhere needs 6.15. On
//! older kernels the floor fails with the name of the call.

pub mod calls;
pub mod cgroup;
pub mod confine;
pub mod echo;
pub mod exec;
pub mod import;
pub mod log;
pub mod mount;
pub mod oci;
pub mod pull;
pub mod run;
pub mod sys;

/// What [`run`] leaves out of what an engine does to start a container.
pub const LEFT_OUT_OF_RUN: &[&str] = &[
    "looking up the image, verifying it, merging its configuration with the command line",
    "sharing the mounted layer between containers: the lock, the attached mount, the look-up in mountinfo",
    "claiming a name, writing config.json and state.json, events, all other state and locks",
    "a keeper: its start, stdio relay and FIFOs, logs, the exit status file, sockets",
    "the wait for the child to be ready and the start signal (create and start are one)",
    "device nodes and links in /dev, /etc/hosts, /etc/resolv.conf, /etc/hostname, the host name",
    "masked and read-only paths, the cgroup mount, resolving mount targets inside a hostile root",
    "device rules (eBPF), every limit but --memory, joining v1 hierarchies for accounting",
    "looking up the user and its groups, rlimits, OOM score, no_new_privs, a new session, the environment",
    "bringing up the loopback interface",
    "compiling the seccomp profile (the filter is a constant)",
];

/// What [`exec`] leaves out of what an engine does to run a process in a running container.
pub const LEFT_OUT_OF_EXEC: &[&str] = &[
    "finding the container, reading its state and configuration, locks",
    "asking a keeper, stdio relay, logs, the exit status file",
    "joining v1 groups, rlimits, the user, the environment, a new session",
    "compiling the seccomp profile (the filter is a constant)",
];

/// What [`mount`] leaves out of what an engine does to mount an image.
pub const LEFT_OUT_OF_MOUNT: &[&str] = &[
    "sharing a layer's mount between containers: the lock, the mount point, attaching, looking whether it is mounted",
    "opening the directories of layers and of the writable part by paths",
];

/// What [`import`] leaves out of what an engine does to import a tarball.
pub const LEFT_OUT_OF_IMPORT: &[&str] = &[
    "reading the tar's entries, building the file system's metadata, hashing the result",
    "the metadata that gives the tar back, the configuration, the manifest, refs, the rename",
];

/// What [`pull`] leaves out of what an engine does to pull an image.
pub const LEFT_OUT_OF_PULL: &[&str] = &[
    "the tar's entries: file systems, metadata, whiteouts; the metadata that gives the tar back",
    "keeping layers as they came; documents, names, locks; names by rename, directories synced",
    "authentication, TLS, retries, resumption, progress; registries that do not send a length",
];
