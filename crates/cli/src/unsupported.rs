//! Flags of Docker's that are not there yet: each is refused by name, with the part of Holm that will bring it.

/// Where flags of `run` and `create` belong.
const NETWORK: &str = "links between workloads; networks that you make have names";
const VOLUMES: &str = "sizes of workloads' file systems";
const LIMITS: &str = "the remaining resource limits";
const DEVICES: &str = "devices and GPUs";
const NAMESPACES: &str = "shared namespaces";
const SETTINGS: &str = "the remaining settings of workloads";
/// What Docker has for Windows containers.
pub const WINDOWS: &str = "Windows containers";
const SERVE: &str = "the Docker API";
const SIZES: &str = "disk usage of workloads";
const CHECKPOINTS: &str = "checkpoints";
const PULL: &str = "registries";

/// Flags of `run` and `create`: long name, short name, what brings it.
const CREATE: &[(&str, Option<char>, &str)] = &[
    ("annotation", None, SETTINGS),
    ("blkio-weight", None, LIMITS),
    ("blkio-weight-device", None, LIMITS),
    ("cgroup-parent", None, LIMITS),
    ("cgroupns", None, NAMESPACES),
    ("cpu-count", None, WINDOWS),
    ("cpu-percent", None, WINDOWS),
    ("cpu-period", None, LIMITS),
    ("cpu-quota", None, LIMITS),
    ("cpu-rt-period", None, LIMITS),
    ("cpu-rt-runtime", None, LIMITS),
    ("cpu-shares", Some('c'), LIMITS),
    ("cpuset-cpus", None, LIMITS),
    ("cpuset-mems", None, LIMITS),
    ("device", None, DEVICES),
    ("device-cgroup-rule", None, DEVICES),
    ("device-read-bps", None, LIMITS),
    ("device-read-iops", None, LIMITS),
    ("device-write-bps", None, LIMITS),
    ("device-write-iops", None, LIMITS),
    ("disable-content-trust", None, PULL),
    ("domainname", None, SETTINGS),
    ("gpus", None, DEVICES),
    ("group-add", None, SETTINGS),
    ("io-maxbandwidth", None, WINDOWS),
    ("io-maxiops", None, WINDOWS),
    ("ipc", None, NAMESPACES),
    ("kernel-memory", None, LIMITS),
    ("link", None, NETWORK),
    ("link-local-ip", None, NETWORK),
    ("memory-reservation", None, LIMITS),
    ("memory-swap", None, LIMITS),
    ("memory-swappiness", None, LIMITS),
    ("oom-kill-disable", None, LIMITS),
    ("oom-score-adj", None, LIMITS),
    ("pid", None, NAMESPACES),
    ("runtime", None, SETTINGS),
    ("shm-size", None, LIMITS),
    ("storage-opt", None, VOLUMES),
    ("sysctl", None, SETTINGS),
    ("ulimit", None, LIMITS),
    ("use-api-socket", None, SERVE),
    ("userns", None, NAMESPACES),
    ("uts", None, NAMESPACES),
];

/// Flags of `update` whose limits are not there.
const UPDATE: &[(&str, Option<char>, &str)] = &[
    ("blkio-weight", None, LIMITS),
    ("cpu-period", None, LIMITS),
    ("cpu-quota", None, LIMITS),
    ("cpu-rt-period", None, LIMITS),
    ("cpu-rt-runtime", None, LIMITS),
    ("cpu-shares", Some('c'), LIMITS),
    ("cpuset-cpus", None, LIMITS),
    ("cpuset-mems", None, LIMITS),
    ("kernel-memory", None, LIMITS),
    ("memory-reservation", None, LIMITS),
    ("memory-swap", None, LIMITS),
];
const INSPECT: &[(&str, Option<char>, &str)] = &[("size", Some('s'), SIZES)];
const START: &[(&str, Option<char>, &str)] =
    &[("checkpoint", None, CHECKPOINTS), ("checkpoint-dir", None, CHECKPOINTS)];
const RM: &[(&str, Option<char>, &str)] = &[("link", Some('l'), NETWORK)];
const IMAGES: &[(&str, Option<char>, &str)] = &[("tree", None, PULL)];
const PULL_FLAGS: &[(&str, Option<char>, &str)] = &[("disable-content-trust", None, PULL)];
const IMAGE_PLATFORM: &[(&str, Option<char>, &str)] = &[("platform", None, PULL)];

