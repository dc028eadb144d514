//! What containers need: the kernel, rights, namespaces, file systems, control groups, filters, network rules.

use std::os::fd::AsFd;

use holm_network::Chain;
use holm_runtime::capability::CapabilitySet;
use holm_runtime::cgroup::Hierarchies;
use holm_spec::layout::Layout;
use holm_sys::netlink::{Netlink, Request, flags};
use holm_sys::process::{self, CloneOptions, Namespaces};
use rustix::io::Errno;

use super::Check;
use super::Need::{Containers, Settings};
use super::{firewalld, mounts, names};
use crate::host::{helper, require_root};

/// The oldest kernel that Holm promises to run on.
const OLDEST: (u32, u32) = (6, 1);
/// Controllers that `run` sets limits with.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

pub(super) fn examine(layout: &Layout) -> Vec<Check> {
    let mut checks = vec![kernel(), rights(), capabilities(), programs(), user_namespaces()];
    checks.extend(mounts::examine());
    checks.extend([groups(), limits(), filters(), rules(), passage(layout), names::examine()]);
    checks.extend(firewalld::examine(layout));
    checks
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let check = Check::ok("kernel", Containers, format!("Linux {release}"));
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|text| text.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST {
        return check;
    }
    check.limited("Holm is tested with Linux 6.1 and later", "a newer kernel of the distribution's")
}

fn rights() -> Check {
    let user = rustix::process::geteuid().as_raw();
    let check = Check::ok("rights", Containers, format!("user {user}"));
    match require_root() {
        Ok(()) => check,
        Err(_) => check.missing(
            "Holm makes namespaces, mounts and control groups, which only root may",
            "sudo; `holm-runtime` serves users without rights",
        ),
    }
}

fn capabilities() -> Check {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
    let absent: Vec<String> = CapabilitySet::ALL.without(CapabilitySet::from_bits(bits)).names().collect();
    if absent.is_empty() {
        return Check::ok("capabilities", Settings, "all");
    }
    let found = if bits == 0 { "none".to_owned() } else { format!("all but {}", absent.join(", ")) };
    let means = "what needs these rights is refused by the kernel, as raising a resource limit without CAP_SYS_RESOURCE";
    Check::ok("capabilities", Settings, found).limited(means, "whoever started this session can give more")
}

fn programs() -> Check {
    let names = ["holm-keeper", "holm-init"];
    let absent: Vec<&str> = names.into_iter().filter(|name| helper(name).is_err()).collect();
    if absent.is_empty() {
        return Check::ok("programs", Containers, names.join(", "));
    }
    let found = format!("not beside holm: {}", absent.join(", "));
    Check::ok("programs", Containers, found)
        .missing("no workload can start", "install all of Holm into one directory")
}

/// A child of its own makes one and ends.
fn user_namespaces() -> Check {
    let options = CloneOptions { namespaces: Namespaces::USER, ..CloneOptions::default() };
    let made = process::clone(&options, || 0).and_then(|child| process::wait(child.pidfd.as_fd()));
    match made {
        Ok(0) => Check::ok("user namespaces", Settings, "can be made"),
        other => Check::ok("user namespaces", Settings, told(other.map(drop))).limited(
            "no user of a container can be another one outside",
            "sysctl user.max_user_namespaces, and kernel.unprivileged_userns_clone on Debian's kernels",
        ),
    }
}

fn groups() -> Check {
    match Hierarchies::detect() {
        Ok(hierarchies) => {
            let writable =
                |path: &std::path::Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
            let closed: Vec<String> = hierarchies
                .all()
                .filter(|path| !writable(path))
                .map(|path| path.display().to_string())
                .collect();
            let check = Check::ok("cgroups", Containers, hierarchies.version());
            if closed.is_empty() {
                return check;
            }
            Check {
                found: format!("{}; not writable: {}", hierarchies.version(), closed.join(", ")),
                ..check
            }
            .missing("no control group can be made", "run as root, with cgroups mounted read-write")
        }
        Err(_) => Check::ok("cgroups", Containers, "none").missing(
            "processes of a workload cannot be told apart, limited or ended together",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

fn limits() -> Check {
    let place = |name: &str| {
        let hierarchies = Hierarchies::detect().ok()?;
        let unified = hierarchies.unified_controllers().unwrap_or_default();
        let unified = unified.iter().any(|known| known == name).then_some("v2");
        unified.or_else(|| hierarchies.legacy(name).map(|_| "v1"))
    };
    let places: Vec<_> = CONTROLLERS.iter().map(|name| (*name, place(name))).collect();
    let shown = |(name, place): &(&str, Option<&str>)| Some(format!("{name} ({})", (*place)?));
    let found: Vec<String> = places.iter().filter_map(shown).collect();
    let absent: Vec<&str> =
        places.iter().filter(|(_, place)| place.is_none()).map(|(name, _)| *name).collect();
    let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let check = Check::ok("limits", Settings, found);
    if absent.is_empty() {
        return check;
    }
    let means = format!("limits of {} cannot be set", absent.join(", "));
    check.limited(
        means,
        "cgroup_enable=memory on the kernel's command line, or cgroup.subtree_control on cgroup2",
    )
}

fn filters() -> Check {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.split_whitespace().any(|action| action == "errno") {
        return Check::ok("seccomp", Containers, actions.trim());
    }
    Check::ok("seccomp", Containers, "not there").missing(
        "system calls of workloads are not filtered: `run` refuses unless it is told so",
        "a kernel with CONFIG_SECCOMP_FILTER, or --security-opt seccomp=unconfined",
    )
}

/// Asks for the generation of the rules, which changes nothing.
fn rules() -> Check {
    const GET_GENERATION: u16 = 10 << 8 | 16;
    let request = Request::new(GET_GENERATION, flags::ACKNOWLEDGE, &[0; 4]);
    let asked = Netlink::open_netfilter().and_then(|mut netlink| netlink.order(request));
    match asked {
        Ok(()) => Check::ok("nftables", Settings, "answers"),
        Err(errno) => Check::ok("nftables", Settings, told(Err(errno))).limited(
            "networks of workloads and published ports will not work",
            "modprobe nf_tables, or a kernel with CONFIG_NF_TABLES",
        ),
    }
}

/// What other rules of packets do to those of workloads.
fn passage(layout: &Layout) -> Check {
    let check = |found: String| Check::ok("forwarding", Settings, found);
    let passage = match holm_network::Networks::new(layout).passage() {
        Err(error) => return check(error.to_string()),
        Ok(passage) if passage.dropped_by.is_empty() => {
            return check("no other rules drop what passes".to_owned());
        }
        Ok(passage) => passage,
    };
    let listed = |chains: &[Chain]| chains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let dropped = format!("dropped by {}", listed(&passage.dropped_by));
    if passage.is_open() {
        return check(format!("{dropped}; workloads pass through {}", listed(&passage.seams)));
    }
    check(dropped).limited(
        "workloads reach nothing beyond the host, and their published ports only from the host itself",
        "let the bridges through there: add a rule that accepts what comes from or goes to `holm*`",
    )
}

/// An error in words; without one, that something is odd.
pub(super) fn told(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "ended in another way than it should".to_owned(),
        Err(errno) => std::io::Error::from(errno).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn checks_of_this_host_have_names_of_their_own() {
        let checks = examine(&Layout::new("/nonexistent/root", "/nonexistent/run"));
        let mut names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), checks.len());
        let kernel = kernel();
        assert!(kernel.found.starts_with("Linux ") && kernel.state != State::Missing);
    }
}
