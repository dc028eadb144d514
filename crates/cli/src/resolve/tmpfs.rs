//! `--tmpfs TARGET[:OPTIONS]`: a file system in memory.

use crate::size;

/// Options of mount(2) and tmpfs(5) without a value.
const FLAGS: [&str; 23] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "mand",
    "nomand",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "defaults",
    "tmpcopyup",
];
/// Those with one.
const VALUES: [&str; 7] = ["size", "nr_blocks", "nr_inodes", "mode", "uid", "gid", "mpol"];

/// Target and options.
///
/// # Errors
/// A target that is not absolute, or an option that tmpfs does not have.
pub fn parse(text: &str) -> Result<(String, String), String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') || target.trim_end_matches('/').is_empty() {
        return Err(format!("the target `{target}` is not an absolute path below `/`"));
    }
    for option in options.split(',').filter(|option| !option.is_empty()) {
        check(option)?;
    }
    Ok((target.trim_end_matches('/').to_owned(), options.to_owned()))
}

fn check(option: &str) -> Result<(), String> {
    match option.split_once('=') {
        None if FLAGS.contains(&option) => Ok(()),
        Some(("size", value)) if value.ends_with('%') => Ok(()),
        Some(("size", value)) => size::parse(value).map(|_| ()),
        Some(("mode", value)) if u32::from_str_radix(value, 8).is_err() => {
            Err(format!("the mode `{value}` is no octal number"))
        }
        Some((name, value)) if VALUES.contains(&name) && !value.is_empty() => Ok(()),
        _ => Err(format!("`{option}` is no option of tmpfs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(parse("/run"), Ok(("/run".into(), String::new())));
        assert_eq!(parse("/run/:rw,size=64m,mode=1777"), Ok(("/run".into(), "rw,size=64m,mode=1777".into())));
        assert_eq!(parse("/run:size=50%,uid=7"), Ok(("/run".into(), "size=50%,uid=7".into())));
        for text in ["", "run", "/", "/run:quick", "/run:size=x", "/run:mode=9", "/run:uid=", "/run:ro=1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
