//! How many crates from outside each binary is made of, and which of them run code at build time.

use std::collections::BTreeSet;

use super::Report;
use crate::metadata::Metadata;

/// Each binary's package with the number of crates from outside that it may be made of, those that only build it (procedural
/// macros, `cc`) included. Raise a number in the commit that needs it, with the reason in the commit's message.
///
/// Features are those of the whole workspace: what only the binary of `holm-runtime` needs counts for the keeper, too,
/// although the keeper is built without.
const BUDGETS: &[(&str, usize)] = &[
    ("holm-cli", 120),
    ("holm-guest", 65),
    ("holm-keeper", 65),
    ("holm-netd", 78),
    ("holm-registry-server", 125),
    ("holm-runtime", 65),
];

/// Crates whose build script is known: they ask the compiler what it can do, or compile the C of zstd and xz.
const KNOWN_BUILD_SCRIPTS: &[&str] = &[
    "crc32fast",
    "getrandom",
    "httparse",
    "kvm-ioctls",
    "libc",
    "liblzma-sys",
    "portable-atomic",
    "proc-macro2",
    "quote",
    "ring",
    "rustix",
    "rustls",
    "serde",
    "serde_core",
    "serde_json",
    "thiserror",
    "zmij",
    "zstd-safe",
    "zstd-sys",
];

/// Counts the crates of each binary.
pub fn check_number(metadata: &Metadata) -> Report {
    let counted: Vec<_> =
        BUDGETS.iter().map(|(root, budget)| (*root, metadata.external(root).len(), *budget)).collect();
    let figures: Vec<_> =
        counted.iter().map(|(root, number, budget)| format!("{root} {number} of {budget}")).collect();
    let over = counted.iter().filter(|(_, number, budget)| number > budget);
    let findings = over
        .map(|(root, number, budget)| format!("`{root}` is made of {number} crates, more than its {budget}"));
    Report { name: "dependencies", summary: figures.join(", "), findings: findings.collect() }
}

/// Looks for build scripts that nobody has read.
pub fn check_build_scripts(metadata: &Metadata) -> Report {
    let external = BUDGETS.iter().flat_map(|(root, _)| metadata.external(root));
    let scripted: BTreeSet<_> =
        external.filter(|package| package.build_script).map(|package| package.name.as_str()).collect();
    let unknown = scripted.iter().filter(|name| !KNOWN_BUILD_SCRIPTS.contains(name));
    let findings =
        unknown.map(|name| format!("`{name}` has a build script that is not on the list of known ones"));
    let findings = findings.collect();
    Report { name: "build scripts", summary: format!("{} crates", scripted.len()), findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Package;

    fn keeper_with(names: &[&str], build_script: bool) -> Metadata {
        let outside =
            names.iter().map(|name| Package { name: name.to_string(), build_script, ..Package::default() });
        let needs = names.iter().map(|name| name.to_string()).collect();
        let keeper = Package { name: "holm-keeper".to_owned(), member: true, needs, ..Package::default() };
        Metadata {
            packages: outside.chain([keeper]).map(|package| (package.name.clone(), package)).collect(),
        }
    }

    #[test]
    fn a_budget_may_be_reached_and_not_passed() {
        let names: Vec<_> = (0..66).map(|number| format!("crate-{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        assert!(check_number(&keeper_with(&names[..65], false)).findings.is_empty());
        let report = check_number(&keeper_with(&names, false));
        assert_eq!(
            report.summary,
            "holm-cli 0 of 120, holm-guest 0 of 65, holm-keeper 66 of 65, holm-netd 0 of 78, holm-registry-server 0 of 125, holm-runtime 0 of 65"
        );
        assert_eq!(report.findings, ["`holm-keeper` is made of 66 crates, more than its 65"]);
    }

    #[test]
    fn a_build_script_must_be_known() {
        let report = check_build_scripts(&keeper_with(&["libc", "openssl-sys"], true));
        assert_eq!(
            report.findings,
            ["`openssl-sys` has a build script that is not on the list of known ones"]
        );
        assert!(check_build_scripts(&keeper_with(&["openssl-sys"], false)).findings.is_empty());
    }
}
