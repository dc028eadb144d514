//! What a failed command tells: a message, an exit code, and hints. The only file that gives advice, but for what only the
//! host's own parts know (which package brings the emulator here, why KVM does not serve), and for Dockerfiles.
//!
//! Exit codes are Docker's: 125 if Holm itself failed where a command would have run, 126 if the command cannot be
//! executed, 127 if it is not there, 1 for every other failure, and 125 for a command line that cannot be read. An
//! import fails with 125 whatever the reason.

use std::error::Error;
use std::fmt::Write as _;

use holm_engine::{Kind, images, registry};
use rustix::io::Errno;

/// Exit code of a command line that cannot be read, and of `run`, `create`, `exec` and `import` that failed themselves.
pub const HOLM_FAILED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;
/// As a shell counts a program that SIGPIPE ended.
const READER_GONE: u8 = 128 + 13;

/// Why a command failed.
#[derive(Debug)]
pub struct CommandError {
    /// `None` if everything was said already.
    message: Option<String>,
    /// `None` for the command's own.
    code: Option<u8>,
    /// Lines of a file that the message is about, which can be shown as they are.
    excerpt: Option<String>,
    hints: Vec<String>,
}

impl CommandError {
    /// A failure in one sentence.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), code: None, excerpt: None, hints: Vec::new() }
    }

    /// A command line that cannot be read.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: Some(HOLM_FAILED), ..Self::new(message) }
    }

    /// A value of a flag that cannot be used.
    pub fn flag(flag: &str, reason: impl std::fmt::Display) -> Self {
        Self::usage(format!("--{flag}: {reason}"))
    }

    /// A failure that was told already, with its exit code.
    pub fn told(code: u8) -> Self {
        Self { message: None, code: Some(code), excerpt: None, hints: Vec::new() }
    }

    /// Nobody reads the output any more.
    pub fn output_closed() -> Self {
        Self::told(READER_GONE)
    }

    /// A failed write to `stream`.
    pub fn output(stream: &str, errno: Errno) -> Self {
        match errno {
            Errno::PIPE => Self::output_closed(),
            errno => Self::system(&format!("write to {stream}"), errno),
        }
    }

    /// A failed operation of the operating system.
    pub fn system(operation: &str, cause: impl Into<std::io::Error>) -> Self {
        Self::new(without_numbers(&format!("{operation}: {}", cause.into())))
    }

    /// Something that is not there yet, by name.
    pub fn unsupported(what: &str, area: &str) -> Self {
        Self::usage(format!("{what} is not supported yet"))
            .hint(format!("it is planned, together with {area}"))
    }

    /// What the engine says of a workload, under the name that was typed.
    pub fn of_workload(error: holm_engine::Error, name: &str) -> Self {
        match error.kind() {
            Kind::NotRunning => {
                Self { message: Some(format!("workload `{name}` is not running")), ..error.into() }
            }
            Kind::Paused => Self::from(error).hint(format!("`holm unpause {name}` lets it go on")),
            _ => error.into(),
        }
    }

    /// What the engine says, of an error that somebody else keeps.
    pub fn told_of(error: &holm_engine::Error) -> Self {
        let kind = error.kind();
        let code = match kind {
            Kind::CommandNotFound => Some(NOT_FOUND),
            Kind::CommandNotExecutable => Some(NOT_EXECUTABLE),
            _ => None,
        };
        let hints = error.hint().or(workload_hint(kind)).into_iter().map(String::from).collect();
        Self { message: Some(chain(error)), code, excerpt: None, hints }
    }

    /// Adds advice.
    pub fn hint(mut self, advice: impl Into<String>) -> Self {
        self.hints.push(advice.into());
        self
    }

    /// What to say, if anything is left to say.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// Lines of a file that the message is about.
    pub fn excerpt(&self) -> Option<&str> {
        self.excerpt.as_deref()
    }

    /// Advice, one line each.
    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The same with the exit code 1, of commands that do not stand for a process.
    pub fn plain(self) -> Self {
        Self { code: Some(1), ..self }
    }

    /// The same with what was being done in front.
    pub fn during(self, what: &str) -> Self {
        Self { message: self.message.map(|message| format!("{what}: {message}")), ..self }
    }

    /// The exit code; `fallback` is the command's own.
    pub fn code(&self, fallback: u8) -> u8 {
        self.code.unwrap_or(fallback)
    }
}

