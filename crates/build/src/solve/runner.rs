//! What a build needs of whoever has workloads and images.

use std::os::fd::AsFd;
use std::path::PathBuf;

use holm_spec::{Digest, Timestamp};
use holm_store::{BuiltLayer, Image};

use crate::dockerfile::{Network, Sharing};

/// Runs steps, and gets images. An error is a text for people, with its cause at the end.
pub trait StepRunner {
    /// An image by its name, fetched if it is not here.
    ///
    /// # Errors
    /// There is none, or it cannot be had.
    fn image(&self, name: &str) -> Result<Image, String>;

    /// The layer of a step, above these, from wherever else steps are kept; now it is in the store. What goes wrong with that
    /// is no reason not to build.
    fn cached(&self, key: &Digest, below: &[Digest]) -> Option<BuiltLayer>;

    /// The root of layers, to be looked at.
    ///
    /// # Errors
    /// They cannot be mounted.
    fn root(&self, layers: &[BuiltLayer]) -> Result<Box<dyn AsFd>, String>;

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
    },
    /// A file system in memory, of so many bytes if that is limited.
    Memory(Option<u64>),
    /// A file that nobody else reads.
    Secret {
        /// Where it is.
        path: PathBuf,
        /// Permissions.
        mode: u32,
        /// Owner.
        owner: (u32, u32),
    },
    /// A path in layers: of a stage, an image, the context.
    Layers(Vec<BuiltLayer>, String),
}
