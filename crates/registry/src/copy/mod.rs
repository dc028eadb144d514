//! Copy: images and artifacts of any kind from one place to another, byte for byte, without the store.
//!
//! ```text
//! what the name stands for -> manifests of an index -> blobs, two at a time -> the manifest -> with `referrers` what is
//!                                                                                             about it, likewise
//! ```
//! A manifest is put behind all that it names, and the name last. Everything is hashed on its way.
//!
//! | file | holds |
//! |---|---|
//! | `location` | places as people write them |
//! | `place` | what a place can do |
//! | `remote` | registries |
//! | `stored`, `save` | an image of the store, and how it goes to a file |
//! | `tree` | files of a directory or an archive |
//! | `layout` | image layouts |
//! | `archive` | archives that are written |
//! | `docker_archive` | Docker's older archives that are read |
//! | `import` | an image of a layout into the store, for builds |
//! | `directory` | skopeo's directories |
//! | `cache` | caches of builds |

mod archive;
mod cache;
mod directory;
mod docker_archive;
mod import;
mod layout;
mod location;
mod place;
mod remote;
mod save;
mod stored;
mod tree;

use std::collections::BTreeSet;
use std::sync::Mutex;

use holm_spec::Digest;
use holm_spec::image::Descriptor;
use holm_spec::platform::Platform;

pub use cache::{BuildCache, CacheExport, export_cache};
pub use import::import;
pub use location::Location;
pub use save::{SaveForm, SaveRequest, save};

use self::archive::ArchiveFile;
use self::directory::Directory;
use self::docker_archive::DockerArchive;
use self::layout::{Layout, LayoutDirectory, Names};
use self::place::{Blob, Destination, Put, Source, Verified, check_manifest};
use self::remote::{Origin, Target};
use self::tree::Tree;
use crate::connections::Connections;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::node::{Node, is_foreign};
use crate::parallel::in_parallel;
use crate::policy::{Candidate, Policy};
use crate::pull::{Observer, Step};

/// How deep indexes and referrers may stand in each other.
const DEPTH: usize = 8;

/// What is to be copied.
#[derive(Clone, Copy)]
pub struct CopyRequest<'a> {
    /// From where.
    pub from: &'a Location,
    /// Where to.
    pub to: &'a Location,
    /// Of an index only what is made for this platform; all of it if absent.
    pub platform: Option<&'a Platform>,
    /// With signatures and whatever else is about it.
    pub referrers: bool,
    /// Says which manifests may be copied.
    pub policy: &'a dyn Policy,
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Size of that document in bytes.
    pub size: u64,
    /// Manifests that are about it, or about what it lists, and went along.
    pub referrers: usize,
}

/// Copies an image or artifact. `observer` hears of blobs by their digests.
///
/// # Errors
/// By what went wrong; all name both places. The name in the second has not changed then.
pub fn copy(connections: &Connections, request: &CopyRequest<'_>, observer: &dyn Observer) -> Result<Copied> {
    let copied = source(connections, request.from).and_then(|source| {
        let destination = destination(connections, request, &*source)?;
        let CopyRequest { platform, referrers, policy, .. } = *request;
        let (source, destination, seen) = (&*source, &*destination, Mutex::default());
        Copy { source, destination, platform, referrers, policy, observer, seen }.run()
    });
    copied.map_err(|error| error.about(format!("copy `{}` to `{}`", request.from, request.to)))
}

fn source(connections: &Connections, location: &Location) -> Result<Box<dyn Source>> {
    Ok(match location {
        Location::Registry(reference) => Box::new(Origin::find(connections, reference)?),
        Location::Layout(path, name) => {
            Box::new(Layout::open(Tree::Directory(path.clone()), name.as_deref())?)
        }
        Location::OciArchive(path, name) => Box::new(Layout::open(Tree::of_archive(path)?, name.as_deref())?),
        Location::DockerArchive(path, name) => {
            let tree = Tree::of_archive(path)?;
            match Layout::is_in(&tree) {
                true => Box::new(Layout::open(tree, name.as_deref())?),
                false => Box::new(DockerArchive::open(tree, name.as_deref())?),
            }
        }
        Location::Directory(path) => Box::new(Directory::open(path)),
    })
}

fn destination<'a>(
    connections: &Connections,
    request: &CopyRequest<'a>,
    source: &dyn Source,
) -> Result<Box<dyn Destination + 'a>> {
    Ok(match request.to {
        Location::Registry(reference) => Box::new(Target::new(connections, reference, source)?),
        Location::Layout(path, name) => Box::new(LayoutDirectory::open(path, Names::short(name.as_deref()))?),
        Location::OciArchive(path, name) => Box::new(ArchiveFile::oci(path, Names::short(name.as_deref()))?),
        Location::DockerArchive(path, name) => {
            let invalid = |error| Error::because(Kind::Invalid, "read the name in the archive", error);
            let name = name.as_ref().map(|name| name.parse().map_err(invalid)).transpose()?;
            let own = match request.from {
                // Docker knows no name with a digest there.
                Location::Registry(reference) if reference.digest().is_none() => Some(reference.clone()),
                _ => None,
            };
            Box::new(ArchiveFile::docker(path, name.or(own).as_slice())?)
        }
        Location::Directory(_) if request.referrers => {
            return Err(Error::new(Kind::Invalid, "a directory of that kind holds no referrers"));
        }
        Location::Directory(path) => Box::new(Directory::make(path)?),
    })
}

