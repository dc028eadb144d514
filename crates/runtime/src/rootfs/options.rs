//! Mount options as an OCI configuration writes them (runtime specification, "Linux mount options").
//! Pure.

use std::os::fd::BorrowedFd;
use std::path::Path;

use holm_sys::in_root;
use holm_sys::mount::AttributeChange;
use holm_sys::rustix::fs::{OFlags, ResolveFlags, fstat};

use crate::error::{Error, Result};
use crate::maps::Maps;

// MOUNT_ATTR_* of linux/mount.h.
const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
const ATIME_FIELD: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

// MS_* of linux/mount.h, for propagation.
const MS_UNBINDABLE: u64 = 1 << 17;
pub(super) const MS_PRIVATE: u64 = 1 << 18;
pub(super) const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// Options of one mount, sorted by who takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `bind` or `rbind` was given.
    pub bind: bool,
    /// `rbind` was given.
    pub recursive_bind: bool,
    /// Attributes of the mount itself.
    pub attributes: Attributes,
    /// Attributes of the mount and all below it.
    pub recursive: Attributes,
    /// `MS_*` propagation; 0 if none was given.
    pub propagation: u64,
    /// The propagation is for all mounts below, too.
    pub recursive_propagation: bool,
    /// `tmpcopyup`: fill the new file system with what the image holds there.
    pub copy_up: bool,
    /// `idmap` or `ridmap`: users and groups appear as the maps say; whether for all mounts below, too.
    pub id_mapped: Option<bool>,
    /// Options for the file system: flags, and keys with values.
    pub data: Vec<(String, Option<String>)>,
}

/// `MOUNT_ATTR_*` bits to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear.
    pub clear: u64,
}

impl Attributes {
    /// Whether there is anything to change.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The change for mount_setattr(2), without propagation.
    pub fn change(self) -> AttributeChange {
        AttributeChange { set: self.set, clear: self.clear, ..AttributeChange::default() }
    }

    fn put(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
        // The access-time modes are a field: setting one clears the whole of it first.
        if set & ATIME_FIELD != 0 {
            self.clear |= ATIME_FIELD;
        }
    }
}

/// What an attribute option sets and clears.
fn attribute(name: &str) -> Option<(u64, u64)> {
    Some(match name {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "noatime" => (NOATIME, 0),
        "atime" | "relatime" => (0, ATIME_FIELD),
        "strictatime" => (STRICTATIME, 0),
        "norelatime" | "nostrictatime" => (0, ATIME_FIELD),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        "symfollow" => (0, NOSYMFOLLOW),
        _ => return None,
    })
}

fn propagation(name: &str) -> Option<u64> {
    Some(match name {
        "private" => MS_PRIVATE,
        "shared" => MS_SHARED,
        "slave" => MS_SLAVE,
        "unbindable" => MS_UNBINDABLE,
        _ => return None,
    })
}

impl MountOptions {
    /// Sorts the options; a later one overrides an earlier one of its kind. What is no option of the
    /// mount goes to the file system, which refuses what it does not know.
    pub fn parse<S: AsRef<str>>(options: impl IntoIterator<Item = S>) -> Self {
        let mut parsed = Self::default();
        for option in options {
            parsed.take(option.as_ref());
        }
        parsed
    }

    fn take(&mut self, option: &str) {
        let recursive = option.strip_prefix('r');
        if matches!(option, "bind" | "rbind") {
            self.bind = true;
            self.recursive_bind |= option == "rbind";
        } else if let Some((set, clear)) = attribute(option) {
            self.attributes.put(set, clear);
        } else if let Some(kind) = propagation(option) {
            (self.propagation, self.recursive_propagation) = (kind, false);
        } else if let Some(kind) = recursive.and_then(propagation) {
            (self.propagation, self.recursive_propagation) = (kind, true);
        } else if let Some((set, clear)) = recursive.and_then(attribute) {
            self.recursive.put(set, clear);
        } else if let "idmap" | "ridmap" = option {
            self.id_mapped = Some(option == "ridmap");
        } else if option == "tmpcopyup" {
            self.copy_up = true;
        } else if let Some((flag, set)) = superblock_flag(option) {
            self.put_flag(flag, set);
        } else if !IGNORED.contains(&option) {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (option, None),
            };
            self.data.push((key.to_owned(), value));
        }
    }
}

impl MountOptions {
    /// Whether mounts are to go both ways.
    pub fn is_shared(&self) -> bool {
        self.propagation == MS_SHARED
    }

    /// The change of propagation that was asked for, and whether it is for all mounts below.
    pub fn propagation_change(&self) -> Option<(AttributeChange, bool)> {
        let change = AttributeChange { propagation: self.propagation, ..AttributeChange::default() };
        (self.propagation != 0).then_some((change, self.recursive_propagation))
    }

