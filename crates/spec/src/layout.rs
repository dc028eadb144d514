//! Where everything lies: the paths under the two roots (DESIGN sections 4 and 5). Pure.
//!
//! ```text
//! <root>/                        (default /var/lib/holm)
//!   blobs/ layers/ refs/ ingest/ the store's own, see the crate `store`
//!   locks/{names,repair,service} flock: removal of names that crashes left; repair; watching over keepers
//!   kvm.json                     whether KVM serves on this kernel
//!   locks/store                  flock: shared while something refers to new content, exclusive for gc
//!   snapshots/<workload>/{upper,work}  of a container; `scratch`, a disk, of a virtual machine
//!   locks/networks               flock: shared while a sandbox joins or leaves networks, exclusive to change these
//!   networks/<name>.json         a network (`spec::network`)
//!   cni/<sandbox>-<network>      what CNI plugins did for a sandbox and have not undone, see the crate `network`
//!   locks/volumes                flock: shared while something refers to new volumes, exclusive to remove them
//!   volumes/<name>/              a volume (`spec::volume`)
//!     volume.json                what was asked; immutable
//!     _data/                     what it holds
//!     lock                       flock: held by who fills it
//!     filling/ filled/           what it is being filled with, see the crate `volume`
//!   volumes/.work/               volumes half made and half removed; which ones go with which workload
//!   names/<name>                 symbolic link to the workload's id: the claim of a name
//!   workloads/<workload>/
//!     config.json                what was asked, resolved; immutable
//!     changes.json               its limits and restart policy, if they were changed after it was created
//!     networks.json              its networks, if they were changed after it was created
//!     exit.json                  state after the last run; absent before the first
//!     lock                       flock: held by who changes the workload
//!     log/                       output (`spec::log`)
//!   workloads/.new-<workload>/   being made; its maker holds `lock` in it
//! <run>/                         (default /run/holm)
//!   layers/<key>/                shared mount of a layer;  layers/<key>.lock
//!   volumes/<name>/root          shared mount of a volume that is a file system;  volumes/<name>/lock
//!   images/<digest>/root         shared mount of an image of several layers, of which a part is mounted;  …/lock
//!   mounts/<key>/                an image that is mounted: record.json, and `root` if nobody named a directory
//!   events/log                   what happened (`spec::event`)
//!   networks/<name>/<address>    a sandbox's endpoint in a network, by each of its addresses
//!   seccomp/<key>                compiled seccomp programs
//!   initrds/<key>.cpio           first roots of guests
//!   sandboxes/<sandbox>/         exists while the sandbox runs
//!     lock                       flock held exclusively by the keeper
//!     keeper.sock                SOCK_SEQPACKET, messages of `spec::keeper`
//!     workloads/<workload>/      state.json, stdout, stderr (FIFOs)
//!     endpoints/<network>        the same files by the networks that the sandbox has
//!     netns                      the network namespace, mounted while CNI plugins have to do with it
//!     shared                     another sandbox has joined the network namespace
//!     machine.json, facts.json   of a virtual machine: how it is started, what it is
//!     jail/                      root of the machine's jail
//! ```

use std::path::{Path, PathBuf};

use crate::log::Driver;
use crate::workload::Config;
use crate::{Digest, Id};

/// Prefix of directories that are being made: not yet published by rename.
pub const STAGED_PREFIX: &str = ".new-";
/// Prefix of directories that are being removed.
pub const DOOMED_PREFIX: &str = ".old-";

/// The two roots of one Holm installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// State that survives a boot.
    pub root: PathBuf,
    /// State that does not.
    pub run: PathBuf,
}

