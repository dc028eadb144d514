//! The runtime configuration (OCI runtime specification, "Configuration"), with the types of `oci-spec` for its parts.
//!
//! [`Spec`], [`Process`] and [`ExecCPUAffinity`] are our own, with the same accessors: those of `oci-spec` check a list
//! of processors by a regular expression, and every program that reads a configuration would carry an engine for it
//! (400 kB, a fifth of `holm-runtime`). Their parts for other systems than Linux are left out and so are ignored,
//! as unknown fields are.

use std::collections::HashMap;
use std::path::PathBuf;

pub use oci_spec::runtime::*;
use serde::{Deserialize, Serialize};

/// Accessors of fields that are given by reference.
macro_rules! by_reference {
    ($name:ident { $($get:ident, $get_mut:ident, $set:ident: $type:ty;)* }) => {
        impl $name {
            $(
                #[doc = concat!("The field `", stringify!($get), "`.")]
                pub fn $get(&self) -> &$type { &self.$get }
                #[doc = concat!("The field `", stringify!($get), "`, to be changed.")]
                pub fn $get_mut(&mut self) -> &mut $type { &mut self.$get }
                #[doc = concat!("Sets the field `", stringify!($get), "`.")]
                pub fn $set(&mut self, value: $type) -> &mut Self { self.$get = value; self }
            )*
        }
    };
}

/// Accessors of fields that are given as copies.
macro_rules! by_value {
    ($name:ident { $($get:ident, $set:ident: $type:ty;)* }) => {
        impl $name {
            $(
                #[doc = concat!("The field `", stringify!($get), "`.")]
                pub fn $get(&self) -> $type { self.$get }
                #[doc = concat!("Sets the field `", stringify!($get), "`.")]
                pub fn $set(&mut self, value: $type) -> &mut Self { self.$get = value; self }
            )*
        }
    };
}

/// A container's configuration, `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    #[serde(default, rename = "ociVersion")]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<Root>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mounts: Option<Vec<Mount>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    process: Option<Process>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domainname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hooks: Option<Hooks>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<HashMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linux: Option<Linux>,
}

by_reference! {
    Spec {
        version, version_mut, set_version: String;
        root, root_mut, set_root: Option<Root>;
        mounts, mounts_mut, set_mounts: Option<Vec<Mount>>;
        process, process_mut, set_process: Option<Process>;
        hostname, hostname_mut, set_hostname: Option<String>;
        domainname, domainname_mut, set_domainname: Option<String>;
        hooks, hooks_mut, set_hooks: Option<Hooks>;
        annotations, annotations_mut, set_annotations: Option<HashMap<String, String>>;
        linux, linux_mut, set_linux: Option<Linux>;
    }
}

/// What a configuration is built from: nothing but a root, a shell and what is customary on Linux.
impl Default for Spec {
    fn default() -> Self {
        Self {
            version: "1.2.0".to_owned(),
            root: Some(Root::default()),
            mounts: Some(get_default_mounts()),
            process: Some(Process::default()),
            hostname: None,
            domainname: None,
            hooks: None,
            annotations: Some(HashMap::new()),
            linux: Some(Linux::default()),
        }
    }
}

/// A process to run in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Process {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    terminal: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    console_size: Option<Box>,
    #[serde(default)]
    user: User,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    env: Option<Vec<String>>,
    cwd: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    capabilities: Option<LinuxCapabilities>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rlimits: Option<Vec<PosixRlimit>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    no_new_privileges: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    apparmor_profile: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oom_score_adj: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    selinux_label: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    io_priority: Option<LinuxIOPriority>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheduler: Option<Scheduler>,
    #[serde(default, rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    exec_cpu_affinity: Option<ExecCPUAffinity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    landlock: Option<Landlock>,
}

by_value! {
    Process {
        terminal, set_terminal: Option<bool>;
        console_size, set_console_size: Option<Box>;
        no_new_privileges, set_no_new_privileges: Option<bool>;
        oom_score_adj, set_oom_score_adj: Option<i32>;
    }
}

by_reference! {
    Process {
        user, user_mut, set_user: User;
        args, args_mut, set_args: Option<Vec<String>>;
        env, env_mut, set_env: Option<Vec<String>>;
        cwd, cwd_mut, set_cwd: PathBuf;
        capabilities, capabilities_mut, set_capabilities: Option<LinuxCapabilities>;
        rlimits, rlimits_mut, set_rlimits: Option<Vec<PosixRlimit>>;
        apparmor_profile, apparmor_profile_mut, set_apparmor_profile: Option<String>;
        selinux_label, selinux_label_mut, set_selinux_label: Option<String>;
        io_priority, io_priority_mut, set_io_priority: Option<LinuxIOPriority>;
        scheduler, scheduler_mut, set_scheduler: Option<Scheduler>;
        exec_cpu_affinity, exec_cpu_affinity_mut, set_exec_cpu_affinity: Option<ExecCPUAffinity>;
        landlock, landlock_mut, set_landlock: Option<Landlock>;
    }
}

/// A shell of root's.
impl Default for Process {
    fn default() -> Self {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        Self {
            terminal: Some(false),
            console_size: None,
            user: User::default(),
            args: Some(vec!["sh".to_owned()]),
            env: Some(vec![path.to_owned(), "TERM=xterm".to_owned()]),
            cwd: PathBuf::from("/"),
            capabilities: Some(LinuxCapabilities::default()),
            rlimits: None,
            no_new_privileges: Some(true),
            apparmor_profile: None,
            oom_score_adj: None,
            selinux_label: None,
            io_priority: None,
            scheduler: None,
            exec_cpu_affinity: None,
            landlock: None,
        }
    }
}

