//! Flags that `run` and `create` share, and what they ask of the engine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use holm_engine::{CreateRequest, EnvChange, HealthRequest, LogRequest, NetworkChoice, SeccompChoice};
use holm_spec::life::RestartPolicy;
use holm_spec::signal;
use holm_spec::workload::Resolver;

use crate::command_error::CommandError;
use crate::duration;
use crate::globals::Place;
use crate::resolve::security::SecurityOption;
use crate::resolve::{
    cpus, environment, isolation, label, log, memory, mount, network, platform, publish, pull, security,
    tmpfs, volume,
};
use crate::supply::Supply;

/// Flags of a workload.
#[derive(Debug, clap::Args)]
pub struct WorkloadArguments {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the process a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Remove the workload when it ends
    #[arg(long)]
    pub rm: bool,
    /// Name of the workload; a random one if absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Set an environment variable; NAME alone takes the caller's value
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Working directory in the workload
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User, by name or number, looked up in the image
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Host name in the workload
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Replace the image's entry point; an empty one removes it
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Show a volume, or a directory or file of the host; options: ro, nocopy, U, rslave, idmap=..., ...
    #[arg(short, long, value_name = "[SRC:]DST[:OPTIONS]")]
    pub volume: Vec<String>,
    /// Mount a volume, a directory, a tmpfs or an image: type=volume,src=NAME,dst=DIR,...
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub mount: Vec<String>,
    /// Show what another workload shows of the host and of volumes
    #[arg(long, value_name = "WORKLOAD[:ro]")]
    pub volumes_from: Vec<String>,
    /// What keeps the volumes: local
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Mount a file system in memory
    #[arg(long, value_name = "DST[:OPTIONS]")]
    pub tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Limit memory: bytes, or a number with k, m, g; at least 6m
    #[arg(short, long, value_name = "SIZE")]
    pub memory: Option<String>,
    /// Limit processor time, in processors
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<String>,
    /// Limit the number of processes and threads; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = integer)]
    pub pids_limit: Option<i64>,
    /// Add a capability, or ALL
    #[arg(long, value_name = "NAME")]
    pub cap_add: Vec<String>,
    /// Take a capability away, or ALL
    #[arg(long, value_name = "NAME")]
    pub cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=builtin, seccomp=unconfined, or seccomp=FILE
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// All privileges of the host's root, and all devices
    #[arg(long)]
    pub privileged: bool,
    /// Run an init that passes signals on and reaps orphans
    #[arg(long)]
    pub init: bool,
    /// Signal that asks the process to end
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL; -1 waits for ever
    #[arg(long, value_name = "SECONDS", value_parser = integer)]
    pub stop_timeout: Option<i64>,
    /// Start it again when it has ended: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub restart: Option<String>,
    /// Find its health out by a line for its shell
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between two checks [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub health_interval: Option<String>,
    /// How long a check may take [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy [default: 3]
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<String>,
    /// How long it may take to become healthy [default: 0s]
    #[arg(long, value_name = "TIME")]
    pub health_start_period: Option<String>,
    /// Time between two checks while that lasts [default: 5s]
    #[arg(long, value_name = "TIME")]
    pub health_start_interval: Option<String>,
    /// No checks, whatever the image says
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Label of the workload
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Write the workload's id to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Network: NAME[:ip=...,alias=...], none, host, or container:WORKLOAD [default: bridge]
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Further name in the network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Address of IPv4 in the network
    #[arg(long, value_name = "ADDRESS")]
    pub ip: Option<String>,
    /// Address of IPv6 in the network
    #[arg(long, value_name = "ADDRESS")]
    pub ip6: Option<String>,
    /// Hardware address in the network
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<String>,
    /// Let ports of the host lead to the workload: [IP:][HOST_PORT:]PORT[/tcp|udp], or ranges
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<String>,
    /// Let any port of the host lead to each port that the image exposes
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Port that the workload has, beside the image's: PORT[/tcp|udp], or a range
    #[arg(long, value_name = "PORTS")]
    pub expose: Vec<String>,
    /// Name server of the workload
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Domain that names are looked for in; `.` for none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Option of resolv.conf
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Name that the workload knows: NAME:ADDRESS, or NAME:host-gateway for the host
    #[arg(long, value_name = "NAME:ADDRESS")]
    pub add_host: Vec<String>,
    /// Who keeps the output: local, json-file, journald or none [default: local]
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Option of that driver, such as max-size=10m or max-file=3
    #[arg(long, value_name = "NAME=VALUE")]
    pub log_opt: Vec<String>,
    /// Demand an image of this platform
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Option<String>,
    /// What separates the workload from the host: container or vm
    #[arg(long, value_name = "ISOLATION")]
    pub isolation: Option<String>,
    /// The same as --isolation vm
    #[arg(long)]
    pub vm: bool,
    /// Kernel of the virtual machine; the default one if absent
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<String>,
    /// What runs the virtual machine: auto, kvm or qemu
    #[arg(long, value_name = "HYPERVISOR")]
    pub hypervisor: Option<String>,
    /// When to pull the image: missing, always or never [default: missing]
    #[arg(long, value_name = "WHEN")]
    pub pull: Option<String>,
    /// Say nothing about pulling
    #[arg(short, long)]
    pub quiet: bool,
    /// Carry only these streams: STDIN, STDOUT, STDERR
    #[arg(short, long, value_name = "STREAM")]
    pub attach: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help, display_order = 1000)]
    help: Option<bool>,
}