/// The operating system's sentences without Rust's ` (os error 2)`.
fn without_numbers(text: &str) -> String {
    const NUMBER: &str = " (os error ";
    let mut parts = text.split(NUMBER);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => plain.push_str(rest),
            _ => plain.extend([NUMBER, part]),
        }
    }
    plain
}

/// An error with its causes, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            let _ = write!(text, ": {said}");
        }
        source = cause.source();
    }
    without_numbers(&text)
}

impl From<holm_engine::Error> for CommandError {
    fn from(error: holm_engine::Error) -> Self {
        Self::told_of(&error)
    }
}

fn workload_hint(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::NoSuchWorkload => "`holm ps -a` lists the workloads",
        Kind::NoSuchImage => {
            "`holm images` lists the images; `holm pull` fetches one, `holm import` makes one from a tarball"
        }
        Kind::NoSuchKernel => {
            "`holm kernel ls` lists the kernels; `holm kernel import linux-image-cloud-amd64` fetches Debian's"
        }
        Kind::NoSuchArtifact => "`holm artifact ls` lists the artifacts; `holm pull` fetches one",
        Kind::NoSuchPackage => {
            "`apt-get update` tells apt what there is; another architecture needs `dpkg --add-architecture` first"
        }
        Kind::UnfitKernel => {
            "--modules names the directory of its modules; Debian's linux-image-cloud-amd64 has all that is needed"
        }
        Kind::WrongSort => {
            "`holm images` lists images, `holm kernel ls` kernels, `holm artifact ls` what else registries keep"
        }
        Kind::Ambiguous => "write more digits of the id, or the name",
        Kind::NameTaken => "remove its owner with `holm rm`, or choose another name with --name",
        Kind::ForeignImage => {
            "an image for another kernel or processor needs a machine of its own: that is what --vm is for"
        }
        Kind::NoSuchNetwork => "`holm network ls` lists networks, `holm network create` makes one",
        Kind::NoSuchPlugin => {
            "Debian's package `containernetworking-plugins` has the usual ones; CNI_PATH, or `cni_path` under [network] in config.toml, names other directories"
        }
        Kind::NoSuchVolume => "`holm volume ls` lists volumes, `holm volume create` makes one",
        Kind::NotRunning => "`holm start` starts it; `holm ps -a` shows what became of it",
        Kind::StillRunning => "stop it with `holm stop`, or use -f",
        Kind::InUse => "`holm ps -a` shows who uses it",
        Kind::NotPermitted => {
            "run it as root; --root and --run-root choose directories that root can write to"
        }
        Kind::ReadOnly => {
            "mount the file system read-write, or choose another place with --root and --run-root"
        }
        Kind::NoQuota => {
            "ext4 keeps them with `tune2fs -O project,quota DEVICE` and the mount option prjquota, XFS with the mount option alone"
        }
        Kind::NoSpace => "`holm rm` and `holm rmi` make room; --root puts Holm's files on another disk",
        Kind::Corrupt => "remove what is damaged with `holm rm` or `holm rmi` and make it again",
        Kind::CommandNotFound => "the command is looked up inside the image, in its PATH",
        Kind::CommandNotExecutable => {
            "it must be an executable file for this processor; a script needs its interpreter in the image"
        }
        Kind::Locked => "another holm command is at work on the same thing: try again when it is done",
        Kind::NoSuchPath => "a path of a workload begins at its root: NAME:/path",
        // Advised where the name that was typed is known.
        Kind::Paused => return None,
        Kind::Unsupported
        | Kind::InvalidRequest
        | Kind::Interrupted
        | Kind::Failed
        | Kind::KeeperEnded
        | Kind::Unread => return None,
    })
}

impl From<images::Error> for CommandError {
    fn from(error: images::Error) -> Self {
        let hints = image_hint(error.kind()).into_iter().map(String::from).collect();
        Self { message: Some(chain(&error)), code: None, excerpt: None, hints }
    }
}