/// Access to files that a process gives up (landlock(7)), as it is proposed for the specification
/// (opencontainers/runtime-spec#1241).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Landlock {
    /// What the rules are about.
    pub ruleset: LandlockRuleset,
    /// What they allow.
    pub rules: LandlockRules,
    /// Everything must hold to the letter.
    pub disable_best_effort: bool,
}

/// What rules of [`Landlock`] are about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LandlockRuleset {
    /// Kinds of access that are forbidden unless a rule allows them.
    #[serde(rename = "handledAccessFS")]
    pub handled_access: Vec<String>,
}

/// What [`Landlock`] allows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LandlockRules {
    /// Below which paths.
    pub path_beneath: Vec<LandlockPathBeneath>,
}

/// What [`Landlock`] allows below some paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LandlockPathBeneath {
    /// The paths.
    pub paths: Vec<String>,
    /// Kinds of access.
    pub allowed_access: Vec<String>,
}

/// How the kernel schedules a process (sched_setattr(2)).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduler {
    policy: LinuxSchedulerPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nice: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flags: Option<Vec<SchedulerFlag>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    runtime: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
}

by_value! {
    Scheduler {
        policy, set_policy: LinuxSchedulerPolicy;
        nice, set_nice: Option<i32>;
        priority, set_priority: Option<i32>;
        runtime, set_runtime: Option<u64>;
        deadline, set_deadline: Option<u64>;
        period, set_period: Option<u64>;
    }
}

by_reference! {
    Scheduler {
        flags, flags_mut, set_flags: Option<Vec<SchedulerFlag>>;
    }
}

/// A flag of [`Scheduler`], by the specification's names; oci-spec has another for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SchedulerFlag {
    /// Children are scheduled as usual.
    #[serde(rename = "SCHED_FLAG_RESET_ON_FORK", alias = "SCHED_RESET_ON_FORK")]
    ResetOnFork,
    /// Unused time of others may be used.
    #[serde(rename = "SCHED_FLAG_RECLAIM")]
    Reclaim,
    /// A signal tells of a deadline that was missed.
    #[serde(rename = "SCHED_FLAG_DL_OVERRUN")]
    DeadlineOverrun,
    /// The policy stays.
    #[serde(rename = "SCHED_FLAG_KEEP_POLICY")]
    KeepPolicy,
    /// The parameters stay.
    #[serde(rename = "SCHED_FLAG_KEEP_PARAMS")]
    KeepParameters,
    /// The smallest utilization is set.
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MIN")]
    UtilizationMinimum,
    /// The largest utilization is set.
    #[serde(rename = "SCHED_FLAG_UTIL_CLAMP_MAX")]
    UtilizationMaximum,
}

/// Processors that a process of `exec` runs on: lists such as `0-3,7`, which whoever uses them checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCPUAffinity {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    initial: Option<String>,
    #[serde(default, rename = "final", skip_serializing_if = "Option::is_none")]
    cpu_affinity_final: Option<String>,
}

by_reference! {
    ExecCPUAffinity {
        initial, initial_mut, set_initial: Option<String>;
        cpu_affinity_final, cpu_affinity_final_mut, set_cpu_affinity_final: Option<String>;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field of the three types.
    const FULL: &str = r#"{"ociVersion":"1.2.0","root":{"path":"r","readonly":true},"mounts":[{"destination":"/proc","type":"proc"}],
        "process":{"terminal":true,"consoleSize":{"height":1,"width":2},"user":{"uid":1,"gid":2},"args":["sh"],"env":["A=1"],
        "cwd":"/","capabilities":{"bounding":["CAP_KILL"]},"rlimits":[{"type":"RLIMIT_CORE","hard":1,"soft":1}],
        "noNewPrivileges":true,"apparmorProfile":"p","oomScoreAdj":-5,"selinuxLabel":"l",
        "ioPriority":{"class":"IOPRIO_CLASS_RT","priority":1},"scheduler":{"policy":"SCHED_BATCH"},
        "execCPUAffinity":{"initial":"0-3,7","final":"1"}},"hostname":"h","domainname":"d",
        "hooks":{"poststop":[{"path":"/x"}]},"annotations":{"a":"b"},"linux":{"cgroupsPath":"g"}}"#;

    #[test]
    fn documents_are_read_and_written_as_oci_spec_does() {
        let ours: Spec = serde_json::from_str(FULL).expect("valid");
        let theirs: oci_spec::runtime::Spec = serde_json::from_str(FULL).expect("valid");
        let (ours, theirs) = (serde_json::to_value(&ours), serde_json::to_value(&theirs));
        assert_eq!(ours.expect("plain data"), theirs.expect("plain data"));
    }

    #[test]
    fn a_process_needs_no_more_than_a_directory() {
        let process: Process = serde_json::from_str(r#"{"cwd":"/"}"#).expect("valid");
        assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
        for name in ["SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"] {
            let text = format!(r#"{{"policy":"SCHED_OTHER","flags":["{name}"]}}"#);
            let scheduler: Scheduler = serde_json::from_str(&text).expect("valid");
            assert_eq!(scheduler.flags(), &Some(vec![SchedulerFlag::ResetOnFork]));
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for spec in [Spec::default(), serde_json::from_str(FULL).expect("valid")] {
            let text = serde_json::to_string(&spec).expect("plain data");
            assert_eq!(serde_json::from_str::<Spec>(&text).expect("valid"), spec);
        }
    }

    #[test]
    fn parts_of_other_systems_and_of_later_versions_are_ignored() {
        let text = FULL.replacen('{', r#"{"windows":{"layerFolders":[]},"later":1,"#, 1);
        assert_eq!(
            serde_json::from_str::<Spec>(&text).expect("valid"),
            serde_json::from_str(FULL).expect("valid")
        );
    }
}
