//! What a build needs of whoever has workloads and images.

use std::os::fd::AsFd;
use std::path::PathBuf;

use holm_spec::platform::Platform;
use holm_spec::{Digest, Timestamp};
use holm_store::{BuiltLayer, Image};

use super::tree::Root;
use crate::dockerfile::{Network, Sharing};
use crate::remote::Repository;

/// Runs steps, several at a time, and gets images. An error is a text for people, with its cause at the end.
pub trait StepRunner: Sync {
    /// An image by its name for a platform, fetched if it is not here; the same one for the whole of a build.
    ///
    /// # Errors
    /// There is none, or it cannot be had.
    fn image(&self, name: &str, platform: &Platform) -> Result<Image, String>;

    /// The layer of a step, above these, from wherever else steps are kept; now it is in the store. What goes wrong with that
    /// is no reason not to build.
    fn cached(&self, key: &Digest, below: &[Digest]) -> Option<BuiltLayer>;

    /// The root of layers, to be looked at.
    ///
    /// # Errors
    /// They cannot be mounted.
    fn root(&self, layers: &[BuiltLayer]) -> Result<Root, String>;

    /// A file of the web, fetched if it changed since it was fetched before. With a checksum it is that or none.
    ///
    /// # Errors
    /// It cannot be had, or is another one.
    fn download(&self, url: &str, checksum: Option<&Digest>) -> Result<Downloaded, String>;

    /// The commit that a repository has at what is asked of it, in hexadecimal.
    ///
    /// # Errors
    /// It cannot be had, or is not the one that it must be.
    fn commit(&self, repository: &Repository) -> Result<String, String>;

    /// The files of a commit, for as long as what is returned is kept.
    ///
    /// # Errors
    /// They cannot be had.
    fn checkout(&self, repository: &Repository, commit: &str) -> Result<Root, String>;

    /// User and group in numbers, by the names that a root knows.
    ///
    /// # Errors
    /// It knows none of that name.
    fn owner(&self, root: Option<&dyn AsFd>, name: &str) -> Result<(u32, u32), String>;

    /// Executes a command above layers, and makes what it leaves a layer with this key.
    ///
    /// # Errors
    /// It cannot be executed, or its layer cannot be made.
    fn run(&self, step: &RunStep, key: &Digest, output: &mut dyn FnMut(&[u8])) -> Result<Ran, String>;

    /// Ends all commands that are being executed, and lets none begin.
    fn stop(&self);
}

/// A file of the web that is here.
pub struct Downloaded {
    /// The directory that it is in.
    pub directory: Root,
    /// Its name there.
    pub file: String,
    /// The name that it is given, of which nothing leads anywhere.
    pub name: String,
    /// Its content's.
    pub digest: Digest,
    /// When its server says that it changed, in seconds since 1970.
    pub modified: Option<i64>,
    /// Nothing was fetched.
    pub cached: bool,
}

/// How a command ended.
#[derive(Debug)]
pub enum Ran {
    /// Well; this is what it left.
    Layer(Box<BuiltLayer>),
    /// With another exit code than 0.
    Failed(i32),
}

/// A command of `RUN`.
#[derive(Clone, Debug, Default)]
pub struct RunStep {
    /// What it lies on, lowest first.
    pub layers: Vec<BuiltLayer>,
    /// What is executed.
    pub words: Vec<String>,
    /// Its environment, in order.
    pub environment: Vec<(String, String)>,
    /// `user[:group]`; root if empty.
    pub user: String,
    /// Where it begins; it is made if it is not there.
    pub directory: String,
    /// What it reaches.
    pub network: Network,
    /// When its layer says that it was made.
    pub created: Timestamp,
    /// Its layer is to be made even if another build has made it meanwhile.
    pub anew: bool,
    /// Nothing in its layer is younger, in seconds since 1970.
    pub latest: Option<i64>,
    /// It has all rights (`--security=insecure`).
    pub insecure: bool,
    /// What it sees besides.
    pub mounts: Vec<StepMount>,
    /// What the command is made for; this host if absent.
    pub platform: Option<Platform>,
    /// Variables that are written down nowhere.
    pub secrets: Vec<(String, Secret)>,
}

/// Something that nobody else reads.
#[derive(Clone)]
pub enum Secret {
    /// What a file holds.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Secret {
    /// Most bytes of one.
    pub const LIMIT: u64 = 1 << 20;

    /// What it is.
    ///
    /// # Errors
    /// The file cannot be read, or it has more than [`Secret::LIMIT`] bytes.
    pub fn read(&self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::File(path) => holm_sys::file::read_limited(path, Self::LIMIT),
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file `{}`", path.display()),
            Self::Bytes(_) => f.write_str("some bytes"),
        }
    }
}

/// Something that a command sees and that is no part of its layer.
#[derive(Clone, Debug)]
pub struct StepMount {
    /// Where, an absolute path.
    pub target: String,
    /// What.
    pub source: MountSource,
    /// Nothing can be written there.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Clone, Debug)]
pub enum MountSource {
    /// A directory that builds share.
    Cache {
        /// Its name.
        id: String,
        /// Who may use it at a time.
        sharing: Sharing,
        /// Permissions when it is made.
        mode: u32,
        /// Owner when it is made.
        owner: (u32, u32),
        /// What it holds when it is made: a path in layers.
        content: Option<(Vec<BuiltLayer>, String)>,
    },
    /// A file system in memory, of so many bytes if that is limited.
    Memory(Option<u64>),
    /// A file that nobody else reads.
    Secret {
        /// What it holds.
        secret: Secret,
        /// Permissions.
        mode: u32,
        /// Owner.
        owner: (u32, u32),
    },
    /// A program, which everybody may execute.
    Script(String),
    /// A socket that leads to an agent of SSH keys.
    Agent {
        /// Where that listens.
        socket: PathBuf,
        /// Permissions.
        mode: u32,
        /// Owner.
        owner: (u32, u32),
    },
    /// A path in layers: of a stage, an image, the context. What is written there goes with the step.
    Layers(Vec<BuiltLayer>, String),
}
