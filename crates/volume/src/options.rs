//! Options of Docker's `local` driver: `type`, `device` and `o` as mount(8) has them, and `size`.
//!
//! | `type` | the volume is | `device` |
//! |---|---|---|
//! | none at all | a directory of Holm's, of at most `size` | |
//! | `none`, `bind` | a directory of the host's | that directory |
//! | `tmpfs` | a file system in memory | any word |
//! | `ext4`, `xfs`, … | the file system of a block device | that device |
//! | `nfs`, `nfs4` | a directory of a server's | `HOST:/PATH`, or `:/PATH` and `addr=HOST` in `o` |
//! | `cifs`, `smb3` | a share of a server's | `//HOST/SHARE` |
//!
//! What holds no data (`proc`, `overlay`, …) is refused, and so is what mount(8) does itself and no kernel knows (`loop`,
//! `user`). Options that nobody here knows are the file system's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use holm_spec::volume::BIND;
use rustix::mount::MountAttrFlags;

/// File systems of block devices.
const OF_DEVICES: [&str; 13] = [
    "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "ntfs3", "squashfs", "udf", "vfat",
    "xfs",
];
const OF_NFS: [&str; 2] = ["nfs", "nfs4"];
const OF_SMB: [&str; 2] = ["cifs", "smb3"];
const TMPFS: &str = "tmpfs";
const KNOWN: [&str; 4] = ["type", "o", "device", "size"];
/// Options of the mount itself: set and clear these attributes.
const ATTRIBUTES: [(&str, MountAttrFlags, MountAttrFlags); 16] = {
    const NONE: MountAttrFlags = MountAttrFlags::empty();
    const ATIME: MountAttrFlags = MountAttrFlags::MOUNT_ATTR__ATIME;
    [
        ("ro", MountAttrFlags::MOUNT_ATTR_RDONLY, NONE),
        ("rw", NONE, MountAttrFlags::MOUNT_ATTR_RDONLY),
        ("nosuid", MountAttrFlags::MOUNT_ATTR_NOSUID, NONE),
        ("suid", NONE, MountAttrFlags::MOUNT_ATTR_NOSUID),
        ("nodev", MountAttrFlags::MOUNT_ATTR_NODEV, NONE),
        ("dev", NONE, MountAttrFlags::MOUNT_ATTR_NODEV),
        ("noexec", MountAttrFlags::MOUNT_ATTR_NOEXEC, NONE),
        ("exec", NONE, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        ("nosymfollow", MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW, NONE),
        ("noatime", MountAttrFlags::MOUNT_ATTR_NOATIME, ATIME),
        ("strictatime", MountAttrFlags::MOUNT_ATTR_STRICTATIME, ATIME),
        ("relatime", NONE, ATIME),
        ("atime", NONE, ATIME),
        ("norelatime", NONE, NONE),
        ("nodiratime", MountAttrFlags::MOUNT_ATTR_NODIRATIME, NONE),
        ("diratime", NONE, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ]
};
/// What says something to whoever reads fstab(5), and nothing to the kernel.
const IGNORED: [&str; 5] = ["defaults", "auto", "noauto", "nofail", "_netdev"];
/// What mount(8) does itself, or what is no mount of its own.
const NOT_THE_KERNELS: [&str; 22] = [
    "bind",
    "rbind",
    "move",
    "remount",
    "loop",
    "offset",
    "sizelimit",
    "encryption",
    "user",
    "users",
    "owner",
    "group",
    "uhelper",
    "helper",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
];

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A directory of ours, of at most this size, as it was written.
    Own { size: Option<String> },
    /// A directory of the host's.
    Directory(PathBuf),
    /// A file system of its own.
    FileSystem(FileSystem),
}

/// A file system that is to be mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileSystem {
    pub kind: String,
    /// Of the mount.
    pub attributes: MountAttrFlags,
    /// Of the file system, `source` among them: key, and value where there is one.
    pub options: Vec<(String, Option<String>)>,
    /// The server that it is at: its address becomes the option `addr`.
    pub server: Option<String>,
}

