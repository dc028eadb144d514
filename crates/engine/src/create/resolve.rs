//! A request held against its image: every default filled in, every value checked.

use std::collections::BTreeMap;

use holm_spec::log::LogSettings;
use holm_spec::machine::Machine;
use holm_spec::platform::Platform;
use holm_spec::volume::MountPoint;
use holm_spec::workload::{Isolation, NetworkMode, Settings};
use holm_spec::{Id, image, signal};
use holm_store::Image;

use super::privileges::{self, SeccompSettings};
use super::{mounts, network};
use crate::request::{CreateRequest, EnvChange, VolumesFrom};
use crate::{Error, Kind, Result};

/// Docker's bounds of a memory limit in bytes: less cannot start a process.
const MEMORY_MINIMUM: u64 = 6 << 20;
const STOP_TIMEOUT: u32 = 10;
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest hostname that the kernel takes (`HOST_NAME_MAX`).
const HOSTNAME_LIMIT: usize = 64;

/// Everything that follows from request and image.
pub(super) struct Resolved {
    pub entrypoint: Vec<String>,
    pub command: Vec<String>,
    pub env: Vec<String>,
    pub workdir: String,
    pub user: String,
    pub hostname: String,
    pub stop_signal: i32,
    pub stop_timeout: Option<u32>,
    pub labels: BTreeMap<String, String>,
    pub capabilities: holm_runtime::capability::CapabilitySet,
    pub seccomp: SeccompSettings,
    /// Known last: what it needs of the host depends on the rest.
    pub machine: Option<Machine>,
    pub network: network::Resolved,
    pub mounts: mounts::Plan,
}

/// Refuses an image that this host's kernel cannot run, and one that is not of the platform asked for.
pub(super) fn check_platform(request: &CreateRequest, image: &Image) -> Result<()> {
    let (is, host) = (image.platform(), Platform::host());
    if let Some(wanted) = request.platform.as_ref().filter(|wanted| **wanted != is) {
        let message = format!("image `{}` is for {is}, and --platform asks for {wanted}", request.image);
        return Err(Error::new(Kind::ForeignImage, message));
    }
    if is.os != host.os {
        let message = format!(
            "image `{}` is for {is}: its programs speak another kernel's interface than this host's ({host})",
            request.image
        );
        return Err(Error::new(Kind::ForeignImage, message));
    }
    if is.architecture != host.architecture && request.isolation == Isolation::Container {
        let message = format!("image `{}` is for {is}, and this host is {host}", request.image);
        return Err(Error::new(Kind::ForeignImage, message));
    }
    Ok(())
}

impl Resolved {
    pub fn new(
        request: &CreateRequest,
        config: &image::Config,
        id: &Id,
        network: network::Resolved,
    ) -> Result<Self> {
        check_limits(request.memory, request.nano_cpus)?;
        super::log::check(request)?;
        let (entrypoint, command) = program(request, config)?;
        let hostname = hostname(request, &network, id)?;
        let capabilities = privileges::capabilities(request)?;
        let seccomp = privileges::seccomp(request, capabilities)?;
        Ok(Self {
            entrypoint,
            command,
            env: environment(request, config, &hostname),
            workdir: workdir(request, config)?,
            user: request.user.clone().or_else(|| config.user().clone()).unwrap_or_default(),
            hostname,
            stop_signal: stop_signal(request, config),
            stop_timeout: match request.stop_timeout {
                None => Some(STOP_TIMEOUT),
                // Any negative number means never.
                Some(seconds) => u32::try_from(seconds).ok(),
            },
            labels: labels(request, config),
            capabilities,
            seccomp,
            machine: None,
            network,
            mounts: mounts::Plan::default(),
        })
    }
}

fn invalid(message: String) -> Error {
    Error::new(Kind::InvalidRequest, message)
}

