//! Control groups that systemd makes: each container is a transient scope below a slice (systemd.scope(5), "The New
//! Control Group Interfaces" of systemd).
//!
//! systemd owns the tree above a scope and hands the scope itself over ("Delegate"), so all that
//! [`crate::cgroup`] does holds below. A scope cannot begin without a process: a placeholder is its first,
//! and goes once the container's process is in. Device rules are no property of the unit: systemd leaves devices alone
//! where it is asked for nothing, and ours stay in force.
//!
//! ```text
//! StartTransientUnit, JobRemoved   -> the group stands, with the placeholder inside
//! (born in it, or AttachProcessesToUnit where the user may not move its own processes there)
//! SetUnitProperties                -> other limits
//! StopUnit                         -> gone
//! ```

mod bus;
mod properties;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use holm_spec::runtime::LinuxResources;
use holm_sys::dbus::{Value, Writer};
use holm_sys::process::{self, Child, CloneOptions, Namespaces};
use holm_sys::rustix::pipe::{PipeFlags, pipe_with};
use holm_sys::rustix::process::Pid;

use crate::cgroup::{self, Hierarchies};
use crate::error::{Context, Error, Kind, Result};
use crate::rootless::is_host_root;
pub use bus::ended_job;
use bus::{Bus, Manager, Refusal};
use properties::{Properties, of_annotations, of_setting};

/// Where a container's scope is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Name of the scope.
    name: String,
    /// Name of its slice; empty for one that is there already.
    slice: String,
}

impl Unit {
    /// Reads a `linux.cgroupsPath` of the form `slice:prefix:name`; all of it may be missing.
    ///
    /// # Errors
    /// Another form; the name of a slice.
    pub fn parse(path: &str, id: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(why).at_field("linux.cgroupsPath");
        let path = if path.is_empty() { "::" } else { path };
        let parts: Vec<_> = path.split(':').collect();
        let &[slice, prefix, name] = parts.as_slice() else {
            return Err(wrong(format!(
                "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
            )));
        };
        let name = if name.is_empty() { id } else { name };
        if name.ends_with(".slice") {
            return Err(wrong(format!("`{name}` is a slice, and a container is a scope")));
        }
        let usual = if is_host_root() { "system.slice" } else { "user.slice" };
        let slice = if slice.is_empty() { usual } else { slice };
        let name = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
        Ok(Self { name, slice: slice.to_owned() })
    }

    /// The unit of that name, which is there already.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), slice: String::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes the scope, limited, with a placeholder in it.
    ///
    /// # Errors
    /// systemd does not run here; a unit of this name is there; what systemd has against it.
    pub fn start(&self, asked: &Asked<'_>, hierarchies: &Hierarchies) -> Result<Scope> {
        let mut bus = Bus::connect(manager()?)?;
        let placeholder = Placeholder::start()?;
        let properties = self.properties(asked, hierarchies, placeholder.pid())?;
        let scope = Scope { unit: self.clone(), placeholder };
        let started = self.run_job(&mut bus, "StartTransientUnit", || {
            let mut body = Writer::default();
            body.string(&self.name).string("replace").properties(&properties);
            body.array(8, std::iter::empty::<()>(), |_, ()| {});
            ("ssa(sv)a(sa(sv))", body.finish())
        });
        started.map(|()| scope)
    }

