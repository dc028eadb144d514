//! A container from the files of a checkpoint.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holm_spec::runtime::Spec;
use holm_sys::process::{self, Child, CloneOptions, clone};
use holm_sys::rustix::process::{Pid, PidfdFlags, pidfd_open};
use holm_sys::rustix::stdio::{stderr, stdin, stdout};

use super::group_options::GroupOptions;
use super::images::{Images, Log};
use super::message::Subject;
use super::namespaces::{self, Joined};
use super::options::{self, Inside};
use super::service::{Notification, Service, Surroundings};
use super::{Settings, check_criu, mounts, trees};
use crate::cgroup::{Group, Hierarchies};
use crate::child::{Tree, set_loopback_up};
use crate::error::{Context, Error, Kind, Result};

/// A container to be restored.
#[derive(Debug)]
pub struct Restoration<'a> {
    /// How.
    pub settings: &'a Settings,
    /// Its configuration.
    pub spec: &'a Spec,
    /// Its bundle, which relative paths of the configuration are meant from.
    pub bundle: &'a Path,
    /// Directory of its root file system, absolute and without links.
    pub root: &'a Path,
    /// Its control groups, limited already.
    pub group: &'a Group,
    /// Label of the security module instead of the one before (`TYPE:NAME`).
    pub label: Option<&'a str>,
    /// Label of its mounts instead of the one before.
    pub mount_label: Option<&'a str>,
}

/// What a restore has got to, for whoever asked for it to do its part.
#[derive(Debug)]
pub enum Progress {
    /// The first process and its namespaces exist, empty: the process, as this one numbers it.
    Namespaces(i32),
    /// The other end of a terminal of the container's.
    Terminal(OwnedFd),
    /// All is restored, and nothing runs yet: the first process.
    Restored(Child),
}

/// Restores a container; its processes run when this returns. The standard streams of this process take the place
/// of those pipes that the container had for standard streams.
///
/// # Errors
/// As [`super::dump`], and what `answer` cannot do. Nothing is left then but the control group.
pub fn restore(restoration: &Restoration<'_>, answer: &mut dyn FnMut(Progress) -> Result<()>) -> Result<()> {
    check_criu()?;
    namespaces::check(restoration.spec)?;
    let images = Images::open(restoration.settings)?;
    images.open_to_root_of(restoration.spec)?;
    let streams = inherited_streams(&images.read_descriptors()?);
    let joined = Joined::prepare(restoration.spec)?;
    trees::make_mount_points(restoration)?;
    let _options = GroupOptions::remember(&Hierarchies::detect()?);
    let service = start(restoration, &images, &joined, &trees::prepare(restoration)?)?;
    let inside = Inside {
        mounts: &mounts::of_configuration(restoration.spec, restoration.bundle, restoration.group.folders())?,
        joined: &joined,
        streams: &streams,
        groups: &groups_of(service.pid())?,
    };
    let request = Subject::Restore.with_options(&options::of_restore(restoration, &images, &inside));
    let own_network = namespaces::makes_network(restoration.spec);
    let explain = |error| images.explain(error, Log::Restore);
    let done = service.ask(&request, &explain, &mut |notification| notify(notification, own_network, answer));
    done.map(drop)
}

fn start(restoration: &Restoration<'_>, images: &Images, joined: &Joined, trees: &[Tree]) -> Result<Service> {
    Service::start(&Surroundings {
        streams: standard_streams(),
        images: Some(images),
        handed: &joined.descriptors,
        group: Some(restoration.group),
        trees,
    })
}

fn standard_streams() -> [BorrowedFd<'static>; 3] {
    [stdin(), stdout(), stderr()]
}

/// Pipes among the standard streams of before, with the numbers of the streams that take their place.
fn inherited_streams(before: &[String]) -> Vec<(String, i32)> {
    let numbered = before.iter().zip(0..3).filter(|(name, _)| name.contains("pipe:"));
    numbered.map(|(name, number)| (name.clone(), number)).collect()
}

/// The groups that a process is in: controllers, and the path in their hierarchy.
fn groups_of(pid: i32) -> Result<Vec<(String, String)>> {
    let file = format!("/proc/{pid}/cgroup");
    let text = std::fs::read_to_string(&file).context(|| format!("read `{file}`"))?;
    let fields = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    Ok(fields.map(|(controllers, path)| (controllers.to_owned(), path.to_owned())).collect())
}

fn notify(
    notification: Notification,
    own_network: bool,
    answer: &mut dyn FnMut(Progress) -> Result<()>,
) -> Result<()> {
    let pid = || notification.pid.ok_or_else(|| Error::new(Kind::System, "criu named no process"));
    match notification.point.as_str() {
        "setup-namespaces" => {
            let pid = pid()?;
            if own_network {
                start_loopback(pid)?;
            }
            answer(Progress::Namespaces(pid))
        }
        "orphan-pts-master" => {
            notification.descriptor.map_or(Ok(()), |terminal| answer(Progress::Terminal(terminal)))
        }
        "post-restore" => answer(Progress::Restored(find(pid()?)?)),
        _ => Ok(()),
    }
}

fn find(pid: i32) -> Result<Child> {
    let gone = || Error::new(Kind::System, "criu named no process");
    let pid = Pid::from_raw(pid).ok_or_else(gone)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).context(|| "find the restored process")?;
    Ok(Child { pid, pidfd })
}

/// Nobody but the container itself would do it, and its sockets are restored with the addresses that they had.
fn start_loopback(pid: i32) -> Result<()> {
    let target = find(pid)?;
    let set = clone(&CloneOptions::default(), || set_loopback_up(target.pidfd.as_fd()));
    let code = set.and_then(|child| process::wait(child.pidfd.as_fd()));
    match code.context(|| "set the loopback interface up")? {
        0 => Ok(()),
        _ => Err(Error::new(Kind::System, "set the loopback interface up")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pipes_are_inherited() {
        let before = ["/dev/null", "pipe:[77]", "/log"].map(str::to_owned);
        assert_eq!(inherited_streams(&before), [("pipe:[77]".to_owned(), 1)]);
        assert!(inherited_streams(&[]).is_empty());
    }
}
