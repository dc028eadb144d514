//! Repositories of Git, through the program `git`.
//!
//! What is fetched goes into a bare repository that stays, for each URL one; the files of a commit are checked out from there.
//! A repository is not believed: Git reads no configuration but its own, asks nobody, knows no protocol that executes
//! something, and takes hooks from nowhere.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use holm_build::remote::Repository;
use holm_spec::Digest;
use holm_sys::file::{ensure_directory, remove_tree, unnamed_file};
use holm_sys::lock::{Lock, Mode};

use super::Unpacked;
use crate::{Engine, Error, Kind, Result};

/// Variables that Git gets of ours: where programs are, and how the network is reached.
const KEPT: &[&str] =
    &["PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];
/// How it speaks ssh, and where that has keys.
const SSH: &str = "GIT_SSH_COMMAND";
const AGENT: &str = "SSH_AUTH_SOCK";
/// What it is told besides.
const SAID: &[(&str, &str)] = &[
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TEMPLATE_DIR", ""),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("LC_ALL", "C"),
];
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.logAllRefUpdates=false",
    "advice.detachedHead=false",
    "credential.helper=",
    // A server that sends nothing for a minute sends nothing any more.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
    "gc.auto=0",
    "maintenance.auto=false",
];
/// Protocols that lead to others; and that which leads to our own.
const REMOTE: &str = "http:https:ssh:git";
const LOCAL: &str = "file";
/// Most bytes of an answer, and of what is shown of a failure.
const ANSWER_LIMIT: u64 = 16 << 20;
const COMPLAINT_LIMIT: usize = 4096;

/// Whom ssh says that we are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    /// Nobody: a Dockerfile or a repository has named what is fetched, and gets nothing that only we may see.
    None,
    /// Whoever calls, who has named it himself.
    Caller,
}

impl Engine {
    /// The commit that a repository has at what is asked of it.
    ///
    /// # Errors
    /// It cannot be asked, has no such reference, or has another commit than it must have.
    pub(crate) fn git_commit(&self, repository: &Repository) -> Result<String> {
        self.git(repository, Keys::None).commit()
    }

    /// The files of a commit, with those of submodules if these are wanted.
    ///
    /// # Errors
    /// They cannot be fetched or checked out.
    pub(crate) fn git_checkout(&self, repository: &Repository, commit: &str) -> Result<Unpacked> {
        self.unpack_commit(&self.git(repository, Keys::None), commit)
    }

    /// A repository that the caller names as a context: the directory of it that is wanted.
    ///
    /// # Errors
    /// It has no such reference, commit or directory; it cannot be fetched or checked out.
    pub fn git_context(&self, repository: &Repository) -> Result<Unpacked> {
        let git = self.git(repository, Keys::Caller);
        let unpacked = self.unpack_commit(&git, &git.commit()?)?;
        match &repository.directory {
            Some(directory) => unpacked.within(directory),
            None => Ok(unpacked),
        }
    }

    fn unpack_commit(&self, git: &Git<'_>, commit: &str) -> Result<Unpacked> {
        git.ensure(commit)?;
        let unpacked = self.begin_unpacked()?;
        git.check_out(commit, unpacked.path())?;
        Ok(unpacked)
    }

    fn git<'a>(&self, repository: &'a Repository, keys: Keys) -> Git<'a> {
        let name = Digest::of(repository.url.as_bytes());
        Git { repository, keys, bare: self.builds().join("git").join(name.hex()) }
    }
}

/// A repository, and where its commits are kept.
struct Git<'a> {
    repository: &'a Repository,
    keys: Keys,
    bare: PathBuf,
}

