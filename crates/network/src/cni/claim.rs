//! What plugins were told to do for a sandbox, kept until they have undone it.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use holm_spec::Id;
use holm_spec::layout::Layout;
use holm_spec::network::{Attachment, Endpoint, Plugins, Protocol, PublishedPort, VERSION};
use holm_sys::fail_point;
use holm_sys::file::{Durability, ensure_directory, replace};
use holm_sys::lock::{Lock, Mode};
use holm_sys::mount;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{list, plugin};
use crate::document;
use crate::error::{Error, Kind, Result};

/// How long nobody tries again what plugins could not undo: one of them may take long to say so, and commands wait for it.
const PAUSE: Duration = Duration::from_secs(60);
/// How long a plugin that somebody else has started is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Claim {
    version: u32,
    pub(crate) sandbox: Id,
    /// The network's name.
    pub(crate) network: String,
    /// Name of the device in the sandbox.
    pub(crate) interface: String,
    plugins: Plugins,
    /// Arguments by capability.
    arguments: Map<String, Value>,
    /// Arguments for plugins without such capabilities: `CNI_ARGS`.
    further: String,
    /// What the last plugin answered.
    pub(crate) result: Option<Value>,
}

impl Claim {
    /// One that nobody has written yet.
    pub(crate) fn new(plugins: &Plugins, attachment: &Attachment, endpoint: &Endpoint) -> Self {
        let mut arguments = Map::new();
        let mut further = vec!["IgnoreUnknown=1".to_owned()];
        let addresses = [attachment.address.map(Into::into), attachment.address6.map(Into::into)];
        let addresses: Vec<std::net::IpAddr> = addresses.into_iter().flatten().collect();
        if list::has(&plugins.list, "ips") {
            arguments.insert("ips".into(), json!(addresses));
        } else if let Some(address) = addresses.first() {
            further.push(format!("IP={address}"));
        }
        if let Some(hardware) = attachment.hardware {
            if list::has(&plugins.list, "mac") {
                arguments.insert("mac".into(), json!(hardware));
            } else {
                further.push(format!("MAC={hardware}"));
            }
        }
        arguments.insert("portMappings".into(), mappings(&endpoint.ports));
        if !attachment.aliases.is_empty() {
            // By network, and that by the name which its plugins know.
            let name = plugins.list["name"].as_str().unwrap_or_default();
            arguments.insert("aliases".into(), json!({ name: attachment.aliases }));
        }
        arguments.retain(|_, value| value.as_array().is_none_or(|values| !values.is_empty()));
        Self {
            version: VERSION,
            sandbox: endpoint.sandbox,
            network: endpoint.network.clone(),
            interface: endpoint.interface.clone(),
            plugins: plugins.clone(),
            arguments,
            further: further.join(";"),
            result: None,
        }
    }

    /// Has each plugin make its part in a network namespace (`ADD`), and keeps the last one's answer.
    ///
    /// # Errors
    /// [`Kind::Plugin`], [`Kind::NoPlugin`]; [`Kind::Locked`] where a plugin still runs for an earlier claim. What was made
    /// until then is there until [`Claim::undo`].
    pub(crate) fn make(&mut self, layout: &Layout, namespace: BorrowedFd<'_>) -> Result<()> {
        let lock = self.lock(layout)?;
        self.write(layout)?;
        fail_point::reached("cni-claimed");
        pin(layout, &self.sandbox, namespace)?;
        for plugin in list::plugins(&self.plugins.list).to_vec() {
            let input =
                list::configuration(&self.plugins.list, &plugin, &self.arguments, self.result.as_ref());
            let program = list::program(&plugin);
            let answer = self.call(layout, &lock, "ADD", program, &input)?;
            fail_point::reached("cni-added");
            let silent =
                || Error::new(Kind::Plugin, format!("ADD by CNI plugin `{program}`: it gives no result"));
            self.result = Some(answer.ok_or_else(silent)?);
            // Each time: there are plugins that undo nothing unless they are told what those before them answered.
            self.write(layout)?;
        }
        fail_point::reached("cni-made");
        Ok(())
    }

