//! Directories of the host for a machine's workload: one `virtiofsd` a machine, in a jail that shows it nothing else.
//!
//! ```text
//! jail of virtiofsd            guest                              workload
//! /share/0  bind of the 1st    /run/holm/shares/0 (virtio-fs)     bind mount at its target
//! /share/1  bind of the 2nd    /run/holm/shares/1                 ...
//! ```
//!
//! It serves files as the users that the guest says, so it is root, with the capabilities for that and no others; what
//! is shared read-only is mounted read-only where it is. It ends when the emulator does.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use holm_runtime::cgroup::Group;
use holm_runtime::container::{self, Start, StartOptions};
use holm_runtime::rootfs::Root;
use holm_runtime::{Error, Event, Stdio};
use holm_spec::machine::Virtiofsd;
use holm_spec::runtime::{Capability, Linux, LinuxCapabilities, Mount, Process, Root as OciRoot, Spec};
use holm_spec::signal;
use holm_sys::Errno;
use holm_sys::process::{Child, keep_over_exec};
use rustix::fs::{Mode, OFlags, open};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::jail;

/// What it may: own files as anybody, and pass by their permissions, as the guest's kernel has checked them.
const CAPABILITIES: [Capability; 9] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::DacReadSearch,
    Capability::Fowner,
    Capability::Fsetid,
    Capability::Mknod,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
];
/// What it gives up by itself: it changes its root, and drops the rest.
const PASSING: [Capability; 2] = [Capability::SysChroot, Capability::Setpcap];
const SHARE: &str = "/share";
const SOCKET: &str = "shares.sock";

/// One thing that is shared, as the configuration has it.
pub(crate) struct Shares<'a>(pub Vec<&'a Mount>);

/// A process that ends with this.
#[derive(Debug)]
pub(crate) struct Helper(Child);

impl Helper {
    /// Readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = holm_sys::process::signal(self.0.pidfd.as_fd(), signal::KILL);
        let _ = holm_sys::process::wait(self.0.pidfd.as_fd());
    }
}

/// Both ends of a connection that a program listens for.
struct Connection {
    listener: OwnedFd,
    client: OwnedFd,
}

impl Shares<'_> {
    /// Starts what serves them; the process, and a socket to it for the emulator.
    ///
    /// # Errors
    /// This host has no such program; it cannot be started; a source is not there.
    pub fn serve(
        &self,
        program: Option<&Virtiofsd>,
        directory: &Path,
        group: &Group,
    ) -> Result<(Helper, OwnedFd), Error> {
        let program = program.ok_or_else(|| {
            Error::invalid("share directories with a machine: `virtiofsd` is not installed")
        })?;
        let failed = |errno: Errno| Error::system("make a socket for virtiofsd", errno);
        let Connection { listener, client } = connect(directory).map_err(failed)?;
        keep_over_exec(&listener).map_err(failed)?;
        let root = directory.join("shares");
        jail::make_root(&root)?;
        let spec = self.jail(program, listener.as_raw_fd());
        let helper = start(&spec, &root, group, &listener)?;
        Ok((helper, client))
    }

    fn jail(&self, program: &Virtiofsd, listener: i32) -> Spec {
        let mut root = OciRoot::default();
        root.set_path("root".into()).set_readonly(Some(true));
        let mut linux = Linux::default();
        linux.set_namespaces(Some(jail::namespaces()));
        let mut mounts = jail::kernel_file_systems();
        mounts.extend(jail::system(&program.path));
        mounts.push(jail::mount(
            SHARE,
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "nodev", "noexec", "mode=755"],
        ));
        mounts.push(jail::mount(
            "/run",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "nodev", "noexec", "mode=700"],
        ));
        mounts.push(jail::mount(
            "/tmp",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "nodev", "noexec", "mode=700"],
        ));
        mounts.push(jail::mount(
            "/var",
            "tmpfs",
            Path::new("tmpfs"),
            &["nosuid", "nodev", "noexec", "mode=700"],
        ));
        mounts.extend(self.0.iter().enumerate().map(|(number, share)| {
            let mut mount = (*share).clone();
            mount.set_destination(PathBuf::from(format!("{SHARE}/{number}")));
            mount
        }));
        let mut spec = Spec::default();
        spec.set_version("1.2.0".to_owned())
            .set_root(Some(root))
            .set_hostname(Some("shares".to_owned()))
            .set_process(Some(process(arguments(program, listener))))
            .set_mounts(Some(mounts))
            .set_linux(Some(linux));
        spec
    }
}

fn start(spec: &Spec, root: &Path, group: &Group, listener: &OwnedFd) -> Result<Helper, Error> {
    let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::system("open `/dev/null`", errno))?;
    let streams = [null.as_fd(), null.as_fd(), null.as_fd()];
    let start = Start {
        spec,
        root: Root::Directory(root),
        bundle: Path::new("/"),
        group,
        user: None,
        // It has a filter of its own, which it installs itself.
        seccomp: None,
        stdio: Stdio::Descriptors(streams),
        options: StartOptions { preserved: vec![listener.as_raw_fd()], ..StartOptions::default() },
    };
    let started = container::start(start, &mut |_: Event, _: &Child| Ok(()))?;
    Ok(Helper(started.process))
}

fn arguments(program: &Virtiofsd, listener: i32) -> Vec<String> {
    let path = program.path.display().to_string();
    let listener = format!("--fd={listener}");
    let words: &[&str] = if program.legacy {
        &[&path, &listener, "-f", "-o", "source=/share,sandbox=chroot,cache=auto,xattr,announce_submounts"]
    } else {
        &[
            &path,
            &listener,
            "--shared-dir=/share",
            "--sandbox=none",
            "--cache=auto",
            "--xattr",
            "--announce-submounts",
        ]
    };
    words.iter().map(|&word| word.to_owned()).collect()
}

fn process(arguments: Vec<String>) -> Process {
    let set: HashSet<Capability> = CAPABILITIES.into_iter().chain(PASSING).collect();
    let mut capabilities = LinuxCapabilities::default();
    capabilities
        .set_bounding(Some(set.clone()))
        .set_effective(Some(set.clone()))
        .set_permitted(Some(set))
        .set_inheritable(None)
        .set_ambient(None);
    let mut process = Process::default();
    process
        .set_terminal(Some(false))
        .set_args(Some(arguments))
        .set_env(Some(Vec::new()))
        .set_cwd("/".into())
        .set_no_new_privileges(Some(true))
        .set_capabilities(Some(capabilities));
    process
}

/// Listens in a directory just long enough to connect; nobody else can.
fn connect(directory: &Path) -> Result<Connection, Errno> {
    let folder = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))?;
    let socket =
        || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (listener, client) = (socket()?, socket()?);
    rustix::net::bind(&listener, &address)?;
    rustix::net::listen(&listener, 1)?;
    rustix::net::connect(&client, &address)?;
    rustix::fs::unlinkat(&folder, SOCKET, rustix::fs::AtFlags::empty())?;
    Ok(Connection { listener, client })
}
