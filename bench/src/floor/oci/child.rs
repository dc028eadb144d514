//! The child of `run` and `create`. All mounts are made at paths relative to the new root while the host's tree is
//! still there: devices come from it in a user namespace, and the kernel wants to see its `/proc` then.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit};

use super::super::calls::{Calls, Failure};
use super::super::confine::confine;
use super::super::run::{COULD_NOT_START, execute, tell};
use super::super::sys::{self, ArgumentPointers};
use super::groups::Groups;
use super::link::End;
use super::{Inside, Request};

/// What the child does, with everything that it needs.
pub(super) struct Plan<'a> {
    pub root: &'a CStr,
    pub request: &'a Request,
    pub groups: &'a Groups,
    pub link: &'a End,
    /// The FIFO to wait at.
    pub hold: Option<&'a OwnedFd>,
    pub arguments: ArgumentPointers<'a>,
}

const STRICT: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

impl Plan<'_> {
    pub fn carry_out(self, calls: Calls) -> ! {
        let failure = match self.prepare(calls) {
            Err(failure) => failure,
            Ok(()) => execute(&self.request.command, &self.arguments, calls),
        };
        tell(failure);
        sys::exit_child(COULD_NOT_START)
    }

    fn prepare(&self, calls: Calls) -> Result<(), Failure> {
        self.groups.enter(calls)?;
        calls.make("setsid", "session", rustix::process::setsid)?;
        if self.request.user_namespace {
            self.link.wait(calls)?;
            become_root(calls)?;
        }
        self.attach_root(calls)?;
        mount_kernel_file_systems(calls)?;
        self.fill_dev(calls)?;
        self.mount_groups(calls)?;
        mask(calls)?;
        protect(calls)?;
        leave_host(calls)?;
        set_names(calls)?;
        set_limits(calls)?;
        if self.groups.birthplace().is_some() {
            self.link.wait(calls)?;
        }
        confine(calls)?;
        self.wait_for_start(calls)
    }

    fn attach_root(&self, calls: Calls) -> Result<(), Failure> {
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        calls.make("mount", "/ private", || rustix::mount::mount_change(c"/", private))?;
        calls.make("mount", "root", || rustix::mount::mount_bind_recursive(self.root, self.root))?;
        calls.make("chdir", "root", || rustix::process::chdir(self.root))
    }

    fn fill_dev(&self, calls: Calls) -> Result<(), Failure> {
        for device in &DEVICES {
            if self.request.user_namespace {
                bind_device(device, calls)
            } else {
                make_device(device, calls)
            }?;
        }
        for (content, path) in LINKS {
            calls.make("symlinkat", "link in /dev", || rustix::fs::symlinkat(content, CWD, path))?;
        }
        Ok(())
    }

    fn mount_groups(&self, calls: Calls) -> Result<(), Failure> {
        const PLACE: Inside = c"sys/fs/cgroup";
        let read_only = STRICT | MountFlags::RDONLY;
        let Groups::Legacy(legacy) = self.groups else {
            return mount(c"cgroup2", PLACE, read_only, c"", "cgroup2", calls);
        };
        mount(c"tmpfs", PLACE, STRICT, c"mode=755,size=64k", "groups", calls)?;
        for (group, place) in legacy.mount_points() {
            make_directory(place, calls)?;
            bind_read_only(group, place, "group", calls)?;
        }
        remount_read_only(PLACE, "groups", calls)
    }

    fn wait_for_start(&self, calls: Calls) -> Result<(), Failure> {
        let Some(hold) = self.hold else { return Ok(()) };
        self.link.tell(calls)?;
        let mut word = [0];
        calls.make("read", "FIFO", || rustix::io::read(hold, &mut word)).map(drop)
    }
}

fn become_root(calls: Calls) -> Result<(), Failure> {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    calls.make("setgroups", "none", || set_thread_groups(&[]))?;
    calls.make("setresgid", "0", || set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT))?;
    calls.make("setresuid", "0", || set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT))
}

fn mount(
    kind: &CStr,
    target: Inside,
    flags: MountFlags,
    data: &CStr,
    object: &'static str,
    calls: Calls,
) -> Result<(), Failure> {
    calls.make("mount", object, || rustix::mount::mount(kind, target, kind, flags, Some(data)))
}

fn make_directory(path: Inside, calls: Calls) -> Result<(), Failure> {
    calls.make("mkdirat", "mount point", || rustix::fs::mkdirat(CWD, path, Mode::from(0o755)))
}