/// Whether limits can be kept on this host.
pub(crate) fn check_limits(memory: Option<u64>, nano_cpus: Option<u64>) -> Result<()> {
    if let Some(bytes) = memory.filter(|bytes| *bytes < MEMORY_MINIMUM) {
        return Err(invalid(format!("memory limit of {bytes} bytes: the smallest that can start is 6 MiB")));
    }
    if memory.is_some_and(|bytes| i64::try_from(bytes.saturating_mul(2)).is_err()) {
        return Err(invalid("memory limit: larger than any machine".to_owned()));
    }
    let cpus = online_cpus();
    if let Some(nano) = nano_cpus.filter(|nano| *nano < 10_000_000 || *nano > cpus * 1_000_000_000) {
        let asked = nano as f64 / 1e9;
        return Err(invalid(format!("limit of {asked:.2} cpus: this host has 0.01 to {cpus}.00 to give")));
    }
    Ok(())
}

/// Processors that this host has, whichever of them the caller may use.
fn online_cpus() -> u64 {
    let listed = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
    let counted = listed.as_deref().and_then(count_cpus).filter(|count| *count > 0);
    counted.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from) as u64)
}

/// The number of processors in a list of the kernel's: `0-3,8`.
fn count_cpus(list: &str) -> Option<u64> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim().split(',').map(count).sum()
}

/// Entry point and command by Docker's rules: another entry point forgets the image's command.
fn program(request: &CreateRequest, config: &image::Config) -> Result<(Vec<String>, Vec<String>)> {
    let entrypoint = match &request.entrypoint {
        Some(entrypoint) => entrypoint.clone(),
        None => config.entrypoint().clone().unwrap_or_default(),
    };
    let command = match (request.command.is_empty(), &request.entrypoint) {
        (false, _) => request.command.clone(),
        (true, Some(_)) => Vec::new(),
        (true, None) => config.cmd().clone().unwrap_or_default(),
    };
    if entrypoint.is_empty() && command.is_empty() {
        let message = format!("image `{}` names no command to run, and the request none", request.image);
        return Err(invalid(message));
    }
    // Docker makes it and fails to start it.
    if request.start_at_once && entrypoint.iter().chain(&command).next().is_some_and(String::is_empty) {
        return Err(Error::new(Kind::CommandNotFound, "the name of the command is empty"));
    }
    Ok((entrypoint, command))
}

/// `PATH`, what the image says, `HOSTNAME` and `TERM` as Docker sets them, and the request's changes.
fn environment(request: &CreateRequest, config: &image::Config, hostname: &str) -> Vec<String> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    env.extend(request.tty.then(|| "TERM=xterm".to_owned()));
    for entry in config.env().iter().flatten() {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(&mut env, name, value);
    }
    for change in &request.env {
        match change {
            EnvChange::Set(name, value) => set(&mut env, name, value),
            EnvChange::Unset(name) => env.retain(|entry| name_of(entry) != name),
        }
    }
    env
}

fn name_of(entry: &str) -> &str {
    entry.split('=').next().unwrap_or(entry)
}

fn set(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|entry| name_of(entry) == name) {
        Some(old) => *old = entry,
        None => env.push(entry),
    }
}

fn workdir(request: &CreateRequest, config: &image::Config) -> Result<String> {
    let workdir = request.workdir.clone().or_else(|| config.working_dir().clone()).unwrap_or_default();
    if workdir.is_empty() {
        return Ok("/".to_owned());
    }
    if !workdir.starts_with('/') {
        return Err(invalid(format!("working directory `{workdir}` is no absolute path")));
    }
    Ok(workdir)
}

fn hostname(request: &CreateRequest, network: &network::Resolved, id: &Id) -> Result<String> {
    match (&request.hostname, &network.mode) {
        (Some(name), _)
            if name.is_empty() || name.len() > HOSTNAME_LIMIT || name.contains(['\0', '\n', '/', ' ']) =>
        {
            Err(invalid(format!(
                "hostname `{}`: 1 to {HOSTNAME_LIMIT} bytes without spaces",
                name.escape_debug()
            )))
        }
        (Some(name), _) => Ok(name.clone()),
        (None, NetworkMode::Host) => Ok(rustix::system::uname().nodename().to_string_lossy().into_owned()),
        (None, _) => Ok(network.hostname.clone().unwrap_or_else(|| id.short())),
    }
}

/// An image with an unknown signal still runs.
fn stop_signal(request: &CreateRequest, config: &image::Config) -> i32 {
    let of_image = || config.stop_signal().as_deref().and_then(signal::parse);
    request.stop_signal.or_else(of_image).unwrap_or(signal::TERM)
}

