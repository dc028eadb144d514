//! Records what a command does to a directory tree: `strace` writes down the system calls, this reads them.
//!
//! ```text
//! 336   openat(AT_FDCWD<\x2f>, "\x2f\x61", O_RDWR|O_CREAT, 0600) = 4<\x2f\x61>
//! 336   fsync(4<\x2f\x61> <unfinished ...>
//! 336   <... fsync resumed>)              = 0
//! ```
//! Every string is written in hexadecimal, so no delimiter occurs in one, and in full, so payloads can be
//! replayed. A call that changes files in a way that is not known here fails the test: better none than a
//! wrong replay.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use holm_tests::Call;

/// One change below the recorded directory; paths are relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `mkdir`.
    MakeDirectory(PathBuf, u32),
    /// `open` of a file that is made if absent, and emptied if so asked.
    Open { path: PathBuf, mode: u32, empty: bool },
    /// A write at an offset, or at the end.
    Write { path: PathBuf, offset: Option<usize>, bytes: Vec<u8> },
    /// `rename`.
    Rename(PathBuf, PathBuf),
    /// `link`.
    HardLink(PathBuf, PathBuf),
    /// `symlink`: the target, the link.
    SymbolicLink(PathBuf, PathBuf),
    /// `unlink` or `rmdir`.
    Remove(PathBuf),
    /// `fsync` or `fdatasync` of a file or directory.
    Sync(PathBuf),
    /// `chmod`.
    SetMode(PathBuf, u32),
}

impl Operation {
    /// The paths that it changes.
    pub fn paths(&self) -> Vec<&Path> {
        match self {
            Self::MakeDirectory(path, _)
            | Self::Open { path, .. }
            | Self::Write { path, .. }
            | Self::SymbolicLink(_, path)
            | Self::Remove(path)
            | Self::Sync(path)
            | Self::SetMode(path, _) => vec![path],
            Self::Rename(from, to) | Self::HardLink(from, to) => vec![from, to],
        }
    }
}

/// Calls that [`parse`] knows; with a question mark, those that an older `strace` may not.
const KNOWN: &str = "open,openat,mkdir,mkdirat,write,pwrite64,rename,renameat,renameat2,link,linkat,\
    symlink,symlinkat,unlink,unlinkat,rmdir,fsync,fdatasync,chmod,fchmodat,?fchmodat2,fchmod";
/// Calls that change files and that Holm does not make in its root.
const UNKNOWN: &str = "creat,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,copy_file_range,sendfile,\
    splice,sync,syncfs,sync_file_range,mknod,mknodat,openat2";

/// Runs a command to its end, with all processes that it leaves, and gives its changes below `directory`
/// in their order.
///
/// # Panics
/// If it fails, or does what cannot be replayed.
#[track_caller]
pub fn record(command: &Command, directory: &Path, trace: &Path, stdin: Vec<u8>) -> Vec<Operation> {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-xx", "-s", "67108864", "-e", &format!("trace={KNOWN},{UNKNOWN}")]);
    strace.args(["-e", "signal=none"]).arg("-o").arg(trace).arg(command.get_program());
    strace.args(command.get_args());
    if let Some(path) = command.get_current_dir() {
        strace.current_dir(path);
    }
    Call::new(strace).env("SOURCE_DATE_EPOCH", "1700000000").stdin(stdin).run().ok();
    let text = std::fs::read_to_string(trace).expect("strace writes its trace");
    let operations = lines(&text).iter().filter_map(|line| parse(line, directory)).collect();
    std::fs::remove_file(trace).expect("it was just read");
    operations
}

/// Whole calls, where they were completed, without process ids.
fn lines(text: &str) -> Vec<String> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut whole = Vec::new();
    for line in text.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix("<unfinished ...>") {
            begun.insert(pid, start);
        } else if let Some((_, rest)) = call.split_once(" resumed>").filter(|_| call.starts_with("<... ")) {
            let start = begun.remove(pid).expect("what is resumed was begun");
            whole.push(format!("{start}{rest}"));
        } else if !call.starts_with(['+', '-']) {
            whole.push(call.to_owned());
        }
    }
    whole
}

/// One call and the part of it that matters.
struct Words<'a> {
    name: &'a str,
    arguments: Vec<&'a str>,
    result: &'a str,
    line: &'a str,
}

fn words(line: &str) -> Option<Words<'_>> {
    let (call, result) = line.rsplit_once(" = ")?;
    let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
    Some(Words { name, arguments: arguments.split(", ").map(str::trim).collect(), result, line })
}