impl Layout {
    /// The layout below `root` and `run`.
    pub fn new(root: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), run: run.into() }
    }

    /// Directory of all workloads.
    pub fn workloads(&self) -> PathBuf {
        self.root.join("workloads")
    }

    /// Directory of one workload.
    pub fn workload(&self, id: &Id) -> WorkloadPaths {
        WorkloadPaths { dir: self.workloads().join(id.to_string()) }
    }

    /// Directory of the claimed names.
    pub fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// Lock of whoever removes a name that a crash left.
    pub fn names_lock(&self) -> PathBuf {
        self.root.join("locks/names")
    }

    /// Lock of whoever repairs; others leave it to them.
    pub fn repair_lock(&self) -> PathBuf {
        self.root.join("locks/repair")
    }

    /// Lock of whoever watches over the keepers.
    pub fn service_lock(&self) -> PathBuf {
        self.root.join("locks/service")
    }

    /// Directory of the networks' documents.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// The document of a network ([`crate::network::Network`]).
    pub fn network(&self, name: &str) -> PathBuf {
        self.networks().join(format!("{name}.json"))
    }

    /// Directory of what plugins were told to do for sandboxes and have not undone: it outlives a boot, as what they keep may.
    pub fn cni(&self) -> PathBuf {
        self.root.join("cni")
    }

    /// Lock of whoever changes networks, or joins one.
    pub fn networks_lock(&self) -> PathBuf {
        self.root.join("locks/networks")
    }

    /// Directory of a network's addresses that are taken ([`crate::network::Endpoint`]).
    pub fn network_addresses(&self, name: &str) -> PathBuf {
        self.run.join("networks").join(name)
    }

    /// Directory of all volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Directory of one volume, whose name is valid ([`crate::volume::is_valid_name`]).
    pub fn volume(&self, name: &str) -> VolumePaths {
        VolumePaths { dir: self.volumes().join(name) }
    }

    /// Directory of the shared mounts of volumes.
    pub fn volume_mounts(&self) -> PathBuf {
        self.run.join("volumes")
    }

    /// Where a volume is mounted that is a file system.
    pub fn volume_mount(&self, name: &str) -> SharedPaths {
        SharedPaths { dir: self.volume_mounts().join(name) }
    }

    /// Directory of the shared mounts of whole images.
    pub fn whole_images(&self) -> PathBuf {
        self.run.join("images")
    }

    /// Where the layers of an image are mounted as one.
    pub fn whole_image(&self, id: &Digest) -> SharedPaths {
        SharedPaths { dir: self.whole_images().join(id.hex()) }
    }

    /// Lock of whoever removes volumes, or refers to one anew.
    pub fn volumes_lock(&self) -> PathBuf {
        self.root.join("locks/volumes")
    }

    /// Directory of all writable parts.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Directory with the writable part of one workload.
    pub fn snapshot(&self, id: &Id) -> PathBuf {
        self.snapshots().join(id.to_string())
    }

    /// What a workload in a virtual machine writes: a disk.
    pub fn scratch(&self, id: &Id) -> PathBuf {
        self.snapshot(id).join("scratch")
    }

    /// Whether KVM serves on this host's kernel, found out once.
    pub fn kvm_answers(&self) -> PathBuf {
        self.root.join("kvm.json")
    }

    /// Directory of the first roots of guests.
    pub fn initrds(&self) -> PathBuf {
        self.run.join("initrds")
    }

    /// Directory of the shared layer mounts.
    pub fn layer_mounts(&self) -> PathBuf {
        self.run.join("layers")
    }

    /// Directory of the images that are mounted for people: a record each, and the directory if nobody named one.
    pub fn image_mounts(&self) -> PathBuf {
        self.run.join("mounts")
    }

    /// Directory of compiled seccomp programs.
    pub fn seccomp_cache(&self) -> PathBuf {
        self.run.join("seccomp")
    }

    /// The log of events ([`crate::event`]).
    pub fn events(&self) -> PathBuf {
        self.run.join("events/log")
    }

    /// Directory of all running sandboxes.
    pub fn sandboxes(&self) -> PathBuf {
        self.run.join("sandboxes")
    }

    /// Directory of one running sandbox.
    pub fn sandbox(&self, id: &Id) -> SandboxPaths {
        SandboxPaths { dir: self.sandboxes().join(id.to_string()) }
    }
}

/// Paths of one workload below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadPaths {
    /// The workload's directory.
    pub dir: PathBuf,
}

impl WorkloadPaths {
    /// The immutable configuration ([`crate::workload::Config`]).
    pub fn config(&self) -> PathBuf {
        self.dir.join("config.json")
    }

