//! `--mount type=TYPE,KEY=VALUE,...`: a mount in Docker's long form, with Podman's keys for owners and ids.
//!
//! The text is a line of comma-separated values (RFC 4180): a field in double quotes may hold commas.

use std::path::Path;

use holm_engine::{Below, Bind, MountRequest, MountSource};

use super::volume::{PROPAGATIONS, cleaned, id_maps, target_path, volume_name};
use crate::resolve::{label, tmpfs};

/// Parses one mount; a source of a bind mount that begins with `.` is relative to `directory`.
///
/// # Errors
/// A key that there is not, or not for this type; a value that makes no sense; no target, or a bind mount without source.
pub fn parse(text: &str, directory: &Path) -> Result<MountRequest, String> {
    let fields = fields(text)?;
    let pairs: Vec<(&str, Option<&str>)> = fields.iter().map(|field| pair(field)).collect();
    let value = |names: &[&str]| {
        pairs.iter().rev().find(|(key, _)| names.contains(key)).and_then(|(_, value)| *value)
    };
    let target = value(&["target", "destination", "dst"]).ok_or("it names no target")?;
    let source = value(&["source", "src"]);
    match value(&["type"]).unwrap_or("volume") {
        "tmpfs" => memory(target, source, &pairs),
        "bind" => {
            let source = source.ok_or("a bind mount needs a source")?;
            let path = match source.as_bytes().first() {
                Some(b'/') => cleaned(Path::new(source)),
                Some(b'.') => cleaned(&directory.join(source)),
                _ => return Err(format!("the source `{source}` is no absolute path")),
            };
            with_options(
                MountRequest::new(MountSource::Bind(Bind { path, ..Bind::default() }), target_path(target)?),
                &pairs,
            )
        }
        "volume" => {
            let name = source.filter(|name| !name.is_empty()).map(volume_name).transpose()?;
            with_options(MountRequest::new(MountSource::volume(name), target_path(target)?), &pairs)
        }
        "image" => {
            let image = source.ok_or("a mount of an image needs a source")?;
            with_options(
                MountRequest::new(MountSource::Image(image.to_owned()), target_path(target)?),
                &pairs,
            )
        }
        other => Err(format!("unknown type `{other}`: bind, volume, tmpfs and image are known")),
    }
}

const EVERYWHERE: [&str; 7] = ["type", "target", "destination", "dst", "source", "src", "consistency"];

fn with_options(mut mount: MountRequest, pairs: &[(&str, Option<&str>)]) -> Result<MountRequest, String> {
    for (key, value) in pairs {
        if !EVERYWHERE.contains(key) {
            apply(key, *value, &mut mount)?;
        }
    }
    Ok(mount)
}

fn apply(key: &str, value: Option<&str>, mount: &mut MountRequest) -> Result<(), String> {
    let given = || value.filter(|value| !value.is_empty()).ok_or_else(|| format!("`{key}` has no value"));
    match (key, &mut mount.source) {
        ("readonly" | "ro", _) => mount.read_only = boolean(key, value)?,
        ("rw", _) => mount.read_only = !boolean(key, value)?,
        ("U" | "chown", MountSource::Bind(_) | MountSource::Volume { .. }) => {
            mount.owned = boolean(key, value)?
        }
        // There is no SELinux to label for.
        ("relabel", _) => drop(given()?),
        ("bind-propagation", MountSource::Bind(_)) => {
            let kind = given()?;
            if !PROPAGATIONS.contains(&kind) {
                return Err(format!("unknown propagation `{kind}`: {} are known", PROPAGATIONS.join(", ")));
            }
            mount.propagation = Some(kind.to_owned());
        }
        ("bind-nonrecursive", MountSource::Bind(bind)) => {
            bind.below = if boolean(key, value)? { Below::Hidden } else { Below::Shown };
        }
        ("bind-recursive", MountSource::Bind(bind)) => bind.below = below(given()?)?,
        ("idmap", MountSource::Bind(bind)) => bind.ids = Some(id_maps(&format!("idmap={}", given()?))?),
        ("volume-nocopy", MountSource::Volume { copy, .. }) => *copy = !boolean(key, value)?,
        ("volume-subpath", MountSource::Volume { .. }) | ("image-subpath", MountSource::Image(_)) => {
            mount.subpath = Some(subpath(given()?)?);
        }
        ("volume-driver", MountSource::Volume { .. }) => match given()? {
            "local" => {}
            other => return Err(format!("there is no driver `{other}` of volumes: local is there")),
        },
        ("volume-opt", MountSource::Volume { options, .. }) => {
            let (key, value) = given()?.split_once('=').ok_or("an option of a volume is KEY=VALUE")?;
            options.insert(key.to_owned(), value.to_owned());
        }
        ("volume-label", MountSource::Volume { labels, .. }) => {
            labels.extend([label::parse(given()?)?]);
        }
        _ => return Err(format!("`{key}` is no key of such a mount")),
    }
    Ok(())
}

