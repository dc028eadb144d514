//! Root file systems as tarballs (POSIX.1-2001 pax interchange format over ustar headers), written here so
//! that hostile entries can be made that no archiver writes.

use std::fmt::Write as _;
use std::sync::OnceLock;

/// Size of a header and unit of padding.
const BLOCK: usize = 512;

/// The image of most tests: a static busybox with a link for each applet, users and groups, and a few
/// files that cannot be executed.
///
/// Users: `root`, and `app` (1000:1000, also in the group `extra`, 2000; its home is `/home/app`).
///
/// # Panics
/// If `/bin/busybox` (Debian's `busybox-static`) is not installed.
#[must_use]
pub fn base() -> Vec<u8> {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| base_with_release("base").finish()).clone()
}

/// The entries of [`base`] with another `ID` in `/etc/os-release`, to be extended.
///
/// # Panics
/// As [`base`].
#[must_use]
pub fn base_with_release(id: &str) -> Tarball {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut tar = Tarball::new();
    for (path, mode) in [("bin", 0o755), ("etc", 0o755), ("usr", 0o755), ("var", 0o755), ("tmp", 0o1777)] {
        tar.directory(path, mode);
    }
    tar.directory("root", 0o700).directory("home", 0o755);
    tar.owner(1000, 1000).directory("home/app", 0o755).owner(0, 0);
    tar.file("bin/busybox", 0o755, busybox);
    for applet in applets().lines().filter(|applet| *applet != "busybox") {
        tar.symlink(&format!("bin/{applet}"), "busybox");
    }
    let users = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n";
    tar.file("etc/passwd", 0o644, users);
    tar.file("etc/group", 0o644, "root:x:0:\napp:x:1000:\nextra:x:2000:app\n");
    tar.file("etc/os-release", 0o644, format!("ID={id}\nPRETTY_NAME=\"Test image {id}\"\n"));
    tar.file("etc/plain", 0o644, "not a program\n");
    tar.file("bin/garbage", 0o755, b"\x01\x02 no format that a kernel knows\n");
    tar
}

/// Names of busybox's applets, one a line.
fn applets() -> String {
    let output = std::process::Command::new("/bin/busybox").arg("--list").output();
    String::from_utf8(output.expect("busybox-static is installed").stdout).expect("applet names are text")
}

/// A tarball in the making. Paths are written as they are given.
#[derive(Default)]
pub struct Tarball {
    bytes: Vec<u8>,
    owner: (u32, u32),
    time: Option<(i64, u32)>,
    records: Vec<(String, Vec<u8>)>,
}

/// When entries were changed unless they say otherwise, in seconds since 1970.
const TIME: i64 = 1_700_000_000;

impl Tarball {
    /// A tarball without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// User and group of the entries to come.
    pub fn owner(&mut self, user: u32, group: u32) -> &mut Self {
        self.owner = (user, group);
        self
    }

    /// When the entries to come were changed: seconds since 1970, and nanoseconds.
    pub fn time(&mut self, seconds: i64, nanoseconds: u32) -> &mut Self {
        self.time = Some((seconds, nanoseconds));
        self
    }

    /// An extended attribute of the next entry.
    pub fn attribute(&mut self, name: &str, value: impl Into<Vec<u8>>) -> &mut Self {
        self.record(&format!("SCHILY.xattr.{name}"), value)
    }

    /// A record of the pax header of the next entry.
    pub fn record(&mut self, key: &str, value: impl Into<Vec<u8>>) -> &mut Self {
        self.records.push((key.to_owned(), value.into()));
        self
    }

    /// A regular file.
    pub fn file(
        &mut self,
        path: &(impl AsRef<[u8]> + ?Sized),
        mode: u32,
        content: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.entry(b'0', path.as_ref(), mode, b"", content.as_ref())
    }

    /// A directory.
    pub fn directory(&mut self, path: &(impl AsRef<[u8]> + ?Sized), mode: u32) -> &mut Self {
        self.entry(b'5', path.as_ref(), mode, b"", &[])
    }

    /// A symbolic link.
    pub fn symlink(
        &mut self,
        path: &(impl AsRef<[u8]> + ?Sized),
        target: &(impl AsRef<[u8]> + ?Sized),
    ) -> &mut Self {
        self.entry(b'2', path.as_ref(), 0o777, target.as_ref(), &[])
    }

