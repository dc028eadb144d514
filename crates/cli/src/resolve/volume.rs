//! `--volume [SOURCE:]TARGET[:OPTIONS]`: a volume, or a directory or file of the host, in the workload.

use std::path::{Component, Path, PathBuf};

use holm_engine::{Bind, IdMaps, IdRange, MountRequest, MountSource, VolumesFrom};
use holm_spec::volume::is_valid_name;

/// Propagations of mounts (mount_namespaces(7)), for all below or for the one alone.
pub const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// Parses one mount; a source that begins with `.` is relative to `directory`.
///
/// # Errors
/// Another form, a name that volumes cannot have, an unknown option.
pub fn parse(text: &str, directory: &Path) -> Result<MountRequest, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, mode) = match parts.as_slice() {
        [target] => (MountSource::volume(None), *target, ""),
        [source, target] => (parse_source(source, directory)?, *target, ""),
        [source, target, mode] => (parse_source(source, directory)?, *target, *mode),
        _ => return Err("too many colons: write [SOURCE:]TARGET[:OPTIONS]".into()),
    };
    let mut mount = MountRequest::new(source, target_path(target)?);
    mount.mode = mode.to_owned();
    // Docker lists the volumes that somebody named, and binds.
    mount.text = (parts.len() > 1).then(|| text.to_owned());
    apply(mode, &mut mount)?;
    Ok(mount)
}

fn parse_source(source: &str, directory: &Path) -> Result<MountSource, String> {
    let bind = |path| MountSource::Bind(Bind { path, create: true, ..Bind::default() });
    match source.as_bytes().first() {
        None => Err("the source is empty: write SOURCE:TARGET".into()),
        Some(b'/') => Ok(bind(cleaned(Path::new(source)))),
        Some(b'.') => Ok(bind(cleaned(&directory.join(source)))),
        Some(_) => volume_name(source).map(|name| MountSource::volume(Some(name))),
    }
}

/// A name that a volume can have.
///
/// # Errors
/// It is none.
pub fn volume_name(name: &str) -> Result<String, String> {
    match is_valid_name(name) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "`{name}` is no name of a volume (at least two letters, digits, `_`, `.` or `-`, the first a letter or digit); \
             for a directory write `./{name}` or the whole path"
        )),
    }
}

/// An absolute path below `/`.
///
/// # Errors
/// It is none.
pub fn target_path(target: &str) -> Result<String, String> {
    if !target.starts_with('/') {
        return Err(format!("the target `{target}` is not an absolute path"));
    }
    let cleaned = cleaned(Path::new(target));
    match cleaned.to_str() {
        Some("/") => Err("the target cannot be `/`".into()),
        Some(target) => Ok(target.to_owned()),
        None => Err(format!("the target `{target}` is not UTF-8")),
    }
}

/// Without `.`, `..` and doubled slashes, by the text alone.
pub fn cleaned(path: &Path) -> PathBuf {
    let mut result = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => result.push(name),
            Component::ParentDir => {
                result.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    result
}

fn apply(options: &str, mount: &mut MountRequest) -> Result<(), String> {
    let mut access = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" if access.replace(option).is_some() => {
                return Err("`ro` and `rw` may be said once".into());
            }
            "ro" => mount.read_only = true,
            // There is no SELinux to label for, and no copy of files between two machines to keep consistent.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "U" => mount.owned = true,
            known if PROPAGATIONS.contains(&known) => {
                if mount.propagation.replace(known.to_owned()).is_some() {
                    return Err("a propagation may be said once".into());
                }
            }
            option => apply_to_source(option, &mut mount.source)?,
        }
    }
    Ok(())
}

fn apply_to_source(option: &str, source: &mut MountSource) -> Result<(), String> {
    match (source, option) {
        (MountSource::Volume { copy, .. }, "nocopy") => *copy = false,
        (_, "nocopy") => return Err("`nocopy` is for volumes".into()),
        (MountSource::Bind(bind), option) if option.starts_with("idmap") => bind.ids = Some(id_maps(option)?),
        (_, option) if option.starts_with("idmap") => {
            return Err("`idmap` is for directories of the host".into());
        }
        (_, unknown) => return Err(format!("unknown option `{unknown}`")),
    }
    Ok(())
}

/// Parses `idmap=uids=FROM-TO-COUNT#...;gids=FROM-TO-COUNT#...`: ids as the file system has them, as they appear, how many.
///
/// # Errors
/// Another form; a map that is empty.
pub fn id_maps(option: &str) -> Result<IdMaps, String> {
    let form = || format!("`{option}`: write idmap=uids=FROM-TO-COUNT;gids=FROM-TO-COUNT");
    let mut maps = IdMaps::default();
    for part in option.strip_prefix("idmap=").ok_or_else(form)?.split(';') {
        match part.split_once('=') {
            Some(("uids", ranges)) => maps.users = id_ranges(ranges).ok_or_else(form)?,
            Some(("gids", ranges)) => maps.groups = id_ranges(ranges).ok_or_else(form)?,
            _ => return Err(form()),
        }
    }
    if maps.users.is_empty() || maps.groups.is_empty() { Err(form()) } else { Ok(maps) }
}