    /// What is changed on a tree that was copied, in this order, and each whether for all mounts below.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (AttributeChange, bool)> {
        let some = |attributes: Attributes| (!attributes.is_empty()).then(|| attributes.change());
        let recursive = some(self.recursive).map(|change| (change, true));
        let own = some(self.attributes).map(|change| (change, false));
        [recursive, own, self.propagation_change()].into_iter().flatten()
    }

    fn put_flag(&mut self, flag: &str, set: bool) {
        self.data.retain(|(key, _)| key != flag);
        if set {
            self.data.push((flag.to_owned(), None));
        }
    }

    /// Turns ids of the container into the host's, because the file system is made outside the user namespace;
    /// with `owned` its root belongs to the container's root unless something else is asked for.
    ///
    /// # Errors
    /// An id that the maps do not know.
    pub(crate) fn translate_ids(&mut self, maps: &Maps, owned: bool) -> Result<()> {
        for (name, map) in [("uid", &maps.uids), ("gid", &maps.gids)] {
            let given = self.data.iter_mut().find(|(key, _)| key == name);
            let asked = given.as_ref().and_then(|(_, value)| value.as_deref()).map(str::parse::<u32>);
            let id = match asked {
                Some(Ok(id)) => id,
                None if owned => 0,
                _ => continue,
            };
            let host = map.to_host(id).ok_or_else(|| {
                Error::invalid(format!("option `{name}={id}`: the user namespace does not map {id}"))
            })?;
            match given {
                Some((_, value)) => *value = Some(host.to_string()),
                None => self.data.push((name.to_owned(), Some(host.to_string()))),
            }
        }
        Ok(())
    }

    /// Gives a tmpfs the mode of the directory that it covers, unless a mode was asked for.
    pub(crate) fn adopt_mode(&mut self, root: BorrowedFd<'_>, destination: &Path) {
        if self.data.iter().any(|(key, _)| key == "mode") {
            return;
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let covered = in_root::open(root, destination, flags, ResolveFlags::empty());
        if let Ok(stat) = covered.and_then(fstat) {
            self.data.push(("mode".to_owned(), Some(format!("{:o}", stat.st_mode & 0o7777))));
        }
    }
}

/// Names of all options of mounts, sorted; others go to the file system.
pub const NAMES: &[&str] = &[
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

/// Options that change nothing: what they ask for is so anyway, or has had no effect for long.
const IGNORED: &[&str] = &["", "defaults", "silent", "loud", "remount"];

/// Flags of the file system that have a name with and one without `no`.
fn superblock_flag(option: &str) -> Option<(&'static str, bool)> {
    Some(match option {
        "sync" => ("sync", true),
        "async" => ("sync", false),
        "dirsync" => ("dirsync", true),
        "mand" => ("mand", true),
        "nomand" => ("mand", false),
        "iversion" => ("iversion", true),
        "noiversion" => ("iversion", false),
        "lazytime" => ("lazytime", true),
        "nolazytime" => ("lazytime", false),
        _ => return None,
    })
}

/// `MS_*` bits and recursion of an OCI `rootfsPropagation`.
pub fn root_propagation(text: &str) -> Option<(u64, bool)> {
    let recursive = text.strip_prefix('r').and_then(propagation).map(|kind| (kind, true));
    recursive.or_else(|| propagation(text).map(|kind| (kind, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_to_who_takes_them() {
        let options =
            MountOptions::parse(["nosuid", "strictatime", "mode=755", "size=64k", "newinstance", "rw"]);
        assert_eq!(options.attributes, Attributes { set: NOSUID | STRICTATIME, clear: ATIME_FIELD | RDONLY });
        let data = [("mode", Some("755")), ("size", Some("64k")), ("newinstance", None)];
        assert_eq!(options.data, data.map(|(key, value)| (key.to_owned(), value.map(str::to_owned))));
        assert!(!options.bind);
    }

    #[test]
    fn binds_and_recursion() {
        let options = MountOptions::parse(["rbind", "rro", "rslave", "ro", "rw"]);
        assert!(options.bind && options.recursive_bind && options.recursive_propagation);
        assert_eq!(options.recursive.set, RDONLY);
        assert_eq!(options.attributes, Attributes { set: 0, clear: RDONLY });
        assert_eq!(options.propagation, MS_SLAVE);
        assert_eq!(root_propagation("rprivate"), Some((MS_PRIVATE, true)));
        assert_eq!(root_propagation("private"), Some((MS_PRIVATE, false)));
        assert_eq!(root_propagation("x"), None);
    }
}
