//! `/etc/holm/config.toml`: where Holm's files lie on this machine, and how many.
//!
//! ```toml
//! root = "/data/holm"        # images and workloads
//! run-root = "/run/holm"     # what is gone after a boot
//!
//! [store]
//! max_size = "50GB"              # of images, kernels and compressed layers together
//! max_layer_size = "1TB"         # a layer that unpacks to more is refused
//! max_layer_entries = 4_000_000  # as one with more files and directories
//! mount = "auto"                 # layers from their images, or, where the kernel has no EROFS, from directories
//!
//! [network]
//! default = "bridge"             # what --network is where nobody says it
//! cni_path = ["/opt/cni/bin"]    # where new networks of CNI plugins have these
//!
//! [log]
//! driver = "json-file"           # what --log-driver is where nobody says it
//! options = { max-size = "10m", max-file = "3" }
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use holm_engine::images::LayerForm;
use holm_spec::log::Driver;

use crate::size;

/// Where it is.
pub const PATH: &str = "/etc/holm/config.toml";

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// State that survives a boot.
    #[serde(default, deserialize_with = "path")]
    pub root: Option<PathBuf>,
    /// State that does not.
    #[serde(default, rename = "run-root", deserialize_with = "path")]
    pub run_root: Option<PathBuf>,
    /// Images.
    #[serde(default)]
    pub store: StoreSettings,
    /// Networks.
    #[serde(default)]
    pub network: NetworkSettings,
    /// Logs.
    #[serde(default)]
    pub log: LogSettings,
}

/// What it says of logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// The driver of workloads that ask for none.
    pub driver: Driver,
    /// Its options, which a workload's own are laid over.
    pub options: BTreeMap<String, String>,
}

/// What it says of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSettings {
    /// The network of workloads that ask for none.
    pub default: Option<String>,
    /// Directories of CNI plugins, for networks that are made from now on.
    #[serde(default, deserialize_with = "paths")]
    pub cni_path: Option<Vec<PathBuf>>,
}

/// What it says of images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Bytes on the disk that the store is kept to.
    #[serde(default, deserialize_with = "bytes")]
    pub max_size: Option<u64>,
    /// Bytes that a layer unpacks to at most.
    #[serde(default, deserialize_with = "bytes")]
    pub max_layer_size: Option<u64>,
    /// Files and directories that a layer has at most.
    pub max_layer_entries: Option<u64>,
    /// What layers are mounted from.
    pub mount: Option<MountForm>,
}

/// What layers are mounted from: see [`LayerForm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountForm {
    /// Images if the kernel can, else directories.
    Auto,
    /// Images.
    Images,
    /// Directories.
    Directories,
}

impl From<MountForm> for LayerForm {
    fn from(form: MountForm) -> Self {
        match form {
            MountForm::Auto => Self::Auto,
            MountForm::Images => Self::Image,
            MountForm::Directories => Self::Directory,
        }
    }
}

/// Parses the file's content.
///
/// # Errors
/// The first line that is not understood, with its number; an unknown key is one.
pub fn parse(content: &str) -> Result<Configuration, String> {
    toml::from_str(content).map_err(|error| {
        let line = error.span().map(|span| content[..span.start].matches('\n').count() + 1);
        let reason = error.message().replace('\n', ", ");
        line.map_or(reason.clone(), |line| format!("line {line}: {reason}"))
    })
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let path = PathBuf::deserialize(deserializer)?;
    match path.is_absolute() {
        true => Ok(Some(path)),
        false => Err(serde::de::Error::custom(format!("`{}` is no absolute path", path.display()))),
    }
}

fn paths<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<PathBuf>>, D::Error> {
    let paths = Vec::<PathBuf>::deserialize(deserializer)?;
    match paths.iter().find(|path| !path.is_absolute()) {
        None => Ok(Some(paths)),
        Some(path) => Err(serde::de::Error::custom(format!("`{}` is no absolute path", path.display()))),
    }
}

/// Bytes, as a number or as people write sizes.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size is a number of bytes, or a text like \"50GB\"")]
    enum Size {
        Bytes(u64),
        Text(String),
    }
    match Size::deserialize(deserializer)? {
        Size::Bytes(bytes) => Ok(Some(bytes)),
        Size::Text(text) => size::parse(&text).map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key() {
        let content = r#"
            # Holm
            root = "/data/ho\"lm" # here
            run-root = '/run/h\x'
            store.max_size = "1.5g"
            store.max_layer_size = 1000
            store.max_layer_entries = 7
            store.mount = "directories"
            network.default = "none"
            network.cni_path = ["/c", "/d"]
            log = { driver = "json-file", options.max-size = "1m" }
        "#;
        let limits = StoreSettings {
            max_size: Some(3 << 29),
            max_layer_size: Some(1000),
            max_layer_entries: Some(7),
            mount: Some(MountForm::Directories),
        };
        let expected = Configuration {
            root: Some("/data/ho\"lm".into()),
            run_root: Some("/run/h\\x".into()),
            store: limits.clone(),
            network: NetworkSettings {
                default: Some("none".into()),
                cni_path: Some(vec!["/c".into(), "/d".into()]),
            },
            log: LogSettings {
                driver: Driver::JsonFile,
                options: [("max-size".to_owned(), "1m".to_owned())].into(),
            },
        };
        assert_eq!(parse(content), Ok(expected));
        let table = "[store]\nmax_size = \"1.5g\"\nmax_layer_size = 1000\nmax_layer_entries = 7\nmount = \"directories\"\n";
        assert_eq!(parse(table).map(|configuration| configuration.store), Ok(limits));
        assert_eq!(parse(""), Ok(Configuration::default()));
    }

    #[test]
    fn anything_else_is_refused() {
        for (line, reason) in [
            ("root", "line 2: "),
            (
                "roots = \"/a\"",
                "line 2: unknown field `roots`, expected one of `root`, `run-root`, `store`, `network`, `log`",
            ),
            ("root = /a", "line 2: "),
            ("root = \"a\"", "line 2: `a` is no absolute path"),
            ("root='/a'\nroot='/b'", "line 3: duplicate key"),
            ("network.cni_path = [\"a\"]", "line 2: `a` is no absolute path"),
            ("store.max_size = \"a lot\"", "line 2: `a lot` is no size"),
            ("store.max_size = true", "line 2: a size is a number of bytes"),
            ("store.max_layer_entries = -1", "line 2: invalid value"),
            ("store.mount = \"loop\"", "line 2: unknown variant `loop`, expected one of `auto`, `images`"),
            ("log.driver = \"gelf\"", "line 2: unknown variant `gelf`, expected one of `local`, `json-file`"),
            ("[section]", "line 2: unknown field `section`"),
        ] {
            let error = parse(&format!("\n{line}\n")).expect_err(line);
            assert!(error.starts_with(reason) && !error.contains('\n'), "{line}: {error}");
        }
    }
}