const BUILD: &str = "building images";
/// Flags of `build`.
const BUILD_FLAGS: &[(&str, Option<char>, &str)] = &[
    ("attest", None, BUILD),
    ("builder", None, BUILD),
    ("cgroup-parent", None, BUILD),
    ("cpu-shares", Some('c'), BUILD),
    ("cpuset-cpus", None, BUILD),
    ("cpuset-mems", None, BUILD),
    ("debug", Some('D'), BUILD),
    ("disable-content-trust", None, BUILD),
    ("memory-swap", None, BUILD),
    ("policy", None, BUILD),
    ("security-opt", None, BUILD),
    ("squash", None, BUILD),
    ("ulimit", None, BUILD),
];
const ARCHIVES: &str = "archives of images and file systems";
const COMPOSE: &str = "projects of several workloads";
const CONTROL: &str = "the remaining commands for workloads";
/// What Docker has for clusters of machines.
pub const SWARM: &str = "swarms";

/// Commands of Docker's: the words that are typed, and what brings them.
const COMMANDS: &[(&str, &str)] = &[
    ("builder", BUILD),
    ("buildx", BUILD),
    ("checkpoint", CHECKPOINTS),
    ("compose", COMPOSE),
    ("config", SWARM),
    ("container rename", CONTROL),
    ("context", SERVE),
    ("image load", ARCHIVES),
    ("image save", ARCHIVES),
    ("load", ARCHIVES),
    ("node", SWARM),
    ("plugin", SERVE),
    ("rename", CONTROL),
    ("save", ARCHIVES),
    ("secret", SWARM),
    ("stack", SWARM),
    ("swarm", SWARM),
    ("trust", PULL),
];

/// What will bring a command (as typed, without `holm`: `image pull`); `None` if Docker has none of that name either.
pub fn command_area(words: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(command, _)| *command == words).map(|(_, area)| *area)
}

/// What will bring `flag` (as typed: `--publish`, `-p`) of `command`; `None` if Docker has no such flag either.
pub fn area(command: &str, flag: &str) -> Option<(&'static str, &'static str)> {
    let table = match command {
        "run" | "create" => CREATE,
        "build" => BUILD_FLAGS,
        "update" => UPDATE,
        "inspect" | "container-inspect" => INSPECT,
        "start" => START,
        "rm" => RM,
        "images" => IMAGES,
        "pull" | "push" => PULL_FLAGS,
        "history" | "rmi" | "image-inspect" => IMAGE_PLATFORM,
        _ => return None,
    };
    let named = |(long, short, _): &&(&'static str, Option<char>, &'static str)| match flag.strip_prefix("--")
    {
        Some(name) => name.split('=').next() == Some(*long),
        None => {
            flag.strip_prefix('-').and_then(|rest| rest.chars().next()).is_some_and(|c| Some(c) == *short)
        }
    };
    table.iter().find(named).map(|(long, _, area)| (*long, *area))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_by_long_and_short_name() {
        assert_eq!(area("run", "--link"), Some(("link", NETWORK)));
        assert_eq!(area("create", "-c"), Some(("cpu-shares", LIMITS)));
        assert_eq!(area("run", "--storage-opt=size=1g"), Some(("storage-opt", VOLUMES)));
        assert_eq!(area("inspect", "-s"), Some(("size", SIZES)));
        assert_eq!(area("run", "--lin"), None);
        assert_eq!(area("ps", "--link"), None);
    }

    #[test]
    fn no_command_of_the_table_is_there() {
        assert!(COMMANDS.is_sorted());
        for (command, _) in COMMANDS {
            assert!(crate::dispatch::verb(command).is_none(), "{command}");
        }
        assert_eq!(command_area("image save"), Some(ARCHIVES));
        assert_eq!(command_area("pul"), None);
    }

    #[test]
    fn the_table_is_sorted_and_names_nothing_that_is_there() {
        assert!(CREATE.is_sorted_by_key(|(long, ..)| *long));
        assert!(BUILD_FLAGS.is_sorted_by_key(|(long, ..)| *long));
        for command in ["run", "create"] {
            let verb = crate::dispatch::verb(command).expect("a verb");
            let there = (verb.command)();
            for (long, short, _) in CREATE {
                assert!(there.get_arguments().all(|argument| argument.get_long() != Some(long)), "{long}");
                let short_used = |argument: &clap::Arg| short.is_some() && argument.get_short() == *short;
                assert!(!there.get_arguments().any(short_used), "{short:?}");
            }
        }
    }
}
