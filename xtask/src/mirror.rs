//! Where Debian comes from: wherever this machine's apt takes it from, or what `HOLM_DEMO_MIRROR` says.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{packages, process};

/// A mirror that serves Debian's releases.
pub struct Mirror {
    /// As apt understands it, without a slash at the end.
    pub uri: String,
}

impl Mirror {
    /// Asks the environment, then apt; its lists are refreshed if they are empty.
    ///
    /// # Errors
    /// Apt has no source for Debian itself.
    pub fn find() -> Result<Self> {
        if let Ok(uri) = std::env::var("HOLM_DEMO_MIRROR") {
            return Ok(Self { uri: uri.trim_end_matches('/').to_owned() });
        }
        let mut uri = debian_uri(&targets()?);
        if uri.is_none() {
            packages::update()?;
            uri = debian_uri(&targets()?);
        }
        let Some(uri) = uri else {
            bail!(
                "this machine's apt has no source for Debian's `main`\nhint: set HOLM_DEMO_MIRROR to a mirror's URI"
            );
        };
        Ok(Self { uri: resolve_list(&uri)? })
    }

    /// Whether the mirror has `suite`, asked through apt and so through its proxies. `scratch` gets the answer.
    pub fn serves(&self, suite: &str, scratch: &Path) -> bool {
        let mut command = Command::new("/usr/lib/apt/apt-helper");
        command.arg("download-file").arg(format!("{}/dists/{suite}/InRelease", self.uri)).arg(scratch);
        let served = process::capture(&mut command).is_ok();
        // Absent if it was not served; a stale one would only be overwritten.
        let _ = fs::remove_file(scratch);
        served
    }
}

fn targets() -> Result<String> {
    let format = "$(ORIGIN)|$(CODENAME)|$(COMPONENT)|$(REPO_URI)";
    process::capture(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))
}

/// The first source of a release of Debian itself: not its security updates, not another vendor.
fn debian_uri(targets: &str) -> Option<String> {
    let fields = targets.lines().map(|line| line.split('|').collect::<Vec<_>>());
    let found =
        fields.filter(|fields| matches!(fields[..], ["Debian", suite, "main", _] if !suite.contains('-')));
    found.filter_map(|fields| fields.last().map(|uri| uri.trim_end_matches('/').to_owned())).next()
}

/// Cloud images name a file that lists mirrors (apt-transport-mirror(1)): then the first in it is taken.
fn resolve_list(uri: &str) -> Result<String> {
    let Some(path) = uri.strip_prefix("mirror+file:") else { return Ok(uri.to_owned()) };
    let path = format!("/{}", path.trim_start_matches('/'));
    let list =
        fs::read_to_string(&path).with_context(|| format!("reading apt's list of mirrors `{path}`"))?;
    first_listed(&list).with_context(|| format!("apt's list of mirrors `{path}` is empty"))
}

fn first_listed(list: &str) -> Option<String> {
    let lines = list.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(|uri| uri.trim_end_matches('/').to_owned())
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_itself_is_told_from_its_updates_and_from_others() {
        let targets = "\
|nodistro|main|https://node.example/
Debian|bookworm-security|main|http://mirror.example/debian-security/
Debian|bookworm|main|http://mirror.example/debian/
";
        assert_eq!(debian_uri(targets).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(debian_uri("Ubuntu|noble|main|http://mirror.example/ubuntu/\n"), None);
    }

    #[test]
    fn a_list_of_mirrors_gives_its_first() {
        let list = "# mirrors\n\nhttps://a.example/debian/\tpriority:1\nhttps://b.example/debian\n";
        assert_eq!(first_listed(list).as_deref(), Some("https://a.example/debian"));
        assert_eq!(first_listed("# none\n"), None);
        assert_eq!(resolve_list("http://a.example/debian").unwrap(), "http://a.example/debian");
    }
}