    fn properties(
        &self,
        asked: &Asked<'_>,
        hierarchies: &Hierarchies,
        placeholder: Pid,
    ) -> Result<Properties> {
        let text = |text: &str| Value::String(text.to_owned());
        let pid = u32::try_from(placeholder.as_raw_nonzero().get()).unwrap_or_default();
        let fixed = [
            ("Description", text(&format!("Container {}", asked.id))),
            ("Slice", text(&self.slice)),
            ("Delegate", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            ("CollectMode", text("inactive-or-failed")),
            ("MemoryAccounting", Value::Bool(true)),
            ("CPUAccounting", Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            ("IOAccounting", Value::Bool(true)),
            ("PIDs", Value::Numbers(vec![pid])),
        ];
        let mut properties: Properties = of_limits(hierarchies, asked.resources)?;
        let wanted = of_annotations(asked.annotations)?;
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        let fixed: Properties =
            fixed.filter(|(name, _)| !wanted.iter().any(|(other, _)| other == name)).collect();
        properties.splice(0..0, fixed);
        properties.extend(wanted);
        Ok(properties)
    }

    /// A unit of that name that has failed is in the way of a new one until it is forgotten.
    fn run_job(
        &self,
        bus: &mut Bus,
        member: &'static str,
        arguments: impl Fn() -> (&'static str, Vec<u8>),
    ) -> Result<()> {
        let mut forgot = false;
        loop {
            let (signature, body) = arguments();
            let answer = match bus.call(member, signature, body)? {
                Ok(answer) => answer,
                Err(refusal) if refusal.name.ends_with(".UnitExists") && !forgot => {
                    forgot = true;
                    let _ = self.call_with_name(bus, "ResetFailedUnit")?;
                    continue;
                }
                Err(refusal) => return Err(self.refused(member, refusal)),
            };
            let job = answer.body().string().unwrap_or_default().to_owned();
            return match bus.await_job(&job)?.as_str() {
                "done" | "skipped" => Ok(()),
                result => {
                    let message =
                        format!("`{member}` of systemd unit `{}`: the job ended as `{result}`", self.name);
                    Err(Error::new(Kind::System, message))
                }
            };
        }
    }

    fn call_with_name(&self, bus: &mut Bus, member: &str) -> Result<Result<(), Refusal>> {
        let mut body = Writer::default();
        body.string(&self.name);
        Ok(bus.call(member, "s", body.finish())?.map(drop))
    }

    fn refused(&self, member: &str, refusal: Refusal) -> Error {
        Error::caused(Kind::System, format!("`{member}` of systemd unit `{}`", self.name), refusal)
    }

    /// Changes its limits in what systemd knows.
    ///
    /// # Errors
    /// What systemd has against it.
    pub fn update(&self, hierarchies: &Hierarchies, resources: &LinuxResources) -> Result<()> {
        let properties = of_limits(hierarchies, Some(resources))?;
        let mut body = Writer::default();
        // Until the unit is gone, and not beyond.
        body.string(&self.name).number(1).properties(&properties);
        let answer = Bus::connect(manager()?)?.call("SetUnitProperties", "sba(sv)", body.finish())?;
        answer.map(drop).map_err(|refusal| self.refused("SetUnitProperties", refusal))
    }

    /// Moves a process into it, which systemd may where its user may not.
    ///
    /// # Errors
    /// What systemd has against it.
    pub fn attach(&self, process: Pid) -> Result<()> {
        let pid = u32::try_from(process.as_raw_nonzero().get()).unwrap_or_default();
        let mut body = Writer::default();
        body.string(&self.name).string("").array(4, [pid], |writer, pid| _ = writer.number(pid));
        let answer = Bus::connect(manager()?)?.call("AttachProcessesToUnit", "ssau", body.finish())?;
        answer.map(drop).map_err(|refusal| self.refused("AttachProcessesToUnit", refusal))
    }

    /// Ends it; fine if it is gone, which it is once nothing is in it.
    ///
    /// # Errors
    /// What systemd has against it.
    pub fn stop(&self) -> Result<()> {
        // Where no manager is, no unit of it is.
        let Ok(mut bus) = manager().and_then(Bus::connect) else { return Ok(()) };
        let mut body = Writer::default();
        body.string(&self.name).string("replace");
        match bus.call("StopUnit", "ss", body.finish())? {
            Ok(answer) => {
                let job = answer.body().string().unwrap_or_default().to_owned();
                bus.await_job(&job)?;
            }
            Err(refusal) if refusal.name.ends_with(".NoSuchUnit") => return Ok(()),
            Err(refusal) => return Err(self.refused("StopUnit", refusal)),
        }
        self.call_with_name(&mut bus, "ResetFailedUnit").map(drop)
    }
}

/// What a scope is made for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The container.
    pub id: &'a str,
    /// Its limits.
    pub resources: Option<&'a LinuxResources>,
    /// Annotations of its configuration; those that begin with `org.systemd.property.` are properties of the unit.
    pub annotations: Option<&'a std::collections::HashMap<String, String>>,
}

/// A scope that has been made for a container which is not in it yet; the placeholder goes with this value.
#[derive(Debug)]
pub struct Scope {
    unit: Unit,
    placeholder: Placeholder,
}

impl Scope {
    /// Its group, relative to the root of each hierarchy: where the kernel says that the placeholder is.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn group(&self) -> Result<PathBuf> {
        let file = format!("/proc/{}/cgroup", self.placeholder.pid().as_raw_nonzero());
        let text = std::fs::read_to_string(&file).context(|| format!("read `{file}`"))?;
        let group = group_in(&text).ok_or_else(|| {
            Error::new(Kind::System, format!("unit `{}` has no control group", self.unit.name))
        })?;
        Ok(group.strip_prefix("/").unwrap_or(group).to_owned())
    }
}

/// systemd keeps track in v2 where that is all there is, and in a hierarchy of its own elsewhere.
fn group_in(table: &str) -> Option<&Path> {
    let path = |start: &str| table.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(start));
    path("name=systemd:").or_else(|| path(":")).map(Path::new)
}

