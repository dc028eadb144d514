//! Where `unsafe` may stand: in the crate that wraps system calls, and in few modules that are named here.

use super::Report;
use super::source::Source;

/// Folders of which every file may contain it.
const FOLDERS: &[&str] = &["crates/sys/src/"];

/// Modules that may contain it, each with the reason.
const MODULES: &[(&str, &str)] = &[
    (
        "bench/src/floor/sys.rs",
        "the floor makes its system calls itself, so that no code of Holm is measured twice",
    ),
    ("crates/vmm/src/probe.rs", "gives a guest's memory to KVM by address"),
    (
        "crates/runtime/tests/seccomp_kernel.rs",
        "makes system calls as a workload would, to see what the filter answers",
    ),
];

/// Looks for the keyword in code, not in comments or strings.
pub fn check(sources: &[Source]) -> Report {
    let (allowed, others): (Vec<_>, Vec<_>) = sources
        .iter()
        .map(|source| (source, source.lines_with("unsafe")))
        .partition(|(source, _)| is_allowed(source));
    let findings = others.iter().flat_map(|(source, lines)| {
        lines.iter().map(|line| {
            format!("{}:{line}: `unsafe` outside of `crates/sys` and the named modules", source.path)
        })
    });
    let findings = findings.collect();
    let number: usize = allowed.iter().map(|(_, lines)| lines.len()).sum();
    Report { name: "unsafe", summary: format!("{number} in the modules that may"), findings }
}

fn is_allowed(source: &Source) -> bool {
    let path = source.path.as_str();
    FOLDERS.iter().any(|folder| path.starts_with(folder)) || MODULES.iter().any(|(module, _)| *module == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keyword_counts_by_place() {
        let report = check(&[
            Source::new("crates/sys/src/mount.rs", "fn a() { unsafe { b() } }\n"),
            Source::new("crates/store/src/lib.rs", "//! unsafe\n#![deny(unsafe_code)]\nunsafe fn a() {}\n"),
        ]);
        assert_eq!(
            report.findings,
            ["crates/store/src/lib.rs:3: `unsafe` outside of `crates/sys` and the named modules"]
        );
        assert!(report.summary.starts_with("1 in"));
    }
}