fn labels(request: &CreateRequest, config: &image::Config) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> =
        config.labels().iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    labels.extend(request.labels.clone());
    labels
}

/// The request as `inspect` shows it.
pub(super) fn settings(
    request: &CreateRequest,
    resolved: &Resolved,
    mounts: Vec<MountPoint>,
    log: LogSettings,
) -> Settings {
    let mut security_opt = Vec::new();
    if request.no_new_privileges {
        security_opt.push("no-new-privileges".to_owned());
    }
    match request.seccomp {
        crate::SeccompChoice::Default => {}
        crate::SeccompChoice::Unconfined => security_opt.push("seccomp=unconfined".to_owned()),
        crate::SeccompChoice::Profile(..) => security_opt.push("seccomp=(profile)".to_owned()),
    }
    Settings {
        entrypoint: resolved.entrypoint.clone(),
        command: resolved.command.clone(),
        network: resolved.network.mode,
        networks: resolved.network.attachments.clone(),
        ports: resolved.network.ports.clone(),
        exposed: resolved.network.exposed.clone(),
        publish_all: request.publish_all,
        resolver: request.resolver.clone(),
        extra_hosts: request.extra_hosts.clone(),
        binds: request.mounts.iter().filter_map(|mount| mount.text.clone()).collect(),
        mounts,
        volumes_from: request.volumes_from.iter().map(volumes_from_text).collect(),
        tmpfs: request.tmpfs.clone(),
        memory: request.memory,
        nano_cpus: request.nano_cpus,
        pids_limit: request.pids_limit,
        cap_add: request.cap_add.clone(),
        cap_drop: request.cap_drop.clone(),
        security_opt,
        privileged: request.privileged,
        read_only: request.read_only,
        log,
    }
}

fn volumes_from_text(from: &VolumesFrom) -> String {
    match from.read_only {
        None => from.workload.clone(),
        Some(true) => format!("{}:ro", from.workload),
        Some(false) => format!("{}:rw", from.workload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted() {
        assert_eq!(
            (count_cpus("0-3,8\n"), count_cpus("0"), count_cpus("3-1"), count_cpus("")),
            (Some(5), Some(1), None, None)
        );
    }

    #[test]
    fn an_entry_point_of_the_request_forgets_the_images_command() {
        let mut config = image::Config::default();
        config.set_entrypoint(Some(vec!["/init".into()])).set_cmd(Some(vec!["serve".into()]));
        let mut request = CreateRequest::default();
        assert_eq!(program(&request, &config).expect("valid"), (vec!["/init".into()], vec!["serve".into()]));
        request.entrypoint = Some(vec!["sh".into()]);
        assert_eq!(program(&request, &config).expect("valid"), (vec!["sh".into()], vec![]));
        request.entrypoint = Some(vec![]);
        assert!(program(&request, &config).is_err());
        request.command = vec!["ls".into()];
        assert_eq!(program(&request, &config).expect("valid"), (vec![], vec!["ls".into()]));
    }

    #[test]
    fn environment_changes_in_order() {
        let mut config = image::Config::default();
        config.set_env(Some(vec!["A=1".into(), "B=2".into()]));
        let env = vec![EnvChange::Set("A".into(), "x=y".into()), EnvChange::Unset("B".into())];
        let request = CreateRequest { env, tty: true, ..CreateRequest::default() };
        let expected = [DEFAULT_PATH, "HOSTNAME=h", "TERM=xterm", "A=x=y"];
        assert_eq!(environment(&request, &config, "h"), expected);
    }

    #[test]
    fn limits_have_bounds() {
        for (memory, nano_cpus, good) in [
            (Some(6 << 20), None, true),
            (Some((6 << 20) - 1), None, false),
            (Some(u64::MAX), None, false),
            (None, Some(500_000_000), true),
            (None, Some(1), false),
            (None, Some(u64::MAX), false),
        ] {
            assert_eq!(check_limits(memory, nano_cpus).is_ok(), good, "{memory:?} {nano_cpus:?}");
        }
    }
}
