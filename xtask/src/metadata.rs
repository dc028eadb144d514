//! What `cargo metadata` says about the workspace and everything that it is built from.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;
use crate::workspace::Workspace;

/// The packages and the resolved graph.
pub struct Metadata {
    /// By package id.
    pub packages: BTreeMap<String, Package>,
}

/// One package.
#[derive(Default)]
pub struct Package {
    /// Its name in its manifest.
    pub name: String,
    /// Whether it is a member of this workspace.
    pub member: bool,
    /// Whether it has a build script.
    pub build_script: bool,
    /// The names of what its manifest asks for, development included.
    pub asks_for: BTreeSet<String>,
    /// The ids of what it was resolved to need at run time or to be built, without development.
    pub needs: Vec<String>,
}

impl Metadata {
    /// Asks cargo, for the platform that binaries are built for.
    ///
    /// # Errors
    /// Cargo cannot read or resolve the manifests.
    pub fn read(workspace: &Workspace) -> Result<Self> {
        let platform = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let mut command = workspace.cargo();
        command.args(["metadata", "--format-version", "1", "--filter-platform", &platform]);
        let value: Value = serde_json::from_str(&process::capture(&mut command)?)?;
        Self::parse(&value).context("`cargo metadata` gave what this program cannot read")
    }

    /// The packages from outside that `root` needs, itself or through others.
    pub fn external(&self, root: &str) -> Vec<&Package> {
        let mut seen = BTreeSet::new();
        let mut waiting: Vec<&str> = self
            .packages
            .iter()
            .filter(|(_, package)| package.name == root)
            .map(|(id, _)| id.as_str())
            .collect();
        while let Some(id) = waiting.pop() {
            if let Some(package) = self.packages.get(id)
                && seen.insert(id)
            {
                waiting.extend(package.needs.iter().map(String::as_str));
            }
        }
        seen.iter().filter_map(|id| self.packages.get(*id)).filter(|package| !package.member).collect()
    }

    fn parse(value: &Value) -> Option<Self> {
        let members: BTreeSet<_> =
            value["workspace_members"].as_array()?.iter().filter_map(Value::as_str).collect();
        let mut packages = BTreeMap::new();
        for package in value["packages"].as_array()? {
            let id = package["id"].as_str()?;
            packages.insert(id.to_owned(), parse_package(package, members.contains(id))?);
        }
        for node in value["resolve"]["nodes"].as_array()? {
            packages.get_mut(node["id"].as_str()?)?.needs = parse_needs(node)?;
        }
        Some(Self { packages })
    }
}

fn parse_package(package: &Value, member: bool) -> Option<Package> {
    let is_build_script = |target: &Value| target["kind"][0] == "custom-build";
    let names = package["dependencies"].as_array()?.iter().filter_map(|asked| asked["name"].as_str());
    Some(Package {
        name: package["name"].as_str()?.to_owned(),
        member,
        build_script: package["targets"].as_array()?.iter().any(is_build_script),
        asks_for: names.map(String::from).collect(),
        needs: Vec::new(),
    })
}

/// The edges of a node, but for those that are there for development only.
fn parse_needs(node: &Value) -> Option<Vec<String>> {
    let shipped = |edge: &&Value| {
        edge["dep_kinds"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"] != "dev"))
    };
    let edges = node["deps"].as_array()?.iter().filter(shipped);
    Some(edges.filter_map(|edge| edge["pkg"].as_str()).map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_graph_is_followed_without_development() {
        let package = |name: &str, kind: &str| json!({"id": name, "name": name, "dependencies": [{"name": "x"}], "targets": [{"kind": [kind]}]});
        let edge = |to: &str, kind: Value| json!({"pkg": to, "dep_kinds": [{"kind": kind}]});
        let value = json!({
            "workspace_members": ["holm-cli", "holm-spec"],
            "packages": [package("holm-cli", "bin"), package("holm-spec", "lib"), package("libc", "lib"), package("cc", "custom-build"), package("tempfile", "lib")],
            "resolve": {"nodes": [
                {"id": "holm-cli", "deps": [edge("holm-spec", Value::Null), edge("tempfile", json!("dev"))]},
                {"id": "holm-spec", "deps": [edge("libc", Value::Null), edge("cc", json!("build"))]},
                {"id": "cc", "deps": [edge("libc", Value::Null)]},
            ]},
        });
        let metadata = Metadata::parse(&value).unwrap();
        let external = metadata.external("holm-cli");
        let names: Vec<_> =
            external.iter().map(|package| (package.name.as_str(), package.build_script)).collect();
        assert_eq!(names, [("cc", true), ("libc", false)]);
        assert!(metadata.packages["holm-cli"].asks_for.contains("x"));
        assert!(Metadata::parse(&json!({})).is_none());
    }
}
