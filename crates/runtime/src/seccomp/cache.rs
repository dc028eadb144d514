//! Compiled programs on disk.
//!
//! One file a program in a directory of the caller's, which only root may write. The name is the key in
//! hexadecimal, the content, in the byte order of the machine:
//! ```text
//! 0   8  "HOLMSECC"
//! 8   4  format version
//! 12  4  flags to install with
//! 16  4  number of instructions
//! 20  4  zero
//! 24  n  instructions, 8 bytes each, as the kernel takes them
//! 24+n 32  SHA-256 of the key and of everything before
//! ```
//! A file is written beside and renamed, so a reader sees a whole one or none. It is never synced: one that
//! a crash tore, like any that is not exactly right or not ours, is ignored and written again. There is
//! nothing in it that cannot be compiled again, so deleting files at any time is safe.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use holm_spec::runtime::LinuxSeccomp;
use holm_sys::seccomp::{Instruction, MAX_INSTRUCTIONS};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use super::architecture::Architecture;
use super::compile::{COMPILER_VERSION, Program};
use super::default_profile;
use super::environment::Environment;
use super::error::{Error, Kind};
use super::syscalls::TABLE_FINGERPRINT;

const MAGIC: &[u8; 8] = b"HOLMSECC";
const FORMAT: u32 = 1;
const HEADER: usize = 24;
const INSTRUCTION: usize = 8;
const CHECKSUM: usize = 32;
const LARGEST: usize = HEADER + MAX_INSTRUCTIONS * INSTRUCTION + CHECKSUM;

/// SHA-256 of an OCI document, as its text is or as its serialisation has it. It is written as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DocumentDigest([u8; 32]);

impl DocumentDigest {
    /// Computes it.
    #[must_use]
    pub fn of(document: &LinuxSeccomp) -> Self {
        Self::of_text(&serde_json::to_vec(document).expect("it was read from JSON"))
    }

    /// Computes it from what is written.
    #[must_use]
    pub fn of_text(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for DocumentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for DocumentDigest {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut bytes = [0; 32];
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(()) };
        if pairs.len() != bytes.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(());
        }
        for (byte, pair) in bytes.iter_mut().zip(pairs) {
            let digits = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| ())?;
        }
        Ok(Self(bytes))
    }
}

/// What a program was compiled from: a digest of every input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key of Holm's default profile. Capabilities that it does not ask for make no difference.
    #[must_use]
    pub fn of_default_profile(environment: &Environment) -> Self {
        let capabilities = environment.capabilities & default_profile::CAPABILITIES;
        let environment = Environment { capabilities, ..*environment };
        Self::new("default", default_profile::FINGERPRINT.as_bytes(), Some(&environment))
    }

    /// The key of a profile in Docker's format, by its text.
    #[must_use]
    pub fn of_profile(document: &[u8], environment: &Environment) -> Self {
        Self::new("profile", document, Some(environment))
    }

    /// The key of an OCI document. It is the same for all capabilities and kernels.
    #[must_use]
    pub fn of_oci(document: &DocumentDigest) -> Self {
        Self::new("oci", &document.0, None)
    }

    fn new(kind: &str, document: &[u8], environment: Option<&Environment>) -> Self {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        field(kind.as_bytes());
        field(&COMPILER_VERSION.to_le_bytes());
        field(TABLE_FINGERPRINT.as_bytes());
        let architecture = environment.map_or(Architecture::NATIVE, |environment| environment.architecture);
        field(architecture.docker_name().as_bytes());
        if let Some(environment) = environment {
            field(&environment.capabilities.to_le_bytes());
            field(&environment.kernel.kernel.to_le_bytes());
            field(&environment.kernel.major.to_le_bytes());
        }
        field(document);
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The program with that key, if `directory` has a good one: five system calls.
///
/// A file counts if it is a regular one of this user that nobody else may write, and whole.
#[must_use]
pub fn load(directory: &Path, key: &Key) -> Option<Program> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(directory.join(key.to_string()), flags, Mode::empty()).ok()?;
    let length = trusted_length(&file)?;
    let mut content = vec![0; length];
    File::from(file).read_exact(&mut content).ok()?;
    decode(&content, key)
}

/// The length of a file that may be believed.
fn trusted_length(file: &OwnedFd) -> Option<usize> {
    let stat = rustix::fs::fstat(file).ok()?;
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let ours = stat.st_uid == rustix::process::geteuid().as_raw();
    let closed = !Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    let length = usize::try_from(stat.st_size).ok()?;
    (regular && ours && closed && (HEADER + CHECKSUM..=LARGEST).contains(&length)).then_some(length)
}

/// Keeps `program` in `directory` for the next [`load`].
///
/// # Errors
/// [`Kind::Cache`] if the file cannot be written; nothing is left behind then. The program is none the
/// worse, so callers go on.
pub fn store(directory: &Path, key: &Key, program: &Program) -> Result<(), Error> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!(".{key}.{}.{serial}", std::process::id()));
    let name = directory.join(key.to_string());
    let written =
        write_new(&temporary, &encode(key, program)).and_then(|()| std::fs::rename(&temporary, &name));
    written.map_err(|error| {
        // It may not exist; there is nothing more to do if it cannot be removed.
        let _ = rustix::fs::unlinkat(CWD, &temporary, AtFlags::empty());
        Error::caused(Kind::Cache, format!("cannot write `{}`", name.display()), error)
    })
}

/// Writes a file that did not exist. A leftover of that name is of a process that died and whose id is now ours.
fn write_new(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = match create() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(CWD, path, AtFlags::empty())?;
            create()?
        }
        other => other?,
    };
    File::from(file).write_all(content)
}

fn encode(key: &Key, program: &Program) -> Vec<u8> {
    let instructions = program.instructions();
    let mut content = Vec::with_capacity(HEADER + instructions.len() * INSTRUCTION + CHECKSUM);
    content.extend_from_slice(MAGIC);
    for number in [FORMAT, program.flags(), instructions.len() as u32, 0] {
        content.extend_from_slice(&number.to_ne_bytes());
    }
    for instruction in instructions {
        content.extend_from_slice(&instruction.code.to_ne_bytes());
        content.extend_from_slice(&[instruction.jt, instruction.jf]);
        content.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    let checksum = checksum(key, &content);
    content.extend_from_slice(&checksum);
    content
}

fn decode(content: &[u8], key: &Key) -> Option<Program> {
    let (body, sum) = content.split_last_chunk::<CHECKSUM>()?;
    let (header, instructions) = body.split_first_chunk::<HEADER>()?;
    if &header[..8] != MAGIC || checksum(key, body) != *sum {
        return None;
    }
    let number = |at: usize| Some(u32::from_ne_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let whole = instructions.len() == usize::try_from(number(16)?).ok()?.checked_mul(INSTRUCTION)?;
    if number(8)? != FORMAT || number(20)? != 0 || !whole {
        return None;
    }
    let (instructions, _) = instructions.as_chunks::<INSTRUCTION>();
    Some(Program::from_parts(instructions.iter().map(decode_instruction).collect(), number(12)?))
}

fn decode_instruction(bytes: &[u8; INSTRUCTION]) -> Instruction {
    let [code_a, code_b, jt, jf, k @ ..] = *bytes;
    Instruction { code: u16::from_ne_bytes([code_a, code_b]), jt, jf, k: u32::from_ne_bytes(k) }
}

fn checksum(key: &Key, body: &[u8]) -> [u8; CHECKSUM] {
    Sha256::new().chain_update(key.0).chain_update(body).finalize().into()
}