impl WorkloadArguments {
    /// What they ask for, with the image and its command.
    ///
    /// # Errors
    /// The first value that cannot be used, by its flag; a file that cannot be read.
    pub fn resolve(
        self,
        image_and_command: Vec<String>,
        place: &Place,
    ) -> Result<CreateRequest, CommandError> {
        let isolation = flag("isolation", isolation::parse(self.isolation.as_deref(), self.vm))?;
        let network = self.network(place.network.as_deref())?;
        let (resolver, log) = (self.resolver()?, self.log(&place.log)?);
        let (restart, health) = (self.restart()?, self.health()?);
        let mut words = image_and_command.into_iter();
        let mut request = CreateRequest {
            image: words.next().unwrap_or_default(),
            command: words.collect(),
            env: self.environment()?,
            labels: self.labels()?,
            entrypoint: self.entrypoint.map(|word| if word.is_empty() { Vec::new() } else { vec![word] }),
            name: self.name,
            workdir: self.workdir.filter(|workdir| !workdir.is_empty()),
            user: self.user.filter(|user| !user.is_empty()),
            hostname: self.hostname.filter(|hostname| !hostname.is_empty()),
            read_only: self.read_only,
            cap_add: self.cap_add,
            cap_drop: self.cap_drop,
            privileged: self.privileged,
            init: self.init,
            tty: self.tty,
            open_stdin: self.interactive,
            auto_remove: self.rm,
            isolation,
            kernel: self.kernel,
            hypervisor: optional("hypervisor", self.hypervisor.as_deref(), str::parse)?.unwrap_or_default(),
            network,
            ports: each("publish", &self.publish, publish::parse)?.concat(),
            publish_all: self.publish_all,
            exposed: each("expose", &self.expose, publish::parse_exposed)?.concat(),
            resolver,
            log,
            extra_hosts: each("add-host", &self.add_host, publish::parse_host)?,
            volumes_from: each("volumes-from", &self.volumes_from, volume::parse_from)?,
            restart,
            health,
            platform: optional("platform", self.platform.as_deref(), platform::parse)?,
            memory: optional("memory", self.memory.as_deref(), memory::parse)?.flatten(),
            nano_cpus: optional("cpus", self.cpus.as_deref(), cpus::parse)?.flatten(),
            pids_limit: flag("pids-limit", self.pids_limit.map(memory::parse_pids).transpose())?.flatten(),
            stop_signal: optional("stop-signal", self.stop_signal.as_deref(), stop_signal)?,
            stop_timeout: flag("stop-timeout", self.stop_timeout.map(stop_timeout).transpose())?,
            ..CreateRequest::default()
        };
        let asked = AskedMounts {
            volume: &self.volume,
            mount: &self.mount,
            tmpfs: &self.tmpfs,
            driver: self.volume_driver.as_deref(),
        };
        mounts(&asked, &mut request)?;
        secure(&self.security_opt, &mut request)?;
        Ok(request)
    }

