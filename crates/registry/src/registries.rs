//! `registries.toml`: how registries are reached, and short names of images.
//!
//! ```toml
//! [aliases]
//! app = "registry.example:5000/team/app"          # `holm pull app` means that repository
//!
//! [registry."docker.io"]
//! mirrors = ["mirror.example/docker"]             # asked first, in this order, when something is pulled
//! blocked = true                                  # the registry itself is not asked
//!
//! [registry."registry.example:5000"]
//! insecure = true                                 # plain HTTP, or TLS that proves nothing
//! ca = "/etc/holm/registry.example.pem"           # who may vouch for it, beside whom the system trusts
//! ```
//! The file is the one that `$HOLM_REGISTRIES` names, else `registries.toml` in `$XDG_CONFIG_HOME/holm` or
//! `~/.config/holm`, else in `/etc/holm`: the first that is there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use holm_spec::Reference;
use holm_sys::file::read_limited;
use serde::Deserialize;

use crate::error::{Error, Kind, Result};

const NAME: &str = "registries.toml";
const SYSTEM: &str = "/etc/holm";
const LIMIT: u64 = 1 << 20;

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registries {
    /// Repositories by the short names that mean them.
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Rules by the names of registries.
    #[serde(default)]
    registry: BTreeMap<String, Rules>,
}

/// How a registry is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Registries, perhaps with the beginning of a path, that have the same; asked first.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// It is not asked itself.
    #[serde(default)]
    pub blocked: bool,
    /// It may speak plain HTTP, or TLS that proves nothing.
    #[serde(default)]
    pub insecure: bool,
    /// A file of certificates, in PEM, of who may vouch for it.
    pub ca: Option<PathBuf>,
}

impl Registries {
    /// Reads the file; empty where there is none.
    ///
    /// # Errors
    /// [`Kind::Configuration`] naming the file, and the line that is not understood.
    pub fn read() -> Result<Self> {
        let variable =
            |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = variable("HOLM_REGISTRIES") {
            return Self::read_at(&path).map(Option::unwrap_or_default);
        }
        let home = || variable("HOME").map(|home| home.join(".config"));
        let own = variable("XDG_CONFIG_HOME").or_else(home).map(|directory| directory.join("holm"));
        for directory in own.into_iter().chain([PathBuf::from(SYSTEM)]) {
            if let Some(found) = Self::read_at(&directory.join(NAME))? {
                return Ok(found);
            }
        }
        Ok(Self::default())
    }

    fn read_at(path: &Path) -> Result<Option<Self>> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::because(Kind::Configuration, format!("read `{}`", path.display()), cause)
        };
        let content = match read_limited(path, LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            content => content.map_err(|error| failed(error.into()))?,
        };
        let text = String::from_utf8(content).map_err(|error| failed(error.into()))?;
        Self::parse(&text).map(Some).map_err(failed)
    }

    fn parse(text: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let parsed: Self = toml::from_str(text)?;
        for (alias, repository) in &parsed.aliases {
            let reference: Reference =
                repository.parse().map_err(|error| format!("alias `{alias}`: {error}"))?;
            if alias.contains(['/', ':', '@']) || reference.digest().is_some() {
                return Err(format!("alias `{alias}`: a word stands for a repository").into());
            }
        }
        Ok(parsed)
    }

    /// How the registry `domain` is reached.
    pub fn rules(&self, domain: &str) -> Rules {
        self.registry.get(domain).cloned().unwrap_or_default()
    }

    /// What a user's name of an image means: an alias stands for its repository, with the tag or digest that was given.
    pub fn expand(&self, name: &str) -> String {
        let end = name.find([':', '@']).unwrap_or(name.len());
        let (word, rest) = name.split_at(end);
        match self.aliases.get(word) {
            Some(repository) => format!("{repository}{rest}"),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_aliases() {
        let parsed = Registries::parse(
            "[aliases]\napp = 'registry.example:5000/team/app'\n\
             [registry.\"docker.io\"]\nmirrors = ['m.example/docker']\nblocked = true\n\
             [registry.'r.example']\ninsecure = true\nca = '/ca.pem'\n",
        )
        .expect("well formed");
        assert!(parsed.rules("docker.io").blocked && !parsed.rules("quay.example").blocked);
        assert_eq!(parsed.rules("docker.io").mirrors, ["m.example/docker"]);
        assert_eq!(parsed.rules("r.example").ca.as_deref(), Some(Path::new("/ca.pem")));
        for (name, meaning) in [
            ("app", "registry.example:5000/team/app"),
            ("app:2", "registry.example:5000/team/app:2"),
            ("apple", "apple"),
            ("x/app", "x/app"),
        ] {
            assert_eq!(parsed.expand(name), meaning);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("[registry.\"a\"]\nmirror = []", "mirror"),
            ("[aliases]\n\"a/b\" = \"c\"", "a/b"),
            ("[aliases]\na = \"UPPER\"", "alias `a`"),
            ("[registry", "registry"),
        ] {
            let error = Registries::parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
