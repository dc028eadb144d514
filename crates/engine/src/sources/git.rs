//! Repositories of Git, through the program `git`.
//!
//! What is fetched goes into a bare repository that stays, for each URL one; the files of a commit are checked out from there.
//! A repository is not believed: Git reads no configuration but its own, asks nobody, knows no protocol that executes
//! something, and takes hooks from nowhere. Credentials of a URL are told when a server asks for them, and are in no argument
//! and no file. Git ends with whoever started it, and when nothing comes any more.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use holm_build::remote::Repository;
use holm_spec::Digest;
use holm_sys::exec::spawn_with;
use holm_sys::file::{ensure_directory, remove_tree, unnamed_file};
use holm_sys::lock::{Lock, Mode};
use holm_sys::process::reset_signals;
use holm_sys::usage::Usage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, set_parent_process_death_signal,
};

use super::Unpacked;
use crate::{Engine, Error, Kind, Result};

/// Variables that Git gets of ours: where programs are, and how the network is reached.
const KEPT: &[&str] =
    &["PATH", "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];
/// How it speaks ssh, and where that has keys.
const SSH: &str = "GIT_SSH_COMMAND";
const AGENT: &str = "SSH_AUTH_SOCK";
/// No questions, and no waiting for a server that is gone.
const SSH_OPTIONS: &str =
    "-o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4";
const SSH_NOBODY: &str = "-F /dev/null -o IdentityAgent=none -o IdentityFile=/dev/null";
/// Where libcurl looks for `.netrc`; without the variable it is where the user lives.
const HOME: &str = "HOME";
const NOWHERE: &str = "/dev/null";
/// What it is told besides.
const SAID: &[(&str, &str)] = &[
    ("GIT_CONFIG_NOSYSTEM", "1"),
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    ("GIT_ATTR_NOSYSTEM", "1"),
    ("GIT_TEMPLATE_DIR", ""),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("LC_ALL", "C"),
];
const SETTINGS: &[(&str, &str)] = &[
    ("core.hooksPath", "/dev/null"),
    ("core.fsmonitor", "false"),
    ("core.logAllRefUpdates", "false"),
    ("advice.detachedHead", "false"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
];
/// Answers Git's question for credentials (gitcredentials(7), "Custom helpers") with two variables.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'username=%s\npassword=%s\n' "$HOLM_GIT_USER" "$HOLM_GIT_PASSWORD"; }; f"#;
const USER: &str = "HOLM_GIT_USER";
const PASSWORD: &str = "HOLM_GIT_PASSWORD";
/// Protocols that lead to others; and that which leads to our own.
const REMOTE: &str = "http:https:ssh:git";
const LOCAL: &str = "file";
/// Most bytes of an answer, and of what is shown of a failure.
const ANSWER_LIMIT: u64 = 16 << 20;
const COMPLAINT_LIMIT: usize = 4096;
/// How long a server may send nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How often it is looked at what Git says.
const TICK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

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
        let name = bare_name(repository, keys);
        Git { repository, keys, bare: self.builds().join("git").join(name.hex()) }
    }
}

