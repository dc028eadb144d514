//! What is asked about the files of a workload, wherever its root is: on the host, or in the guest of its machine.
//!
//! | task | reads | writes |
//! |---|---|---|
//! | [`Task::Look`] | | a [`Status`], in JSON |
//! | [`Task::Pack`], [`Task::Export`] | | a tar archive |
//! | [`Task::Unpack`] | a tar archive | |
//! | [`Task::Changes`] | | a line of JSON for each [`Change`] |
//! | [`Task::Layer`] | | a layer (OCI image specification, "Image Layer Filesystem Changeset") |
//!
//! What fails is told as a [`Failure`], in JSON, on standard error where the task has a process of its own.

use serde::{Deserialize, Serialize};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// What lies at a path.
    Look {
        /// Path in the workload.
        path: String,
        /// Of a link, what it leads to.
        follow: bool,
    },
    /// What lies at a path and below it.
    Pack {
        /// Path in the workload.
        path: String,
        /// What it is called in the archive; `.` for what lies below it without itself, `./` with it.
        name: String,
        /// Of a link, what it leads to; links below are packed as such.
        follow: bool,
    },
    /// Put an archive's entries into a directory.
    Unpack {
        /// Path in the workload of a directory that is there.
        directory: String,
        /// How.
        options: Unpack,
    },
    /// Everything of the root, without what is mounted in it.
    Export,
    /// What is not as the image has it.
    Changes {
        /// Paths that do not count: where something was mounted.
        ignored: Vec<String>,
    },
    /// The same as a layer.
    Layer {
        /// Paths that do not count: where something was mounted.
        ignored: Vec<String>,
        /// How the layer is to be.
        #[serde(default)]
        form: LayerForm,
    },
}

/// How a layer is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LayerForm {
    /// Seconds since 1970: nothing says that it changed later.
    pub latest: Option<i64>,
    /// Directories that do not count if nothing is in them: those above places where something was mounted, which were made for
    /// that.
    pub stubs: Vec<String>,
}

/// How an archive is unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unpack {
    /// The only name that entries may have or be below, as whoever packs was asked for; any if absent. An archive that a
    /// guest made may hold more than was asked for.
    pub only: Option<String>,
    /// User and group that everything gets; the archive's own if absent.
    pub owner: Option<(u32, u32)>,
    /// Keep set-user-id and set-group-id bits, file capabilities and access control lists.
    pub privileges: bool,
    /// Make device nodes; otherwise they are left out.
    pub devices: bool,
    /// Of an entry for the directory itself the owner, permissions and attributes count.
    #[serde(default)]
    pub top: bool,
}

/// What lies at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Type and permissions, as stat(2) has them in `st_mode`.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
    /// Where it leads to, if it is a symbolic link.
    pub link: Option<String>,
}

impl Status {
    const TYPE: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        self.mode & Self::TYPE == Self::DIRECTORY
    }
}

/// How a path differs from the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChangeKind {
    /// The image does not have it.
    #[serde(rename = "A")]
    Added,
    /// It is another, or has other attributes; of a directory, what is in it.
    #[serde(rename = "C")]
    Changed,
    /// Only the image has it.
    #[serde(rename = "D")]
    Deleted,
}

impl ChangeKind {
    /// One letter.
    pub fn letter(self) -> char {
        match self {
            Self::Added => 'A',
            Self::Changed => 'C',
            Self::Deleted => 'D',
        }
    }
}

/// One path that differs from the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// How.
    pub kind: ChangeKind,
    /// Absolute path; of a name that is no UTF-8, what is none is replaced.
    pub path: String,
}

/// Why a task was not carried out, for who decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// There is nothing at the path.
    NotFound,
    /// The archive, or a path, makes no sense or is not allowed.
    Invalid,
    /// The file system is mounted read-only.
    ReadOnly,
    /// No room on the disk.
    NoSpace,
    /// Anything else.
    Failed,
}

/// Why a task was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// For callers.
    pub kind: FailureKind,
    /// One line: operation, object, cause.
    pub message: String,
}
