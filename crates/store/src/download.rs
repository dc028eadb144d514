//! Blobs on their way from a registry, and layers as they were packed.
//!
//! ```text
//! downloads/<hex>          the first bytes of the blob with that digest; flock: who writes it
//! downloads/<hex>.turn     flock: who makes a layer of that blob
//! blobs/sha256/<hex>       the blob, whole and verified
//! ```
//! Whoever dies leaves what was fetched, and the next one goes on from there; what nobody touched for a week goes
//! with a repair. Two processes that want the same blob fetch it once, and make a layer of it once. A fetch waits for
//! nothing but its registry, and a turn only for a fetch, so none waits for another in a circle.
//!
//! A layer as it was packed is a cache: it is needed to push the same digest again, is never synced, and is hashed by
//! whoever uses it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use holm_spec::Digest;
use holm_sys::lock::{Lock, Mode};
use sha2::{Digest as _, Sha256};

use crate::blob::remove_file;
use crate::error::{Error, Result};
use crate::ingest::Ingest;
use crate::store::{Exclusive, InUse, Store};

/// How long something that nobody goes on with is kept.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// How often somebody who waits looks.
const LOOK: Duration = Duration::from_millis(20);
const TURN: &str = ".turn";
const BUFFER: usize = 256 << 10;

/// What is there of a blob.
#[derive(Debug)]
pub enum Begun {
    /// All of it.
    Whole(File),
    /// Its first bytes, perhaps none.
    Part(Download),
}

/// A blob that this process fetches. Dropping it leaves what is there for the next one.
#[derive(Debug)]
pub struct Download {
    digest: Digest,
    path: PathBuf,
    lock: Lock,
}

/// The right to make a layer of a blob.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    _lock: Lock,
}

impl Store {
    /// Looks for a blob, verified, and else takes the right to fetch it. While somebody else has that, it waits as long
    /// as `wants` says so; `None` where that ends.
    ///
    /// # Errors
    /// [`Kind::NoSpace`](crate::Kind::NoSpace), [`Kind::ReadOnly`](crate::Kind::ReadOnly),
    /// [`Kind::Io`](crate::Kind::Io).
    pub fn begin_download(&self, digest: &Digest, wants: &dyn Fn() -> bool) -> Result<Option<Begun>> {
        if let Some(file) = self.packed(digest)? {
            return Ok(Some(Begun::Whole(file)));
        }
        let path = self.paths().download(digest);
        let Some(lock) = wait(&path, wants)? else { return Ok(None) };
        // Who had it may just have ended.
        if let Some(file) = self.packed(digest)? {
            remove_file(&path, || format!("remove `{}`", path.display()))?;
            return Ok(Some(Begun::Whole(file)));
        }
        Ok(Some(Begun::Part(Download { digest: *digest, path, lock })))
    }

    /// Takes the right to make a layer of a blob, as [`Store::begin_download`] does.
    ///
    /// # Errors
    /// As there.
    pub fn begin_layer(&self, digest: &Digest, wants: &dyn Fn() -> bool) -> Result<Option<Turn>> {
        let mut path = self.paths().download(digest).into_os_string();
        path.push(TURN);
        let path = PathBuf::from(path);
        Ok(wait(&path, wants)?.map(|lock| Turn { path, _lock: lock }))
    }

    /// The blob with this digest, at its first byte; `None` where it is not there. One that is damaged is removed.
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io).
    pub fn packed(&self, digest: &Digest) -> Result<Option<File>> {
        let path = self.paths().blob(digest);
        let failed = |error| Error::io(format!("read blob {digest}"), error);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        if digest_of(&mut file).map_err(failed)? != *digest {
            tracing::warn!("blob {digest} is damaged: it is removed");
            self.remove_blob(digest)?;
            return Ok(None);
        }
        io::Seek::rewind(&mut file).map_err(failed)?;
        Ok(Some(file))
    }

    /// As [`Store::packed`], for who sends it to somebody who hashes it: nothing but its size is checked here.
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io).
    pub fn packed_unchecked(&self, digest: &Digest, size: u64) -> Result<Option<File>> {
        let failed = |error| Error::io(format!("read blob {digest}"), error);
        match File::open(self.paths().blob(digest)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            file => {
                let file = file.map_err(failed)?;
                Ok((file.metadata().map_err(failed)?.len() == size).then_some(file))
            }
        }
    }

    /// Gives a file of `ingest` that has this digest, which the caller saw, its final name; not durably.
    pub(crate) fn put_packed(
        &self,
        ingest: &Ingest,
        name: &str,
        digest: &Digest,
        _in_use: &InUse,
    ) -> Result<()> {
        rename(&ingest.path().join(name), &self.paths().blob(digest))
    }
}

impl Download {
    /// The file, for writing at offsets.
    pub fn file(&self) -> impl AsFd {
        self.lock.as_fd()
    }

