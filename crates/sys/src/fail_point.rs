//! Points at which a test kills the process, to prove that a crash there loses nothing.
//!
//! `HOLM_FAIL_POINT=<name>` in the environment makes the process that reaches the point kill itself
//! with SIGKILL, as a crash would. Harmless by construction: a process can only end itself. Release
//! binaries keep the check (one comparison against a value read once), because what is tested must
//! be what is shipped.

use std::sync::OnceLock;

/// Every point, in the order in which `holm import`, `holm kernel import`, `holm run` and `holm rm` meet them.
pub const ALL: &[&str] = &[
    "import-layer-written",
    "import-layer-synced",
    "import-layer-renamed",
    "unpack-layer-synced",
    "unpacked-layer-unnamed",
    "import-blobs-written",
    "import-ref-written",
    "build-step-recorded",
    "build-image-noted",
    "build-step-made",
    "kernel-blobs-written",
    "kernel-ref-written",
    "create-name-claimed",
    "create-snapshot-made",
    "volume-staged",
    "volume-filling",
    "volume-filled",
    "volume-unnamed",
    "volumes-releasing",
    "file-system-made",
    "file-system-mounted",
    "create-config-written",
    "create-published",
    "start-sandbox-staged",
    "start-sandbox-published",
    "start-keeper-spawned",
    "keeper-begun",
    "networks-document-removed",
    "network-claimed",
    "network-connected",
    "network-ports-withdrawn",
    "cni-claimed",
    "cni-added",
    "cni-made",
    "cni-deleted",
    "keeper-layers-mounted",
    "keeper-cgroup-made",
    "keeper-process-cloned",
    "keeper-process-started",
    "keeper-state-written",
    "machine-cgroup-made",
    "machine-helpers-started",
    "machine-jail-started",
    "machine-told",
    "log-shifted",
    "log-put-aside",
    "log-compressed",
    "keeper-exit-seen",
    "keeper-exit-written",
    "keeper-cgroup-removed",
    "keeper-layers-released",
    "remove-begun",
    "remove-snapshot-removed",
    "remove-name-released",
    "remove-workload-removed",
    "check-broken-removed",
    "check-layer-aside",
    "mount-recorded",
    "prune-workloads-removed",
    "prune-compressed-removed",
    "rmi-name-removed",
    "rmi-ref-removed",
    "rmi-blobs-removed",
];

/// Those of the registry's server, in the order in which a push and a removal meet them.
pub const REGISTRY: &[&str] = &[
    "registry-upload-appended",
    "registry-upload-synced",
    "registry-blob-named",
    "registry-blob-given",
    "registry-upload-removed",
    "registry-manifest-described",
    "registry-referrer-written",
    "registry-manifest-written",
    "registry-tag-written",
    "registry-manifest-removed",
    "registry-blob-unlinked",
    "registry-blob-taken",
];

/// Dies here if the environment asks for it.
pub fn reached(name: &'static str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    debug_assert!(ALL.contains(&name) || REGISTRY.contains(&name), "fail point `{name}` is not listed");
    let chosen = CHOSEN.get_or_init(|| std::env::var("HOLM_FAIL_POINT").ok());
    if chosen.as_deref() == Some(name) {
        die();
    }
}

fn die() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    loop {
        std::thread::park();
    }
}
