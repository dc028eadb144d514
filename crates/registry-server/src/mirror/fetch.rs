//! One blob on its way from upstream, and those who read behind it.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::watch;

use crate::body::read_slowly;
use crate::digest::Digest;
use crate::storage::{Storage, Upload, Written};

/// Bytes that go at once.
const PIECE: usize = 256 * 1024;

/// How far a fetch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    written: u64,
    /// Whether it ended well, when it has ended.
    end: Option<bool>,
}

/// A blob on its way.
pub struct Fetch {
    file: Arc<File>,
    size: Option<u64>,
    progress: watch::Receiver<Progress>,
}

impl Fetch {
    /// One that has begun, into a file, and what tells it how far it is.
    pub fn new(file: File, size: Option<u64>) -> (Self, watch::Sender<Progress>) {
        let (sender, progress) = watch::channel(Progress::default());
        (Self { file: Arc::new(file), size, progress }, sender)
    }

    /// How long the blob will be, if upstream said so.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Waits for the end; whether the blob is here then.
    pub async fn finished(&self) -> bool {
        let mut progress = self.progress.clone();
        let end = progress.wait_for(|progress| progress.end.is_some()).await;
        end.is_ok_and(|progress| progress.end == Some(true))
    }

    /// Reads behind it, `size` bytes.
    pub fn behind(&self, size: u64) -> Behind {
        Behind { file: self.file.clone(), offset: 0, size, progress: self.progress.clone(), waiting: None }
    }
}

/// Somebody who reads what is there so far.
pub struct Behind {
    file: Arc<File>,
    offset: u64,
    size: u64,
    progress: watch::Receiver<Progress>,
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Behind {
    /// How much is still to come.
    pub fn left(&self) -> u64 {
        self.size - self.offset
    }

    /// The next bytes, when they are there; the last one only when the digest was right.
    pub fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left() == 0 {
            return Poll::Ready(None);
        }
        loop {
            let progress = *self.progress.borrow_and_update();
            let there = match progress.end {
                Some(true) => self.size,
                Some(false) => {
                    return Poll::Ready(Some(Err(io::Error::other("the blob did not come whole"))));
                }
                None => progress.written.min(self.size - 1),
            };
            if there > self.offset {
                let length = usize::try_from(there - self.offset).map_or(PIECE, |left| left.min(PIECE));
                // It was just written: it is in memory.
                let read = read_slowly(&self.file, self.offset, length);
                if let Ok(bytes) = &read {
                    self.offset += bytes.len() as u64;
                }
                return Poll::Ready(Some(read));
            }
            let waiting = self.waiting.get_or_insert_with(|| {
                let mut progress = self.progress.clone();
                Box::pin(async move { drop(progress.changed().await) })
            });
            ready!(waiting.as_mut().poll(context));
            self.waiting = None;
            if self.progress.has_changed().is_err() && self.progress.borrow().end.is_none() {
                return Poll::Ready(Some(Err(io::Error::other("the fetch was stopped"))));
            }
        }
    }
}

/// Copies a blob into its upload and makes it a blob here, if it has its digest; tells how far that is.
pub fn run(
    storage: &Storage,
    upload: Upload,
    digest: &Digest,
    source: impl Read,
    progress: &watch::Sender<Progress>,
) {
    let (repository, id) = (upload.repository().clone(), upload.id().clone());
    let kept = copy(storage, upload, digest, source, progress);
    if let Err(error) = &kept {
        tracing::error!("fetch {digest} of `{repository}`: {error}");
        drop(storage.cancel_upload(&repository, &id));
    }
    progress.send_modify(|progress| progress.end = Some(kept.is_ok()));
}

fn copy(
    storage: &Storage,
    mut upload: Upload,
    digest: &Digest,
    mut source: impl Read,
    progress: &watch::Sender<Progress>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = source.read(&mut piece)?;
        if read == 0 {
            break;
        }
        upload.append([&piece[..read]].into_iter())?;
        progress.send_modify(|progress| progress.written = upload.offset());
    }
    match storage.finish_upload(upload, digest)? {
        Written::Kept => Ok(()),
        Written::Other(actual) => Err(io::Error::other(format!("what came has the digest {actual}"))),
    }
}
