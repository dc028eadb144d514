//! `inspect`: one workload as a document in Docker's form.

mod defaults;
mod network;

use holm_spec::life::{HealthCheck, RestartPolicy};
use holm_spec::machine::Machine;
use holm_spec::volume::{MountKind, MountPoint};
use holm_spec::workload::{Config, Status};
use holm_store::{CONFIG_DEFAULTS, over_defaults};
use serde_json::{Value, json};

use crate::{Engine, Workload};

impl Engine {
    /// The workload as `docker inspect` shows it, with Holm's own facts under `Holm`.
    pub fn inspect_document(&self, workload: &Workload) -> Value {
        let config = &workload.config;
        let paths = self.layout.workload(&config.id);
        let mut program = config.settings.entrypoint.iter().chain(&config.settings.command).cloned();
        let path = program.next().unwrap_or_default();
        let document = json!({
            "Id": config.id,
            "Created": config.created,
            "Path": path,
            "Args": program.collect::<Vec<_>>(),
            "State": state_document(workload),
            "Image": config.image.id,
            "HostnamePath": paths.dir.join("hostname"),
            "HostsPath": paths.dir.join("hosts"),
            "ResolvConfPath": paths.dir.join("resolv.conf"),
            "LogPath": paths.log(config).unwrap_or_default(),
            // Docker writes a slash in front; the same filters and templates work.
            "Name": format!("/{}", config.name),
            "RestartCount": workload.state.restarts,
            "Driver": "erofs-overlay",
            "Platform": "linux",
            "HostConfig": host_config(config),
            "Mounts": mounts(config),
            "Config": self.config_document(config),
            "NetworkSettings": self.network_settings(workload),
            "Holm": self.own_facts(workload),
        });
        over_defaults(defaults::CONTAINER, document)
    }

    fn config_document(&self, config: &Config) -> Value {
        let process = config.oci.process().as_ref();
        // Docker's nothing, where nothing was asked.
        let words = |words: &Vec<String>| (!words.is_empty()).then(|| words.clone());
        let document = json!({
            "Hostname": config.oci.hostname(),
            "User": config.user,
            "AttachStdin": config.stdin_once,
            "Tty": config.tty,
            "ExposedPorts": network::exposed(&config.settings),
            "OpenStdin": config.open_stdin,
            "StdinOnce": config.stdin_once,
            "Env": process.and_then(|process| process.env().clone()),
            "Cmd": words(&config.settings.command),
            "Image": config.image.name,
            "WorkingDir": process.map(|process| process.cwd().clone()),
            "Entrypoint": words(&config.settings.entrypoint),
            "Healthcheck": health_check(config),
            "Labels": config.labels,
            "StopSignal": holm_spec::signal::name(config.stop_signal),
            "StopTimeout": config.stop_timeout,
        });
        over_defaults(CONFIG_DEFAULTS, document)
    }

    /// What Docker has no word for: sandbox, isolation, layers, limits as the kernel has them.
    fn own_facts(&self, workload: &Workload) -> Value {
        let config = &workload.config;
        let running = workload.state.status == Status::Running;
        json!({
            "Sandbox": config.sandbox,
            "Isolation": config.isolation,
            "Layers": config.root.layers.iter().map(|layer| &layer.source).collect::<Vec<_>>(),
            "Upper": config.root.writable.upper,
            "Cgroup": holm_spec::layout::workload_cgroup(&config.cgroup_parent, &config.sandbox, &config.id),
            "Machine": config.machine.as_ref().map(|machine| self.machine_document(config, machine)),
            "LimitsInForce": if running { self.resources(workload).ok() } else { None },
        })
    }

    /// The machine as asked for, and while it runs as it is.
    fn machine_document(&self, config: &Config, machine: &Machine) -> Value {
        let (facts, reason) = self.machine_facts(&config.id).unzip();
        json!({
            "Hypervisor": machine.hypervisor,
            "Platform": machine.platform.to_string(),
            "Cpus": machine.cpus,
            "Memory": machine.memory,
            "Kernel": {
                "Name": machine.kernel.name,
                "Digest": machine.kernel.id,
                "Release": machine.kernel.release,
            },
            "Scratch": self.layout.scratch(&config.id),
            "Accelerator": facts.as_ref().map(|facts| facts.accelerator),
            "Reason": reason,
            "GuestRelease": facts.as_ref().map(|facts| facts.release.clone()),
            "Devices": facts.as_ref().map(|facts| facts.devices.clone()),
            "CommandLine": facts.map(|facts| facts.command_line),
        })
    }
}