fn id_ranges(text: &str) -> Option<Vec<IdRange>> {
    let range = |text: &str| {
        let mut numbers = text.split('-').map(|number| number.parse().ok());
        let range = IdRange { from: numbers.next()??, to: numbers.next()??, count: numbers.next()?? };
        (numbers.next().is_none() && range.count > 0).then_some(range)
    };
    text.split('#').map(range).collect()
}

/// Parses `WORKLOAD[:ro|rw]`.
///
/// # Errors
/// Another mode.
pub fn parse_from(text: &str) -> Result<VolumesFrom, String> {
    let (workload, mode) =
        text.split_once(':').map_or((text, None), |(workload, mode)| (workload, Some(mode)));
    let read_only = match mode {
        None | Some("z" | "Z") => None,
        Some("ro") => Some(true),
        Some("rw") => Some(false),
        Some(mode) => return Err(format!("unknown option `{mode}`: ro and rw are known")),
    };
    if workload.is_empty() {
        return Err("the name of the workload is empty".into());
    }
    Ok(VolumesFrom { workload: workload.to_owned(), read_only })
}

/// Says which target two mounts share, if any do.
pub fn shared_target<'a>(
    mounts: &'a [MountRequest],
    others: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    mounts.iter().map(|mount| mount.target.as_str()).chain(others).find(|target| !seen.insert(*target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<MountRequest, String> {
        parse(text, Path::new("/home/me"))
    }

    fn path(mount: &MountRequest) -> &Path {
        match &mount.source {
            MountSource::Bind(bind) => &bind.path,
            other => panic!("no bind: {other:?}"),
        }
    }

    #[test]
    fn directories_of_the_host() {
        for (text, source, target) in [
            ("/a:/b", "/a", "/b"),
            ("./a:/b:rw,z", "/home/me/a", "/b"),
            ("../a/./x:/b//c/../d", "/home/a/x", "/b/d"),
            (".:/b", "/home/me", "/b"),
        ] {
            let mount = parsed(text).unwrap();
            assert_eq!((path(&mount), mount.target.as_str()), (Path::new(source), target), "{text}");
            assert!(!mount.read_only && mount.text.as_deref() == Some(text));
        }
        let mount = parsed("/a:/b:ro,rslave,U").unwrap();
        assert_eq!(
            (mount.read_only, mount.owned, mount.propagation.as_deref()),
            (true, true, Some("rslave"))
        );
    }

    #[test]
    fn volumes() {
        let named = parsed("data:/b:ro,nocopy").unwrap();
        assert!(named.read_only && named.text.is_some());
        assert!(
            matches!(named.source, MountSource::Volume { name: Some(name), copy: false, .. } if name == "data")
        );
        let nameless = parsed("/b").unwrap();
        assert!(matches!(nameless.source, MountSource::Volume { name: None, copy: true, .. }));
        assert_eq!((nameless.target.as_str(), nameless.text), ("/b", None));
    }

    #[test]
    fn ids_are_mapped() {
        let mount = parsed("/a:/b:idmap=uids=0-1000-1#5-6-7;gids=0-0-10").unwrap();
        let MountSource::Bind(Bind { ids: Some(ids), .. }) = mount.source else {
            panic!("no bind with maps")
        };
        let range = |from, to, count| IdRange { from, to, count };
        assert_eq!(ids.users, [range(0, 1000, 1), range(5, 6, 7)]);
        assert_eq!(ids.groups, [range(0, 0, 10)]);
        for bad in [
            "idmap",
            "idmap=",
            "idmap=uids=0-1-1",
            "idmap=uids=0-1;gids=0-0-1",
            "idmap=uids=0-1-0;gids=0-0-1",
        ] {
            assert!(parsed(&format!("/a:/b:{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals() {
        for (text, reason) in [
            ("x:/b", "`x` is no name of a volume"),
            ("a b:/b", "`a b` is no name of a volume"),
            (":/b", "the source is empty"),
            ("b", "the target `b` is not an absolute path"),
            ("/a:b", "the target `b` is not an absolute path"),
            ("/a:/", "the target cannot be `/`"),
            ("/a:/x/..", "the target cannot be `/`"),
            ("/a:/b:ro:x", "too many colons"),
            ("/a:/b:ro,rw", "`ro` and `rw` may be said once"),
            ("/a:/b:shared,slave", "a propagation may be said once"),
            ("/a:/b:quick", "unknown option `quick`"),
            ("/a:/b:nocopy", "`nocopy` is for volumes"),
            ("data:/b:idmap=uids=0-1-1;gids=0-1-1", "`idmap` is for directories of the host"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }

    #[test]
    fn targets_are_told_apart() {
        let mounts = [parsed("/a:/x").unwrap(), parsed("/b:/y").unwrap()];
        assert_eq!(shared_target(&mounts, ["/z"].into_iter()), None);
        assert_eq!(shared_target(&mounts, ["/y"].into_iter()), Some("/y"));
    }

    #[test]
    fn volumes_of_others() {
        let from = |workload: &str, read_only| Ok(VolumesFrom { workload: workload.into(), read_only });
        assert_eq!(parse_from("web"), from("web", None));
        assert_eq!(parse_from("web:ro"), from("web", Some(true)));
        assert_eq!(parse_from("web:rw"), from("web", Some(false)));
        assert!(parse_from("web:x").is_err() && parse_from(":ro").is_err());
    }
}
