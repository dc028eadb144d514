//! `ADD`: files of the context, of the web, and of repositories.

use std::sync::Arc;
use std::time::Instant;

use holm_spec::Digest;
use rustix::fs::FileType;
use serde_json::{Value, json};

use super::copy::Order;
use super::key::described;
use super::runner::Downloaded;
use super::stage::Stage;
use super::state::State;
use super::tree::{Source, Tree, Wanted};
use super::{Ended, fault};
use crate::dockerfile::{Add, Word};
use crate::error::{Kind, Result};
use crate::ignore::Ignore;
use crate::remote::{Remote, Repository, without_credentials};
use crate::source::Position;

/// Permissions of a file of the web.
const DOWNLOAD_MODE: u32 = 0o600;

/// What one source of an `ADD` is.
enum Part {
    /// Files that are here.
    Here(Vec<Source>),
    /// The files of a commit, which are needed only if the layer has to be made.
    Commit(Repository, String),
}

impl Stage<'_> {
    pub(super) fn add(
        &mut self,
        state: &mut State,
        add: &Add,
        title: &str,
        position: Position,
    ) -> Result<()> {
        let exclude = Ignore::of_patterns(&add.files.exclude)?;
        let mut parts = Vec::new();
        for word in &add.files.sources {
            parts.push(self.part(add, word, &exclude, position)?);
        }
        let (identities, files): (Vec<_>, Vec<_>) = parts.iter().map(Part::identity).unzip();
        let entries = |files| if let Value::Array(files) = files { files } else { Vec::new() };
        let files = files.into_iter().flat_map(entries).collect();
        let identity = (Value::Array(identities), Value::Array(files));
        let order = Order { files: &add.files, identity, keeps_owners: false, title, position };
        self.transfer(state, order, &mut |build, exclude| {
            let mut sources = Vec::new();
            for part in parts.drain(..) {
                sources.extend(part.files(build, exclude)?);
            }
            Ok(sources)
        })
    }

    fn part(&mut self, add: &Add, word: &Word, exclude: &Ignore, position: Position) -> Result<Part> {
        match Remote::parse(&word.text).map_err(|reason| word.fault(Kind::Value, reason))? {
            None => {
                let wanted = Wanted { sources: &[&word.text], parents: false, exclude };
                let mut files = self.shared.of_context(None, &wanted, position)?;
                files.iter_mut().for_each(|source| source.unpacks = add.unpack != Some(false));
                Ok(Part::Here(files))
            }
            Some(Remote::Url(url)) => self.download(add, &url, word).map(|file| Part::Here(vec![file])),
            Some(Remote::Repository(mut repository)) => {
                if let Some(checksum) = &add.checksum {
                    repository.require(&checksum.text).map_err(|why| checksum.fault(Kind::Value, why))?;
                }
                repository.keep_git |= add.keep_git_dir == Some(true);
                let title = format!("[commit] {}", without_credentials(&word.text));
                let commit =
                    self.fetching(&title, |build| Ok((build.shared.runner.commit(&repository)?, false)));
                let commit = commit.map_err(|reason| word.fault(Kind::Step, reason))?;
                Ok(Part::Commit(repository, commit))
            }
        }
    }

    fn download(&mut self, add: &Add, url: &str, word: &Word) -> Result<Source> {
        let parse = |word: &Word| {
            let digest = word.text.parse::<Digest>();
            digest.map_err(|_| {
                let message = format!("--checksum: `{}` is not sha256: and 64 hexadecimal digits", word.text);
                word.fault(Kind::Value, message)
            })
        };
        let checksum = add.checksum.as_ref().map(parse).transpose()?;
        let title = format!("[download] {}", without_credentials(url));
        let downloaded = self.fetching(&title, |build| {
            let downloaded = build.shared.runner.download(url, checksum.as_ref())?;
            let cached = downloaded.cached;
            Ok((downloaded, cached))
        });
        let downloaded = downloaded.map_err(|reason| word.fault(Kind::Step, reason))?;
        source(downloaded, add.unpack == Some(true), self.shared.seconds())
            .map_err(|reason| fault(word.position, reason))
    }

    /// Gets something that is not here, and tells of it; it says whether it was here after all.
    fn fetching<T>(
        &mut self,
        title: &str,
        fetch: impl FnOnce(&mut Self) -> std::result::Result<(T, bool), String>,
    ) -> std::result::Result<T, String> {
        let (started, progress) = (Instant::now(), self.shared.progress);
        let step = progress.begin(title);
        let fetched = fetch(self);
        let ended = match &fetched {
            Ok((_, true)) => Ended::Cached,
            Ok((_, false)) => Ended::Made,
            Err(_) => Ended::Failed,
        };
        progress.ended(step, ended, started.elapsed());
        fetched.map(|(fetched, _)| fetched)
    }
}

impl Part {
    /// What of it makes a difference. Whatever the files of a commit are, its name stands for them; `.git` says where it is from.
    fn identity(&self) -> (Value, Value) {
        match self {
            Self::Here(sources) => described(sources),
            Self::Commit(repository, commit) => {
                let Repository { url, directory, keep_git, submodules, .. } = repository;
                let origin = keep_git.then_some(url);
                (json!(["git", commit, directory, origin, submodules]), Value::Null)
            }
        }
    }

    fn files(self, build: &Stage<'_>, exclude: &Ignore) -> std::result::Result<Vec<Source>, String> {
        let (repository, commit) = match self {
            Self::Here(sources) => return Ok(sources),
            Self::Commit(repository, commit) => (repository, commit),
        };
        let tree = Tree::new(build.shared.runner.checkout(&repository, &commit)?, Ignore::default());
        let directory = repository.directory.as_deref().unwrap_or("/");
        let wanted = Wanted { sources: &[directory], parents: false, exclude };
        tree.gather(&wanted, None).map_err(|reason| format!("of `{}`: {reason}", repository.url))
    }
}

/// A file of the web as a source: it is as old as its server says, and nobody's but root's.
fn source(downloaded: Downloaded, unpacks: bool, now: i64) -> std::result::Result<Source, String> {
    let Downloaded { directory, file, name, digest, modified, .. } = downloaded;
    let tree: Arc<Tree> = Tree::new(directory, Ignore::default());
    let none = Ignore::default();
    let wanted = Wanted { sources: &[&file], parents: false, exclude: &none };
    let mut source = tree.gather(&wanted, None)?.pop().ok_or("what was downloaded is gone")?;
    source.name = name.into_bytes();
    source.unpacks = unpacks;
    for entry in &mut source.entries {
        entry.stat.st_mode = FileType::RegularFile.as_raw_mode() | DOWNLOAD_MODE;
        entry.stat.st_nlink = 1;
        (entry.stat.st_mtime, entry.stat.st_mtime_nsec) = (modified.unwrap_or(now), 0);
        entry.digest = Some(*digest.as_bytes());
    }
    Ok(source)
}