impl Asked {
    /// Reads the options.
    ///
    /// # Errors
    /// What of them makes no sense, or is not there.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        if let Some(unknown) = options.keys().find(|key| !KNOWN.contains(&key.as_str())) {
            return Err(format!("unknown option `{unknown}`: type, o, device and size are known"));
        }
        let option = |key: &str| options.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let Some(kind) = option("type") else {
            return match (option("device"), option("o")) {
                (None, None) => Ok(Self::Own { size: option("size").map(str::to_owned) }),
                // Docker's documents have both forms.
                (None, Some(o)) if o.starts_with("size=") && !o.contains(',') => {
                    Ok(Self::Own { size: o.strip_prefix("size=").map(str::to_owned) })
                }
                _ => Err("device and o need a type".into()),
            };
        };
        if option("size").is_some() {
            return Err(format!("size is for volumes without a type; of `{kind}` it stands in o, if at all"));
        }
        let (device, words) = (option("device"), option("o").unwrap_or_default());
        if BIND.contains(&kind) {
            return directory(device, words).map(Self::Directory);
        }
        FileSystem::parse(kind, device, words).map(Self::FileSystem)
    }
}

fn directory(device: Option<&str>, words: &str) -> Result<PathBuf, String> {
    if !matches!(words, "bind" | "rbind") {
        return Err("of type=none there are directories, with o=bind".into());
    }
    let device = Path::new(device.ok_or("its options name no device")?);
    match device.is_absolute() {
        true => Ok(device.to_owned()),
        false => Err(format!("device `{}` is no absolute path", device.display())),
    }
}

impl FileSystem {
    fn parse(kind: &str, device: Option<&str>, words: &str) -> Result<Self, String> {
        let mut parsed = Self {
            kind: kind.to_owned(),
            attributes: MountAttrFlags::empty(),
            options: Vec::new(),
            server: None,
        };
        for word in words.split(',').filter(|word| !word.is_empty()) {
            parsed.add(word)?;
        }
        let source = match device {
            None if kind == TMPFS => TMPFS,
            device => device.ok_or("its options name no device")?,
        };
        parsed.server = server(kind, source, &parsed.options)?;
        if parsed.server.is_some() {
            parsed.options.retain(|(key, _)| !matches!(key.as_str(), "addr" | "ip"));
        }
        parsed.options.insert(0, ("source".to_owned(), Some(source.to_owned())));
        Ok(parsed)
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        if NOT_THE_KERNELS.contains(&key) {
            return Err(format!("option `{key}` is not for file systems that are volumes"));
        }
        if IGNORED.contains(&key) || key.starts_with("x-") || key.starts_with("X-") || key == "comment" {
            return Ok(());
        }
        let attribute = ATTRIBUTES.iter().find(|(name, ..)| *name == word);
        if let Some((_, set, clear)) = attribute {
            self.attributes = self.attributes.difference(*clear).union(*set);
        }
        // Read-only is the mount and the file system.
        if attribute.is_none() || matches!(word, "ro" | "rw") {
            self.options.push((key.to_owned(), value.map(str::to_owned)));
        }
        Ok(())
    }
}

