//! Docker's format: conditions, architectures, older forms, bad documents.

use serde_json::json;

use super::super::{Architecture, Environment, KernelVersion, Kind, Profile};
use super::environment;

/// The names that remain of a profile.
fn names(profile: serde_json::Value, environment: &Environment) -> Vec<String> {
    let profile = Profile::parse(profile.to_string().as_bytes()).unwrap();
    let document = profile.resolve(environment).unwrap().unwrap();
    document.syscalls().iter().flatten().flat_map(|entry| entry.names().clone()).collect()
}

fn conditional() -> serde_json::Value {
    let entry = |name, includes, excludes| {
        json!({
            "names": [name], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "",
            "includes": includes, "excludes": excludes,
        })
    };
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            entry("always", json!({}), json!({})),
            entry("with_admin", json!({ "caps": ["CAP_SYS_ADMIN"] }), json!(null)),
            entry("without_admin", json!({}), json!({ "caps": ["CAP_SYS_ADMIN"] })),
            entry("with_both", json!({ "caps": ["CAP_SYS_ADMIN", "CAP_BPF"] }), json!({})),
            entry("without_either", json!({}), json!({ "caps": ["CAP_SYS_ADMIN", "CAP_BPF"] })),
            entry("on_amd64", json!({ "arches": ["amd64", "x32"] }), json!({})),
            entry("not_on_amd64", json!({}), json!({ "arches": ["amd64"] })),
            entry("new_kernel", json!({ "minKernel": "5.9" }), json!({})),
            entry("old_kernel", json!({}), json!({ "minKernel": "5.10" })),
            entry("unheard_capability", json!({ "caps": ["CAP_FLY"] }), json!({})),
        ],
    })
}

#[test]
fn conditions() {
    let plain = environment(Architecture::X86_64, &[]);
    assert_eq!(
        names(conditional(), &plain),
        ["always", "without_admin", "without_either", "on_amd64", "new_kernel"]
    );
    let admin = environment(Architecture::Aarch64, &["CAP_SYS_ADMIN"]);
    let admin = Environment { kernel: KernelVersion { kernel: 5, major: 8 }, ..admin };
    assert_eq!(names(conditional(), &admin), ["always", "with_admin", "not_on_amd64", "old_kernel"]);
    let both = environment(Architecture::Riscv64, &["CAP_SYS_ADMIN", "CAP_BPF"]);
    let remaining = names(conditional(), &both);
    assert_eq!(remaining, ["always", "with_admin", "with_both", "not_on_amd64", "new_kernel"]);
}

#[test]
fn architectures() {
    let map = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            { "architecture": "SCMP_ARCH_FUTURE", "subArchitectures": ["SCMP_ARCH_NEXT"] },
            { "architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
            { "architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null },
        ],
        "syscalls": [],
    });
    let filter = |profile: &serde_json::Value, architecture| {
        let profile = Profile::parse(profile.to_string().as_bytes()).unwrap();
        profile.filter(&environment(architecture, &[])).unwrap().unwrap().architectures
    };
    let x86 = [Architecture::X86_64, Architecture::X86, Architecture::X32];
    assert_eq!(filter(&map, Architecture::X86_64), x86);
    assert_eq!(filter(&map, Architecture::Riscv64), [Architecture::Riscv64]);
    assert_eq!(filter(&map, Architecture::Aarch64), []);
    let list = json!({ "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"] });
    assert_eq!(filter(&list, Architecture::X86_64), [Architecture::X86]);
}

#[test]
fn older_form_with_one_name() {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "name": "clone", "action": "SCMP_ACT_ALLOW", "args": [] }],
    });
    assert_eq!(names(profile, &environment(Architecture::X86_64, &[])), ["clone"]);
}

#[test]
fn an_empty_profile_is_no_filter() {
    let environment = environment(Architecture::X86_64, &[]);
    for empty in ["{}", r#"{"defaultAction": "", "syscalls": []}"#, r#"{"syscalls": null, "unknown": 1}"#] {
        let profile = Profile::parse(empty.as_bytes()).unwrap();
        assert!(profile.filter(&environment).unwrap().is_none(), "{empty}");
    }
}

#[test]
fn bad_profiles_are_refused() {
    let environment = environment(Architecture::X86_64, &[]);
    let entry = |entry: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{entry}]}}"#);
    let profiles = [
        String::new(),
        "[".into(),
        "null".into(),
        r#"{"defaultAction": "SCMP_ACT_MAYBE"}"#.into(),
        r#"{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}"#.into(),
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": []}]}"#
            .into(),
        r#"{"defaultAction": "SCMP_ACT_ERRNO",
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_Z80"]}]}"#
            .into(),
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_MAYBE"]}"#.into(),
        entry(r#"{"name": "read", "names": ["write"], "action": "SCMP_ACT_ALLOW"}"#),
        entry(r#"{"names": ["read"], "action": ""}"#),
        entry(r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8.1"}}"#),
        entry(
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}]}"#,
        ),
        entry(
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]}"#,
        ),
        entry(
            r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 0, "op": "EQ"}]}"#,
        ),
    ];
    for text in profiles {
        let error =
            Profile::parse(text.as_bytes()).and_then(|profile| profile.filter(&environment)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{text}");
    }
}
