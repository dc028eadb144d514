//! `--security-opt`: what a workload may gain and which system calls it may make.

use std::path::PathBuf;

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    /// Gain no privileges by set-user-id programs.
    NoNewPrivileges(bool),
    /// Holm's own seccomp profile.
    SeccompBuiltin,
    /// All system calls.
    SeccompUnconfined,
    /// The profile in this file.
    SeccompFile(PathBuf),
}

/// Parses an option `NAME[=VALUE]`; Docker's older form with a colon is understood too.
///
/// # Errors
/// An option that is not there, by name.
pub fn parse(text: &str) -> Result<SecurityOption, String> {
    let (name, value) = match text.split_once(['=', ':']) {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    match (name, value) {
        ("no-new-privileges", None | Some("true")) => Ok(SecurityOption::NoNewPrivileges(true)),
        ("no-new-privileges", Some("false")) => Ok(SecurityOption::NoNewPrivileges(false)),
        ("no-new-privileges", Some(other)) => Err(format!("`{other}` is neither true nor false")),
        ("seccomp", Some("builtin")) => Ok(SecurityOption::SeccompBuiltin),
        ("seccomp", Some("unconfined")) => Ok(SecurityOption::SeccompUnconfined),
        ("seccomp", None | Some("")) => Err("seccomp needs `builtin`, `unconfined` or a file".into()),
        ("seccomp", Some(file)) => Ok(SecurityOption::SeccompFile(file.into())),
        ("apparmor" | "label" | "systempaths" | "credentialspec" | "writable-cgroups", _) => {
            Err(format!("`{name}` is not supported yet"))
        }
        _ => Err(format!("unknown option `{text}`: `no-new-privileges` and `seccomp=...` are known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        use SecurityOption::{NoNewPrivileges, SeccompBuiltin, SeccompFile, SeccompUnconfined};
        for (text, option) in [
            ("no-new-privileges", NoNewPrivileges(true)),
            ("no-new-privileges=true", NoNewPrivileges(true)),
            ("no-new-privileges:false", NoNewPrivileges(false)),
            ("seccomp=builtin", SeccompBuiltin),
            ("seccomp:unconfined", SeccompUnconfined),
            ("seccomp=./a=b.json", SeccompFile("./a=b.json".into())),
        ] {
            assert_eq!(parse(text), Ok(option), "{text}");
        }
        for text in [
            "",
            "seccomp",
            "seccomp=",
            "no-new-privileges=maybe",
            "apparmor=unconfined",
            "label=disable",
            "x=y",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