/// Where a file system is that is not on this host; or that it is none that can be a volume.
fn server(kind: &str, source: &str, options: &[(String, Option<String>)]) -> Result<Option<String>, String> {
    let given = options.iter().rev().find(|(key, _)| matches!(key.as_str(), "addr" | "ip"));
    let given = given.and_then(|(_, value)| value.as_deref());
    let named = if OF_NFS.contains(&kind) {
        let (host, path) = source
            .rsplit_once(":/")
            .ok_or_else(|| format!("device `{source}` is not HOST:/PATH, as {kind} needs it"))?;
        let _ = path;
        host.trim_start_matches('[').trim_end_matches(']')
    } else if OF_SMB.contains(&kind) {
        let host = source.strip_prefix("//").and_then(|rest| rest.split_once('/')).map(|(host, _)| host);
        host.ok_or_else(|| format!("device `{source}` is not //HOST/SHARE, as {kind} needs it"))?
    } else if kind == TMPFS {
        return Ok(None);
    } else if !OF_DEVICES.contains(&kind) {
        let known = [OF_DEVICES.as_slice(), &OF_NFS, &OF_SMB, &[TMPFS]].concat().join(", ");
        return Err(format!("type `{kind}` cannot be a volume: none, and of file systems {known} can"));
    } else if !source.starts_with('/') {
        return Err(format!("device `{source}` is no absolute path"));
    } else {
        return Ok(None);
    };
    match given.unwrap_or(named) {
        "" => Err(format!("device `{source}` names no host, and no addr is among the options")),
        host => Ok(Some(host.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Asked, String> {
        Asked::parse(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn file_system(pairs: &[(&str, &str)]) -> FileSystem {
        match parse(pairs).expect("makes sense") {
            Asked::FileSystem(found) => found,
            other => panic!("no file system: {other:?}"),
        }
    }

    fn written(options: &[(String, Option<String>)]) -> String {
        let one = |(key, value): &(String, Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => key.clone(),
        };
        options.iter().map(one).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn directories() {
        assert_eq!(parse(&[]), Ok(Asked::Own { size: None }));
        let limited = Asked::Own { size: Some("10G".into()) };
        assert_eq!(parse(&[("size", "10G")]), Ok(limited.clone()));
        assert_eq!(parse(&[("o", "size=10G")]), Ok(limited));
        let bind = [("type", "none"), ("o", "bind"), ("device", "/srv")];
        assert_eq!(parse(&bind), Ok(Asked::Directory("/srv".into())));
    }

    #[test]
    fn options_are_sorted_by_whose_they_are() {
        let found =
            file_system(&[("type", "tmpfs"), ("o", "size=1m,nosuid,suid,noexec,ro,noatime,x-y=z,defaults")]);
        assert_eq!(written(&found.options), "source=tmpfs,size=1m,ro");
        let expected = MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        assert_eq!((found.attributes, found.server), (expected, None));
        let found = file_system(&[("type", "ext4"), ("device", "/dev/sdb1"), ("o", "data=ordered")]);
        assert_eq!(written(&found.options), "source=/dev/sdb1,data=ordered");
    }

    #[test]
    fn servers_are_found() {
        for (kind, device, o, server, options) in [
            ("nfs", ":/srv", "addr=10.0.0.1,vers=4.2", "10.0.0.1", "source=:/srv,vers=4.2"),
            ("nfs4", "box:/srv", "", "box", "source=box:/srv"),
            ("nfs", "[fd00::1]:/srv", "rw", "fd00::1", "source=[fd00::1]:/srv,rw"),
            ("cifs", "//box/share", "username=a", "box", "source=//box/share,username=a"),
            ("cifs", "//box/share", "ip=10.0.0.1", "10.0.0.1", "source=//box/share"),
        ] {
            let found = file_system(&[("type", kind), ("device", device), ("o", o)]);
            assert_eq!(found.server.as_deref(), Some(server), "{device}");
            assert_eq!(written(&found.options), options);
        }
    }

    #[test]
    fn refusals() {
        for (pairs, reason) in [
            (&[("quick", "1")][..], "unknown option `quick`"),
            (&[("device", "/srv")], "device and o need a type"),
            (&[("type", "none"), ("o", "bind")], "its options name no device"),
            (&[("type", "none"), ("device", "/srv")], "of type=none"),
            (&[("type", "none"), ("o", "bind"), ("device", "srv")], "device `srv` is no absolute path"),
            (&[("type", "tmpfs"), ("size", "1m")], "size is for volumes without a type"),
            (&[("type", "ext4")], "its options name no device"),
            (&[("type", "ext4"), ("device", "sdb1")], "device `sdb1` is no absolute path"),
            (&[("type", "ext4"), ("device", "/a"), ("o", "loop")], "option `loop`"),
            (&[("type", "proc"), ("device", "proc")], "type `proc` cannot be a volume"),
            (&[("type", "overlay"), ("device", "x")], "type `overlay` cannot be a volume"),
            (&[("type", "nfs"), ("device", "/srv")], "device `/srv` is not HOST:/PATH"),
            (&[("type", "nfs"), ("device", ":/srv")], "device `:/srv` names no host"),
            (&[("type", "cifs"), ("device", "box/share")], "device `box/share` is not //HOST/SHARE"),
        ] {
            let error = parse(pairs).unwrap_err();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}