fn mount_kernel_file_systems(calls: Calls) -> Result<(), Failure> {
    mount(c"proc", c"proc", MountFlags::empty(), c"", "proc", calls)?;
    let dev = MountFlags::NOSUID | MountFlags::STRICTATIME;
    mount(c"tmpfs", c"dev", dev, c"mode=755,size=65536k", "/dev", calls)?;
    for place in [c"dev/pts", c"dev/shm", c"dev/mqueue"] {
        make_directory(place, calls)?;
    }
    let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
    let options = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    mount(c"devpts", c"dev/pts", terminals, options, "devpts", calls)?;
    mount(c"tmpfs", c"dev/shm", STRICT, c"mode=1777,size=65536k", "/dev/shm", calls)?;
    mount(c"mqueue", c"dev/mqueue", STRICT, c"", "mqueue", calls)?;
    mount(c"sysfs", c"sys", STRICT | MountFlags::RDONLY, c"", "sysfs", calls)
}

/// A device: where the host has it, where it goes, its number.
type Device = (&'static CStr, Inside, (u32, u32));

const DEVICES: [Device; 6] = [
    (c"/dev/null", c"dev/null", (1, 3)),
    (c"/dev/zero", c"dev/zero", (1, 5)),
    (c"/dev/full", c"dev/full", (1, 7)),
    (c"/dev/random", c"dev/random", (1, 8)),
    (c"/dev/urandom", c"dev/urandom", (1, 9)),
    (c"/dev/tty", c"dev/tty", (5, 0)),
];

const LINKS: [(&CStr, Inside); 6] = [
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"/proc/kcore", c"dev/core"),
    (c"pts/ptmx", c"dev/ptmx"),
];

fn make_device((_, place, (major, minor)): &Device, calls: Calls) -> Result<(), Failure> {
    let mode = Mode::from(0o666);
    let number = makedev(*major, *minor);
    calls.make("mknodat", "device", || {
        rustix::fs::mknodat(CWD, *place, FileType::CharacterDevice, mode, number)
    })?;
    // The caller's umask takes bits away.
    calls.make("fchmodat", "device", || rustix::fs::chmodat(CWD, *place, mode, rustix::fs::AtFlags::empty()))
}

/// Nodes cannot be made in a user namespace.
fn bind_device((host, place, _): &Device, calls: Calls) -> Result<(), Failure> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    calls.make("openat, close", "mount point", || {
        rustix::fs::openat(CWD, *place, flags, Mode::from(0o666)).map(drop)
    })?;
    calls.make("mount", "device", || rustix::mount::mount_bind(*host, *place))
}

/// What Docker hides. Of these a host has some; whether a path is a folder is known when it could not be covered as
/// a file.
fn mask(calls: Calls) -> Result<(), Failure> {
    const PATHS: [Inside; 10] = [
        c"proc/acpi",
        c"proc/asound",
        c"proc/kcore",
        c"proc/keys",
        c"proc/latency_stats",
        c"proc/timer_list",
        c"proc/timer_stats",
        c"proc/sched_debug",
        c"sys/firmware",
        c"proc/scsi",
    ];
    for path in PATHS {
        let covered = calls.make("mount", "masked path", || rustix::mount::mount_bind(c"/dev/null", path));
        match covered.map_err(|failure| failure.errno) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) => mount(c"tmpfs", path, MountFlags::RDONLY, c"size=0,mode=755", "masked folder", calls)?,
        }
    }
    Ok(())
}

/// What Docker makes read-only.
fn protect(calls: Calls) -> Result<(), Failure> {
    for path in [c"proc/bus", c"proc/fs", c"proc/irq", c"proc/sys", c"proc/sysrq-trigger"] {
        match bind_read_only(path, path, "read-only path", calls) {
            Err(failure) if failure.errno == Errno::NOENT => {}
            other => other?,
        }
    }
    Ok(())
}

fn bind_read_only(source: &CStr, target: Inside, object: &'static str, calls: Calls) -> Result<(), Failure> {
    calls.make("mount", object, || rustix::mount::mount_bind(source, target))?;
    remount_read_only(target, object, calls)
}

fn remount_read_only(target: Inside, object: &'static str, calls: Calls) -> Result<(), Failure> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | STRICT;
    calls.make("mount, remount", object, || rustix::mount::mount_remount(target, flags, c""))
}

fn leave_host(calls: Calls) -> Result<(), Failure> {
    calls.make("pivot_root", "root", || rustix::process::pivot_root(c".", c"."))?;
    calls.make("umount2", "old root", || rustix::mount::unmount(c".", UnmountFlags::DETACH))?;
    calls.make("chdir", "/", || rustix::process::chdir(c"/"))
}

fn set_names(calls: Calls) -> Result<(), Failure> {
    calls.make("sethostname", "host name", || rustix::system::sethostname(b"runc"))?;
    let socket = calls.make("socket", "loopback", || {
        socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
    })?;
    calls.make("ioctl", "loopback", || sys::set_loopback_up(socket.as_fd()))?;
    calls.note("close", "loopback");
    Ok(())
}

/// `RLIMIT_NOFILE`, as `spec` sets it.
pub(super) fn set_limits(calls: Calls) -> Result<(), Failure> {
    let limit = Rlimit { current: Some(1024), maximum: Some(1024) };
    calls.make("prlimit64", "open files", || rustix::process::setrlimit(Resource::Nofile, limit))
}