fn image_hint(kind: images::Kind) -> Option<&'static str> {
    use images::Kind;
    Some(match kind {
        Kind::NotFound => return workload_hint(self::Kind::NoSuchImage),
        Kind::NoKernel => return workload_hint(self::Kind::NoSuchKernel),
        Kind::NoArtifact => return workload_hint(self::Kind::NoSuchArtifact),
        Kind::UnfitKernel => return workload_hint(self::Kind::UnfitKernel),
        Kind::WrongSort => return workload_hint(self::Kind::WrongSort),
        Kind::Ambiguous => return workload_hint(self::Kind::Ambiguous),
        Kind::InUse => {
            "`holm ps -a` and `holm image mount` show who uses it; -f removes all names of an image"
        }
        Kind::Denied => return workload_hint(self::Kind::NotPermitted),
        Kind::ReadOnly => return workload_hint(self::Kind::ReadOnly),
        Kind::NoSpace => return workload_hint(self::Kind::NoSpace),
        Kind::Corrupt => return workload_hint(self::Kind::Corrupt),
        Kind::Locked => return workload_hint(self::Kind::Locked),
        _ => return None,
    })
}

impl From<registry::Error> for CommandError {
    fn from(error: registry::Error) -> Self {
        let hints = registry_hint(error.kind()).into_iter().map(String::from).collect();
        Self { message: Some(chain(&error)), code: None, excerpt: None, hints }
    }
}

/// Whoever reads a Dockerfile knows best what was meant.
impl From<holm_build::Error> for CommandError {
    fn from(error: holm_build::Error) -> Self {
        let hints = error.hint().into_iter().map(String::from).collect();
        Self { message: Some(error.summary()), code: None, excerpt: error.excerpt(), hints }
    }
}

fn registry_hint(kind: registry::Kind) -> Option<&'static str> {
    use registry::Kind;
    Some(match kind {
        Kind::NotFound => "look at the name and the tag: the registry answers, and has nothing of that name",
        Kind::Denied => "`holm login` says who you are; some registries answer so for what they do not have",
        Kind::Busy => "the registry limits how often it is asked: try again later, or with credentials",
        Kind::Server => "the registry itself failed: try again later",
        Kind::Unreachable => "look at the registry's name, at the network and at HTTPS_PROXY",
        Kind::Untrusted => {
            "in registries.toml, `ca` names who may vouch for the registry, and `insecure` does without that"
        }
        Kind::Blocked => "a mirror that registries.toml names is asked instead, if there is one",
        Kind::Stale | Kind::Broken => "what was there already is kept: try again",
        Kind::Platform => "--platform chooses another one of those that there are",
        Kind::Store(kind) => return image_hint(kind),
        Kind::Invalid | Kind::Configuration | Kind::Io => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let cause = std::io::Error::from_raw_os_error(2);
        let error = holm_engine::Error::io("open `x`", cause);
        let error = CommandError::from(error);
        assert_eq!(error.message(), Some("open `x`: No such file or directory"));
        let told =
            holm_engine::Error::new(Kind::Failed, "execute `a`: No entry (os error 2), (os error x) in `b`");
        let told = CommandError::from(told);
        assert_eq!(told.message(), Some("execute `a`: No entry, (os error x) in `b`"));
        let inner = holm_engine::Error::new(Kind::Failed, "mount `y` failed");
        let outer = holm_engine::Error::caused(Kind::Failed, "start: mount `y` failed", inner);
        assert_eq!(CommandError::from(outer).message(), Some("start: mount `y` failed"));
    }

    #[test]
    fn advice_fits_the_cause() {
        for (errno, word) in [(Errno::ROFS, "read-write"), (Errno::ACCESS, "as root")] {
            let error = CommandError::from(holm_engine::Error::io("lock `x`", errno));
            assert!(error.hints()[0].contains(word), "{errno}: {:?}", error.hints());
        }
    }

    #[test]
    fn codes_are_dockers() {
        for (kind, code) in [
            (Kind::CommandNotFound, 127),
            (Kind::CommandNotExecutable, 126),
            (Kind::NoSuchImage, 125),
            (Kind::Failed, 125),
        ] {
            assert_eq!(CommandError::from(holm_engine::Error::new(kind, "x")).code(HOLM_FAILED), code);
        }
        assert_eq!(CommandError::usage("x").code(1), 125);
        assert_eq!(CommandError::new("x").code(1), 1);
        assert_eq!(CommandError::output("standard output", Errno::PIPE).code(1), 141);
    }
}