/// Commits are kept apart by whom they were sent to: nobody sees with a URL alone what others have keys for.
fn bare_name(repository: &Repository, keys: Keys) -> Digest {
    let credentials = repository.credentials.as_ref();
    let credentials = credentials.map(|it| (it.user.as_str(), it.password.as_str()));
    let whose = (repository.url.as_str(), keys == Keys::Caller, credentials);
    Digest::of(&serde_json::to_vec(&whose).expect("plain data"))
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
        let answer = run(command, &doing, &self.bare, Some(SILENCE))?;
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
        remove_stale_locks(&self.bare)
            .map_err(|error| Error::io(format!("tidy `{}`", self.bare.display()), error))?;
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
        command.args(["fetch", "--progress", "--no-tags", "--no-write-fetch-head", "--force"]).args(flags);
        command.args(["--", &self.repository.url]).args(references);
        run(command, &format!("fetch `{}`", self.repository.url), &self.bare, Some(SILENCE))
    }

    /// Makes `directory` a repository of its own with that commit, whose submodules are found from where it came from.
    fn check_out(&self, commit: &str, directory: &Path) -> Result<()> {
        let doing = format!("check out {commit} of `{}`", self.repository.url);
        let here = |protocols: &str, arguments: &[&OsStr]| {
            let mut command = git(protocols, Keys::None, self.repository);
            command.current_dir(directory).args(arguments);
            run(command, &doing, directory, (protocols == REMOTE).then_some(SILENCE))
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
            here(REMOTE, &words("submodule update --progress --init --recursive --depth=1 --checkout"))?;
        }
        match self.repository.keep_git {
            true => Ok(()),
            false => remove_administration(directory).map_err(|error| Error::io(doing.clone(), error)),
        }
    }

    fn local<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        let mut command = self.command(LOCAL);
        command.args(arguments);
        run(command, &format!("keep commits in `{}`", self.bare.display()), &self.bare, None)
    }

    fn command(&self, protocols: &str) -> Command {
        let mut command = git(protocols, self.keys, self.repository);
        command.arg("--git-dir").arg(&self.bare);
        command
    }
}

/// How long another build is waited for that fetches the same.
const PATIENCE: Duration = Duration::from_secs(3600);

fn git(protocols: &str, keys: Keys, repository: &Repository) -> Command {
    let mut command = Command::new("git");
    let own = |name: &&'static str| Some((*name, std::env::var_os(name)?));
    command.env_clear().envs(KEPT.iter().filter_map(own));
    match keys {
        Keys::None => command.env(SSH, format!("ssh {SSH_NOBODY} {SSH_OPTIONS}")).env(HOME, NOWHERE),
        Keys::Caller => {
            command.env(SSH, format!("ssh {SSH_OPTIONS}")).envs([HOME, AGENT].iter().filter_map(own))
        }
    };
    command.envs(SAID.iter().copied()).env("GIT_ALLOW_PROTOCOL", protocols);
    command.envs(std::env::var_os("SSL_CERT_FILE").map(|file| ("GIT_SSL_CAINFO", file)));
    set(&mut command, repository);
    command
}

/// Hands settings on, as variables, which nobody else sees: the credentials of a URL are for its server alone.
fn set(command: &mut Command, repository: &Repository) {
    let mut settings: Vec<(String, &str)> =
        SETTINGS.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
    if let Some(credentials) = &repository.credentials {
        command.env(USER, &credentials.user).env(PASSWORD, &credentials.password);
        settings.push((format!("credential.{}.helper", server(&repository.url)), HELPER));
    }
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (number, (key, value)) in settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{number}"), key);
        command.env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
}

/// The beginning of a URL that says which server it is of.
fn server(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + "://".len());
    let length = url[start..].find('/').unwrap_or(url.len() - start);
    &url[..start + length]
}

/// Runs Git to its end; what it says of a failure is the failure. `place` is where it puts what it gets; it is ended if
/// for as long as `silence` it gets nothing.
fn run(mut command: Command, doing: &str, place: &Path, silence: Option<Duration>) -> Result<String> {
    let failed = |error| Error::io(doing, error);
    let unnamed = || unnamed_file(place.parent().unwrap_or(place)).map_err(failed);
    let (mut answers, complaints) = (unnamed()?, unnamed()?);
    let [output, errors] = [answers.try_clone().map_err(failed)?, complaints.try_clone().map_err(failed)?];
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let mut child = match spawn_with(&mut command, end_with_parent) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let error = Error::new(Kind::Failed, format!("{doing}: there is no program `git` here"));
            return Err(error.with_hint(Some("install Git, or take an archive of the repository")));
        }
        spawned => spawned.map_err(failed)?,
    };
    let ended = watch(&child, [&answers, &complaints], place, silence);
    let status = end(&mut child, matches!(ended, Ok(None))).map_err(failed)?;
    if let Some(reason) = ended.map_err(failed)? {
        return Err(Error::new(Kind::Failed, format!("{doing}: {reason}")));
    }
    if !status.success() {
        return Err(Error::new(Kind::Failed, format!("{doing}: {}", complaint(complaints))));
    }
    let mut answer = String::new();
    answers.rewind().and_then(|()| answers.take(ANSWER_LIMIT).read_to_string(&mut answer)).map_err(failed)?;
    Ok(answer)
}