    /// Its networks, where they were changed after it was created ([`crate::network::Attachment`], in their order).
    pub fn networks(&self) -> PathBuf {
        self.dir.join("networks.json")
    }

    /// What was changed of it after it was created ([`crate::changes::Changes`]).
    pub fn changes(&self) -> PathBuf {
        self.dir.join("changes.json")
    }

    /// State after the last run ([`crate::workload::State`]).
    pub fn exit(&self) -> PathBuf {
        self.dir.join("exit.json")
    }

    /// Lock of whoever changes the workload.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Directory of the log files.
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// The log file that grows; none where the output is kept in no file.
    pub fn log(&self, config: &Config) -> Option<PathBuf> {
        config.settings.log.files?;
        let name = match config.settings.log.driver {
            Driver::JsonFile => format!("{}-json.log", config.id),
            Driver::Local | Driver::Journald | Driver::None => "0.log".to_owned(),
        };
        Some(self.log_dir().join(name))
    }
}

/// Paths of a mount that many use, below the run root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedPaths {
    /// The directory of both.
    pub dir: PathBuf,
}

impl SharedPaths {
    /// Where it is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Lock of its users.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }
}

/// Paths of one volume below the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePaths {
    /// The volume's directory.
    pub dir: PathBuf,
}

impl VolumePaths {
    /// Its document ([`crate::volume::Volume`]).
    pub fn document(&self) -> PathBuf {
        self.dir.join("volume.json")
    }

    /// What it holds, by Docker's name.
    pub fn data(&self) -> PathBuf {
        self.dir.join("_data")
    }

    /// Lock of whoever fills it.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// What it is being filled with.
    pub fn filling(&self) -> PathBuf {
        self.dir.join("filling")
    }

    /// The same once it is whole.
    pub fn filled(&self) -> PathBuf {
        self.dir.join("filled")
    }
}

/// Paths of one running sandbox below the run root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxPaths {
    /// The sandbox's directory.
    pub dir: PathBuf,
}

impl SandboxPaths {
    /// Lock that the keeper holds for its whole life.
    pub fn lock(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The keeper's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join(SOCKET_NAME)
    }

    /// Directory of what the sandbox has of networks, by their names ([`crate::network::Endpoint`]).
    pub fn endpoints(&self) -> PathBuf {
        self.dir.join("endpoints")
    }

    /// The sandbox's network namespace, for as long as plugins have to do with it.
    pub fn namespace(&self) -> PathBuf {
        self.dir.join("netns")
    }

    /// Mark of a sandbox whose network namespace another one has joined: its devices outlive it.
    pub fn shared(&self) -> PathBuf {
        self.dir.join("shared")
    }

    /// Directory of one workload that runs in the sandbox.
    pub fn workload(&self, id: &Id) -> PathBuf {
        self.dir.join("workloads").join(id.to_string())
    }

    /// State of one workload that runs in the sandbox ([`crate::workload::State`]).
    pub fn state(&self, id: &Id) -> PathBuf {
        self.workload(id).join("state.json")
    }
}

/// File name of the keeper's socket inside the sandbox's directory; connected to through a
/// directory descriptor, because a socket address holds 108 bytes.
pub const SOCKET_NAME: &str = "keeper.sock";

/// Cgroup of all keepers, relative to the cgroup2 root: outside every workload's limits and outside
/// the session of whoever started them (`docs/design/0001`).
pub fn keepers_cgroup(parent: &str) -> PathBuf {
    Path::new(parent).join("keepers")
}

/// Cgroup of a sandbox, relative to each hierarchy's root.
pub fn sandbox_cgroup(parent: &str, sandbox: &Id) -> PathBuf {
    Path::new(parent).join(sandbox.to_string())
}

/// Cgroup of a workload, relative to each hierarchy's root: below its sandbox's, or that one itself if the
/// sandbox is the workload's own. A group less is a tenth of a millisecond less, in each hierarchy.
pub fn workload_cgroup(parent: &str, sandbox: &Id, workload: &Id) -> PathBuf {
    let sandbox_group = sandbox_cgroup(parent, sandbox);
    if sandbox == workload { sandbox_group } else { sandbox_group.join(workload.to_string()) }
}
