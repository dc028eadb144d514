//! `--volume SOURCE:TARGET[:OPTIONS]`: a directory or file of the host in the workload.

use std::path::{Component, Path, PathBuf};

use holm_engine::Bind;

const PROPAGATIONS: [&str; 6] = ["rprivate", "private", "rshared", "shared", "rslave", "slave"];

/// Parses one bind mount; a source that begins with `.` is relative to `directory`.
///
/// # Errors
/// Another form, a named or anonymous volume (not there yet), an unknown option.
pub fn parse(text: &str, directory: &Path) -> Result<Bind, String> {
    let mut parts = text.split(':');
    let (source, target, options) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), None, ..) => {
            return Err("volumes without a name are not supported yet: write SOURCE:TARGET".into());
        }
        (Some(source), Some(target), options, None) => (source, target, options.unwrap_or("")),
        _ => return Err("too many colons: write SOURCE:TARGET[:OPTIONS]".into()),
    };
    let mut bind = Bind {
        source: source_path(source, directory)?,
        target: target_path(target)?,
        read_only: false,
        propagation: None,
    };
    apply(options, &mut bind)?;
    Ok(bind)
}

fn source_path(source: &str, directory: &Path) -> Result<PathBuf, String> {
    match source.as_bytes().first() {
        None => Err("the source is empty: write SOURCE:TARGET".into()),
        Some(b'/') => Ok(cleaned(Path::new(source))),
        Some(b'.') => Ok(cleaned(&directory.join(source))),
        Some(_) => Err(format!(
            "named volumes are not supported yet: `{source}` is a name; for a directory write `./{source}` or the whole path"
        )),
    }
}

fn target_path(target: &str) -> Result<String, String> {
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
fn cleaned(path: &Path) -> PathBuf {
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

fn apply(options: &str, bind: &mut Bind) -> Result<(), String> {
    let mut access = None;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" if access.replace(option).is_some() => {
                return Err("`ro` and `rw` may be said once".into());
            }
            "ro" => bind.read_only = true,
            // There is no SELinux to label for, and no copy of files between two machines to keep consistent.
            "rw" | "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            known if PROPAGATIONS.contains(&known) => {
                if bind.propagation.replace(known.to_owned()).is_some() {
                    return Err("a propagation may be said once".into());
                }
            }
            "nocopy" => return Err("`nocopy` is for named volumes".into()),
            unknown => return Err(format!("unknown option `{unknown}`")),
        }
    }
    Ok(())
}

/// Says which target two mounts share, if any do.
pub fn shared_target<'a>(binds: &'a [Bind], others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut seen = std::collections::BTreeSet::new();
    binds.iter().map(|bind| bind.target.as_str()).chain(others).find(|target| !seen.insert(*target))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<(String, String, bool, Option<String>), String> {
        let bind = parse(text, Path::new("/home/me"))?;
        Ok((bind.source.display().to_string(), bind.target, bind.read_only, bind.propagation))
    }

    fn bind(source: &str, target: &str) -> (String, String, bool, Option<String>) {
        (source.to_owned(), target.to_owned(), false, None)
    }

    #[test]
    fn forms() {
        assert_eq!(parsed("/a:/b"), Ok(bind("/a", "/b")));
        assert_eq!(parsed("./a:/b:rw,z"), Ok(bind("/home/me/a", "/b")));
        assert_eq!(parsed("../a/./x:/b//c/../d"), Ok(bind("/home/a/x", "/b/d")));
        assert_eq!(parsed(".:/b"), Ok(bind("/home/me", "/b")));
        assert_eq!(parsed("/a:/b:ro,rslave"), Ok(("/a".into(), "/b".into(), true, Some("rslave".into()))));
    }

    #[test]
    fn refusals() {
        for (text, reason) in [
            ("/a", "volumes without a name are not supported yet"),
            ("data:/b", "named volumes are not supported yet"),
            (":/b", "the source is empty"),
            ("/a:b", "the target `b` is not an absolute path"),
            ("/a:/", "the target cannot be `/`"),
            ("/a:/x/..", "the target cannot be `/`"),
            ("/a:/b:ro:x", "too many colons"),
            ("/a:/b:ro,rw", "`ro` and `rw` may be said once"),
            ("/a:/b:shared,slave", "a propagation may be said once"),
            ("/a:/b:quick", "unknown option `quick`"),
            ("/a:/b:nocopy", "`nocopy` is for named volumes"),
        ] {
            let error = parsed(text).expect_err(text);
            assert!(error.starts_with(reason), "{text}: {error}");
        }
    }

    #[test]
    fn targets_are_told_apart() {
        let binds =
            [parse("/a:/x", Path::new("/")).expect("valid"), parse("/b:/y", Path::new("/")).expect("valid")];
        assert_eq!(shared_target(&binds, ["/z"].into_iter()), None);
        assert_eq!(shared_target(&binds, ["/y"].into_iter()), Some("/y"));
    }
}