/// The threads of a build have all signals blocked, and Git would inherit that.
fn end_with_parent() {
    reset_signals();
    // Git puts away what it has begun. Without this it would only live longer.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
}

/// Waits until Git has ended, or why it has to be ended.
fn watch(
    child: &Child,
    outputs: [&File; 2],
    place: &Path,
    silence: Option<Duration>,
) -> io::Result<Option<String>> {
    let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let kept = || Usage::default().below(place, &[]).unwrap_or(0);
    let mut known = (0, silence.map_or(0, |_| kept()));
    let mut since = Instant::now();
    while matches!(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&TICK)), Ok(0) | Err(Errno::INTR)) {
        let said = outputs[0].metadata()?.len() + outputs[1].metadata()?.len();
        if said > ANSWER_LIMIT {
            return Ok(Some(format!("it says more than {ANSWER_LIMIT} bytes")));
        }
        if said != known.0 {
            (known.0, since) = (said, Instant::now());
        }
        let Some(silence) = silence.filter(|silence| since.elapsed() >= *silence) else { continue };
        let grown = kept();
        if grown == known.1 {
            return Ok(Some(format!("nothing has come for {} seconds", silence.as_secs())));
        }
        (known.1, since) = (grown, Instant::now());
    }
    Ok(None)
}

/// Takes the status of Git, and ends it before if it has not ended, with what it has started.
fn end(child: &mut Child, has_ended: bool) -> io::Result<ExitStatus> {
    if !has_ended {
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    child.wait()
}

/// The last thing that was said, in one line.
fn complaint(mut said: File) -> String {
    let length = said.seek(io::SeekFrom::End(0)).unwrap_or(0);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX).min(COMPLAINT_LIMIT)];
    let start = length - bytes.len() as u64;
    let count = said.read_at(&mut bytes, start).unwrap_or(0);
    let text = String::from_utf8_lossy(&bytes[..count]);
    let told = |line: &&str| line.starts_with("fatal: ") || line.starts_with("error: ");
    let lines = || text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
    let line = lines().find(told).or(lines().next_back()).unwrap_or("it says nothing");
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

