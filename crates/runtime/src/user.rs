//! Users and groups of a root file system: passwd(5) and group(5), parsed by us and never by NSS.
//!
//! The files belong to the image and are hostile: they are opened below the root with
//! `RESOLVE_IN_ROOT`, only if they are regular files, and only up to a limit.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use holm_sys::in_root;
use holm_sys::rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open};

use crate::error::{Error, Result};

/// Longest passwd or group file that is read, in bytes; the rest is as if it were not there.
const FILE_LIMIT: u64 = 4 << 20;
/// Largest user or group id: the kernel takes the last number of 32 bits for "leave it as it is", so a
/// process asked to run as that would stay root.
const ID_LIMIT: u32 = i32::MAX as u32;
/// Largest number of supplementary groups (`NGROUPS_MAX` is larger; the identity fits in one packet).
pub const GROUPS_LIMIT: usize = 1024;

/// Who a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

impl Identity {
    /// The identity that `request` (`user[:group]`, names or numbers, empty for root) means in a root
    /// file system with this content of passwd and group, as Docker resolves it.
    ///
    /// # Errors
    /// A name that is not there; a number without an entry stands for itself.
    pub fn resolve(request: &str, passwd: &str, group: &str) -> Result<Self> {
        let (user, wanted_group) = match request.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (request, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let entry = find_user(passwd, user);
        let uid = match (&entry, parse_id(user).ok_or(())) {
            (Some(entry), _) => entry.uid,
            (None, Ok(number)) => number,
            (None, Err(_)) => {
                return Err(Error::invalid(format!("user `{user}` is not in the image's /etc/passwd")));
            }
        };
        let gid = match wanted_group {
            Some(name) => find_group(group, name)?,
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        // An explicit group stands alone, as with Docker.
        let listed = match (&entry, wanted_group) {
            (Some(entry), None) => groups_of(group, entry.name),
            _ => Vec::new(),
        };
        // The primary group is in the list, too: else a set-group-id program would shed it.
        let groups = std::iter::once(gid).chain(listed.into_iter().filter(|listed| *listed != gid)).collect();
        let home = entry.as_ref().map_or("/", |entry| entry.home);
        Ok(Self { uid, gid, groups, home: if home.is_empty() { "/" } else { home }.to_owned() })
    }
}

/// A user or group id in range.
fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= ID_LIMIT)
}

/// Refuses numbers out of range in a configuration.
pub(crate) fn check_ids(ids: impl IntoIterator<Item = u32>) -> Result<()> {
    match ids.into_iter().find(|id| *id > ID_LIMIT) {
        Some(id) => Err(Error::invalid(format!("user or group id {id} is above {ID_LIMIT}"))),
        None => Ok(()),
    }
}

struct UserEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = UserEntry<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = parse_id(fields.nth(1)?)?;
        let gid = parse_id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or("");
        Some(UserEntry { name, uid, gid, home })
    })
}

/// By name first: a user may be called `1000`.
fn find_user<'a>(passwd: &'a str, user: &str) -> Option<UserEntry<'a>> {
    let number = parse_id(user);
    users(passwd)
        .find(|entry| entry.name == user)
        .or_else(|| users(passwd).find(|entry| Some(entry.uid) == number))
}

fn groups(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = parse_id(fields.nth(1)?)?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

fn find_group(group: &str, wanted: &str) -> Result<u32> {
    let by_name = groups(group).find(|(name, ..)| *name == wanted).map(|(_, gid, _)| gid);
    by_name
        .or_else(|| parse_id(wanted))
        .ok_or_else(|| Error::invalid(format!("group `{wanted}` is not in the image's /etc/group")))
}

fn groups_of(group: &str, user: &str) -> Vec<u32> {
    let member = |members: &str| members.split(',').any(|member| member == user);
    groups(group).filter(|(.., members)| member(members)).map(|(_, gid, _)| gid).take(GROUPS_LIMIT).collect()
}

/// Reads a text file below `root`; empty if it is not there or no regular file.
pub fn read_in_root(root: BorrowedFd<'_>, path: &str) -> String {
    let Some(file) = open_regular(root, path) else { return String::new() };
    let mut content = Vec::new();
    let _ = File::from(file).take(FILE_LIMIT).read_to_end(&mut content);
    String::from_utf8(content).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// First only a handle on the object, so that a FIFO or a device of the image is never opened.
fn open_regular(root: BorrowedFd<'_>, path: &str) -> Option<OwnedFd> {
    let handle = in_root::open(root, path, OFlags::PATH, ResolveFlags::empty()).ok()?;
    let stat = fstat(&handle).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let reopened = format!("/proc/self/fd/{}", handle.as_fd().as_raw_fd());
    // Without waiting: the container may hold a lease on the file, which an open would wait to be broken.
    open(reopened, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use holm_sys::rustix::fs::{CWD, mknodat};

    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\n1000:x:1001:7::/home/odd:\nbroken\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:web,root\nweb:x:33:\nlog:x:50:web\n";

    fn resolve(request: &str) -> (u32, u32, Vec<u32>, String) {
        let identity = Identity::resolve(request, PASSWD, GROUP).expect("known");
        (identity.uid, identity.gid, identity.groups, identity.home)
    }

    #[test]
    fn every_form_of_a_request() {
        assert_eq!(resolve(""), (0, 0, vec![0, 4], "/root".to_owned()));
        assert_eq!(resolve("web"), (33, 33, vec![33, 4, 50], "/var/www".to_owned()));
        assert_eq!(resolve("33"), (33, 33, vec![33, 4, 50], "/var/www".to_owned()));
        assert_eq!(resolve("web:log"), (33, 50, vec![50], "/var/www".to_owned()));
        assert_eq!(resolve("web:77"), (33, 77, vec![77], "/var/www".to_owned()));
        assert_eq!(resolve("4711"), (4711, 0, vec![0], "/".to_owned()));
        assert_eq!(resolve("1000").0, 1001, "a name goes before a number");
    }

    #[test]
    fn unknown_names_are_refused() {
        for request in
            ["nobody", "web:nogroup", "-1", "4294967296", "4294967295", "0:4294967295", "2147483648"]
        {
            assert!(Identity::resolve(request, PASSWD, GROUP).is_err(), "{request}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(dir.path().join("file"), "text").expect("write");
        std::os::unix::fs::symlink("/file", dir.path().join("link")).expect("symlink");
        std::os::unix::fs::symlink("../../../../etc/passwd", dir.path().join("escape")).expect("symlink");
        let fifo = dir.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
        let root = File::open(dir.path()).expect("open");
        assert_eq!(read_in_root(root.as_fd(), "/link"), "text");
        for path in ["fifo", "escape", "missing", "."] {
            assert_eq!(read_in_root(root.as_fd(), path), "", "{path}");
        }
    }
}
