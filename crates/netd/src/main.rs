//! `holm-netd`: the names of one network. Started by `holm`, found beside it; nothing here is for people.
//!
//! ```text
//! holm-netd --root ROOT --run-root RUN [--ready-fd N] [--resolv-conf FILE] NETWORK
//! ```
//!
//! `N` is a descriptor that gets a byte when questions will be answered; it is closed without one if somebody else
//! answers already, or none can. The library of this name says the rest.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use holm_netd::{Service, serve};
use holm_sys::dbus::SYSTEM_BUS;
use holm_sys::process::{adopt_descriptor, close_all_but};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// musl's allocator asks the kernel for every few blocks; this one keeps what it got.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

const NAME: &str = "holm-netd";

/// What the command line says.
#[derive(Default)]
struct Arguments {
    root: PathBuf,
    run: PathBuf,
    ready: Option<i32>,
    resolv_conf: Option<PathBuf>,
    network: String,
}

fn main() -> ExitCode {
    let served = match Arguments::parse(std::env::args_os().skip(1)) {
        Some(arguments) => begin(arguments),
        None => Err(format!(
            "usage: {NAME} --root ROOT --run-root RUN [--ready-fd N] [--resolv-conf FILE] NETWORK"
        )),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            drop(writeln!(std::io::stderr(), "{NAME}: {message}"));
            ExitCode::FAILURE
        }
    }
}

fn begin(arguments: Arguments) -> Result<(), String> {
    let bus = is_on_host().then(|| SYSTEM_BUS.into());
    let ready = detach(arguments.ready).map_err(|errno| format!("leave the caller: {errno}"))?;
    let service = Service {
        document: arguments.root.join("networks").join(format!("{}.json", arguments.network)),
        directory: arguments.run.join("networks").join(&arguments.network),
        resolv_conf: arguments.resolv_conf,
        bus,
        ready,
    };
    serve(service).map_err(|error| chain(&error))
}

/// Whether the network is in the namespace that the host's services are in.
fn is_on_host() -> bool {
    let namespace = |process| std::fs::read_link(format!("/proc/{process}/ns/net")).ok();
    namespace("self").is_some_and(|own| namespace("1") == Some(own))
}

/// Leaves everything behind that came from the caller: descriptors, directory, session, limits, rights. Gives the
/// descriptor that it was told of.
fn detach(ready: Option<i32>) -> Result<Option<OwnedFd>, holm_sys::Errno> {
    close_all_but(ready.as_slice())?;
    rustix::process::chdir("/")?;
    // It fails for who leads a session already.
    let _ = rustix::process::setsid();
    rustix::thread::set_name(c"holm-netd")?;
    // Each question that is forwarded has a socket.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    drop_rights()?;
    ready.map(adopt_descriptor).transpose()
}

/// Keeps nothing of root's but its files and its ports: workloads choose what this process reads.
fn drop_rights() -> Result<(), holm_sys::Errno> {
    rustix::thread::set_no_new_privs(true)?;
    let kept = capabilities(None)?.permitted & CapabilitySet::NET_BIND_SERVICE;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            match word.to_str()? {
                "--root" => arguments.root = absolute(words.next()?)?,
                "--run-root" => arguments.run = absolute(words.next()?)?,
                "--resolv-conf" => arguments.resolv_conf = Some(absolute(words.next()?)?),
                "--ready-fd" => arguments.ready = Some(inherited(&words.next()?)?),
                network => arguments.network = network.to_owned(),
            }
        }
        let complete = arguments.root.is_absolute() && arguments.run.is_absolute();
        (complete && holm_spec::id::is_valid_name(&arguments.network)).then_some(arguments)
    }
}

/// A path that holds in any directory.
fn absolute(path: OsString) -> Option<PathBuf> {
    std::path::absolute(path).ok()
}

/// The number of a descriptor that is none of the standard ones.
fn inherited(number: &OsString) -> Option<i32> {
    number.to_str()?.parse().ok().filter(|number| *number > 2)
}
