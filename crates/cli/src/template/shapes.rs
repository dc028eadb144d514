//! What JSON does not tell of Docker's documents: which objects are maps in Go and which are structures, and which
//! absent values are lists.

use serde_json::{Map, Value};

/// Fields that hold maps: a key may be missing.
const MAPS: [&str; 13] = [
    "Annotations",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Label",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Fields that hold lists, and may be null.
const LISTS: [&str; 28] = [
    "Aliases",
    "Args",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DNSNames",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Layers",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "SecurityOpt",
    "Shell",
    "Ulimits",
    "VolumesFrom",
];

/// Whether an object, the value of `field`, is a map rather than a structure. Names of a structure's fields begin with
/// a capital letter; no structure is empty.
pub fn is_map(field: Option<&str>, members: &Map<String, Value>) -> bool {
    let is_field = |name: &String| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    field.is_some_and(|field| MAPS.contains(&field)) || members.is_empty() || !members.keys().all(is_field)
}

/// How Go prints the absent value of `field`, which is a field of `parent`.
pub fn absent(parent: Option<&str>, field: Option<&str>) -> &'static str {
    let among = |known: &[&str]| field.is_some_and(|field| known.contains(&field));
    match parent {
        Some(parent) if MAPS.contains(&parent) => "<no value>",
        _ if among(&LISTS) => "[]",
        _ if among(&MAPS) => "map[]",
        _ => "<no value>",
    }
}