/// A process that does nothing, until this value goes.
#[derive(Debug)]
struct Placeholder {
    child: Child,
    /// It reads the other end.
    _awake: std::os::fd::OwnedFd,
}

impl Placeholder {
    fn start() -> Result<Self> {
        let failed = || "make the first process of a scope";
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).context(failed)?;
        let options = CloneOptions { namespaces: Namespaces::NONE, cgroup: None };
        let child = process::clone(&options, || {
            use std::os::fd::AsRawFd;
            let _ = process::close_all_but(&[read.as_raw_fd()]);
            process::reset_signals();
            // Until the runtime closes its end, or ends.
            let _ = rustix::io::read(&read, &mut [0_u8]);
            0
        });
        Ok(Self { child: child.context(failed)?, _awake: write })
    }

    fn pid(&self) -> Pid {
        self.child.pid
    }
}

impl Drop for Placeholder {
    fn drop(&mut self) {
        let _ = process::signal(self.child.pidfd.as_fd(), 9);
        let _ = process::wait(self.child.pidfd.as_fd());
    }
}

fn of_limits(hierarchies: &Hierarchies, resources: Option<&LinuxResources>) -> Result<Properties> {
    let Some(resources) = resources else { return Ok(Vec::new()) };
    let settings = cgroup::settings_of(hierarchies, resources)?;
    let mut properties = Properties::new();
    for (name, value) in settings.iter().flat_map(|(file, value)| of_setting(file, value)) {
        properties.retain(|(other, _)| *other != name);
        properties.push((name, value));
    }
    Ok(properties)
}

/// The manager that the caller's containers belong to.
fn manager() -> Result<Manager> {
    if !is_host_root() {
        return Ok(Manager::User);
    }
    // As sd_booted(3) finds out.
    if Path::new("/run/systemd/system").is_dir() {
        return Ok(Manager::System);
    }
    Err(Error::new(Kind::Unsupported, "systemd not running on this host, cannot use systemd cgroups manager"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_slice_a_prefix_and_a_name() {
        let unit = |path| Unit::parse(path, "box").map(|unit| format!("{} in {}", unit.name, unit.slice));
        assert_eq!(unit("machine.slice:libpod:abc").expect("valid"), "libpod-abc.scope in machine.slice");
        assert_eq!(unit("a.slice::").expect("valid"), "box.scope in a.slice");
        for nothing in ["", "::"] {
            assert!(unit(nothing).expect("valid").starts_with("box.scope in "));
        }
        for wrong in ["/a/b", "a:b", "a:b:c:d", "a.slice:x:b.slice"] {
            assert!(unit(wrong).expect_err(wrong).to_string().starts_with("`linux.cgroupsPath`"));
        }
    }

    #[test]
    fn the_group_is_where_systemd_keeps_track() {
        let mixed = "2:memory:/\n1:name=systemd:/a.slice/x.scope\n0::/b\n";
        assert_eq!(group_in(mixed), Some(Path::new("/a.slice/x.scope")));
        assert_eq!(group_in("0::/a.slice/x.scope\n"), Some(Path::new("/a.slice/x.scope")));
        assert_eq!(group_in(""), None);
    }
}
