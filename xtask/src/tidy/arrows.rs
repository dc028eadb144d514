//! Which crate may depend on which: the table of DESIGN section 10.
//!
//! Development dependencies count as well: a test that crosses crates belongs in `tests/`.

use super::Report;
use crate::metadata::{Metadata, Package};

/// Each crate with the crates of ours that it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("sys", &[]),
    ("tar", &[]),
    ("runtime", &["spec", "sys"]),
    ("store", &["spec", "sys", "tar"]),
    ("network", &["spec", "sys"]),
    ("netd", &["spec", "sys"]),
    ("volume", &["spec", "sys"]),
    ("vmm", &["spec", "sys"]),
    ("registry", &["spec", "sys", "tar", "store"]),
    // The client only to fetch what a mirror has not.
    ("registry-server", &["spec", "sys", "registry"]),
    ("files", &["spec", "sys", "tar", "runtime"]),
    ("build", &["spec", "sys", "tar", "store", "files"]),
    ("keeper", &["spec", "sys", "runtime", "network", "volume", "vmm"]),
    ("guest", &["spec", "sys", "files", "runtime", "network"]),
    // The keeper and the guest agent are known by their messages only, which are in `spec`.
    (
        "engine",
        &["spec", "sys", "tar", "files", "runtime", "store", "network", "volume", "vmm", "registry", "build"],
    ),
    ("reconcile", &["spec", "engine"]),
    ("server", &["spec", "engine", "registry", "build", "reconcile"]),
    ("cli", &["spec", "engine", "registry", "build", "reconcile"]),
];

/// Members that ship in nothing and may use everything.
const EXEMPT: &[&str] = &["holm-tests", "holm-bench", "xtask"];

/// Checks every member of the workspace against the table.
pub fn check(metadata: &Metadata) -> Report {
    let members: Vec<_> = metadata.packages.values().filter(|package| package.member).collect();
    let checked: Vec<_> = members.iter().filter(|package| !EXEMPT.contains(&package.name.as_str())).collect();
    let findings = checked.iter().flat_map(|package| forbidden(package, &members)).collect();
    Report { name: "arrows", summary: format!("{} crates", checked.len()), findings }
}

fn forbidden(package: &Package, members: &[&Package]) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| *name == short(&package.name)) else {
        return vec![format!("`{}` is not in the table of DESIGN section 10", package.name)];
    };
    let ours = package.asks_for.iter().filter(|name| members.iter().any(|member| member.name == **name));
    let wrong = ours.filter(|name| !allowed.contains(&short(name)));
    wrong
        .map(|name| format!("`{}` must not depend on `{name}`; it may use {}", package.name, list(allowed)))
        .collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("holm-").unwrap_or(name)
}

fn list(allowed: &[&str]) -> String {
    if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(crates: &[(&str, &[&str])]) -> Metadata {
        let package = |(name, asks_for): &(&str, &[&str])| Package {
            name: name.to_string(),
            member: true,
            asks_for: asks_for.iter().map(|name| name.to_string()).collect(),
            ..Package::default()
        };
        Metadata { packages: crates.iter().map(|entry| (entry.0.to_owned(), package(entry))).collect() }
    }

    #[test]
    fn arrows_of_the_table_pass() {
        let report = check(&workspace(&[
            ("holm-spec", &["serde"]),
            ("holm-sys", &["rustix"]),
            ("holm-store", &["holm-spec", "holm-sys"]),
            ("holm-engine", &["holm-store", "holm-spec"]),
            ("holm-tests", &["holm-engine", "holm-sys"]),
            ("xtask", &[]),
        ]));
        assert_eq!((report.summary.as_str(), report.findings.len()), ("4 crates", 0));
    }

    #[test]
    fn a_forbidden_arrow_names_both_ends_and_what_is_allowed() {
        let report = check(&workspace(&[
            ("holm-spec", &["holm-sys"]),
            ("holm-sys", &[]),
            ("holm-store", &[]),
            ("holm-runtime", &["holm-store", "holm-sys"]),
            ("holm-misc", &[]),
        ]));
        assert_eq!(
            report.findings,
            [
                "`holm-misc` is not in the table of DESIGN section 10",
                "`holm-runtime` must not depend on `holm-store`; it may use spec, sys",
                "`holm-spec` must not depend on `holm-sys`; it may use nothing of ours",
            ]
        );
    }

    #[test]
    fn the_table_has_no_loops() {
        // Rows stand in an order in which each uses only rows above it.
        for (at, (name, allowed)) in ALLOWED.iter().enumerate() {
            for used in *allowed {
                let above = ALLOWED[..at].iter().any(|(earlier, _)| earlier == used);
                assert!(above, "`{name}` uses `{used}`, which does not stand above it");
            }
        }
    }
}