    fn network(&self, default: Option<&str>) -> Result<NetworkChoice, CommandError> {
        let details = network::Details {
            aliases: self.network_alias.clone(),
            address: optional("ip", self.ip.as_deref(), network::address4)?,
            address6: optional("ip6", self.ip6.as_deref(), network::address6)?,
            hardware: optional("mac-address", self.mac_address.as_deref(), str::parse)?,
        };
        let default: Vec<String> = default.map(str::to_owned).into_iter().collect();
        let asked = if self.network.is_empty() { &default } else { &self.network };
        flag("network", network::parse_all(asked, details))
    }

    fn restart(&self) -> Result<RestartPolicy, CommandError> {
        let policy: RestartPolicy =
            optional("restart", self.restart.as_deref(), str::parse)?.unwrap_or_default();
        match self.rm && policy != RestartPolicy::No {
            true => Err(CommandError::usage("--restart contradicts --rm")),
            false => Ok(policy),
        }
    }

    fn health(&self) -> Result<HealthRequest, CommandError> {
        let time = |name: &str, text: &Option<String>| optional(name, text.as_deref(), duration::parse_span);
        let request = HealthRequest {
            none: self.no_healthcheck,
            test: self.health_cmd.clone(),
            interval: time("health-interval", &self.health_interval)?,
            timeout: time("health-timeout", &self.health_timeout)?,
            retries: optional("health-retries", self.health_retries.as_deref(), retries)?,
            start_period: time("health-start-period", &self.health_start_period)?,
            start_interval: time("health-start-interval", &self.health_start_interval)?,
        };
        match request.none && request != (HealthRequest { none: true, ..HealthRequest::default() }) {
            true => Err(CommandError::usage("--no-healthcheck contradicts --health-*")),
            false => Ok(request),
        }
    }

    fn log(&self, default: &LogRequest) -> Result<LogRequest, CommandError> {
        let driver = optional("log-driver", self.log_driver.as_deref(), log::parse_driver)?;
        let options = each("log-opt", &self.log_opt, log::parse_option)?.into_iter().collect();
        Ok(log::over_default(driver, options, default))
    }

    fn resolver(&self) -> Result<Resolver, CommandError> {
        Ok(Resolver {
            servers: each("dns", &self.dns, network::address)?,
            search: self.dns_search.clone(),
            options: self.dns_option.clone(),
        })
    }

    /// What they say of the image's way here.
    ///
    /// # Errors
    /// A word that is none.
    pub fn supply(&self) -> Result<Supply, CommandError> {
        let pull = optional("pull", self.pull.as_deref(), pull::parse)?.unwrap_or_default();
        Ok(Supply { pull, quiet: self.quiet })
    }

    /// Files first, so that the command line wins.
    fn environment(&self) -> Result<Vec<EnvChange>, CommandError> {
        environment(&self.env, &self.env_file)
    }

    fn labels(&self) -> Result<BTreeMap<String, String>, CommandError> {
        let mut labels = BTreeMap::new();
        for path in &self.label_file {
            labels.extend(flag("label-file", from_file(path, label::parse_file))?);
        }
        for text in &self.label {
            labels.extend([flag("label", label::parse(text))?]);
        }
        Ok(labels)
    }
}

/// The changes that `--env-file` and `--env` ask for, in this order.
///
/// # Errors
/// The first value that cannot be used; a file that cannot be read.
pub fn environment(texts: &[String], files: &[PathBuf]) -> Result<Vec<EnvChange>, CommandError> {
    let own = |name: &str| std::env::var(name).ok();
    let mut changes = Vec::new();
    for path in files {
        changes.extend(flag("env-file", from_file(path, |content| environment::parse_file(content, own)))?);
    }
    for text in texts {
        changes.push(flag("env", environment::parse(text, own))?);
    }
    Ok(changes)
}