    /// Has each plugin undo its part (`DEL`), the last one first; the claim is gone then.
    ///
    /// # Errors
    /// As [`Claim::make`]. The claim stays, and so may what the plugins made.
    pub(crate) fn undo(&self, layout: &Layout) -> Result<()> {
        let lock = self.lock(layout)?;
        self.undo_under(layout, &lock)
    }

    /// As [`Claim::undo`], of a sandbox that was gone a moment ago. Says whether anything was undone: not if a plugin still
    /// runs for the claim, somebody else has undone it, or the sandbox is there again.
    pub(crate) fn undo_orphan(&self, layout: &Layout) -> Result<bool> {
        let Some(lock) = Lock::try_acquire(&self.input(layout), Mode::Exclusive)? else { return Ok(false) };
        if layout.sandbox(&self.sandbox).dir.exists() || read(&self.path(layout))?.is_none() {
            return Ok(false);
        }
        let undone = self.undo_under(layout, &lock).map(|()| true);
        // The pause begins when it has failed, which may have taken long.
        if undone.is_err() {
            let _ = lock
                .as_fd()
                .try_clone_to_owned()
                .map(|input| File::from(input).set_modified(SystemTime::now()));
        }
        undone
    }

    fn undo_under(&self, layout: &Layout, lock: &Lock) -> Result<()> {
        for plugin in list::plugins(&self.plugins.list).iter().rev() {
            let input =
                list::configuration(&self.plugins.list, plugin, &self.arguments, self.result.as_ref());
            self.call(layout, lock, "DEL", list::program(plugin), &input)?;
        }
        fail_point::reached("cni-deleted");
        document::remove(&self.path(layout))?;
        document::remove(&self.input(layout))
    }

    fn call(
        &self,
        layout: &Layout,
        lock: &Lock,
        command: &str,
        program: &str,
        text: &[u8],
    ) -> Result<Option<Value>> {
        let input = lock.as_fd().try_clone_to_owned().map(File::from);
        let input = input
            .and_then(|input| plugin::write_input(&input, text).map(|()| input))
            .map_err(|error| Error::io(format!("write `{}`", self.input(layout).display()), error))?;
        let namespace = layout.sandbox(&self.sandbox).namespace();
        // Of one that is gone the specification says: nothing.
        let namespace = if is_pinned(&namespace) { namespace.into_os_string() } else { OsString::new() };
        let environment = [
            ("CNI_CONTAINERID", self.sandbox.to_string().into()),
            ("CNI_NETNS", namespace),
            ("CNI_IFNAME", self.interface.clone().into()),
            ("CNI_ARGS", self.further.clone().into()),
        ];
        let path = &self.plugins.path;
        let call = plugin::Call {
            program,
            path,
            command,
            environment: &environment,
            input: &input,
            patience: plugin::PATIENCE,
        };
        plugin::run(&call).map_err(|error| error.of_network(&self.network))
    }

    fn lock(&self, layout: &Layout) -> Result<Lock> {
        let directory = layout.cni();
        ensure_directory(&directory, 0o700)
            .map_err(|error| Error::io(format!("make `{}`", directory.display()), error))?;
        Ok(Lock::acquire_within(&self.input(layout), Mode::Exclusive, LOCK_PATIENCE)?)
    }

    fn write(&self, layout: &Layout) -> Result<()> {
        let path = self.path(layout);
        let text = serde_json::to_vec(self).expect("a claim is plain data");
        replace(&path, &text, Durability::Volatile)
            .map_err(|error| Error::io(format!("write `{}`", path.display()), error))
    }

    fn path(&self, layout: &Layout) -> PathBuf {
        layout.cni().join(format!("{}-{}", self.sandbox, self.network))
    }

    fn input(&self, layout: &Layout) -> PathBuf {
        layout.cni().join(format!(".{}-{}.input", self.sandbox, self.network))
    }
}