impl Git<'_> {
    fn commit(&self) -> Result<String> {
        let commit = match self.repository.exact() {
            Some(commit) => commit.to_owned(),
            None => self.ask()?,
        };
        self.repository.check(&commit).map_err(|reason| Error::new(Kind::Corrupt, reason))?;
        Ok(commit)
    }

    /// The commit of the reference: of a branch rather than of a tag, and of a tag the commit that it is about.
    fn ask(&self) -> Result<String> {
        let reference = self.repository.reference.as_deref().unwrap_or("HEAD");
        let peeled = format!("{reference}^{{}}");
        let doing = format!("ask `{}` for `{reference}`", self.repository.url);
        drop(self.begin()?);
        let mut command = self.command(REMOTE);
        command.args(["ls-remote", "--quiet", "--", &self.repository.url, reference, &peeled]);
        let answer = run(command, &doing, &self.bare)?;
        commit_of(&answer, reference).ok_or_else(|| Error::new(Kind::Failed, format!("{doing}: it has none")))
    }

    /// Sees to it that a commit is here: it alone, if the other side sends it so; otherwise with all that there is.
    fn ensure(&self, commit: &str) -> Result<()> {
        let _lock = self.begin()?;
        if self.has(commit) {
            return Ok(());
        }
        let alone = self.fetch(&["--depth=1"], &[commit]);
        if alone.is_ok() && self.has(commit) {
            return Ok(());
        }
        let own = self.repository.reference.as_deref().filter(|reference| reference.starts_with("refs/"));
        let own = own.map(|reference| format!("+{reference}:refs/wanted/{reference}"));
        let all = ["+refs/heads/*:refs/wanted/refs/heads/*", "+refs/tags/*:refs/wanted/refs/tags/*"];
        let all: Vec<&str> = all.into_iter().chain(own.as_deref()).collect();
        // Some servers send nothing in parts, and some repositories are here in part already.
        let unshallow: &[&str] = if self.bare.join("shallow").exists() { &["--unshallow"] } else { &[] };
        self.fetch(unshallow, &all)?;
        match self.has(commit) {
            true => Ok(()),
            false => {
                Err(Error::new(Kind::Failed, format!("`{}` has no commit {commit}", self.repository.url)))
            }
        }
    }

    /// Makes the bare repository if it is not there; nobody else changes it as long as the lock is held.
    fn begin(&self) -> Result<Lock> {
        let all = self.bare.parent().unwrap_or(&self.bare);
        ensure_directory(all, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", all.display()), error))?;
        let lock = Lock::acquire_within(&self.bare.with_extension("lock"), Mode::Exclusive, PATIENCE)?;
        if !self.bare.join("HEAD").exists() {
            self.local(["init", "--quiet", "--bare", "--template="])?;
            self.local(["config", "uploadpack.allowAnySHA1InWant", "true"])?;
        }
        Ok(lock)
    }

    fn has(&self, commit: &str) -> bool {
        self.local(["cat-file", "-e", &format!("{commit}^{{commit}}")]).is_ok()
    }

    fn fetch(&self, flags: &[&str], references: &[&str]) -> Result<String> {
        let mut command = self.command(REMOTE);
        command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force"]).args(flags);
        command.args(["--", &self.repository.url]).args(references);
        run(command, &format!("fetch `{}`", self.repository.url), &self.bare)
    }

    /// Makes `directory` a repository of its own with that commit, whose submodules are found from where it came from.
    fn check_out(&self, commit: &str, directory: &Path) -> Result<()> {
        let doing = format!("check out {commit} of `{}`", self.repository.url);
        let here = |protocols: &str, arguments: &[&OsStr]| {
            let mut command = git(protocols, Keys::None);
            command.current_dir(directory).args(arguments);
            run(command, &doing, &self.bare)
        };
        let words = |text: &'static str| text.split(' ').map(OsStr::new).collect::<Vec<_>>();
        here(LOCAL, &words("init --quiet --template="))?;
        let mut fetch = words("fetch --quiet --no-tags --no-write-fetch-head --depth=1 --");
        fetch.extend([self.bare.as_os_str(), OsStr::new(commit)]);
        here(LOCAL, &fetch)?;
        let mut checkout = words("checkout --quiet --force --detach");
        checkout.push(OsStr::new(commit));
        here(LOCAL, &checkout)?;
        let mut origin = words("remote add origin");
        origin.push(OsStr::new(&self.repository.url));
        here(LOCAL, &origin)?;
        if self.repository.submodules && fs::symlink_metadata(directory.join(".gitmodules")).is_ok() {
            here(REMOTE, &words("submodule --quiet update --init --recursive --depth=1 --checkout"))?;
        }
        match self.repository.keep_git {
            true => Ok(()),
            false => remove_administration(directory).map_err(|error| Error::io(doing.clone(), error)),
        }
    }

    fn local<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        let mut command = self.command(LOCAL);
        command.args(arguments);
        run(command, &format!("keep commits in `{}`", self.bare.display()), &self.bare)
    }

    fn command(&self, protocols: &str) -> Command {
        let mut command = git(protocols, self.keys);
        command.arg("--git-dir").arg(&self.bare);
        command
    }
}

/// How long another build is waited for that fetches the same.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);

fn git(protocols: &str, keys: Keys) -> Command {
    let mut command = Command::new("git");
    let own = |name: &&'static str| Some((*name, std::env::var_os(name)?));
    command.env_clear().envs(KEPT.iter().filter_map(own));
    match keys {
        Keys::None => command
            .env(SSH, "ssh -F /dev/null -o BatchMode=yes -o IdentityAgent=none -o IdentityFile=/dev/null"),
        Keys::Caller => command.env(SSH, "ssh -o BatchMode=yes").envs(own(&AGENT)),
    };
    command.envs(SAID.iter().copied()).env("GIT_ALLOW_PROTOCOL", protocols);
    command.envs(std::env::var_os("SSL_CERT_FILE").map(|file| ("GIT_SSL_CAINFO", file)));
    command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
    command
}

