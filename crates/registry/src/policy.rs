//! Which manifests are taken: the place where signatures and the like are to be checked.

use holm_spec::Digest;

use crate::error::Result;

/// A manifest or index that is about to be taken. Its bytes have its digest; nothing that it names was fetched yet.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its digest.
    pub digest: &'a Digest,
    /// What it is.
    pub media_type: &'a str,
    /// Its bytes.
    pub content: &'a [u8],
}

/// Says which manifests are taken.
pub trait Policy: Sync {
    /// Takes a manifest, or says why not.
    ///
    /// # Errors
    /// Why it is refused. Nothing of it is fetched or kept then.
    fn accept(&self, candidate: &Candidate<'_>) -> Result<()>;
}

/// Takes everything that is what its digest says.
#[derive(Clone, Copy, Debug, Default)]
pub struct TakeAll;

impl Policy for TakeAll {
    fn accept(&self, _: &Candidate<'_>) -> Result<()> {
        Ok(())
    }
}