struct Copy<'a> {
    source: &'a dyn Source,
    destination: &'a dyn Destination,
    platform: Option<&'a Platform>,
    referrers: bool,
    policy: &'a dyn Policy,
    observer: &'a dyn Observer,
    /// Manifests that are there, or on their way.
    seen: Mutex<BTreeSet<Digest>>,
}

impl Copy<'_> {
    fn run(&self) -> Result<Copied> {
        let top = self.top()?;
        self.observer.found();
        let referrers = self.node(&top, DEPTH, true)?;
        self.destination.finish()?;
        Ok(Copied { digest: top.digest, size: top.content.len() as u64, referrers })
    }

    /// What is asked for: what the name stands for, or of an index what is made for a platform.
    fn top(&self) -> Result<Node> {
        let top = Node::parse(self.source.top()?)?;
        match self.platform {
            Some(platform) if top.is_index() => {
                self.accept(&top)?;
                self.fetch(document::choose(&top.manifests, platform)?)
            }
            _ => Ok(top),
        }
    }

    fn accept(&self, node: &Node) -> Result<()> {
        let Node { digest, media_type, content, .. } = node;
        self.policy.accept(&Candidate { digest, media_type, content })
    }

    fn fetch(&self, entry: &Descriptor) -> Result<Node> {
        let digest = document::digest_of(entry)?;
        let content = self.source.manifest(&digest)?;
        check_manifest(&digest, &content)?;
        Node::parse(content)
    }

    /// Copies a manifest behind all that it names; gives how many referrers went.
    fn node(&self, node: &Node, depth: usize, named: bool) -> Result<usize> {
        self.accept(node)?;
        self.seen.lock().expect("no thread has panicked").insert(node.digest);
        let mut referrers = 0;
        for entry in host_first(&node.manifests) {
            referrers += self.further(entry, depth)?.unwrap_or(0);
        }
        if !self.destination.has(&node.digest)? {
            let mut blobs: Vec<&Descriptor> = node.blobs.iter().filter(|blob| !is_foreign(blob)).collect();
            blobs.sort_by_key(|blob| blob.digest().to_string());
            blobs.dedup_by_key(|blob| blob.digest().to_string());
            in_parallel(&blobs, self.destination.at_a_time(), |blob| self.blob(blob))?;
            self.destination.put_manifest(node, named)?;
        } else if named || node.subject.is_some() {
            // It may be there without the name, or missing in the list of what is about its subject.
            self.destination.put_manifest(node, named)?;
        }
        if self.referrers {
            for entry in self.source.referrers(&node.digest)? {
                referrers += self.further(&entry, depth)?.map_or(0, |more| more + 1);
            }
        }
        Ok(referrers)
    }

    /// Copies a manifest that another one leads to, unless it was copied; gives how many referrers of it went.
    fn further(&self, entry: &Descriptor, depth: usize) -> Result<Option<usize>> {
        let digest = document::digest_of(entry)?;
        if self.seen.lock().expect("no thread has panicked").contains(&digest) {
            return Ok(None);
        }
        let too_deep = || Error::new(Kind::Invalid, format!("manifest {digest} is nested too deep"));
        let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
        self.node(&self.fetch(entry)?, depth, false).map(Some)
    }

    fn blob(&self, entry: &Descriptor) -> Result<()> {
        let (digest, size) = (document::digest_of(entry)?, entry.size());
        let blob = Blob { digest, size };
        let told = |bytes| self.observer.layer(&digest, Step::Moved { bytes, size });
        let open = || {
            self.observer.layer(&digest, Step::Begins { size: Some(size) });
            let input = self.source.blob(&blob)?;
            Ok(Box::new(Verified::new(input, blob, &told)?) as Box<dyn std::io::Read + '_>)
        };
        let put = self.destination.put_blob(&blob, &open);
        let put = put.map_err(|error| error.about(format!("copy the blob {digest}")))?;
        self.observer.layer(
            &digest,
            match put {
                Put::Existed => Step::Exists,
                Put::Mounted => Step::Mounted,
                Put::Taken => Step::Taken,
                Put::Sent => Step::Complete,
            },
        );
        Ok(())
    }
}

/// Entries of an index, those for this machine first.
fn host_first(entries: &[Descriptor]) -> Vec<&Descriptor> {
    let host = Platform::host();
    let (ours, others): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| document::platform_of(entry).as_ref() == Some(&host));
    ours.into_iter().chain(others).collect()
}