/// Removes the locks of a Git that was killed: whoever holds ours knows that none lives. There are none among the objects.
fn remove_stale_locks(bare: &Path) -> io::Result<()> {
    let mut open = vec![bare.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            match entry.file_type()?.is_dir() {
                true if path != bare.join("objects") => open.push(path),
                false if path.extension().is_some_and(|it| it == "lock") => fs::remove_file(path)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Removes every `.git`: Git itself lets no file of a repository have that name.
fn remove_administration(directory: &Path) -> io::Result<()> {
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
    use holm_build::remote::Remote;

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

    fn repository(url: &str) -> Repository {
        match Remote::parse(url) {
            Ok(Some(Remote::Repository(repository))) => repository,
            other => panic!("{url}: {other:?}"),
        }
    }

    fn variable(command: &Command, name: &str) -> Option<String> {
        let found = command.get_envs().find(|(known, _)| *known == name);
        found.and_then(|(_, value)| value).map(|value| value.to_string_lossy().into_owned())
    }

    #[test]
    fn git_gets_nothing_of_the_caller_for_what_others_name() {
        for (keys, has_keys) in [(Keys::None, false), (Keys::Caller, true)] {
            let command = git(REMOTE, keys, &repository("git://h/a"));
            let said = |name: &str| variable(&command, name);
            assert_eq!(
                said("HOME"),
                if has_keys { std::env::var("HOME").ok() } else { Some("/dev/null".into()) }
            );
            assert_eq!(said("GIT_CONFIG_GLOBAL").as_deref(), Some("/dev/null"));
            assert_eq!(said("GIT_ALLOW_PROTOCOL").as_deref(), Some("http:https:ssh:git"));
            assert_eq!(said(SSH).is_some_and(|ssh| !ssh.contains("IdentityAgent=none")), has_keys);
            assert!(has_keys || said(AGENT).is_none());
        }
    }

    #[test]
    fn credentials_are_told_to_their_server_alone() {
        let repository = repository("http://user:pass%25%20@127.0.0.1:8/a.git");
        let told = |url: &str| {
            let mut command = git(REMOTE, Keys::None, &repository);
            let is_shown = |text: &OsStr| text.to_string_lossy().contains("pass");
            assert!(!command.get_args().any(is_shown), "it is in the arguments");
            let asked = unnamed_file(&std::env::temp_dir()).expect("a file");
            io::Write::write_all(&mut &asked, format!("url={url}\n\n").as_bytes()).expect("written");
            (&asked).rewind().expect("rewound");
            let output = command.args(["credential", "fill"]).stdin(asked).output().expect("git");
            String::from_utf8(output.stdout).expect("text")
        };
        let all = told("http://127.0.0.1:8/other");
        assert!(all.contains("username=user\npassword=pass% \n"), "{all}");
        for other in ["http://127.0.0.1:9/a.git", "https://127.0.0.1:8/a.git", "http://127.0.0.2:8/a.git"] {
            assert!(!told(other).contains("pass%"), "{other}");
        }
    }

    #[test]
    fn commits_are_kept_apart_by_whom_they_were_sent_to() {
        let name = |url: &str, keys| bare_name(&repository(url), keys);
        let plain = name("https://h/a.git", Keys::None);
        assert_eq!(plain, name("https://h/a.git#v1", Keys::None));
        assert_ne!(plain, name("https://h/a.git", Keys::Caller));
        assert_ne!(plain, name("https://u:p@h/a.git", Keys::None));
        assert_ne!(name("https://u:q@h/a.git", Keys::None), name("https://u:p@h/a.git", Keys::None));
    }

    #[test]
    fn a_git_that_gets_nothing_is_ended_with_what_it_has_started() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("place");
        fs::create_dir(&place).expect("made");
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).current_dir(&place);
            run(command, "try", &place, Some(Duration::from_secs(3)))
        };
        let error = shell("sleep 1000 & echo $! >../pid; wait").expect_err("silent");
        assert_eq!(error.to_string(), "try: nothing has come for 3 seconds");
        let pid = fs::read_to_string(directory.path().join("pid")).expect("a pid");
        // It was killed, and goes when it has its turn.
        let status = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let is_gone = || status().is_empty() || status().contains(") Z ");
        let killed = Instant::now();
        while !is_gone() {
            assert!(killed.elapsed() < Duration::from_secs(20), "{}", status());
            std::thread::sleep(Duration::from_millis(10));
        }
        let busy = "for i in 1 2 3 4; do head -c 9000 /dev/zero >>f; sleep 1; done; echo done";
        assert_eq!(shell(busy).expect("it gets something"), "done\n");
        assert_eq!(shell("for i in 1 2 3 4; do echo $i >&2; sleep 1; done").expect("it says something"), "");
        let endless = shell("cat /dev/zero").expect_err("endless");
        assert!(endless.to_string().contains("says more than"), "{endless}");
    }

    #[test]
    fn stale_locks_go_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        for path in ["shallow.lock", "HEAD", "refs/wanted/objects/a.lock", "objects/pack/b.lock"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, "").expect("written");
        }
        remove_stale_locks(directory.path()).expect("removed");
        let is_there = |path: &&str| directory.path().join(path).exists();
        let left = ["shallow.lock", "refs/wanted/objects/a.lock", "HEAD", "objects/pack/b.lock"];
        assert_eq!(
            left.iter().filter(|path| is_there(path)).copied().collect::<Vec<_>>(),
            ["HEAD", "objects/pack/b.lock"]
        );
        remove_stale_locks(&directory.path().join("none")).expect("there are none");
    }
}