/// Claims of a sandbox, the last one first.
///
/// # Errors
/// [`Kind::Io`], [`Kind::Corrupt`].
pub(crate) fn of_sandbox(layout: &Layout, sandbox: &Id) -> Result<Vec<Claim>> {
    let names = names(layout)?.into_iter().filter(|(owner, _)| owner == sandbox);
    let claims = names.map(|(_, path)| read(&path)).collect::<Result<Vec<_>>>()?;
    let mut claims: Vec<Claim> = claims.into_iter().flatten().collect();
    claims.sort_by(|a, b| b.interface.cmp(&a.interface));
    Ok(claims)
}

/// Claims of sandboxes that are gone, and that nobody has just tried to undo. A boot may have ended them, or plugins failed.
///
/// # Errors
/// [`Kind::Io`].
pub(crate) fn orphans(layout: &Layout) -> Result<Vec<(PathBuf, Result<Option<Claim>>)>> {
    let is_gone = |(sandbox, path): &(Id, PathBuf)| !layout.sandbox(sandbox).dir.exists() && !is_recent(path);
    Ok(names(layout)?.into_iter().filter(is_gone).map(|(_, path)| (path.clone(), read(&path))).collect())
}

/// Whether a plugin was called for a claim a moment ago.
fn is_recent(claim: &Path) -> bool {
    let name = claim.file_name().unwrap_or_default().to_string_lossy();
    let called = claim.with_file_name(format!(".{name}.input")).metadata().and_then(|input| input.modified());
    called.is_ok_and(|called| called.elapsed().is_ok_and(|passed| passed < PAUSE))
}

fn names(layout: &Layout) -> Result<Vec<(Id, PathBuf)>> {
    let directory = layout.cni();
    let names = document::names_in(&directory)?.into_iter().filter_map(|name| {
        let sandbox = name.split_once('-')?.0.parse().ok()?;
        Some((sandbox, directory.join(name)))
    });
    Ok(names.collect())
}

fn read(path: &Path) -> Result<Option<Claim>> {
    document::read("claim of a network", path, |claim: &Claim| claim.version)
}

/// Gives the namespace a name that outlives its processes, so that plugins can undo what they did there.
fn pin(layout: &Layout, sandbox: &Id, namespace: BorrowedFd<'_>) -> Result<()> {
    let target = layout.sandbox(sandbox).namespace();
    if is_pinned(&target) {
        return Ok(());
    }
    let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    std::fs::write(&target, b"")
        .and_then(|()| Ok(rustix::mount::mount_bind(&source, &target)?))
        .map_err(|error| Error::io(format!("mount a network namespace at `{}`", target.display()), error))
}

/// Lets go of a sandbox's namespace. Fine if nobody held it.
///
/// # Errors
/// [`Kind::Io`].
pub(crate) fn unpin(layout: &Layout, sandbox: &Id) -> Result<()> {
    let target = layout.sandbox(sandbox).namespace();
    let failed = |error| Error::io(format!("unmount `{}`", target.display()), error);
    if is_pinned(&target) {
        mount::detach(&target).map_err(failed)?;
    }
    match std::fs::remove_file(&target) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

fn is_pinned(namespace: &Path) -> bool {
    mount::is_mount_point(namespace).unwrap_or(false)
}

/// Ports by the convention of the capability `portMappings`. A port of all addresses of both families is one mapping.
fn mappings(ports: &[PublishedPort]) -> Value {
    let mut mappings: Vec<Value> = Vec::new();
    for port in ports {
        let mut mapping = json!({
            "hostPort": port.host_port,
            "containerPort": port.port.number,
            "protocol": match port.port.protocol { Protocol::Tcp => "tcp", Protocol::Udp => "udp" },
        });
        if !port.host.is_unspecified() {
            mapping["hostIP"] = json!(port.host);
        }
        if !mappings.contains(&mapping) {
            mappings.push(mapping);
        }
    }
    mappings.into()
}