fn from_file<T>(path: &PathBuf, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    let content = std::fs::read_to_string(path).map_err(|error| {
        CommandError::system(&format!("read `{}`", path.display()), error)
            .message()
            .unwrap_or_default()
            .to_owned()
    })?;
    parse(&content).map_err(|reason| format!("`{}`: {reason}", path.display()))
}

/// The value of a flag.
///
/// # Errors
/// One that cannot be used, by the flag.
pub fn flag<T>(name: &str, result: Result<T, String>) -> Result<T, CommandError> {
    result.map_err(|reason| CommandError::flag(name, reason))
}

/// The values of a flag that may be repeated.
///
/// # Errors
/// The first value that cannot be used, by the flag.
pub fn each<T>(
    name: &str,
    texts: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, CommandError> {
    texts.iter().map(|text| flag(name, parse(text))).collect()
}

/// The value of a flag that may be absent.
///
/// # Errors
/// One that cannot be used, by the flag.
pub fn optional<T>(
    name: &str,
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, CommandError> {
    flag(name, text.map(parse).transpose())
}

/// A signal by name or number.
///
/// # Errors
/// There is no such signal.
pub fn stop_signal(text: &str) -> Result<i32, String> {
    signal::parse(text).ok_or_else(|| format!("there is no signal `{text}`"))
}

/// A whole number.
///
/// # Errors
/// It is none, or a very large one.
pub fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "a whole number expected".to_owned())
}

fn retries(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number of failures"))
}

fn stop_timeout(seconds: i64) -> Result<i64, String> {
    match seconds {
        -1.. => Ok(seconds),
        _ => Err(format!("`{seconds}` is negative; -1 waits for ever")),
    }
}

fn in_memory(request: &mut CreateRequest, target: String, options: String) -> Result<(), CommandError> {
    match request.tmpfs.insert(target.clone(), options) {
        Some(_) => Err(CommandError::usage(format!("two mounts have the target `{target}`"))),
        None => Ok(()),
    }
}

/// Flags that ask for mounts.
struct AskedMounts<'a> {
    volume: &'a [String],
    mount: &'a [String],
    tmpfs: &'a [String],
    driver: Option<&'a str>,
}

fn mounts(asked: &AskedMounts<'_>, request: &mut CreateRequest) -> Result<(), CommandError> {
    let directory = std::env::current_dir().unwrap_or_else(|_| "/".into());
    for text in asked.volume {
        request.mounts.push(flag("volume", volume::parse(text, &directory))?);
    }
    for text in asked.tmpfs {
        let (target, options) = flag("tmpfs", tmpfs::parse(text))?;
        in_memory(request, target, options)?;
    }
    for text in asked.mount {
        request.mounts.push(flag("mount", mount::parse(text, &directory))?);
    }
    if let Some(driver) = asked.driver.filter(|driver| *driver != "local") {
        let reason = format!("there is no driver `{driver}` of volumes: local is there");
        return Err(CommandError::flag("volume-driver", reason));
    }
    match volume::shared_target(&request.mounts, request.tmpfs.keys().map(String::as_str)) {
        Some(target) => Err(CommandError::usage(format!("two mounts have the target `{target}`"))),
        None => Ok(()),
    }
}

fn secure(options: &[String], request: &mut CreateRequest) -> Result<(), CommandError> {
    for text in options {
        match flag("security-opt", security::parse(text))? {
            SecurityOption::NoNewPrivileges(value) => request.no_new_privileges = value,
            SecurityOption::SeccompBuiltin => request.seccomp = SeccompChoice::Default,
            SecurityOption::SeccompUnconfined => request.seccomp = SeccompChoice::Unconfined,
            SecurityOption::SeccompFile(path) => {
                let profile = flag("security-opt", from_file(&path, |content| Ok(content.to_owned())))?;
                request.seccomp = SeccompChoice::Profile(path.display().to_string(), profile);
            }
        }
    }
    Ok(())
}
