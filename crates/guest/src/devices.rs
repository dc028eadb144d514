//! Devices of the machine, found by what it calls them: disks by their serial number, the channel by its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holm_runtime::{Error, Result};

/// Where the kernel tells of devices.
const SYS: &str = "/sys";
/// Where their nodes are.
const DEV: &str = "/dev";
/// Pause between two looks for a device that is on its way.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a device may be on its way: a thousand times what it takes where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(20);

/// The node of the disk with this serial number.
pub fn disk(serial: &str) -> Option<PathBuf> {
    find(Path::new(SYS), "block", "serial", serial).map(|disk| node(&disk))
}

/// The node of a partition of the disk with this serial number, the first being 1.
pub fn partition(serial: &str, number: u32) -> Option<PathBuf> {
    let disk = find(Path::new(SYS), "block", "serial", serial)?;
    find_partition(&disk, number).map(|partition| node(&partition))
}

/// The node of a serial port; waits for it, since the machine announces its ports when it was asked for them.
///
/// # Errors
/// There is none for too long: the machine has no such port, or the kernel no driver for it.
pub fn wait_for_port(name: &str) -> Result<PathBuf> {
    let begin = Instant::now();
    loop {
        if let Some(port) = find(Path::new(SYS), "class/virtio-ports", "name", name) {
            return Ok(node(&port));
        }
        if begin.elapsed() > PATIENCE {
            let message =
                format!("find serial port `{name}`: the machine has none, or the kernel no driver for it");
            return Err(Error::invalid(message));
        }
        std::thread::sleep(PAUSE);
    }
}

fn node(device: &Path) -> PathBuf {
    Path::new(DEV).join(device.file_name().unwrap_or_default())
}

/// The device of a kind whose attribute has this value.
fn find(sys: &Path, kind: &str, attribute: &str, value: &str) -> Option<PathBuf> {
    let devices = fs::read_dir(sys.join(kind)).ok()?.flatten().map(|entry| entry.path());
    let mut found = devices.filter(|device| text(&device.join(attribute)).as_deref() == Some(value));
    found.next()
}

fn find_partition(disk: &Path, number: u32) -> Option<PathBuf> {
    let parts = fs::read_dir(disk).ok()?.flatten().map(|entry| entry.path());
    let number = number.to_string();
    let mut found = parts.filter(|part| text(&part.join("partition")).as_deref() == Some(number.as_str()));
    found.next()
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok().map(|text| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_what_the_machine_calls_them() {
        let sys = tempfile::tempdir().expect("a temporary directory");
        for (path, content) in [
            ("block/vda/serial", "scratch"),
            ("block/vdb/serial", "layers\n"),
            ("block/vdb/vdb1/partition", "1\n"),
            ("block/vdb/vdb12/partition", "12\n"),
            ("class/virtio-ports/vport1p1/name", "org.other\n"),
            ("class/virtio-ports/vport1p2/name", "holm.agent.0\n"),
        ] {
            let file = sys.path().join(path);
            fs::create_dir_all(file.parent().expect("it has one")).expect("mkdir");
            fs::write(file, content).expect("write");
        }
        let disk = find(sys.path(), "block", "serial", "layers").expect("there");
        assert_eq!(node(&disk), Path::new("/dev/vdb"));
        assert_eq!(node(&find_partition(&disk, 12).expect("there")), Path::new("/dev/vdb12"));
        assert_eq!(find_partition(&disk, 2), None);
        let port = find(sys.path(), "class/virtio-ports", "name", "holm.agent.0").expect("there");
        assert_eq!(node(&port), Path::new("/dev/vport1p2"));
        assert_eq!(find(sys.path(), "block", "serial", "none"), None);
    }
}