    /// A file for reading, which does not hold the lock.
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io).
    pub fn reader(&self) -> Result<File> {
        File::open(&self.path).map_err(|error| Error::io(format!("open `{}`", self.path.display()), error))
    }

    /// It is whole, and the caller has seen that its digest is right: it gets its final name.
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io).
    pub fn finish(self, store: &Store) -> Result<()> {
        let _in_use = store.in_use()?;
        rename(&self.path, &store.paths().blob(&self.digest))
    }

    /// It is not what it should be: nobody goes on with it.
    ///
    /// # Errors
    /// [`Kind::Io`](crate::Kind::Io).
    pub fn discard(self) -> Result<()> {
        remove_file(&self.path, || format!("remove `{}`", self.path.display())).map(drop)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // While it is held: whoever waits sees that the file went, and makes another one.
        let _ = rustix::fs::unlink(&self.path);
    }
}

impl Exclusive<'_> {
    /// Removes downloads that nobody went on with for a week; gives their number.
    pub(crate) fn remove_old_downloads(&self) -> Result<usize> {
        let directory = self.store.paths().downloads();
        let mut removed = 0;
        for name in self.store.file_names(&directory)? {
            let path = directory.join(name);
            if is_old(&path) && matches!(Lock::try_acquire(&path, Mode::Exclusive), Ok(Some(_))) {
                removed += usize::from(remove_file(&path, || format!("remove `{}`", path.display()))?);
            }
        }
        Ok(removed)
    }
}

fn is_old(path: &std::path::Path) -> bool {
    let age = |metadata: std::fs::Metadata| SystemTime::now().duration_since(metadata.modified().ok()?).ok();
    path.symlink_metadata()
        .ok()
        .filter(|metadata| metadata.nlink() > 0)
        .and_then(age)
        .is_some_and(|age| age > KEPT)
}

/// The lock of a file that may go while others wait for it.
fn wait(path: &std::path::Path, wants: &dyn Fn() -> bool) -> Result<Option<Lock>> {
    while wants() {
        if let Some(lock) = Lock::try_acquire(path, Mode::Exclusive)? {
            return Ok(Some(lock));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

fn rename(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    rustix::fs::rename(from, to).map_err(|errno| Error::io(format!("write `{}`", to.display()), errno))
}

fn digest_of(file: &mut File) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_sha256(hash.finalize().into())),
            length => hash.update(&buffer[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::store::tests::scratch;

    fn part(store: &Store, digest: &Digest) -> Download {
        match store.begin_download(digest, &|| true).expect("begin") {
            Some(Begun::Part(download)) => download,
            other => panic!("a part: {other:?}"),
        }
    }

    #[test]
    fn what_was_fetched_waits_for_the_next_one() {
        let (_dir, store) = scratch();
        let digest = Digest::of(b"whole");
        let first = part(&store, &digest);
        rustix::io::pwrite(first.file(), b"who", 0).expect("write");
        assert!(store.begin_download(&digest, &|| false).expect("no error").is_none(), "nobody waits");
        let tried = AtomicBool::new(false);
        let once = || !tried.swap(true, Ordering::Relaxed);
        assert!(store.begin_download(&digest, &once).expect("no error").is_none(), "it is held");
        drop(first);
        let second = part(&store, &digest);
        assert_eq!(io::read_to_string(second.reader().expect("open")).expect("read"), "who");
        rustix::io::pwrite(second.file(), b"le", 3).expect("write");
        second.finish(&store).expect("rename");
        let whole = store.begin_download(&digest, &|| true).expect("begin");
        assert!(matches!(whole, Some(Begun::Whole(_))));
        std::fs::write(store.paths().blob(&digest), b"whale").expect("damage");
        part(&store, &digest).discard().expect("remove");
        assert!(!store.has_blob(&digest));
        assert_eq!(std::fs::read_dir(store.paths().downloads()).expect("list").count(), 0);
    }

    #[test]
    fn a_turn_leaves_nothing() {
        let (_dir, store) = scratch();
        let digest = Digest::of(b"layer");
        let turn = store.begin_layer(&digest, &|| true).expect("begin").expect("free");
        let tried = AtomicBool::new(false);
        let once = || !tried.swap(true, Ordering::Relaxed);
        assert!(store.begin_layer(&digest, &once).expect("no error").is_none());
        drop(turn);
        assert_eq!(std::fs::read_dir(store.paths().downloads()).expect("list").count(), 0);
    }

    #[test]
    fn only_what_is_old_goes_with_a_repair() {
        let (_dir, store) = scratch();
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        drop((part(&store, &old), part(&store, &new)));
        let week_ago = SystemTime::now() - KEPT - Duration::from_secs(60);
        let file = File::options().write(true).open(store.paths().download(&old)).expect("open");
        file.set_modified(week_ago).expect("set");
        assert_eq!(store.exclusive().expect("lock").remove_old_downloads().expect("remove"), 1);
        assert!(!store.paths().download(&old).exists() && store.paths().download(&new).exists());
    }
}