fn below(value: &str) -> Result<Below, String> {
    match value {
        "enabled" | "readonly" => Ok(Below::Shown),
        "writable" => Ok(Below::Writable),
        "disabled" => Ok(Below::Hidden),
        other => Err(format!("bind-recursive `{other}`: enabled, disabled, writable and readonly are known")),
    }
}

/// A relative path that does not lead up.
fn subpath(path: &str) -> Result<String, String> {
    let leads_up = Path::new(path).components().any(|part| part == std::path::Component::ParentDir);
    match path.starts_with('/') || leads_up {
        true => Err(format!("the subpath `{path}` is no relative path below the source")),
        false => Ok(path.to_owned()),
    }
}

fn memory(
    target: &str,
    source: Option<&str>,
    pairs: &[(&str, Option<&str>)],
) -> Result<MountRequest, String> {
    if source.is_some_and(|source| !source.is_empty()) {
        return Err("a tmpfs has no source".into());
    }
    let mut options = Vec::new();
    for (key, value) in pairs {
        let given = || value.ok_or_else(|| format!("`{key}` has no value"));
        match *key {
            "tmpfs-size" => options.push(format!("size={}", given()?)),
            "tmpfs-mode" => options.push(format!("mode={}", given()?)),
            "readonly" | "ro" if boolean(key, *value)? => options.push("ro".to_owned()),
            "readonly" | "ro" => {}
            "tmpcopyup" => options.push("tmpcopyup".to_owned()),
            key if EVERYWHERE.contains(&key) => {}
            _ => return Err(format!("`{key}` is no key of such a mount")),
        }
    }
    let (target, options) = tmpfs::parse(&format!("{}:{}", target_path(target)?, options.join(",")))?;
    let read_only = options.split(',').any(|option| option == "ro");
    Ok(MountRequest { read_only, ..MountRequest::new(MountSource::Memory(options), target) })
}

fn boolean(key: &str, value: Option<&str>) -> Result<bool, String> {
    match value {
        None | Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(format!("`{key}={other}`: true or false expected")),
    }
}

fn pair(field: &str) -> (&str, Option<&str>) {
    field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)))
}

/// The fields of a line of comma-separated values.
pub fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => match rest.split_once(',') {
                Some((field, behind)) => (field.to_owned(), Some(behind)),
                None => (rest.to_owned(), None),
            },
        };
        if field.is_empty() {
            return Err("a field is empty: write KEY=VALUE,KEY=VALUE".into());
        }
        fields.push(field);
        match behind {
            Some(behind) => rest = behind,
            None => return Ok(fields),
        }
    }
}