    /// A hard link.
    pub fn hard_link(
        &mut self,
        path: &(impl AsRef<[u8]> + ?Sized),
        target: &(impl AsRef<[u8]> + ?Sized),
    ) -> &mut Self {
        self.entry(b'1', path.as_ref(), 0o644, target.as_ref(), &[])
    }

    /// A named pipe.
    pub fn fifo(&mut self, path: &str, mode: u32) -> &mut Self {
        self.entry(b'6', path.as_bytes(), mode, b"", &[])
    }

    /// A whiteout of the path: a file beside it whose name says so.
    pub fn whiteout(&mut self, path: &str) -> &mut Self {
        let (directory, name) = path.rsplit_once('/').map_or(("", path), |(above, name)| (above, name));
        let slash = if directory.is_empty() { "" } else { "/" };
        self.file(&format!("{directory}{slash}.wh.{name}"), 0o644, "")
    }

    /// A character device.
    pub fn character_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> &mut Self {
        self.device(b'3', path, mode, (major, minor))
    }

    /// A block device.
    pub fn block_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) -> &mut Self {
        self.device(b'4', path, mode, (major, minor))
    }

    fn device(&mut self, kind: u8, path: &str, mode: u32, (major, minor): (u32, u32)) -> &mut Self {
        self.extended(path.as_bytes(), b"");
        let mut header = self.header(kind, path.as_bytes(), mode, b"", 0);
        octal(&mut header[329..337], u64::from(major));
        octal(&mut header[337..345], u64::from(minor));
        self.push(header, &[])
    }

    /// The tarball with its end mark.
    #[must_use]
    pub fn finish(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    fn entry(&mut self, kind: u8, path: &[u8], mode: u32, target: &[u8], content: &[u8]) -> &mut Self {
        self.extended(path, target);
        let header = self.header(kind, path, mode, target, content.len());
        self.push(header, content)
    }

    /// Writes a pax header if the next entry needs one: for long names, for times that a header has no digits for, and
    /// for what was asked for.
    fn extended(&mut self, path: &[u8], target: &[u8]) {
        let mut records = Vec::new();
        for (key, value) in [("path", path), ("linkpath", target)] {
            if value.len() > 100 {
                records.extend(record(key, value));
            }
        }
        if let Some((seconds, nanoseconds)) = self.time.filter(|time| time.0 < 0 || time.1 > 0) {
            records.extend(record("mtime", decimal(seconds, nanoseconds).as_bytes()));
        }
        for (key, value) in std::mem::take(&mut self.records) {
            records.extend(record(&key, &value));
        }
        if !records.is_empty() {
            let header = self.header(b'x', b"pax", 0o644, b"", records.len());
            self.push(header, &records);
        }
    }

    fn header(&self, kind: u8, path: &[u8], mode: u32, target: &[u8], size: usize) -> [u8; BLOCK] {
        let mut header = [0; BLOCK];
        text(&mut header[..100], path);
        octal(&mut header[100..108], u64::from(mode));
        octal(&mut header[108..116], u64::from(self.owner.0));
        octal(&mut header[116..124], u64::from(self.owner.1));
        octal(&mut header[124..136], size as u64);
        let seconds = self.time.map_or(TIME, |(seconds, _)| seconds);
        octal(&mut header[136..148], u64::try_from(seconds).unwrap_or_default());
        header[156] = kind;
        text(&mut header[157..257], target);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header
    }

    fn push(&mut self, mut header: [u8; BLOCK], content: &[u8]) -> &mut Self {
        header[148..156].fill(b' ');
        let sum = header.iter().map(|byte| u64::from(*byte)).sum();
        octal(&mut header[148..155], sum);
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
        self
    }
}

/// One pax record: its own length, counted with itself, key and value.
fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    let mut bytes = format!("{length} {key}=").into_bytes();
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
    bytes
}

/// A time as pax writes it: nanoseconds behind a point, counted away from 0 before 1970.
fn decimal(seconds: i64, nanoseconds: u32) -> String {
    let whole = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
    let (sign, size) = (if whole < 0 { "-" } else { "" }, whole.unsigned_abs());
    format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000)
}

/// Writes as much of a text as fits.
fn text(field: &mut [u8], value: &[u8]) {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
}

/// Writes a number in octal digits with a NUL behind them.
fn octal(field: &mut [u8], value: u64) {
    let mut digits = String::new();
    write!(digits, "{value:0width$o}", width = field.len() - 1).expect("a string takes all");
    text(field, digits.as_bytes());
}
