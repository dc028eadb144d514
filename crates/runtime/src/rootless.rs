//! Containers of a user without root's rights (user_namespaces(7)).
//!
//! Everything that the runtime prepares needs rights, and mounts above all. So it enters the container's user namespace
//! first, with a mount namespace beside it, and goes on as root of that: the container then shares the user
//! namespace that this process is in.
//!
//! ```text
//! runtime                          helper (a child, outside)
//! unshare the user namespace  ---> write the maps: itself, or by newuidmap and newgidmap
//!                             <--- done
//! unshare the mount namespace
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use holm_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use holm_sys::process::{self, Child, CloneOptions, Namespaces};
use holm_sys::rustix::fs::{Mode, OFlags, open};
use holm_sys::rustix::mount::{MountPropagationFlags, mount_change};
use holm_sys::rustix::pipe::{PipeFlags, pipe_with};
use holm_sys::rustix::process::{Pid, geteuid, getpid};
use holm_sys::rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Context, Error, Kind, Result};
use crate::maps::Maps;
use crate::namespaces::write_maps;

/// Whether this process is the host's root, and not only that of a user namespace.
pub fn is_host_root() -> bool {
    geteuid().is_root() && !is_in_user_namespace()
}

/// Whether this process is in another user namespace than the host's, whose number is always the same
/// (`USER_NS_INIT_INO` of linux/nsfs.h).
pub(crate) fn is_in_user_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/user").is_ok_and(|own| !is_hosts_user_namespace(&own))
}

/// Whether a link of `/proc/PID/ns` leads to the host's user namespace.
pub(crate) fn is_hosts_user_namespace(link: &std::path::Path) -> bool {
    link.as_os_str() == "user:[4026531837]"
}

/// Enters the user namespace that the configuration asks for, which then asks for none any more. Nothing happens to a
/// caller that is root where it is.
///
/// # Errors
/// There is no user namespace in the configuration; its maps are not this user's to have; the kernel or
/// `newuidmap` refuses them.
pub fn enter(spec: &mut Spec) -> Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    let Some(linux) = spec.linux_mut().as_mut() else { return Err(needs_namespace()) };
    let list = linux.namespaces().clone().unwrap_or_default();
    let user = list.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::User);
    match user.ok_or_else(needs_namespace)?.path().as_deref() {
        Some(path) if !path.as_os_str().is_empty() => join(path)?,
        _ => make(linux)?,
    }
    process::unshare(Namespaces::MOUNT).context(|| "make a mount namespace")?;
    // What comes from outside is welcome; nothing goes back.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change(c"/", slave).context(|| "set the propagation of mounts")?;
    let others = list.into_iter().filter(|namespace| namespace.typ() != LinuxNamespaceType::User);
    linux.set_namespaces(Some(others.collect())).set_uid_mappings(None).set_gid_mappings(None);
    Ok(())
}

fn needs_namespace() -> Error {
    Error::invalid("rootless container requires user namespaces").at_field("linux.namespaces")
}

fn join(path: &std::path::Path) -> Result<()> {
    let failed = || format!("join user namespace `{}`", path.display());
    let namespace = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).context(failed)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User)).context(failed)
}

fn make(linux: &Linux) -> Result<()> {
    let maps = Maps::from_oci(linux.uid_mappings().as_ref(), linux.gid_mappings().as_ref());
    let maps = maps.map_err(|error| error.at_field("linux"))?;
    let maps = maps
        .ok_or_else(|| Error::invalid("a user namespace needs maps of ids").at_field("linux.uidMappings"))?;
    if maps.uids.to_host(0) != Some(geteuid().as_raw()) {
        let error = Error::invalid("the container's root must be the user who makes it");
        return Err(error.at_field("linux.uidMappings"));
    }
    let helper = Helper::start(&maps)?;
    process::unshare(Namespaces::USER).map_err(|errno| {
        let message = "make a user namespace (is it forbidden to users on this host? see \
                       kernel.unprivileged_userns_clone and user.max_user_namespaces)";
        Error::system(message, errno)
    })?;
    helper.write_maps()
}

/// A child that stays outside, where the rights over the maps are.
struct Helper {
    child: Child,
    go: OwnedFd,
    answer: OwnedFd,
}

impl Helper {
    fn start(maps: &Maps) -> Result<Self> {
        let failed = || "make a process that writes the maps of ids";
        let (wait, go) = pipe_with(PipeFlags::CLOEXEC).context(failed)?;
        let (answer, say) = pipe_with(PipeFlags::CLOEXEC).context(failed)?;
        let runtime = getpid();
        let options = CloneOptions { namespaces: Namespaces::NONE, cgroup: None };
        let child = process::clone(&options, || {
            let _ = process::close_all_but(&[wait.as_raw_fd(), say.as_raw_fd()]);
            i32::from(help(&wait, &say, runtime, maps).is_err())
        });
        Ok(Self { child: child.context(failed)?, go, answer })
    }

    /// Lets it write and waits for it.
    fn write_maps(self) -> Result<()> {
        let Self { child, go, answer } = self;
        let _ = rustix::io::write(&go, b"g");
        drop(go);
        // Only the helper may hold the other end now, but it is a copy of this process: it ends soon.
        let code = process::wait(child.pidfd.as_fd()).context(|| "wait for the maps of ids")?;
        if code == 0 {
            return Ok(());
        }
        let mut said = String::new();
        let waiting = rustix::fs::fcntl_setfl(&answer, OFlags::NONBLOCK);
        if waiting.is_ok() {
            let _ = File::from(answer).read_to_string(&mut said);
        }
        Err(Error::new(Kind::System, said).at_field("linux.uidMappings"))
    }
}

/// In the child; it is a whole process of its own, so it may allocate.
fn help(wait: &OwnedFd, say: &OwnedFd, runtime: Pid, maps: &Maps) -> std::io::Result<()> {
    let mut word = [0];
    if rustix::io::read(wait, &mut word)? != 1 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    write_maps(runtime, maps).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|source| format!(": {source}"));
        let text = format!("{error}{}", cause.unwrap_or_default());
        let _ = say.try_clone().map(|end| File::from(end).write_all(text.as_bytes()));
        std::io::Error::other(error)
    })
}