/// The field behind an opening quote, and what follows the comma behind it. A quote in it is written twice.
fn quoted_field(text: &str) -> Result<(String, Option<&str>), String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"').ok_or("a quote is not closed")?;
        field.push_str(part);
        match behind.strip_prefix('"') {
            Some(behind) => {
                field.push('"');
                rest = behind;
            }
            None if behind.is_empty() => return Ok((field, None)),
            None => {
                let behind = behind.strip_prefix(',').ok_or("something follows a closing quote")?;
                return Ok((field, Some(behind)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(text: &str) -> MountRequest {
        parse(text, Path::new("/home/me")).expect(text)
    }

    #[test]
    fn binds() {
        let asked = mount(
            "type=bind,src=./a,dst=/b/,readonly,bind-propagation=rslave,bind-recursive=writable,U=true",
        );
        assert_eq!((asked.target.as_str(), asked.read_only, asked.owned), ("/b", true, true));
        assert_eq!(asked.propagation.as_deref(), Some("rslave"));
        let MountSource::Bind(bind) = asked.source else { panic!("no bind") };
        assert_eq!(
            (bind.path.to_str(), bind.create, bind.below),
            (Some("/home/me/a"), false, Below::Writable)
        );
    }

    #[test]
    fn volumes() {
        let asked = mount(
            r#"type=volume,source=data,target=/b,volume-nocopy,volume-subpath=a/b,volume-label=x=y,"volume-opt=o=a,b",volume-driver=local,ro=false"#,
        );
        assert_eq!((asked.subpath.as_deref(), asked.read_only), (Some("a/b"), false));
        let MountSource::Volume { name, copy, options, labels } = asked.source else { panic!("no volume") };
        assert_eq!((name.as_deref(), copy), (Some("data"), false));
        assert_eq!((options["o"].as_str(), labels["x"].as_str()), ("a,b", "y"));
        let nameless = mount("destination=/b");
        assert!(matches!(nameless.source, MountSource::Volume { name: None, copy: true, .. }));
    }

    #[test]
    fn memory_and_images() {
        let asked = mount("type=tmpfs,target=/b,tmpfs-size=64m,tmpfs-mode=1770,ro");
        assert_eq!(asked.source, MountSource::Memory("size=64m,mode=1770,ro".into()));
        assert_eq!((asked.target.as_str(), asked.read_only), ("/b", true));
        let asked = mount("type=image,src=app:1,dst=/b,image-subpath=usr/share");
        assert_eq!(asked.source, MountSource::Image("app:1".into()));
        assert_eq!(asked.subpath.as_deref(), Some("usr/share"));
    }

    #[test]
    fn refusals() {
        for (text, reason) in [
            ("", "a field is empty"),
            ("type=bind", "it names no target"),
            ("type=bind,dst=/b", "a bind mount needs a source"),
            ("type=bind,src=a,dst=/b", "the source `a` is no absolute path"),
            ("type=bind,src=/a,dst=/b,volume-nocopy", "`volume-nocopy` is no key of such a mount"),
            ("type=bind,src=/a,dst=/b,bind-propagation=x", "unknown propagation `x`"),
            ("type=volume,src=data,dst=b", "the target `b` is not an absolute path"),
            ("type=volume,src=data,dst=/b,volume-subpath=../x", "the subpath `../x`"),
            ("type=volume,src=data,dst=/b,volume-driver=nfs", "there is no driver `nfs`"),
            ("type=tmpfs,src=/a,dst=/b", "a tmpfs has no source"),
            ("type=tmpfs,dst=/b,tmpfs-mode=9", "the mode `9` is no octal number"),
            ("type=npipe,src=a,dst=/b", "unknown type `npipe`"),
            ("type=volume,dst=/b,ro=maybe", "`ro=maybe`: true or false expected"),
            ("\"type=volume", "a quote is not closed"),
            ("\"type=volume\"x", "something follows a closing quote"),
        ] {
            let error = parse(text, Path::new("/")).unwrap_err();
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }

    #[test]
    fn quotes() {
        assert_eq!(fields(r#""a=""b"",c",d"#), Ok(vec![r#"a="b",c"#.to_owned(), "d".to_owned()]));
    }
}