fn state_document(workload: &Workload) -> Value {
    let state = &workload.state;
    let mut document = json!({
        "Status": workload.status(),
        // As Docker has it: what is about to be started again counts.
        "Running": matches!(state.status, Status::Running | Status::Restarting),
        "Paused": workload.paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": state.started,
        "FinishedAt": state.finished,
    });
    if let Some(health) = &state.health {
        document["Health"] = json!({
            "Status": health.status,
            "FailingStreak": health.failing,
            "Log": health.results,
        });
    }
    document
}

fn restart_policy(policy: RestartPolicy) -> Value {
    let count = match policy {
        RestartPolicy::OnFailure { limit } => limit.unwrap_or(0),
        _ => 0,
    };
    json!({ "Name": policy.name(), "MaximumRetryCount": count })
}

/// Docker's form; null where there are no checks.
fn health_check(config: &Config) -> Value {
    let document = |check: &HealthCheck| {
        json!({
            "Test": check.test,
            "Interval": check.interval,
            "Timeout": check.timeout,
            "Retries": check.retries,
            "StartPeriod": check.start_period,
            "StartInterval": check.start_interval,
        })
    };
    config.health.as_ref().map_or(Value::Null, document)
}

fn host_config(config: &Config) -> Value {
    let settings = &config.settings;
    let document = json!({
        "Binds": settings.binds,
        "VolumesFrom": (!settings.volumes_from.is_empty()).then_some(&settings.volumes_from),
        "LogConfig": { "Type": settings.log.driver, "Config": settings.log.options },
        "NetworkMode": network::mode(config),
        "PortBindings": network::bindings(settings),
        "RestartPolicy": restart_policy(config.restart),
        "PublishAllPorts": settings.publish_all,
        "Dns": settings.resolver.servers,
        "DnsSearch": settings.resolver.search,
        "DnsOptions": settings.resolver.options,
        "ExtraHosts": network::extra_hosts(settings),
        "AutoRemove": config.auto_remove,
        "CapAdd": settings.cap_add,
        "CapDrop": settings.cap_drop,
        "Privileged": settings.privileged,
        "ReadonlyRootfs": settings.read_only,
        "SecurityOpt": settings.security_opt,
        "Tmpfs": settings.tmpfs,
        "Memory": settings.memory.unwrap_or(0),
        "MemorySwap": settings.memory.map_or(0, |bytes| bytes.saturating_mul(2)),
        "NanoCpus": settings.nano_cpus.unwrap_or(0),
        "PidsLimit": settings.pids_limit,
        "Init": config.init,
        "Isolation": config.isolation,
        "Runtime": "holm",
        "CgroupParent": config.cgroup_parent,
        "MaskedPaths": config.oci.linux().as_ref().and_then(|linux| linux.masked_paths().clone()),
        "ReadonlyPaths": config.oci.linux().as_ref().and_then(|linux| linux.readonly_paths().clone()),
    });
    over_defaults(defaults::HOST_CONFIG, document)
}

/// What the user mounts; what every workload has is not listed, as with Docker.
fn mounts(config: &Config) -> Vec<Value> {
    let listed = |mount: &MountPoint| {
        let mut document = json!({
            "Type": mount.kind,
            "Source": mount.source,
            "Destination": mount.target,
            "Mode": mount.mode,
            "RW": !mount.read_only,
            "Propagation": mount.propagation.as_deref().unwrap_or("rprivate"),
        });
        match mount.kind {
            MountKind::Volume => {
                document["Name"] = json!(mount.name);
                document["Driver"] = json!("local");
                document["Propagation"] = json!(mount.propagation.as_deref().unwrap_or_default());
            }
            MountKind::Image => document["Source"] = json!(mount.name),
            MountKind::Tmpfs => document["Propagation"] = json!(""),
            MountKind::Bind => {}
        }
        document
    };
    config.settings.mounts.iter().map(listed).collect()
}
