//! The store itself: where it is, that it is there, and who may change it.
//!
//! ```text
//! InUse      shared lock on locks/store: something is about to refer to content (import, tag, run)
//! Exclusive  exclusive lock on locks/store: nothing is; content may be removed
//! ```
//! Readers take no lock: every file is replaced by rename or never changes.

use std::path::Path;

use holm_spec::layout::Layout;
use holm_sys::file::{ensure_directory, sync_directory};
use holm_sys::lock::{Lock, Mode};
use rustix::fs::Access;
use rustix::io::Errno;

use crate::convert;
use crate::error::{Error, Kind, Result};
use crate::paths::Paths;
use crate::unpacked::LayerForm;

/// An image store on disk. Cheap to open and to clone; holds no descriptor.
#[derive(Clone, Debug)]
pub struct Store {
    paths: Paths,
    layers: LayerLimits,
    form: LayerForm,
}

/// What a layer that comes in may be at most; what is not said is as in [`crate::convert::Limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerLimits {
    /// Bytes of its image.
    pub size: Option<u64>,
    /// Its files and directories.
    pub entries: Option<u64>,
}

/// Proof that content will not be removed: the shared store lock. Held by whoever makes a reference,
/// or a workload, that refers to content that it just looked up; for a short time only.
#[derive(Debug)]
pub struct InUse {
    _lock: Lock,
}

/// The exclusive store lock: nobody is about to refer to anything, content may go.
///
/// What workloads use must be collected while it is held, so that none appears in between.
#[derive(Debug)]
pub struct Exclusive<'a> {
    pub(crate) store: &'a Store,
    _lock: Lock,
}

impl Store {
    /// Opens the store below `layout.root`, making its directories (mode 0700) the first time.
    ///
    /// One system call where the store is there.
    ///
    /// # Errors
    /// [`Kind::Denied`] without rights, [`Kind::ReadOnly`], [`Kind::NoSpace`], [`Kind::Io`]; all name
    /// the directory.
    pub fn open(layout: &Layout) -> Result<Self> {
        let store = Self::peek(layout);
        // `refs` is made last: where it is, everything is.
        match rustix::fs::access(store.paths.refs(), Access::EXISTS) {
            Ok(()) => Ok(store),
            Err(Errno::NOENT) => store.make_directories().map(|()| store),
            Err(errno) => Err(cannot_open(&layout.root, errno.into())),
        }
    }

    /// The store below `layout.root` whether it is there or not, for who only reads; makes nothing.
    pub fn peek(layout: &Layout) -> Self {
        Self {
            paths: Paths { layout: layout.clone() },
            layers: LayerLimits::default(),
            form: LayerForm::default(),
        }
    }

    fn make_directories(&self) -> Result<()> {
        let failed = |error| cannot_open(&self.paths.layout.root, error);
        let paths = &self.paths;
        let directories = [
            paths.blobs(),
            paths.layers(),
            paths.layout.snapshots(),
            paths.ingest(),
            paths.downloads(),
            paths.locks(),
            paths.refs(),
        ];
        for directory in directories {
            ensure_directory(&directory, 0o700).map_err(failed)?;
        }
        sync_directory(&paths.layout.root.join("blobs")).map_err(failed)?;
        sync_directory(&paths.layout.root).map_err(failed)
    }

    /// The same store, which takes no larger layers.
    #[must_use]
    pub fn limit_layers(self, layers: LayerLimits) -> Self {
        Self { layers, ..self }
    }

    /// The same store, whose layers are mounted in this form.
    #[must_use]
    pub fn mount_layers_as(self, form: LayerForm) -> Self {
        Self { form, ..self }
    }

    /// The form that layers are mounted in.
    pub(crate) fn layer_form(&self) -> LayerForm {
        self.form
    }

    /// What a layer that comes in may be at most.
    pub(crate) fn layer_limits(&self) -> convert::Limits {
        let default = convert::Limits::default();
        let entries = self.layers.entries.map(|entries| usize::try_from(entries).unwrap_or(usize::MAX));
        convert::Limits {
            image: self.layers.size.unwrap_or(default.image),
            entries: entries.unwrap_or(default.entries),
            ..default
        }
    }

    /// The directories that the store lies in.
    pub fn layout(&self) -> &Layout {
        &self.paths.layout
    }

    pub(crate) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The names in a directory of the store, sorted; none where it does not exist.
    pub(crate) fn file_names(&self, directory: &Path) -> Result<Vec<String>> {
        let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // The store writes no name that is not text.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Keeps content from being removed until the guard is dropped. Take it before you look up an
    /// image that you are about to refer to.
    ///
    /// # Errors
    /// [`Kind::Locked`] after a minute, naming the holder; [`Kind::ReadOnly`], [`Kind::Denied`].
    pub fn in_use(&self) -> Result<InUse> {
        Ok(InUse { _lock: Lock::acquire(&self.paths.store_lock(), Mode::Shared)? })
    }

    /// Waits until nobody is about to refer to content, and keeps it so until the guard is dropped.
    ///
    /// # Errors
    /// As [`Store::in_use`].
    pub fn exclusive(&self) -> Result<Exclusive<'_>> {
        Ok(Exclusive { store: self, _lock: Lock::acquire(&self.paths.store_lock(), Mode::Exclusive)? })
    }

    /// As [`Store::exclusive`], or `None` if somebody is at work now.
    ///
    /// # Errors
    /// As [`Store::in_use`].
    pub fn try_exclusive(&self) -> Result<Option<Exclusive<'_>>> {
        let lock = Lock::try_acquire(&self.paths.store_lock(), Mode::Exclusive)?;
        Ok(lock.map(|lock| Exclusive { store: self, _lock: lock }))
    }
}

fn cannot_open(root: &Path, error: std::io::Error) -> Error {
    Error::io(format!("open the image store `{}`", root.display()), error)
}

impl Error {
    /// The same failure told as damage of the store, where something that must be there is missing.
    pub(crate) fn missing_is_damage(self) -> Self {
        match self.kind() {
            Kind::NotFound => Self::new(Kind::Corrupt, self.to_string()),
            _ => self,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A store in a temporary directory that goes with the guard.
    pub(crate) fn scratch() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout::new(dir.path().join("root"), dir.path().join("run"));
        let store = Store::open(&layout).expect("open");
        (dir, store)
    }

    #[test]
    fn opening_again_changes_nothing() {
        let (_dir, store) = scratch();
        let listing = || {
            let entries = std::fs::read_dir(&store.layout().root).expect("list");
            let mut names: Vec<_> = entries.map(|entry| entry.expect("entry").file_name()).collect();
            names.sort();
            names
        };
        let before = listing();
        assert_eq!(before, ["blobs", "downloads", "ingest", "layers", "locks", "refs", "snapshots"]);
        Store::open(store.layout()).expect("open again");
        assert_eq!(listing(), before);
    }

    #[test]
    fn a_root_that_is_a_file_is_named() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().join("file");
        std::fs::write(&root, b"").expect("write");
        let error = Store::open(&Layout::new(&root, dir.path())).expect_err("not a directory");
        assert!(error.to_string().contains(&root.display().to_string()), "{error}");
    }

    #[test]
    fn the_exclusive_lock_waits_for_users() {
        let (_dir, store) = scratch();
        let in_use = store.in_use().expect("shared");
        let second = store.in_use().expect("shared again");
        let lock = store.paths().store_lock();
        assert!(Lock::try_acquire(&lock, Mode::Exclusive).expect("no error").is_none());
        drop((in_use, second));
        store.exclusive().expect("free");
    }
}