/// Runs Git to its end; what it says of a failure is the failure.
fn run(mut command: Command, doing: &str, near: &Path) -> Result<String> {
    let failed = |error| Error::io(doing, error);
    let complaints = unnamed_file(near.parent().unwrap_or(near)).map_err(failed)?;
    let other = complaints.try_clone().map_err(failed)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(other);
    let mut child = match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let error = Error::new(Kind::Failed, format!("{doing}: there is no program `git` here"));
            return Err(error.with_hint(Some("install Git, or take an archive of the repository")));
        }
        spawned => spawned.map_err(failed)?,
    };
    let mut answer = String::new();
    let read = child.stdout.take().map(|output| output.take(ANSWER_LIMIT).read_to_string(&mut answer));
    let status = child.wait().map_err(failed)?;
    read.transpose().map_err(failed)?;
    match status.success() {
        true => Ok(answer),
        false => Err(Error::new(Kind::Failed, format!("{doing}: {}", complaint(complaints)))),
    }
}

/// The last thing that was said, in one line.
fn complaint(mut said: File) -> String {
    let length = said.seek(std::io::SeekFrom::End(0)).unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(COMPLAINT_LIMIT)];
    let start = length - bytes.len() as u64;
    let count = said.read_at(&mut bytes, start).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..count]);
    let told = |line: &&str| line.starts_with("fatal: ") || line.starts_with("error: ");
    let line = text.lines().find(told).or(text.lines().last()).unwrap_or("it says nothing");
    line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned()
}

/// The commit of a reference in what `ls-remote` says.
fn commit_of(answer: &str, reference: &str) -> Option<String> {
    let commit = |wanted: &str| {
        let mut lines = answer.lines().filter_map(|line| line.split_once('\t'));
        lines.find(|(_, name)| *name == wanted).map(|(commit, _)| commit.to_owned())
    };
    let is_commit = |text: &String| text.len() >= 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let names = [
        reference.to_owned(),
        format!("refs/heads/{reference}"),
        format!("refs/tags/{reference}"),
        format!("refs/{reference}"),
    ];
    let found = names.iter().find_map(|name| commit(&format!("{name}^{{}}")).or_else(|| commit(name)));
    found.filter(is_commit)
}

/// Removes every `.git`: Git itself lets no file of a repository have that name.
fn remove_administration(directory: &Path) -> std::io::Result<()> {
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_name() == ".git" {
                true => remove_tree(&entry.path())?,
                false if entry.file_type()?.is_dir() => open.push(entry.path()),
                false => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_branch_comes_before_a_tag_and_a_tag_is_its_commit() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|digit| digit.repeat(40));
        let answer = format!(
            "{a}\tHEAD\n{b}\trefs/heads/x/v1\n{c}\trefs/tags/v1\n{d}\trefs/tags/v1^{{}}\n{b}\trefs/tags/both\n{a}\trefs/heads/both\n"
        );
        for (reference, expected) in [
            ("HEAD", Some(&a)),
            ("v1", Some(&d)),
            ("refs/tags/v1", Some(&d)),
            ("both", Some(&a)),
            ("x/v1", Some(&b)),
            ("tags/both", Some(&b)),
            ("none", None),
        ] {
            assert_eq!(commit_of(&answer, reference).as_ref(), expected, "{reference}");
        }
        assert_eq!(commit_of("--x\tHEAD\n", "HEAD"), None);
    }

    #[test]
    fn git_gets_nothing_of_the_caller_for_what_others_name() {
        for (keys, has_keys) in [(Keys::None, false), (Keys::Caller, true)] {
            let command = git(REMOTE, keys);
            let said = |name: &str| {
                let found = command.get_envs().find(|(known, _)| *known == name);
                found.and_then(|(_, value)| value).map(|value| value.to_string_lossy().into_owned())
            };
            assert_eq!(said("HOME"), None);
            assert_eq!(said("GIT_CONFIG_GLOBAL").as_deref(), Some("/dev/null"));
            assert_eq!(said("GIT_ALLOW_PROTOCOL").as_deref(), Some("http:https:ssh:git"));
            assert_eq!(said(SSH).is_some_and(|ssh| !ssh.contains("IdentityAgent=none")), has_keys);
            assert!(has_keys || said(AGENT).is_none());
        }
    }
}