fn parse(line: &str, directory: &Path) -> Option<Operation> {
    let words = words(line)?;
    if words.result.starts_with("-1") || words.result.starts_with('?') {
        return None;
    }
    let below = |path: PathBuf| path.strip_prefix(directory).map(Path::to_owned).ok();
    let operation = match words.name {
        "mkdir" => Operation::MakeDirectory(below(words.path(0))?, words.mode(1)),
        "mkdirat" => Operation::MakeDirectory(below(words.path_at(0))?, words.mode(2)),
        "open" => words.open(1, below)?,
        "openat" => words.open(2, below)?,
        "write" => words.write(None, below)?,
        "pwrite64" => words.write(Some(3), below)?,
        "rename" => Operation::Rename(below(words.path(0))?, below(words.path(1))?),
        "renameat" | "renameat2" => {
            assert!(words.arguments.get(4).is_none_or(|flags| *flags == "0"), "flags of {line}");
            Operation::Rename(below(words.path_at(0))?, below(words.path_at(2))?)
        }
        "link" => Operation::HardLink(below(words.path(0))?, below(words.path(1))?),
        "linkat" => Operation::HardLink(below(words.path_at(0))?, below(words.path_at(2))?),
        "symlink" => Operation::SymbolicLink(words.path(0), below(words.path(1))?),
        "symlinkat" => Operation::SymbolicLink(words.path(0), below(words.path_at(1))?),
        "unlink" | "rmdir" => Operation::Remove(below(words.path(0))?),
        "unlinkat" => Operation::Remove(below(words.path_at(0))?),
        "fsync" | "fdatasync" => Operation::Sync(below(words.descriptor(0)?)?),
        "chmod" => Operation::SetMode(below(words.path(0))?, words.mode(1)),
        "fchmodat" | "fchmodat2" => Operation::SetMode(below(words.path_at(0))?, words.mode(2)),
        "fchmod" => Operation::SetMode(below(words.descriptor(0)?)?, words.mode(1)),
        _ => {
            let text = words.all_paths();
            assert!(
                !text.iter().any(|path| path.starts_with(directory)),
                "cannot replay {text:?}: {}",
                words.name
            );
            return None;
        }
    };
    Some(operation)
}

impl Words<'_> {
    #[track_caller]
    fn argument(&self, at: usize) -> &str {
        self.arguments.get(at).unwrap_or_else(|| panic!("argument {at} of {}", self.line))
    }

    /// A path argument as it is.
    fn path(&self, at: usize) -> PathBuf {
        path_of(string(self.argument(at)).unwrap_or_else(|| panic!("a path: {}", self.line)))
    }

    /// A path argument relative to the descriptor in front of it.
    fn path_at(&self, at: usize) -> PathBuf {
        let directory = annotation(self.argument(at)).unwrap_or_default();
        directory.join(self.path(at + 1))
    }

    /// What a descriptor is open on; nothing if that has no name any more.
    fn descriptor(&self, at: usize) -> Option<PathBuf> {
        annotation(self.argument(at))
    }

    fn mode(&self, at: usize) -> u32 {
        u32::from_str_radix(self.argument(at), 8).unwrap_or_else(|_| panic!("a mode: {}", self.line))
    }

    fn open(&self, flags: usize, below: impl Fn(PathBuf) -> Option<PathBuf>) -> Option<Operation> {
        let path = below(annotation(self.result)?)?;
        let has = |flag: &str| self.argument(flags).split('|').any(|one| one == flag);
        assert!(!has("O_TMPFILE") && !has("O_DIRECT"), "cannot replay {}", self.line);
        let mode = if has("O_CREAT") { self.mode(flags + 1) } else { 0 };
        (has("O_CREAT") || has("O_TRUNC")).then(|| Operation::Open { path, mode, empty: has("O_TRUNC") })
    }

    fn write(&self, offset: Option<usize>, below: impl Fn(PathBuf) -> Option<PathBuf>) -> Option<Operation> {
        let path = below(self.descriptor(0)?)?;
        let mut bytes = string(self.argument(1)).unwrap_or_else(|| panic!("a payload of {}", self.name));
        bytes.truncate(self.result.trim().parse().expect("the number of bytes"));
        let offset = offset.map(|at| self.argument(at).parse().expect("an offset"));
        Some(Operation::Write { path, offset, bytes })
    }

    fn all_paths(&self) -> Vec<PathBuf> {
        let words = self.arguments.iter().chain([&self.result]);
        words.flat_map(|word| [annotation(word), string(word).map(path_of)]).flatten().collect()
    }
}

/// The path behind a descriptor: `4<\x2f\x61>`; none for a file that was removed.
fn annotation(word: &str) -> Option<PathBuf> {
    let (_, rest) = word.split_once('<')?;
    let (path, deleted) = rest.split_once('>')?;
    deleted.is_empty().then(|| decode(path)).flatten().map(path_of)
}

/// A string argument.
fn string(word: &str) -> Option<Vec<u8>> {
    decode(word.strip_prefix('"')?.strip_suffix('"')?)
}

/// `\x2f\x61` as bytes.
fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |four: &[u8]| match four {
        [b'\\', b'x', high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(4).map(byte).collect()
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(bytes).into()
}
